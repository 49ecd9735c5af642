/* Functions that sort series into groups by parts of their names or by tags, and make one series of
 * each group. Groups come out in the order in which their first series came in. */
#include "query/fn.h"

/* One series for each group, named by its key. */
static int combine_groups(struct fn_call *call, const struct series_groups *groups, struct span callback,
                          struct series_list *out)
{
    for (size_t i = 0; i < groups->count; i++) {
        struct series *s;
        int rc = fn_callback(call, callback, &groups->items[i].list, &s);

        if (rc < 0)
            return rc;
        s->name = groups->items[i].key;
        series_list_add(call->arena, out, s);
    }
    return 0;
}

static int group_by_keys(struct fn_call *call, size_t first_node, struct span callback, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct series_groups groups = {0};
    struct series_list result = {0};
    int rc = 0;

    for (size_t i = 0; i < list->count; i++) {
        struct span key;

        rc = fn_node_key(call, list->items[i], first_node, &key);
        if (rc < 0)
            return rc;
        series_list_add(call->arena, &series_groups_at(call->arena, &groups, key)->list, list->items[i]);
    }
    rc = combine_groups(call, &groups, callback, &result);
    return rc < 0 ? rc : fn_return(out, result);
}

static int group_by_node(struct fn_call *call, struct value *out)
{
    struct span callback = fn_text(call, 2, "average");

    call->args_count = 2; /* only nodeNum makes the key */
    return group_by_keys(call, 1, callback, out);
}

static int group_by_nodes(struct fn_call *call, struct value *out)
{
    return group_by_keys(call, 2, fn_text(call, 1, NULL), out);
}

/* ---- groupByTags ---- */

/* The "name" tag that all series share, or the callback. */
static struct span common_name(struct fn_call *call, struct span callback)
{
    const struct series_list *list = fn_list(call, 0);
    const struct span *first = NULL;

    for (size_t i = 0; i < list->count; i++) {
        const struct span *name = tags_get(series_tags(call->arena, list->items[i]), SPAN_LIT("name"));

        if (name == NULL || (first != NULL && !span_eq(*name, *first)))
            return callback;
        first = name;
    }
    return first == NULL ? callback : *first;
}

static void sort_texts(struct span *texts, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct span text = texts[i];
        size_t at = i;

        for (; at > 0 && span_cmp(texts[at - 1], text) > 0; at--)
            texts[at] = texts[at - 1];
        texts[at] = text;
    }
}

/* "name;a=1;b=2", tags in the order of their names. */
static int tags_key(struct fn_call *call, const struct series *s, struct span name, struct span *out)
{
    const struct tags *tags = series_tags(call->arena, s);
    struct span *texts = ARENA_ARRAY(call->arena, struct span, call->args_count);
    size_t count = 0;

    for (size_t i = 2; i < call->args_count; i++) {
        struct span tag = fn_text(call, i, "");
        const struct span *value = tags_get(tags, tag);

        if (value == NULL || value->len == 0)
            return fn_fail(call, "\"%.*s\" has no tag \"%.*s\"", (int)(s->name.len < 100 ? s->name.len : 100),
                           s->name.ptr, (int)(tag.len < 60 ? tag.len : 60), tag.ptr);
        if (span_eq(tag, SPAN_LIT("name")))
            name = *value;
        else
            texts[count++] = arena_join(call->arena, tag, SPAN_LIT("="), *value);
    }
    sort_texts(texts, count);
    for (size_t i = 0; i < count; i++)
        name = arena_join(call->arena, name, SPAN_LIT(";"), texts[i]);
    *out = name;
    return 0;
}

static int group_by_tags(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct span callback = fn_text(call, 1, NULL);
    struct span name = common_name(call, callback);
    struct series_groups groups = {0};
    struct series_list result = {0};
    int rc = 0;

    if (call->args_count < 3 || !fn_given(call, 2))
        return fn_fail(call, "groupByTags(): no tags specified");
    for (size_t i = 0; i < list->count; i++) {
        struct span key;

        rc = tags_key(call, list->items[i], name, &key);
        if (rc < 0)
            return rc;
        series_list_add(call->arena, &series_groups_at(call->arena, &groups, key)->list, list->items[i]);
    }
    rc = combine_groups(call, &groups, callback, &result);
    for (size_t i = 0; rc == 0 && i < result.count; i++) {
        struct series *s = result.items[i];

        s->path_expression = s->name;
        if (!series_parse_tags(call->arena, s, s->name))
            rc = fn_fail(call, "the name of a group is no tagged name: %.*s",
                         (int)(s->name.len < 150 ? s->name.len : 150), s->name.ptr);
    }
    return rc < 0 ? rc : fn_return(out, result);
}

