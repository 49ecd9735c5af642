/* Names and contents are kept apart, as a disk does: a *node* is a file or directory whatever it is
 * called, a *name* leads to a node. There are two tables of names, the durable one and the present
 * one, and the list of changes that lead from the first to the second. Syncing a directory applies
 * its changes to the durable table; a cut applies a random part of them to a copy. */
#include "tests/help/powercut.h"

#include "base/file.h"
#include "tests/help/tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512

struct image {
    char *bytes;
    size_t len;
};

struct node {
    bool is_dir;
    struct image durable; /* as of the last sync */
    struct image syncing; /* as of the beginning of a sync that runs */
    struct image present; /* once it has no name any more, or the power is off; before that read the file */
};

struct name {
    char *path; /* below the directory, without a slash in front */
    struct node *node;
};

struct names {
    struct name *items;
    size_t count;
};

/* NODE is called TO from now on (NULL: nothing any more), and not FROM (NULL: it is new). */
struct change {
    char *from;
    char *to;
    struct node *node;
    bool lost; /* in the state that is being written */
};

struct powercut {
    char *dir;
    pthread_mutex_t lock; /* guards everything below */
    struct file_hook hook;
    struct node **nodes;
    size_t node_count;
    struct names durable;
    struct names present;
    struct change *changes;
    size_t change_count;
    uint64_t done;       /* changes so far */
    uint64_t stop_after; /* the power goes when DONE is this and one more comes */
    bool stopped;
};

static struct powercut *the_one;

static _Noreturn void die(const char *what, const char *path)
{
    fprintf(stderr, "powercut: cannot %s %s: %s\n", what, path, strerror(errno));
    abort();
}

static void *must_alloc(void *old, size_t count, size_t size)
{
    void *got = reallocarray(old, count == 0 ? 1 : count, size);

    if (got == NULL)
        die("allocate", "memory");
    return got;
}

static char *must_copy(const char *text)
{
    char *got = text == NULL ? NULL : strdup(text);

    if (text != NULL && got == NULL)
        die("allocate", "memory");
    return got;
}

/* ---- images ---- */

static void image_release(struct image *image)
{
    free(image->bytes);
    *image = (struct image){0};
}

/* Replace IMAGE by what the file at PATH holds now. */
static void image_read(struct image *image, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    size_t done = 0;

    image_release(image);
    if (fd < 0 || fstat(fd, &st) != 0)
        die("read", path);
    image->len = (size_t)st.st_size;
    image->bytes = must_alloc(NULL, image->len, 1);
    while (done < image->len) {
        ssize_t n = pread(fd, image->bytes + done, image->len - done, (off_t)done);

        if (n <= 0)
            die("read", path);
        done += (size_t)n;
    }
    close(fd);
}

static void image_write(const struct image *image, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd < 0 || (image->len != 0 && pwrite(fd, image->bytes, image->len, 0) != (ssize_t)image->len))
        die("write", path);
    close(fd);
}

/* How many bytes of the sector at AT the image has. */
static size_t sector_len(const struct image *image, size_t at)
{
    size_t left = at < image->len ? image->len - at : 0;

    return left < SECTOR ? left : SECTOR;
}

/* The sector at AT, filled up with zeros. */
static void sector_get(const struct image *image, size_t at, char *to)
{
    size_t n = sector_len(image, at);

    memset(to, 0, SECTOR);
    if (n != 0)
        memcpy(to, image->bytes + at, n);
}

/* ---- tables of names ---- */

static struct name *names_find(const struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i].path, path) == 0)
            return &names->items[i];
    return NULL;
}

static void names_remove(struct names *names, const char *path)
{
    struct name *name = names_find(names, path);

    if (name == NULL)
        return;
    free(name->path);
    *name = names->items[--names->count];
}

static void names_set(struct names *names, const char *path, struct node *node)
{
    names_remove(names, path);
    names->items = must_alloc(names->items, names->count + 1, sizeof(*names->items));
    names->items[names->count++] = (struct name){must_copy(path), node};
}

static void names_apply(struct names *names, const struct change *change)
{
    if (change->from != NULL)
        names_remove(names, change->from);
    if (change->to != NULL)
        names_set(names, change->to, change->node);
}

static void names_copy(struct names *to, const struct names *from)
{
    *to = (struct names){0};
    for (size_t i = 0; i < from->count; i++)
        names_set(to, from->items[i].path, from->items[i].node);
}

static void names_release(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i].path);
    free(names->items);
    *names = (struct names){0};
}

/* ---- paths ---- */

/* Whether the directory of the name PATH is DIR; both below ours, "" is ours itself. */
static bool is_in_dir(const char *path, const char *dir)
{
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);

    return path != NULL && strlen(dir) == len && memcmp(path, dir, len) == 0;
}

