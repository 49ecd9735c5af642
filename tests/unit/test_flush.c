/* A device that does not take what is written: points stay readable, are written elsewhere, and nobody says that
 * they are safe before they are. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "storage/internal.h"
#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SERIES = 700, STEP_S = 10 }; /* more than the first block of rows: two grids */

static int64_t now_s = 1700000000;
static struct tmpdir dir;
static struct store_kit kit;

/* Syncs of files whose path contains a word fail. */
static const char *failing;
static unsigned failures;

static int fail_sync(void *ctx, enum file_op op, const char *path, uint64_t offset, size_t *len)
{
    (void)ctx;
    (void)offset;
    (void)len;
    if (op != FILE_OP_SYNC || failing == NULL || strstr(path, failing) == NULL)
        return 0;
    failures++;
    return EIO;
}

static const struct file_hook hook = {.before = fail_sync};

static void setup(void)
{
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    tmpdir_init(&dir);
    storage_thread_begin();
    clock_fake_ns(now_s * 1000000000);
    kit = kit_of(tmpdir_file(&dir, "data"));
    kit_open(&kit);
    /* The rule of the first series is synced at once, else the point is refused. */
    cr_assert_eq(kit_store(&kit, "first", now_s, now_s, 1), STORE_OK);
    file_set_hook(&hook);
}

static void teardown(void)
{
    file_set_hook(NULL);
    kit_close(&kit);
    clock_real();
    storage_thread_end();
    tmpdir_release(&dir);
}

TestSuite(flush, .init = setup, .fini = teardown);

static const char *name_of(int i)
{
    static char name[64];

    sprintf(name, "host%d.count", i);
    return name;
}

static void store_all(int64_t t_s)
{
    for (int i = 0; i < SERIES; i++)
        cr_assert_eq(kit_store(&kit, name_of(i), now_s, t_s, (double)(t_s + i)), STORE_OK);
}

static void check_all(int64_t t_s)
{
    for (int i = 0; i < SERIES; i += 9)
        cr_assert_eq(kit_value(&kit, name_of(i), t_s, now_s), (double)(t_s + i), "%s", name_of(i));
}

static void tick(void)
{
    struct err err;

    storage_tick(kit.st, now_s, &err); /* may fail */
}

Test(flush, a_grid_that_cannot_be_synced_is_written_elsewhere)
{
    struct err err = {0};

    store_all(now_s);
    failing = "-b0.grid"; /* a bad block under that file: it fails from now on */
    cr_assert_eq(storage_flush(kit.st, &err), ERR_IO);
    struct storage_stats stats = kit_stats(&kit);
    cr_assert(stats.io_failed);
    cr_assert_eq(stats.io_errors, 1);
    check_all(now_s);
    cr_assert_eq(stats.segments, 0);

    tick();
    stats = kit_stats(&kit);
    cr_assert_eq(stats.segments, 1);
    cr_assert_eq(stats.windows_open, 0);
    check_all(now_s);
    unsigned before = failures;
    cr_assert_eq(storage_flush(kit.st, &err), 0, "%s", err.text);
    cr_assert_eq(failures, before, "the file is not tried again");
    cr_assert_not(kit_stats(&kit).io_failed);

    failing = NULL;
    store_all(now_s - STEP_S); /* the same span goes on in a new window */
    cr_assert_eq(kit_stats(&kit).windows_open, 1);
    cr_assert_eq(storage_flush(kit.st, &err), 0, "%s", err.text);
    kit_close(&kit);
    kit_open(&kit);
    check_all(now_s);
    check_all(now_s - STEP_S);
}

Test(flush, a_device_that_fails_for_a_while_loses_nothing)
{
    struct err err = {0};

    failing = ".";
    for (int round = 0; round < 20; round++) {
        store_all(now_s - round * STEP_S);
        cr_assert_lt(storage_flush(kit.st, &err), 0);
        tick();
        cr_assert(kit_stats(&kit).io_failed);
        cr_assert_leq(kit_stats(&kit).windows_open, 2, "windows do not pile up");
    }
    for (int round = 0; round < 20; round++)
        check_all(now_s - round * STEP_S);
    cr_assert_geq(kit_stats(&kit).io_errors, 20);

    failing = NULL;
    cr_assert_eq(storage_flush(kit.st, &err), 0, "%s", err.text);
    tick();
    cr_assert_eq(storage_flush(kit.st, &err), 0, "%s", err.text);
    cr_assert_not(kit_stats(&kit).io_failed, "it recovers by itself");
    cr_assert_eq(kit_stats(&kit).unflushed_age_ms, 0);
    kit_close(&kit);
    kit_open(&kit);
    for (int round = 0; round < 20; round++)
        check_all(now_s - round * STEP_S);
}

Test(flush, one_failure_that_passes_is_repaired_too)
{
    struct err err = {0};

    store_all(now_s);
    failing = ".grid";
    cr_assert_eq(storage_flush(kit.st, &err), ERR_IO);
    failing = NULL;
    cr_assert_eq(storage_flush(kit.st, &err), 0, "its pages were marked again: %s", err.text);
    cr_assert(kit_stats(&kit).io_failed, "until it is written elsewhere, too");
    tick();
    cr_assert_eq(storage_flush(kit.st, &err), 0, "%s", err.text);
    cr_assert_not(kit_stats(&kit).io_failed);
    check_all(now_s);
}

Test(flush, names_that_could_not_be_synced_are_tried_again)
{
    struct err err = {0};

    failing = "series.log";
    store_all(now_s);
    cr_assert_lt(storage_flush(kit.st, &err), 0);
    cr_assert(kit_stats(&kit).io_failed);
    cr_assert_lt(storage_flush(kit.st, &err), 0);
    failing = NULL;
    cr_assert_eq(storage_flush(kit.st, &err), 0, "%s", err.text);
    cr_assert_not(kit_stats(&kit).io_failed);
}
