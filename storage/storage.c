/* The face: opening, closing, finding, statistics. What it puts together is told in internal.h. */
#include "storage/storage.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/grace.h"
#include "base/log.h"
#include "base/must.h"
#include "storage/deferred.h"
#include "storage/internal.h"
#include "storage/name.h"
#include "storage/pattern.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BOOT_ID_BYTES = 36 };

struct storage_options storage_options_default(const char *dir)
{
    return (struct storage_options){.dir = dir,
                                    .sync_ms = 1000,
                                    .future_max_s = 3600,
                                    .seal_grace_s = 60,
                                    .windows_max = 256,
                                    .expire_series = true,
                                    .free_bytes_min = 64 << 20,
                                    .events_max = 100000,
                                    .events_retention_s = INT64_C(5) * 365 * 86400,
                                    .scrub_interval_s = 86400};
}

/* ---- opening and closing ---- */

/* The kernel's name for the time since it started; empty when it has none. */
static struct span storage_boot_id(char to[BOOT_ID_BYTES])
{
    struct file *f;

    if (file_open("/proc/sys/kernel/random/boot_id", FILE_READ, &f, NULL) < 0)
        return span_of(to, 0);
    int rc = file_read(f, to, BOOT_ID_BYTES, 0, NULL); /* it says that its size is 0 */
    file_close(f);
    return span_of(to, rc < 0 ? 0 : BOOT_ID_BYTES);
}

/* A process that serves a data directory holds a lock on DIR/LOCK for as long as it lives. The file also
 * says under which boot of the machine that was: is it the same one, then the page cache has all that
 * was ever stored, and recovery can trust the grids to the last byte. */
static int storage_lock(struct storage *st, struct err *err)
{
    char path[4096], text[128], boot[BOOT_ID_BYTES];
    char before[sizeof text] = "";
    uint64_t size = 0;

    snprintf(path, sizeof path, "%s/LOCK", st->dir);
    int rc = file_open(path, FILE_READ_WRITE | FILE_CREATE, &st->lock_file, err);
    if (rc == 0)
        rc = file_lock(st->lock_file, err);
    if (rc == 0)
        rc = file_size(st->lock_file, &size, err);
    if (rc == 0 && size < sizeof before)
        rc = file_read(st->lock_file, before, (size_t)size, 0, err);
    if (rc < 0)
        return rc;
    struct span id = storage_boot_id(boot);
    snprintf(text, sizeof text, "boot %.*s\n", SPAN_ARG(id));
    st->same_boot = id.len > 0 && strstr(before, text) != NULL;
    size_t len = strlen(text);
    len += (size_t)snprintf(text + len, sizeof text - len, "pid %ld\n", (long)getpid());
    rc = file_truncate(st->lock_file, 0, err);
    return rc < 0 ? rc : file_write(st->lock_file, text, len, 0, err);
}

static void storage_init_locks(struct storage *st)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&st->structure, NULL);
    pthread_mutex_init(&st->maintenance, NULL);
    pthread_mutex_init(&st->merge_lock, NULL);
    pthread_mutex_init(&st->flush_lock, NULL);
    pthread_mutex_init(&st->stop_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&st->stop_cond, &attr);
    pthread_condattr_destroy(&attr);
}

static char *copy_or_null(const char *text)
{
    return text == NULL ? NULL : strdup(text);
}

/* For the tag index, which keeps no names. */
static bool storage_name_of(void *ctx, uint32_t id, struct span *name)
{
    const struct storage *st = ctx;

    if (!series_has_name(&st->series, id))
        return false;
    *name = series_name(&st->series, series_get(&st->series, id));
    return true;
}

static struct storage *storage_new(const struct storage_options *options, struct err *err)
{
    struct storage *st = calloc(1, sizeof *st);

