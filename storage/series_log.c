/* The log is one mapping of SERIES_LOG_MAX bytes, made once; the file grows under it by file_reserve()
 * in steps, always at least LOG_MARGIN bytes ahead of the end, so that an append is a memcpy that cannot
 * meet a full disk, and so that reading a few bytes beyond a name is harmless.
 *
 * An append writes the body first and the first eight bytes (checksum, length, type) last: whoever
 * is killed in between leaves a zero word, which reads as the end. The bytes behind the end are zeroed
 * at the next start, because a later record could end just where an old body happens to look valid. */
#include "storage/series_log.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/must.h"
#include "storage/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
    LOG_MARGIN = 8192,
    LOG_RECORD_MAX = 4 * UINT16_MAX,
    LOG_STEP_MIN = 1 << 20,
    LOG_STEP_MAX = 64 << 20,
    LOG_AHEAD = 16 << 20,    /* fetched at a time when the log is read back */
    LOG_PAGE_MAX = 64 << 10, /* a multiple of any page's size */
};

struct series_log {
    struct file *file;
    char *map;         /* SERIES_LOG_MAX bytes; [0, reserved) may be touched */
    uint64_t reserved; /* bytes that the file has */
    uint64_t end;      /* where the next record goes; atomic: written by the appender, read by sync */
    uint64_t synced;   /* atomic: how far the device has it */
    uint64_t seed;
};

static uint32_t record_crc(const char *record, uint32_t len)
{
    return crc32c(record + 4, len - 4);
}

/* The bytes before the text of a record, 0 when there is no such type. */
static uint32_t record_fixed(uint8_t type)
{
    switch (type) {
    case SERIES_LOG_RULE:
        return sizeof(struct series_log_rule_record);
    case SERIES_LOG_CREATE:
        return sizeof(struct series_log_create_record);
    case SERIES_LOG_DELETE:
        return sizeof(struct series_log_delete_record);
    default:
        return 0;
    }
}

static bool log_record_valid(const struct series_log_head *head, uint64_t room)
{
    uint32_t len = (uint32_t)head->words * 4, fixed = record_fixed(head->type);

    if (fixed == 0 || len > room || head->pad > 3)
        return false;
    if (head->type == SERIES_LOG_DELETE ? len != fixed || head->pad != 0 : len <= fixed + head->pad)
        return false;
    return record_crc((const char *)head, len) == head->crc;
}

static int log_replay_record(struct series_log *log, uint64_t at, const struct series_log_reader *reader,
                             struct err *err)
{
    const struct series_log_head *head = (const void *)(log->map + at);
    uint32_t len = (uint32_t)head->words * 4 - head->pad;

    if (head->type == SERIES_LOG_CREATE) {
        const struct series_log_create_record *r = (const void *)head;
        uint32_t name_at = (uint32_t)((at + sizeof *r) / 4);
        struct log_create create = {.id = r->id,
                                    .rule = r->rule,
                                    .created_s = r->created_s,
                                    .name = span_of(log->map + at + sizeof *r, len - sizeof *r)};
        return reader->create(reader->ctx, &create, name_at, err);
    }
    if (head->type == SERIES_LOG_DELETE)
        return reader->gone == NULL
                   ? 0
                   : reader->gone(reader->ctx, ((const struct series_log_delete_record *)(const void *)head)->id, err);
    struct series_log_rule_record r; /* a copy: records begin at multiples of 4, and this one has a double */
    memcpy(&r, head, sizeof r);
    struct log_rule rule = {.number = r.rule,
                            .policy = r.policy,
                            .method = r.method,
                            .created_s = r.created_s,
                            .x_files_factor = r.x_files_factor,
                            .retentions = span_of(log->map + at + sizeof r, len - sizeof r)};
    return reader->rule(reader->ctx, &rule, err);
}