/* Whether PATH is DIR or lies below it. */
static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* PATH without our directory in front and with single slashes, in BELOW; false when it lies outside. */
static bool below_ours(const struct powercut *pc, const char *path, char below[512])
{
    size_t len = strlen(pc->dir), n = 0;

    if (strncmp(path, pc->dir, len) != 0 || (path[len] != '/' && path[len] != '\0'))
        return false;
    for (const char *at = path + len; *at != '\0' && n < 511; at++)
        if (*at != '/' || (n != 0 && below[n - 1] != '/'))
            below[n++] = *at;
    if (n != 0 && below[n - 1] == '/')
        n--;
    below[n] = '\0';
    return true;
}

static const char *join(char *to, size_t size, const char *dir, const char *below)
{
    snprintf(to, size, "%s/%s", dir, below);
    return to;
}

/* ---- nodes and changes ---- */

static struct node *node_new(struct powercut *pc, bool is_dir)
{
    struct node *node = must_alloc(NULL, 1, sizeof(*node));

    *node = (struct node){.is_dir = is_dir};
    pc->nodes = must_alloc(pc->nodes, pc->node_count + 1, sizeof(*pc->nodes));
    return pc->nodes[pc->node_count++] = node;
}

static void change_add(struct powercut *pc, const char *from, const char *to, struct node *node)
{
    struct change change = {must_copy(from), must_copy(to), node, false};

    names_apply(&pc->present, &change);
    pc->changes = must_alloc(pc->changes, pc->change_count + 1, sizeof(*pc->changes));
    pc->changes[pc->change_count++] = change;
}

/* The changes of names in DIR become durable. */
static void changes_commit(struct powercut *pc, const char *dir)
{
    size_t kept = 0;

    for (size_t i = 0; i < pc->change_count; i++) {
        struct change *change = &pc->changes[i];

        if (is_in_dir(change->to != NULL ? change->to : change->from, dir)) {
            names_apply(&pc->durable, change);
            free(change->from);
            free(change->to);
        } else {
            pc->changes[kept++] = *change;
        }
    }
    pc->change_count = kept;
}

/* Keep what the file holds now: it may be about to lose its name, or the power. */
static void keep_present(struct powercut *pc, const struct name *name)
{
    char path[1024];

    if (!name->node->is_dir)
        image_read(&name->node->present, join(path, sizeof(path), pc->dir, name->path));
}

static void freeze(struct powercut *pc)
{
    if (pc->stopped)
        return;
    pc->stopped = true;
    for (size_t i = 0; i < pc->present.count; i++)
        keep_present(pc, &pc->present.items[i]);
}

/* ---- the hook ---- */

static bool is_change(enum file_op op)
{
    return op != FILE_OP_READ && op != FILE_OP_MAP && op != FILE_OP_LOCK;
}

static void prepare(struct powercut *pc, enum file_op op, const char *below)
{
    struct name *name = names_find(&pc->present, below);
    char path[1024];

    if (name == NULL)
        return;
    if (op == FILE_OP_SYNC)
        image_read(&name->node->syncing, join(path, sizeof(path), pc->dir, below));
    if (op == FILE_OP_UNLINK || op == FILE_OP_RENAME)
        keep_present(pc, name);
}

static int before(void *ctx, enum file_op op, const char *path, uint64_t offset, size_t *len)
{
    struct powercut *pc = ctx;
    char below[512];
    int os_errno = 0;

    (void)offset;
    (void)len;
    if (!below_ours(pc, path, below))
        return 0;
    pthread_mutex_lock(&pc->lock);
    if (is_change(op) && pc->done >= pc->stop_after)
        freeze(pc);
    if (pc->stopped)
        os_errno = EIO;
    else
        prepare(pc, op, below);
    pthread_mutex_unlock(&pc->lock);
    return os_errno;
}

static void renamed(struct powercut *pc, const char *from_path, const char *to)
{
    char from[512];
    struct name *name = below_ours(pc, from_path, from) ? names_find(&pc->present, from) : NULL;

    if (name == NULL) {
        errno = EINVAL;
        die("follow the rename of", from_path);
    }
    change_add(pc, from, to, name->node);
}

static void note(struct powercut *pc, enum file_op op, const char *below, const char *from)
{
    struct name *name = names_find(&pc->present, below);

    if (op == FILE_OP_OPEN && name == NULL)
        change_add(pc, NULL, below, node_new(pc, false));
    else if (op == FILE_OP_MAKE_DIR && name == NULL)
        change_add(pc, NULL, below, node_new(pc, true));
    else if (op == FILE_OP_RENAME)
        renamed(pc, from, below);
    else if (op == FILE_OP_UNLINK && name != NULL)
        change_add(pc, below, NULL, name->node);
    else if (op == FILE_OP_SYNC_DIR)
        changes_commit(pc, below);
    else if (op == FILE_OP_SYNC && name != NULL && name->node->syncing.bytes != NULL) {
        image_release(&name->node->durable);
        name->node->durable = name->node->syncing;
        name->node->syncing = (struct image){0};
    }
}

