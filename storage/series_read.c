#include "storage/series_read.h"

#include "storage/bucket.h"

#include <math.h>

enum { PIECE_SLOTS = 512 }; /* finer slots read at a time: on the stack, once for each tier below */

/* The part of [begin_s, end_s) that lies among the slots asked for. */
struct overlap {
    uint32_t first; /* slot of the source */
    uint32_t count;
    size_t at; /* slot of the answer */
};

/* A run of slots of one tier. */
struct slots {
    int64_t start_s;
    int64_t step_s;
    size_t count;
};

static bool slots_overlap(struct slots want, int64_t begin_s, int64_t end_s, struct overlap *out)
{
    int64_t want_end_s = want.start_s + (int64_t)want.count * want.step_s;
    int64_t from_s = begin_s > want.start_s ? begin_s : want.start_s;
    int64_t until_s = end_s < want_end_s ? end_s : want_end_s;

    if (from_s >= until_s)
        return false;
    *out = (struct overlap){.first = (uint32_t)((from_s - begin_s) / want.step_s),
                            .count = (uint32_t)((until_s - from_s) / want.step_s),
                            .at = (size_t)((from_s - want.start_s) / want.step_s)};
    return true;
}

void series_read_kept(const struct series_reader *r, unsigned k, int64_t start_s, size_t count, double *out)
{
    const struct tier *tier = &r->policy->tier[k];
    const struct tier_view *view = tier_view(tier);
    struct slots want = {start_s, tier->shape.step_s, count};
    struct overlap o;
    struct err why;

    for (uint32_t i = 0; i < view->segments; i++) {
        const struct live_segment *live = &view->segment[i];
        if (slots_overlap(want, live->start_s, live->end_s, &o) &&
            segment_read(live->segment, r->series, o.first, o.count, out + o.at, &why) < 0)
            r->damaged(r->ctx, &why);
    }
    for (uint32_t i = 0; i < view->windows; i++) {
        const struct window *w = view->window[i];
        if (slots_overlap(want, w->start_s, w->end_s, &o))
            window_read(w, r->series, o.first, o.count, out + o.at);
    }
}

/* One coarse slot of SLOTS finer ones from START_S, read piece by piece. */
static double series_derive_slot(const struct series_reader *r, unsigned k, int64_t start_s, size_t slots)
{
    int64_t step_s = r->policy->tier[k - 1].shape.step_s;
    struct bucket bucket = bucket_empty(r->rule->method);
    double piece[PIECE_SLOTS];

    for (size_t at = 0; at < slots; at += PIECE_SLOTS) {
        size_t n = slots - at < PIECE_SLOTS ? slots - at : PIECE_SLOTS;
        for (size_t i = 0; i < n; i++)
            piece[i] = NAN;
        series_read(r, k - 1, start_s + (int64_t)at * step_s, n, piece);
        bucket_add(&bucket, piece, n);
    }
    return bucket_value(&bucket, slots, r->rule->x_files_factor);
}

/* Several coarse slots whose finer ones fit into one piece. */
static void series_derive_piece(const struct series_reader *r, unsigned k, int64_t start_s, size_t count, size_t slots,
                                double *out)
{
    double piece[PIECE_SLOTS];

    for (size_t i = 0; i < count * slots; i++)
        piece[i] = NAN;
    series_read(r, k - 1, start_s, count * slots, piece);
    for (size_t i = 0; i < count; i++) {
        struct bucket bucket = bucket_empty(r->rule->method);
        bucket_add(&bucket, piece + i * slots, slots);
        double v = bucket_value(&bucket, slots, r->rule->x_files_factor);
        if (!isnan(v))
            out[i] = v;
    }
}

void series_derive(const struct series_reader *r, unsigned k, int64_t start_s, size_t count, double *out)
{
    int64_t step_s = r->policy->tier[k].shape.step_s;
    size_t slots = (size_t)(step_s / r->policy->tier[k - 1].shape.step_s);
    size_t at_once = PIECE_SLOTS / slots;

    for (size_t i = 0; i < count;) {
        if (at_once == 0) {
            double v = series_derive_slot(r, k, start_s + (int64_t)i * step_s, slots);
            out[i] = isnan(v) ? out[i] : v;
            i++;
            continue;
        }
        size_t n = count - i < at_once ? count - i : at_once;
        series_derive_piece(r, k, start_s + (int64_t)i * step_s, n, slots, out + i);
        i += n;
    }
}

/* Derive the slots that the span [begin_s, end_s) touches. */
static void series_derive_span(const struct series_reader *r, unsigned k, struct slots want, int64_t begin_s,
                               int64_t end_s, double *out)
{
    struct overlap o;

    begin_s -= begin_s % want.step_s;
    end_s += (want.step_s - end_s % want.step_s) % want.step_s;
    if (slots_overlap(want, begin_s, end_s, &o))
        series_derive(r, k, want.start_s + (int64_t)o.at * want.step_s, o.count, out + o.at);
}

/* Derive the slots that points of the series in W touch; slots that have passed UNTIL_S are left out. */
static void series_derive_touched(const struct series_reader *r, unsigned k, struct slots want, const struct window *w,
                                  int64_t until_s, double *out)
{
    uint32_t row = window_row(w, r->series);
    const struct grid *g = row == UINT32_MAX ? NULL : window_grid(w, row);
    int64_t run_s = 0, run_end_s = 0; /* touched slots in a row, not yet derived */

    for (uint32_t s = 0; g != NULL && s < w->slots; s++) {
        int64_t t_s = w->start_s + (int64_t)s * w->step_s;
        if (t_s >= until_s)
            break;
        if (t_s < run_end_s || isnan(grid_load(g, s, row)))
            continue;
        int64_t slot_s = t_s - t_s % want.step_s;
        if (slot_s != run_end_s) {
            series_derive_span(r, k, want, run_s, run_end_s, out);
            run_s = slot_s;
        }
        run_end_s = slot_s + want.step_s;
    }
    series_derive_span(r, k, want, run_s, run_end_s, out);
}

void series_read(const struct series_reader *r, unsigned k, int64_t start_s, size_t count, double *out)
{
    const struct tier_view *finer[RETENTION_TIERS_MAX];
    struct slots want = {start_s, r->policy->tier[k].shape.step_s, count};
    int64_t end_s = start_s + (int64_t)count * want.step_s;

    /* What is to be derived is decided before the kept slots are read: a window that is sealed in between
     * is derived once more, never missed (its slots reach this tier before it leaves its view). */
    for (unsigned i = 0; i < k; i++)
        finer[i] = tier_view(&r->policy->tier[i]);
    int64_t rolled_s = tier_view(&r->policy->tier[k])->rolled_until_s;
    series_read_kept(r, k, start_s, count, out);
    for (unsigned i = 0; i < k; i++)
        for (uint32_t j = 0; j < finer[i]->windows; j++)
            if (finer[i]->window[j]->start_s < rolled_s)
                series_derive_touched(r, k, want, finer[i]->window[j], rolled_s, out);
    if (end_s > rolled_s)
        series_derive_span(r, k, want, rolled_s > start_s ? rolled_s : start_s, end_s, out);
}
