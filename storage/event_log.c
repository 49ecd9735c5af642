/* An append is one file_write() at the end; reading goes through a mapping of EVENT_LOG_MAX bytes, made once, under
 * which the file grows. Writes come before the entry that leads a reader to them (events.c), and page cache and
 * mapping are one on Linux. A write that fails half way is cut off at once, or before the next append. */
#include "storage/event_log.h"

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/must.h"
#include "storage/format.h"

#include <stdlib.h>

enum { FAULT_PAGE = 4096 }; /* at least so much is lost with an unreadable block */

struct event_log {
    struct file *file;
    const char *map;   /* EVENT_LOG_MAX bytes; [0, end) may be touched */
    uint64_t end;      /* where the next record goes; atomic: written by the appender */
    uint64_t synced;   /* how far the device has it; of the syncing thread */
    uint32_t id_next;  /* above all ids there are; of the appender */
    bool torn;         /* something may lie behind the end */
    bool header_wrong; /* found so when it was opened */
};

/* ---- records ---- */

uint64_t event_log_record_bytes(const struct storage_event *event)
{
    uint64_t len = sizeof(struct event_record) + event->what.len + event->tags.len + event->data.len;

    return (len + 7) & ~(uint64_t)7;
}

/* Whether a whole record is in the ROOM bytes at RECORD; its beginning is copied to *head. The lengths must agree
 * before the sum is tried, so that stepping over damage takes linear time. */
static bool record_is_valid(const char *record, uint64_t room, struct event_record *head)
{
    memcpy(head, record, sizeof *head);
    uint64_t texts = (uint64_t)head->what + head->tags + head->data;

    return head->bytes <= room && head->what <= STORAGE_EVENT_WHAT_MAX && head->tags <= STORAGE_EVENT_TAGS_MAX &&
           head->data <= STORAGE_EVENT_DATA_MAX && head->bytes == ((sizeof *head + texts + 7) & ~(uint64_t)7) &&
           head->crc == crc32c(record + sizeof head->crc, head->bytes - sizeof head->crc);
}

/* The event that HEAD begins; its texts are TEXT. */
static struct storage_event record_event(const struct event_record *head, const char *text)
{
    return (struct storage_event){.id = head->id,
                                  .when_s = head->when_s,
                                  .what = span_of(text, head->what),
                                  .tags = span_of(text + head->what, head->tags),
                                  .data = span_of(text + head->what + head->tags, head->data)};
}

bool event_log_read(const struct event_log *log, uint32_t at, void (*use)(void *ctx, const struct storage_event *event),
                    void *ctx)
{
    const char *record = log->map + (uint64_t)at * 8;
    struct event_record head;
    struct fault fault;

    if (FAULT_CAUGHT(&fault, log->map, EVENT_LOG_MAX))
        return false;
    bool valid = record_is_valid(record, event_log_bytes(log) - (uint64_t)at * 8, &head);
    if (valid) {
        struct storage_event event = record_event(&head, record + sizeof head);
        use(ctx, &event);
    }
    fault_leave(&fault);
    return valid;
}

/* ---- opening ---- */

static int log_write_header(struct event_log *log, struct err *err)
{
    struct event_log_header header = {.magic = EVENT_LOG_MAGIC, .version = EVENT_LOG_VERSION, .id_next = log->id_next};

    header.crc = crc32c(&header, offsetof(struct event_log_header, crc));
    int rc = file_write(log->file, &header, sizeof header, 0, err);
    return rc == 0 ? file_sync(log->file, err) : rc;
}

/* Whether nothing was ever written behind where the header belongs: a crash came before it was there. */
static bool log_is_blank(const struct file *f, uint64_t size)
{
    char bytes[sizeof(struct event_log_header)] = {0};
    static const char zeros[sizeof bytes];

    return size < sizeof bytes || (size == sizeof bytes && file_read(f, bytes, sizeof bytes, 0, NULL) == 0 &&
                                   memcmp(bytes, zeros, sizeof bytes) == 0);
}

