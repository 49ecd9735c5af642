#include "server/routes.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "server/gzip.h"
#include "server/http_form.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

enum {
    GZIP_MIN = 200, /* bytes of a body; what graphite-web's middleware compresses too */
    GZIP_LEVEL = 1, /* of JSON, level 1 takes off nearly as much as 6 at a third of the time */
    TEXT_MAX = 2048 /* of an error */
};

enum route_flags {
    ROUTE_ADMIN = 1, /* on the admin socket only */
    ROUTE_STORE = 2, /* uses the store: runs between storage_enter() and storage_leave() */
};

struct route {
    const char *path; /* a '*' at the end stands for one or more bytes */
    unsigned methods; /* HEAD is always fine where GET is */
    enum http_where where;
    unsigned flags;
    void (*answer)(struct call *call);
};

#define READ (HTTP_GET | HTTP_POST)

/* Checked from the top. graphite-web answers render and metrics for any method; here they take what reads. */
static const struct route routes_table[] = {
    {"/render", READ, HTTP_QUERY_POOL, ROUTE_STORE, answer_render},
    {"/metrics/find", READ, HTTP_QUERY_POOL, ROUTE_STORE, answer_find},
    {"/metrics/expand", READ, HTTP_QUERY_POOL, ROUTE_STORE, answer_expand},
    {"/metrics/index.json", READ, HTTP_QUERY_POOL, ROUTE_STORE, answer_index},
    {"/functions", HTTP_GET, HTTP_QUERY_POOL, 0, answer_functions},
    {"/functions/*", HTTP_GET, HTTP_QUERY_POOL, 0, answer_function},
    {"/events", READ, HTTP_QUERY_POOL, ROUTE_STORE, answer_events},
    {"/events/get_data", READ, HTTP_QUERY_POOL, ROUTE_STORE, answer_get_data},
    {"/events/*", HTTP_GET, HTTP_QUERY_POOL, ROUTE_STORE, answer_event},
    {"/tags", HTTP_GET, HTTP_QUERY_POOL, ROUTE_STORE, answer_tags},
    {"/tags/findSeries", READ, HTTP_QUERY_POOL, ROUTE_STORE, answer_find_series},
    {"/tags/autoComplete/tags", READ, HTTP_QUERY_POOL, ROUTE_STORE, answer_complete_tags},
    {"/tags/autoComplete/values", READ, HTTP_QUERY_POOL, ROUTE_STORE, answer_complete_values},
    /* These wait for the device, or for a grace period: not within enter and leave. */
    {"/tags/tagSeries", HTTP_POST, HTTP_QUERY_POOL, 0, answer_tag_series},
    {"/tags/tagMultiSeries", HTTP_POST, HTTP_QUERY_POOL, 0, answer_tag_multi_series},
    {"/tags/delSeries", HTTP_POST, HTTP_QUERY_POOL, 0, answer_delete_series},
    {"/tags/*", HTTP_GET, HTTP_QUERY_POOL, ROUTE_STORE, answer_tag},
    {"/version", READ, HTTP_HERE, 0, answer_version},
    {"/metrics", READ, HTTP_SERVICE_POOL, ROUTE_STORE, answer_metrics},
    {"/healthz", HTTP_GET, HTTP_HERE, 0, answer_alive},
    {"/readyz", HTTP_GET, HTTP_HERE, 0, answer_ready},
    /* Not within enter and leave: they wait for the background thread, which may wait for us. */
    {"/admin/flush", HTTP_POST, HTTP_SERVICE_POOL, ROUTE_ADMIN, answer_flush},
    {"/admin/seal", HTTP_POST, HTTP_SERVICE_POOL, ROUTE_ADMIN, answer_seal},
    {"/admin/merge", HTTP_POST, HTTP_SERVICE_POOL, ROUTE_ADMIN, answer_merge},
};

enum { ROUTES = sizeof(routes_table) / sizeof(routes_table[0]), ROUTE_NONE = ROUTES };

/* One more than there are routes: the last one counts what no route wanted. Relaxed atomics. */
static struct {
    uint64_t requests[ROUTE_STATUS_CLASSES];
    uint64_t time_ns;
} counters[ROUTES + 1];

