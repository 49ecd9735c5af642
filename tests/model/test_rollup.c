/* Rollups against a naive whisper: every archive of a series is a plain array, each store recomputes the
 * coarser slots over it as whisper.py's __propagate does. Random policies, methods, xFilesFactors; points in
 * any order and of any age, live ones with a clock that goes on, windows sealed and rolled up, restarts.
 * After each phase every archive must read the same in both. */
#include "base/clock.h"
#include "base/file.h"
#include "storage/storage.h"
#include "tests/help/rng.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAMES = 6, TIERS = 3 };

struct archive {
    int64_t step_s, slots;
    double *values[NAMES]; /* of every slot from the epoch of the test on; nothing is ever forgotten */
};

struct world {
    struct tmpdir dir;
    char data[300], schemas[300], aggregation[300];
    enum aggregation method;
    double x_files_factor;
    int tiers;
    struct archive archive[TIERS];
    int64_t base_s; /* slot 0 of all archives */
    int64_t span_s; /* what they cover */
    int64_t now_s;
    struct storage *st;
    struct store_writer *writer;
    struct store_hint hint;
    bool known[NAMES];
};

/* Steps that divide each other, and retentions that grow; the ages used below stay within them. */
static const struct {
    int tiers;
    int64_t step_s[TIERS], slots[TIERS];
} policies[] = {
    {2, {10, 60}, {720, 2880}},           /* 10s:2h,1m:2d */
    {3, {10, 60, 600}, {720, 720, 432}},  /* 10s:2h,1m:12h,10m:3d */
    {3, {60, 300, 3600}, {360, 288, 72}}, /* 1m:6h,5m:1d,1h:3d */
    {2, {1, 60}, {3600, 1440}},           /* 1s:1h,1m:1d */
    {3, {5, 10, 60}, {1440, 4320, 1440}}, /* 5s:2h,10s:12h,1m:1d */
};

static void must_ok(int rc, const struct err *err)
{
    if (rc < 0)
        cr_assert_fail("%s", err->text);
}

static void world_open(struct world *w)
{
    struct storage_options options = storage_options_default(w->data);
    struct err err = {0};

    options.schemas_path = w->schemas;
    options.aggregation_path = w->aggregation;
    options.manual = true;
    must_ok(storage_open(&options, &w->st, &err), &err);
    must_ok(store_writer_new(w->st, &w->writer, &err), &err);
    w->hint = (struct store_hint){0};
}

static void world_close(struct world *w)
{
    store_writer_free(w->writer);
    storage_close(w->st);
}

static void put(const char *path, const char *text)
{
    struct err err;

    must_ok(file_put(path, span_str(text), &err), &err);
}

static void world_init(struct world *w, struct rng *rng)
{
    char text[400], retentions[200] = "";
    size_t p = rng_below(rng, sizeof policies / sizeof policies[0]);
    static const double factors[] = {0, 0.2, 0.5, 0.75, 1};

    *w = (struct world){.method = (enum aggregation)rng_between(rng, 1, AGG_COUNT - 1),
                        .x_files_factor = (float)factors[rng_below(rng, 5)], /* whisper keeps it as a float */
                        .tiers = policies[p].tiers};
    tmpdir_init(&w->dir);
    snprintf(w->data, sizeof w->data, "%s/data", w->dir.path);
    snprintf(w->schemas, sizeof w->schemas, "%s/schemas.conf", w->dir.path);
    snprintf(w->aggregation, sizeof w->aggregation, "%s/aggregation.conf", w->dir.path);
    for (int k = 0; k < w->tiers; k++) {
        w->archive[k].step_s = policies[p].step_s[k];
        w->archive[k].slots = policies[p].slots[k];
        size_t n = strlen(retentions);
        snprintf(retentions + n, sizeof retentions - n, "%s%lld:%lld", k == 0 ? "" : ",",
                 (long long)policies[p].step_s[k], (long long)policies[p].slots[k]);
    }
    snprintf(text, sizeof text, "[all]\npattern = .*\nretentions = %s\n", retentions);
    put(w->schemas, text);
    snprintf(text, sizeof text, "[all]\npattern = .*\nxFilesFactor = %g\naggregationMethod = %s\n", w->x_files_factor,
             aggregation_name(w->method));
    put(w->aggregation, text);
    struct archive *last = &w->archive[w->tiers - 1];
    w->base_s = 1700000000 / 86400 * 86400;
    w->span_s = last->step_s * last->slots;
    w->now_s = w->base_s + w->span_s / 4;
    clock_fake_ns(w->now_s * 1000000000);
    for (int k = 0; k < w->tiers; k++)
        for (int i = 0; i < NAMES; i++) {
            size_t slots = (size_t)(w->span_s / w->archive[k].step_s);
            w->archive[k].values[i] = malloc(slots * sizeof(double));
            for (size_t s = 0; s < slots; s++)
                w->archive[k].values[i][s] = NAN;
        }
    world_open(w);
}

