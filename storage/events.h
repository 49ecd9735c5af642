/* events.h - Graphite's events: what happened when, with tags. Few (some thousands, some a day), and every one is
 * worth a sync.
 *
 * In memory an array of (time, id, place in the file), sorted by time and id; texts stay in the file's mapping
 * (event_log.h). The array is a view: readers take the pointer between grace_enter() and grace_leave() and need no
 * lock. */
#ifndef PLUMBAGO_STORAGE_EVENTS_H
#define PLUMBAGO_STORAGE_EVENTS_H

#include "storage/storage.h"

struct events;

/* Open or create DIR/events.log. COUNT_MAX: so many are kept at most, of 2 KiB on average; further
 * ones are refused. RETENTION_S: older
 * ones are dropped; 0: never. *out is the caller's: events_close(). */
int events_open(const char *dir, uint64_t count_max, int64_t retention_s, struct events **out, struct err *err);
void events_close(struct events *events); /* NULL is fine */

/* As storage_event_add(), storage_events_find() and storage_event_get() say. */
int events_add(struct events *events, const struct storage_event *event, uint32_t *id, struct err *err);
void events_find(struct events *events, const struct storage_events_query *query, struct arena *arena,
                 struct storage_event **out, size_t *count);
bool events_get(struct events *events, uint32_t id, struct arena *arena, struct storage_event *out);

/* Drop what is past the retention at NOW_S, and write the file anew when most of it is dead. Not between
 * grace_enter() and grace_leave(). Any thread. */
int events_expire(struct events *events, int64_t now_s, struct err *err);

/* How many there are, bytes of the file, and how often reading it back met damage. Between grace_enter() and
 * grace_leave(). */
void events_stats(const struct events *events, uint64_t *count, uint64_t *bytes, uint64_t *damaged);

#endif
