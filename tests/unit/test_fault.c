#include "base/fault.h"
#include "base/file.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 4 };

/* PAGES mapped pages of which all but the first are gone. */
static struct span cut_mapping(struct tmpdir *dir)
{
    const char *path = tmpdir_file(dir, "cut");
    struct span map;
    struct err err = {0};
    struct file *f;
    static char bytes[PAGE * PAGES];

    cr_assert_eq(file_open(path, FILE_READ_WRITE | FILE_CREATE, &f, &err), 0, "%s", err.text);
    cr_assert_eq(file_write(f, bytes, sizeof bytes, 0, &err), 0, "%s", err.text);
    cr_assert_eq(file_map_whole(path, &map, &err), 0, "%s", err.text);
    cr_assert_eq(file_truncate(f, PAGE, &err), 0, "%s", err.text);
    file_close(f);
    return map;
}

__attribute__((noinline)) static int byte_at(const char *at)
{
    return *(const volatile char *)at;
}

/* The byte at AT, or -1 when reading it faults in the LEN bytes at PTR; *where is the place then. */
static int guarded(const char *at, const char *ptr, size_t len, const char **where)
{
    struct fault fault;

    if (FAULT_CAUGHT(&fault, ptr, len)) {
        *where = fault.at;
        return -1;
    }
    int byte = byte_at(at);
    fault_leave(&fault);
    return byte;
}

Test(fault, gives_the_place_of_a_byte_that_is_gone)
{
    struct tmpdir dir;
    const char *where = NULL;

    tmpdir_init(&dir);
    fault_init();
    fault_init(); /* twice is fine */
    struct span map = cut_mapping(&dir);
    cr_assert_eq(guarded(map.ptr + 5, map.ptr, map.len, &where), 0);
    for (int i = 0; i < 100; i++) { /* the signal is not blocked afterwards */
        cr_assert_eq(guarded(map.ptr + PAGE + 17 + i, map.ptr, map.len, &where), -1);
        cr_assert_eq(where, map.ptr + PAGE + 17 + i);
    }
    cr_assert_null(fault_innermost);
    tmpdir_release(&dir);
}

Test(fault, is_met_by_the_guard_that_watches_the_place)
{
    struct tmpdir dir;
    const char *where = NULL;
    struct fault outer;
    static volatile int outer_met;

    tmpdir_init(&dir);
    fault_init();
    struct span map = cut_mapping(&dir);
    if (FAULT_CAUGHT(&outer, map.ptr + 2 * PAGE, PAGE)) {
        outer_met++;
    } else {
        cr_assert_eq(guarded(map.ptr + PAGE, map.ptr + PAGE, PAGE, &where), -1); /* the inner one's */
        cr_assert_eq(fault_innermost, &outer);
        guarded(map.ptr + 2 * PAGE, map.ptr + PAGE, PAGE, &where);
        cr_assert_fail("the outer guard's fault was not caught");
    }
    cr_assert_eq(outer_met, 1);
    cr_assert_null(fault_innermost);
    tmpdir_release(&dir);
}

static void *fault_often(void *arg)
{
    const struct span *map = arg;
    const char *where = NULL;

    for (size_t i = 0; i < 1000; i++) {
        const char *at = map->ptr + PAGE + i * 7;
        if (guarded(at, map->ptr, map->len, &where) != -1 || where != at)
            return NULL;
    }
    return arg;
}

Test(fault, concerns_one_thread)
{
    struct tmpdir dir;
    pthread_t thread[4];
    void *result;

    tmpdir_init(&dir);
    fault_init();
    struct span map = cut_mapping(&dir);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, fault_often, &map), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], &result);
        cr_assert_eq(result, &map);
    }
    tmpdir_release(&dir);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their reports end a process otherwise */
Test(fault, elsewhere_ends_the_process, .signal = SIGBUS)
{
    struct tmpdir dir;
    const char *where = NULL;

    tmpdir_init(&dir);
    fault_init();
    struct span map = cut_mapping(&dir);
    tmpdir_release(&dir); /* the mapping stays */
    guarded(map.ptr + PAGE, map.ptr, PAGE, &where);
}

Test(fault, a_signal_that_was_sent_ends_the_process, .signal = SIGBUS)
{
    fault_init();
    raise(SIGBUS);
}
#endif
