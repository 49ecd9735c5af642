/* http_conn.h - one connection: bytes to a request, an answer to bytes. What http.c and http_conn.c share; nobody else
 * includes it.
 *
 * Everything here belongs to the I/O thread, but for what its comment says otherwise. */
#ifndef PLUMBAGO_SERVER_HTTP_CONN_H
#define PLUMBAGO_SERVER_HTTP_CONN_H

#include "base/log.h"
#include "server/http.h"
#include "server/http_peers.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <time.h>

#define SECOND_NS INT64_C(1000000000)

enum { CONN_MAGIC = 0x4e4e4f43, SCRATCH_BYTES = 256 << 10 /* read at once */ };

enum conn_state {
    CONN_IDLE,     /* nothing of a request is here */
    CONN_HEAD,     /* part of a head is */
    CONN_BODY,     /* the head is in ->x, part of the body too */
    CONN_HANDLING, /* ->x is being answered */
    CONN_SENDING,  /* ->x is being sent */
    CONN_LINGER,   /* sent; what the client still sends is thrown away, for a reset would overtake the answer */
    CONN_DEAD,     /* closed, to be freed by http_reap() */
};

struct conn;

struct exchange {
    struct pool_task task; /* first: the pool hands back its address */
    struct http_server *http;
    struct conn *conn; /* NULL: the client has left */
    struct http_request request;
    struct http_reply reply;
    struct buf head; /* what request.head points into */
    struct buf body;
    struct exchange *next; /* in the list of finished ones */
};

struct conn {
    uint32_t magic;
    enum conn_state state;
    struct http_server *http;
    struct conn *next, *prev;
    struct event readable, writable;
    int fd;
    enum http_door door;
    struct peer *peer; /* NULL on the admin door */
    struct sockaddr_storage address;

    struct buf in; /* received */
    size_t used;   /* of .in, from its start; not 0 only within conn_pump() */
    size_t seen;   /* of what is not used, by http_head_length() */
    struct exchange *x;
    uint64_t body_left; /* of a body with a length */
    struct http_chunked chunked;

    struct buf out; /* status line and headers of the answer */
    size_t sent;    /* of .out and the reply's body together */
    bool last;      /* close when the answer is sent */
    bool eof;       /* the client has closed its side */
    bool paused;    /* reading is: .in is full */
    bool linger;    /* there may be something unread when the answer is sent */

    int64_t began_ns;    /* this phase */
    int64_t deadline_ns; /* of this phase; 0: none */
    size_t drained;      /* in LINGER */
    size_t held;         /* its part of .bytes_held */
};

struct listener {
    struct http_server *http;
    int fd; /* -1: none */
    enum http_door door;
    struct event acceptable;
};

struct http_server {
    struct http_options options;
    struct event_base *base;
    pthread_t thread;
    struct listener listeners[2];
    char address[LISTEN_TEXT_MAX];
    int wake_fd;
    struct event woken, tick;
    char *scratch;
    struct conn *conns; /* a list, newest first */
    struct conn *dead;
    struct peers peers;
    struct log_limit accept_log;
    char date[40]; /* a Date header, of .date_s */
    time_t date_s;
    unsigned in_pools; /* exchanges that a pool has */

    pthread_mutex_t lock; /* guards .finished */
    struct exchange *finished;

    /* Written by one thread each, read by all: relaxed atomics. */
    int draining;
    int stopping;
    int64_t stop_deadline_ns;
    struct http_stats stats;
};

/* Take over FD, just accepted at DOOR: it becomes a connection, or is refused and closed. */
void conn_open(struct http_server *http, int fd, enum http_door door, const struct sockaddr_storage *address);

/* Close now; what a pool works on for it is cancelled. CONN stays until http_reap(). */
void conn_close(struct conn *conn);

/* A pool has given X back: send its answer, or free it when nobody waits for it any more. */
void conn_answered(struct exchange *x);

/* The time of CONN's phase is over. */
void conn_overdue(struct conn *conn);

/* Free what was closed during this callback; end the loop when all is closed and that is wanted. To be called at the
 * end of every callback. */
void http_reap(struct http_server *http);

/* Make the I/O thread look at the list of finished exchanges, and whether to drain. Any thread. */
void http_wake(struct http_server *http);

#endif