/* ---- errors and JSON ---- */

static void reply_begin(struct call *call, int status, const char *content_type)
{
    buf_clear(&call->reply->body);
    call->reply->status = status;
    call->reply->content_type = content_type;
}

void reply_error(struct call *call, int status, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reply_begin(call, status, "text/plain; charset=utf-8");
    buf_add_str(&call->reply->body, text);
    buf_add_char(&call->reply->body, '\n');
}

static void add_escaped(struct buf *to, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            buf_add_str(to, "&lt;");
            break;
        case '>':
            buf_add_str(to, "&gt;");
            break;
        case '&':
            buf_add_str(to, "&amp;");
            break;
        case '"':
            buf_add_str(to, "&quot;");
            break;
        case '\'':
            buf_add_str(to, "&#x27;");
            break;
        default:
            buf_add_char(to, *text);
        }
    }
}

void reply_invalid(struct call *call, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reply_begin(call, 400, "text/html; charset=utf-8");
    buf_add_str(&call->reply->body, "Invalid parameters (");
    add_escaped(&call->reply->body, text);
    buf_add_str(&call->reply->body, ")\n");
}

void reply_error_json(struct call *call, int status, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reply_begin(call, status, "application/json");
    buf_add_str(&call->reply->body, "{\"error\": ");
    buf_add_json(&call->reply->body, span_str(text));
    buf_add_str(&call->reply->body, "}\n");
}

bool call_int(struct call *call, const char *name, int64_t fallback, int64_t *out)
{
    const struct span *value = params_get(&call->params, name);
    char text[24] = "";
    char *end = text;

    *out = fallback;
    if (value == NULL)
        return true;
    if (value->len != 0 && value->len < sizeof(text)) {
        memcpy(text, value->ptr, value->len);
        *out = strtoll(text, &end, 10);
    }
    if (end != text && *end == '\0')
        return true;
    reply_invalid(call, "Invalid int value %.*s for param %s", SPAN_ARG(span_cut(*value, 0, 200)), name);
    return false;
}

/* What a script may call: names, dots and indexes. Anything else could be code. */
static bool is_callback(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool fine = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                    (c != '\0' && strchr("_$.[]", c) != NULL);

        if (!fine)
            return false;
    }
    return name.len != 0 && name.len <= 200;
}

static bool wants_ascii(const struct call *call)
{
    struct span accept = http_field(&call->request->head, "Accept");

    return accept.ptr == NULL || span_eq(accept, SPAN_LIT("application/json"));
}

bool reply_json_begin(struct call *call)
{
    const struct span *callback = params_get(&call->params, "jsonp");

    if (callback != NULL && !is_callback(*callback)) {
        reply_invalid(call, "jsonp is no name of a function");
        return false;
    }
    if (callback != NULL)
        reply_begin(call, 200, "text/javascript");
    else
        reply_begin(call, 200, wants_ascii(call) ? "application/json" : "application/json;charset=utf-8");
    if (callback != NULL) {
        buf_add_span(&call->reply->body, *callback);
        buf_add_char(&call->reply->body, '(');
    }
    return true;
}

void reply_json_end(struct call *call)
{
    if (params_get(&call->params, "jsonp") != NULL)
        buf_add_char(&call->reply->body, ')');
}

void reply_json_string(struct call *call, struct span text)
{
    if (wants_ascii(call))
        buf_add_json_ascii(&call->reply->body, text);
    else
        buf_add_json(&call->reply->body, text);
}

/* ---- what every answer gets ---- */

static bool origin_listed(struct span list, struct span origin)
{
    while (list.len != 0) {
        size_t end = span_find(list, ' ');

        if (end != 0 && span_eq(span_cut(list, 0, end), origin))
            return true;
        list = span_cut(list, end + 1, list.len);
    }
    return false;
}

/* Which web pages may read the answer (Fetch standard, "CORS protocol"). With "*" they may, but not with the reader's
 * credentials; origins that are named may with them. */
