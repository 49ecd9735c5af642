/* The store against a plain array: random stores, overwrites, times in any order, window borders, deletes, flushes,
 * seals, merges, ticks of the clock, restarts and kills; whatever is read back must be what the array holds. Now and
 * then the clock goes so far on that nothing is left: then the series must go, too.
 *
 * A kill is a copy of the data directory taken while the store is open: what the page cache holds at that
 * instant is exactly what a process killed by SIGKILL leaves. */
#include "storage/storage.h"

#include "base/clock.h"
#include "base/file.h"
#include "tests/help/rng.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAMES = 24, SLOTS = 2000 };

enum { RETENTION_SLOTS = SLOTS + 500 };

/* One policy, and a model over the SLOTS slots that end at .now_s. */
struct world {
    struct tmpdir dir;
    int generation; /* of data directories: one more with each kill */
    char data[300];
    char schemas[300];
    int64_t step_s;
    int64_t base_s; /* slot 0 of the model */
    int64_t now_s;
    struct storage *st;
    struct store_writer *writer;
    struct store_hint hint;
    double model[NAMES][SLOTS];
    bool known[NAMES];
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
    options.manual = true;
    options.windows_max = 6;
    options.future_max_s = 100 * w->step_s;
    must_ok(storage_open(&options, &w->st, &err), &err);
    must_ok(store_writer_new(w->st, &w->writer, &err), &err);
    w->hint = (struct store_hint){0};
}

static void world_close(struct world *w)
{
    store_writer_free(w->writer);
    storage_close(w->st);
}

/* The clock stands at NOW_S, and there is nothing. */
static void world_begin(struct world *w, int64_t now_s)
{
    w->now_s = now_s / w->step_s * w->step_s;
    w->base_s = w->now_s - (SLOTS - 1) * w->step_s;
    clock_fake_ns(w->now_s * 1000000000);
    for (int i = 0; i < NAMES; i++) {
        w->known[i] = false;
        for (int s = 0; s < SLOTS; s++)
            w->model[i][s] = NAN;
    }
}

static void world_init(struct world *w, struct rng *rng)
{
    static const int64_t steps[] = {1, 10, 60, 300};
    char text[200];
    struct err err;

    *w = (struct world){.step_s = steps[rng_below(rng, 4)]};
    tmpdir_init(&w->dir);
    snprintf(w->data, sizeof w->data, "%s/data0", w->dir.path);
    snprintf(w->schemas, sizeof w->schemas, "%s/schemas.conf", w->dir.path);
    int n = snprintf(text, sizeof text, "[all]\npattern = .*\nretentions = %llds:%llds\n", (long long)w->step_s,
                     (long long)(w->step_s * RETENTION_SLOTS));
    must_ok(file_put(w->schemas, span_of(text, (size_t)n), &err), &err);
    world_begin(w, 1700000000);
    world_open(w);
}

static struct span name_of(int i, char *to)
{
    return span_of(to, (size_t)sprintf(to, "servers.host%02d.cpu.%s", i / 3,
                                       i % 3 == 0   ? "user"
                                       : i % 3 == 1 ? "nice"
                                                    : "idle"));
}

static double random_value(struct rng *rng)
{
    switch (rng_below(rng, 6)) {
    case 0:
        return 0;
    case 1:
        return (double)rng_below(rng, 1000);
    case 2:
        return (double)rng_between(rng, -100000, 100000) / 100;
    case 3:
        return rng_unit(rng) * 1e6;
    case 4:
        return rng_one_in(rng, 2) ? INFINITY : -0.0;
    default: {
        double v;
        uint64_t bits = rng_u64(rng);
        memcpy(&v, &bits, sizeof v);
        return isnan(v) ? 5e-324 : v;
    }
    }
}

/* A batch of points: of one name over many slots, of all names in one slot, or of anything. */
static void step_store(struct world *w, struct rng *rng)
{
    int shape = (int)rng_below(rng, 3);
    int points = (int)rng_between(rng, 1, 150);
    int64_t slot = rng_between(rng, 0, SLOTS - 1);
    int i = (int)rng_below(rng, NAMES);
    char text[64];

    storage_enter();
    store_begin(w->writer, w->now_s);
    for (int p = 0; p < points; p++) {
        if (shape != 0)
            i = shape == 1 ? (i + 1) % NAMES : (int)rng_below(rng, NAMES);
        if (shape != 1)
            slot = shape == 0 ? (slot + 1) % SLOTS : rng_between(rng, 0, SLOTS - 1);
        double v = random_value(rng);
        int64_t t_s = w->base_s + slot * w->step_s + rng_between(rng, 0, w->step_s - 1);
        enum store_result result = store_point(w->writer, &w->hint, name_of(i, text), t_s, v);
        cr_assert_eq(result, STORE_OK, "%s", store_result_name(result));
        w->model[i][slot] = v;
        w->known[i] = true;
    }
    storage_leave();
}

