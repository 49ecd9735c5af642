#include "tests/help/tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIVE_MAX 64

static char live[LIVE_MAX][sizeof(((struct tmpdir *)0)->path)];
static pid_t owner; /* a forked child of the test must not remove what the test still uses */

static _Noreturn void die(const char *what, const char *path)
{
    fprintf(stderr, "tmpdir: cannot %s %s: %s\n", what, path, strerror(errno));
    abort();
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void tmpdir_remove_tree(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

__attribute__((destructor)) static void remove_all(void)
{
    if (owner != getpid())
        return;
    for (int i = 0; i < LIVE_MAX; i++)
        if (live[i][0] != '\0')
            tmpdir_remove_tree(live[i]);
}

void tmpdir_init(struct tmpdir *t)
{
    const char *base = getenv("TMPDIR");
    int free_slot = 0;

    owner = getpid();
    while (free_slot < LIVE_MAX && live[free_slot][0] != '\0')
        free_slot++;
    if (free_slot == LIVE_MAX)
        die("keep one more of", "64 directories");
    snprintf(t->path, sizeof(t->path), "%s/plumbago-test-XXXXXX", base != NULL && *base != '\0' ? base : "/tmp");
    if (mkdtemp(t->path) == NULL)
        die("make", t->path);
    memcpy(live[free_slot], t->path, sizeof(t->path));
}

void tmpdir_release(struct tmpdir *t)
{
    for (int i = 0; i < LIVE_MAX; i++)
        if (strcmp(live[i], t->path) == 0)
            live[i][0] = '\0';
    tmpdir_remove_tree(t->path);
    t->path[0] = '\0';
}

const char *tmpdir_file(const struct tmpdir *t, const char *name)
{
    static _Thread_local char ring[16][512];
    static _Thread_local unsigned next;
    char *path = ring[next++ % 16];

    snprintf(path, sizeof(ring[0]), "%s/%s", t->path, name);
    return path;
}

/* ---- copying ---- */

static void copy_file(const char *from, const char *to, off_t size)
{
    static const char zeros[4096];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    char block[4096];
    off_t at = 0;

    if (in < 0 || out < 0)
        die("copy", from);
    for (;;) {
        ssize_t n = pread(in, block, sizeof(block), at);

        if (n < 0)
            die("read", from);
        if (n == 0)
            break;
        if (memcmp(block, zeros, (size_t)n) != 0 && pwrite(out, block, (size_t)n, at) != n)
            die("write", to);
        at += n;
    }
    if (ftruncate(out, size) != 0)
        die("write", to);
    close(in);
    close(out);
}

static const char *copy_from, *copy_to;

static int copy_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    char to[4096];

    (void)ftw;
    snprintf(to, sizeof(to), "%s%s", copy_to, path + strlen(copy_from));
    if (kind == FTW_D && mkdir(to, 0755) != 0)
        die("make", to);
    if (kind == FTW_F)
        copy_file(path, to, st->st_size);
    return 0;
}

void tmpdir_copy_tree(const char *from, const char *to)
{
    copy_from = from;
    copy_to = to;
    if (nftw(from, copy_one, 16, FTW_PHYS) != 0)
        die("copy", from);
}
