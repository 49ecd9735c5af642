/* tests/golden/store-1.tar.xz is a data directory as version 1 of the formats left it: names with tags and without,
 * a deleted one, several rules and policies, sealed, rolled up, late and merged segments, open grids, an event. It is
 * opened and read for ever. (Codecs: test_golden_segment.c.)
 *
 * WRITE_GOLDEN_STORE=file writes such an archive with today's code: to add one, never to replace one. */
#include "base/clock.h"
#include "base/log.h"
#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAMES = 9, FINE_S = 10, SLOTS = 720, FINE_RETENTION_S = 1800, PARTS = 6 };

static const int64_t base_s = 1700006400;
static const int64_t end_s = 1700006400 + (SLOTS - 1) * FINE_S;

/* By name: [sum] and [max] sum and max of all, [avg] average of at least half, [last] 60s only. */
static const char *const names[NAMES] = {
    "sum.web1.requests", "sum.web2.requests",   "avg.cpu;dc=x;host=a",  "avg.cpu;dc=x;host=b", "avg.load",
    "max.pause",         "last.t\xc3\xa4glich", "last.disk;mount=/var", "sum.silent",
};

/* Whether a point of series I in the slot was stored. */
static bool is_stored(int i, int64_t slot)
{
    if (names[i][0] == 'l')
        return slot % PARTS == 0;
    if (i == 8)
        return slot == 700;
    return (slot * 7 + i) % 10 < 7 || slot / 60 % 2 == 0;
}

/* Only integers and single operations: the same everywhere. */
static double value_of(int i, int64_t slot)
{
    switch (i) {
    case 0:
        return (double)(slot * slot);
    case 1:
        return 42;
    case 2:
        return (double)(slot * 2654435761 % 1000003) / 1000;
    case 3:
        return -(double)slot / 4;
    case 4:
        return (double)(slot % 7) / 3;
    case 5:
        return slot % 90 == 0 ? INFINITY : (double)(slot % 13);
    default:
        return (double)(slot + i);
    }
}

static void begin(void)
{
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    storage_thread_begin();
}

static void end(void)
{
    clock_real();
    storage_thread_end();
}

TestSuite(golden_store, .init = begin, .fini = end);

/* ---- writing ---- */

static void store(struct store_kit *kit, int i, int64_t now_s, int64_t slot, double v)
{
    cr_assert_eq(kit_store(kit, names[i], now_s, base_s + slot * FINE_S, v), STORE_OK);
}

/* All points of one slot; those of some come late, or are wrong first. */
static void store_slot(struct store_kit *kit, int64_t slot)
{
    int64_t now_s = base_s + slot * FINE_S, late = slot - 100;

    for (int i = 0; i < NAMES; i++) {
        if (is_stored(i, slot) && (slot + i) % 20 != 0)
            store(kit, i, now_s, slot, (slot + i) % 20 == 1 ? -1 : value_of(i, slot));
        if (late >= 0 && is_stored(i, late) && (late + i) % 20 <= 1)
            store(kit, i, now_s, late, value_of(i, late));
    }
    if (slot < 50)
        cr_assert_eq(kit_store(kit, "sum.deleted", now_s, now_s, 1), STORE_OK);
}

static void write_store(struct store_kit *kit)
{
    struct storage_event event = {.when_s = base_s, .what = SPAN_LIT("began"), .tags = SPAN_LIT("golden one")};
    struct err err = {0};
    uint64_t deleted;
    uint32_t id;

    clock_fake_ns(base_s * 1000000000);
    kit_open(kit);
    cr_assert_eq(storage_event_add(kit->st, &event, &id, &err), 0, "%s", err.text);
    for (int64_t slot = 0; slot < SLOTS; slot++) {
        int64_t now_s = base_s + slot * FINE_S;
        clock_fake_ns(now_s * 1000000000);
        store_slot(kit, slot);
        if (slot % PARTS == 0)
            cr_assert_eq(storage_tick(kit->st, now_s, &err), 0, "%s", err.text);
        if (slot == 500)
            cr_assert_eq(storage_merge_all(kit->st, &err), 0, "%s", err.text);
    }
    /* What would have come later. */
    for (int64_t slot = SLOTS - 100; slot < SLOTS; slot++)
        for (int i = 0; i < NAMES; i++)
            if (is_stored(i, slot) && (slot + i) % 20 <= 1)
                store(kit, i, end_s, slot, value_of(i, slot));
    cr_assert_eq(storage_delete(kit->st, SPAN_LIT("sum.deleted"), 0, &deleted, &err), 0, "%s", err.text);
    kit_close(kit);
}

static void run(const char *command)
{
    cr_assert_eq(system(command), 0, "%s", command);
}

