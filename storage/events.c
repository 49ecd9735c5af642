/* A new event is mostly the newest: it is written behind the last entry of the view and the count goes up. One that
 * is not, and the end of one's retention, make a new view; the old one is freed after a grace period.
 *
 * Locks: .lock for all changes, .sync_lock around waiting for the device, so that those who add meanwhile wait for
 * one sync together. Both: .sync_lock first. */
#include "storage/events.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/grace.h"
#include "base/log.h"
#include "storage/event_log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    VIEW_ROOM_MIN = 64,
    DEAD_BYTES_MIN = 1 << 20,
    BYTES_AVERAGE = 2048, /* that many times .count_max bytes may be kept, */
    BYTES_FREE = 4 << 20, /* and these */
    EVENT_TEXTS_MAX = STORAGE_EVENT_WHAT_MAX + STORAGE_EVENT_TAGS_MAX + STORAGE_EVENT_DATA_MAX
};

/* Years 1970 to 9999, as Graphite's clients print them. */
static const int64_t when_end_s = INT64_C(253402300800);

struct event_entry {
    int64_t when_s;
    uint32_t id;
    uint32_t at; /* event_log_at() */
};

struct event_view {
    const struct event_log *log;
    size_t room;
    size_t count; /* atomic: entries that readers may look at */
    struct event_entry entry[];
};

struct events {
    char path[4096];
    uint64_t count_max;
    int64_t retention_s;

    pthread_mutex_t sync_lock;
    pthread_mutex_t lock;    /* guards the rest, but for readers of .view */
    struct event_log *log;   /* where new ones go; NULL after a rewriting that could not open its result */
    struct event_view *view; /* atomic; .view->log is .log unless that is NULL */
    uint64_t live_bytes;     /* of the records in the view */
    uint64_t damaged;        /* atomic */
};

/* ---- views ---- */

static const struct event_view *events_view(const struct events *events)
{
    return __atomic_load_n(&events->view, __ATOMIC_ACQUIRE);
}

static size_t view_count(const struct event_view *view)
{
    return __atomic_load_n(&view->count, __ATOMIC_ACQUIRE);
}

static struct event_view *view_new(const struct event_log *log, size_t room)
{
    struct event_view *view = malloc(sizeof *view + room * sizeof view->entry[0]);

    if (view != NULL)
        *view = (struct event_view){.log = log, .room = room};
    return view;
}

