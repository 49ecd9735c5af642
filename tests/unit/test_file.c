#include "base/file.h"

#include "base/buf.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tmpdir dir;

static void begin(void)
{
    tmpdir_init(&dir);
}

static void end(void)
{
    file_set_hook(NULL);
    tmpdir_release(&dir);
}

TestSuite(file, .init = begin, .fini = end);

static struct file *opened(const char *name, unsigned mode)
{
    struct err err = {0};
    struct file *f;

    cr_assert_eq(file_open(tmpdir_file(&dir, name), mode, &f, &err), 0, "%s", err.text);
    return f;
}

static bool exists(const char *name)
{
    return access(tmpdir_file(&dir, name), F_OK) == 0;
}

static uint64_t size_of(const char *name)
{
    struct stat st;

    cr_assert_eq(stat(tmpdir_file(&dir, name), &st), 0);
    return (uint64_t)st.st_size;
}

static void holds(const char *name, struct span want)
{
    char *text;
    size_t len;

    cr_assert_eq(file_slurp(tmpdir_file(&dir, name), 1000, &text, &len, NULL), 0);
    cr_assert(span_eq(span_of(text, len), want), "%s holds \"%s\"", name, text);
    cr_assert_eq(text[len], '\0');
    free(text);
}

/* ---- opening, reading, writing ---- */

Test(file, opens_by_mode)
{
    struct file *f;
    struct err err;

    cr_assert_eq(file_open(tmpdir_file(&dir, "a"), FILE_READ, &f, &err), ERR_MISSING);
    cr_assert_null(f);
    cr_assert_not_null(strstr(err.text, "/a does not exist"));
    f = opened("a", FILE_READ_WRITE | FILE_CREATE);
    cr_assert_str_eq(file_path(f), tmpdir_file(&dir, "a"));
    cr_assert_eq(file_write(f, "abc", 3, 0, &err), 0);
    file_close(f);
    cr_assert_eq(file_open(tmpdir_file(&dir, "a"), FILE_READ_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &f, &err), ERR_IO);
    cr_assert_eq(err.os_errno, EEXIST);
    file_close(opened("a", FILE_READ_WRITE | FILE_CREATE));
    holds("a", SPAN_LIT("abc"));
    file_close(opened("a", FILE_READ_WRITE | FILE_EMPTY));
    holds("a", SPAN_LIT(""));
    cr_assert_eq(file_open(tmpdir_file(&dir, "none/a"), FILE_READ_WRITE | FILE_CREATE, &f, &err), ERR_IO);
    cr_assert_eq(err.os_errno, ENOENT);
    file_close(NULL);
}

Test(file, reads_and_writes_at_offsets)
{
    struct file *f = opened("a", FILE_READ_WRITE | FILE_CREATE);
    struct err err;
    char got[10];
    uint64_t len;

    cr_assert_eq(file_write(f, "xyz", 3, 5, &err), 0);
    cr_assert_eq(file_write(f, "", 0, 0, &err), 0);
    cr_assert_eq(file_size(f, &len, &err), 0);
    cr_assert_eq(len, 8);
    cr_assert_eq(file_read(f, got, 8, 0, &err), 0);
    cr_assert_eq(memcmp(got, "\0\0\0\0\0xyz", 8), 0);
    cr_assert_eq(file_read(f, got, 0, 100, &err), 0);
    cr_assert_eq(file_read(f, got, 4, 6, &err), ERR_CORRUPT);
    cr_assert_not_null(strstr(err.text, "at 8: the file ends here, 2 more bytes"), "%s", err.text);
    cr_assert_eq(file_truncate(f, 6, &err), 0);
    cr_assert_eq(file_size(f, &len, &err), 0);
    cr_assert_eq(len, 6);
    cr_assert_eq(file_sync(f, &err), 0);
    file_close(f);
}

Test(file, a_file_for_reading_is_not_written)
{
    struct file *f;
    struct err err;

    file_close(opened("a", FILE_READ_WRITE | FILE_CREATE));
    f = opened("a", FILE_READ);
    cr_assert_eq(file_write(f, "a", 1, 0, &err), ERR_IO);
    cr_assert_eq(err.os_errno, EBADF);
    cr_assert_not_null(strstr(err.text, "cannot write 1 bytes at 0 of /"));
    file_close(f);
}

/* ---- space ---- */