static void write_golden(const char *archive)
{
    struct tmpdir dir;
    char command[1000];

    tmpdir_init(&dir);
    kit_put_file(tmpdir_file(&dir, "schemas.conf"), "[last]\npattern = ^last\nretentions = 60s:2h\n"
                                                    "[avg]\npattern = ^avg\nretentions = 10s:30m,1m:3h\n"
                                                    "[rest]\npattern = .\nretentions = 10s:30m,1m:2h,10m:1d\n");
    kit_put_file(tmpdir_file(&dir, "aggregation.conf"),
                 "[sum]\npattern = ^sum\nxFilesFactor = 0\naggregationMethod = sum\n"
                 "[max]\npattern = ^max\nxFilesFactor = 0\naggregationMethod = max\n"
                 "[rest]\npattern = .\nxFilesFactor = 0.5\naggregationMethod = average\n");
    struct store_kit kit = kit_of(tmpdir_file(&dir, "data"));
    kit.options.schemas_path = tmpdir_file(&dir, "schemas.conf");
    kit.options.aggregation_path = tmpdir_file(&dir, "aggregation.conf");
    write_store(&kit);
    snprintf(command, sizeof command, "tar --sparse --sort=name --owner=0 --group=0 -C %s --exclude=LOCK -cJf %s .",
             kit.dir, archive);
    run(command);
    tmpdir_release(&dir);
}

/* ---- reading ---- */

static double known(int i, int64_t slot)
{
    return slot >= 0 && slot < SLOTS && is_stored(i, slot) ? value_of(i, slot) : NAN;
}

/* whisper's aggregate() of the fine slots of a minute, the slow way. */
static double minute_of(int i, int64_t slot)
{
    double sum = 0, max = -INFINITY;
    int count = 0;

    for (int64_t s = slot; s < slot + PARTS; s++) {
        double v = known(i, s);
        if (isnan(v))
            continue;
        sum += v;
        max = v > max ? v : max;
        count++;
    }
    if (count == 0)
        return NAN;
    if (names[i][0] == 'a')
        return count * 2 < PARTS ? NAN : sum / count;
    return names[i][0] == 'm' ? max : sum;
}

static void check_values(struct store_kit *kit, int i, int64_t from_s, int64_t step_s)
{
    struct storage_points p = kit_fetch(kit, names[i], from_s, end_s, end_s);

    cr_assert_eq(p.step_s, step_s);
    cr_assert_eq(p.count, (size_t)((end_s - end_s % step_s + step_s - p.start_s) / step_s));
    for (size_t n = 0; n < p.count; n++) {
        int64_t slot = (p.start_s + (int64_t)n * step_s - base_s) / FINE_S;
        double expected = step_s == FINE_S || names[i][0] == 'l' ? known(i, slot) : minute_of(i, slot);
        cr_assert(kit_same(p.values[n], expected), "%s slot %lld of %llds: expected %.17g, got %.17g", names[i],
                  (long long)slot, (long long)step_s, expected, p.values[n]);
    }
    free(p.values);
}

static int check_name(void *ctx, uint32_t series, struct span name)
{
    int *count = ctx;

    (void)series;
    cr_assert_not(span_eq(name, SPAN_LIT("sum.deleted")));
    ++*count;
    return 0;
}

static void check_all(struct store_kit *kit)
{
    int count = 0;

    storage_each(kit->st, check_name, &count);
    cr_assert_eq(count, NAMES);
    for (int i = 0; i < NAMES; i++) {
        bool last = names[i][0] == 'l';
        check_values(kit, i, end_s - (last ? 7200 : FINE_RETENTION_S), last ? 60 : FINE_S);
        check_values(kit, i, base_s, 60);
    }
    cr_assert_eq(kit_stats(kit).events, 1);
}

Test(golden_store, of_version_1_is_opened_and_read)
{
    struct tmpdir dir;
    struct err err = {0};
    char command[1000];

    if (getenv("WRITE_GOLDEN_STORE") != NULL)
        write_golden(getenv("WRITE_GOLDEN_STORE"));
    tmpdir_init(&dir);
    snprintf(command, sizeof command, "mkdir %s/data && tar -C %s/data -xJf tests/golden/store-1.tar.xz", dir.path,
             dir.path);
    run(command);
    clock_fake_ns(end_s * 1000000000);
    struct store_kit kit = kit_of(tmpdir_file(&dir, "data")); /* the rules are in its log */
    kit_open(&kit);
    struct storage_stats stats = kit_stats(&kit);
    cr_assert_eq(stats.damaged_chunks, 0);
    cr_assert_gt(stats.segments, 5);
    cr_assert_gt(stats.windows_open, 2);
    check_all(&kit);
    cr_assert_eq(storage_seal_all(kit.st, &err), 0, "%s", err.text);
    cr_assert_eq(storage_tick(kit.st, end_s, &err), 0, "%s", err.text);
    check_all(&kit);
    cr_assert_eq(kit_stats(&kit).damaged_chunks, 0);
    kit_close(&kit);
    tmpdir_release(&dir);
}
