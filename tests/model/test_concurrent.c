/* Several writers, readers and housekeeping on one store at the same time, with a clock that goes on:
 *   1. no point is lost: at the end, and after a restart, each cell has what its writer stored last; cells that all
 *      writers store into have the last value of one of them
 *   2. a reader never sees a cell go back to an older value, or to nothing, nor a name vanish
 * Writers store new and late points, over windows that are being sealed and beyond the number that may be open; they
 * create series all the time, and store into series that are being deleted. Clean under SAN=thread. The same again
 * with a device that fails: then points may be refused, but what was taken must stay. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "tests/help/rng.h"
#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { WRITERS = 3, READERS = 2, NAMES = 40, SHARED = WRITERS, SLOTS = 290, POINTS = 24, LATE_S = 100 };

/* 1s:5m keeps all of SLOTS for the whole test; its windows are a minute or so. */
static const int64_t base_s = 1700000000 / 3600 * 3600;

/* Cells by owner: of a writer alone, or (SHARED) of all. */
typedef double cells[NAMES][SLOTS];

struct world {
    struct tmpdir dir;
    struct store_kit kit;
    int64_t now_s;    /* atomic */
    uint32_t writing; /* atomic: writers that are not done; they are when the clock stands at the last slot */
    uint64_t seed;
    bool failing;          /* syncs of grids fail now and then */
    cells own[WRITERS];    /* what the writer stored last; NaN: nothing */
    cells shared[WRITERS]; /* the same in the cells that all writers have */
};

struct thread {
    struct world *w;
    int number;
    pthread_t id;
};

static int64_t world_now(const struct world *w)
{
    return __atomic_load_n(&w->now_s, __ATOMIC_RELAXED);
}

static bool world_writing(const struct world *w)
{
    return __atomic_load_n(&w->writing, __ATOMIC_ACQUIRE) > 0;
}

static struct span name_of(int owner, int i, char *to)
{
    return span_of(to, (size_t)sprintf(to, "load.w%d.series%02d", owner, i));
}

/* ---- writers ---- */

static void write_round(struct thread *t, struct store_writer *writer, struct store_hint *hint, struct rng *rng,
                        int round)
{
    struct world *w = t->w;
    int64_t now_s = world_now(w);
    int names = 1 + (int)(now_s - base_s) * (NAMES - 1) / SLOTS; /* a new one now and then */
    char text[64];

    storage_enter();
    store_begin(writer, now_s);
    for (int n = 0; n < POINTS; n++) {
        int owner = rng_one_in(rng, 4) ? SHARED : t->number, i = (int)rng_below(rng, (uint64_t)names);
        int64_t slot = now_s - base_s - (rng_one_in(rng, 3) ? rng_between(rng, 0, LATE_S) : 0);
        double v = (double)((round * POINTS + n) * WRITERS + t->number);
        if (slot < 0)
            continue;
        enum store_result result = store_point(writer, hint, name_of(owner, i, text), base_s + slot, v);
        cr_assert(result == STORE_OK || (w->failing && result == STORE_ERROR), "%s", store_result_name(result));
        if (result != STORE_OK)
            continue;
        (owner == SHARED ? w->shared : w->own)[t->number][i][slot] = v;
    }
    if (round % 8 == 0) {
        struct span name = span_of(text, (size_t)sprintf(text, "trash.series%02d", (int)rng_below(rng, NAMES)));
        enum store_result result = store_point(writer, hint, name, now_s, round);
        cr_assert(result == STORE_OK || w->failing, "%s", store_result_name(result));
    }
    storage_leave();
}