/* Zero what lies between the end and UNTIL, page by page, where it is not zero already. */
static void log_clear_tail(struct series_log *log, uint64_t until)
{
    static const char zeros[4096];

    until = until > log->reserved ? log->reserved : until;
    for (uint64_t at = log->end; at < until;) {
        size_t n = sizeof zeros - at % sizeof zeros;
        if (n > until - at)
            n = (size_t)(until - at);
        if (memcmp(log->map + at, zeros, n) != 0)
            memset(log->map + at, 0, n);
        at += n;
    }
}

/* Let the kernel fetch the log ahead of the reader at AT: the mapping itself is read page by page. */
static void log_read_ahead(const struct series_log *log, uint64_t at, uint64_t *fetched)
{
    if (at + LOG_AHEAD / 2 < *fetched || *fetched >= log->reserved)
        return;
    uint64_t n = log->reserved - *fetched < LOG_AHEAD ? log->reserved - *fetched : LOG_AHEAD;
    file_map_prefetch(log->map + *fetched, n);
    *fetched += n;
}

static uint32_t log_word(const struct series_log *log, uint64_t at)
{
    return *(const uint32_t *)(const void *)(log->map + at);
}

/* The first word at or behind AT that is not zero, or UNTIL. */
static uint64_t log_skip_zeros(const struct series_log *log, uint64_t at, uint64_t until)
{
    while (at + 4 <= until && log_word(log, at) == 0)
        at += 4;
    return at;
}

/* How far to look for a record when there is none at AT. After a mere kill the log ends with a record without a
 * type, and what comes behind is damage, if it is there at all: the length of the longest record will do. */
static uint64_t log_search_end(const struct series_log *log, uint64_t at, bool same_boot)
{
    const struct series_log_head *head = (const void *)(log->map + at);
    uint64_t end = at + LOG_RECORD_MAX;

    return same_boot && head->type == 0 && end < log->reserved ? end : log->reserved;
}

int series_log_replay(struct series_log *log, const struct series_log_reader *reader, struct err *err)
{
    uint64_t at = sizeof(struct series_log_header), fetched = 0, until = log->reserved;
    uint64_t bad_from = 0, bad_to = 0; /* bytes that hold no record; 0: none */
    int rc = 0;

    log->end = at;
    while (rc == 0 && at + sizeof(struct series_log_head) <= until) {
        const struct series_log_head *head = (const void *)(log->map + at);
        if (!log_record_valid(head, log->reserved - at)) {
            if (bad_from == 0) {
                bad_from = at;
                until = log_search_end(log, at, reader->same_boot);
            }
            bad_to = at + 4;
            at = log_skip_zeros(log, at + 4, until);
            continue;
        }
        if (bad_from != 0)
            reader->damaged(reader->ctx, bad_from, at - bad_from);
        bad_from = 0;
        until = log->reserved;
        log_read_ahead(log, at, &fetched);
        rc = log_replay_record(log, at, reader, err);
        at += (uint64_t)head->words * 4;
        log->end = at;
    }
    if (rc < 0)
        return rc;
    /* After a power cut the last record may be torn. After a kill it may lack its checksum, which is written last. */
    if (bad_from != 0 && reader->same_boot && log_word(log, bad_from) != 0)
        reader->damaged(reader->ctx, bad_from, bad_to - bad_from);
    /* A record that was being written when the process died is all that there can be after a kill. */
    log_clear_tail(log, until);
    return 0;
}

static int log_create_header(struct series_log *log, struct err *err)
{
    struct series_log_header header = {.magic = SERIES_LOG_MAGIC, .version = SERIES_LOG_VERSION};

    if (getrandom(&header.seed, sizeof header.seed, 0) != (ssize_t)sizeof header.seed)
        return err_set(err, ERR_IO, "no random bytes from the kernel");
    header.crc = crc32c(&header, offsetof(struct series_log_header, crc));
    log->seed = header.seed;
    log->end = sizeof header;
    int rc = file_reserve(log->file, LOG_STEP_MIN, err);
    if (rc == 0)
        rc = file_write(log->file, &header, sizeof header, 0, err);
    log->reserved = LOG_STEP_MIN;
    return rc == 0 ? file_sync(log->file, err) : rc;
}