static int entry_order(const void *a, const void *b)
{
    const struct event_entry *x = a, *y = b;

    if (x->when_s != y->when_s)
        return x->when_s < y->when_s ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The first entry not before T_S. */
static size_t view_lower(const struct event_view *view, size_t count, int64_t t_s)
{
    size_t low = 0;

    while (low < count) {
        size_t middle = low + (count - low) / 2;
        if (view->entry[middle].when_s < t_s)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

/* ---- the file ---- */

struct loading {
    struct events *events;
    struct event_view *view;
    uint64_t live_bytes;
};

static int load_event(void *ctx, const struct storage_event *event, uint32_t at, struct err *err)
{
    struct loading *loading = ctx;
    struct event_view *view = loading->view;

    if (view->count == view->room) {
        size_t room = view->room * 2;
        view = realloc(view, sizeof *view + room * sizeof view->entry[0]);
        if (view == NULL)
            return err_set(err, ERR_MEMORY, "events");
        view->room = room;
        loading->view = view;
    }
    view->entry[view->count++] = (struct event_entry){event->when_s, event->id, at};
    loading->live_bytes += event_log_record_bytes(event);
    return 0;
}

static void load_damaged(void *ctx, uint64_t offset, uint64_t len)
{
    struct loading *loading = ctx;

    __atomic_fetch_add(&loading->events->damaged, 1, __ATOMIC_RELAXED);
    log_error("storage", "events.log: bytes that hold no valid record are left out", LOG_INT("offset", offset),
              LOG_INT("bytes", len));
}

/* Make the file's log and view those of EVENTS. What was there before is the caller's to free. */
static int events_load(struct events *events, struct err *err)
{
    struct event_log *log = NULL;
    struct loading loading = {.events = events};
    struct event_log_reader reader = {&loading, load_event, load_damaged};
    int rc = event_log_open(events->path, 1, &log, err);

    if (rc == 0 && (loading.view = view_new(log, VIEW_ROOM_MIN)) == NULL)
        rc = err_set(err, ERR_MEMORY, "events");
    if (rc == 0)
        rc = event_log_replay(log, &reader, err);
    if (rc < 0) {
        free(loading.view);
        event_log_close(log);
        return rc;
    }
    qsort(loading.view->entry, loading.view->count, sizeof loading.view->entry[0], entry_order);
    events->log = log;
    events->live_bytes = loading.live_bytes;
    __atomic_store_n(&events->view, loading.view, __ATOMIC_RELEASE);
    return 0;
}

int events_open(const char *dir, uint64_t count_max, int64_t retention_s, struct events **out, struct err *err)
{
    struct events *events = calloc(1, sizeof *events);

    *out = NULL;
    if (events == NULL)
        return err_set(err, ERR_MEMORY, "events");
    events->count_max = count_max;
    events->retention_s = retention_s;
    snprintf(events->path, sizeof events->path, "%s/events.log", dir);
    pthread_mutex_init(&events->lock, NULL);
    pthread_mutex_init(&events->sync_lock, NULL);
    int rc = events_load(events, err);
    if (rc == 0)
        rc = events_expire(events, clock_now_s(), err);
    if (rc < 0) {
        events_close(events);
        return rc;
    }
    *out = events;
    return 0;
}

void events_close(struct events *events)
{
    if (events == NULL)
        return;
    if (events->log == NULL && events->view != NULL)
        event_log_close((struct event_log *)(uintptr_t)events->view->log);
    event_log_close(events->log);
    free(events->view);
    pthread_mutex_destroy(&events->lock);
    pthread_mutex_destroy(&events->sync_lock);
    free(events);
}

/* ---- adding ---- */

/* The place of ENTRY in VIEW. */
static size_t view_place(const struct event_view *view, const struct event_entry *entry)
{
    size_t at = view->count;

    while (at > 0 && entry_order(entry, &view->entry[at - 1]) < 0)
        at--;
    return at;
}

/* A view with room for one more at AT: OLD itself when that is behind its end, else a copy with a hole. NULL: no
 * memory. */
static struct event_view *view_with_hole(struct event_view *old, size_t at)
{
    if (at == old->count && old->count < old->room)
        return old;
    struct event_view *view = view_new(old->log, old->count + old->count / 2 + VIEW_ROOM_MIN);
    if (view == NULL)
        return NULL;
    memcpy(view->entry, old->entry, at * sizeof view->entry[0]);
    memcpy(view->entry + at + 1, old->entry + at, (old->count - at) * sizeof view->entry[0]);
    view->count = old->count;
    return view;
}

/* From now on readers see VIEW. */
static void events_show(struct events *events, struct event_view *view)
{
    struct event_view *old = events->view;

    __atomic_store_n(&events->view, view, __ATOMIC_RELEASE);
    grace_wait();
    free(old);
}

static int check_text(struct span text, size_t max, const char *name, struct err *err)
{
    if (text.len > max)
        return err_set(err, ERR_INPUT, "%s of an event is at most %zu bytes long, not %zu", name, max, text.len);
    if (span_find(text, '\0') < text.len)
        return err_set(err, ERR_INPUT, "%s of an event holds a zero byte", name);
    return 0;
}

static int check_event(const struct events *events, const struct storage_event *event, struct err *err)
{
    int rc = check_text(event->what, STORAGE_EVENT_WHAT_MAX, "\"what\"", err);

    if (rc == 0)
        rc = check_text(event->tags, STORAGE_EVENT_TAGS_MAX, "\"tags\"", err);
    if (rc == 0)
        rc = check_text(event->data, STORAGE_EVENT_DATA_MAX, "\"data\"", err);
    if (rc == 0 && (event->when_s < 0 || event->when_s >= when_end_s))
        rc = err_set(err, ERR_INPUT, "\"when\" of an event lies in the years 1970 to 9999");
    if (rc == 0 && events->retention_s != 0 && event->when_s < clock_now_s() - events->retention_s)
        rc = err_set(err, ERR_INPUT, "\"when\" of an event is older than events-retention keeps");
    return rc;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* TEXT with one blank between its words, in TO, which is as large. */
static struct span with_single_blanks(struct span text, char *to)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (!is_blank(text.ptr[i]))
            to[len++] = text.ptr[i];
        else if (len != 0 && to[len - 1] != ' ')
            to[len++] = ' ';
    }
    return span_of(to, len != 0 && to[len - 1] == ' ' ? len - 1 : len);
}

/* The lock is held. */
static int events_append(struct events *events, struct storage_event *event, struct err *err)
{
    struct event_view *old = events->view;
    struct event_entry entry = {.when_s = event->when_s};

    if (events->log == NULL)
        return err_set(err, ERR_IO, "%s was written anew and could not be opened yet: see the log", events->path);
    if (old->count >= events->count_max)
        return err_set(err, ERR_LIMIT, "there are %zu events; max-events is the limit", old->count);
    if (events->live_bytes + event_log_record_bytes(event) > events->count_max * BYTES_AVERAGE + BYTES_FREE)
        return err_set(err, ERR_LIMIT, "all events together take %" PRIu64 " bytes; max-events allows %d for each",
                       events->live_bytes, BYTES_AVERAGE);
    event->id = entry.id = event_log_id_next(events->log);
    if (event->id == UINT32_MAX)
        return err_set(err, ERR_FULL, "%s has given all its ids", events->path);
    size_t at = view_place(old, &entry);
    struct event_view *view = view_with_hole(old, at);
    if (view == NULL)
        return err_set(err, ERR_MEMORY, "events");
    int rc = event_log_append(events->log, event, &entry.at, err);
    if (rc < 0) {
        if (view != old)
            free(view);
        return rc;
    }
    view->entry[at] = entry;
    __atomic_store_n(&view->count, view->count + 1, __ATOMIC_RELEASE);
    if (view != old)
        events_show(events, view);
    events->live_bytes += event_log_record_bytes(event);
    return 0;
}

/* Bring what was added to the device. */
static int events_sync(struct events *events, struct err *err)
{
    pthread_mutex_lock(&events->sync_lock);
    pthread_mutex_lock(&events->lock);
    struct event_log *log = events->log; /* is not closed while the sync lock is held */
    pthread_mutex_unlock(&events->lock);
    int rc = log == NULL ? err_set(err, ERR_IO, "%s could not be synced", events->path) : event_log_sync(log, err);
    pthread_mutex_unlock(&events->sync_lock);
    return rc;
}

int events_add(struct events *events, const struct storage_event *event, uint32_t *id, struct err *err)
{
    char tags[STORAGE_EVENT_TAGS_MAX];
    struct storage_event own = *event;
    int rc = check_event(events, event, err);

    if (rc < 0)
        return rc;
    own.tags = with_single_blanks(event->tags, tags);
    pthread_mutex_lock(&events->lock);
    rc = events_append(events, &own, err);
    pthread_mutex_unlock(&events->lock);
    *id = own.id;
    return rc == 0 ? events_sync(events, err) : rc;
}

/* ---- finding ---- */

/* Whether one of the comma-divided parts of WORD is TAG: django-tagging takes "a,b" for two tags. */
static bool word_has(struct span word, struct span tag)
{
    for (size_t at = 0; at < word.len;) {
        struct span rest = span_cut(word, at, word.len);
        size_t len = span_find(rest, ',');

        if (span_eq(span_cut(rest, 0, len), tag))
            return true;
        at += len + 1;
    }
    return false;
}

static bool tags_have(struct span tags, struct span tag)
{
    for (size_t at = 0; at < tags.len;) {
        struct span rest = span_cut(tags, at, tags.len);
        struct span word = span_cut(rest, 0, span_find(rest, ' '));

        if (span_eq(word, tag) || word_has(word, tag))
            return true;
        at += word.len + 1;
    }
    return false;
}

static bool query_wants(const struct storage_events_query *query, const struct storage_event *event)
{
    size_t had = 0;

    if (query->match == STORAGE_EVENTS_EVERY)
        return true;
    for (size_t i = 0; i < query->tags_count; i++)
        had += tags_have(event->tags, query->tags[i]);
    return had != 0 && (query->match == STORAGE_EVENTS_ANY_TAG || had == query->tags_count);
}

/* One record that cannot be read any more is left out. */
static void events_unreadable(struct events *events, uint32_t at)
{
    static struct log_limit limit;
    uint64_t held_back;

    __atomic_fetch_add(&events->damaged, 1, __ATOMIC_RELAXED);
    if (log_limit_pass(&limit, 5, 60 * 1000000000LL, &held_back))
        log_error("storage", "events.log: a record cannot be read and is left out", LOG_INT("offset", (int64_t)at * 8),
                  LOG_INT("held_back", held_back));
}

/* What is found is copied in two rounds, as nothing may be allocated while the file is looked at. */
struct finding {
    const struct storage_events_query *query; /* NULL: whatever it is */
    bool wanted;
    size_t bytes; /* of the texts */
    char *to;     /* second round: where the texts go, .bytes long */
    struct storage_event event;
};

static size_t texts_bytes(const struct storage_event *event)
{
    return event->what.len + event->tags.len + event->data.len;
}

static void find_look(void *ctx, const struct storage_event *event)
{
    struct finding *finding = ctx;

    finding->wanted = finding->query == NULL || query_wants(finding->query, event);
    finding->bytes = texts_bytes(event);
}

static void find_copy(void *ctx, const struct storage_event *event)
{
    struct finding *finding = ctx;
    char *to = finding->to;

    finding->event = *event;
    if (texts_bytes(event) != finding->bytes) { /* a stranger changed the file: it is not this event */
        finding->wanted = false;
        return;
    }
    memcpy(to, event->what.ptr, event->what.len);
    finding->event.what.ptr = to;
    to += event->what.len;
    memcpy(to, event->tags.ptr, event->tags.len);
    finding->event.tags.ptr = to;
    to += event->tags.len;
    memcpy(to, event->data.ptr, event->data.len);
    finding->event.data.ptr = to;
}

/* The event at AT, with its texts in ARENA, if QUERY wants it. */
static bool events_copy(struct events *events, const struct event_log *log, uint32_t at,
                        const struct storage_events_query *query, struct arena *arena, struct storage_event *out)
{
    struct finding finding = {.query = query};
    bool readable = event_log_read(log, at, find_look, &finding);

    if (readable && finding.wanted) {
        finding.to = arena_alloc(arena, finding.bytes);
        readable = event_log_read(log, at, find_copy, &finding);
        *out = finding.event;
    }
    if (!readable)
        events_unreadable(events, at);
    return readable && finding.wanted;
}

void events_find(struct events *events, const struct storage_events_query *query, struct arena *arena,
                 struct storage_event **out, size_t *count)
{
    const struct event_view *view = events_view(events);
    size_t end = view_count(view);
    size_t first = view_lower(view, end, query->from_s);

    end = query->until_s < when_end_s ? view_lower(view, end, query->until_s + 1) : end;
    *count = 0;
    *out = arena_alloc(arena, first < end ? (end - first) * sizeof **out : 0);
    for (size_t i = first; i < end; i++)
        *count += events_copy(events, view->log, view->entry[i].at, query, arena, &(*out)[*count]);
}

bool events_get(struct events *events, uint32_t id, struct arena *arena, struct storage_event *out)
{
    const struct event_view *view = events_view(events);

    for (size_t i = view_count(view); i > 0; i--)
        if (view->entry[i - 1].id == id)
            return events_copy(events, view->log, view->entry[i - 1].at, NULL, arena, out);
    return false;
}

void events_stats(const struct events *events, uint64_t *count, uint64_t *bytes, uint64_t *damaged)
{
    const struct event_view *view = events_view(events);

    *count = view_count(view);
    *bytes = event_log_bytes(view->log);
    *damaged = __atomic_load_n(&events->damaged, __ATOMIC_RELAXED);
}

/* ---- the end of the retention ---- */

static void drop_bytes(void *ctx, const struct storage_event *event)
{
    uint64_t *live_bytes = ctx;

    *live_bytes -= event_log_record_bytes(event);
}

/* Take the entries before T_S out of the view. The lock is held. */
static int events_drop(struct events *events, int64_t t_s, struct err *err)
{
    struct event_view *old = events->view;
    size_t dead = view_lower(old, old->count, t_s);

    if (dead == 0)
        return 0;
    struct event_view *view = view_new(old->log, old->count - dead + VIEW_ROOM_MIN);
    if (view == NULL)
        return err_set(err, ERR_MEMORY, "events");
    for (size_t i = 0; i < dead; i++)
        event_log_read(old->log, old->entry[i].at, drop_bytes, &events->live_bytes);
    view->count = old->count - dead;
    memcpy(view->entry, old->entry + dead, view->count * sizeof view->entry[0]);
    events_show(events, view);
    return 0;
}

/* Write the events of the view to a new file and put it in the old one's place. */
static int events_write_anew(struct events *events, struct err *err)
{
    const struct event_view *view = events->view;
    char path[sizeof events->path + 4];
    struct event_log *log = NULL;
    struct event_log_reader nothing = {0};
    struct finding finding = {.to = malloc(EVENT_TEXTS_MAX)};
    uint32_t at;

    snprintf(path, sizeof path, "%s.tmp", events->path);
    int rc = finding.to == NULL ? err_set(err, ERR_MEMORY, "events") : file_unlink(path, err);
    if (rc == 0)
        rc = event_log_open(path, event_log_id_next(events->log), &log, err);
    if (rc == 0)
        rc = event_log_replay(log, &nothing, err); /* it is empty */
    for (size_t i = 0; rc == 0 && i < view->count; i++) {
        if (event_log_read(view->log, view->entry[i].at, find_look, &finding) &&
            event_log_read(view->log, view->entry[i].at, find_copy, &finding) && finding.wanted)
            rc = event_log_append(log, &finding.event, &at, err);
        else
            events_unreadable(events, view->entry[i].at);
    }
    free(finding.to);
    if (rc == 0)
        rc = event_log_sync(log, err);
    event_log_close(log);
    if (rc == 0)
        rc = file_rename(path, events->path, err);
    return rc;
}

/* Both locks are held. From the rename on the old log takes nothing more: a record in it would be lost. */
static int events_rewrite(struct events *events, struct err *err)
{
    struct event_view *old = events->view;
    int rc = 0;

    if (events->log != NULL) {
        rc = events_write_anew(events, err);
        if (rc == 0)
            events->log = NULL;
    }
    if (rc == 0) {
        char dir[sizeof events->path];
        snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(events->path, '/') - events->path), events->path);
        rc = file_sync_dir(dir, err);
    }
    if (rc == 0)
        rc = events_load(events, err);
    if (rc == 0) {
        grace_wait();
        event_log_close((struct event_log *)(uintptr_t)old->log);
        free(old);
    }
    return rc;
}

int events_expire(struct events *events, int64_t now_s, struct err *err)
{
    int rc = 0;

    pthread_mutex_lock(&events->sync_lock);
    pthread_mutex_lock(&events->lock);
    if (events->log != NULL && events->retention_s != 0)
        rc = events_drop(events, now_s - events->retention_s, err);
    uint64_t bytes = event_log_bytes(events->view->log);
    if (rc == 0 && (events->log == NULL || (bytes > DEAD_BYTES_MIN && bytes / 2 > events->live_bytes)))
        rc = events_rewrite(events, err);
    pthread_mutex_unlock(&events->lock);
    pthread_mutex_unlock(&events->sync_lock);
    return rc;
}
