/* /metrics/find, /metrics/expand, /metrics/index.json: the tree of names. */
#include "base/clock.h"
#include "query/time_spec.h"
#include "server/find_format.h"

#include <stdlib.h>

/* All matches of QUERY. False, with the error as the reply, when there are too many. */
static bool find_nodes(struct call *call, struct span query, bool leaves_only, struct nodes *out)
{
    struct storage_matches matches = {0};
    struct err err = {0};
    unsigned flags = STORAGE_FIND_LEAVES | (leaves_only ? 0 : STORAGE_FIND_BRANCHES);
    int rc = storage_find(call->routes->st, query, flags, call->routes->limits.series_max, call->arena, &matches, &err);

    *out = (struct nodes){0};
    if (rc == ERR_LIMIT) {
        reply_error(call, 422, "%s; query: \"%.*s\"", err.text, SPAN_ARG(span_cut(query, 0, 200)));
        return false;
    }
    if (rc < 0) {
        reply_error(call, 500, "%s", err.text);
        return false;
    }
    out->items = ARENA_ARRAY(call->arena, struct node, matches.count);
    out->count = matches.count;
    for (size_t i = 0; i < matches.count; i++)
        out->items[i] = (struct node){.path = matches.items[i].path,
                                      .name = find_last_part(matches.items[i].path),
                                      .leaf = matches.items[i].leaf};
    return true;
}

/* Whether "from" and "until" are times at all; they choose nothing here, but a bad one is refused. */
static bool times_are_valid(struct call *call, int64_t now_s)
{
    static const char *const names[] = {"from", "until"};
    const struct span *zone = params_get(&call->params, "tz");
    const struct tz *tz = zone == NULL ? NULL : tz_find(*zone);

    for (int i = 0; i < 2; i++) {
        const struct span *text = params_get(&call->params, names[i]);
        struct err err = {0};
        int64_t t_s = 0;

        if (text == NULL || text->len == 0 || span_eq(*text, SPAN_LIT("-1"))) /* -1: graphite-web's "not given" */
            continue;
        if (time_spec_parse(*text, tz == NULL ? tz_utc() : tz, now_s, &t_s, &err) < 0) {
            reply_invalid(call, "Invalid value %.*s for param %s: %s", SPAN_ARG(span_cut(*text, 0, 200)), names[i],
                          err.text);
            return false;
        }
    }
    return true;
}

/* ---- the query ---- */

/* "a..b" -> "a*.b": what a completer is asked while somebody types. */
static struct span with_stars(struct arena *arena, struct span query)
{
    char *to = arena_alloc(arena, query.len + 2);
    size_t len = 0;

    for (size_t i = 0; i < query.len; i++) {
        bool pair = query.ptr[i] == '.' && i + 1 < query.len && query.ptr[i + 1] == '.';

        to[len++] = pair ? '*' : query.ptr[i];
        if (pair) {
            to[len++] = '.';
            i++;
        }
    }
    if (len == 0 || to[len - 1] != '*')
        to[len++] = '*';
    return span_of(to, len);
}

/* "web.a,b" -> "web.{a,b}" for automatic_variants. */
static struct span with_braces(struct arena *arena, struct span query)
{
    char *to = arena_alloc(arena, query.len * 2 + 2); /* at most two braces for each comma, which is not alone */
    size_t len = 0;

    for (size_t at = 0; at <= query.len;) {
        struct span rest = span_cut(query, at, query.len);
        struct span part = span_cut(rest, 0, span_find(rest, '.'));
        bool brace = span_find(part, ',') < part.len && span_find(part, '{') == part.len;

        if (at != 0)
            to[len++] = '.';
        if (brace)
            to[len++] = '{';
        if (part.len != 0)
            memcpy(to + len, part.ptr, part.len);
        len += part.len;
        if (brace)
            to[len++] = '}';
        at += part.len + 1;
    }
    return span_of(to, len);
}

void answer_find(struct call *call)
{
    struct find find = {.call = call, .now_s = clock_now_s()};
    const struct span *name = params_get(&call->params, "format");
    const struct find_format *format = find_format_named(name == NULL ? (struct span){0} : *name);
    const struct span *query = params_get(&call->params, "query");
    int64_t leaves_only = 0;
    int64_t variants = 0;
    int64_t local = 0;
    bool completer = format != NULL && format->completer;

    if (!call_int(call, "local", 0, &local) || !call_int(call, "wildcards", 0, &find.wildcards) ||
        !call_int(call, "leavesOnly", 0, &leaves_only) || !call_int(call, "position", -1, &find.position) ||
        !call_int(call, "automatic_variants", 0, &variants) || !times_are_valid(call, find.now_s))
        return;
    if (query == NULL || (query->len == 0 && !completer)) {
        reply_invalid(call, "Missing required parameter 'query'");
        return;
    }
    if (format == NULL) {
        reply_error(call, 400, "Invalid value for 'format' parameter");
        return;
    }
    find.query = *query;
    if (completer && variants != 0)
        find.query = with_braces(call->arena, find.query);
    if (completer)
        find.query = with_stars(call->arena, find.query);
    if (!find_nodes(call, find.query, leaves_only != 0, &find.nodes) || !reply_json_begin(call))
        return;
    if (format->content_type != NULL) {
        buf_clear(&call->reply->body);
        call->reply->content_type = format->content_type;
        format->add(&find);
        return;
    }
    format->add(&find);
    reply_json_end(call);
}