Test(file, reserving_grows_but_never_shrinks)
{
    struct file *f = opened("a", FILE_READ_WRITE | FILE_CREATE);
    struct stat st;

    cr_assert_eq(file_reserve(f, 0, NULL), 0);
    cr_assert_eq(file_reserve(f, 100000, NULL), 0);
    cr_assert_eq(size_of("a"), 100000);
    cr_assert_eq(stat(tmpdir_file(&dir, "a"), &st), 0);
    cr_assert_geq(st.st_blocks * 512, 100000);
    cr_assert_eq(file_reserve(f, 5000, NULL), 0);
    cr_assert_eq(size_of("a"), 100000);
    file_close(f);
}

Test(file, a_reservation_that_does_not_fit_is_given_back)
{
    struct file *f = opened("a", FILE_READ_WRITE | FILE_CREATE);
    struct err err;
    uint64_t before, after;
    struct stat st;

    cr_assert_eq(file_write(f, "abc", 3, 0, NULL), 0);
    cr_assert_eq(file_disk_free(dir.path, &before, &err), 0);
    if (before < (uint64_t)1 << 42) { /* on a larger disk it would fit */
        cr_assert_lt(file_reserve(f, before + ((uint64_t)1 << 42), &err), 0);
        cr_assert(err.code == ERR_FULL || err.os_errno == EFBIG, "%s", err.text);
    }
    cr_assert_eq(size_of("a"), 3);
    cr_assert_eq(stat(tmpdir_file(&dir, "a"), &st), 0);
    cr_assert_leq(st.st_blocks, 64);
    cr_assert_eq(file_disk_free("/nonexistent", &after, &err), ERR_IO);
    file_close(f);
}

/* ---- locks ---- */

Test(file, a_lock_keeps_others_out_until_it_is_closed)
{
    struct file *mine = opened("LOCK", FILE_READ_WRITE | FILE_CREATE);
    struct file *other = opened("LOCK", FILE_READ_WRITE);
    struct err err;

    cr_assert_eq(file_lock(mine, &err), 0);
    cr_assert_eq(file_lock(other, &err), ERR_LOCKED);
    file_close(mine);
    cr_assert_eq(file_lock(other, &err), 0);
    file_close(other);
}

