/* Bytes of the store's files change, or files are cut off or vanish, while it is down. Afterwards:
 *   1. the store opens; only for damage of series.log or MANIFEST it may refuse, with ERR_CORRUPT
 *   2. a value that is read is the right one, or there is none: each value tells its series, slot and, in sums, how
 *      many points are in it. Except that the cells of a grid have no checksum: at most as many values are wrong as
 *      bytes of cells were changed
 *   3. no name appears that was not there, and a new series is empty
 *   4. when a value is missing, the damage was counted; and it is logged with file and offset
 * What cannot be seen: that a grid file is gone as a whole or cells of it have become zeros, and that series.log or
 * MANIFEST were cut off, as a change that was being appended at a power cut is. There 1 to 3 hold, but not 4. Not
 * tried, because nothing can be promised: entries of a grid's row map that have become zeros look like rows that nobody
 * has used. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "storage/grid.h"
#include "tests/help/rng.h"
#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAMES = 12, FINE_S = 10, COARSE_S = 60, PARTS = COARSE_S / FINE_S, SLOTS = 600, FINE_RETENTION_S = 1800 };

static const int64_t base_s = 1700000000 / 7200 * 7200;
static const int64_t now_s = 1700000000 / 7200 * 7200 + (SLOTS - 1) * FINE_S;
static struct tmpdir dir;
static struct store_kit kit; /* options are those of all stores here */
static bool stored[NAMES][SLOTS];

static const char *name_of(int i)
{
    static char text[64];

    sprintf(text, "%s.host%d.count", i % 3 == 0 ? "one" : "two", i);
    return text;
}

/* Sums of these tell the series, the minute and which slots of it are in. */
static double minute_value(int i, int64_t minute)
{
    return (double)(i * 1000 + minute) * 64;
}

static double value_of(int i, int64_t slot)
{
    return minute_value(i, slot / PARTS) + (1 << slot % PARTS);
}

/* ---- the store before the damage ---- */

static void store(int i, int64_t at_s, int64_t slot)
{
    cr_assert_eq(kit_store(&kit, name_of(i), at_s, base_s + slot * FINE_S, value_of(i, slot)), STORE_OK);
    stored[i][slot] = true;
}

/* Sealed windows, rolled up ones, patches of late points, open ones; segments have expired. */
static void make_pristine(void)
{
    struct rng rng = rng_from(1);
    struct err err = {0};

    kit_open(&kit);
    for (int64_t slot = 0; slot < SLOTS; slot++) {
        int64_t at_s = base_s + slot * FINE_S;
        clock_fake_ns(at_s * 1000000000);
        for (int i = 0; i < NAMES; i++)
            if (!rng_one_in(&rng, 6))
                store(i, at_s, slot);
        if (slot > 150 && rng_one_in(&rng, 10))
            store((int)rng_below(&rng, NAMES), at_s, rng_between(&rng, slot - 150, slot));
        if (slot % PARTS == 0)
            cr_assert_eq(storage_tick(kit.st, at_s, &err), 0, "%s", err.text);
    }
    struct storage_stats stats = kit_stats(&kit);
    cr_assert_gt(stats.segments, 5);
    cr_assert_gt(stats.windows_open, 1);
    cr_assert_gt(stats.expired_segments, 0);
    kit_close(&kit);
}

static void begin(void)
{
    static char schemas[300], aggregation[300];

    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    storage_thread_begin();
    tmpdir_init(&dir);
    snprintf(schemas, sizeof schemas, "%s", tmpdir_file(&dir, "schemas.conf"));
    snprintf(aggregation, sizeof aggregation, "%s", tmpdir_file(&dir, "aggregation.conf"));
    kit_put_file(schemas, "[one]\npattern = ^one\nretentions = 10s:30m\n"
                          "[two]\npattern = .\nretentions = 10s:30m,1m:2h\n");
    kit_put_file(aggregation, "[all]\npattern = .\nxFilesFactor = 0\naggregationMethod = sum\n");
    kit = kit_of(tmpdir_file(&dir, "pristine"));
    kit.options.schemas_path = schemas;
    kit.options.aggregation_path = aggregation;
    kit.options.seal_grace_s = 20;
    make_pristine();
}

static void end(void)
{
    tmpdir_release(&dir);
    clock_real();
    storage_thread_end();
}

TestSuite(damage, .init = begin, .fini = end, .timeout = 300);

/* ---- damage ---- */

enum kind { FLIP, ZERO_SECTOR, CUT, REMOVE, KINDS };

struct damage {
    char path[600];
    enum kind kind;
    off_t at;
    int cells; /* bytes of grid cells that were changed */
};

/* All files of the store; the walk is not ours to pass a pointer through. */
static char files[64][600];
static int file_count;

