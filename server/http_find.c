/* /metrics/find, /metrics/expand, /metrics/index.json: the tree of names, in graphite-web's forms.
 *
 * A find's matches come sorted by path. All forms but json and nodelist sort by the last component, and treejson shows
 * one entry for each of these, whatever lies before it: "web.*.cpu" is one node of the tree with the id "web.*.cpu"
 * (graphite-web: metrics/views.py, tree_json). A name that is a branch and a leaf too is two entries, as Grafana
 * expects. */
#include "base/clock.h"
#include "query/time_spec.h"
#include "server/http_parse.h"
#include "server/routes.h"

#include <inttypes.h>
#include <stdlib.h>

/* One match, with its last component. */
struct node {
    struct span path;
    struct span name;
    bool leaf;
};

struct nodes {
    struct node *items;
    size_t count;
};

struct find {
    struct call *call;
    struct span query;
    struct nodes nodes;
    int64_t position;  /* of nodelist */
    int64_t wildcards; /* a '*' entry is wanted */
    int64_t now_s;
};

/* ---- finding ---- */

static struct span last_part(struct span path)
{
    size_t at = path.len;

    while (at > 0 && path.ptr[at - 1] != '.')
        at--;
    return span_cut(path, at, path.len);
}

/* All matches of QUERY. False, with the error as the reply, when there are too many. */
static bool find_nodes(struct call *call, struct span query, bool leaves_only, struct nodes *out)
{
    struct storage_matches matches = {0};
    struct err err = {0};
    unsigned flags = STORAGE_FIND_LEAVES | (leaves_only ? 0 : STORAGE_FIND_BRANCHES);
    int rc = storage_find(call->routes->st, query, flags, call->routes->limits.series_max, call->arena, &matches, &err);

    *out = (struct nodes){0};
    if (rc < 0) {
        reply_invalid(call, "%s; query: \"%.*s\"", err.text, SPAN_ARG(span_cut(query, 0, 200)));
        return false;
    }
    out->items = ARENA_ARRAY(call->arena, struct node, matches.count);
    out->count = matches.count;
    for (size_t i = 0; i < matches.count; i++)
        out->items[i] = (struct node){
            .path = matches.items[i].path, .name = last_part(matches.items[i].path), .leaf = matches.items[i].leaf};
    return true;
}

/* By name; of one name branches first, then by path. */
static int by_name(const void *a, const void *b)
{
    const struct node *x = a;
    const struct node *y = b;
    int order = span_cmp(x->name, y->name);

    if (order == 0)
        order = (int)x->leaf - (int)y->leaf;
    return order != 0 ? order : span_cmp(x->path, y->path);
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

/* ---- the forms ---- */

static const char comma[] = ", ";

/* "a+b%20c" -> "a b c", as graphite-web shows the text of a node. */
static struct span unquoted(struct arena *arena, struct span text)
{
    struct span copy = arena_span(arena, text);
    char *to = (char *)(uintptr_t)copy.ptr;

    for (size_t i = 0; i < copy.len; i++)
        if (to[i] == '+')
            to[i] = ' ';
    copy.len = http_unescape(to, copy.len);
    return copy;
}

static void add_tree_node(struct find *find, struct span base, struct span name, bool leaf, bool *first)
{
    struct buf *out = &find->call->reply->body;
    struct arena *arena = find->call->arena;

    buf_add_str(out, *first ? "" : comma);
    *first = false;
    buf_add_str(out, "{\"text\": ");
    reply_json_string(find->call, unquoted(arena, name));
    buf_add_str(out, ", \"id\": ");
    reply_json_string(find->call, arena_join(arena, base, name, (struct span){0}));
    buf_add_str(out, leaf ? ", \"allowChildren\": 0, \"expandable\": 0, \"leaf\": 1}"
                          : ", \"allowChildren\": 1, \"expandable\": 1, \"leaf\": 0}");
}

static void add_treejson(struct find *find)
{
    struct nodes *nodes = &find->nodes;
    struct span base = span_cut(find->query, 0, find->query.len - last_part(find->query).len);
    bool first = true;
    bool branches = false;

    qsort(nodes->items, nodes->count, sizeof(*nodes->items), by_name);
    for (size_t i = 0; i < nodes->count; i++)
        branches = branches || !nodes->items[i].leaf;
    buf_add_char(&find->call->reply->body, '[');
    if (find->wildcards != 0 && nodes->count > 1)
        add_tree_node(find, base, SPAN_LIT("*"), !branches, &first);
    for (int leaf = 0; leaf < 2; leaf++) {
        const struct node *before = NULL;

        for (size_t i = 0; i < nodes->count; i++) {
            const struct node *node = &nodes->items[i];

            if (node->leaf != (leaf != 0) || (before != NULL && span_eq(before->name, node->name)))
                continue;
            add_tree_node(find, base, node->name, node->leaf, &first);
            before = node;
        }
    }
    buf_add_char(&find->call->reply->body, ']');
}

static void add_completer(struct find *find)
{
    struct buf *out = &find->call->reply->body;
    const struct nodes *nodes = &find->nodes;

    qsort(nodes->items, nodes->count, sizeof(*nodes->items), by_name);
    buf_add_str(out, "{\"metrics\": [");
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node *node = &nodes->items[i];
        struct span end = node->leaf ? (struct span){0} : SPAN_LIT(".");

        buf_add_str(out, i == 0 ? "{\"path\": " : ", {\"path\": ");
        reply_json_string(find->call, arena_join(find->call->arena, node->path, end, (struct span){0}));
        buf_add_str(out, ", \"name\": ");
        reply_json_string(find->call, node->name);
        buf_addf(out, ", \"is_leaf\": \"%d\"}", node->leaf);
    }
    if (find->wildcards != 0 && nodes->count > 1)
        buf_add_str(out, ", {\"name\": \"*\"}");
    buf_add_str(out, "]}");
}

