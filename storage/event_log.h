/* event_log.h - the file of events: an append-only log of checksummed records.
 *
 * Bytes: docs/format.md, "Event log". The file is mapped for reading; texts are read where they lie. A record is in
 * the page cache when event_log_append() returns, so kill -9 loses none; event_log_sync() brings it to the device.
 *
 * Reading back: a record is whole, or it is reported with its offset and stepped over. A block that the device
 * cannot give any more, or a file that was cut by somebody else, costs the records in it (base/fault.h). */
#ifndef PLUMBAGO_STORAGE_EVENT_LOG_H
#define PLUMBAGO_STORAGE_EVENT_LOG_H

#include "storage/storage.h"

struct event_log;

/* What event_log_replay() calls for each record, in order. AT is to be given to event_log_read(). Non-zero
 * stops it with that code. */
struct event_log_reader {
    void *ctx;
    int (*event)(void *ctx, const struct storage_event *event, uint32_t at, struct err *err);
    /* LEN bytes at OFFSET hold no valid record. */
    void (*damaged)(void *ctx, uint64_t offset, uint64_t len);
};

/* Open or create the log at PATH. ID_NEXT: for a new one, ids below are never to be given again.
 * *out is the caller's: event_log_close(). ERR_VERSION when a newer plumbago wrote it. A damaged header is
 * reported by the replay, the records behind it are read. */
int event_log_open(const char *path, uint32_t id_next, struct event_log **out, struct err *err);
void event_log_close(struct event_log *log); /* NULL is fine; does not sync */

/* Read all records and find the end; what lies behind it is cut off. Once, before anything is appended. */
int event_log_replay(struct event_log *log, const struct event_log_reader *reader, struct err *err);

/* Append EVENT, whose id and lengths are right. One thread at a time. On failure nothing was appended: ERR_FULL,
 * ERR_IO, ERR_MEMORY. */
int event_log_append(struct event_log *log, const struct storage_event *event, uint32_t *at, struct err *err);

/* Call USE with the event at AT, whose texts are valid for the call. USE takes nothing that must be given back, for a
 * fault may leave it. False when the record cannot be read any more, or its checksum is wrong. Any thread. */
bool event_log_read(const struct event_log *log, uint32_t at, void (*use)(void *ctx, const struct storage_event *event),
                    void *ctx);

/* Wait until all that was appended before the call is on the device. One thread at a time. */
int event_log_sync(struct event_log *log, struct err *err);

/* Bytes of the file, and of the record that EVENT makes. */
uint64_t event_log_bytes(const struct event_log *log);
uint64_t event_log_record_bytes(const struct storage_event *event);

/* Above all ids that the file has seen. */
uint32_t event_log_id_next(const struct event_log *log);

#endif
