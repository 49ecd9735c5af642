/* ingest_lines.h - what TCP and UDP share: whole lines -> parser -> store -> counters, for one thread.
 *
 * Only ingest*.c include this. */
#ifndef PLUMBAGO_SERVER_INGEST_LINES_H
#define PLUMBAGO_SERVER_INGEST_LINES_H

#include "server/ingest.h"

#include <stdatomic.h>

enum { INGEST_CACHE_LINE = 64 };

/* What one thread has counted. Only that thread writes, with plain adds; others read whole numbers. */
struct ingest_counts {
    _Atomic uint64_t lines;
    _Atomic uint64_t points;
    _Atomic uint64_t rejected[INGEST_REASONS];
    _Atomic uint64_t bytes;
    _Atomic uint64_t datagrams;
    _Atomic uint64_t kernel_drops;
    _Atomic uint64_t connections_total;
    _Atomic uint64_t connections_refused;
    _Atomic uint64_t connections_idle_closed;
};

/* Add N to a counter that only this thread writes; no locked instruction is needed. */
static inline void ingest_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_release);
}

/* The index of a reason in ingest_counts.rejected; RESULT is not the OK one. */
static inline unsigned ingest_line_reason(enum line_result result)
{
    return (unsigned)result - 1;
}

static inline unsigned ingest_store_reason(enum store_result result)
{
    return (unsigned)(LINE_RESULTS - 1) + (unsigned)result - 1;
}

/* One thread's way into the store. */
struct ingest_sink {
    struct store_writer *writer;
    struct ingest_counts *counts;
    enum ingest_protocol protocol;
    size_t line_max;
};

/* Store all lines in [FROM, END), the last of which ends with LF; LINE_PARSE_PAD bytes behind END must be
 * readable. HINT is the connection's; PEER is who sent them, for the log. The calling thread has begun
 * (storage_thread_begin) and is outside of storage_enter(). */
void ingest_lines(struct ingest_sink *sink, const char *from, const char *end, struct store_hint *hint,
                  const struct sockaddr_storage *peer);

/* Count and log one line that was too long to be kept; EXCERPT is how it began. */
void ingest_line_too_long(struct ingest_sink *sink, struct span excerpt, const struct sockaddr_storage *peer);

#endif