static int by_text(const void *a, const void *b)
{
    return span_cmp(*(const struct span *)a, *(const struct span *)b);
}

/* Component POSITION of PATH (-1: the last one); ptr NULL when it has none there. */
static struct span part_at(struct span path, int64_t position)
{
    if (position == -1)
        return last_part(path);
    for (; position > 0; position--) {
        size_t dot = span_find(path, '.');

        if (dot == path.len)
            return (struct span){0};
        path = span_cut(path, dot + 1, path.len);
    }
    return position < 0 ? (struct span){0} : span_cut(path, 0, span_find(path, '.'));
}

static void add_nodelist(struct find *find)
{
    struct buf *out = &find->call->reply->body;
    struct span *parts = ARENA_ARRAY(find->call->arena, struct span, find->nodes.count);
    size_t count = 0;

    for (size_t i = 0; i < find->nodes.count; i++) {
        struct span part = part_at(find->nodes.items[i].path, find->position);

        if (part.ptr != NULL)
            parts[count++] = part;
    }
    qsort(parts, count, sizeof(*parts), by_text);
    buf_add_str(out, "{\"nodes\": [");
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && span_eq(parts[i], parts[i - 1]))
            continue;
        buf_add_str(out, i == 0 ? "" : comma);
        reply_json_string(find->call, parts[i]);
    }
    buf_add_str(out, "]}");
}

/* What a leaf can answer for is not asked of each one: any time until now, so that a front-end asks us. */
static void add_json(struct find *find)
{
    struct buf *out = &find->call->reply->body;

    buf_add_char(out, '[');
    for (size_t i = 0; i < find->nodes.count; i++) {
        const struct node *node = &find->nodes.items[i];

        buf_add_str(out, i == 0 ? "{\"path\": " : ", {\"path\": ");
        reply_json_string(find->call, node->path);
        if (node->leaf)
            buf_addf(out, ", \"is_leaf\": true, \"intervals\": [{\"start\": 0, \"end\": %" PRId64 "}]}", find->now_s);
        else
            buf_add_str(out, ", \"is_leaf\": false}");
    }
    buf_add_char(out, ']');
}

static void add_u32(struct buf *out, uint32_t v, bool big_endian)
{
    char bytes[4];

    for (int i = 0; i < 4; i++)
        bytes[i] = (char)(v >> (big_endian ? 24 - 8 * i : 8 * i));
    buf_add(out, bytes, 4);
}