static void check_range(struct world *w, int i, int64_t first, int64_t last)
{
    char text[64];
    struct span name = name_of(i, text);
    struct arena arena;
    struct storage_points points;
    struct err err = {0};
    uint32_t series;

    arena_init(&arena, 0, NULL);
    storage_enter();
    bool found = storage_lookup(w->st, name, &series);
    cr_assert_eq(found, w->known[i]);
    if (found) {
        int64_t from_s = w->base_s + (first - 1) * w->step_s, until_s = w->base_s + last * w->step_s;
        must_ok(storage_fetch(w->st, series, from_s, until_s, w->now_s, &arena, &points, &err), &err);
        cr_assert_eq(points.step_s, w->step_s);
        cr_assert_eq(points.start_s, w->base_s + first * w->step_s);
        cr_assert_eq(points.count, (size_t)(last - first + 1));
        for (size_t s = 0; s < points.count; s++) {
            double expected = w->model[i][first + (int64_t)s], got = points.values[s];
            cr_assert(memcmp(&expected, &got, sizeof got) == 0 || (isnan(expected) && isnan(got)),
                      "%s slot %lld: expected %.17g, got %.17g", text, (long long)(first + (int64_t)s), expected, got);
        }
    }
    storage_leave();
    arena_release(&arena);
}

static void check_all(struct world *w)
{
    for (int i = 0; i < NAMES; i++)
        check_range(w, i, 0, SLOTS - 1);
}

static void step_check(struct world *w, struct rng *rng)
{
    int64_t first = rng_between(rng, 0, SLOTS - 1);

    check_range(w, (int)rng_below(rng, NAMES), first, rng_between(rng, first, SLOTS - 1));
}

/* What SIGKILL leaves, and a new process on it. The old store is closed only to give its memory back. */
static void step_kill(struct world *w)
{
    char next[300];

    snprintf(next, sizeof next, "%s/data%d", w->dir.path, ++w->generation);
    tmpdir_copy_tree(w->data, next);
    world_close(w);
    tmpdir_remove_tree(w->data);
    snprintf(w->data, sizeof w->data, "%s", next);
    world_open(w);
}

/* Delete one name, or a host. */
static void step_delete(struct world *w, struct rng *rng)
{
    int first = (int)rng_below(rng, NAMES), last = first;
    char text[64];
    struct span pattern = name_of(first, text);
    uint64_t deleted, expected = 0;
    struct err err = {0};

    if (rng_one_in(rng, 2)) {
        first -= first % 3;
        last = first + 2;
        pattern = span_of(text, (size_t)sprintf(text, "servers.host%02d.**", first / 3));
    }
    must_ok(storage_delete(w->st, pattern, 0, &deleted, &err), &err);
    for (int i = first; i <= last; i++) {
        expected += w->known[i];
        w->known[i] = false;
        for (int s = 0; s < SLOTS; s++)
            w->model[i][s] = NAN;
    }
    cr_assert_eq(deleted, expected);
}

/* All points get too old. */
static void step_far(struct world *w)
{
    struct arena arena;
    struct storage_stats stats;
    struct err err = {0};

    world_begin(w, w->now_s + 2 * RETENTION_SLOTS * w->step_s + 86400);
    must_ok(storage_tick(w->st, w->now_s, &err), &err);
    arena_init(&arena, 0, NULL);
    storage_enter();
    storage_stats(w->st, &arena, &stats);
    storage_leave();
    arena_release(&arena);
    cr_assert_eq(stats.series, 0);
    cr_assert_eq(stats.segments, 0);
}

static void one_random_step(struct world *w, struct rng *rng)
{
    struct err err = {0};

    switch (rng_below(rng, 42)) {
    case 0:
        must_ok(storage_seal_all(w->st, &err), &err);
        break;
    case 1:
        must_ok(storage_merge_all(w->st, &err), &err);
        break;
    case 2:
        must_ok(storage_flush(w->st, &err), &err);
        break;
    case 3:
    case 4:
        must_ok(storage_tick(w->st, w->now_s, &err), &err);
        break;
    case 5:
        world_close(w);
        world_open(w);
        break;
    case 6:
        step_kill(w);
        break;
    case 7:
        /* The clock goes on, but nothing gets too old for the retention. */
        if (w->now_s < w->base_s + (SLOTS + 400) * w->step_s)
            w->now_s += rng_between(rng, 1, 20 * w->step_s);
        clock_fake_ns(w->now_s * 1000000000);
        break;
    case 8:
        step_delete(w, rng);
        break;
    case 9:
        if (rng_one_in(rng, 4))
            step_far(w);
        break;
    default:
        if (rng_one_in(rng, 3))
            step_check(w, rng);
        else
            step_store(w, rng);
    }
}

Test(store, agrees_with_a_plain_array, .timeout = 300)
{
    storage_thread_begin();
    FOR_SEEDS (seed, 10) {
        struct rng rng = rng_from(seed);
        struct world *w = malloc(sizeof *w);
        world_init(w, &rng);
        for (int i = 0; i < 250; i++)
            one_random_step(w, &rng);
        check_all(w);
        world_close(w);
        world_open(w);
        check_all(w);
        world_close(w);
        tmpdir_release(&w->dir);
        free(w);
    }
    clock_real();
    storage_thread_end();
}
