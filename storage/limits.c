#include "storage/limits.h"

#include "base/clock.h"
#include "storage/deferred.h"
#include "storage/internal.h"

#include <inttypes.h>

enum {
    SERIES_MAPS_BYTES = 16,     /* of a series in the row maps of four windows: now, before, two coarse ones */
    SERIES_SEAL_BYTES = 8,      /* of a series in the list of rows of the window that is being sealed */
    GROWTH_SHARE = 8,           /* growth takes at most one part in so many, and some */
    GROWTH_BYTES_MIN = 1 << 20, /* this */
    WINDOWS_ALWAYS = 8,         /* may be open whatever memory there is */
    REPORT_S = 60,              /* between two lines of the log about one limit */
};

void limits_init(struct storage *st)
{
    st->limits = (struct limits){.creates_left = (double)st->options.creates_per_minute, .creates_ns = clock_mono_ns()};
}

static uint64_t limits_ids(const struct storage *st)
{
    return __atomic_load_n(&st->series.ids, __ATOMIC_RELAXED);
}

/* The index without the row maps. */
static uint64_t limits_names_bytes(const struct storage *st)
{
    return series_table_bytes(&st->series) + name_tree_bytes(st->tree) + tag_index_bytes(st->tags) + deferred_bytes();
}

uint64_t limits_index_bytes(const struct storage *st)
{
    return limits_names_bytes(st) + window_maps_bytes();
}

static bool limits_memory_left(const struct storage *st)
{
    uint64_t names = limits_names_bytes(st);
    uint64_t maps = window_maps_bytes();
    uint64_t maps_to_be = limits_ids(st) * SERIES_MAPS_BYTES;
    uint64_t growth = names / GROWTH_SHARE + GROWTH_BYTES_MIN;

    maps = maps > maps_to_be ? maps : maps_to_be;
    return names + maps + limits_ids(st) * SERIES_SEAL_BYTES + growth <= st->options.memory_max;
}

/* A bucket that holds a minute's worth, as carbon's does. */
static bool limits_take_create(struct limits *l, double per_minute)
{
    int64_t now_ns = clock_mono_ns();

    l->creates_left += (double)(now_ns - l->creates_ns) * per_minute / 60e9;
    l->creates_left = l->creates_left > per_minute ? per_minute : l->creates_left;
    l->creates_ns = now_ns;
    if (l->creates_left < 1)
        return false;
    l->creates_left -= 1;
    return true;
}

enum store_result limits_ask(struct storage *st)
{
    if (st->options.memory_max != 0) {
        bool full = !limits_memory_left(st);
        __atomic_store_n(&st->limits.memory_full, full, __ATOMIC_RELAXED);
        if (full)
            return STORE_MEMORY_LIMIT;
    }
    if (st->options.creates_per_minute != 0 && !limits_take_create(&st->limits, (double)st->options.creates_per_minute))
        return STORE_CREATE_LIMIT;
    return STORE_OK;
}

void limits_refused(struct storage *st, enum store_result reason)
{
    uint64_t held_back;

    if (!log_limit_pass(&st->limits.log[reason], 1, REPORT_S * INT64_C(1000000000), &held_back))
        return;
    log_warn("storage", "points of new names are refused; known series are not touched",
             LOG_STR("reason", store_result_name(reason)), LOG_INT("series", st->series.count),
             LOG_INT("index_bytes", limits_index_bytes(st)), LOG_INT("held_back", held_back));
}

bool limits_window_fits(const struct storage *st)
{
    uint64_t ids = limits_ids(st), maps = window_maps_bytes();

    if (st->options.memory_max == 0 || __atomic_load_n(&st->windows_open, __ATOMIC_RELAXED) < WINDOWS_ALWAYS ||
        maps <= ids * SERIES_MAPS_BYTES)
        return true;
    return limits_names_bytes(st) + maps + ids * (sizeof(uint32_t) + SERIES_SEAL_BYTES) <= st->options.memory_max;
}
