/* The n-th file operation fails, for n = 1, 2, 3, ... until the workload is done without meeting it: once or from
 * then on, with EIO or ENOSPC, writes torn or not. Whatever fails:
 *   1. a value that is read is the one stored last by a store_point() that returned STORE_OK, during the failures
 *      and after them; a refused point has changed nothing
 *   2. a coarse slot is the sum of all fine ones
 *   3. once failures have ended the store opens (if it could not), flushes, seals, takes points and keeps them over
 *      a restart
 *   4. no descriptor and no mapping is left behind (and, under the address sanitizer, no memory)
 * The workload stores new and late points, creates and deletes series of two policies, flushes, seals, lets the clock
 * go on (windows are sealed, rolled up, merged and expire) and reopens. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "storage/internal.h"
#include "tests/help/rng.h"
#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { NAMES = 8, FINE_S = 10, COARSE_S = 60, FINE_RETENTION_S = 600, SPAN_S = 3000, SLOTS = SPAN_S / FINE_S };

/* Which operation fails, and how. */
struct failure {
    uint64_t at; /* the number of the operation, from 1 on */
    bool lasting;
    bool lifted;
    int os_errno;
    bool torn;
    uint64_t seen;
};

static int failure_before(void *ctx, enum file_op op, const char *path, uint64_t offset, size_t *len)
{
    struct failure *f = ctx;

    (void)path;
    f->seen++;
    if (f->lifted || f->seen < f->at || (f->seen > f->at && !f->lasting))
        return 0;
    if (op == FILE_OP_WRITE) { /* whole sectors of a torn write arrive */
        uint64_t end = (offset + *len / 2) / 512 * 512;
        *len = f->torn && end > offset ? (size_t)(end - offset) : 0;
    }
    return f->os_errno;
}

struct world {
    struct tmpdir dir;
    struct store_kit kit;
    struct failure failure;
    struct file_hook hook;
    int64_t base_s, now_s;
    double counter;
    double model[NAMES][SLOTS]; /* of fine slots; never forgotten */
    bool doubtful[NAMES];       /* deleting it has failed: whether it is there is not known, and not asked */
};

/* Even ones have a coarse tier, odd ones have not: the two policies appear in any order. */
static const char *name_of(int i)
{
    static char text[64];

    sprintf(text, "%s.host%d.count", i % 2 == 0 ? "two" : "one", i);
    return text;
}

static void world_init(struct world *w)
{
    static char schemas[300], aggregation[300];

    tmpdir_init(&w->dir);
    snprintf(schemas, sizeof schemas, "%s", tmpdir_file(&w->dir, "schemas.conf"));
    snprintf(aggregation, sizeof aggregation, "%s", tmpdir_file(&w->dir, "aggregation.conf"));
    kit_put_file(schemas, "[two]\npattern = ^two\nretentions = 10s:10m,1m:1h\n"
                          "[one]\npattern = .\nretentions = 10s:10m\n");
    kit_put_file(aggregation, "[all]\npattern = .\nxFilesFactor = 0\naggregationMethod = sum\n");
    w->kit = kit_of(tmpdir_file(&w->dir, "data"));
    w->kit.options.schemas_path = schemas;
    w->kit.options.aggregation_path = aggregation;
    w->kit.options.windows_max = 4;
    w->kit.options.seal_grace_s = 20;
    w->base_s = 1700000000 / 3600 * 3600;
    w->now_s = w->base_s + FINE_RETENTION_S;
    clock_fake_ns(w->now_s * 1000000000);
    for (int i = 0; i < NAMES; i++)
        for (int s = 0; s < SLOTS; s++)
            w->model[i][s] = NAN;
}

/* ---- what is read ---- */

