/* The face of the store: what storage.h promises. Rollups: tests/model/test_rollup.c; everything at random:
 * tests/model/test_store.c; crashes: tests/crash/. */
#include "storage/storage.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const int64_t now = 1700006400; /* a multiple of an hour */
static struct tmpdir dir;
static struct store_kit kit;
static char schemas[400];
static struct err err;

static void begin(void)
{
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    clock_fake_ns(now * 1000000000);
    storage_thread_begin();
    tmpdir_init(&dir);
    snprintf(schemas, sizeof schemas, "%s", tmpdir_file(&dir, "schemas.conf"));
    kit_put_file(schemas, "[short]\npattern = ^short\nretentions = 10s:10m\n"
                          "[all]\npattern = .\nretentions = 10s:6h,1m:7d\n");
    kit = kit_of(tmpdir_file(&dir, "data"));
    kit.options.schemas_path = schemas;
    kit_open(&kit);
}

static void end(void)
{
    kit_close(&kit);
    tmpdir_release(&dir);
    storage_thread_end();
    clock_real();
}

TestSuite(storage, .init = begin, .fini = end);

static void reopen(void)
{
    kit_close(&kit);
    kit_open(&kit);
}

static enum store_result store(const char *name, int64_t t_s, double v)
{
    return kit_store(&kit, name, now, t_s, v);
}

static double value(const char *name, int64_t t_s)
{
    return kit_value(&kit, name, t_s, now);
}

static bool exists(const char *name)
{
    uint32_t series;

    return kit_find(&kit, name, &series);
}

static void ok(int rc)
{
    cr_assert_eq(rc, 0, "%s", err.text);
}

/* ---- storing ---- */

Test(storage, keeps_a_point)
{
    cr_assert_eq(store("a.b", now - 15, 1.5), STORE_OK);
    cr_assert_eq(value("a.b", now - 15), 1.5);
    cr_assert_eq(value("a.b", now - 20), 1.5, "the slot, not the second");
    cr_assert(isnan(value("a.b", now - 10)));
    cr_assert(isnan(value("a.b", now - 30)));
}

Test(storage, the_last_write_of_a_slot_wins)
{
    store("a", now - 11, 1);
    store("a", now - 18, 2);
    cr_assert_eq(value("a", now - 20), 2, "whatever the times within the slot");
}

Test(storage, keeps_extreme_values_to_the_bit)
{
    static const double values[] = {0, -0.0, INFINITY, -INFINITY, 5e-324, 1.7976931348623157e308, 0.1};

    for (int n = 0; n < 7; n++)
        cr_assert_eq(store("a", now - 10 * n, values[n]), STORE_OK);
    for (int n = 0; n < 7; n++)
        cr_assert(kit_same(value("a", now - 10 * n), values[n]));
    ok(storage_seal_all(kit.st, &err));
    for (int n = 0; n < 7; n++)
        cr_assert(kit_same(value("a", now - 10 * n), values[n]));
}

Test(storage, refuses_bad_names)
{
    static const char *const bad[] = {"", ".", "..", "a\nb", "a\x7f", "a\xff", "m;tag", "m;=v", "m;t="};
    char longer[300];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_eq(store(bad[i], now, 1), STORE_BAD_NAME, "%s", bad[i]);
    memset(longer, 'x', 256);
    longer[256] = '\0';
    cr_assert_eq(store(longer, now, 1), STORE_BAD_NAME);
    longer[255] = '\0';
    cr_assert_eq(store(longer, now, 1), STORE_OK);
    cr_assert_eq(kit_stats(&kit).series, 1);
}

Test(storage, spellings_of_a_name_are_one_series)
{
    static const char *const spellings[] = {"a.b", "a..b", ".a.b", "a.b.", "a/b", "~a.b"};

    for (int n = 0; n < 6; n++)
        cr_assert_eq(store(spellings[n], now - 10 * n, n), STORE_OK);
    cr_assert_eq(kit_stats(&kit).series, 1);
    for (int n = 0; n < 6; n++)
        cr_assert_eq(value("a.b", now - 10 * n), n);
}