/* ---- wildcards ---- */

static bool is_position(const struct fn_call *call, size_t first, int64_t n)
{
    for (size_t i = first; i < call->args_count; i++) {
        if (fn_given(call, i) && fn_int(call, i, 0) == n)
            return true;
    }
    return false;
}

/* The name without the parts at the given positions. */
static struct span without_positions(struct fn_call *call, size_t first, struct span name)
{
    char *to = arena_alloc(call->arena, name.len + 1);
    size_t len = 0;
    size_t at = 0;

    for (int64_t n = 0; at <= name.len; n++) {
        struct span part = span_cut(name, at, name.len);

        part.len = span_find(part, '.');
        at += part.len + 1;
        if (is_position(call, first, n))
            continue;
        if (part.len > 0)
            memcpy(to + len, part.ptr, part.len);
        len += part.len;
        to[len++] = '.';
    }
    return span_of(to, len > 0 ? len - 1 : 0);
}

static int with_wildcards(struct fn_call *call, const struct aggregator *agg, struct span func, size_t first,
                          struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct series_groups groups = {0};
    struct series_list result = {0};

    if (agg == NULL)
        return ERR_INPUT;
    for (size_t i = 0; i < list->count; i++) {
        struct span key = without_positions(call, first, list->items[i]->name);

        series_list_add(call->arena, &series_groups_at(call->arena, &groups, key)->list, list->items[i]);
    }
    for (size_t i = 0; i < groups.count; i++) {
        struct series *s;
        int rc = fn_aggregate(call, &groups.items[i].list, agg, func, call->ctx->x_files_factor, &s);

        if (rc < 0)
            return rc;
        s->name = groups.items[i].key;
        series_list_add(call->arena, &result, s);
    }
    return fn_return(out, result);
}

static int aggregate_with_wildcards(struct fn_call *call, struct value *out)
{
    return with_wildcards(call, fn_aggregator(call, 1, NULL), fn_text(call, 1, NULL), 2, out);
}

static int sum_with_wildcards(struct fn_call *call, struct value *out)
{
    return with_wildcards(call, aggregator_find(SPAN_LIT("sum")), SPAN_LIT("sum"), 1, out);
}

static int average_with_wildcards(struct fn_call *call, struct value *out)
{
    return with_wildcards(call, aggregator_find(SPAN_LIT("average")), SPAN_LIT("average"), 1, out);
}

static int multiply_with_wildcards(struct fn_call *call, struct value *out)
{
    return with_wildcards(call, aggregator_find(SPAN_LIT("multiply")), SPAN_LIT("multiply"), 1, out);
}

/* ---- map and reduce ---- */

static int map_series(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct series_groups groups = {0};

    for (size_t i = 0; i < list->count; i++) {
        struct span key;
        int rc = fn_node_key(call, list->items[i], 1, &key);

        if (rc < 0)
            return rc;
        series_list_add(call->arena, &series_groups_at(call->arena, &groups, key)->list, list->items[i]);
    }
    *out = (struct value){.kind = VALUE_LISTS, .lists_count = groups.count};
    out->lists = ARENA_ARRAY(call->arena, struct series_list, groups.count);
    for (size_t i = 0; i < groups.count; i++)
        out->lists[i] = groups.items[i].list;
    return 0;
}

/* Where part NODE of NAME begins and ends; false when it has none. */
static bool find_part(struct span name, int64_t node, size_t *from, size_t *to)
{
    int64_t parts = 1;

    for (size_t i = 0; i < name.len; i++)
        parts += name.ptr[i] == '.';
    if (node < 0)
        node += parts;
    if (node < 0 || node >= parts)
        return false;
    *from = 0;
    for (; node > 0; node--)
        *from += span_find(span_cut(name, *from, name.len), '.') + 1;
    *to = *from + span_find(span_cut(name, *from, name.len), '.');
    return true;
}