static void check_fine(struct world *w, int i)
{
    int64_t from_s = w->now_s - FINE_RETENTION_S;
    struct storage_points p = kit_fetch(&w->kit, name_of(i), from_s, w->now_s, w->now_s);

    cr_assert_eq(p.step_s, FINE_S);
    for (size_t n = 0; n < p.count; n++) {
        int64_t slot = (p.start_s - w->base_s) / FINE_S + (int64_t)n;
        double expected = slot >= SLOTS ? NAN : w->model[i][slot];
        cr_assert(kit_same(p.values[n], expected), "%s slot %lld: expected %.17g, got %.17g", name_of(i),
                  (long long)slot, expected, p.values[n]);
    }
    free(p.values);
}

static void check_coarse(struct world *w, int i)
{
    int64_t from_s = w->now_s - FINE_RETENTION_S - 1;
    struct storage_points p =
        kit_fetch(&w->kit, name_of(i), from_s < w->base_s ? from_s : w->base_s - 1, w->now_s, w->now_s);

    cr_assert_eq(p.step_s, COARSE_S);
    for (size_t n = 0; n < p.count; n++) {
        int64_t slot = (p.start_s - w->base_s) / FINE_S + (int64_t)n * (COARSE_S / FINE_S);
        double sum = NAN;
        for (int64_t s = slot; s < slot + COARSE_S / FINE_S; s++)
            if (s >= 0 && s < SLOTS && !isnan(w->model[i][s]))
                sum = (isnan(sum) ? 0 : sum) + w->model[i][s];
        cr_assert(kit_same(p.values[n], sum), "%s coarse slot at %lld: expected %.17g, got %.17g", name_of(i),
                  (long long)slot, sum, p.values[n]);
    }
    free(p.values);
}

/* Whether series I has a point that it must still have. */
static bool has_points(const struct world *w, int i)
{
    int64_t oldest = i % 2 == 0 ? 0 : (w->now_s - FINE_RETENTION_S - w->base_s) / FINE_S;

    for (int64_t s = oldest; s < SLOTS; s++)
        if (!isnan(w->model[i][s]))
            return true;
    return false;
}

static void check_all(struct world *w)
{
    for (int i = 0; i < NAMES; i++) {
        uint32_t series;
        if (w->doubtful[i])
            continue;
        bool found = kit_find(&w->kit, name_of(i), &series);
        cr_assert(found || !has_points(w, i), "%s is gone", name_of(i));
        if (found)
            check_fine(w, i);
        if (found && i % 2 == 0)
            check_coarse(w, i);
    }
}

/* ---- the workload ---- */

static void store(struct world *w, int i, int64_t t_s)
{
    double v = ++w->counter * 16 + i;

    if (kit_store(&w->kit, name_of(i), w->now_s, t_s, v) == STORE_OK)
        w->model[i][(t_s - w->base_s) / FINE_S] = v;
}

static void step_store(struct world *w, struct rng *rng)
{
    int i = (int)rng_below(rng, NAMES);
    bool late = rng_one_in(rng, 3);

    for (int n = (int)rng_between(rng, 1, 12); n > 0; n--) {
        if (!w->doubtful[i])
            store(w, i, late ? w->now_s - rng_between(rng, 0, FINE_RETENTION_S - 1) : w->now_s);
        i = (i + 1) % NAMES;
    }
}

static int delete_series(struct world *w, int i, struct err *err)
{
    struct span name = span_str(name_of(i));
    uint64_t deleted;
    int rc = storage_delete_names(w->kit.st, &name, 1, &deleted, err);

    w->doubtful[i] = rc < 0;
    for (int s = 0; rc == 0 && s < SLOTS; s++)
        w->model[i][s] = NAN;
    return rc;
}

static void one_random_step(struct world *w, struct rng *rng)
{
    uint64_t choice = rng_below(rng, 12);
    int64_t pause_s = rng_between(rng, 1, 30) * FINE_S;
    struct err err;

    if (choice < 3 && w->now_s + pause_s < w->base_s + SPAN_S) {
        w->now_s += pause_s;
        clock_fake_ns(w->now_s * 1000000000);
    }
    if (w->kit.st == NULL && kit_try_open(&w->kit, &err) < 0)
        return;
    switch (choice) {
    case 0:
    case 1:
    case 2:
    case 3:
        storage_tick(w->kit.st, w->now_s, &err);
        break;
    case 4:
        storage_flush(w->kit.st, &err);
        break;
    case 5:
        if (rng_one_in(rng, 2))
            storage_seal_all(w->kit.st, &err);
        else
            storage_merge_all(w->kit.st, &err);
        break;
    case 6:
        if (rng_one_in(rng, 2))
            kit_close(&w->kit);
        break;
    case 7:
        if (rng_one_in(rng, 2))
            delete_series(w, (int)rng_below(rng, NAMES), &err);
        check_all(w);
        break;
    default:
        step_store(w, rng);
    }
}

