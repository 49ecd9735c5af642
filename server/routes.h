/* routes.h - path -> handler, and what all handlers share: parameters, errors, JSON, gzip, CORS.
 *
 * One table (routes.c) lists every path with its methods and where it runs. A handler fills call->reply; its memory is
 * call->arena, and running out of that ends the request with an error by itself. */
#ifndef PLUMBAGO_SERVER_ROUTES_H
#define PLUMBAGO_SERVER_ROUTES_H

#include "query/query.h"
#include "server/config.h"
#include "server/http.h"
#include "storage/storage.h"

struct self;

/* What handlers work with; filled by main.c before http_start(), constant but for .ready. */
struct routes {
    const struct config *config;
    struct storage *st;
    struct source source; /* over .st */
    struct query_limits limits;
    struct self *self;
    int ready; /* atomic: 1 from the ready line until the stop begins */
};

/* One request being answered. */
struct call {
    const struct routes *routes;
    struct http_request *request;
    struct http_reply *reply;
    struct arena *arena;
    struct params params; /* query string, then body */
    struct span path;     /* decoded, without prefix and trailing slash */
    struct span rest;     /* what stands for the '*' at the end of the route's path */
};

/* The app to give to http_start(); ROUTES is borrowed. */
struct http_app routes_app(struct routes *routes);

/* ---- for handlers ---- */

/* Answer with STATUS and one line of text. */
void reply_error(struct call *call, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same as graphite-web's render and find do it: text/html, escaped, "Invalid parameters (<text>)", 400. */
void reply_invalid(struct call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same as JSON: {"error": "<text>"}. */
void reply_error_json(struct call *call, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The integer parameter NAME, or FALLBACK when it is not given. False, and a 400 as the reply, when it is none. */
bool call_int(struct call *call, const char *name, int64_t fallback, int64_t *out);

/* Begin and end a JSON answer, which "jsonp" may wrap into a call. reply_json_begin() sets status and type; false,
 * and a 400 as the reply, when the callback's name is not one. */
bool reply_json_begin(struct call *call);
void reply_json_end(struct call *call);

/* TEXT as a JSON string, in ASCII or UTF-8 as the client prefers (graphite-web: by the Accept header). */
void reply_json_string(struct call *call, struct span text);

/* ---- the handlers; each file has its own ---- */
void answer_render(struct call *call);    /* http_render.c */
void answer_find(struct call *call);      /* http_find.c */
void answer_expand(struct call *call);    /* http_find.c */
void answer_index(struct call *call);     /* http_find.c */
void answer_functions(struct call *call); /* http_functions.c */
void answer_function(struct call *call);  /* http_functions.c */
void answer_events(struct call *call);    /* http_events.c */
void answer_get_data(struct call *call);  /* http_events.c */
void answer_event(struct call *call);     /* http_events.c */
void answer_tags(struct call *call);             /* http_tags.c */
void answer_tag(struct call *call);              /* http_tags.c */
void answer_find_series(struct call *call);      /* http_tags.c */
void answer_complete_tags(struct call *call);    /* http_tags.c */
void answer_complete_values(struct call *call);  /* http_tags.c */
void answer_tag_series(struct call *call);       /* http_tags.c */
void answer_tag_multi_series(struct call *call); /* http_tags.c */
void answer_delete_series(struct call *call);    /* http_tags.c */
void answer_alive(struct call *call);     /* http_health.c */
void answer_ready(struct call *call);     /* http_health.c */
void answer_version(struct call *call);   /* http_health.c */
void answer_metrics(struct call *call);   /* http_health.c */
void answer_flush(struct call *call);     /* http_admin.c */
void answer_seal(struct call *call);      /* http_admin.c */
void answer_merge(struct call *call);     /* http_admin.c */

/* ---- counters ---- */

enum { ROUTE_STATUS_CLASSES = 6 }; /* by the hundreds of the status; 0: the client had left */

struct route_stats {
    const char *path;
    uint64_t requests[ROUTE_STATUS_CLASSES];
    uint64_t time_ns; /* from the arrival of the request to its answer, waiting included */
};

/* The counters of route I; false when there is no such route (I counts from 0). Any thread. */
bool routes_stats(unsigned i, struct route_stats *out);

#endif