/* Puts S where it belongs: into the group of the text before the part, at the place of its matcher. */
static int reduce_one(struct fn_call *call, struct series *s, struct series_groups *groups)
{
    size_t matchers = call->args_count - 3;
    struct series_group *group;
    size_t from, to, place;
    struct span prefix;

    if (!find_part(s->name, fn_int(call, 2, 0), &from, &to))
        return fn_fail(call, "\"%.*s\" has no part %lld", (int)(s->name.len < 100 ? s->name.len : 100), s->name.ptr,
                       (long long)fn_int(call, 2, 0));
    for (place = 0; place < matchers; place++) {
        if (span_eq(fn_text(call, 3 + place, ""), span_cut(s->name, from, to)))
            break;
    }
    if (place == matchers)
        return 0;
    prefix = span_cut(s->name, 0, from > 0 ? from - 1 : 0);
    group = series_groups_at(call->arena, groups,
                             arena_join(call->arena, prefix, SPAN_LIT(".reduce."), fn_text(call, 1, "")));
    if (group->list.count == 0) {
        group->list.items = ARENA_ARRAY(call->arena, struct series *, matchers);
        group->list.count = group->list.cap = matchers;
    }
    group->list.items[place] = s;
    return 0;
}

static int reduce_series(struct fn_call *call, struct value *out)
{
    struct series_groups groups = {0};
    struct series_list result = {0};
    int rc = 0;

    for (size_t l = 0; l < call->args[0].lists_count; l++) {
        for (size_t i = 0; rc == 0 && i < call->args[0].lists[l].count; i++)
            rc = reduce_one(call, call->args[0].lists[l].items[i], &groups);
    }
    for (size_t g = 0; rc == 0 && g < groups.count; g++) {
        struct series *s = NULL;

        rc = fn_call_with(call, fn_text(call, 1, ""), &groups.items[g].list, &s);
        if (rc == 0) {
            s->name = groups.items[g].key;
            series_list_add(call->arena, &result, s);
        }
    }
    return rc < 0 ? rc : fn_return(out, result);
}

/* ---- applyByNode ---- */

static struct span replaced(struct fn_call *call, struct span text, struct span with)
{
    struct span result = SPAN_LIT("");

    for (;;) {
        size_t at = span_find(text, '%');

        if (at == text.len)
            return arena_join(call->arena, result, text, SPAN_LIT(""));
        result = arena_join(call->arena, result, span_cut(text, 0, at), with);
        text = span_cut(text, at + 1, text.len);
    }
}

/* The first N + 1 parts of NAME; fewer when it has fewer. */
static struct span prefix_of(struct span name, int64_t n)
{
    size_t from, to;

    if (n < 0)
        return find_part(name, n + 1, &from, &to) && n != -1 && from > 0 ? span_cut(name, 0, from - 1) : SPAN_LIT("");
    return find_part(name, n, &from, &to) ? span_cut(name, 0, to) : name;
}

static int apply_by_node(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct series_groups seen = {0};
    struct series_list result = {0};
    struct span *prefixes;
    int rc = 0;

    for (size_t i = 0; i < list->count; i++) {
        size_t from, to;

        if (!find_part(list->items[i]->name, fn_int(call, 1, 0), &from, &to))
            return fn_fail(call, "\"%.*s\" has no part %lld",
                           (int)(list->items[i]->name.len < 100 ? list->items[i]->name.len : 100),
                           list->items[i]->name.ptr, (long long)fn_int(call, 1, 0));
        series_groups_at(call->arena, &seen, prefix_of(list->items[i]->name, fn_int(call, 1, 0)));
    }
    prefixes = ARENA_ARRAY(call->arena, struct span, seen.count);
    for (size_t i = 0; i < seen.count; i++)
        prefixes[i] = seen.items[i].key;
    sort_texts(prefixes, seen.count);
    for (size_t i = 0; rc == 0 && i < seen.count; i++) {
        struct context ctx = *call->ctx;
        size_t k = result.count;

        rc = eval_target(call->ev, &ctx, replaced(call, fn_text(call, 2, ""), prefixes[i]), EVAL_PREFIX, &result);
        for (; k < result.count; k++) {
            struct series *s = result.items[k];

            if (fn_given(call, 3) && fn_text(call, 3, "").len > 0)
                s->name = replaced(call, fn_text(call, 3, ""), prefixes[i]);
            s->path_expression = prefixes[i];
            s->start_s = list->items[list->count - 1]->start_s;
            s->end_s = list->items[list->count - 1]->end_s;
        }
    }
    return rc < 0 ? rc : fn_return(out, result);
}

