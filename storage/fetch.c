/* One series, one range: choose the archive as whisper does, then lay what holds its slots over each
 * other, oldest generation first (tier.h says why segments come before windows). */
#include "storage/internal.h"

#include "base/log.h"
#include "base/must.h"

#include <math.h>

/* The part of [start_s, end_s) that lies in FROM..UNTIL, as slots of the source and of the answer. */
struct overlap {
    uint32_t first; /* slot of the source */
    uint32_t count;
    size_t at; /* slot of the answer */
};

static bool fetch_overlap(int64_t start_s, int64_t end_s, const struct storage_points *p, struct overlap *out)
{
    int64_t last_s = p->start_s + (int64_t)p->count * p->step_s;
    int64_t from_s = start_s > p->start_s ? start_s : p->start_s;
    int64_t until_s = end_s < last_s ? end_s : last_s;

    if (from_s >= until_s)
        return false;
    *out = (struct overlap){.first = (uint32_t)((from_s - start_s) / p->step_s),
                            .count = (uint32_t)((until_s - from_s) / p->step_s),
                            .at = (size_t)((from_s - p->start_s) / p->step_s)};
    return true;
}

static void fetch_damaged(struct storage *st, const struct err *err)
{
    static struct log_limit limit;
    uint64_t held_back;

    __atomic_fetch_add(&st->damaged_chunks, 1, __ATOMIC_RELAXED);
    if (log_limit_pass(&limit, 10, 60 * 1000000000LL, &held_back))
        log_error("storage", "a damaged chunk is left out of answers", LOG_ERR(err), LOG_INT("held_back", held_back));
}

static void fetch_tier(struct storage *st, const struct tier *tier, uint32_t series, struct storage_points *p)
{
    const struct tier_view *view = tier_view(tier);
    struct overlap o;
    struct err why;

    for (uint32_t i = 0; i < view->segments; i++) {
        const struct live_segment *live = &view->segment[i];
        if (fetch_overlap(live->start_s, live->end_s, p, &o) &&
            segment_read(live->segment, series, o.first, o.count, p->values + o.at, &why) < 0)
            fetch_damaged(st, &why);
    }
    for (uint32_t i = 0; i < view->windows; i++) {
        const struct window *w = view->window[i];
        if (fetch_overlap(w->start_s, w->end_s, p, &o))
            window_read(w, series, o.first, o.count, p->values + o.at);
    }
}

/* whisper.py, file_fetch and __archive_fetch: which archive and which slots. False: nothing to say. */
static bool fetch_range(const struct retention *r, int64_t from_s, int64_t until_s, int64_t now_s, unsigned *tier,
                        struct storage_points *p)
{
    int64_t oldest_s = now_s - r->tiers[r->count - 1].retention_s;

    if (from_s > now_s || until_s < oldest_s || from_s > until_s)
        return false;
    if (from_s < oldest_s)
        from_s = oldest_s;
    if (until_s > now_s)
        until_s = now_s;
    int k = retention_tier_of_age(r, now_s - from_s);
    MUST(k >= 0);
    int64_t step_s = r->tiers[k].step_s;
    int64_t start_s = from_s - (from_s % step_s + step_s) % step_s + step_s;
    int64_t end_s = until_s - (until_s % step_s + step_s) % step_s + step_s;
    if (end_s == start_s)
        end_s += step_s;
    *tier = (unsigned)k;
    p->start_s = start_s;
    p->step_s = step_s;
    p->count = (size_t)((end_s - start_s) / step_s);
    return true;
}

int storage_fetch(struct storage *st, uint32_t series, int64_t from_s, int64_t until_s, int64_t now_s,
                  struct arena *arena, struct storage_points *out, struct err *err)
{
    unsigned k;

    *out = (struct storage_points){0};
    if (series >= __atomic_load_n(&st->series.ids, __ATOMIC_ACQUIRE))
        return err_set(err, ERR_MISSING, "no series has the id %u", series);
    const struct rule *rule = &st->policies.rule[series_get(&st->series, series)->rule];
    const struct policy *policy = st->policies.policy[rule->policy];
    out->method = rule->method;
    out->x_files_factor = rule->x_files_factor;
    if (!fetch_range(&policy->retention, from_s, until_s, now_s, &k, out))
        return 0;
    out->values = arena_alloc(arena, out->count * sizeof out->values[0]);
    for (size_t i = 0; i < out->count; i++)
        out->values[i] = NAN;
    fetch_tier(st, &policy->tier[k], series, out);
    return 0;
}