static void must_ok(int rc, const struct err *err)
{
    cr_assert_geq(rc, 0, "after the failures have ended: %s", err->text);
}

/* 3: everything works again. */
static void check_works_again(struct world *w)
{
    struct err err = {0};

    w->failure.lifted = true;
    if (w->kit.st == NULL)
        kit_open(&w->kit);
    w->kit.st->space.retry_ns = 0; /* the short pause after "disk full" is over */
    for (int i = 0; i < NAMES; i++)
        if (w->doubtful[i])
            must_ok(delete_series(w, i, &err), &err);
    check_all(w);
    for (int i = 0; i < NAMES; i++) {
        cr_assert_eq(kit_store(&w->kit, name_of(i), w->now_s, w->now_s - 100, i), STORE_OK);
        w->model[i][(w->now_s - 100 - w->base_s) / FINE_S] = i;
    }
    must_ok(storage_flush(w->kit.st, &err), &err);
    must_ok(storage_tick(w->kit.st, w->now_s, &err), &err);
    check_all(w);
    must_ok(storage_seal_all(w->kit.st, &err), &err);
    check_all(w);
    must_ok(storage_merge_all(w->kit.st, &err), &err);
    check_all(w);
    kit_close(&w->kit);
    kit_open(&w->kit);
    check_all(w);
    kit_close(&w->kit);
}

/* ---- what is left behind ---- */

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void check_no_mapping(const char *dir)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[5000];

    while (fgets(line, sizeof line, maps) != NULL)
        cr_assert(strstr(line, dir) == NULL, "still mapped: %s", line);
    fclose(maps);
}

/* Run the workload of SEED with operation N failing; false when it was over before that. */
static bool run(uint64_t seed, uint64_t n)
{
    struct rng rng = rng_from(seed), how = rng_from(seed * 1000003 + n);
    struct world *w = calloc(1, sizeof *w);
    int descriptors = open_descriptors();

    w->failure = (struct failure){.at = n,
                                  .lasting = rng_one_in(&how, 2),
                                  .os_errno = rng_one_in(&how, 2) ? EIO : ENOSPC,
                                  .torn = rng_one_in(&how, 2)};
    w->hook = (struct file_hook){.before = failure_before, .ctx = &w->failure};
    world_init(w);
    file_set_hook(&w->hook);
    for (int step = 0; step < 30; step++)
        one_random_step(w, &rng);
    bool met = w->failure.seen >= n;
    check_works_again(w);
    file_set_hook(NULL);
    check_no_mapping(w->dir.path);
    cr_assert_eq(open_descriptors(), descriptors);
    tmpdir_release(&w->dir);
    free(w);
    return met;
}

/* Which operation was to fail when the test did: N=n repeats it, with SEED. */
static uint64_t running_n;

__attribute__((destructor)) static void tell_n(void)
{
    if (running_n != 0)
        fprintf(stderr, "the failing operation was N=%llu\n", (unsigned long long)running_n);
}

/* Thousands of syncs: memory will do, they are not the point here. */
static void use_memory(void)
{
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
}

Test(store, survives_the_failure_of_any_file_operation, .timeout = 600)
{
    const char *only = getenv("N");

    use_memory();
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    storage_thread_begin();
    FOR_SEEDS (seed, 2) {
        running_n = only == NULL ? 1 : strtoull(only, NULL, 10);
        while (run(seed, running_n) && only == NULL)
            running_n++;
        running_n = 0;
    }
    clock_real();
    storage_thread_end();
}
