/* The hot path: a point to its cell.
 *
 *   name -> series   compare with the series that followed the sender's last one last time; only on a
 *                    miss bring the name to canonical form, hash it, look it up, and at last create it
 *   time -> window   the writer remembers one window for each policy, for the length of a batch
 *   series -> row    the record remembers (window, row) of its last store; else the window's row map
 *   store            one aligned word
 *
 * What a writer remembers of windows is forgotten at store_begin(): between two batches a window may
 * have been sealed (grace.h). */
#include "storage/internal.h"
#include "storage/name.h"

#include "base/grace.h"
#include "base/log.h"
#include "base/must.h"

#include <math.h>
#include <stdlib.h>

enum { PLACES = 64 };

/* The window that the last point of a policy went to, and for which times it is right. */
struct store_place {
    uint64_t batch; /* remembered in this batch; others are void */
    uint32_t policy;
    uint32_t slot; /* of .t_s */
    int64_t t_s;
    int64_t from_s; /* [from, to) */
    int64_t to_s;
    struct window *window;
};

struct store_writer {
    struct storage *st;
    unsigned number;
    uint64_t batch;
    int64_t now_s;
    int64_t newest_s;                 /* the latest time that is taken */
    struct store_place place[PLACES]; /* by policy number modulo */
    struct log_limit log_limit;
    uint32_t expected; /* names of the last store_expect() ... */
    uint32_t missed;   /* ... and how many of them were not predicted */
    uint32_t turns;    /* store_expect() calls; now and then prediction is tried again */
    bool scattered;    /* the order is not predictable: look names up without trying */
    char scratch[NAME_MAX_BYTES];
};

const char *store_result_name(enum store_result result)
{
    static const char *const names[STORE_RESULTS] = {
        [STORE_OK] = "ok",
        [STORE_BAD_NAME] = "bad_name",
        [STORE_TOO_OLD] = "too_old",
        [STORE_FUTURE] = "future",
        [STORE_NAN] = "nan",
        [STORE_DISK_FULL] = "disk_full",
        [STORE_SERIES_LIMIT] = "series_limit",
        [STORE_MEMORY_LIMIT] = "memory_limit",
        [STORE_CREATE_LIMIT] = "create_limit",
        [STORE_ERROR] = "error",
    };

    MUST((unsigned)result < STORE_RESULTS);
    return names[result];
}

