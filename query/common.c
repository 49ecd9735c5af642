/* Equal expressions are found by numbering: a node's number stands for its own text and the numbers of its parts,
 * looked up in a hash table, so that two calls are equal when their numbers are. A second walk from the roots counts
 * how often each number occurs; it does not go into what it has seen, as the parts of an equal call will not be
 * asked for again. */
#include "query/common.h"

#include <xxhash.h>

/* What an expression gave in one context. */
struct common_result {
    int64_t from_s;
    int64_t until_s;
    double x_files_factor;
    struct value value;
    struct common_result *next;
};

struct common {
    struct common_result *results;
};

/* All nodes with one number. */
struct expression {
    const struct node *node;
    uint64_t hash;
    bool pure; /* and all its parts are */
    bool seen;
    struct common *common;
};

struct numbering {
    struct arena *arena;
    struct expression *items; /* by number */
    size_t count;
    uint32_t *slots; /* hash table of number + 1 */
    size_t slots_count;
};

static size_t nodes_in(const struct node *node)
{
    size_t n = 1;

    for (size_t i = 0; i < node->args_count; i++)
        n += nodes_in(node->args[i]);
    for (size_t i = 0; i < node->kwargs_count; i++)
        n += nodes_in(node->kwargs[i].value);
    return n;
}

/* What tells a node from others, besides its parts. A call is its function's name; but seriesByTag names its series
 * by how it is written. */
static struct span own_text(const struct node *node)
{
    if (node->kind == NODE_CALL && !span_eq(node->function, SPAN_LIT("seriesByTag")))
        return node->function;
    return node->text;
}

static uint64_t hash_of(const struct node *node)
{
    struct span text = own_text(node);
    uint64_t hash = XXH3_64bits_withSeed(text.ptr, text.len, node->kind * 31 + node->args_count);

    for (size_t i = 0; i < node->args_count; i++)
        hash = (hash ^ node->args[i]->number) * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < node->kwargs_count; i++)
        hash = (hash ^ node->kwargs[i].value->number) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

/* Of nodes whose parts have numbers already. */
static bool equal(const struct node *a, const struct node *b)
{
    if (a->kind != b->kind || !span_eq(own_text(a), own_text(b)) || a->args_count != b->args_count ||
        a->kwargs_count != b->kwargs_count)
        return false;
    for (size_t i = 0; i < a->args_count; i++) {
        if (a->args[i]->number != b->args[i]->number)
            return false;
    }
    for (size_t i = 0; i < a->kwargs_count; i++) {
        if (!span_eq(a->kwargs[i].name, b->kwargs[i].name) || a->kwargs[i].value->number != b->kwargs[i].value->number)
            return false;
    }
    return true;
}

static bool is_pure(const struct numbering *n, const struct node *node)
{
    const struct fn_def *def = node->kind == NODE_CALL ? functions_find(node->function) : NULL;
    bool pure = node->kind != NODE_TEMPLATE && (def == NULL || !def->impure);

    for (size_t i = 0; i < node->args_count; i++)
        pure = pure && n->items[node->args[i]->number].pure;
    for (size_t i = 0; i < node->kwargs_count; i++)
        pure = pure && n->items[node->kwargs[i].value->number].pure;
    return pure;
}

static void number_node(struct numbering *n, struct node *node)
{
    uint64_t hash;
    size_t at;

    for (size_t i = 0; i < node->args_count; i++)
        number_node(n, node->args[i]);
    for (size_t i = 0; i < node->kwargs_count; i++)
        number_node(n, node->kwargs[i].value);
    hash = hash_of(node);
    for (at = hash & (n->slots_count - 1); n->slots[at] != 0; at = (at + 1) & (n->slots_count - 1)) {
        node->number = n->slots[at] - 1;
        if (n->items[node->number].hash == hash && equal(n->items[node->number].node, node))
            return;
    }
    node->number = (uint32_t)n->count;
    n->items[n->count] = (struct expression){.node = node, .hash = hash, .pure = is_pure(n, node)};
    n->slots[at] = (uint32_t)++n->count;
}

static void find_seen(struct numbering *n, struct node *node)
{
    struct expression *e = &n->items[node->number];

    if (e->seen) {
        if (e->pure && node->kind == NODE_CALL && e->common == NULL)
            e->common = ARENA_NEW(n->arena, struct common);
        return;
    }
    e->seen = true;
    if (node->kind == NODE_TEMPLATE)
        return;
    for (size_t i = 0; i < node->args_count; i++)
        find_seen(n, node->args[i]);
    for (size_t i = 0; i < node->kwargs_count; i++)
        find_seen(n, node->kwargs[i].value);
}

static void mark(const struct numbering *n, struct node *node)
{
    if (node->kind == NODE_TEMPLATE)
        return;
    node->common = n->items[node->number].common;
    for (size_t i = 0; i < node->args_count; i++)
        mark(n, node->args[i]);
    for (size_t i = 0; i < node->kwargs_count; i++)
        mark(n, node->kwargs[i].value);
}

void common_find(struct node *const *roots, size_t count, struct arena *arena)
{
    struct numbering n = {.arena = arena, .slots_count = 16};
    size_t nodes = 0;

    for (size_t i = 0; i < count; i++)
        nodes += nodes_in(roots[i]);
    while (n.slots_count < nodes * 2)
        n.slots_count *= 2;
    n.items = ARENA_ARRAY(arena, struct expression, nodes);
    n.slots = ARENA_ARRAY(arena, uint32_t, n.slots_count);
    for (size_t i = 0; i < count; i++)
        number_node(&n, roots[i]);
    for (size_t i = 0; i < count; i++)
        find_seen(&n, roots[i]);
    for (size_t i = 0; i < count; i++)
        mark(&n, roots[i]);
}

/* ---- results ---- */

/* A copy of LIST that shares nothing but values with it; series that share tags do so in the copy, too. */
static struct series_list copy_list(struct arena *arena, const struct series_list *list)
{
    struct series_list copy = {.items = ARENA_ARRAY(arena, struct series *, list->count), .count = list->count};

    copy.cap = list->count;
    for (size_t i = 0; i < list->count; i++) {
        struct tags *tags = list->items[i]->tags;

        copy.items[i] = ARENA_NEW(arena, struct series);
        *copy.items[i] = *list->items[i];
        if (tags->twin == NULL)
            tags->twin = tags_copy(arena, tags);
        copy.items[i]->tags = tags->twin;
    }
    for (size_t i = 0; i < list->count; i++)
        list->items[i]->tags->twin = NULL;
    return copy;
}

bool common_get(struct eval *ev, const struct context *ctx, const struct node *node, struct value *out)
{
    if (node->common == NULL)
        return false;
    for (struct common_result *r = node->common->results; r != NULL; r = r->next) {
        if (r->from_s == ctx->from_s && r->until_s == ctx->until_s && r->x_files_factor == ctx->x_files_factor) {
            *out = r->value;
            out->list = copy_list(ev->arena, &r->value.list);
            return true;
        }
    }
    return false;
}

void common_put(struct eval *ev, const struct context *ctx, const struct node *node, const struct value *value)
{
    struct common_result *r;

    if (node->common == NULL || value->kind != VALUE_LIST)
        return;
    r = ARENA_NEW(ev->arena, struct common_result);
    *r = (struct common_result){ctx->from_s, ctx->until_s, ctx->x_files_factor, *value, node->common->results};
    r->value.list = copy_list(ev->arena, &value->list);
    node->common->results = r;
}