static void after(void *ctx, enum file_op op, const char *path, const char *from, uint64_t offset, size_t len)
{
    struct powercut *pc = ctx;
    char below[512];

    (void)offset;
    (void)len;
    if (!is_change(op) || !below_ours(pc, path, below))
        return;
    pthread_mutex_lock(&pc->lock);
    if (!pc->stopped) { /* begun before the power went, done after: it counts as not done */
        pc->done++;
        note(pc, op, below, from);
    }
    pthread_mutex_unlock(&pc->lock);
}

/* ---- beginning and end ---- */

static int adopt(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    struct powercut *pc = the_one;
    char below[512];
    struct node *node;

    (void)st;
    (void)ftw;
    if (!below_ours(pc, path, below) || below[0] == '\0')
        return 0;
    node = node_new(pc, kind == FTW_D);
    if (!node->is_dir)
        image_read(&node->durable, path);
    names_set(&pc->durable, below, node);
    names_set(&pc->present, below, node);
    return 0;
}

struct powercut *powercut_new(const char *dir)
{
    struct powercut *pc = must_alloc(NULL, 1, sizeof(*pc));

    *pc = (struct powercut){.dir = must_copy(dir), .stop_after = UINT64_MAX};
    pthread_mutex_init(&pc->lock, NULL);
    the_one = pc;
    if (nftw(dir, adopt, 16, FTW_PHYS) != 0)
        die("read", dir);
    pc->hook = (struct file_hook){before, after, pc};
    file_set_hook(&pc->hook);
    return pc;
}

void powercut_free(struct powercut *pc)
{
    if (pc == NULL)
        return;
    file_set_hook(NULL);
    for (size_t i = 0; i < pc->node_count; i++) {
        image_release(&pc->nodes[i]->durable);
        image_release(&pc->nodes[i]->syncing);
        image_release(&pc->nodes[i]->present);
        free(pc->nodes[i]);
    }
    for (size_t i = 0; i < pc->change_count; i++) {
        free(pc->changes[i].from);
        free(pc->changes[i].to);
    }
    free(pc->nodes);
    free(pc->changes);
    names_release(&pc->durable);
    names_release(&pc->present);
    pthread_mutex_destroy(&pc->lock);
    free(pc->dir);
    free(pc);
}

uint64_t powercut_changes(const struct powercut *pc)
{
    return pc->done;
}

void powercut_stop_after(struct powercut *pc, uint64_t n)
{
    pthread_mutex_lock(&pc->lock);
    pc->stop_after = pc->done + n;
    pthread_mutex_unlock(&pc->lock);
}

void powercut_stop(struct powercut *pc)
{
    pthread_mutex_lock(&pc->lock);
    freeze(pc);
    pthread_mutex_unlock(&pc->lock);
}

bool powercut_stopped(const struct powercut *pc)
{
    return pc->stopped;
}

/* ---- writing a state ---- */

/* How likely it is that something survives, in eighths. Extremes are as likely as the middle: the
 * worst states are those in which one file has everything and another nothing. */
static unsigned random_odds(struct rng *rng)
{
    static const unsigned odds[] = {0, 1, 4, 7, 8};

    return odds[rng_below(rng, 5)];
}

static bool survives(struct rng *rng, unsigned odds)
{
    return odds == 8 || (odds != 0 && rng_below(rng, 8) < odds);
}

static unsigned odds_for(enum powercut_mode mode, bool is_the_one, struct rng *rng)
{
    switch (mode) {
    case POWERCUT_LOST:
        return 0;
    case POWERCUT_KEPT:
        return 8;
    case POWERCUT_ONLY:
        return is_the_one ? 8 : 0;
    case POWERCUT_RANDOM:
    default:
        return random_odds(rng);
    }
}

/* Whether the later change LATE cannot have happened without EARLY. */
static bool depends(const struct change *late, const struct change *early)
{
    const char *const late_names[] = {late->from, late->to};

    for (int i = 0; i < 2; i++) {
        if (late_names[i] == NULL)
            continue;
        if (early->to != NULL &&
            (early->node->is_dir ? is_below(late_names[i], early->to) : strcmp(late_names[i], early->to) == 0))
            return true;
        if (early->from != NULL && strcmp(late_names[i], early->from) == 0)
            return true;
    }
    return false;
}