static const struct fn_def grouping[] = {
    {.name = "aggregateWithWildcards",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_PARAM("func", FN_TYPE_AGG_FUNC), FN_MANY("position", FN_TYPE_NODE)},
     .brief = "Combines series that differ only in the parts of their names at the given positions.",
     .kind = FN_ANY,
     .run = aggregate_with_wildcards},
    {.name = "applyByNode",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_PARAM("nodeNum", FN_TYPE_NODE),
                FN_PARAM("templateFunction", FN_TYPE_STRING), FN_OPTIONAL("newName", FN_TYPE_STRING)},
     .brief = "Evaluates a template for each different beginning of the names; % in it stands for that beginning.",
     .kind = FN_ANY,
     .run = apply_by_node},
    {.name = "averageSeriesWithWildcards",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_MANY("position", FN_TYPE_NODE)},
     .brief = "The average of series that differ only in the parts at the given positions.",
     .kind = FN_ANY,
     .run = average_with_wildcards,
     .aggregator = true},
    {.name = "groupByNode",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_PARAM("nodeNum", FN_TYPE_NODE_OR_TAG),
                FN_DEFAULT("callback", FN_TYPE_AGG_OR_SERIES_FUNC, "\"average\"")},
     .brief = "Combines series that have the same part (or tag) in their name.",
     .kind = FN_ANY,
     .run = group_by_node},
    {.name = "groupByNodes",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_PARAM("callback", FN_TYPE_AGG_OR_SERIES_FUNC),
                FN_MANY("nodes", FN_TYPE_NODE_OR_TAG)},
     .brief = "Combines series that have the same parts (or tags) in their names.",
     .kind = FN_ANY,
     .run = group_by_nodes},
    {.name = "groupByTags",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_PARAM("callback", FN_TYPE_AGG_OR_SERIES_FUNC),
                FN_MANY_REQUIRED("tags", FN_TYPE_TAG)},
     .brief = "Combines series that have the same values of the given tags.",
     .kind = FN_ANY,
     .run = group_by_tags},
    {.name = "map",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_MANY_REQUIRED("mapNodes", FN_TYPE_NODE_OR_TAG)},
     .brief = "Short for mapSeries.",
     .kind = FN_ANY,
     .run = map_series},
    {.name = "mapSeries",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_MANY_REQUIRED("mapNodes", FN_TYPE_NODE_OR_TAG)},
     .brief = "Makes a list of lists, by parts of the names; for reduceSeries.",
     .kind = FN_ANY,
     .run = map_series},
    {.name = "multiplySeriesWithWildcards",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_MANY("position", FN_TYPE_NODE)},
     .brief = "The product of series that differ only in the parts at the given positions.",
     .kind = FN_ANY,
     .run = multiply_with_wildcards,
     .aggregator = true},
    {.name = "reduce",
     .group = "Combine",
     .params = {FN_PARAM("seriesLists", FN_TYPE_SERIES_LISTS), FN_PARAM("reduceFunction", FN_TYPE_STRING),
                FN_PARAM("reduceNode", FN_TYPE_NODE), FN_MANY_REQUIRED("reduceMatchers", FN_TYPE_STRING)},
     .brief = "Short for reduceSeries.",
     .kind = FN_ANY,
     .run = reduce_series},
    {.name = "reduceSeries",
     .group = "Combine",
     .params = {FN_PARAM("seriesLists", FN_TYPE_SERIES_LISTS), FN_PARAM("reduceFunction", FN_TYPE_STRING),
                FN_PARAM("reduceNode", FN_TYPE_NODE), FN_MANY_REQUIRED("reduceMatchers", FN_TYPE_STRING)},
     .brief = "Calls a function for each list of mapSeries with the series that match, as its arguments in order.",
     .kind = FN_ANY,
     .run = reduce_series},
    {.name = "sumSeriesWithWildcards",
     .group = "Combine",
     .params = {FN_SERIES("seriesList"), FN_MANY("position", FN_TYPE_NODE)},
     .brief = "The sum of series that differ only in the parts at the given positions.",
     .kind = FN_ANY,
     .run = sum_with_wildcards,
     .aggregator = true},
};
const struct fn_family fn_group = FN_FAMILY(grouping);
