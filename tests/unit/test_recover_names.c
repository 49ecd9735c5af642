/* series.log read back: by threads when it is large, and written anew when most of it is dead. The contract:
 * recover_names.c and series_log.h. */
#include "storage/storage.h"

#include "base/file.h"
#include "base/log.h"
#include "storage/series_log.h"
#include "tests/help/powercut.h"
#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const int64_t now = 1700000000;

static struct tmpdir dir;
static struct store_kit kit;
static struct err err;

static void begin(void)
{
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    tmpdir_init(&dir);
    storage_thread_begin();
    kit = kit_of(tmpdir_file(&dir, "data"));
    kit_open(&kit);
}

static void end(void)
{
    file_set_hook(NULL);
    kit_close(&kit);
    storage_thread_end();
    tmpdir_release(&dir);
}

TestSuite(recover_names, .init = begin, .fini = end);

/* Names of some fifty bytes, every seventh with tags. */
static const char *name_of(int i)
{
    static char name[100];

    snprintf(
        name, sizeof name,
        i % 7 == 0 ? "requests.total;host=web-%d;path=/some/page" : "servers.web-%d.cpu.total.user.percent.average", i);
    return name;
}

static void store_all(int from, int to)
{
    storage_enter();
    store_begin(kit.writer, now);
    for (int i = from; i < to; i++)
        cr_assert_eq(store_point(kit.writer, &kit.hint, span_str(name_of(i)), now, i), STORE_OK);
    storage_leave();
}

/* Delete all names of [from, to) but each KEEP-th. */
static void delete_most(int from, int to, int keep)
{
    struct span *names = malloc((size_t)(to - from) * sizeof names[0]);
    uint64_t deleted;
    size_t count = 0;

    for (int i = from; i < to; i++)
        if (i % keep != 0)
            names[count++] = span_str(strdup(name_of(i)));
    cr_assert_eq(storage_delete_names(kit.st, names, count, &deleted, &err), 0);
    cr_assert_eq(deleted, count);
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)names[i].ptr);
    free(names);
}

static size_t leaves(const char *pattern)
{
    struct arena arena;
    struct storage_matches matches;

    arena_init(&arena, 0, NULL);
    storage_enter();
    cr_assert_eq(storage_find(kit.st, span_str(pattern), STORAGE_FIND_LEAVES, 0, &arena, &matches, &err), 0);
    storage_leave();
    arena_release(&arena);
    return matches.count;
}

static void reopen(void)
{
    kit_close(&kit);
    kit_open(&kit);
}

Test(recover_names, a_large_log_is_read_by_threads)
{
    enum { COUNT = 45000 };

    store_all(0, COUNT);
    delete_most(1000, 21000, 20);
    store_all(3000, 5000);
    reopen();
    cr_assert_gt(kit_stats(&kit).log_bytes, 3 << 20);
    uint64_t expected = COUNT - 20000 + 1000 + 2000 - 100;
    cr_assert_eq(kit_stats(&kit).series, expected);
    size_t untagged = 0;
    for (int i = 0; i < COUNT; i++) {
        bool there = i < 1000 || i >= 21000 || i % 20 == 0 || (i >= 3000 && i < 5000);
        uint32_t id;
        cr_assert_eq(kit_find(&kit, name_of(i), &id), there, "%s", name_of(i));
        untagged += there && i % 7 != 0;
    }
    cr_assert_eq(leaves("servers.*.cpu.total.user.percent.average"), untagged);
    for (int i = 0; i < COUNT; i += 997)
        if (i < 1000 || i >= 21000)
            cr_assert_eq(kit_value(&kit, name_of(i), now, now), i);
}

Test(recover_names, a_log_of_which_most_is_dead_is_written_anew)
{
    uint32_t id, last;

    store_all(0, 4000);
    cr_assert(kit_find(&kit, name_of(3999), &last));
    delete_most(0, 4000, 100);
    cr_assert_eq(storage_flush(kit.st, &err), 0);
    uint64_t before = kit_stats(&kit).log_bytes;
    reopen();
    uint64_t after = kit_stats(&kit).log_bytes;
    cr_assert_lt(after, before / 50);
    for (int round = 0; round < 2; round++) {
        cr_assert_eq(kit_stats(&kit).series, 40);
        for (int i = 0; i < 4000; i += 100)
            cr_assert_eq(kit_value(&kit, name_of(i), now, now), i);
        reopen();
        cr_assert_eq(kit_stats(&kit).log_bytes, after);
    }
    store_all(1, 2);
    cr_assert(kit_find(&kit, name_of(1), &id));
    cr_assert_eq(id, last + 1); /* ids did not go back */
    reopen();
    cr_assert_eq(kit_value(&kit, name_of(1), now, now), 1);
}

