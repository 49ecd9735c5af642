#include "query/series_list.h"

#include "query/consolidate.h"

#include <xxhash.h>

struct series *series_new(struct arena *arena, struct span name, int64_t start_s, int64_t end_s, int64_t step_s)
{
    struct series *s = ARENA_NEW(arena, struct series);

    s->name = name;
    s->path_expression = name;
    s->start_s = start_s;
    s->end_s = end_s;
    s->step_s = step_s;
    s->values_per_point = 1;
    s->consolidation = SPAN_LIT("average");
    s->tags = ARENA_NEW(arena, struct tags);
    s->tags->source = name;
    s->style.alpha = s->style.line_width = s->style.dashed = NAN;
    return s;
}

struct series *series_copy(struct arena *arena, const struct series *s, struct span name)
{
    struct series *copy = ARENA_NEW(arena, struct series);

    *copy = *s;
    copy->name = name;
    copy->path_expression = name;
    copy->values_per_point = 1;
    return copy;
}

double *series_room(struct arena *arena, size_t n)
{
    return arena_alloc(arena, n > SIZE_MAX / sizeof(double) ? SIZE_MAX : n * sizeof(double));
}

int series_points(struct arena *arena, const struct series *s, const double **points, size_t *count, struct err *err)
{
    enum consolidation method;
    double *out;

    *points = s->values;
    *count = s->count;
    if (s->values_per_point <= 1)
        return 0;
    if (!consolidation_parse(s->consolidation, &method))
        return err_set(err, ERR_INPUT, "Invalid consolidation function: '%.*s'",
                       (int)(s->consolidation.len < 60 ? s->consolidation.len : 60), s->consolidation.ptr);
    *count = consolidated_count(s->count, s->values_per_point);
    out = series_room(arena, *count);
    consolidate(method, s->values, s->count, s->values_per_point, s->x_files_factor, out);
    *points = out;
    return 0;
}

/* ---- tags ---- */

struct tags *tags_copy(struct arena *arena, const struct tags *tags)
{
    struct tags *copy = ARENA_NEW(arena, struct tags);

    *copy = *tags;
    copy->twin = NULL;
    copy->cap = tags->count;
    copy->items = ARENA_ARRAY(arena, struct tag, tags->count);
    if (tags->count > 0)
        memcpy(copy->items, tags->items, tags->count * sizeof(*tags->items));
    return copy;
}

void tags_set(struct arena *arena, struct tags *tags, struct span key, struct span value)
{
    for (size_t i = 0; i < tags->count; i++) {
        if (span_eq(tags->items[i].key, key)) {
            tags->items[i].value = value;
            return;
        }
    }
    if (tags->count == tags->cap) {
        size_t cap = tags->cap == 0 ? 4 : tags->cap * 2;

        tags->items = arena_grow(arena, tags->items, tags->count, cap, sizeof(*tags->items));
        tags->cap = cap;
    }
    tags->items[tags->count++] = (struct tag){key, value};
}

const struct span *tags_get(const struct tags *tags, struct span key)
{
    for (size_t i = 0; i < tags->count; i++) {
        if (span_eq(tags->items[i].key, key))
            return &tags->items[i].value;
    }
    return NULL;
}

/* Whether NAME is "word(something)": the name of a function's result, which holds no tags. */
static bool is_function_name(struct span name)
{
    size_t letters = 0;

    while (letters < name.len && (((name.ptr[letters] | 0x20) >= 'a' && (name.ptr[letters] | 0x20) <= 'z')))
        letters++;
    return letters > 0 && letters + 2 < name.len && name.ptr[letters] == '(' && name.ptr[name.len - 1] == ')';
}

static bool tag_is_valid(struct span key, struct span value)
{
    for (size_t i = 0; i < key.len; i++) {
        if (strchr(";!^=", key.ptr[i]) != NULL)
            return false;
    }
    return key.len > 0 && value.len > 0 && value.ptr[0] != '~';
}

/* "m;a=1;b=2" -> a, b and name; false when it is not of that form. */
static bool read_tags(struct arena *arena, struct tags *tags, struct span source)
{
    size_t cut = span_find(source, ';');
    struct span metric = span_cut(source, 0, cut);
    struct span rest = span_cut(source, cut + 1, source.len);

    while (cut < source.len) {
        struct span segment = span_cut(rest, 0, span_find(rest, ';'));
        size_t equal = span_find(segment, '=');
        struct span key = span_cut(segment, 0, equal);
        struct span value = span_cut(segment, equal + 1, segment.len);

        if (!tag_is_valid(key, value))
            return false;
        tags_set(arena, tags, key, value);
        if (segment.len == rest.len)
            break;
        rest = span_cut(rest, segment.len + 1, rest.len);
    }
    while (metric.len > 0 && metric.ptr[0] == '~')
        metric = span_cut(metric, 1, metric.len);
    if (metric.len == 0)
        return false;
    tags_set(arena, tags, SPAN_LIT("name"), metric);
    return true;
}

