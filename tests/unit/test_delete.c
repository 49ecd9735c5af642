/* Series that are deleted, on request or because no point of them is left. The contract: storage.h, delete.c. */
#include "storage/storage.h"

#include "base/clock.h"
#include "base/log.h"
#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { DAY_S = 86400 };

static struct tmpdir dir;
static struct store_kit kit;
static struct err err;
static int64_t now;

static void advance(int64_t by_s)
{
    now += by_s;
    clock_fake_ns(now * 1000000000);
}

static void begin(void)
{
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    tmpdir_init(&dir);
    storage_thread_begin();
    kit_put_file(tmpdir_file(&dir, "schemas.conf"), "[a]\npattern = .\nretentions = 1s:10m,10s:1h\n");
    kit = kit_of(tmpdir_file(&dir, "data"));
    static char schemas[400];
    snprintf(schemas, sizeof schemas, "%s", tmpdir_file(&dir, "schemas.conf"));
    kit.options.schemas_path = schemas;
    now = 1700000000;
    advance(0);
    kit_open(&kit);
}

static void end(void)
{
    kit_close(&kit);
    clock_real();
    storage_thread_end();
    tmpdir_release(&dir);
}

TestSuite(delete, .init = begin, .fini = end);

static uint64_t delete_max(const char *pattern, size_t max)
{
    uint64_t deleted;

    cr_assert_eq(storage_delete(kit.st, span_str(pattern), max, &deleted, &err), 0, "%s", err.text);
    return deleted;
}

static uint64_t delete (const char *pattern)
{
    return delete_max(pattern, 0);
}

static void store(const char *name, double v)
{
    cr_assert_eq(kit_store(&kit, name, now, now, v), STORE_OK);
}

static double value(const char *name)
{
    return kit_value(&kit, name, now, now);
}

static bool exists(const char *name)
{
    uint32_t id;

    return kit_find(&kit, name, &id);
}

static uint32_t id_of(const char *name)
{
    uint32_t id;

    cr_assert(kit_find(&kit, name, &id), "there is no %s", name);
    return id;
}

static size_t found(const char *pattern)
{
    struct arena arena;
    struct storage_matches matches;

    arena_init(&arena, 0, NULL);
    storage_enter();
    int rc =
        storage_find(kit.st, span_str(pattern), STORAGE_FIND_LEAVES | STORAGE_FIND_BRANCHES, 0, &arena, &matches, &err);
    storage_leave();
    arena_release(&arena);
    cr_assert_eq(rc, 0);
    return matches.count;
}

static void reopen(void)
{
    kit_close(&kit);
    kit_open(&kit);
}

static void tick(void)
{
    cr_assert_eq(storage_tick(kit.st, now, &err), 0, "%s", err.text);
}

/* ---- on request ---- */

Test(delete, a_deleted_series_is_gone_at_once)
{
    store("a.b.c", 1);
    store("a.b.d", 2);
    cr_assert_eq(delete ("a.b.c"), 1);
    cr_assert_not(exists("a.b.c"));
    cr_assert_eq(found("a.b.*"), 1);
    cr_assert_eq(value("a.b.d"), 2);
    cr_assert_eq(kit_stats(&kit).series, 1);
    cr_assert_eq(kit_stats(&kit).series_deleted, 1);
}

Test(delete, what_is_not_there_is_not_deleted)
{
    store("a.b", 1);
    cr_assert_eq(delete ("a.c"), 0);
    cr_assert_eq(delete ("a"), 0);
    cr_assert_eq(delete ("b.*"), 0);
    cr_assert_eq(value("a.b"), 1);
}

Test(delete, the_old_id_has_no_points_any_more)
{
    struct arena arena;
    struct storage_points p;

    store("a.b", 1);
    uint32_t id = id_of("a.b");
    delete ("a.b");
    store("a.b", 2);
    arena_init(&arena, 0, NULL);
    storage_enter();
    cr_assert_eq(storage_fetch(kit.st, id, now - 60, now, now, &arena, &p, &err), 0);
    storage_leave();
    arena_release(&arena);
    cr_assert_eq(p.count, 0);
}

Test(delete, a_name_that_comes_again_is_a_new_series_without_old_points)
{
    store("a.b", 1);
    uint32_t id = id_of("a.b");
    int64_t then = now;
    delete ("a.b");
    advance(5);
    store("a.b", 2);
    cr_assert_neq(id_of("a.b"), id);
    cr_assert(isnan(kit_value(&kit, "a.b", then, now)));
    cr_assert_eq(value("a.b"), 2);
}

