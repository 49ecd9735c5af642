/* Opening windows: the slow path of a store, taken once for each window and writer and batch. */
#include "storage/internal.h"

#include "base/must.h"

/* Twice the number at which the background begins to seal early is where writers are made to wait. */
enum { WINDOWS_HARD_FACTOR = 2 };

static int window_open(struct storage *st, struct tier *tier, int64_t t_s, int64_t now_s, enum window_limit limit,
                       struct window **out, struct err *err)
{
    struct grid_header what = {.policy = tier->policy,
                               .tier = tier->number,
                               .step_s = (uint32_t)tier->shape.step_s,
                               .slots = tier->shape.window_slots,
                               .start_s = tier_window_start(&tier->shape, t_s),
                               .generation = st->generation_next};

    if (limit == WINDOW_WITHIN_LIMIT &&
        (st->windows_open >= st->options.windows_max * WINDOWS_HARD_FACTOR || !limits_window_fits(st)))
        return err_set(err, ERR_LIMIT, "%u windows are open", st->windows_open);
    if (++st->window_serial == 0)
        st->window_serial = 1;
    struct window *w = window_new(&what, st->window_serial, tier->dir, &st->space);
    if (w == NULL)
        return err_set(err, ERR_MEMORY, "%s: a new window", tier->dir);
    w->opened_s = w->touched_s = now_s;
    int rc = tier_add_window(tier, w, err);
    if (rc < 0) {
        window_free(w);
        return rc;
    }
    st->generation_next++;
    __atomic_store_n(&st->windows_open, st->windows_open + 1, __ATOMIC_RELAXED);
    *out = w;
    return 0;
}

int storage_window_for(struct storage *st, struct tier *tier, int64_t t_s, int64_t now_s, enum window_limit limit,
                       struct window **out, struct err *err)
{
    int rc = 0;

    *out = tier_view_window(tier_view(tier), t_s);
    if (*out == NULL) {
        pthread_mutex_lock(&st->structure);
        *out = tier_view_window(tier_view(tier), t_s);
        if (*out == NULL)
            rc = window_open(st, tier, t_s, now_s, limit, out, err);
        pthread_mutex_unlock(&st->structure);
    }
    if (rc == 0)
        __atomic_store_n(&(*out)->touched_s, now_s, __ATOMIC_RELAXED);
    return rc;
}