static void *writer_main(void *arg)
{
    struct thread *t = arg;
    struct rng rng = rng_from(t->w->seed * 100 + (uint64_t)t->number);
    struct store_hint hint = {0};
    struct store_writer *writer;
    struct err err;

    storage_thread_begin();
    cr_assert_eq(store_writer_new(t->w->kit.st, &writer, &err), 0);
    for (int round = 0; world_now(t->w) < base_s + SLOTS - 1; round++)
        write_round(t, writer, &hint, &rng, round);
    store_writer_free(writer);
    storage_thread_end();
    __atomic_fetch_sub(&t->w->writing, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* ---- readers ---- */

/* Lay what the store has over SEEN; in cells of one writer nothing may go back. False: no such series. */
static bool read_series(struct world *w, int owner, int i, struct arena *arena, cells seen)
{
    struct storage_points p;
    struct err err;
    uint32_t series;
    char text[64];
    int64_t now_s = world_now(w);

    if (!storage_lookup(w->kit.st, name_of(owner, i, text), &series))
        return false;
    cr_assert_eq(storage_fetch(w->kit.st, series, base_s - 1, now_s, now_s, arena, &p, &err), 0, "%s", err.text);
    cr_assert_eq(p.step_s, 1);
    cr_assert_eq(p.start_s, base_s);
    for (size_t s = 0; s < p.count && s < SLOTS; s++) {
        double before = seen[i][s], now = p.values[s];
        cr_assert(owner == SHARED || isnan(before) || now >= before, "%s slot %zu: %.17g after %.17g", text, s, now,
                  before);
        seen[i][s] = now;
    }
    return true;
}

/* Names that a pattern finds, checked to be sorted. */
static size_t count_names(struct world *w, struct arena *arena)
{
    struct storage_matches found;
    struct err err;

    cr_assert_eq(storage_find(w->kit.st, SPAN_LIT("load.*.series*"), STORAGE_FIND_LEAVES, 0, arena, &found, &err), 0);
    for (size_t n = 1; n < found.count; n++)
        cr_assert_lt(span_cmp(found.items[n - 1].path, found.items[n].path), 0);
    return found.count;
}

static void clear(cells c)
{
    for (int i = 0; i < NAMES; i++)
        for (int s = 0; s < SLOTS; s++)
            c[i][s] = NAN;
}

static void *reader_main(void *arg)
{
    struct thread *t = arg;
    struct rng rng = rng_from(t->w->seed * 100 + 50 + (uint64_t)t->number);
    cells *seen = malloc((WRITERS + 1) * sizeof seen[0]);
    bool known[WRITERS + 1][NAMES] = {{0}};
    size_t names = 0;

    for (int owner = 0; owner <= WRITERS; owner++)
        clear(seen[owner]);
    storage_thread_begin();
    while (world_writing(t->w)) {
        struct arena arena;
        arena_init(&arena, 0, NULL);
        int owner = (int)rng_below(&rng, WRITERS + 1), i = (int)rng_below(&rng, NAMES);
        storage_enter();
        bool found = read_series(t->w, owner, i, &arena, seen[owner]);
        cr_assert(found || !known[owner][i], "a series has vanished");
        known[owner][i] = found;
        size_t count = count_names(t->w, &arena);
        cr_assert_geq(count, names);
        names = count;
        storage_leave();
        arena_release(&arena);
    }
    storage_thread_end();
    free(seen);
    return NULL;
}

/* ---- housekeeping ---- */

/* A part of the housekeeping: it may fail when the device does. */
static void must_go(const struct world *w, int rc, const struct err *err)
{
    cr_assert(rc == 0 || (w->failing && rc == ERR_IO), "%s", err->text);
}

static void *keeper_main(void *arg)
{
    struct thread *t = arg;
    struct rng rng = rng_from(t->w->seed * 100 + 99);
    struct err err;

    storage_thread_begin();
    while (world_writing(t->w)) {
        int64_t now_s = world_now(t->w);
        now_s = now_s + 4 < base_s + SLOTS - 1 ? now_s + 4 : base_s + SLOTS - 1;
        __atomic_store_n(&t->w->now_s, now_s, __ATOMIC_RELAXED);
        clock_fake_ns(now_s * 1000000000);
        must_go(t->w, storage_tick(t->w->kit.st, now_s, &err), &err);
        if (rng_one_in(&rng, 4))
            must_go(t->w, storage_flush(t->w->kit.st, &err), &err);
        if (rng_one_in(&rng, 8))
            must_go(t->w, storage_seal_all(t->w->kit.st, &err), &err);
        if (rng_one_in(&rng, 8))
            must_go(t->w, storage_merge_all(t->w->kit.st, &err), &err);
        uint64_t deleted;
        cr_assert_eq(storage_delete(t->w->kit.st, SPAN_LIT("trash.*"), 0, &deleted, &err), 0, "%s", err.text);
    }
    storage_thread_end();
    return NULL;
}

/* ---- afterwards ---- */

static bool any_has(const struct world *w, int i, int s, double v)
{
    for (int t = 0; t < WRITERS; t++)
        if (w->shared[t][i][s] == v)
            return true;
    return false;
}

static bool none_has(const struct world *w, int i, int s)
{
    for (int t = 0; t < WRITERS; t++)
        if (!isnan(w->shared[t][i][s]))
            return false;
    return true;
}

static void check_all(struct world *w)
{
    cells *seen = malloc(sizeof *seen);

    for (int owner = 0; owner <= WRITERS; owner++) {
        for (int i = 0; i < NAMES; i++) {
            struct arena arena;
            arena_init(&arena, 0, NULL);
            clear(*seen);
            storage_enter();
            read_series(w, owner, i, &arena, *seen);
            storage_leave();
            arena_release(&arena);
            for (int s = 0; s < SLOTS; s++) {
                double got = (*seen)[i][s], expected = owner == SHARED ? NAN : w->own[owner][i][s];
                if (owner == SHARED)
                    cr_assert(any_has(w, i, s, got) || (isnan(got) && none_has(w, i, s)), "shared %d slot %d: %.17g", i,
                              s, got);
                else
                    cr_assert(kit_same(got, expected), "writer %d series %d slot %d: expected %.17g, got %.17g", owner,
                              i, s, expected, got);
            }
        }
    }
    free(seen);
}

static void world_init(struct world *w, uint64_t seed, const char *schemas)
{
    w->seed = seed;
    w->now_s = base_s + 10;
    w->writing = WRITERS;
    clock_fake_ns(w->now_s * 1000000000);
    for (int t = 0; t < WRITERS; t++) {
        clear(w->own[t]);
        clear(w->shared[t]);
    }
    kit_put_file(schemas, "[all]\npattern = .\nretentions = 1s:5m,10s:1h\n");
    w->kit = kit_of(tmpdir_file(&w->dir, "data"));
    w->kit.options.schemas_path = schemas;
    w->kit.options.windows_max = 2; /* writers have to wait now and then */
    w->kit.options.seal_grace_s = 5;
    kit_open(&w->kit);
}

static void run(struct world *w)
{
    struct thread writer[WRITERS], reader[READERS], keeper = {.w = w};

    for (int n = 0; n < WRITERS; n++) {
        writer[n] = (struct thread){.w = w, .number = n};
        cr_assert_eq(pthread_create(&writer[n].id, NULL, writer_main, &writer[n]), 0);
    }
    for (int n = 0; n < READERS; n++) {
        reader[n] = (struct thread){.w = w, .number = n};
        cr_assert_eq(pthread_create(&reader[n].id, NULL, reader_main, &reader[n]), 0);
    }
    cr_assert_eq(pthread_create(&keeper.id, NULL, keeper_main, &keeper), 0);
    for (int n = 0; n < WRITERS; n++)
        pthread_join(writer[n].id, NULL);
    for (int n = 0; n < READERS; n++)
        pthread_join(reader[n].id, NULL);
    pthread_join(keeper.id, NULL);
}

/* Each third sync of a grid fails. */
static int fail_some(void *ctx, enum file_op op, const char *path, uint64_t offset, size_t *len)
{
    uint64_t *count = ctx;

    (void)offset;
    (void)len;
    if (op != FILE_OP_SYNC || strstr(path, ".grid") == NULL)
        return 0;
    return __atomic_fetch_add(count, 1, __ATOMIC_RELAXED) % 3 == 0 ? EIO : 0;
}

static void run_all(bool failing)
{
    uint64_t syncs = 0;
    const struct file_hook hook = {.before = fail_some, .ctx = &syncs};

    log_setup(2, LOG_FORMAT_TEXT, failing ? LOG_LEVEL_OFF : LOG_LEVEL_ERROR, "test");
    FOR_SEEDS (seed, 1) {
        struct world *w = calloc(1, sizeof *w);
        tmpdir_init(&w->dir);
        world_init(w, seed, tmpdir_file(&w->dir, "schemas.conf"));
        w->failing = failing;
        file_set_hook(failing ? &hook : NULL);
        run(w);
        file_set_hook(NULL);
        cr_assert(!failing || syncs > 3);
        storage_thread_begin();
        __atomic_store_n(&w->now_s, base_s + SLOTS - 1, __ATOMIC_RELAXED);
        check_all(w);
        kit_close(&w->kit);
        kit_open(&w->kit);
        check_all(w);
        kit_close(&w->kit);
        storage_thread_end();
        tmpdir_release(&w->dir);
        free(w);
    }
    clock_real();
}

Test(concurrent, no_point_is_lost, .timeout = 300)
{
    run_all(false);
}

Test(concurrent, no_point_is_lost_when_syncs_fail, .timeout = 300)
{
    run_all(true);
}