Test(delete, sealing_merging_and_restarts_bring_nothing_back)
{
    int64_t then = now;

    store("a.b", 1);
    store("a.c", 1);
    cr_assert_eq(storage_seal_all(kit.st, &err), 0);
    delete ("a.b");
    store("a.b", 2);
    advance(1);
    store("a.b", 3);
    for (int round = 0; round < 4; round++) {
        cr_assert_eq(round == 0 ? storage_seal_all(kit.st, &err) : storage_merge_all(kit.st, &err), 0);
        cr_assert_eq(kit_value(&kit, "a.b", then, now), 2);
        cr_assert_eq(value("a.b"), 3);
        cr_assert_eq(kit_value(&kit, "a.c", then, now), 1);
        if (round == 2)
            reopen();
    }
    delete ("a.b");
    cr_assert_eq(storage_merge_all(kit.st, &err), 0);
    reopen();
    cr_assert_not(exists("a.b"));
}

Test(delete, a_pattern_takes_a_subtree)
{
    store("x.a.1", 1);
    store("x.a.2", 1);
    store("x.b.1", 1);
    store("y", 1);
    cr_assert_eq(delete ("x.a.*"), 2);
    cr_assert_eq(found("x.*"), 1); /* the branch x.a has gone with them */
    cr_assert_eq(delete ("**"), 2);
    cr_assert_eq(found("*"), 0);
    cr_assert_eq(kit_stats(&kit).series, 0);
}

Test(delete, beyond_the_maximum_nothing_is_deleted)
{
    uint64_t deleted;

    store("a.1", 1);
    store("a.2", 1);
    store("a.3", 1);
    cr_assert_eq(storage_delete(kit.st, SPAN_LIT("a.*"), 2, &deleted, &err), ERR_LIMIT);
    cr_assert_eq(deleted, 0);
    cr_assert_eq(kit_stats(&kit).series, 3);
    cr_assert_eq(delete_max("a.*", 3), 3);
}

Test(delete, tagged_names_go_too)
{
    store("disk.used;host=a", 1);
    store("disk.used;host=b", 2);
    cr_assert_eq(delete ("disk.used;host=a"), 1);
    cr_assert_not(exists("disk.used;host=a"));
    cr_assert_eq(value("disk.used;host=b"), 2);
    reopen();
    cr_assert_not(exists("disk.used;host=a"));
    store("disk.used;host=a", 3);
    cr_assert_eq(value("disk.used;host=a"), 3);
}

Test(delete, the_sender_that_predicts_the_name_makes_it_again)
{
    static const char *const names[] = {"p.1", "p.2", "p.3"};

    for (int round = 0; round < 4; round++, advance(1)) {
        for (int i = 0; i < 3; i++)
            store(names[i], round * 10 + i); /* one connection, the same order: each predicts the next */
        if (round == 2) {
            cr_assert_eq(delete ("p.2"), 1);
            store("p.1", 0);
            store("p.2", 5);
            cr_assert_eq(value("p.2"), 5);
        }
    }
    advance(-1);
    cr_assert_eq(value("p.2"), 31);
}

Test(delete, many_names_come_and_go_in_the_same_hash_table)
{
    char name[32];

    for (int i = 0; i < 20000; i++) {
        sprintf(name, "n%d", i);
        store(name, i);
        if (i >= 100) {
            sprintf(name, "n%d", i - 100);
            cr_assert_eq(delete (name), 1);
        }
    }
    for (int i = 0; i < 20000; i += i < 19900 ? 500 : 1) {
        sprintf(name, "n%d", i);
        cr_assert_eq(exists(name), i >= 19900, "%s", name);
    }
    cr_assert_eq(kit_stats(&kit).series, 100);
    reopen();
    cr_assert_eq(kit_stats(&kit).series, 100);
    cr_assert_eq(value("n19950"), 19950);
}

/* ---- series without points ---- */

Test(delete, a_series_goes_with_its_last_point)
{
    store("old", 1);
    advance(1800);
    store("new", 2);
    tick();
    cr_assert(exists("old"));
    advance(1860);
    store("new", 3); /* the last point of "old" is past the last archive, its segment not yet */
    advance(7200);
    tick();
    cr_assert_not(exists("old"));
    cr_assert_not(exists("new"));
    cr_assert_eq(found("*"), 0);
    cr_assert_eq(kit_stats(&kit).series_deleted, 2);
    reopen();
    cr_assert_eq(kit_stats(&kit).series, 0);
}