static void world_release(struct world *w)
{
    world_close(w);
    for (int k = 0; k < w->tiers; k++)
        for (int i = 0; i < NAMES; i++)
            free(w->archive[k].values[i]);
    tmpdir_release(&w->dir);
}

static struct span name_of(int i, char *to)
{
    return span_of(to, (size_t)sprintf(to, "app.%d.value", i));
}

/* ---- the model ---- */

/* whisper.py, aggregate(), written the slow way. */
static double model_aggregate(enum aggregation method, const double *slots, size_t count, double x_files_factor)
{
    double known[4096];
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        if (!isnan(slots[i]))
            known[n++] = slots[i];
    if (n == 0 || (double)n / (double)count < x_files_factor)
        return NAN;
    double sum = 0, best = known[0];
    for (size_t i = 0; i < n; i++) {
        sum += known[i];
        if ((method == AGG_MAX && known[i] > best) || (method == AGG_MIN && known[i] < best) ||
            (method == AGG_ABSMAX && fabs(known[i]) > fabs(best)) ||
            (method == AGG_ABSMIN && fabs(known[i]) < fabs(best)))
            best = known[i];
    }
    switch (method) {
    case AGG_AVERAGE:
        return sum / (double)n;
    case AGG_AVG_ZERO:
        return sum / (double)count;
    case AGG_SUM:
        return sum;
    case AGG_LAST:
        return known[n - 1];
    default:
        return best;
    }
}

static void model_store(struct world *w, int i, int64_t t_s, double v)
{
    int64_t age_s = w->now_s - t_s;
    int k = 0;

    while (k < w->tiers && w->archive[k].step_s * w->archive[k].slots < age_s)
        k++;
    cr_assert_lt(k, w->tiers);
    w->archive[k].values[i][(t_s - w->base_s) / w->archive[k].step_s] = v;
    for (; k + 1 < w->tiers; k++) {
        const struct archive *fine = &w->archive[k], *coarse = &w->archive[k + 1];
        size_t ratio = (size_t)(coarse->step_s / fine->step_s), at = (size_t)((t_s - w->base_s) / coarse->step_s);
        double value = model_aggregate(w->method, fine->values[i] + at * ratio, ratio, w->x_files_factor);
        if (isnan(value))
            return;
        coarse->values[i][at] = value;
    }
}

/* ---- steps ---- */

static void store(struct world *w, int i, int64_t t_s, double v)
{
    char text[64];
    enum store_result result = store_point(w->writer, &w->hint, name_of(i, text), t_s, v);

    cr_assert_eq(result, STORE_OK, "%s", store_result_name(result));
    model_store(w, i, t_s, v);
    w->known[i] = true;
}

/* Live data: the clock goes on, most series send at most steps. */
static void step_live(struct world *w, struct rng *rng)
{
    int64_t step_s = w->archive[0].step_s;

    for (int n = (int)rng_between(rng, 1, 60); n > 0 && w->now_s + step_s < w->base_s + w->span_s; n--) {
        w->now_s += step_s;
        clock_fake_ns(w->now_s * 1000000000);
        storage_enter();
        store_begin(w->writer, w->now_s);
        for (int i = 0; i < NAMES; i++)
            if (!rng_one_in(rng, 8))
                store(w, i, w->now_s - rng_between(rng, 0, step_s), (double)rng_between(rng, -500, 500));
        storage_leave();
    }
}