static int log_read_header(struct event_log *log, struct err *err)
{
    struct event_log_header header;
    int rc = file_read(log->file, &header, sizeof header, 0, err);

    if (rc < 0)
        return rc;
    log->header_wrong =
        header.magic != EVENT_LOG_MAGIC || header.crc != crc32c(&header, offsetof(struct event_log_header, crc));
    if (log->header_wrong)
        return 0;
    if (header.version > EVENT_LOG_VERSION)
        return err_set(err, ERR_VERSION, "%s: version %u, this plumbago reads up to %u", file_path(log->file),
                       header.version, EVENT_LOG_VERSION);
    log->id_next = header.id_next;
    return 0;
}

int event_log_open(const char *path, uint32_t id_next, struct event_log **out, struct err *err)
{
    struct event_log *log = calloc(1, sizeof *log);
    uint64_t size = 0;
    int rc = log == NULL ? err_set(err, ERR_MEMORY, "%s", path) : 0;

    *out = NULL;
    fault_init();
    if (rc == 0)
        rc = file_open(path, FILE_READ_WRITE | FILE_CREATE, &log->file, err);
    if (rc == 0)
        rc = file_size(log->file, &size, err);
    if (rc == 0) {
        log->id_next = id_next;
        rc = log_is_blank(log->file, size) ? log_write_header(log, err) : log_read_header(log, err);
    }
    if (rc == 0)
        rc = file_map(log->file, 0, EVENT_LOG_MAX, FILE_MAP_READ, (void **)&log->map, err);
    if (rc < 0) {
        event_log_close(log);
        return rc;
    }
    log->end = sizeof(struct event_log_header);
    *out = log;
    return 0;
}

void event_log_close(struct event_log *log)
{
    if (log == NULL)
        return;
    if (log->map != NULL)
        file_unmap((void *)(uintptr_t)log->map, EVENT_LOG_MAX);
    file_close(log->file);
    free(log);
}

/* ---- reading back ---- */

static int log_replay_record(struct event_log *log, uint64_t at, const struct event_record *head,
                             const struct event_log_reader *reader, struct err *err)
{
    struct storage_event event = record_event(head, log->map + at + sizeof *head);

    if (event.id >= log->id_next)
        log->id_next = event.id == UINT32_MAX ? UINT32_MAX : event.id + 1;
    return reader->event(reader->ctx, &event, (uint32_t)(at / 8), err);
}

/* Whether a whole record is at AT, before SIZE; then *head is its beginning, else *next where the next one may be. */
static bool log_record_at(const struct event_log *log, uint64_t at, uint64_t size, struct event_record *head,
                          uint64_t *next)
{
    struct fault fault;

    *next = at + 8;
    if (FAULT_CAUGHT(&fault, log->map, EVENT_LOG_MAX)) {
        *next = ((uint64_t)(fault.at - log->map) / FAULT_PAGE + 1) * FAULT_PAGE;
        return false;
    }
    bool valid = record_is_valid(log->map + at, size - at, head);
    fault_leave(&fault);
    return valid;
}

/* The records before SIZE. */
static int log_replay_records(struct event_log *log, uint64_t size, const struct event_log_reader *reader,
                              struct err *err)
{
    uint64_t at = log->end;
    int rc = 0;

    while (rc == 0 && at < size && size - at >= sizeof(struct event_record)) {
        struct event_record head;
        uint64_t next;
        if (!log_record_at(log, at, size, &head, &next)) {
            at = next;
            continue;
        }
        if (at != log->end)
            reader->damaged(reader->ctx, log->end, at - log->end);
        rc = log_replay_record(log, at, &head, reader, err);
        at += head.bytes;
        log->end = at;
    }
    return rc;
}