    if (st == NULL) {
        err_set(err, ERR_MEMORY, "storage");
        return NULL;
    }
    storage_init_locks(st);
    st->options = *options;
    st->dir = strdup(options->dir);
    st->schemas_path = copy_or_null(options->schemas_path);
    st->aggregation_path = copy_or_null(options->aggregation_path);
    st->options.dir = st->policies.dir = st->space.dir = st->dir;
    st->space.free_min = options->free_bytes_min;
    st->flush_began_ns = clock_mono_ns();
    limits_init(st);
    st->writers = 1ULL << STORAGE_OWN_WRITER;
    if (series_table_init(&st->series, options->series_max, err) < 0 || name_tree_new(&st->tree, err) < 0 ||
        tag_index_new(&(struct tag_names){st, storage_name_of}, &st->tags, err) < 0) {
        storage_close(st);
        return NULL;
    }
    return st;
}

static void storage_log_policy_warnings(const struct policy_rules *rules)
{
    const char *text;

    for (size_t i = 0; (text = policy_rules_warning(rules, i)) != NULL; i++)
        log_warn("storage", "a section has no effect", LOG_STR("section", text));
}

int storage_open(const struct storage_options *options, struct storage **out, struct err *err)
{
    struct err own;

    err = err == NULL ? &own : err;
    *out = NULL;
    struct storage *st = storage_new(options, err);
    if (st == NULL)
        return err->code;
    int64_t began_ns = clock_mono_ns();
    int rc = file_make_dir(st->dir, err);
    if (rc == 0)
        rc = storage_lock(st, err);
    if (rc == 0)
        rc = policy_rules_load(st->schemas_path, st->aggregation_path, &st->rules, err);
    if (rc == 0)
        rc = storage_recover(st, err);
    if (rc == 0)
        rc = events_open(st->dir, st->options.events_max, st->options.events_retention_s, &st->events, err);
    if (rc == 0)
        rc = file_sync_dir(st->dir, err);
    if (rc == 0 && !options->manual)
        rc = storage_background_start(st, err);
    if (rc < 0) {
        storage_close(st);
        return rc;
    }
    storage_log_policy_warnings(st->rules);
    log_info("storage", "data directory opened", LOG_STR("dir", st->dir), LOG_INT("series", st->series.count),
             LOG_INT("windows", st->windows_open), LOG_FLOAT("ms", (double)(clock_mono_ns() - began_ns) / 1e6));
    *out = st;
    return 0;
}

void storage_close(struct storage *st)
{
    struct err err;

    if (st == NULL)
        return;
    storage_background_stop(st);
    if (st->manifest != NULL && storage_flush(st, &err) < 0)
        log_error("storage", "the last flush failed", LOG_ERR(&err));
    deferred_drain();
    policies_release(&st->policies);
    manifest_close(st->manifest);
    events_close(st->events);
    name_tree_free(st->tree);
    tag_index_free(st->tags);
    series_table_release(&st->series);
    series_log_close(st->log);
    policy_rules_free(st->rules);
    file_close(st->lock_file);
    pthread_mutex_destroy(&st->structure);
    pthread_mutex_destroy(&st->maintenance);
    pthread_mutex_destroy(&st->merge_lock);
    pthread_mutex_destroy(&st->flush_lock);
    pthread_mutex_destroy(&st->stop_lock);
    pthread_cond_destroy(&st->stop_cond);
    free(st->schemas_path);
    free(st->aggregation_path);
    free(st->dir);
    free(st);
}

int storage_reload(struct storage *st, struct err *err)
{
    struct policy_rules *rules;
    int rc = policy_rules_load(st->schemas_path, st->aggregation_path, &rules, err);

    if (rc < 0)
        return rc;
    storage_log_policy_warnings(rules);
    pthread_mutex_lock(&st->series.lock);
    struct policy_rules *old = st->rules;
    st->rules = rules;
    pthread_mutex_unlock(&st->series.lock);
    policy_rules_free(old);
    return 0;
}

int storage_check_config(const char *schemas_path, const char *aggregation_path, struct err *err)
{
    struct policy_rules *rules;
    int rc = policy_rules_load(schemas_path, aggregation_path, &rules, err);

    if (rc == 0)
        policy_rules_free(rules);
    return rc;
}

/* ---- threads ---- */

void storage_thread_begin(void)
{
    grace_thread_begin();
}

void storage_thread_end(void)
{
    grace_thread_end();
}

void storage_enter(void)
{
    grace_enter();
}

void storage_leave(void)
{
    grace_leave();
}