static int log_check_header(struct series_log *log, struct err *err)
{
    struct series_log_header header;
    int rc = file_read(log->file, &header, sizeof header, 0, err);

    if (rc < 0)
        return rc;
    if (header.magic != SERIES_LOG_MAGIC || header.crc != crc32c(&header, offsetof(struct series_log_header, crc)))
        return err_corrupt(err, file_path(log->file), 0, "series log header");
    if (header.version > SERIES_LOG_VERSION)
        return err_set(err, ERR_VERSION, "%s: version %u, this plumbago reads up to %u", file_path(log->file),
                       header.version, SERIES_LOG_VERSION);
    log->seed = header.seed;
    return 0;
}

/* Whether the file is new: empty, or cut off by a crash before its header was there (then all of it is
 * zeros; a header that was damaged later has records behind it). */
static bool log_is_blank(const struct file *f, uint64_t size)
{
    static const char zeros[4096];
    char page[sizeof zeros];

    for (uint64_t at = 0; at < size; at += sizeof page) {
        size_t n = size - at < sizeof page ? (size_t)(size - at) : sizeof page;
        if (file_read(f, page, n, at, NULL) < 0 || memcmp(page, zeros, n) != 0)
            return false;
    }
    return true;
}

int series_log_open(const char *path, struct series_log **out, struct err *err)
{
    struct series_log *log = calloc(1, sizeof *log);
    int rc = log == NULL ? err_set(err, ERR_MEMORY, "%s", path) : 0;

    *out = NULL;
    if (rc == 0)
        rc = file_open(path, FILE_READ_WRITE | FILE_CREATE, &log->file, err);
    if (rc == 0)
        rc = file_size(log->file, &log->reserved, err);
    bool blank = rc == 0 && log_is_blank(log->file, log->reserved);
    if (rc == 0)
        rc = blank ? log_create_header(log, err) : log_check_header(log, err);
    if (rc == 0)
        rc = file_map(log->file, 0, SERIES_LOG_MAX, FILE_MAP_WRITE, (void **)&log->map, err);
    if (rc < 0) {
        series_log_close(log);
        return rc;
    }
    *out = log;
    return 0;
}

void series_log_close(struct series_log *log)
{
    if (log == NULL)
        return;
    if (log->map != NULL)
        file_unmap(log->map, SERIES_LOG_MAX);
    file_close(log->file);
    free(log);
}

/* Make sure that LEN bytes and the margin fit behind the end. */
static int log_make_room(struct series_log *log, uint32_t len, struct err *err)
{
    uint64_t need = log->end + len + LOG_MARGIN;
    uint64_t step = log->reserved / 4;

    if (need <= log->reserved)
        return 0;
    if (need > SERIES_LOG_MAX)
        return err_set(err, ERR_FULL, "%s has reached its largest size of %llu bytes", file_path(log->file),
                       (unsigned long long)SERIES_LOG_MAX);
    step = step < LOG_STEP_MIN ? LOG_STEP_MIN : step > LOG_STEP_MAX ? LOG_STEP_MAX : step;
    uint64_t want = (need + step - 1) / step * step;
    if (want > SERIES_LOG_MAX)
        want = SERIES_LOG_MAX;
    int rc = file_reserve(log->file, want, err);
    if (rc == 0)
        log->reserved = want;
    return rc;
}

/* Append a record: FIXED bytes of a struct that begins with a series_log_head, then TEXT. */
static int log_append(struct series_log *log, struct series_log_head *head, uint32_t fixed, struct span text,
                      struct err *err)
{
    uint32_t len = fixed + (uint32_t)text.len;
    uint32_t padded = (len + 3) & ~3u;
    int rc = log_make_room(log, padded, err);