Test(storage, a_point_too_far_ahead_is_refused_and_creates_nothing)
{
    cr_assert_eq(store("a", now + 3601, 1), STORE_FUTURE);
    cr_assert_not(exists("a"));
    cr_assert_eq(store("a", now + 3600, 1), STORE_OK);
    cr_assert_eq(kit_value(&kit, "a", now + 3600, now + 3600), 1);
    cr_assert_eq(store("a", INT64_MAX, 1), STORE_FUTURE);
}

Test(storage, a_point_too_old_is_refused_and_creates_the_series)
{
    cr_assert_eq(store("short.a", now - 601, 1), STORE_TOO_OLD);
    cr_assert(exists("short.a"));
    cr_assert_eq(store("short.a", now - 600, 1), STORE_OK, "the border is within");
    cr_assert_eq(store("short.a", -1, 1), STORE_TOO_OLD);
    cr_assert_eq(store("short.a", INT64_MIN, 1), STORE_TOO_OLD);
}

Test(storage, nan_is_refused_and_creates_nothing)
{
    cr_assert_eq(store("a", now, NAN), STORE_NAN);
    cr_assert_not(exists("a"));
    store("a", now, 1);
    cr_assert_eq(store("a", now, NAN), STORE_NAN);
    cr_assert_eq(value("a", now), 1);
}

Test(storage, new_names_beyond_the_limit_are_refused_and_known_ones_are_not)
{
    kit_close(&kit);
    kit.options.series_max = 2;
    kit_open(&kit);
    store("a", now, 1);
    store("b", now, 1);
    cr_assert_eq(store("c", now, 1), STORE_SERIES_LIMIT);
    cr_assert_not(exists("c"));
    cr_assert_eq(store("a", now, 2), STORE_OK);
    reopen();
    cr_assert_eq(store("c", now, 1), STORE_SERIES_LIMIT);
    cr_assert_eq(store("b", now, 3), STORE_OK);
}

Test(storage, without_room_new_windows_are_refused_and_old_points_stay)
{
    store("a", now, 1);
    kit_close(&kit);
    kit.options.free_bytes_min = UINT64_MAX / 2;
    kit_open(&kit);
    cr_assert_eq(store("a", now, 2), STORE_OK, "its window is there already");
    cr_assert_eq(store("a", now - 7200, 1), STORE_DISK_FULL);
    cr_assert(kit_stats(&kit).disk_full);
    cr_assert_eq(value("a", now), 2);
    cr_assert(isnan(value("a", now - 7200)));
}

Test(storage, every_result_has_a_word_of_its_own)
{
    for (int a = 0; a < STORE_RESULTS; a++)
        for (int b = 0; b < a; b++)
            cr_assert_str_neq(store_result_name(a), store_result_name(b));
}

Test(storage, a_wrong_prediction_costs_nothing_but_time)
{
    static const char *const orders[][3] = {{"a", "b", "c"}, {"a", "c", "b"}, {"a", "b", "c"}, {"c", "a", "a"}};

    for (int round = 0; round < 4; round++) {
        for (int n = 0; n < 3; n++)
            cr_assert_eq(store(orders[round][n], now - 10 * round, orders[round][n][0]), STORE_OK);
    }
    cr_assert_eq(kit_stats(&kit).series, 3);
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(value("b", now - 10 * round), 'b');
        cr_assert_eq(value("c", now - 10 * round), 'c');
    }
}

Test(storage, a_late_point_goes_over_a_sealed_window)
{
    store("a", now - 7200, 1);
    store("a", now - 7190, 2);
    ok(storage_seal_all(kit.st, &err));
    store("a", now - 7190, 3);
    store("a", now - 7180, 4);
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(value("a", now - 7200), 1);
        cr_assert_eq(value("a", now - 7190), 3);
        cr_assert_eq(value("a", now - 7180), 4);
        if (round == 0)
            ok(storage_seal_all(kit.st, &err));
        else
            reopen();
    }
}

Test(storage, a_point_too_old_for_the_finest_archive_goes_to_the_next)
{
    cr_assert_eq(store("a", now - 6 * 3600 - 60, 7), STORE_OK);
    cr_assert_eq(value("a", now - 6 * 3600 - 60), 7);
    struct storage_points p = kit_fetch(&kit, "a", now - 6 * 3600 - 61, now, now);
    cr_assert_eq(p.step_s, 60);
    free(p.values);
}

