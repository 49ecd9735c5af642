/* The power goes at any change the store makes to the disk; then, on whatever the disk may hold:
 *   1. the store opens
 *   2. each cell holds the value that was there at the last completed flush, or a later one
 *   3. no series has another's point (each value names its series)
 *   4. a coarse slot whose fine ones were all flushed is their aggregate
 *   5. series created afterwards begin empty
 *   6. a series that was deleted is as it was or gone as a whole; gone for sure when the deletion had returned
 * The workload seals, rolls up, merges, stores late points, creates and deletes series while it runs. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "storage/storage.h"
#include "tests/help/powercut.h"
#include "tests/help/rng.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAMES = 30, SLOTS = 1400, PENDING = 6, FINE_S = 10, COARSE_S = 60 };

/* What a cell may hold after the cut. */
struct cell {
    double durable;          /* NaN: nothing */
    double pending[PENDING]; /* stored since the last flush; the oldest give way */
    int count;
};

struct world {
    struct tmpdir dir;
    char data[300], schemas[300], aggregation[300];
    int64_t base_s, now_s;
    struct storage *st;
    struct store_writer *writer;
    struct store_hint hint;
    struct cell cell[NAMES][SLOTS];
    bool leaving[NAMES]; /* a deletion had begun when the power went */
    double counter;
    bool overflow; /* some cell was stored more often than PENDING between two flushes */
};

static struct storage_options options_of(const struct world *w, const char *data)
{
    struct storage_options options = storage_options_default(data);

    options.schemas_path = w->schemas;
    options.aggregation_path = w->aggregation;
    options.manual = true;
    options.windows_max = 5;
    return options;
}

static void world_init(struct world *w)
{
    struct err err;

    tmpdir_init(&w->dir);
    snprintf(w->data, sizeof w->data, "%s/data", w->dir.path);
    snprintf(w->schemas, sizeof w->schemas, "%s/schemas.conf", w->dir.path);
    snprintf(w->aggregation, sizeof w->aggregation, "%s/aggregation.conf", w->dir.path);
    cr_assert_eq(file_make_dir(w->data, &err), 0);
    cr_assert_eq(file_put(w->schemas, SPAN_LIT("[a]\npattern = .\nretentions = 10s:5h,1m:1d\n"), &err), 0);
    cr_assert_eq(
        file_put(w->aggregation, SPAN_LIT("[a]\npattern = .\nxFilesFactor = 0\naggregationMethod = sum\n"), &err), 0);
    w->base_s = 1700000000 / 7200 * 7200;
    w->now_s = w->base_s + SLOTS / 2 * FINE_S;
    clock_fake_ns(w->now_s * 1000000000);
    for (int i = 0; i < NAMES; i++)
        for (int s = 0; s < SLOTS; s++)
            w->cell[i][s] = (struct cell){.durable = NAN};
}

static struct span name_of(int i, char *to)
{
    return span_of(to, (size_t)sprintf(to, "web%d.requests.count", i));
}

static void step_store(struct world *w, struct rng *rng)
{
    int i = (int)rng_below(rng, NAMES);
    int64_t newest = (w->now_s - w->base_s) / FINE_S;
    int64_t slot = rng_one_in(rng, 3) ? rng_between(rng, 0, newest) : newest;
    char text[64];

    storage_enter();
    store_begin(w->writer, w->now_s);
    for (int n = (int)rng_between(rng, 1, 30); n > 0; n--) {
        double v = i * 1e6 + ++w->counter;
        /* After the stop a refusal is no surprise; whether the cell was stored is then not known. */
        store_point(w->writer, &w->hint, name_of(i, text), w->base_s + slot * FINE_S, v);
        struct cell *c = &w->cell[i][slot];
        w->overflow |= c->count == PENDING;
        c->pending[c->count < PENDING ? c->count++ : PENDING - 1] = v;
        i = (i + 1) % NAMES;
        slot = rng_one_in(rng, 4) && slot > 0 ? slot - 1 : slot;
    }
    storage_leave();
}

