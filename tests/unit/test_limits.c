/* Limits on what strangers can make grow: a storm of new names meets them, known series do not. */
#include "base/log.h"
#include "storage/internal.h"
#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { KNOWN = 100, MIB = 1 << 20, WINDOW_S = 1200 };

static const int64_t now_s = 1700000000;
static struct tmpdir dir;
static struct store_kit kit;

static void setup(void)
{
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    tmpdir_init(&dir);
    storage_thread_begin();
    kit = kit_of(tmpdir_file(&dir, "data"));
}

static void teardown(void)
{
    kit_close(&kit);
    storage_thread_end();
    tmpdir_release(&dir);
}

TestSuite(limits, .init = setup, .fini = teardown, .timeout = 120);

static enum store_result store_numbered(const char *prefix, int i, int64_t t_s)
{
    char name[200];

    sprintf(name, "%s%d.%08x.value", prefix, i, (unsigned)i * 2654435761u);
    return kit_store(&kit, name, now_s, t_s, i);
}

/* Memory of the process that no file stands behind. */
static uint64_t anonymous_bytes(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[200];
    uint64_t kib = 0;

    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "RssAnon: %" SCNu64, &kib) == 1)
            break;
    fclose(f);
    return kib * 1024;
}

static void check_known(int64_t t_s)
{
    for (int i = 0; i < KNOWN; i++)
        cr_assert_eq(store_numbered("known", i, t_s), STORE_OK);
    char name[200];
    sprintf(name, "known%d.%08x.value", 7, 7u * 2654435761u);
    cr_assert_eq(kit_value(&kit, name, t_s, now_s), 7);
}

static const int shapes[] = {0, 1};

/* Names of one host each, or of one branch with many leaves. */
static enum store_result store_shaped(int shape, int i)
{
    return store_numbered(shape == 0 ? "storm" : "one.branch.storm", i, now_s);
}

Test(limits, a_storm_of_names_stays_below_the_memory_limit)
{
    for (size_t shape = 0; shape < sizeof shapes / sizeof shapes[0]; shape++) {
        int stored = 0, refused = 0;
        struct err err;

        kit_close(&kit);
        kit = kit_of(tmpdir_file(&dir, shape == 0 ? "hosts" : "leaves"));
        kit.options.memory_max = 24 * MIB;
        kit_open(&kit);
        check_known(now_s);
        uint64_t before = anonymous_bytes();
        for (int i = 0; i < 400000 && refused < 50000; i++) {
            enum store_result result = store_shaped(shapes[shape], i);
            cr_assert(result == STORE_OK || result == STORE_MEMORY_LIMIT, "%s", store_result_name(result));
            stored += result == STORE_OK;
            refused += result != STORE_OK;
            if (i % 10000 == 0) /* what the housekeeping does every second */
                cr_assert_eq(storage_tick(kit.st, now_s, &err), 0);
            if (i % 1000 == 0)
                cr_assert_leq(kit_stats(&kit).index_bytes, kit.options.memory_max);
        }
        struct storage_stats stats = kit_stats(&kit);
        cr_assert_eq(refused, 50000);
        cr_assert_gt(stored, 40000, "%d", stored);
        cr_assert(stats.memory_full);
        cr_assert_gt(stats.index_bytes, kit.options.memory_max / 3, "%" PRIu64, stats.index_bytes);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        uint64_t grown = anonymous_bytes() - before;
        cr_assert_leq(grown, kit.options.memory_max, "%" PRIu64 " bytes for %d names", grown, stored);
#else
        (void)before;
#endif
        check_known(now_s);
        for (int w = 1; w < 6; w++) /* windows whose row maps are new */
            check_known(now_s - w * WINDOW_S);
        cr_assert_eq(kit_stats(&kit).series, (uint64_t)stored + KNOWN);
    }
}

Test(limits, known_series_go_on_when_the_store_opens_with_less_memory)
{
    struct err err = {0};

    kit_open(&kit);
    for (int i = 0; i < 30000; i++)
        cr_assert_eq(store_numbered("host", i, now_s), STORE_OK);
    check_known(now_s);
    kit_close(&kit);
    kit.options.memory_max = MIB;
    kit.options.windows_max = 64;
    kit_open(&kit);
    cr_assert_eq(kit_stats(&kit).series, 30000 + KNOWN);
    cr_assert_eq(store_numbered("new", 1, now_s), STORE_MEMORY_LIMIT);
    for (int w = 0; w < 20; w++) { /* more windows than fit in: those that are idle are sealed first */
        check_known(now_s - w * WINDOW_S);
        for (int i = 0; i < 30000; i += 1000)
            cr_assert_eq(store_numbered("host", i, now_s - w * WINDOW_S), STORE_OK);
    }
    cr_assert_lt(kit_stats(&kit).windows_open, 20);
    cr_assert_eq(storage_seal_all(kit.st, &err), 0, "%s", err.text);
    check_known(now_s);
}

Test(limits, so_many_names_may_come_in_a_minute)
{
    int stored = 0;

    kit.options.creates_per_minute = 60;
    kit_open(&kit);
    for (int i = 0; i < 60; i++)
        cr_assert_eq(store_numbered("first", i, now_s), STORE_OK, "a minute's worth at once");
    for (int i = 0; i < 5000; i++) {
        enum store_result result = store_numbered("more", i, now_s);
        cr_assert(result == STORE_OK || result == STORE_CREATE_LIMIT);
        stored += result == STORE_OK;
    }
    cr_assert_lt(stored, 120, "one a second"); /* unless this loop takes a minute and more */
    for (int i = 0; i < 60; i++)
        cr_assert_eq(store_numbered("first", i, now_s), STORE_OK, "known names");

    kit.st->limits.creates_left = 0;
    kit.st->limits.creates_ns -= INT64_C(10000000000); /* ten seconds pass */
    stored = 0;
    for (int i = 0; i < 100; i++)
        stored += store_numbered("later", i, now_s) == STORE_OK;
    cr_assert(stored >= 10 && stored < 100, "%d", stored);
    kit.st->limits.creates_ns -= INT64_C(3600000000000); /* an hour does not save up more than a minute's worth */
    stored = 0;
    for (int i = 0; i < 1000; i++)
        stored += store_numbered("last", i, now_s) == STORE_OK;
    cr_assert(stored >= 60 && stored < 120, "%d", stored);
}

Test(limits, max_series_refuses_new_names_only)
{
    kit.options.series_max = KNOWN + 3;
    kit_open(&kit);
    check_known(now_s);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(store_numbered("new", i, now_s), i < 3 ? STORE_OK : STORE_SERIES_LIMIT);
    check_known(now_s - 60);
    cr_assert_eq(kit_stats(&kit).series, KNOWN + 3);
}