    if (rc < 0)
        return rc;
    MUST(padded / 4 <= UINT16_MAX);
    head->words = (uint16_t)(padded / 4);
    head->pad = (uint8_t)(padded - len);
    char *to = log->map + log->end;
    memcpy(to + sizeof *head, (const char *)head + sizeof *head, fixed - sizeof *head);
    memcpy(to + fixed, text.ptr, text.len);
    memset(to + len, 0, padded - len);
    memcpy(to + 4, (const char *)head + 4, sizeof *head - 4); /* the checksum covers these */
    head->crc = record_crc(to, padded);
    uint32_t crc = head->crc;
    __atomic_store_n((uint32_t *)(void *)to, crc, __ATOMIC_RELEASE);
    __atomic_store_n(&log->end, log->end + padded, __ATOMIC_RELEASE);
    return 0;
}

int series_log_append_rule(struct series_log *log, const struct log_rule *rule, struct err *err)
{
    struct series_log_rule_record record = {.head = {.type = SERIES_LOG_RULE},
                                            .rule = rule->number,
                                            .policy = rule->policy,
                                            .method = rule->method,
                                            .created_s = rule->created_s,
                                            .x_files_factor = rule->x_files_factor};

    return log_append(log, &record.head, sizeof record, rule->retentions, err);
}

int series_log_append_create(struct series_log *log, const struct log_create *create, uint32_t *at, struct err *err)
{
    struct series_log_create_record record = {
        .head = {.type = SERIES_LOG_CREATE}, .id = create->id, .rule = create->rule, .created_s = create->created_s};
    uint64_t begin = log->end;
    int rc = log_append(log, &record.head, sizeof record, create->name, err);

    *at = (uint32_t)((begin + sizeof record) / 4);
    return rc;
}

int series_log_append_delete(struct series_log *log, uint32_t id, struct err *err)
{
    struct series_log_delete_record record = {.head = {.type = SERIES_LOG_DELETE}, .id = id};

    return log_append(log, &record.head, sizeof record, SPAN_LIT(""), err);
}

/* ---- rewriting ---- */

/* The new file, written through a buffer. */
struct log_rewrite {
    struct file *to;
    uint64_t at; /* where the buffer begins in the file */
    size_t used;
    char buffer[1 << 20];
};

static int rewrite_flush(struct log_rewrite *w, struct err *err)
{
    int rc = file_write(w->to, w->buffer, w->used, w->at, err);

    w->at += w->used;
    w->used = 0;
    return rc;
}

static int rewrite_put(struct log_rewrite *w, const void *bytes, size_t len, struct err *err)
{
    int rc = w->used + len > sizeof w->buffer ? rewrite_flush(w, err) : 0;

    memcpy(w->buffer + w->used, bytes, len);
    w->used += len;
    return rc;
}

static int rewrite_put_delete(struct log_rewrite *w, uint32_t id, struct err *err)
{
    struct series_log_delete_record record = {.head = {.words = sizeof record / 4, .type = SERIES_LOG_DELETE},
                                              .id = id};

    record.head.crc = record_crc((const char *)&record, sizeof record);
    return rewrite_put(w, &record, sizeof record, err);
}

/* Header, rules, and the creations that are kept. */
static int rewrite_records(struct log_rewrite *w, const struct series_log *log, const struct series_log_filter *filter,
                           struct err *err)
{
    int rc = rewrite_put(w, log->map, sizeof(struct series_log_header), err);

    for (uint64_t at = sizeof(struct series_log_header); rc == 0 && at < log->end;) {
        const struct series_log_create_record *r = (const void *)(log->map + at);
        uint32_t len = (uint32_t)r->head.words * 4;
        if (!log_record_valid(&r->head, log->end - at)) {
            at += 4;
            continue;
        }
        if (r->head.type == SERIES_LOG_RULE ||
            (r->head.type == SERIES_LOG_CREATE && filter->keep(filter->ctx, r->id, (uint32_t)((at + sizeof *r) / 4))))
            rc = rewrite_put(w, r, len, err);
        at += len;
    }
    return rc;
}