/* What was stored before a flush that succeeds is durable afterwards. */
static void step_flush(struct world *w)
{
    struct err err;

    if (storage_flush(w->st, &err) < 0)
        return;
    for (int i = 0; i < NAMES; i++)
        for (int s = 0; s < SLOTS; s++) {
            struct cell *c = &w->cell[i][s];
            if (c->count > 0)
                c->durable = c->pending[c->count - 1];
            c->count = 0;
        }
}

/* A deletion that returns well has reached the device. */
static void step_delete(struct world *w, struct rng *rng)
{
    int first = (int)rng_below(rng, NAMES), last = first;
    char text[64];
    struct span pattern = name_of(first, text);
    uint64_t deleted;
    struct err err;

    if (rng_one_in(rng, 3)) {
        first = 10;
        last = 19;
        pattern = SPAN_LIT("web1?.requests.*");
    }
    bool done = storage_delete(w->st, pattern, 0, &deleted, &err) == 0;
    for (int i = first; i <= last; i++) {
        w->leaving[i] = !done;
        for (int s = 0; s < SLOTS && done; s++)
            w->cell[i][s] = (struct cell){.durable = NAN};
    }
}

static void one_random_step(struct world *w, struct rng *rng)
{
    struct err err;

    switch (rng_below(rng, 11)) {
    case 0:
        step_flush(w);
        break;
    case 1:
        storage_tick(w->st, w->now_s, &err);
        break;
    case 2:
        if (rng_one_in(rng, 4))
            storage_seal_all(w->st, &err);
        if (rng_one_in(rng, 3))
            storage_merge_all(w->st, &err);
        break;
    case 3:
        if (w->now_s < w->base_s + (SLOTS - 100) * FINE_S)
            w->now_s += rng_between(rng, 1, 60) * FINE_S;
        clock_fake_ns(w->now_s * 1000000000);
        break;
    case 4:
        if (rng_one_in(rng, 2))
            step_delete(w, rng);
        break;
    default:
        step_store(w, rng);
    }
}

/* Open the store in W->data and work on it until the power goes or the steps are done. */
static void work(struct world *w, struct rng *rng, struct powercut *pc)
{
    struct storage_options options = options_of(w, w->data);
    struct err err;

    if (storage_open(&options, &w->st, &err) < 0)
        return;
    if (store_writer_new(w->st, &w->writer, &err) == 0) {
        for (int n = 0; n < 150 && !powercut_stopped(pc); n++)
            one_random_step(w, rng);
        store_writer_free(w->writer);
    }
    powercut_stop(pc); /* closing would flush */
    storage_close(w->st);
}

/* ---- after the cut ---- */

static bool same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static void check_cell(const struct world *w, int i, int s, double got)
{
    const struct cell *c = &w->cell[i][s];
    bool fine = same(got, c->durable);

    for (int p = 0; p < c->count; p++)
        fine |= got == c->pending[p];
    cr_assert(fine, "series %d slot %d: expected %.17g or one of %d later values, got %.17g", i, s, c->durable,
              c->count, got);
}

static void fetch(struct storage *st, uint32_t series, int64_t from_s, int64_t until_s, int64_t now_s,
                  struct arena *arena, struct storage_points *p)
{
    struct err err;

    cr_assert_eq(storage_fetch(st, series, from_s, until_s, now_s, arena, p, &err), 0, "%s", err.text);
}

/* 4: SUM of the fine slots, where all of them were flushed. */
static void check_coarse(const struct world *w, int i, const struct storage_points *p)
{
    for (size_t n = 0; n < p->count; n++) {
        int64_t slot = (p->start_s + (int64_t)n * COARSE_S - w->base_s) / FINE_S;
        double sum = NAN;
        bool sure = slot >= 0 && slot + 6 <= SLOTS;
        for (int s = 0; s < 6 && sure; s++) {
            const struct cell *c = &w->cell[i][slot + s];
            sure = c->count == 0;
            sum = isnan(c->durable) ? sum : isnan(sum) ? c->durable : sum + c->durable;
        }
        cr_assert(!sure || same(p->values[n], sum), "series %d coarse slot at %lld: expected %.17g, got %.17g", i,
                  (long long)slot, sum, p->values[n]);
    }
}