Test(file, a_lock_dies_with_its_process)
{
    struct file *f;
    int status;
    pid_t child = fork();

    if (child == 0) {
        f = opened("LOCK", FILE_READ_WRITE | FILE_CREATE);
        _exit(file_lock(f, NULL) == 0 ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    f = opened("LOCK", FILE_READ_WRITE);
    cr_assert_eq(file_lock(f, NULL), 0);
    file_close(f);
}

/* ---- mappings ---- */

Test(file, a_mapping_is_the_file)
{
    struct file *f = opened("a", FILE_READ_WRITE | FILE_CREATE);
    void *at, *second;
    char got[3];

    cr_assert_eq(file_reserve(f, 8192, NULL), 0);
    cr_assert_eq(file_map(f, 0, 8192, FILE_MAP_WRITE, &at, NULL), 0);
    memcpy((char *)at + 5000, "abc", 3);
    cr_assert_eq(file_sync(f, NULL), 0);
    cr_assert_eq(file_read(f, got, 3, 5000, NULL), 0);
    cr_assert_eq(memcmp(got, "abc", 3), 0);
    cr_assert_eq(file_map(f, 4096, 4096, FILE_MAP_READ, &second, NULL), 0);
    cr_assert_eq(memcmp((char *)second + 904, "abc", 3), 0);
    file_close(f); /* a mapping outlives its descriptor */
    ((char *)at)[5000] = 'z';
    cr_assert_eq(((char *)second)[904], 'z');
    file_unmap(at, 8192);
    file_unmap(second, 4096);
    file_unmap(NULL, 10);
}

Test(file, a_mapping_may_reach_beyond_the_end)
{
    struct file *f = opened("a", FILE_READ_WRITE | FILE_CREATE);
    void *at;

    cr_assert_eq(file_reserve(f, 4096, NULL), 0);
    cr_assert_eq(file_map(f, 0, 1 << 20, FILE_MAP_WRITE, &at, NULL), 0);
    cr_assert_eq(file_reserve(f, 8192, NULL), 0);
    ((char *)at)[8191] = 1; /* grown after it was mapped */
    file_unmap(at, 1 << 20);
    file_close(f);
}

Test(file, maps_whole_files)
{
    struct err err;
    struct span s = SPAN_LIT("x");

    cr_assert_eq(file_map_whole(tmpdir_file(&dir, "none"), &s, &err), ERR_MISSING);
    cr_assert_null(s.ptr);
    file_close(opened("empty", FILE_READ_WRITE | FILE_CREATE));
    cr_assert_eq(file_map_whole(tmpdir_file(&dir, "empty"), &s, &err), 0);
    cr_assert(s.ptr == NULL && s.len == 0);
    cr_assert_eq(file_put(tmpdir_file(&dir, "a"), SPAN_LIT("hello"), &err), 0);
    cr_assert_eq(file_map_whole(tmpdir_file(&dir, "a"), &s, &err), 0);
    cr_assert(span_eq(s, SPAN_LIT("hello")));
    file_unmap((void *)(uintptr_t)s.ptr, s.len);
}

Test(file, an_impossible_mapping_is_an_error)
{
    struct file *f = opened("a", FILE_READ_WRITE | FILE_CREATE);
    struct err err;
    void *at = f;

    cr_assert_lt(file_map(f, 0, SIZE_MAX / 2, FILE_MAP_READ, &at, &err), 0);
    cr_assert_null(at);
    cr_assert_lt(file_map(f, 1, 100, FILE_MAP_READ, &at, &err), 0);
    file_close(f);
}

/* ---- names ---- */

Test(file, renames_and_removes)
{
    struct err err;

    cr_assert_eq(file_put(tmpdir_file(&dir, "a"), SPAN_LIT("1"), &err), 0);
    cr_assert_eq(file_put(tmpdir_file(&dir, "b"), SPAN_LIT("2"), &err), 0);
    cr_assert_eq(file_rename(tmpdir_file(&dir, "a"), tmpdir_file(&dir, "b"), &err), 0);
    holds("b", SPAN_LIT("1"));
    cr_assert_not(exists("a"));
    cr_assert_eq(file_rename(tmpdir_file(&dir, "a"), tmpdir_file(&dir, "b"), &err), ERR_IO);
    cr_assert_not_null(strstr(err.text, "cannot rename"));
    cr_assert_eq(file_unlink(tmpdir_file(&dir, "b"), &err), 0);
    cr_assert_eq(file_unlink(tmpdir_file(&dir, "b"), &err), 0); /* gone already: fine */
    cr_assert_eq(file_unlink(dir.path, &err), ERR_IO);
    cr_assert_eq(file_sync_dir(dir.path, &err), 0);
    cr_assert_eq(file_sync_dir(tmpdir_file(&dir, "none"), &err), ERR_IO);
}

Test(file, makes_directories_with_their_parents)
{
    struct err err;

    cr_assert_eq(file_make_dir(tmpdir_file(&dir, "x/y//z/"), &err), 0, "%s", err.text);
    cr_assert(exists("x/y/z"));
    cr_assert_eq(file_make_dir(tmpdir_file(&dir, "x/y"), &err), 0);
    cr_assert_eq(file_put(tmpdir_file(&dir, "f"), SPAN_LIT(""), &err), 0);
    cr_assert_eq(file_make_dir(tmpdir_file(&dir, "f/g"), &err), ERR_IO);
    cr_assert_not_null(strstr(err.text, "/f: File exists"), "%s", err.text);
    cr_assert_eq(chdir(dir.path), 0);
    cr_assert_eq(file_make_dir("relative/path", &err), 0);
    cr_assert(exists("relative/path"));
    cr_assert_eq(chdir("/"), 0);
}

/* ---- whole files ---- */

Test(file, slurps_no_more_than_allowed)
{
    struct err err;
    char *text = (char *)1;
    size_t len;

    cr_assert_eq(file_put(tmpdir_file(&dir, "a"), SPAN_LIT("12345"), &err), 0);
    cr_assert_eq(file_slurp(tmpdir_file(&dir, "a"), 4, &text, &len, &err), ERR_LIMIT);
    cr_assert_null(text);
    cr_assert_eq(file_slurp(tmpdir_file(&dir, "a"), 5, &text, &len, &err), 0);
    cr_assert_str_eq(text, "12345");
    free(text);
    cr_assert_eq(file_slurp(tmpdir_file(&dir, "none"), 5, &text, &len, &err), ERR_MISSING);
    cr_assert_lt(file_slurp(dir.path, 1 << 20, &text, &len, &err), 0);
}

static int collect(void *ctx, const char *name)
{
    struct buf *b = ctx;

    buf_addf(b, "%s ", name);
    return strcmp(name, "stop") == 0 ? 7 : 0;
}

Test(file, lists_names_in_order)
{
    static const char *const names[] = {"b", "a", ".hidden", "c", "B"};
    struct buf b = {0};
    struct err err;

    for (size_t i = 0; i < 5; i++)
        file_close(opened(names[i], FILE_READ_WRITE | FILE_CREATE));
    cr_assert_eq(file_list(dir.path, collect, &b, &err), 0);
    cr_assert(span_eq(buf_span(&b), SPAN_LIT(".hidden B a b c ")), "%.*s", SPAN_ARG(buf_span(&b)));
    file_close(opened("stop", FILE_READ_WRITE | FILE_CREATE));
    file_close(opened("zzz", FILE_READ_WRITE | FILE_CREATE));
    cr_assert_eq(file_list(dir.path, collect, &b, &err), 7);
    cr_assert_eq(b.ptr[b.len - 2], 'p');
    cr_assert_eq(file_list(tmpdir_file(&dir, "none"), collect, &b, &err), ERR_MISSING);
    cr_assert_eq(file_list(tmpdir_file(&dir, "a"), collect, &b, &err), ERR_IO);
    buf_release(&b);
}

Test(file, lists_many_names)
{
    struct buf b = {0};
    char name[16];

    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "%03d", i);
        file_close(opened(name, FILE_READ_WRITE | FILE_CREATE));
    }
    cr_assert_eq(file_list(dir.path, collect, &b, NULL), 0);
    cr_assert_eq(b.len, 300 * 4);
    cr_assert_eq(strncmp(b.ptr + 299 * 4, "299 ", 4), 0);
    buf_release(&b);
}

