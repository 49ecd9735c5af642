/* query.h - the face of the query engine: a render request in, bytes out.
 *
 * The server includes this header (and query/request.h for parameters, query/functions.h for
 * /functions); nothing here knows sockets. Data comes in through query/source.h. */
#ifndef PLUMBAGO_QUERY_QUERY_H
#define PLUMBAGO_QUERY_QUERY_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "query/request.h"
#include "query/source.h"

#include <stdint.h>

struct query_limits {
    size_t arena_bytes; /* memory of one request */
    size_t series_max;  /* series that one request may fetch */
    size_t points_max;  /* points that one request may fetch */
    size_t targets_max;
    size_t output_bytes; /* of the answer */
};

/* Limits good for a small machine: 512 MiB, 100,000 series, 50 M points, 1,000 targets, 512 MiB. */
struct query_limits query_limits_default(void);

/* Where a request stands; shared by the thread that runs it and the one that may stop it. */
struct query_control {
    int64_t deadline_ns; /* by clock_mono_ns(); 0: none */
    int cancelled;       /* set to 1 (relaxed atomic) when the client has left */
};

/* Whether the request is to give up: the client has left, or the deadline has passed. NULL: no. Any thread. */
bool query_is_over(const struct query_control *control);

struct query_reply {
    int status;               /* 200, 400, 404, 500, 503, ... */
    const char *content_type; /* static */
    struct buf body;          /* the caller's: buf_release() */
};

/* Answer /render for PARAMS (query string and body merged). Always fills REPLY, for errors too, with a
 * short plain text ("Invalid parameters (...)"). NOW_S is the wall clock. Between storage_enter() and
 * storage_leave() when SRC reads the store. Any thread. */
void query_render(const struct params *params, const struct source *src, const struct query_limits *limits,
                  struct query_control *control, int64_t now_s, struct query_reply *reply);

#endif