static int rewrite_file(struct log_rewrite *w, const struct series_log *log, const struct series_log_filter *filter,
                        const char *path, struct err *err)
{
    int rc = file_open(path, FILE_READ_WRITE | FILE_CREATE | FILE_EMPTY, &w->to, err);

    if (rc == 0)
        rc = rewrite_records(w, log, filter, err);
    if (rc == 0 && filter->last != UINT32_MAX)
        rc = rewrite_put_delete(w, filter->last, err);
    if (rc == 0)
        rc = rewrite_flush(w, err);
    if (rc == 0)
        rc = file_reserve(w->to, ((w->at + LOG_MARGIN) / LOG_STEP_MIN + 1) * LOG_STEP_MIN, err);
    if (rc == 0)
        rc = file_sync(w->to, err);
    file_close(w->to);
    return rc;
}

/* Find the end of a log that this process has just written, and tell where its names are. */
static void rewrite_tell(struct series_log *log, const struct series_log_filter *filter)
{
    uint64_t at = sizeof(struct series_log_header);

    for (;;) {
        const struct series_log_create_record *r = (const void *)(log->map + at);
        if (at + sizeof r->head > log->reserved || r->head.type == 0)
            break;
        if (r->head.type == SERIES_LOG_CREATE)
            filter->moved(filter->ctx, r->id, (uint32_t)((at + sizeof *r) / 4));
        at += (uint64_t)r->head.words * 4;
    }
    log->end = log->synced = at;
}

int series_log_rewrite(struct series_log **log, const char *dir, const struct series_log_filter *filter,
                       struct err *err)
{
    const char *path = file_path((*log)->file);
    struct series_log *fresh;
    char temporary[4200];
    struct log_rewrite *w = calloc(1, sizeof *w);
    int rc = w == NULL ? err_set(err, ERR_MEMORY, "%s", path) : 0;

    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (rc == 0)
        rc = rewrite_file(w, *log, filter, temporary, err);
    free(w);
    if (rc == 0)
        rc = file_rename(temporary, path, err);
    if (rc < 0) {
        file_unlink(temporary, NULL);
        err_context(err, "writing the log of series anew");
        return rc;
    }
    rc = file_sync_dir(dir, err);
    if (rc == 0)
        rc = series_log_open(path, &fresh, err);
    if (rc < 0)
        return rc;
    rewrite_tell(fresh, filter);
    series_log_close(*log);
    *log = fresh;
    return 0;
}

struct span series_log_name(const struct series_log *log, uint32_t at, uint32_t len)
{
    return span_of(log->map + (uint64_t)at * 4, len);
}

/* A sync of what lies behind SYNCED failed: it must stay in memory until one succeeds. Pages of which the first word
 * is not written yet are left out: the appender will write there. */
static void log_keep(struct series_log *log, uint64_t synced, uint64_t end)
{
    uint64_t from = synced - synced % LOG_PAGE_MAX;

    if (from + sizeof(uint64_t) <= end)
        file_map_keep(log->map + from, end - from - sizeof(uint64_t) + 1);
}

int series_log_sync(struct series_log *log, struct err *err)
{
    uint64_t end = __atomic_load_n(&log->end, __ATOMIC_ACQUIRE);
    uint64_t synced = __atomic_load_n(&log->synced, __ATOMIC_RELAXED);

    if (end <= synced)
        return 0;
    int rc = file_sync(log->file, err);
    if (rc < 0)
        log_keep(log, synced, end);
    while (rc == 0 && synced < end &&
           !__atomic_compare_exchange_n(&log->synced, &synced, end, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    return rc;
}

uint64_t series_log_bytes(const struct series_log *log)
{
    return __atomic_load_n(&log->end, __ATOMIC_RELAXED);
}

/* Behind the end all is zero, so the end can be found by halving. */
uint64_t series_log_guess(const struct series_log *log)
{
    enum { PIECE = 4096 };
    static const char zeros[PIECE];
    uint64_t low = 0, high = log->reserved / PIECE;

    while (low < high) {
        uint64_t mid = (low + high) / 2;
        if (memcmp(log->map + mid * PIECE, zeros, PIECE) == 0)
            high = mid;
        else
            low = mid + 1;
    }
    return low * PIECE;
}

uint64_t series_log_seed(const struct series_log *log)
{
    return log->seed;
}
