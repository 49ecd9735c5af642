/* A find's matches come sorted by path. All forms but json and nodelist sort by the last component, and treejson shows
 * one entry for each of these, whatever lies before it: "web.*.cpu" is one node of the tree with the id "web.*.cpu"
 * (graphite-web: metrics/views.py, tree_json). A name that is a branch and a leaf too is two entries, as Grafana
 * expects. */
#include "server/find_format.h"

#include "server/http_parse.h"

#include <inttypes.h>
#include <stdlib.h>

struct span find_last_part(struct span path)
{
    size_t at = path.len;

    while (at > 0 && path.ptr[at - 1] != '.')
        at--;
    return span_cut(path, at, path.len);
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
    struct span base = span_cut(find->query, 0, find->query.len - find_last_part(find->query).len);
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
        return find_last_part(path);
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

        buf_add_char(out, node->leaf ? '\x84' : '\x83'); /* map of 4 or 3 */
        msgpack_text(out, SPAN_LIT("path"));
        msgpack_text(out, node->path);
        msgpack_text(out, SPAN_LIT("is_leaf"));
        buf_add_char(out, node->leaf ? '\xc3' : '\xc2'); /* true, false */
        msgpack_text(out, SPAN_LIT("isLeaf"));           /* what carbonapi reads */
        buf_add_char(out, node->leaf ? '\xc3' : '\xc2');
        if (node->leaf) {
            msgpack_text(out, SPAN_LIT("intervals"));
            buf_add(out, "\x91\x92\x00\xce", 4); /* [[0, uint32]] */
            add_u32(out, (uint32_t)find->now_s, true);
        }
    }
}

static const struct find_format formats[] = {
    {"treejson", .add = add_treejson},
    {"completer", .completer = true, .add = add_completer},
    {"nodelist", .add = add_nodelist},
    {"json", .add = add_json},
    {"pickle", "application/pickle", .add = add_pickle},
    {"msgpack", "application/x-msgpack", .add = add_msgpack},
};

const struct find_format *find_format_named(struct span name)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (name.ptr == NULL || span_eq(name, span_str(formats[i].name)))
            return &formats[i];
    return NULL;
}