/* ---- the hook ---- */

struct watcher {
    enum file_op fail_op; /* the operation that fails... */
    int fail_errno;       /* ...with this; 0: none */
    size_t torn;          /* bytes of a failing write that are written all the same */
    int asked, told;
    struct buf seen; /* what was told */
};

static int before(void *ctx, enum file_op op, const char *path, uint64_t offset, size_t *len)
{
    struct watcher *w = ctx;

    (void)offset;
    cr_assert_not_null(path);
    w->asked++;
    if (w->fail_errno == 0 || op != w->fail_op)
        return 0;
    if (op == FILE_OP_WRITE && w->torn < *len)
        *len = w->torn;
    return w->fail_errno;
}

static void after(void *ctx, enum file_op op, const char *path, const char *from, uint64_t offset, size_t len)
{
    struct watcher *w = ctx;
    const char *name = strrchr(path, '/') + 1;

    w->told++;
    buf_addf(&w->seen, "%d %s", (int)op, name);
    if (from != NULL)
        buf_addf(&w->seen, " from %s", strrchr(from, '/') + 1);
    buf_addf(&w->seen, " %d+%d\n", (int)offset, (int)len);
}

/* Every operation once, the errors summed up: one bit for each function that failed. */
static unsigned use_everything(struct err *err)
{
    struct file *f = NULL;
    char *text, byte = 0;
    size_t len;
    void *at = NULL;
    unsigned failed = 0;

    failed |= (file_make_dir(tmpdir_file(&dir, "d"), err) < 0) << FILE_OP_MAKE_DIR;
    failed |= (file_open(tmpdir_file(&dir, "a"), FILE_READ_WRITE | FILE_CREATE, &f, err) < 0) << FILE_OP_OPEN;
    if (f == NULL)
        return failed;
    failed |= (file_lock(f, err) < 0) << FILE_OP_LOCK;
    failed |= (file_reserve(f, 8192, err) < 0) << FILE_OP_RESERVE;
    failed |= (file_truncate(f, 4096, err) < 0) << FILE_OP_TRUNCATE;
    failed |= (file_write(f, "abcd", 4, 10, err) < 0) << FILE_OP_WRITE;
    failed |= (file_read(f, &byte, 1, 11, err) < 0) << FILE_OP_READ;
    failed |= (file_map(f, 0, 4096, FILE_MAP_READ, &at, err) < 0) << FILE_OP_MAP;
    failed |= (file_sync(f, err) < 0) << FILE_OP_SYNC;
    file_unmap(at, 4096);
    file_close(f);
    failed |= (file_rename(tmpdir_file(&dir, "a"), tmpdir_file(&dir, "b"), err) < 0) << FILE_OP_RENAME;
    failed |= (file_unlink(tmpdir_file(&dir, "b"), err) < 0) << FILE_OP_UNLINK;
    failed |= (file_sync_dir(dir.path, err) < 0) << FILE_OP_SYNC_DIR;
    if (file_slurp(tmpdir_file(&dir, "none"), 10, &text, &len, err) == 0)
        free(text);
    return failed;
}