static void check_series(struct world *w, struct storage *st, int i)
{
    char text[64];
    struct arena arena;
    struct storage_points p;
    uint32_t series;
    bool any_durable = false;

    for (int s = 0; s < SLOTS; s++)
        any_durable |= !isnan(w->cell[i][s].durable);
    arena_init(&arena, 0, NULL);
    storage_enter();
    bool found = storage_lookup(st, name_of(i, text), &series);
    cr_assert(found || !any_durable || w->leaving[i], "series %d is gone", i);
    if (found) {
        fetch(st, series, w->base_s - 1, w->now_s, w->now_s, &arena, &p);
        cr_assert_eq(p.step_s, FINE_S);
        for (size_t n = 0; n < p.count; n++)
            check_cell(w, i, (int)((p.start_s - w->base_s) / FINE_S + (int64_t)n), p.values[n]);
        fetch(st, series, w->now_s - 80000, w->now_s, w->now_s, &arena, &p);
        cr_assert_eq(p.step_s, COARSE_S);
        check_coarse(w, i, &p);
    }
    storage_leave();
    arena_release(&arena);
}

/* 5: whatever ids the lost tail of the log had, new series are empty but for their own point. */
static void check_new_series(struct world *w, struct storage *st)
{
    struct store_writer *writer;
    struct store_hint hint = {0};
    struct arena arena;
    struct storage_points p;
    struct err err;
    char text[64];

    arena_init(&arena, 0, NULL);
    cr_assert_eq(store_writer_new(st, &writer, &err), 0);
    storage_enter();
    store_begin(writer, w->now_s);
    for (int i = 0; i < 20; i++) {
        uint32_t series;
        struct span name = span_of(text, (size_t)sprintf(text, "fresh.%d", i));
        cr_assert_eq(store_point(writer, &hint, name, w->now_s, -i), STORE_OK);
        cr_assert(storage_lookup(st, name, &series));
        fetch(st, series, w->base_s - 1, w->now_s, w->now_s, &arena, &p);
        for (size_t n = 0; n + 1 < p.count; n++)
            cr_assert(isnan(p.values[n]), "a new series has the point %.17g", p.values[n]);
        cr_assert_eq(p.values[p.count - 1], -i);
    }
    storage_leave();
    store_writer_free(writer);
    arena_release(&arena);
}

static void check_after(struct world *w, const char *data)
{
    struct storage_options options = options_of(w, data);
    struct storage *st;
    struct err err;
    char lock[400];

    /* The machine that comes up again has another boot id. */
    snprintf(lock, sizeof lock, "%s/LOCK", data);
    cr_assert_eq(file_make_dir(data, &err), 0);
    cr_assert_eq(file_put(lock, SPAN_LIT("boot of another day\n"), &err), 0);
    cr_assert_eq(storage_open(&options, &st, &err), 0, "%s", err.text);
    for (int i = 0; i < NAMES; i++)
        check_series(w, st, i);
    check_new_series(w, st);
    storage_close(st);
}

Test(store, keeps_its_promises_after_a_power_cut, .timeout = 300)
{
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    storage_thread_begin();
    FOR_SEEDS (seed, 60) {
        struct rng rng = rng_from(seed);
        struct world *w = calloc(1, sizeof *w);
        world_init(w);
        struct powercut *pc = powercut_new(w->data);
        powercut_stop_after(pc, (uint64_t)rng_between(&rng, 0, rng_one_in(&rng, 2) ? 60 : 600));
        work(w, &rng, pc);
        for (int n = 0; n < 4; n++) {
            char after[300];
            snprintf(after, sizeof after, "%s/after%d", w->dir.path, n);
            powercut_write(pc, n == 0 ? POWERCUT_LOST : n == 1 ? POWERCUT_KEPT : POWERCUT_RANDOM, NULL, &rng, after);
            file_set_hook(NULL);
            if (!w->overflow)
                check_after(w, after);
            tmpdir_remove_tree(after);
        }
        powercut_free(pc);
        tmpdir_release(&w->dir);
        free(w);
    }
    clock_real();
    storage_thread_end();
}