Test(storage, takes_as_many_writers_as_there_are_numbers)
{
    struct store_writer *writers[64] = {0};
    int count = 0;

    while (count < 64 && store_writer_new(kit.st, &writers[count], &err) == 0)
        count++;
    cr_assert_eq(err.code, ERR_LIMIT);
    cr_assert_eq(count, 62, "64, but the kit's and the store's own");
    store_writer_free(writers[5]);
    ok(store_writer_new(kit.st, &writers[5], &err));
    for (int i = 0; i < count; i++)
        store_writer_free(writers[i]);
}

/* ---- finding ---- */

static size_t find(const char *pattern, unsigned flags, char *first, size_t size)
{
    struct arena arena;
    struct storage_matches found;

    arena_init(&arena, 0, NULL);
    storage_enter();
    ok(storage_find(kit.st, span_str(pattern), flags, 0, &arena, &found, &err));
    if (found.count > 0)
        snprintf(first, size, "%.*s", SPAN_ARG(found.items[0].path));
    storage_leave();
    arena_release(&arena);
    return found.count;
}

Test(storage, finds_leaves_and_branches)
{
    char first[100] = "";

    store("web.one.cpu", now, 1);
    store("web.two.cpu", now, 1);
    store("web", now, 1);
    cr_assert_eq(find("web.*", STORAGE_FIND_BRANCHES, first, sizeof first), 2);
    cr_assert_str_eq(first, "web.one");
    cr_assert_eq(find("web.*", STORAGE_FIND_LEAVES, first, sizeof first), 0);
    cr_assert_eq(find("web.{one,two}.c?[tup]", STORAGE_FIND_LEAVES, first, sizeof first), 2);
    cr_assert_str_eq(first, "web.one.cpu");
    cr_assert_eq(find("*", STORAGE_FIND_LEAVES | STORAGE_FIND_BRANCHES, first, sizeof first), 2, "a leaf and a branch");
    reopen();
    cr_assert_eq(find("**", STORAGE_FIND_LEAVES, first, sizeof first), 3);
}

Test(storage, tagged_series_are_found_by_their_name_only)
{
    char first[100] = "";

    store("m;b=2;a=1", now, 1);
    for (int round = 0; round < 2; round++) {
        cr_assert_eq(find("m;a=1;b=2", STORAGE_FIND_LEAVES, first, sizeof first), 1);
        cr_assert_str_eq(first, "m;a=1;b=2");
        cr_assert_eq(find("m;a=1;b=2", STORAGE_FIND_BRANCHES, first, sizeof first), 0);
        cr_assert_eq(find("m;a=1;b=3", STORAGE_FIND_LEAVES, first, sizeof first), 0);
        cr_assert_eq(find("*", STORAGE_FIND_LEAVES, first, sizeof first), 0);
        reopen();
    }
}

Test(storage, a_find_beyond_its_limit_is_an_error)
{
    struct arena arena;
    struct storage_matches found;

    store("a.x", now, 1);
    store("a.y", now, 1);
    arena_init(&arena, 0, NULL);
    storage_enter();
    ok(storage_find(kit.st, SPAN_LIT("a.*"), STORAGE_FIND_LEAVES, 2, &arena, &found, &err));
    cr_assert_eq(storage_find(kit.st, SPAN_LIT("a.*"), STORAGE_FIND_LEAVES, 1, &arena, &found, &err), ERR_LIMIT);
    storage_leave();
    arena_release(&arena);
}

static int stop_at_second(void *ctx, uint32_t series, struct span name)
{
    int *count = ctx;

    cr_assert_lt(series, 3);
    cr_assert_eq(name.len, 1);
    return ++*count == 2 ? 77 : 0;
}

Test(storage, each_visits_until_it_is_told_to_stop)
{
    int count = 0;

    store("a", now, 1);
    store("b", now, 1);
    store("c", now, 1);
    cr_assert_eq(storage_each(kit.st, stop_at_second, &count), 77);
    cr_assert_eq(count, 2);
}

/* ---- fetching: whisper's rules ---- */