int event_log_replay(struct event_log *log, const struct event_log_reader *reader, struct err *err)
{
    uint64_t size;
    int rc = file_size(log->file, &size, err);

    if (rc == 0 && size > EVENT_LOG_MAX)
        rc = err_corrupt(err, file_path(log->file), EVENT_LOG_MAX, "event log beyond its largest size");
    if (rc == 0 && log->header_wrong)
        reader->damaged(reader->ctx, 0, sizeof(struct event_log_header));
    if (rc == 0)
        rc = log_replay_records(log, size, reader, err);
    if (rc == 0 && size > log->end) {
        reader->damaged(reader->ctx, log->end, size - log->end);
        rc = file_truncate(log->file, log->end, err);
    }
    if (rc == 0 && log->header_wrong)
        rc = log_write_header(log, err);
    log->synced = log->end;
    return rc;
}

/* ---- appending ---- */

static bool log_encode(const struct storage_event *event, struct buf *out)
{
    static const char zeros[8];
    uint64_t bytes = event_log_record_bytes(event);
    struct event_record head = {.bytes = (uint32_t)bytes,
                                .when_s = event->when_s,
                                .id = event->id,
                                .data = (uint32_t)event->data.len,
                                .what = (uint16_t)event->what.len,
                                .tags = (uint16_t)event->tags.len};

    buf_add(out, &head, sizeof head);
    buf_add_span(out, event->what);
    buf_add_span(out, event->tags);
    buf_add_span(out, event->data);
    buf_add(out, zeros, (size_t)bytes - out->len);
    if (out->failed)
        return false;
    uint32_t crc = crc32c(out->ptr + sizeof crc, out->len - sizeof crc);
    memcpy(out->ptr, &crc, sizeof crc);
    return true;
}

static int log_cut_tail(struct event_log *log, struct err *err)
{
    int rc = log->torn ? file_truncate(log->file, log->end, err) : 0;

    log->torn = rc < 0;
    return rc;
}

int event_log_append(struct event_log *log, const struct storage_event *event, uint32_t *at, struct err *err)
{
    struct buf record = {0};
    uint64_t bytes = event_log_record_bytes(event);

    MUST(event->what.len <= STORAGE_EVENT_WHAT_MAX && event->tags.len <= STORAGE_EVENT_TAGS_MAX &&
         event->data.len <= STORAGE_EVENT_DATA_MAX);
    if (log->end + bytes > EVENT_LOG_MAX)
        return err_set(err, ERR_FULL, "%s has reached its largest size of %llu bytes", file_path(log->file),
                       (unsigned long long)EVENT_LOG_MAX);
    int rc = log_cut_tail(log, err);
    if (rc == 0 && !log_encode(event, &record))
        rc = err_set(err, ERR_MEMORY, "appending to %s", file_path(log->file));
    if (rc == 0) {
        log->torn = true;
        rc = file_write(log->file, record.ptr, record.len, log->end, err);
    }
    if (rc == 0) {
        log->torn = false;
        *at = (uint32_t)(log->end / 8);
        __atomic_store_n(&log->end, log->end + bytes, __ATOMIC_RELEASE);
        if (event->id >= log->id_next)
            log->id_next = event->id == UINT32_MAX ? UINT32_MAX : event->id + 1;
    } else {
        log_cut_tail(log, NULL);
    }
    buf_release(&record);
    return rc;
}

int event_log_sync(struct event_log *log, struct err *err)
{
    uint64_t end = __atomic_load_n(&log->end, __ATOMIC_ACQUIRE);

    if (end <= log->synced)
        return 0;
    int rc = file_sync(log->file, err);
    if (rc == 0)
        log->synced = end;
    return rc;
}

uint64_t event_log_bytes(const struct event_log *log)
{
    return __atomic_load_n(&log->end, __ATOMIC_RELAXED);
}

uint32_t event_log_id_next(const struct event_log *log)
{
    return log->id_next;
}