static void add_cors(const struct routes *routes, const struct http_request *request, struct http_reply *reply)
{
    const char *allowed = routes->config->http_allow_origin;
    struct span origin = http_field(&request->head, "Origin");

    if (origin.ptr == NULL || strcmp(allowed, "off") == 0)
        return;
    if (strcmp(allowed, "*") == 0) {
        buf_add_str(&reply->headers, "Access-Control-Allow-Origin: *\r\n");
    } else if (origin_listed(span_str(allowed), origin)) {
        buf_addf(&reply->headers,
                 "Access-Control-Allow-Origin: %.*s\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n",
                 SPAN_ARG(origin));
    } else {
        return;
    }
    if (request->head.method == HTTP_OPTIONS)
        buf_add_str(&reply->headers, "Access-Control-Allow-Methods: GET, HEAD, POST, OPTIONS\r\n"
                                     "Access-Control-Allow-Headers: Authorization, Content-Type, Accept, Origin, "
                                     "X-Grafana-Org-Id, X-Dashboard-Id, X-Panel-Id, X-Panel-Plugin-Id\r\n"
                                     "Access-Control-Max-Age: 86400\r\n");
}

static void compress(const struct http_request *request, struct http_reply *reply)
{
    struct buf packed = {0};

    if (reply->body.failed || reply->body.len <= GZIP_MIN)
        return;
    buf_add_str(&reply->headers, "Vary: Accept-Encoding\r\n");
    if (!http_list_has(http_field(&request->head, "Accept-Encoding"), "gzip"))
        return;
    if (!gzip_bytes(buf_span(&reply->body), GZIP_LEVEL, &packed) || packed.len >= reply->body.len) {
        buf_release(&packed);
        return;
    }
    buf_release(&reply->body);
    reply->body = packed;
    buf_add_str(&reply->headers, "Content-Encoding: gzip\r\n");
}

static bool has_left(const struct http_request *request)
{
    return __atomic_load_n(&request->control.cancelled, __ATOMIC_RELAXED) != 0;
}

static void count(const struct http_request *request, const struct http_reply *reply)
{
    unsigned class = has_left(request) ? 0 : (unsigned)reply->status / 100;
    int64_t took_ns = clock_mono_ns() - request->arrived_ns;

    MUST(class < ROUTE_STATUS_CLASSES);
    __atomic_add_fetch(&counters[request->route].requests[class], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&counters[request->route].time_ns, (uint64_t)took_ns, __ATOMIC_RELAXED);
}

bool routes_stats(unsigned i, struct route_stats *out)
{
    if (i > ROUTES)
        return false;
    out->path = i < ROUTES ? routes_table[i].path : "other";
    for (unsigned k = 0; k < ROUTE_STATUS_CLASSES; k++)
        out->requests[k] = __atomic_load_n(&counters[i].requests[k], __ATOMIC_RELAXED);
    out->time_ns = __atomic_load_n(&counters[i].time_ns, __ATOMIC_RELAXED);
    return true;
}

/* ---- finding the way ---- */

/* The path without prefix and trailing slash. It stays encoded: every path of the table is plain. */
static struct span plain_path(const struct routes *routes, const struct http_request *request)
{
    struct span path = request->head.path;
    struct span prefix = span_str(routes->config->http_prefix);

    if (prefix.len != 0 && span_starts(path, prefix) && (path.len == prefix.len || path.ptr[prefix.len] == '/'))
        path = span_cut(path, prefix.len, path.len);
    while (path.len > 1 && path.ptr[path.len - 1] == '/')
        path.len--;
    return path.len == 0 ? SPAN_LIT("/") : path;
}

static bool route_matches(const struct route *route, struct span path)
{
    size_t n = strlen(route->path);

    if (route->path[n - 1] != '*')
        return span_eq(path, span_str(route->path));
    return path.len >= n && memcmp(path.ptr, route->path, n - 1) == 0;
}

static unsigned route_of(const struct routes *routes, const struct http_request *request)
{
    struct span path = plain_path(routes, request);

    for (unsigned i = 0; i < ROUTES; i++)
        if (route_matches(&routes_table[i], path))
            return (routes_table[i].flags & ROUTE_ADMIN) && request->door != HTTP_DOOR_ADMIN ? ROUTE_NONE : i;
    return ROUTE_NONE;
}

