/* ingest.h - the carbon listeners: sockets in, points in the store.
 *
 * TCP: N worker threads, each with its own event loop, its own SO_REUSEPORT listener and its own store writer.
 * UDP: one thread. Nothing is ever written to a carbon connection, and a bad line never closes one.
 * All memory is bounded: a connection keeps at most one unfinished line, see ingest_options.line_max. */
#ifndef PLUMBAGO_SERVER_INGEST_H
#define PLUMBAGO_SERVER_INGEST_H

#include "base/err.h"
#include "server/line_parse.h"
#include "server/listen.h"
#include "storage/storage.h"

#include <stdint.h>

struct ingest;

struct ingest_options {
    struct listen_addr tcp;   /* plaintext over TCP */
    struct listen_addr udp;   /* plaintext over UDP */
    unsigned workers;         /* TCP worker threads; 0: one for each core, at most 4 */
    size_t line_max;          /* bytes of a line; 0: LINE_MAX_DEFAULT. At most INGEST_LINE_LIMIT */
    unsigned connections_max; /* open connections of all workers; beyond that new ones wait in the kernel's queue;
                                 0: INGEST_CONNECTIONS_DEFAULT */
    int64_t idle_s;           /* close a connection on which nothing came for so long; 0: never */
};

enum {
    INGEST_LINE_LIMIT = 1 << 20,
    INGEST_CONNECTIONS_DEFAULT = 10000,
    INGEST_WORKERS_MAX = 64,
};

/* Open the listeners and start the threads; from here on points arrive. *out is the caller's, to be given
 * back with ingest_stop() before storage_close(). ERR_IO when an address cannot be had (named). */
int ingest_start(struct storage *st, const struct ingest_options *options, struct ingest **out, struct err *err);

/* Stop accepting; read and store what has already arrived (for at most a second); close, join, free.
 * NULL is fine. */
void ingest_stop(struct ingest *in);

/* The addresses that are really bound, as text ("127.0.0.1:2003"), or NULL when the listener is off.
 * Borrowed until ingest_stop(). */
const char *ingest_tcp_address(const struct ingest *in);
const char *ingest_udp_address(const struct ingest *in);

enum ingest_protocol { INGEST_TCP, INGEST_UDP, INGEST_PROTOCOLS };

/* "tcp", "udp". */
const char *ingest_protocol_name(enum ingest_protocol protocol);

/* Why a line was not stored: first the parser's reasons, then the store's. */
enum { INGEST_REASONS = (LINE_RESULTS - 1) + (STORE_RESULTS - 1) };

/* "fields", "value", ..., "bad_name", "too_old", ...; REASON is below INGEST_REASONS. */
const char *ingest_reason_name(unsigned reason);

struct ingest_protocol_stats {
    uint64_t lines;                    /* lines that were not empty: points + all rejected */
    uint64_t points;                   /* stored: their cells are written */
    uint64_t rejected[INGEST_REASONS]; /* by reason */
    uint64_t bytes;                    /* received */
    uint64_t datagrams;                /* UDP only */
    uint64_t kernel_drops;             /* UDP only: datagrams that the kernel dropped (SO_RXQ_OVFL) */
    uint64_t connections_open;         /* TCP only */
    uint64_t connections_total;        /* TCP only: accepted since start */
    uint64_t connections_refused;      /* TCP only: times that accepting had to pause (limit, no descriptors) */
    uint64_t connections_idle_closed;  /* TCP only: closed after idle_s */
};

struct ingest_stats {
    struct ingest_protocol_stats protocol[INGEST_PROTOCOLS];
};

/* The sums over all threads; since start. Any thread, also while points arrive: each number is exact for an
 * instant of its own, and points never count a point whose cell is not yet stored. */
void ingest_stats(const struct ingest *in, struct ingest_stats *out);

#endif