int store_writer_new(struct storage *st, struct store_writer **out, struct err *err)
{
    struct store_writer *w = calloc(1, sizeof *w);
    uint64_t taken = __atomic_load_n(&st->writers, __ATOMIC_RELAXED);

    *out = NULL;
    if (w == NULL)
        return err_set(err, ERR_MEMORY, "writer");
    w->st = st;
    do {
        if (taken == UINT64_MAX) {
            free(w);
            return err_set(err, ERR_LIMIT, "more than %d writers", WINDOW_WRITERS_MAX);
        }
        w->number = (unsigned)__builtin_ctzll(~taken);
    } while (!__atomic_compare_exchange_n(&st->writers, &taken, taken | 1ULL << w->number, false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    *out = w;
    return 0;
}

void store_writer_free(struct store_writer *w)
{
    if (w == NULL)
        return;
    __atomic_fetch_and(&w->st->writers, ~(1ULL << w->number), __ATOMIC_ACQ_REL);
    free(w);
}

void store_begin(struct store_writer *w, int64_t now_s)
{
    w->batch++;
    w->now_s = now_s;
    w->newest_s = now_s + w->st->options.future_max_s;
}

/* What to tell the sender's counters for an error, which is logged here: once in ten seconds for each
 * writer, since it may concern every point. */
static enum store_result store_failed(struct store_writer *w, const struct err *err)
{
    uint64_t held_back;

    if (err->code == ERR_FULL)
        return STORE_DISK_FULL; /* space.c logs it */
    if (log_limit_pass(&w->log_limit, 1, 10 * 1000000000LL, &held_back))
        log_error("storage", "cannot store a point", LOG_ERR(err), LOG_INT("held_back", held_back));
    return STORE_ERROR;
}

/* ---- name -> series ---- */

/* The series that is expected after HINT's, if its name is NAME; fetches what comes after it. */
static inline uint32_t store_predict(const struct series_table *t, const struct store_hint *hint, struct span name)
{
    if (hint->last == 0)
        return SERIES_NONE;
    uint32_t next = __atomic_load_n(&series_get(t, hint->last - 1)->next, __ATOMIC_ACQUIRE);
    if (next == 0)
        return SERIES_NONE;
    const struct series *s = series_get(t, next - 1);
    if (s->name_len != name.len || memcmp(series_name(t, s).ptr, name.ptr, name.len) != 0 ||
        series_state(s) != SERIES_LIVE)
        return SERIES_NONE;
    uint32_t after = __atomic_load_n(&s->next, __ATOMIC_ACQUIRE);
    if (after != 0) {
        const struct series *a = series_get(t, after - 1);
        __builtin_prefetch(series_name(t, a).ptr);
        __builtin_prefetch(series_get(t, __atomic_load_n(&a->next, __ATOMIC_RELAXED)) - 1);
    }
    return next - 1;
}

static int store_create_locked(struct storage *st, struct span name, uint64_t hash, int64_t now_s, uint32_t *id,
                               struct err *err)
{
    struct policy_match match;
    uint16_t rule;

    policy_rules_match(st->rules, name, &match);
    int rc = policies_rule_for(&st->policies, st->log, &match, now_s, &rule, err);
    if (rc == 0)
        rc = series_create(&st->series, name, hash, rule, (uint32_t)now_s, id, err);
    if (rc < 0)
        return rc;
    __atomic_fetch_add(&st->series_created, 1, __ATOMIC_RELAXED);
    struct err why;
    rc = name_is_tagged(name) ? tag_index_insert(st->tags, name, *id, &why)
                              : name_tree_insert(st->tree, name, *id, &why);
    if (rc < 0)
        log_error("storage", "a series can be found by its exact name only until the next start",
                  LOG_SPAN("name", name), LOG_ERR(&why));
    return 0;
}

/* The series of NAME, made when it is new. ERR tells of STORE_DISK_FULL and STORE_ERROR. */
static enum store_result store_name(struct storage *st, struct span name, uint64_t hash, int64_t now_s, uint32_t *id,
                                    struct err *err)
{
    enum store_result result = STORE_OK;
    int rc = 0;

    pthread_mutex_lock(&st->series.lock);
    *id = series_find(&st->series, name, hash); /* another writer may have been faster, or it is leaving */
    if (*id != SERIES_NONE)
        series_keep(&st->series, *id);
    else
        result = limits_ask(st);
    if (*id == SERIES_NONE && result == STORE_OK)
        rc = store_create_locked(st, name, hash, now_s, id, err);
    pthread_mutex_unlock(&st->series.lock);
    if (rc == ERR_LIMIT)
        result = STORE_SERIES_LIMIT;
    else if (rc < 0)
        return rc == ERR_FULL ? STORE_DISK_FULL : STORE_ERROR;
    if (result != STORE_OK)
        limits_refused(st, result);
    return result;
}

static enum store_result store_create(struct store_writer *w, struct span name, uint64_t hash, uint32_t *id)
{
    struct err err = {0};
    enum store_result result = store_name(w->st, name, hash, w->now_s, id, &err);

    return result == STORE_ERROR ? store_failed(w, &err) : result;
}

enum store_result storage_create(struct storage *st, struct span name, int64_t now_s, uint32_t *series, struct err *err)
{
    return store_name(st, name, series_hash(&st->series, name), now_s, series, err);
}

/* ---- many names at once ---- */

enum {
    EXPECT_RETRY = 32,          /* calls after which a scattered writer tries to predict again */
    EXPECT_NAME_BYTES_MAX = 512 /* longer names are looked up without help */
};

/* Whether prediction is of no use now: more than half of the last names were not predicted. */
static bool store_is_scattered(struct store_writer *w, size_t count)
{
    bool scattered = w->missed * 2 > w->expected;

    w->missed = 0;
    w->expected = (uint32_t)count;
    w->scattered = scattered && ++w->turns % EXPECT_RETRY != 0;
    return scattered;
}

/* The cell to which the last point of S went, moved to the present slot of its policy. */
static inline void store_prefetch_cell(const struct store_writer *w, const struct series *s)
{
    const struct storage *st = w->st;
    const struct store_place *place = &w->place[st->policies.rule[s->rule].policy % PLACES];
    uint64_t seen = __atomic_load_n(&s->place, __ATOMIC_RELAXED);

    if (place->batch == w->batch && (uint32_t)(seen >> 32) == place->window->serial)
        grid_prefetch(window_grid(place->window, (uint32_t)seen), place->slot, (uint32_t)seen);
}

void store_expect(struct store_writer *w, const struct span *names, size_t stride, size_t count)
{
    const struct series_table *t = &w->st->series;
    uint64_t hash[STORE_EXPECT_MAX];
    uint32_t id[STORE_EXPECT_MAX];

    count = count > STORE_EXPECT_MAX ? STORE_EXPECT_MAX : count;
    if (!store_is_scattered(w, count))
        return;
    for (size_t i = 0; i < count; i++) {
        struct span name = *(const struct span *)(const void *)((const char *)names + i * stride);
        name.len = name.len > EXPECT_NAME_BYTES_MAX ? 0 : name.len;
        hash[i] = series_hash(t, name);
        series_prefetch_slot(t, hash[i]);
    }
    for (size_t i = 0; i < count; i++)
        id[i] = series_prefetch_record(t, hash[i]);
    for (size_t i = 0; i < count; i++) {
        if (id[i] != SERIES_NONE) {
            const struct series *s = series_get(t, id[i]);
            struct span name = series_name(t, s);
            __builtin_prefetch(name.ptr);
            __builtin_prefetch(name.ptr + name.len); /* it often lies on two cache lines */
            store_prefetch_cell(w, s);
        }
    }
}

/* The long way from a name to its series, which is created when it is new. */
static enum store_result store_resolve(struct store_writer *w, struct store_hint *hint, struct span raw, uint32_t *id)
{
    struct series_table *t = &w->st->series;
    struct span name;

    w->missed++;
    if (name_canonical(raw, w->scratch, &name) != NAME_OK)
        return STORE_BAD_NAME;
    uint64_t hash = series_hash(t, name);
    *id = series_find(t, name, hash);
    if (*id == SERIES_NONE || series_state(series_get(t, *id)) != SERIES_LIVE) {
        enum store_result result = store_create(w, name, hash, id);
        if (result != STORE_OK)
            return result;
    }
    if (hint->last != 0)
        __atomic_store_n(&series_get(t, hint->last - 1)->next, *id + 1, __ATOMIC_RELEASE);
    return STORE_OK;
}

/* ---- time -> window ---- */

/* The window for T_S, waiting for room among the open ones where it must. */
static int store_window(struct store_writer *w, struct tier *tier, int64_t t_s, struct window **out, struct err *err)
{
    int rc;

    while ((rc = storage_window_for(w->st, tier, t_s, w->now_s, WINDOW_WITHIN_LIMIT, out, err)) == ERR_LIMIT) {
        grace_leave();
        rc = storage_seal_idlest(w->st, err);
        grace_enter();
        w->batch++;
        if (rc < 0)
            return rc;
    }
    return rc;
}

/* See to it that the slot of tier K at T_S is settled, and narrow PLACE to times of which that is true. */
static int store_settle(struct store_writer *w, struct policy *policy, unsigned k, int64_t t_s,
                        struct store_place *place, struct err *err)
{
    if (k == 0 || storage_is_settled(policy, k, t_s, &place->from_s, &place->to_s))
        return 0;
    grace_leave();
    int rc = storage_settle(w->st, policy, k, t_s, err);
    grace_enter();
    w->batch++;
    place->from_s = t_s; /* for this point only: the next one looks again */
    place->to_s = t_s + 1;
    return rc;
}

/* Fill PLACE for a point of POLICY at T_S. */
static enum store_result store_locate(struct store_writer *w, struct policy *policy, int64_t t_s,
                                      struct store_place *place)
{
    const struct retention *r = &policy->retention;
    int64_t age_s = t_s > w->now_s || t_s < 0 ? 0 : w->now_s - t_s;
    struct store_place found = {.policy = policy->number, .t_s = t_s};
    struct err err = {0};

    int k = t_s < 0 ? -1 : retention_tier_of_age(r, age_s);
    if (k < 0)
        return STORE_TOO_OLD;
    found.from_s = w->now_s - r->tiers[k].retention_s;
    found.to_s = k == 0 ? w->newest_s + 1 : w->now_s - r->tiers[k - 1].retention_s;
    if (store_settle(w, policy, (unsigned)k, t_s, &found, &err) < 0 ||
        store_window(w, &policy->tier[k], t_s, &found.window, &err) < 0)
        return store_failed(w, &err);
    found.slot = (uint32_t)((t_s - found.window->start_s) / found.window->step_s);
    found.from_s = found.window->start_s > found.from_s ? found.window->start_s : found.from_s;
    found.to_s = found.window->end_s < found.to_s ? found.window->end_s : found.to_s;
    found.batch = w->batch;
    *place = found;
    return STORE_OK;
}

/* ---- series -> row -> cell ---- */

static inline enum store_result store_cell(struct store_writer *w, const struct store_place *place, struct series *s,
                                           uint32_t id, double v)
{
    struct window *window = place->window;
    uint64_t seen = __atomic_load_n(&s->place, __ATOMIC_ACQUIRE);
    uint32_t row = (uint32_t)seen;

    if (__builtin_expect((uint32_t)(seen >> 32) != window->serial, 0)) {
        struct err err = {0};
        int rc = window_row_for(window, id, w->number, &row, &err);
        if (rc < 0)
            return store_failed(w, &err);
        __atomic_store_n(&s->place, (uint64_t)window->serial << 32 | row, __ATOMIC_RELEASE);
    }
    grid_store(window_grid(window, row), place->slot, row, v);
    return STORE_OK;
}

enum store_result store_point(struct store_writer *w, struct store_hint *hint, struct span name, int64_t t_s, double v)
{
    struct storage *st = w->st;

    if (__builtin_expect(isnan(v), 0))
        return STORE_NAN;
    if (__builtin_expect(t_s > w->newest_s, 0))
        return STORE_FUTURE;
    uint32_t id = w->scattered ? SERIES_NONE : store_predict(&st->series, hint, name);
    if (__builtin_expect(id == SERIES_NONE, 0)) {
        enum store_result result = store_resolve(w, hint, name, &id);
        if (result != STORE_OK)
            return result;
    }
    hint->last = id + 1;

    struct series *s = series_get(&st->series, id);
    uint32_t policy = st->policies.rule[s->rule].policy;
    struct store_place *place = &w->place[policy % PLACES];
    if (__builtin_expect(
            place->batch != w->batch || place->policy != policy || t_s < place->from_s || t_s >= place->to_s, 0)) {
        enum store_result result = store_locate(w, st->policies.policy[policy], t_s, place);
        if (result != STORE_OK)
            return result;
        if (series_state(s) != SERIES_LIVE) /* it left while this thread waited for a window */
            return store_point(w, hint, name, t_s, v);
    } else if (t_s != place->t_s) {
        place->t_s = t_s;
        place->slot = (uint32_t)(t_s - place->window->start_s) / place->window->step_s;
    }
    return store_cell(w, place, s, id, v);
}