static int note_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type == FTW_F && st->st_size > 0 && strstr(path, "LOCK") == NULL) {
        cr_assert_lt(file_count, 64);
        snprintf(files[file_count++], sizeof files[0], "%s", path);
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool is_a(const char *path, const char *ending)
{
    size_t n = strlen(path), e = strlen(ending);

    return n >= e && strcmp(path + n - e, ending) == 0;
}

/* Where the damage falls in a file: anywhere that is in use. */
static off_t pick_place(const char *path, enum kind kind, off_t size, struct rng *rng)
{
    if (is_a(path, "series.log"))
        return rng_between(rng, 0, 1200);
    if (is_a(path, ".grid") && kind == ZERO_SECTOR) /* not the row map */
        return rng_between(rng, 2 * GRID_PAGE, size - 1);
    if (is_a(path, ".grid") && !rng_one_in(rng, 3)) /* header and row map */
        return rng_one_in(rng, 3) ? rng_between(rng, 0, 63) : GRID_PAGE + rng_between(rng, 0, 8 * NAMES);
    return rng_between(rng, 0, size - 1);
}

static void change_bytes(struct damage *d, struct rng *rng, int fd)
{
    unsigned char bytes[512];
    size_t len = d->kind == FLIP ? 1 : sizeof bytes;

    d->at = d->kind == FLIP ? d->at : d->at / 512 * 512;
    ssize_t n = pread(fd, bytes, len, d->at);
    cr_assert_gt(n, 0);
    for (ssize_t i = 0; i < n; i++)
        bytes[i] = d->kind == FLIP ? bytes[i] ^ (unsigned char)rng_between(rng, 1, 255) : 0;
    cr_assert_eq(pwrite(fd, bytes, (size_t)n, d->at), n);
    if (is_a(d->path, ".grid") && d->at + n > 2 * GRID_PAGE) /* behind header and row map of a block of 512 */
        d->cells += (int)n;
}

/* A file of any kind, however few there are of it. */
static void pick_file(struct rng *rng, char to[sizeof files[0]])
{
    static const char *const kinds[] = {".seg", "MANIFEST", "series.log", ".grid", ".grid"};
    const char *kind = kinds[rng_below(rng, 5)];
    const char *path;

    do
        path = files[rng_below(rng, (uint64_t)file_count)];
    while (!is_a(path, kind));
    memcpy(to, path, sizeof files[0]);
}

static struct damage do_damage(const char *data, struct rng *rng)
{
    struct damage d = {.kind = (enum kind)rng_below(rng, KINDS)};
    struct stat st;

    file_count = 0;
    nftw(data, note_file, 16, FTW_PHYS);
    qsort(files, (size_t)file_count, sizeof files[0], by_name);
    pick_file(rng, d.path);
    int fd = open(d.path, O_RDWR);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fstat(fd, &st), 0);
    d.at = pick_place(d.path, d.kind, st.st_size, rng);
    if (d.kind == REMOVE)
        cr_assert_eq(unlink(d.path), 0);
    else if (d.kind == CUT)
        cr_assert_eq(ftruncate(fd, d.at), 0);
    else
        change_bytes(&d, rng, fd);
    close(fd);
    return d;
}

/* ---- what may be read afterwards ---- */

struct found {
    int wrong;
    int missing;
};

static void check_fine(int i, struct found *found)
{
    struct storage_points p = kit_fetch(&kit, name_of(i), now_s - FINE_RETENTION_S, now_s, now_s);

    cr_assert_eq(p.step_s, FINE_S);
    for (size_t n = 0; n < p.count; n++) {
        int64_t slot = (p.start_s - base_s) / FINE_S + (int64_t)n;
        double expected = stored[i][slot] ? value_of(i, slot) : NAN;
        found->missing += isnan(p.values[n]) && !isnan(expected);
        found->wrong += !isnan(p.values[n]) && p.values[n] != expected;
    }
    free(p.values);
}

/* Whether V is the sum of some of the points of series I in the minute, and of how many. */
static bool is_partial_sum(int i, int64_t minute, double v, int *parts)
{
    int64_t mask = (int64_t)fmod(v, 64);

    *parts = __builtin_popcountll((unsigned long long)mask);
    for (int s = 0; s < PARTS; s++)
        if ((mask & 1 << s) != 0 && !stored[i][minute * PARTS + s])
            return false;
    return v == minute_value(i, minute) * *parts + (double)mask;
}

static void check_coarse(int i, struct found *found)
{
    struct storage_points p = kit_fetch(&kit, name_of(i), base_s - 1, now_s, now_s);

    cr_assert_eq(p.step_s, COARSE_S);
    for (size_t n = 0; n < p.count; n++) {
        int64_t minute = (p.start_s - base_s) / COARSE_S + (int64_t)n;
        int parts = 0, expected = 0;
        for (int s = 0; s < PARTS; s++)
            expected += stored[i][minute * PARTS + s];
        if (!isnan(p.values[n]))
            found->wrong += !is_partial_sum(i, minute, p.values[n], &parts);
        found->missing += parts < expected;
    }
    free(p.values);
}

static int check_name(void *ctx, uint32_t series, struct span name)
{
    int *count = ctx;
    bool known = false;

    (void)series;
    for (int i = 0; i < NAMES; i++)
        known |= span_eq(name, span_str(name_of(i)));
    cr_assert(known, "the name %.*s has appeared", SPAN_ARG(name));
    ++*count;
    return 0;
}