/* Pickle protocol 2: X is a text with a 32-bit length, J a 32-bit integer, } a dict, ( ... u its pairs, ] a list,
 * ( ... e its items, \x86 a tuple of two, \x88 and \x89 True and False (Python: pickletools). */
static void pickle_text(struct buf *out, struct span text)
{
    buf_add_char(out, 'X');
    add_u32(out, (uint32_t)text.len, false);
    buf_add_span(out, text);
}

static void add_pickle(struct find *find)
{
    struct buf *out = &find->call->reply->body;

    qsort(find->nodes.items, find->nodes.count, sizeof(*find->nodes.items), by_name);
    buf_add(out, "\x80\x02](", 4);
    for (size_t i = 0; i < find->nodes.count; i++) {
        const struct node *node = &find->nodes.items[i];

        buf_add_str(out, "}(");
        pickle_text(out, SPAN_LIT("path"));
        pickle_text(out, node->path);
        pickle_text(out, SPAN_LIT("is_leaf"));
        buf_add_char(out, node->leaf ? '\x88' : '\x89');
        if (node->leaf) {
            pickle_text(out, SPAN_LIT("intervals"));
            buf_add_str(out, "](J");
            add_u32(out, 0, false);
            buf_add_char(out, 'J');
            add_u32(out, (uint32_t)find->now_s, false);
            buf_add_str(out, "\x86"
                             "e");
        }
        buf_add_char(out, 'u');
    }
    buf_add_str(out, "e.");
}

static void msgpack_text(struct buf *out, struct span text)
{
    buf_add_char(out, '\xdb'); /* str 32 */
    add_u32(out, (uint32_t)text.len, true);
    buf_add_span(out, text);
}

static void add_msgpack(struct find *find)
{
    struct buf *out = &find->call->reply->body;

    qsort(find->nodes.items, find->nodes.count, sizeof(*find->nodes.items), by_name);
    buf_add_char(out, '\xdd'); /* array 32 */
    add_u32(out, (uint32_t)find->nodes.count, true);
    for (size_t i = 0; i < find->nodes.count; i++) {
        const struct node *node = &find->nodes.items[i];

        buf_add_char(out, node->leaf ? '\x83' : '\x82'); /* map of 3 or 2 */
        msgpack_text(out, SPAN_LIT("path"));
        msgpack_text(out, node->path);
        msgpack_text(out, SPAN_LIT("is_leaf"));
        buf_add_char(out, node->leaf ? '\xc3' : '\xc2'); /* true, false */
        if (node->leaf) {
            msgpack_text(out, SPAN_LIT("intervals"));
            buf_add(out, "\x91\x92\x00\xce", 4); /* [[0, uint32]] */
            add_u32(out, (uint32_t)find->now_s, true);
        }
    }
}

static const struct find_format {
    const char *name;
    const char *content_type; /* NULL: JSON's */
    void (*add)(struct find *find);
} formats[] = {
    {"treejson", NULL, add_treejson},
    {"completer", NULL, add_completer},
    {"nodelist", NULL, add_nodelist},
    {"json", NULL, add_json},
    {"pickle", "application/pickle", add_pickle},
    {"msgpack", "application/x-msgpack", add_msgpack},
};

static const struct find_format *format_of(struct call *call)
{
    const struct span *name = params_get(&call->params, "format");

    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (name == NULL || span_eq(*name, span_str(formats[i].name)))
            return &formats[i];
    return NULL;
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
    const struct find_format *format = format_of(call);
    const struct span *query = params_get(&call->params, "query");
    int64_t leaves_only = 0;
    int64_t variants = 0;
    int64_t local = 0;
    bool completer = format != NULL && format->add == add_completer;

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
        buf_add_str(out, i == 0 ? "" : comma);
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

/* The different values of "query", in order. False, and a 400 as the reply, when there are too many. */
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
            reply_invalid(call, "more than %zu queries; query-max-targets is the limit", max);
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
        buf_add_str(out, i == 0 ? "" : comma);
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
        buf_add_str(out, i == 0 ? "" : comma);
        reply_json_string(call, matches.items[i].path);
    }
    buf_add_char(out, ']');
    reply_json_end(call);
}