Test(delete, a_series_with_a_point_in_the_coarsest_archive_stays)
{
    store("a", 1);
    for (int i = 0; i < 10; i++) {
        advance(300);
        store("b", i);
        tick();
    }
    cr_assert(exists("a")); /* 50 minutes old */
    for (int i = 0; i < 20; i++) {
        advance(300);
        store("b", i);
        tick();
    }
    cr_assert_not(exists("a"));
    cr_assert_eq(value("b"), 19);
}

Test(delete, series_stay_when_they_shall_not_expire)
{
    kit_close(&kit);
    kit.options.expire_series = false;
    kit_open(&kit);
    store("a", 1);
    advance(10 * DAY_S);
    tick();
    cr_assert_eq(kit_stats(&kit).segments, 0);
    cr_assert(exists("a"));
}

Test(delete, a_name_of_which_only_points_came_that_were_too_old_goes_in_time)
{
    cr_assert_eq(kit_store(&kit, "late", now, now - 2 * DAY_S, 1), STORE_TOO_OLD);
    tick();
    cr_assert(exists("late"));
    advance(3601);
    tick();
    cr_assert_not(exists("late"));
}

Test(delete, records_of_series_that_went_give_their_memory_back)
{
    char name[32];

    for (int i = 0; i < 100000; i++) {
        sprintf(name, "many.%d", i);
        store(name, 1);
    }
    store("one", 1);
    uint64_t before = kit_stats(&kit).index_bytes;
    cr_assert_eq(delete ("many.*"), 100000);
    advance(700);
    store("one", 1);
    tick();
    tick();
    cr_assert_lt(kit_stats(&kit).index_bytes, before / 4);
    cr_assert_eq(value("one"), 1);
    store("many.5", 7);
    cr_assert_eq(value("many.5"), 7);
}

/* ---- while others write ---- */

enum { RACE_NAMES = 200 };

/* A thread that stores one point to each name at .now_s. */
struct racer {
    struct storage *st;
    struct store_writer *writer;
    int64_t now_s;
    int round;
};

static void *race_main(void *arg)
{
    struct racer *r = arg;
    struct store_hint hint = {0};

    storage_thread_begin();
    for (int i = 0; i < RACE_NAMES; i++) {
        char name[32];
        int n = sprintf(name, "race.%d", i);
        storage_enter();
        store_begin(r->writer, r->now_s);
        if (store_point(r->writer, &hint, span_of(name, (size_t)n), r->now_s, r->round * 1000 + i) != STORE_OK)
            abort();
        storage_leave();
    }
    storage_thread_end();
    return NULL;
}

static pthread_t race_begin(struct racer *r)
{
    pthread_t thread;

    r->now_s = now;
    cr_assert_eq(pthread_create(&thread, NULL, race_main, r), 0);
    return thread;
}

/* Each round all points of the round before are too old, and while the sweep takes the series away, new points
 * come in: what was taken must be there, in the old series or in a new one. */
Test(delete, no_point_is_lost_while_its_series_leaves, .timeout = 60)
{
    struct racer racer = {.st = kit.st};
    char name[32];

    cr_assert_eq(store_writer_new(kit.st, &racer.writer, &err), 0);
    for (racer.round = 0; racer.round < 40; racer.round++) {
        advance(DAY_S);
        pthread_t thread = race_begin(&racer);
        tick();
        tick();
        pthread_join(thread, NULL);
        for (int i = 0; i < RACE_NAMES; i++) {
            sprintf(name, "race.%d", i);
            cr_assert_eq(value(name), racer.round * 1000 + i, "%s in round %d", name, racer.round);
        }
    }
    store_writer_free(racer.writer);
}

/* Of a store at the same time as a deletion either may be first; afterwards name, tree and points agree. */
Test(delete, a_deletion_beside_stores_leaves_old_or_new, .timeout = 60)
{
    struct racer racer = {.st = kit.st};
    char name[32];

    cr_assert_eq(store_writer_new(kit.st, &racer.writer, &err), 0);
    for (racer.round = 0; racer.round < 40; racer.round++) {
        pthread_t thread = race_begin(&racer);
        delete ("race.*");
        pthread_join(thread, NULL);
        size_t there = 0;
        for (int i = 0; i < RACE_NAMES; i++) {
            sprintf(name, "race.%d", i);
            there += exists(name);
            cr_assert(!exists(name) || value(name) == racer.round * 1000 + i, "%s in round %d", name, racer.round);
        }
        cr_assert_eq(found("race.*"), there);
        cr_assert_eq(kit_stats(&kit).series, there);
    }
    store_writer_free(racer.writer);
}