Test(file, the_hook_sees_everything_in_order)
{
    struct watcher w = {0};
    struct file_hook hook = {before, after, &w};
    struct buf want = {0};

    file_set_hook(&hook);
    cr_assert_eq(use_everything(NULL), 0);
    file_set_hook(NULL);
    buf_addf(&want,
             "%d d 0+0\n%d a 0+0\n%d a 0+0\n%d a 0+8192\n%d a 0+4096\n%d a 10+4\n%d a 11+1\n%d a 0+4096\n%d a 0+0\n"
             "%d b from a 0+0\n%d b 0+0\n%d %s 0+0\n",
             FILE_OP_MAKE_DIR, FILE_OP_OPEN, FILE_OP_LOCK, FILE_OP_RESERVE, FILE_OP_TRUNCATE, FILE_OP_WRITE,
             FILE_OP_READ, FILE_OP_MAP, FILE_OP_SYNC, FILE_OP_RENAME, FILE_OP_UNLINK, FILE_OP_SYNC_DIR,
             strrchr(dir.path, '/') + 1);
    cr_assert(span_eq(buf_span(&w.seen), buf_span(&want)), "%.*s", SPAN_ARG(buf_span(&w.seen)));
    cr_assert_eq(w.asked, w.told + 1); /* the last open failed by itself */
    buf_release(&w.seen);
    buf_release(&want);
}

Test(file, the_hook_fails_each_operation)
{
    for (enum file_op op = FILE_OP_OPEN; op <= FILE_OP_LOCK; op++) {
        struct watcher w = {.fail_op = op, .fail_errno = EIO, .torn = 100};
        struct file_hook hook = {before, NULL, &w};
        struct err err = {0};

        file_set_hook(&hook);
        cr_assert_eq(use_everything(&err), 1u << op, "operation %d", (int)op);
        file_set_hook(NULL);
        tmpdir_remove_tree(tmpdir_file(&dir, "d"));
        tmpdir_remove_tree(tmpdir_file(&dir, "a"));
        tmpdir_remove_tree(tmpdir_file(&dir, "b"));
    }
}

Test(file, a_full_disk_has_a_code_of_its_own)
{
    struct watcher w = {.fail_op = FILE_OP_WRITE, .fail_errno = ENOSPC, .torn = 2};
    struct file_hook hook = {before, NULL, &w};
    struct file *f = opened("a", FILE_READ_WRITE | FILE_CREATE);
    struct err err;

    file_set_hook(&hook);
    cr_assert_eq(file_write(f, "abcd", 4, 0, &err), ERR_FULL);
    w.fail_op = FILE_OP_RESERVE;
    cr_assert_eq(file_reserve(f, 1 << 20, &err), ERR_FULL);
    file_set_hook(NULL);
    file_close(f);
    holds("a", SPAN_LIT("ab")); /* the write was torn, the reservation left nothing */
}

Test(file, a_hook_without_functions_changes_nothing)
{
    struct file_hook hook = {NULL, NULL, NULL};

    file_set_hook(&hook);
    cr_assert_eq(use_everything(NULL), 0);
}

/* A put that fails at any of its steps leaves the old content, and no temporary file. */
Test(file, puts_all_or_nothing)
{
    static const enum file_op steps[] = {FILE_OP_OPEN, FILE_OP_WRITE, FILE_OP_SYNC, FILE_OP_RENAME};
    struct err err;

    cr_assert_eq(file_put(tmpdir_file(&dir, "a"), SPAN_LIT("old"), &err), 0);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct watcher w = {.fail_op = steps[i], .fail_errno = EIO, .torn = 1};
        struct file_hook hook = {before, NULL, &w};

        file_set_hook(&hook);
        cr_assert_eq(file_put(tmpdir_file(&dir, "a"), SPAN_LIT("new"), &err), ERR_IO);
        file_set_hook(NULL);
        holds("a", SPAN_LIT("old"));
        cr_assert_not(exists("a.tmp"));
    }
    cr_assert_eq(file_put(tmpdir_file(&dir, "a"), SPAN_LIT("new"), &err), 0);
    holds("a", SPAN_LIT("new"));
    cr_assert_eq(chdir(dir.path), 0);
    cr_assert_eq(file_put("plain", SPAN_LIT("x"), &err), 0);
    holds("plain", SPAN_LIT("x"));
    cr_assert_eq(chdir("/"), 0);
}

Test(file, a_put_that_could_not_sync_the_directory_says_so)
{
    struct watcher w = {.fail_op = FILE_OP_SYNC_DIR, .fail_errno = EIO};
    struct file_hook hook = {before, NULL, &w};
    struct err err;

    file_set_hook(&hook);
    cr_assert_eq(file_put(tmpdir_file(&dir, "a"), SPAN_LIT("new"), &err), ERR_IO);
    cr_assert_not_null(strstr(err.text, "cannot sync the directory"));
}