/* ---- find ---- */

int storage_canonical(struct span name, struct arena *arena, struct span *out, struct err *err)
{
    char scratch[NAME_MAX_BYTES];
    enum name_verdict verdict = name_canonical(name, scratch, out);

    if (verdict != NAME_OK)
        return err_set(err, ERR_INPUT, "%s", name_verdict_text(verdict));
    *out = arena_span(arena, *out);
    return 0;
}

bool storage_lookup(struct storage *st, struct span name, uint32_t *series)
{
    *series = series_find(&st->series, name, series_hash(&st->series, name));
    return *series != SERIES_NONE;
}

/* The one series of exactly this tagged name. */
static int storage_find_tagged(struct storage *st, struct span name, unsigned flags, struct arena *arena,
                               struct storage_matches *out)
{
    uint32_t series;

    if ((flags & STORAGE_FIND_LEAVES) != 0 && storage_lookup(st, name, &series)) {
        out->items = ARENA_NEW(arena, struct storage_match);
        out->items[0] = (struct storage_match){.path = arena_span(arena, name), .series = series, .leaf = true};
        out->count = 1;
    }
    return 0;
}

int storage_find(struct storage *st, struct span pattern, unsigned flags, size_t max, struct arena *arena,
                 struct storage_matches *out, struct err *err)
{
    struct pattern *compiled;

    *out = (struct storage_matches){0};
    if (name_is_tagged(pattern))
        return storage_find_tagged(st, pattern, flags, arena, out);
    int rc = pattern_compile(pattern, arena, &compiled, err);
    if (rc < 0)
        return rc;
    return name_tree_find(st->tree, compiled, flags, max, NULL, arena, out, err);
}

int storage_each(struct storage *st, int (*each)(void *ctx, uint32_t series, struct span name), void *ctx)
{
    uint32_t ids = __atomic_load_n(&st->series.ids, __ATOMIC_ACQUIRE);
    int rc = 0;

    for (uint32_t id = 0; id < ids && rc == 0; id++) {
        if (series_has_name(&st->series, id))
            rc = each(ctx, id, series_name(&st->series, series_get(&st->series, id)));
    }
    return rc;
}

/* ---- events ---- */

/* ERR_FULL when an event would take of the space that is to be left free. */
static int storage_event_room(const struct storage *st, struct err *err)
{
    uint64_t free_bytes;
    int rc = file_disk_free(st->dir, &free_bytes, err);

    if (rc == 0 && free_bytes < st->options.free_bytes_min)
        return err_set(err, ERR_FULL, "%s: %" PRIu64 " bytes free, and min-free-bytes is %" PRIu64, st->dir, free_bytes,
                       st->options.free_bytes_min);
    return rc;
}

int storage_event_add(struct storage *st, const struct storage_event *event, uint32_t *id, struct err *err)
{
    struct err own;

    err = err == NULL ? &own : err;
    int rc = storage_event_room(st, err);
    if (rc == 0)
        rc = events_add(st->events, event, id, err);
    if (rc == ERR_IO)
        __atomic_fetch_add(&st->io_errors, 1, __ATOMIC_RELAXED);
    return rc;
}

void storage_events_find(struct storage *st, const struct storage_events_query *query, struct arena *arena,
                         struct storage_event **out, size_t *count)
{
    events_find(st->events, query, arena, out, count);
}

bool storage_event_get(struct storage *st, uint32_t id, struct arena *arena, struct storage_event *out)
{
    return events_get(st->events, id, arena, out);
}

/* ---- statistics ---- */

struct stats_walk {
    struct storage_stats *out;
    struct arena *arena;
};