static bool change_is_for(const struct change *change, const char *path, const struct node *node)
{
    return change->node == node || (change->node->is_dir && path != NULL && is_below(path, change->to));
}

static void choose_changes(struct powercut *pc, enum powercut_mode mode, const char *only,
                           const struct node *the_one_node, struct rng *rng)
{
    unsigned odds = mode == POWERCUT_RANDOM ? random_odds(rng) : 0;

    for (size_t i = 0; i < pc->change_count; i++) {
        struct change *change = &pc->changes[i];

        if (mode != POWERCUT_RANDOM)
            odds = odds_for(mode, change_is_for(change, only, the_one_node), rng);
        change->lost = !survives(rng, odds);
        /* In POWERCUT_ONLY an earlier file of the same name is gone too. */
        for (size_t k = 0; k < i && mode == POWERCUT_RANDOM; k++)
            change->lost |= pc->changes[k].lost && depends(change, &pc->changes[k]);
    }
}

static size_t choose_len(const struct node *node, const struct image *present, unsigned odds, struct rng *rng)
{
    size_t a = node->durable.len, b = present->len;

    if (odds == 0 || odds == 8)
        return odds == 0 ? a : b;
    if (rng_one_in(rng, 4) && a < b) /* the disk was on its way */
        return (size_t)rng_between(rng, (int64_t)a, (int64_t)b);
    return survives(rng, odds) ? b : a;
}

/* One content that NODE may have on the disk. */
static struct image mix(const struct node *node, const struct image *present, unsigned odds, struct rng *rng)
{
    struct image got = {.len = choose_len(node, present, odds, rng)};

    got.bytes = must_alloc(NULL, got.len, 1);
    for (size_t at = 0; at < got.len; at += SECTOR) {
        char old_sector[SECTOR], new_sector[SECTOR];
        bool kept;

        sector_get(&node->durable, at, old_sector);
        sector_get(present, at, new_sector);
        kept = at < present->len && memcmp(old_sector, new_sector, SECTOR) != 0 && survives(rng, odds);
        memcpy(got.bytes + at, kept ? new_sector : old_sector, sector_len(&got, at));
    }
    return got;
}

static const struct name *present_name(const struct powercut *pc, const struct node *node)
{
    for (size_t i = 0; i < pc->present.count; i++)
        if (pc->present.items[i].node == node)
            return &pc->present.items[i];
    return NULL;
}

static void write_file(struct powercut *pc, const struct name *name, unsigned odds, struct rng *rng, const char *to)
{
    const struct name *now = present_name(pc, name->node); /* maybe another than on the disk */
    struct image mixed;
    char path[1024];

    if (now != NULL && !pc->stopped)
        keep_present(pc, now);
    mixed = mix(name->node, &name->node->present, odds, rng);
    image_write(&mixed, join(path, sizeof(path), to, name->path));
    image_release(&mixed);
}

static int shorter_first(const void *a, const void *b)
{
    size_t x = strlen(((const struct name *)a)->path), y = strlen(((const struct name *)b)->path);

    return x != y ? (x > y) - (x < y) : strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

/* Whether the directory of PATH is there; a name below a lost directory is lost. */
static bool has_parent(const char *path, const char *to)
{
    char parent[1024];
    struct stat st;

    join(parent, sizeof(parent), to, path);
    *strrchr(parent, '/') = '\0';
    return stat(parent, &st) == 0;
}

void powercut_write(struct powercut *pc, enum powercut_mode mode, const char *only, struct rng *rng, const char *to)
{
    struct names names;
    char below[512] = "", path[1024];
    struct node *the_one_node = NULL;

    pthread_mutex_lock(&pc->lock);
    if (only != NULL && below_ours(pc, only, below) && names_find(&pc->present, below) != NULL)
        the_one_node = names_find(&pc->present, below)->node;
    choose_changes(pc, mode, only == NULL ? NULL : below, the_one_node, rng);
    names_copy(&names, &pc->durable);
    for (size_t i = 0; i < pc->change_count; i++)
        if (!pc->changes[i].lost)
            names_apply(&names, &pc->changes[i]);
    if (names.count != 0)
        qsort(names.items, names.count, sizeof(*names.items), shorter_first);
    if (mkdir(to, 0755) != 0)
        die("make", to);
    for (size_t i = 0; i < names.count; i++) {
        const struct name *name = &names.items[i];

        if (!has_parent(name->path, to))
            continue;
        if (!name->node->is_dir)
            write_file(pc, name, odds_for(mode, name->node == the_one_node, rng), rng, to);
        else if (mkdir(join(path, sizeof(path), to, name->path), 0755) != 0)
            die("make", path);
    }
    names_release(&names);
    pthread_mutex_unlock(&pc->lock);
}