/* ---- expand and index ---- */

static int by_text(const void *a, const void *b)
{
    return span_cmp(*(const struct span *)a, *(const struct span *)b);
}

/* A JSON list of the paths of NODES, sorted, each once. */
static void add_paths(struct call *call, const struct nodes *nodes)
{
    struct span *paths = ARENA_ARRAY(call->arena, struct span, nodes->count);
    struct buf *out = &call->reply->body;

    for (size_t i = 0; i < nodes->count; i++)
        paths[i] = nodes->items[i].path;
    qsort(paths, nodes->count, sizeof(*paths), by_text);
    buf_add_char(out, '[');
    for (size_t i = 0; i < nodes->count; i++) {
        if (i > 0 && span_eq(paths[i], paths[i - 1]))
            continue;
        buf_add_str(out, i == 0 ? "" : ", ");
        reply_json_string(call, paths[i]);
    }
    buf_add_char(out, ']');
}

/* Puts the nodes of B behind those of *a. */
static void append(struct arena *arena, struct nodes *a, const struct nodes *b)
{
    a->items = arena_grow(arena, a->items, a->count, a->count + b->count, sizeof(*a->items));
    if (b->count != 0)
        memcpy(a->items + a->count, b->items, b->count * sizeof(*b->items));
    a->count += b->count;
}

/* The different values of "query", in order. False, with the error as the reply, when there are too many. */
static bool queries_of(struct call *call, struct span **out, size_t *count)
{
    const struct params *params = &call->params;
    size_t max = call->routes->limits.targets_max;

    *count = 0;
    *out = ARENA_ARRAY(call->arena, struct span, max);
    for (size_t i = 0; i < params->count; i++) {
        struct span value = params->items[i].value;
        bool known = !span_eq(params->items[i].key, SPAN_LIT("query"));

        for (size_t k = 0; k < *count && !known; k++)
            known = span_eq((*out)[k], value);
        if (known)
            continue;
        if (*count == max) {
            reply_error(call, 422, "more than %zu queries; query-max-targets is the limit", max);
            return false;
        }
        (*out)[(*count)++] = value;
    }
    return true;
}

void answer_expand(struct call *call)
{
    struct buf *out = &call->reply->body;
    struct span *queries = NULL;
    struct nodes all = {0};
    size_t count = 0;
    int64_t leaves_only = 0;
    int64_t grouped = 0;

    if (!call_int(call, "leavesOnly", 0, &leaves_only) || !call_int(call, "groupByExpr", 0, &grouped) ||
        !queries_of(call, &queries, &count) || !reply_json_begin(call))
        return;
    buf_add_str(out, grouped != 0 ? "{\"results\": {" : "{\"results\": ");
    for (size_t i = 0; i < count; i++) {
        struct nodes nodes = {0};

        if (!find_nodes(call, queries[i], leaves_only != 0, &nodes))
            return;
        if (grouped == 0) {
            append(call->arena, &all, &nodes);
            continue;
        }
        buf_add_str(out, i == 0 ? "" : ", ");
        reply_json_string(call, queries[i]);
        buf_add_str(out, ": ");
        add_paths(call, &nodes);
    }
    if (grouped == 0)
        add_paths(call, &all);
    buf_add_str(out, grouped != 0 ? "}}" : "}");
    reply_json_end(call);
}

void answer_index(struct call *call)
{
    struct storage_matches matches = {0};
    struct err err = {0};
    struct buf *out = &call->reply->body;
    int64_t local = 0;

    if (!call_int(call, "local", 0, &local))
        return;
    /* All names are wanted, so the number of series is no limit here; memory and length are. */
    if (storage_find(call->routes->st, SPAN_LIT("**"), STORAGE_FIND_LEAVES, 0, call->arena, &matches, &err) < 0) {
        reply_error_json(call, 500, "%s", err.text);
        return;
    }
    if (!reply_json_begin(call))
        return;
    buf_add_char(out, '[');
    for (size_t i = 0; i < matches.count; i++) {
        buf_add_str(out, i == 0 ? "" : ", ");
        reply_json_string(call, matches.items[i].path);
    }
    buf_add_char(out, ']');
    reply_json_end(call);
}
