/* http.h - HTTP/1.1 over sockets: requests in, answers out. What the answers are is somebody else's: http_app.
 *
 * One thread does all reading and writing; requests are answered there when that takes no time, else by a pool.
 * Everything is bounded: heads, bodies, connections in all and for each address, the bytes held for all of them, and
 * the time for each phase of a connection (docs/decisions/http.md says why this is not libevent's evhttp). */
#ifndef PLUMBAGO_SERVER_HTTP_H
#define PLUMBAGO_SERVER_HTTP_H

#include "base/buf.h"
#include "base/err.h"
#include "query/query.h"
#include "server/http_parse.h"
#include "server/listen.h"
#include "server/pool.h"

#include <stdint.h>

struct http_server;

enum http_door { HTTP_DOOR_PUBLIC, HTTP_DOOR_ADMIN }; /* through which listener a request came */

struct http_request {
    struct http_head head; /* its spans, and body, live as long as the request */
    struct span body;
    enum http_door door;
    char peer[LISTEN_TEXT_MAX]; /* "127.0.0.1:40000", or "unix" */
    uint64_t id;                /* counts requests since start */
    int64_t arrived_ns;         /* clock_mono_ns() when it was complete */
    struct query_control control;
    unsigned route; /* the app's, between where() and answer() */
};

struct http_reply {
    int status;
    const char *content_type; /* static; NULL: none */
    struct buf headers;       /* further header lines, each with its CRLF */
    struct buf body;
};

enum http_where { HTTP_HERE, HTTP_QUERY_POOL, HTTP_SERVICE_POOL };

/* What answers. */
struct http_app {
    void *ctx;
    /* Where to answer: HTTP_HERE only when that takes microseconds. In the I/O thread. */
    enum http_where (*where)(void *ctx, struct http_request *request);
    /* Fill REPLY, whose buffers are empty and unlimited. In the thread chosen by where(). */
    void (*answer)(void *ctx, struct http_request *request, struct http_reply *reply);
};

struct http_options {
    struct listen_addr address;
    const char *admin_path; /* a unix socket for HTTP_DOOR_ADMIN; NULL: none */
    size_t head_max;
    size_t body_max;
    size_t buffers_max;
    unsigned connections_max;
    unsigned connections_per_address_max;
    int64_t idle_s, receive_s, send_s; /* see config.h */
    int64_t query_timeout_s;           /* 0: none */
    struct pool *query_pool;           /* borrowed until http_stop() */
    struct pool *service_pool;
    struct http_app app;
};

/* Open the listeners and start the thread. *out is the caller's, to be given back with http_stop(). */
int http_start(const struct http_options *options, struct http_server **out, struct err *err);

/* Accept no more, close idle connections, and say so to http_stopping(); requests under way go on. */
void http_drain(struct http_server *http);
bool http_draining(const struct http_server *http);

/* Drain, give requests under way GRACE_MS to end, then cancel them; join and free. NULL is fine. Returns only when
 * no pool works for it any more. */
void http_stop(struct http_server *http, int64_t grace_ms);

/* The address that is really bound, or NULL. Borrowed until http_stop(). */
const char *http_address(const struct http_server *http);

struct http_stats {
    uint64_t connections_open;
    uint64_t connections_total;
    uint64_t connections_refused; /* over a limit, or no descriptor left */
    uint64_t requests;            /* complete ones */
    uint64_t bad_requests;        /* answered with 4xx before they were complete */
    uint64_t timeouts;            /* connections closed in the middle of a request or an answer */
    uint64_t refused;             /* answered with 503: a queue or the buffers were full */
    uint64_t cancelled;           /* the client left before its answer was made */
    uint64_t bytes_received;
    uint64_t bytes_sent;
    uint64_t bytes_held; /* in buffers now */
};

void http_stats(const struct http_server *http, struct http_stats *out); /* any thread */

#endif