static void expect_range(const char *name, int64_t from_s, int64_t until_s, int64_t start_s, int64_t step_s,
                         size_t count)
{
    struct storage_points p = kit_fetch(&kit, name, from_s, until_s, now);

    cr_assert_eq(p.count, count, "%lld..%lld: %zu slots", (long long)(from_s - now), (long long)(until_s - now),
                 p.count);
    if (count > 0) {
        cr_assert_eq(p.start_s, start_s, "from %lld on", (long long)(p.start_s - now));
        cr_assert_eq(p.step_s, step_s);
    }
    free(p.values);
}

Test(storage, a_fetch_begins_behind_from_and_ends_with_until)
{
    store("a", now, 1);
    expect_range("a", now - 100, now - 50, now - 90, 10, 5);
    expect_range("a", now - 95, now - 41, now - 90, 10, 5);
    expect_range("a", now - 91, now - 50, now - 90, 10, 5);
}

Test(storage, an_empty_range_is_one_slot)
{
    store("a", now, 1);
    expect_range("a", now - 50, now - 50, now - 40, 10, 1);
    expect_range("a", now - 48, now - 42, now - 40, 10, 1);
    expect_range("a", now, now, now + 10, 10, 1);
}

Test(storage, until_beyond_now_is_cut)
{
    store("a", now, 1);
    expect_range("a", now - 30, now + 1000000, now - 20, 10, 3);
    expect_range("a", now - 30, INT64_MAX, now - 20, 10, 3);
}

Test(storage, a_range_outside_of_what_can_be_is_empty)
{
    store("a", now, 1);
    expect_range("a", now + 1, now + 100, 0, 0, 0);
    expect_range("a", now - 8 * 86400, now - 7 * 86400 - 1, 0, 0, 0);
    expect_range("a", now - 10, now - 20, 0, 0, 0);
    expect_range("a", INT64_MIN, now - 8 * 86400, 0, 0, 0);
}

Test(storage, the_archive_is_the_first_that_reaches_back_to_from)
{
    store("a", now, 1);
    expect_range("a", now - 6 * 3600, now, now - 6 * 3600 + 10, 10, 6 * 360);
    expect_range("a", now - 6 * 3600 - 1, now, now - 6 * 3600, 60, 6 * 60 + 1);
    expect_range("a", now - 6 * 3600 - 1, now - 100, now - 6 * 3600, 60, 6 * 60 - 1);
    expect_range("a", 0, now, now - 7 * 86400 + 60, 60, 7 * 1440);
    expect_range("a", INT64_MIN, now, now - 7 * 86400 + 60, 60, 7 * 1440);
}

Test(storage, a_fetch_tells_how_rollups_are_made)
{
    store("a", now, 1);
    struct storage_points p = kit_fetch(&kit, "a", now - 10, now, now);
    cr_assert_eq(p.method, AGG_AVERAGE);
    cr_assert_eq(p.x_files_factor, 0.5);
    free(p.values);
}

Test(storage, a_series_that_does_not_exist_cannot_be_fetched)
{
    struct arena arena;
    struct storage_points p;

    arena_init(&arena, 0, NULL);
    storage_enter();
    cr_assert_eq(storage_fetch(kit.st, 12345, now - 10, now, now, &arena, &p, &err), ERR_MISSING);
    storage_leave();
    arena_release(&arena);
}

Test(storage, coarse_slots_can_be_read_before_they_are_rolled_up)
{
    for (int64_t t_s = now - 120; t_s < now - 60; t_s += 10)
        store("a", t_s, (double)(t_s - now + 120));
    struct storage_points p = kit_fetch(&kit, "a", now - 7 * 3600, now, now);
    cr_assert_eq(p.step_s, 60);
    cr_assert_eq(p.values[(now - 120 - p.start_s) / 60], 25);
    cr_assert(isnan(p.values[(now - 60 - p.start_s) / 60]));
    free(p.values);
}

/* ---- opening, closing, dying ---- */

Test(storage, everything_is_there_after_a_restart)
{
    store("a", now, 1);
    store("b;t=v", now - 7200, 2);
    reopen();
    cr_assert_eq(value("a", now), 1);
    cr_assert_eq(value("b;t=v", now - 7200), 2);
    cr_assert_eq(store("a", now - 10, 3), STORE_OK);
    cr_assert_eq(value("a", now), 1);
}