static struct found check_all(void)
{
    struct found found = {0};
    int names = 0;

    storage_each(kit.st, check_name, &names);
    cr_assert_leq(names, NAMES);
    found.missing = NAMES - names;
    for (int i = 0; i < NAMES; i++) {
        uint32_t series;
        if (!kit_find(&kit, name_of(i), &series))
            continue;
        check_fine(i, &found);
        if (i % 3 != 0)
            check_coarse(i, &found);
    }
    return found;
}

static void check_new_series(void)
{
    for (int n = 0; n < 4; n++) {
        char name[64];
        sprintf(name, "%s.fresh%d", n % 2 == 0 ? "one" : "two", n);
        cr_assert_eq(kit_store(&kit, name, now_s, now_s, -n), STORE_OK);
        struct storage_points p = kit_fetch(&kit, name, base_s - 1, now_s, now_s);
        for (size_t s = 0; s + 1 < p.count; s++)
            cr_assert(isnan(p.values[s]), "the new series %s has the point %g", name, p.values[s]);
        free(p.values);
    }
}

static bool is_seen(const struct damage *d)
{
    if (is_a(d->path, ".grid"))
        return (d->kind == CUT && d->at > 0) || (d->kind == FLIP && d->cells == 0);
    if (is_a(d->path, "MANIFEST"))
        return d->kind != CUT;
    return !is_a(d->path, "series.log") || d->kind == FLIP;
}

static void check_after(const struct damage *d)
{
    struct err err = {0};
    int rc = kit_try_open(&kit, &err);

    if (rc < 0) {
        cr_assert(is_a(d->path, "series.log") || is_a(d->path, "MANIFEST"), "%s", err.text);
        cr_assert_eq(rc, ERR_CORRUPT, "%s", err.text);
        return;
    }
    struct found found = check_all();
    cr_assert_leq(found.wrong, 2 * d->cells, "%d values are wrong", found.wrong); /* the point, and the sum it is in */
    cr_assert(found.missing == 0 || !is_seen(d) || kit_stats(&kit).damaged_chunks > 0, "%d values are missing unseen",
              found.missing);
    check_new_series();
    /* Sealed and opened again, nothing gets worse. */
    cr_assert_eq(storage_seal_all(kit.st, &err), 0, "%s", err.text);
    kit_close(&kit);
    kit_open(&kit);
    for (int n = 0; n < 4; n++) {
        char name[64];
        sprintf(name, "%s.fresh%d", n % 2 == 0 ? "one" : "two", n);
        cr_assert_eq(kit_value(&kit, name, now_s, now_s), -n);
    }
    kit_close(&kit);
}

static struct damage damaged;

__attribute__((destructor)) static void tell_damage(void)
{
    static const char *const kinds[KINDS] = {"flip", "zero sector", "cut", "remove"};

    if (damaged.path[0] != '\0')
        fprintf(stderr, "the damage was: %s at %lld of %s\n", kinds[damaged.kind], (long long)damaged.at, damaged.path);
}

Test(damage, never_gives_wrong_values)
{
    char pristine[sizeof kit.dir];

    snprintf(pristine, sizeof pristine, "%s", kit.dir);
    FOR_SEEDS (seed, 400) {
        struct rng rng = rng_from(seed * 1000003); /* neighbours draw the same numbers else */
        snprintf(kit.dir, sizeof kit.dir, "%s", tmpdir_file(&dir, "damaged"));
        tmpdir_copy_tree(pristine, kit.dir);
        damaged = do_damage(kit.dir, &rng);
        check_after(&damaged);
        damaged.path[0] = '\0';
        tmpdir_remove_tree(kit.dir);
    }
}

Test(damage, is_logged_with_file_and_offset)
{
    char *text = NULL;
    size_t len;
    struct err err = {0};
    struct rng rng = rng_from(1);
    struct damage d = {.kind = FLIP, .at = sizeof(struct segment_header) + 40};
    int log = open(tmpdir_file(&dir, "log"), O_RDWR | O_CREAT, 0600);

    file_count = 0;
    nftw(kit.dir, note_file, 16, FTW_PHYS);
    qsort(files, (size_t)file_count, sizeof files[0], by_name);
    for (int i = 0; i < file_count; i++)
        if (is_a(files[i], ".seg"))
            memcpy(d.path, files[i], sizeof d.path);
    int fd = open(d.path, O_RDWR);
    change_bytes(&d, &rng, fd);
    close(fd);
    log_setup(log, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR, "test");
    kit_open(&kit);
    cr_assert_gt(check_all().missing, 0);
    cr_assert_gt(kit_stats(&kit).damaged_chunks, 0);
    kit_close(&kit);
    cr_assert_eq(file_slurp(tmpdir_file(&dir, "log"), 1 << 20, &text, &len, &err), 0, "%s", err.text);
    const char *named = strstr(text, d.path);
    cr_assert(named != NULL && strncmp(named + strlen(d.path), " at 64", 6) == 0, "%s", text);
    free(text);
    close(log);
}
