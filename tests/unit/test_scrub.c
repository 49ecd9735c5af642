/* A check of all files finds what is damaged, says where, and the rest is served. */
#include "base/file.h"
#include "base/log.h"
#include "storage/internal.h"
#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SERIES = 3000, WINDOWS = 4, WINDOW_S = 1200 };

static const int64_t now_s = 1700000000;
static struct tmpdir dir;
static struct store_kit kit;

static const char *name_of(int i)
{
    static char name[64];

    sprintf(name, "host%d.count", i);
    return name;
}

static double value_of(int i, int w)
{
    return sin(i * 7.0 + w) * 1e6; /* does not compress, so that there are several groups */
}

static void setup(void)
{
    struct err err = {0};

    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    tmpdir_init(&dir);
    storage_thread_begin();
    kit = kit_of(tmpdir_file(&dir, "data"));
    kit_open(&kit);
    for (int w = 0; w < WINDOWS; w++)
        for (int i = 0; i < SERIES; i++)
            cr_assert_eq(kit_store(&kit, name_of(i), now_s, now_s - w * WINDOW_S, value_of(i, w)), STORE_OK);
    cr_assert_eq(storage_seal_all(kit.st, &err), 0, "%s", err.text);
}

static void teardown(void)
{
    kit_close(&kit);
    storage_thread_end();
    tmpdir_release(&dir);
}

TestSuite(scrub, .init = setup, .fini = teardown);

static struct tier *first_tier(void)
{
    return &kit.st->policies.policy[0]->tier[0];
}

static struct segment *segment_number(uint32_t i)
{
    const struct tier_view *view = tier_view(first_tier());

    cr_assert_lt(i, view->segments);
    return view->segment[i].segment;
}

static void flip_bit(const char *path, long at)
{
    FILE *f = fopen(path, "r+");

    cr_assert_not_null(f);
    fseek(f, at, SEEK_SET);
    int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 16, f);
    fclose(f);
}

/* Points that are read back, all of them right. */
static int count_readable(void)
{
    int count = 0;

    for (int w = 0; w < WINDOWS; w++)
        for (int i = 0; i < SERIES; i += 10) {
            double v = kit_value(&kit, name_of(i), now_s - w * WINDOW_S, now_s);
            cr_assert(isnan(v) || v == value_of(i, w), "%s in window %d", name_of(i), w);
            count += !isnan(v);
        }
    return count;
}

Test(scrub, finds_nothing_where_nothing_is_damaged)
{
    cr_assert_eq(storage_scrub(kit.st, 0), 0);
    struct storage_stats stats = kit_stats(&kit);
    cr_assert_eq(stats.scrub_rounds, 1);
    cr_assert_eq(stats.scrub_damaged, 0);
    uint64_t groups = 0;
    for (uint32_t i = 0; i < tier_view(first_tier())->segments; i++)
        groups += segment_info(segment_number(i))->groups;
    cr_assert_geq(groups, WINDOWS);
    cr_assert(stats.scrub_bytes > stats.segment_bytes / 2 && stats.scrub_bytes <= stats.segment_bytes,
              "%" PRIu64 " of %" PRIu64, stats.scrub_bytes, stats.segment_bytes);
    cr_assert_eq(count_readable(), WINDOWS * SERIES / 10);
}

Test(scrub, finds_a_flipped_bit_in_a_file_that_was_read_before)
{
    cr_assert_eq(count_readable(), WINDOWS * SERIES / 10);
    flip_bit(segment_path(segment_number(1)), 300);
    flip_bit(segment_path(segment_number(3)), (long)segment_info(segment_number(3))->bytes / 2);
    cr_assert_eq(storage_scrub(kit.st, 0), 2);
    cr_assert_eq(storage_scrub(kit.st, 0), 2, "it is found again");
    struct storage_stats stats = kit_stats(&kit);
    cr_assert_eq(stats.scrub_damaged, 4);
    cr_assert_eq(stats.scrub_rounds, 2);
    int left = count_readable();
    cr_assert(left < WINDOWS * SERIES / 10 && left >= 2 * SERIES / 10, "%d", left);
}

Test(scrub, and_readers_survive_a_file_that_was_cut)
{
    cr_assert_eq(count_readable(), WINDOWS * SERIES / 10);
    cr_assert_eq(truncate(segment_path(segment_number(0)), 0), 0);
    cr_assert_eq(truncate(segment_path(segment_number(2)), 4096), 0);
    int left = count_readable();
    cr_assert(left < WINDOWS * SERIES / 10 && left >= 2 * SERIES / 10, "%d", left);
    cr_assert_gt(kit_stats(&kit).damaged_chunks, 0);
    cr_assert_geq(storage_scrub(kit.st, 0), 2);
    left = count_readable(); /* of a group that was checked before the cut some pages may still have been there */
    struct err err = {0};
    cr_assert_eq(storage_merge_all(kit.st, &err), 0, "merging leaves them alone: %s", err.text);
    int then = count_readable();
    cr_assert_eq(then, left, "%d, before %d", then, left);
}