Test(storage, a_kill_loses_nothing)
{
    store("a", now, 1);
    ok(storage_seal_all(kit.st, &err));
    store("b", now, 2); /* in no file but through the page cache */
    tmpdir_copy_tree(kit.dir, tmpdir_file(&dir, "copy"));
    struct store_kit after = kit_of(tmpdir_file(&dir, "copy"));
    after.options.schemas_path = schemas;
    kit_open(&after);
    cr_assert_eq(kit_value(&after, "a", now, now), 1);
    cr_assert_eq(kit_value(&after, "b", now, now), 2);
    kit_close(&after);
}

Test(storage, files_that_were_being_made_at_a_kill_are_no_damage)
{
    static const char nothing[8192];

    store("a", now, 1);
    kit_close(&kit);
    ok(file_put(tmpdir_file(&dir, "data/p00000-t0/w1700000000-n90-b0.grid"), span_of(nothing, 0), &err));
    ok(file_put(tmpdir_file(&dir, "data/p00000-t0/w1700000000-n91-b0.grid"), span_of(nothing, sizeof nothing), &err));
    kit_open(&kit);
    cr_assert_eq(kit_stats(&kit).damaged_chunks, 0);
    cr_assert_eq(value("a", now), 1);
}

Test(storage, a_second_open_is_refused)
{
    struct store_kit second = kit_of(kit.dir);

    cr_assert_eq(kit_try_open(&second, &err), ERR_LOCKED);
    kit_close(&kit);
    kit_open(&second);
    kit_close(&second);
}

Test(storage, a_mistake_in_the_schemas_stops_the_opening_and_names_its_line)
{
    kit_close(&kit);
    kit_put_file(schemas, "[all]\npattern = .\nretentions = 10x:1d\n");
    cr_assert_eq(kit_try_open(&kit, &err), ERR_INPUT);
    cr_assert(strstr(err.text, schemas) != NULL, "%s", err.text);
    cr_assert_eq(storage_check_config(schemas, NULL, &err), ERR_INPUT);
}

Test(storage, a_reload_is_for_new_series)
{
    struct storage_points p;

    store("short.a", now, 1);
    kit_put_file(schemas, "[short]\npattern = ^short\nretentions = 60s:1d\n");
    ok(storage_reload(kit.st, &err));
    store("short.b", now, 1);
    kit_put_file(schemas, "[short]\nretentions = 7s:1d\npattern = ((\n");
    cr_assert_eq(storage_reload(kit.st, &err), ERR_INPUT);
    store("short.c", now, 1);
    for (int n = 0; n < 3; n++) {
        char name[20];
        sprintf(name, "short.%c", 'a' + n);
        p = kit_fetch(&kit, name, now - 120, now, now);
        cr_assert_eq(p.step_s, n == 0 ? 10 : 60, "%s has a step of %lld", name, (long long)p.step_s);
        free(p.values);
    }
}

Test(storage, without_its_manifest_nothing_is_deleted)
{
    char manifest[600];

    store("a", now, 1);
    ok(storage_seal_all(kit.st, &err));
    kit_close(&kit);
    snprintf(manifest, sizeof manifest, "%s/MANIFEST", kit.dir);
    ok(file_rename(manifest, tmpdir_file(&dir, "aside"), &err));
    cr_assert_eq(kit_try_open(&kit, &err), ERR_CORRUPT);
    ok(file_rename(tmpdir_file(&dir, "aside"), manifest, &err));
    kit_open(&kit);
    cr_assert_eq(value("a", now), 1);
}

Test(storage, without_its_series_log_no_data_gets_another_name)
{
    char log[600];

    store("a", now, 1);
    kit_close(&kit);
    snprintf(log, sizeof log, "%s/series.log", kit.dir);
    ok(file_unlink(log, &err));
    for (int round = 0; round < 2; round++)
        cr_assert_eq(kit_try_open(&kit, &err), ERR_CORRUPT);
    cr_assert(strstr(err.text, "series.log") != NULL, "%s", err.text);
}

/* ---- housekeeping ---- */