Test(recover_names, a_log_that_is_mostly_alive_stays)
{
    store_all(0, 4000);
    delete_most(0, 1600, 100000);
    uint64_t before = kit_stats(&kit).log_bytes;
    reopen();
    cr_assert_eq(kit_stats(&kit).log_bytes, before);
    cr_assert_eq(kit_stats(&kit).series, 2401);
}

/* A full disk at every step of writing it anew: the old one is used, and nothing is lost. */
static int fail_write(void *ctx, enum file_op op, const char *path, uint64_t offset, size_t *len)
{
    (void)offset;
    (void)len;
    return strstr(path, "series.log.tmp") != NULL && op == *(enum file_op *)ctx ? ENOSPC : 0;
}

Test(recover_names, a_full_disk_leaves_the_old_log_in_use)
{
    enum file_op ops[] = {FILE_OP_OPEN, FILE_OP_WRITE, FILE_OP_RESERVE};

    store_all(0, 4000);
    delete_most(0, 4000, 100);
    uint64_t before = kit_stats(&kit).log_bytes;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        struct file_hook hook = {.before = fail_write, .ctx = &ops[i]};
        kit_close(&kit);
        file_set_hook(&hook);
        kit_open(&kit);
        file_set_hook(NULL);
        cr_assert_eq(kit_stats(&kit).log_bytes, before);
        cr_assert_eq(kit_stats(&kit).series, 40);
        cr_assert_eq(kit_value(&kit, name_of(300), now, now), 300);
        cr_assert_lt(access(tmpdir_file(&dir, "data/series.log.tmp"), F_OK), 0);
    }
    reopen();
    cr_assert_lt(kit_stats(&kit).log_bytes, before / 50);
}

/* The power goes at each change that opening makes. */
Test(recover_names, a_power_cut_leaves_the_old_log_or_the_new_one, .timeout = 120)
{
    char data[400], after[400];

    store_all(0, 2000);
    delete_most(0, 2000, 100);
    cr_assert_eq(storage_flush(kit.st, &err), 0);
    kit_close(&kit);
    snprintf(data, sizeof data, "%s", kit.dir);
    snprintf(after, sizeof after, "%s", tmpdir_file(&dir, "after"));
    for (uint64_t stop = 0, stopped = 1; stopped; stop++) {
        char work[400];
        snprintf(work, sizeof work, "%s/work", dir.path);
        tmpdir_copy_tree(data, work);
        snprintf(kit.dir, sizeof kit.dir, "%s", work);
        struct powercut *pc = powercut_new(work);
        powercut_stop_after(pc, stop);
        if (kit_try_open(&kit, &err) == 0) {
            stopped = powercut_stopped(pc);
            powercut_stop(pc);
            kit_close(&kit);
        }
        for (int n = 0; n < 4; n++) {
            struct rng rng = rng_from(stop * 4 + (uint64_t)n);
            powercut_write(pc, n == 0 ? POWERCUT_LOST : n == 1 ? POWERCUT_KEPT : POWERCUT_RANDOM, NULL, &rng, after);
            file_set_hook(NULL);
            snprintf(kit.dir, sizeof kit.dir, "%s", after);
            kit_open(&kit);
            cr_assert_eq(kit_stats(&kit).series, 20);
            for (int i = 0; i < 2000; i += 100)
                cr_assert_eq(kit_value(&kit, name_of(i), now, now), i, "stopped after %d changes", (int)stop);
            kit_close(&kit);
            tmpdir_remove_tree(after);
        }
        powercut_free(pc);
        tmpdir_remove_tree(work);
    }
    snprintf(kit.dir, sizeof kit.dir, "%s", data);
    kit_open(&kit);
}
