/* One series, one range: choose the archive and the slots as whisper does, then read them. */
#include "storage/internal.h"

#include "base/log.h"
#include "base/must.h"

#include <math.h>

static void fetch_damaged(void *ctx, const struct err *err)
{
    static struct log_limit limit;
    struct storage *st = ctx;
    uint64_t held_back;

    __atomic_fetch_add(&st->damaged_chunks, 1, __ATOMIC_RELAXED);
    if (log_limit_pass(&limit, 10, 60 * 1000000000LL, &held_back))
        log_error("storage", "a damaged chunk is left out", LOG_ERR(err), LOG_INT("held_back", held_back));
}

struct series_reader storage_reader(struct storage *st, uint32_t series)
{
    const struct rule *rule = &st->policies.rule[series_get(&st->series, series)->rule];

    return (struct series_reader){.policy = st->policies.policy[rule->policy],
                                  .rule = rule,
                                  .series = series,
                                  .damaged = fetch_damaged,
                                  .ctx = st};
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
    if (!series_has_name(&st->series, series))
        return 0;
    struct series_reader reader = storage_reader(st, series);
    out->method = reader.rule->method;
    out->x_files_factor = reader.rule->x_files_factor;
    if (!fetch_range(&reader.policy->retention, from_s, until_s, now_s, &k, out))
        return 0;
    out->values = arena_alloc(arena, out->count * sizeof out->values[0]);
    for (size_t i = 0; i < out->count; i++)
        out->values[i] = NAN;
    series_read(&reader, k, out->start_s, out->count, out->values);
    return 0;
}