/* Late points of one series, in order or not, all of them in archives whose finer slots are still kept. */
static void step_late(struct world *w, struct rng *rng)
{
    int i = (int)rng_below(rng, NAMES);
    int64_t oldest_s = w->archive[0].step_s * (w->archive[0].slots - 1);

    storage_enter();
    store_begin(w->writer, w->now_s);
    for (int n = (int)rng_between(rng, 1, 40); n > 0; n--) {
        int64_t t_s = w->now_s - rng_between(rng, 0, oldest_s);
        if (t_s >= w->base_s)
            store(w, i, t_s, (double)rng_between(rng, -500, 500));
    }
    storage_leave();
}

/* Points that are too old for the finest archive. */
static void step_old(struct world *w, struct rng *rng)
{
    int64_t youngest_s = w->archive[0].step_s * w->archive[0].slots;
    int i = (int)rng_below(rng, NAMES);

    storage_enter();
    store_begin(w->writer, w->now_s);
    for (int n = (int)rng_between(rng, 1, 10); n > 0; n--) {
        int64_t t_s = rng_between(rng, w->base_s, w->now_s - 1);
        /* In this order the younger one of two never precedes the older in a coarse slot of both kinds. */
        if (w->now_s - t_s > youngest_s + 2 * w->archive[1].step_s)
            store(w, i, t_s, (double)rng_between(rng, -500, 500));
    }
    storage_leave();
}

/* ---- comparison ---- */

static void check_archive(struct world *w, int i, int k)
{
    const struct archive *a = &w->archive[k];
    int64_t retention_s = a->step_s * a->slots;
    char text[64];
    struct arena arena;
    struct storage_points points;
    struct err err = {0};
    uint32_t series;

    arena_init(&arena, 0, NULL);
    storage_enter();
    cr_assert(storage_lookup(w->st, name_of(i, text), &series));
    must_ok(storage_fetch(w->st, series, w->now_s - retention_s, w->now_s, w->now_s, &arena, &points, &err), &err);
    cr_assert_eq(points.step_s, a->step_s);
    for (size_t s = 0; s < points.count; s++) {
        int64_t t_s = points.start_s + (int64_t)s * a->step_s;
        double got = points.values[s], expected = t_s < w->base_s ? NAN : a->values[i][(t_s - w->base_s) / a->step_s];
        cr_assert(got == expected || (isnan(got) && isnan(expected)),
                  "%s, archive %d (%s, xff %g), %lld s before now: expected %.17g, got %.17g", text, k,
                  aggregation_name(w->method), w->x_files_factor, (long long)(w->now_s - t_s), expected, got);
    }
    storage_leave();
    arena_release(&arena);
}

static void check_all(struct world *w)
{
    for (int i = 0; i < NAMES; i++)
        for (int k = 0; k < w->tiers && w->known[i]; k++)
            check_archive(w, i, k);
}

static void one_random_step(struct world *w, struct rng *rng)
{
    struct err err = {0};

    switch (rng_below(rng, 12)) {
    case 0:
    case 1:
    case 2:
        must_ok(storage_tick(w->st, w->now_s, &err), &err);
        break;
    case 3:
        must_ok(storage_seal_all(w->st, &err), &err);
        if (rng_one_in(rng, 2))
            must_ok(storage_merge_all(w->st, &err), &err);
        break;
    case 4:
        world_close(w);
        world_open(w);
        break;
    case 5:
    case 6:
        step_late(w, rng);
        break;
    case 7:
        step_old(w, rng);
        break;
    default:
        step_live(w, rng);
    }
}

Test(rollup, agrees_with_a_naive_whisper, .timeout = 300)
{
    storage_thread_begin();
    FOR_SEEDS (seed, 12) {
        struct rng rng = rng_from(seed);
        struct world w;
        world_init(&w, &rng);
        for (int n = 0; n < 120; n++) {
            one_random_step(&w, &rng);
            if (n % 10 == 0)
                check_all(&w);
        }
        check_all(&w);
        world_release(&w);
    }
    clock_real();
    storage_thread_end();
}