Test(storage, windows_beyond_the_limit_are_sealed_and_no_point_is_lost)
{
    kit_close(&kit);
    kit.options.windows_max = 1;
    kit_open(&kit);
    for (int64_t t_s = now - 5 * 3600; t_s <= now; t_s += 600) {
        cr_assert_eq(store("a", t_s, (double)(t_s - now)), STORE_OK);
        cr_assert_leq(kit_stats(&kit).windows_open, 2);
    }
    for (int64_t t_s = now - 5 * 3600; t_s <= now; t_s += 600)
        cr_assert_eq(value("a", t_s), (double)(t_s - now));
    ok(storage_tick(kit.st, now, &err));
    cr_assert_leq(kit_stats(&kit).windows_open, 1);
}

Test(storage, a_window_seals_when_its_time_and_a_grace_have_passed)
{
    store("short.a", now, 1);
    ok(storage_tick(kit.st, now, &err));
    cr_assert_eq(kit_stats(&kit).windows_open, 1);
    ok(storage_tick(kit.st, now + 600 + 60, &err));
    cr_assert_eq(kit_stats(&kit).windows_open, 0);
    cr_assert_eq(kit_stats(&kit).segments, 1);
    cr_assert_eq(value("short.a", now), 1);
}

Test(storage, segments_past_their_retention_go)
{
    store("short.a", now, 1);
    ok(storage_seal_all(kit.st, &err));
    ok(storage_tick(kit.st, now + 590, &err));
    cr_assert_eq(kit_value(&kit, "short.a", now, now + 590), 1);
    ok(storage_tick(kit.st, now + 1200, &err));
    struct storage_stats stats = kit_stats(&kit);
    cr_assert_eq(stats.segments, 0);
    cr_assert_eq(stats.expired_segments, 1);
    cr_assert_eq(stats.segment_bytes, 0);
    cr_assert_not(exists("short.a")); /* it has no point left */
}

Test(storage, statistics_count)
{
    struct storage_stats stats;

    store("a", now, 1);
    store("b", now, 1);
    stats = kit_stats(&kit);
    cr_assert_eq(stats.series, 2);
    cr_assert_eq(stats.series_created, 2);
    cr_assert_eq(stats.windows_open, 1);
    cr_assert_gt(stats.grid_bytes, 0);
    cr_assert_gt(stats.index_bytes, 0);
    cr_assert_eq(stats.segments, 0);
    ok(storage_flush(kit.st, &err));
    ok(storage_seal_all(kit.st, &err));
    stats = kit_stats(&kit);
    cr_assert_eq(stats.unflushed_age_ms, 0);
    cr_assert_eq(stats.windows_open, 0);
    cr_assert_eq(stats.grid_bytes, 0);
    cr_assert_eq(stats.sealed_windows, 1);
    cr_assert_eq(stats.segments, 1);
    cr_assert_gt(stats.segment_bytes, 0);
    cr_assert_not(stats.io_failed);
    reopen();
    cr_assert_eq(kit_stats(&kit).series, 2);
    cr_assert_eq(kit_stats(&kit).series_created, 0);
}

Test(storage, a_manifest_that_lost_its_end_costs_no_segment)
{
    char path[500];
    struct file *file;
    uint64_t len;

    store("a", now, 1);
    ok(storage_seal_all(kit.st, &err));
    kit_close(&kit);
    snprintf(path, sizeof path, "%s/MANIFEST", kit.dir);
    ok(file_open(path, FILE_READ_WRITE, &file, &err));
    ok(file_size(file, &len, &err));
    ok(file_truncate(file, len - 32, &err));
    file_close(file);
    kit_open(&kit);
    cr_assert_eq(value("a", now), 1);
    /* The next window does not take its number. */
    store("b", now, 2);
    ok(storage_seal_all(kit.st, &err));
    reopen();
    cr_assert_eq(value("a", now), 1);
    cr_assert_eq(value("b", now), 2);
}

Test(storage, its_own_threads_do_the_housekeeping)
{
    kit_close(&kit);
    kit.options.manual = false;
    kit.options.sync_ms = 1;
    kit_open(&kit);
    store("a", now, 1);
    while (kit_stats(&kit).unflushed_age_ms != 0)
        ; /* the test's time limit is the assertion */
    kit_close(&kit);
    kit_open(&kit);
    cr_assert_eq(value("a", now), 1);
}