struct tags *series_tags(struct arena *arena, const struct series *s)
{
    struct tags *tags = s->tags;

    if (tags->ready)
        return tags;
    tags->ready = true;
    if (is_function_name(tags->source) || !read_tags(arena, tags, tags->source)) {
        tags->count = 0;
        tags_set(arena, tags, SPAN_LIT("name"), tags->source);
    }
    return tags;
}

bool series_parse_tags(struct arena *arena, struct series *s, struct span name)
{
    s->tags = ARENA_NEW(arena, struct tags);
    s->tags->ready = true;
    return read_tags(arena, s->tags, name);
}

void series_set_tag(struct arena *arena, const struct series *s, const char *key, struct span value)
{
    tags_set(arena, series_tags(arena, s), span_str(key), value);
}

/* ---- lists ---- */

void series_list_add(struct arena *arena, struct series_list *list, struct series *s)
{
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 8 : list->cap * 2;

        list->items = arena_grow(arena, list->items, list->count, cap, sizeof(*list->items));
        list->cap = cap;
    }
    list->items[list->count++] = s;
}

void series_list_add_all(struct arena *arena, struct series_list *list, const struct series_list *more)
{
    for (size_t i = 0; i < more->count; i++)
        series_list_add(arena, list, more->items[i]);
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* The least common multiple of the steps; 0 when it is beyond any range of time. */
static int64_t common_step(const struct series_list *list)
{
    int64_t step = list->items[0]->step_s;

    for (size_t i = 1; i < list->count; i++) {
        int64_t other = list->items[i]->step_s;

        if (other == step)
            continue;
        if (other <= 0 || step <= 0)
            return 0;
        if (__builtin_mul_overflow(step / common_divisor(step, other), other, &step))
            return 0;
    }
    return step;
}

int series_list_normalise(const struct series_list *list, struct normalised *out, struct err *err)
{
    out->step_s = common_step(list);
    if (out->step_s <= 0)
        return err_set(err, ERR_INPUT, "The steps of these series have no common multiple");
    out->start_s = INT64_MAX;
    out->end_s = INT64_MIN;
    for (size_t i = 0; i < list->count; i++) {
        struct series *s = list->items[i];

        s->values_per_point = out->step_s / s->step_s;
        out->start_s = s->start_s < out->start_s ? s->start_s : out->start_s;
        out->end_s = s->end_s > out->end_s ? s->end_s : out->end_s;
    }
    out->end_s -= (out->end_s - out->start_s) % out->step_s;
    return 0;
}

struct span series_list_expressions(struct arena *arena, const struct series_list *list)
{
    struct series_groups seen = {0};
    size_t len = 0;
    char *to;
    char *at;

    for (size_t i = 0; i < list->count; i++) {
        size_t before = seen.count;

        series_groups_at(arena, &seen, list->items[i]->path_expression);
        if (seen.count > before)
            len += list->items[i]->path_expression.len + 1;
    }
    if (seen.count == 1)
        return seen.items[0].key;
    to = at = arena_alloc(arena, len);
    for (size_t i = 0; i < seen.count; i++) {
        if (i > 0)
            *at++ = ',';
        if (seen.items[i].key.len > 0)
            memcpy(at, seen.items[i].key.ptr, seen.items[i].key.len);
        at += seen.items[i].key.len;
    }
    return span_of(to, (size_t)(at - to));
}

/* ---- groups: an array in order, and a hash table of places in it ---- */

static uint32_t *group_slot(const struct series_groups *groups, struct span key)
{
    size_t at = XXH3_64bits(key.ptr, key.len) & (groups->slots_count - 1);

    while (groups->slots[at] != 0 && !span_eq(groups->items[groups->slots[at] - 1].key, key))
        at = (at + 1) & (groups->slots_count - 1);
    return &groups->slots[at];
}

static void groups_grow(struct arena *arena, struct series_groups *groups)
{
    size_t cap = groups->cap == 0 ? 8 : groups->cap * 2;

    groups->items = arena_grow(arena, groups->items, groups->count, cap, sizeof(*groups->items));
    groups->cap = cap;
    groups->slots_count = cap * 2;
    groups->slots = ARENA_ARRAY(arena, uint32_t, groups->slots_count);
    for (size_t i = 0; i < groups->count; i++)
        *group_slot(groups, groups->items[i].key) = (uint32_t)i + 1;
}

struct series_group *series_groups_find(const struct series_groups *groups, struct span key)
{
    uint32_t slot = groups->slots_count == 0 ? 0 : *group_slot(groups, key);

    return slot == 0 ? NULL : &groups->items[slot - 1];
}

struct series_group *series_groups_at(struct arena *arena, struct series_groups *groups, struct span key)
{
    struct series_group *found = series_groups_find(groups, key);

    if (found != NULL)
        return found;
    if (groups->count == groups->cap)
        groups_grow(arena, groups);
    groups->items[groups->count] = (struct series_group){.key = key};
    groups->count++;
    *group_slot(groups, key) = (uint32_t)groups->count;
    return &groups->items[groups->count - 1];
}