static bool method_fits(const struct route *route, enum http_method method)
{
    return (route->methods & method) != 0 || (method == HTTP_HEAD && (route->methods & HTTP_GET) != 0);
}

static enum http_where where(void *ctx, struct http_request *request)
{
    request->route = route_of(ctx, request);
    if (request->route == ROUTE_NONE || !method_fits(&routes_table[request->route], request->head.method))
        return HTTP_HERE;
    return routes_table[request->route].where;
}

static void answer_options(struct call *call)
{
    call->reply->status = 204;
    buf_add_str(&call->reply->headers, "Allow: GET, HEAD, POST, OPTIONS\r\n");
}

static void answer_other_method(struct call *call, const struct route *route)
{
    call->reply->status = 405;
    buf_addf(&call->reply->headers, "Allow: %s%sOPTIONS\r\n", (route->methods & HTTP_GET) != 0 ? "GET, HEAD, " : "",
             (route->methods & HTTP_POST) != 0 ? "POST, " : "");
}

/* Parameters, then the handler. */
static void answer_route(struct call *call, const struct route *route)
{
    struct err err = {0};
    const struct http_head *head = &call->request->head;

    call->params.arena = call->arena;
    params_add_urlencoded(&call->params, head->query);
    if (http_form_add(&call->params, http_field(head, "Content-Type"), call->request->body, &err) < 0) {
        reply_invalid(call, "%s", err.text);
        return;
    }
    size_t n = strlen(route->path);

    if (route->path[n - 1] == '*') {
        call->rest = arena_span(call->arena, span_cut(call->path, n - 1, call->path.len));
        call->rest.len = http_unescape((char *)(uintptr_t)call->rest.ptr, call->rest.len);
    }
    route->answer(call);
}

/* Runs ROUTE with an arena of its own: when that is full, the request ends here. */
static void answer_within_limits(struct call *call, const struct route *route)
{
    struct arena arena;
    jmp_buf full;
    bool store = (route->flags & ROUTE_STORE) != 0;

    arena_init(&arena, call->routes->limits.arena_bytes, &full);
    call->arena = &arena;
    if (store)
        storage_enter();
    if (setjmp(full) == 0)
        answer_route(call, route);
    else
        reply_error(call, 422, "the request needs more memory than query-max-memory allows");
    if (store)
        storage_leave();
    arena_release(&arena);
}

/* What went wrong here, not at the client: for the operator. */
static void log_failure(const struct http_request *request, const struct http_reply *reply)
{
    static struct log_limit limit;
    uint64_t held_back = 0;

    if (log_limit_pass(&limit, 5, INT64_C(10000000000), &held_back))
        log_warn("http", "request failed", LOG_INT("status", reply->status), LOG_SPAN("path", request->head.path),
                 LOG_SPAN("query", span_cut(request->head.query, 0, 500)), LOG_STR("peer", request->peer),
                 LOG_SPAN("answer", span_cut(buf_span(&reply->body), 0, 300)), LOG_INT("held_back", held_back));
}

static void answer(void *ctx, struct http_request *request, struct http_reply *reply)
{
    struct routes *routes = ctx;
    struct call call = {.routes = routes, .request = request, .reply = reply, .path = plain_path(routes, request)};
    const struct route *route = request->route == ROUTE_NONE ? NULL : &routes_table[request->route];

    reply->body.max = routes->limits.output_bytes;
    if (request->head.method == HTTP_OPTIONS)
        answer_options(&call);
    else if (route == NULL)
        reply_error(&call, 404, "nothing is at %.*s", SPAN_ARG(span_cut(call.path, 0, 200)));
    else if (!method_fits(route, request->head.method))
        answer_other_method(&call, route);
    else
        answer_within_limits(&call, route);
    if (reply->body.failed) {
        buf_release(&reply->body);
        reply_error(&call, 422, "the answer is longer than query-max-output allows");
    }
    if (reply->status >= 500 && !has_left(request) && __atomic_load_n(&routes->ready, __ATOMIC_RELAXED))
        log_failure(request, reply);
    add_cors(routes, request, reply);
    compress(request, reply);
    count(request, reply);
}

struct http_app routes_app(struct routes *routes)
{
    return (struct http_app){.ctx = routes, .where = where, .answer = answer};
}
