/* Whole lines into the store, a batch of parsed points at a time: the parser's results stay in the first-level
 * cache until the store has used them, and the counters are touched once a batch.
 *
 * One storage_enter() covers what one recv() has brought (at most 256 KiB, some 4,500 points, under a
 * millisecond), so a thread that waits for a grace period never waits long. */
#include "server/ingest_lines.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "base/utf8.h"

enum {
    BATCH = 64,
    EXCERPT_MAX = 160, /* bytes of a refused line that the log shows */
    LOG_BURST = 5,     /* lines of the log for each reason (one for a full disk) ... */
    LOG_PERIOD_S = 60  /* ... in each such period */
};

const char *ingest_protocol_name(enum ingest_protocol protocol)
{
    return protocol == INGEST_TCP ? "tcp" : "udp";
}

const char *ingest_reason_name(unsigned reason)
{
    MUST(reason < INGEST_REASONS);
    if (reason < LINE_RESULTS - 1)
        return line_result_name((enum line_result)(reason + 1));
    return store_result_name((enum store_result)(reason - (LINE_RESULTS - 1) + 1));
}

/* ---- the log of refused lines ---- */

/* The beginning of LINE; what is not UTF-8 as <ff>. The log itself escapes control bytes. */
static void add_excerpt(struct buf *out, struct span line)
{
    struct span shown = span_cut(line, 0, EXCERPT_MAX);
    bool plain = utf8_valid(line);

    for (size_t i = 0; i < shown.len; i++) {
        unsigned char c = (unsigned char)shown.ptr[i];

        if (plain || c < 0x80)
            buf_add_char(out, (char)c);
        else
            buf_addf(out, "<%02x>", c);
    }
    if (shown.len < line.len)
        buf_add_str(out, "...");
}

/* Whether REASON is the server's state, which may concern every line: one sample will do. */
static bool is_state(unsigned reason)
{
    return reason == ingest_store_reason(STORE_DISK_FULL) || reason == ingest_store_reason(STORE_SERIES_LIMIT) ||
           reason == ingest_store_reason(STORE_MEMORY_LIMIT) || reason == ingest_store_reason(STORE_CREATE_LIMIT);
}

/* Whether a refusal for REASON is to be logged now. */
static bool wants_log(unsigned reason, uint64_t *held_back)
{
    static struct log_limit limits[INGEST_REASONS];
    uint32_t burst = is_state(reason) ? 1 : LOG_BURST;

    if (reason == ingest_store_reason(STORE_NAN))
        return false; /* carbon drops these in silence, and collectd sends some at every start */
    return log_limit_pass(&limits[reason], burst, LOG_PERIOD_S * INT64_C(1000000000), held_back);
}

static void log_refused(const struct ingest_sink *sink, unsigned reason, struct span line,
                        const struct sockaddr_storage *peer, uint64_t held_back)
{
    bool full = reason == ingest_store_reason(STORE_DISK_FULL);
    struct buf excerpt;
    char address[LISTEN_TEXT_MAX];

    buf_init(&excerpt, EXCERPT_MAX * 4 + 16);
    add_excerpt(&excerpt, line);
    log_warn("ingest", full ? "disk full, points are refused" : "line refused",
             LOG_STR("reason", ingest_reason_name(reason)), LOG_STR("protocol", ingest_protocol_name(sink->protocol)),
             LOG_STR("peer", listen_text(&(struct listen_addr){.sa = *peer}, address)),
             LOG_SPAN("line", buf_span(&excerpt)), LOG_INT("held_back", held_back));
    buf_release(&excerpt);
}

void ingest_line_too_long(struct ingest_sink *sink, struct span excerpt, const struct sockaddr_storage *peer)
{
    unsigned reason = ingest_line_reason(LINE_TOO_LONG);
    uint64_t held_back;

    ingest_count(&sink->counts->lines, 1);
    ingest_count(&sink->counts->rejected[reason], 1);
    if (wants_log(reason, &held_back))
        log_refused(sink, reason, excerpt, peer, held_back);
}

/* ---- storing ---- */

/* A refused line in the middle of a batch. Out of line, so that the loop over good points stays small. The log
 * may block, so the store is left for it. */
__attribute__((noinline)) static void refuse(struct ingest_sink *sink, unsigned reason, struct span line,
                                             const struct sockaddr_storage *peer)
{
    uint64_t held_back;

    ingest_count(&sink->counts->rejected[reason], 1);
    if (!wants_log(reason, &held_back))
        return;
    storage_leave();
    log_refused(sink, reason, line, peer, held_back);
    storage_enter();
    store_begin(sink->writer, clock_now_s());
}

static void store_batch(struct ingest_sink *sink, const struct line_batch *batch, struct store_hint *hint,
                        const struct sockaddr_storage *peer)
{
    uint64_t stored = 0;

    store_expect(sink->writer, &batch->points[0].name, sizeof(batch->points[0]), batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        const struct line_point *p = &batch->points[i];
        enum store_result result;

        if (p->result != LINE_OK) {
            refuse(sink, ingest_line_reason(p->result), p->name, peer);
            continue;
        }
        result = store_point(sink->writer, hint, p->name, p->time_s, p->value);
        if (result == STORE_OK)
            stored++;
        else
            refuse(sink, ingest_store_reason(result), p->name, peer);
    }
    ingest_count(&sink->counts->points, stored);
    ingest_count(&sink->counts->lines, batch->count);
}

void ingest_lines(struct ingest_sink *sink, const char *from, const char *end, struct store_hint *hint,
                  const struct sockaddr_storage *peer)
{
    struct line_point points[BATCH];
    struct line_batch batch = {.points = points, .max = BATCH};
    int64_t now_s = clock_now_s();

    storage_enter();
    store_begin(sink->writer, now_s);
    while (from < end) {
        from = line_parse(from, end, sink->line_max, now_s, &batch);
        store_batch(sink, &batch, hint, peer);
    }
    storage_leave();
}