static int stats_tier(void *ctx, struct policy *policy, struct tier *tier)
{
    struct stats_walk *walk = ctx;
    struct storage_stats *out = walk->out;
    const struct tier_view *view = tier_view(tier);

    out->tier = arena_grow(walk->arena, out->tier, out->tiers, out->tiers + 1, sizeof out->tier[0]);
    struct storage_tier_stats *t = &out->tier[out->tiers++];
    *t = (struct storage_tier_stats){.step_s = tier->shape.step_s,
                                     .retention_s = tier->shape.retention_s,
                                     .segments = view->segments,
                                     .windows_open = view->windows};
    snprintf(t->policy, sizeof t->policy, "%.*s", (int)sizeof t->policy - 1, policy->retention.text);
    for (uint32_t i = 0; i < view->segments; i++)
        t->segment_bytes += segment_info(view->segment[i].segment)->bytes;
    for (uint32_t i = 0; i < view->windows; i++)
        t->grid_bytes += __atomic_load_n(&view->window[i]->grid_bytes, __ATOMIC_RELAXED);
    out->segments += t->segments;
    out->segment_bytes += t->segment_bytes;
    out->grid_bytes += t->grid_bytes;
    return 0;
}

static int stats_any_dirty(void *ctx, struct policy *policy, struct tier *tier)
{
    const struct tier_view *view = tier_view(tier);

    (void)ctx;
    (void)policy;
    for (uint32_t i = 0; i < view->windows; i++)
        for (uint32_t b = 0; b < window_blocks(view->window[i]); b++) {
            const struct grid *g = __atomic_load_n(&view->window[i]->grid[b], __ATOMIC_ACQUIRE);
            if (g != NULL && __atomic_load_n(&g->dirty, __ATOMIC_RELAXED) != 0)
                return 1;
        }
    return 0;
}

void storage_health(const struct storage *st, struct storage_health *out)
{
    out->disk_full = space_is_full(&st->space);
    out->io_failed = __atomic_load_n(&st->io_failed, __ATOMIC_RELAXED);
    out->memory_full = __atomic_load_n(&st->limits.memory_full, __ATOMIC_RELAXED);
}

void storage_stats(struct storage *st, struct arena *arena, struct storage_stats *out)
{
    *out = (struct storage_stats){
        .series = __atomic_load_n(&st->series.count, __ATOMIC_RELAXED),
        .series_created = __atomic_load_n(&st->series_created, __ATOMIC_RELAXED),
        .series_deleted = __atomic_load_n(&st->series_deleted, __ATOMIC_RELAXED),
        .windows_open = __atomic_load_n(&st->windows_open, __ATOMIC_RELAXED),
        .log_bytes = series_log_bytes(st->log),
        .index_bytes = limits_index_bytes(st),
        .index_bytes_max = st->options.memory_max,
        .memory_full = __atomic_load_n(&st->limits.memory_full, __ATOMIC_RELAXED),
        .flushes = __atomic_load_n(&st->flushes, __ATOMIC_RELAXED),
        .flush_last_ms = __atomic_load_n(&st->flush_last_ns, __ATOMIC_RELAXED) / 1000000,
        .sealed_windows = __atomic_load_n(&st->sealed_windows, __ATOMIC_RELAXED),
        .expired_segments = __atomic_load_n(&st->expired_segments, __ATOMIC_RELAXED),
        .merges = __atomic_load_n(&st->merges, __ATOMIC_RELAXED),
        .damaged_chunks = __atomic_load_n(&st->damaged_chunks, __ATOMIC_RELAXED),
        .scrub_rounds = __atomic_load_n(&st->scrub_rounds, __ATOMIC_RELAXED),
        .scrub_bytes = __atomic_load_n(&st->scrubbed_bytes, __ATOMIC_RELAXED),
        .scrub_damaged = __atomic_load_n(&st->scrub_damaged, __ATOMIC_RELAXED),
        .io_errors = __atomic_load_n(&st->io_errors, __ATOMIC_RELAXED),
        .disk_full = space_is_full(&st->space),
        .io_failed = __atomic_load_n(&st->io_failed, __ATOMIC_RELAXED),
    };
    uint64_t events_damaged;
    events_stats(st->events, &out->events, &out->event_bytes, &events_damaged);
    out->damaged_chunks += events_damaged;
    policies_each_tier(&st->policies, stats_tier, &(struct stats_walk){out, arena});
    if (policies_each_tier(&st->policies, stats_any_dirty, NULL) != 0)
        out->unflushed_age_ms = (clock_mono_ns() - __atomic_load_n(&st->flush_began_ns, __ATOMIC_RELAXED)) / 1000000;
}
