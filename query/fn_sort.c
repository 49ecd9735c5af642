/* Functions that sort series, and those that keep the first few of the sorted ones.
 *
 * Sorting is stable in both directions: series that compare equal keep their order. A series without
 * any value sorts as minus infinity. */
#include "query/fn.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

struct keyed {
    double key;
    struct span text;
    size_t place;
    struct series *s;
};

static int by_key(const void *a, const void *b)
{
    const struct keyed *x = a;
    const struct keyed *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

static int by_key_down(const void *a, const void *b)
{
    const struct keyed *x = a;
    const struct keyed *y = b;

    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

static int by_text(const void *a, const void *b)
{
    const struct keyed *x = a;
    const struct keyed *y = b;
    int order = span_cmp(x->text, y->text);

    return order != 0 ? order : x->place < y->place ? -1 : 1;
}

static int by_text_down(const void *a, const void *b)
{
    const struct keyed *x = a;
    const struct keyed *y = b;
    int order = span_cmp(y->text, x->text);

    return order != 0 ? order : x->place < y->place ? -1 : 1;
}

static struct series_list sorted(struct fn_call *call, struct keyed *keys, size_t count,
                                 int (*order)(const void *, const void *))
{
    struct series_list result = {0};

    if (count > 0)
        qsort(keys, count, sizeof(*keys), order);
    for (size_t i = 0; i < count; i++)
        series_list_add(call->arena, &result, keys[i].s);
    return result;
}

/* LIST sorted by an aggregate. */
static int sort_by_aggregate(struct fn_call *call, const struct series_list *list, struct span func, bool reverse,
                             struct series_list *out)
{
    const struct aggregator *agg = aggregator_find(func);
    struct keyed *keys = ARENA_ARRAY(call->arena, struct keyed, list->count);

    if (agg == NULL)
        return fn_fail(call, "Unsupported aggregation function: %.*s", (int)(func.len < 60 ? func.len : 60), func.ptr);
    for (size_t i = 0; i < list->count; i++) {
        keys[i] = (struct keyed){.place = i, .s = list->items[i]};
        if (fn_aggregate_of(call, list->items[i], agg, &keys[i].key) < 0)
            return ERR_INPUT;
        if (isnan(keys[i].key))
            keys[i].key = -INFINITY;
    }
    *out = sorted(call, keys, list->count, reverse ? by_key_down : by_key);
    return 0;
}

/* Python's list[:n]: a negative n leaves out so many at the end. */
static struct series_list first_of(struct series_list list, int64_t n)
{
    if (n < 0)
        n = (int64_t)list.count + n > 0 ? (int64_t)list.count + n : 0;
    if ((uint64_t)n < list.count)
        list.count = (size_t)n;
    return list;
}

static int sort_by(struct fn_call *call, struct value *out)
{
    struct series_list result;
    int rc = sort_by_aggregate(call, fn_list(call, 0), fn_text(call, 1, "average"), fn_bool(call, 2, false), &result);

    return rc < 0 ? rc : fn_return(out, result);
}

static int sort_by_total(struct fn_call *call, struct value *out)
{
    struct series_list result;
    int rc = sort_by_aggregate(call, fn_list(call, 0), SPAN_LIT("sum"), true, &result);

    return rc < 0 ? rc : fn_return(out, result);
}

static int sort_by_maxima(struct fn_call *call, struct value *out)
{
    struct series_list result;
    int rc = sort_by_aggregate(call, fn_list(call, 0), SPAN_LIT("max"), true, &result);

    return rc < 0 ? rc : fn_return(out, result);
}

/* Series that never rise above 0 are left out. */
static int sort_by_minima(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    const struct aggregator *max = aggregator_find(SPAN_LIT("max"));
    struct series_list positive = {0};
    struct series_list result;

    for (size_t i = 0; i < list->count; i++) {
        double v;

        if (fn_aggregate_of(call, list->items[i], max, &v) < 0)
            return ERR_INPUT;
        if (v > 0)
            series_list_add(call->arena, &positive, list->items[i]);
    }
    if (sort_by_aggregate(call, &positive, SPAN_LIT("min"), false, &result) < 0)
        return ERR_INPUT;
    return fn_return(out, result);
}

/* Runs of digits are filled up with zeros to ten places, so that they compare as numbers. */
static struct span natural_key(struct fn_call *call, struct span name)
{
    char *to = arena_alloc(call->arena, name.len * 11);
    size_t len = 0;

    for (size_t i = 0; i < name.len;) {
        size_t end = i;

        while (end < name.len && isdigit((unsigned char)name.ptr[end]))
            end++;
        if (end == i) {
            to[len++] = name.ptr[i++];
            continue;
        }
        while (i + 1 < end && name.ptr[i] == '0')
            i++;
        for (size_t pad = end - i; pad < 10; pad++)
            to[len++] = '0';
        while (i < end)
            to[len++] = name.ptr[i++];
    }
    return span_of(to, len);
}

static int sort_by_name(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct keyed *keys = ARENA_ARRAY(call->arena, struct keyed, list->count);
    bool natural = fn_bool(call, 1, false);

    for (size_t i = 0; i < list->count; i++) {
        struct span name = list->items[i]->name;

        keys[i] = (struct keyed){.text = natural ? natural_key(call, name) : name, .place = i, .s = list->items[i]};
    }
    return fn_return(out, sorted(call, keys, list->count, fn_bool(call, 2, false) ? by_text_down : by_text));
}

/* ---- the first few ---- */

static int limit(struct fn_call *call, struct value *out)
{
    return fn_return(out, first_of(*fn_list(call, 0), fn_int(call, 1, 0)));
}

static int ranked(struct fn_call *call, struct span func, bool reverse, struct value *out)
{
    struct series_list result;
    int rc = sort_by_aggregate(call, fn_list(call, 0), func, reverse, &result);

    return rc < 0 ? rc : fn_return(out, first_of(result, (int64_t)fn_float(call, 1, 1)));
}

static int highest(struct fn_call *call, struct value *out)
{
    return ranked(call, fn_text(call, 2, "average"), true, out);
}

static int lowest(struct fn_call *call, struct value *out)
{
    return ranked(call, fn_text(call, 2, "average"), false, out);
}

static int highest_average(struct fn_call *call, struct value *out)
{
    return ranked(call, SPAN_LIT("average"), true, out);
}

static int highest_current(struct fn_call *call, struct value *out)
{
    return ranked(call, SPAN_LIT("current"), true, out);
}

static int highest_max(struct fn_call *call, struct value *out)
{
    return ranked(call, SPAN_LIT("max"), true, out);
}

static int lowest_average(struct fn_call *call, struct value *out)
{
    return ranked(call, SPAN_LIT("average"), false, out);
}

static int lowest_current(struct fn_call *call, struct value *out)
{
    return ranked(call, SPAN_LIT("current"), false, out);
}

static int highest_min(struct fn_call *call, struct value *out)
{
    return ranked(call, SPAN_LIT("min"), true, out);
}

static int lowest_max(struct fn_call *call, struct value *out)
{
    return ranked(call, SPAN_LIT("max"), false, out);
}

static int lowest_min(struct fn_call *call, struct value *out)
{
    return ranked(call, SPAN_LIT("min"), false, out);
}

/* By variance; series without values are left out. */
static int most_deviant(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct keyed *keys = ARENA_ARRAY(call->arena, struct keyed, list->count);
    size_t count = 0;

    for (size_t i = 0; i < list->count; i++) {
        double deviation;

        if (fn_aggregate_of(call, list->items[i], aggregator_find(SPAN_LIT("stddev")), &deviation) < 0)
            return ERR_INPUT;
        if (!isnan(deviation))
            keys[count++] = (struct keyed){.key = deviation * deviation, .place = i, .s = list->items[i]};
    }
    return fn_return(out, first_of(sorted(call, keys, count, by_key_down), fn_int(call, 1, 0)));
}

static const struct fn_def sorts[] = {
    {.name = "highest",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"),
                {.name = "n", .type = FN_TYPE_INTEGER, FN_REQUIRED, .lenient = true, .can_be_missing = true},
                FN_DEFAULT("func", FN_TYPE_AGG_FUNC, "\"average\"")},
     .brief = "The n series with the highest average, or another aggregate.",
     .kind = FN_ANY,
     .run = highest},
    {.name = "highestAverage",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), {.name = "n", .type = FN_TYPE_INTEGER, FN_REQUIRED, .lenient = true}},
     .brief = "The n series with the highest average.",
     .kind = FN_ANY,
     .run = highest_average},
    {.name = "highestCurrent",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), {.name = "n", .type = FN_TYPE_INTEGER, FN_REQUIRED, .lenient = true}},
     .brief = "The n series with the highest last value.",
     .kind = FN_ANY,
     .run = highest_current},
    {.name = "highestMax",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), {.name = "n", .type = FN_TYPE_INTEGER, FN_REQUIRED, .lenient = true}},
     .brief = "The n series with the highest maximum.",
     .kind = FN_ANY,
     .run = highest_max},
    {.name = "highestMin",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), {.name = "n", .type = FN_TYPE_INTEGER, FN_REQUIRED, .lenient = true}},
     .brief = "The n series with the highest minimum.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = highest_min},
    {.name = "limit",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_INTEGER)},
     .brief = "The first n series.",
     .kind = FN_ANY,
     .run = limit},
    {.name = "lowest",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"),
                {.name = "n", .type = FN_TYPE_INTEGER, FN_REQUIRED, .lenient = true, .can_be_missing = true},
                FN_DEFAULT("func", FN_TYPE_AGG_FUNC, "\"average\"")},
     .brief = "The n series with the lowest average, or another aggregate.",
     .kind = FN_ANY,
     .run = lowest},
    {.name = "lowestAverage",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), {.name = "n", .type = FN_TYPE_INTEGER, FN_REQUIRED, .lenient = true}},
     .brief = "The n series with the lowest average.",
     .kind = FN_ANY,
     .run = lowest_average},
    {.name = "lowestCurrent",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), {.name = "n", .type = FN_TYPE_INTEGER, FN_REQUIRED, .lenient = true}},
     .brief = "The n series with the lowest last value.",
     .kind = FN_ANY,
     .run = lowest_current},
    {.name = "lowestMax",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), {.name = "n", .type = FN_TYPE_INTEGER, FN_REQUIRED, .lenient = true}},
     .brief = "The n series with the lowest maximum.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = lowest_max},
    {.name = "lowestMin",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), {.name = "n", .type = FN_TYPE_INTEGER, FN_REQUIRED, .lenient = true}},
     .brief = "The n series with the lowest minimum.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = lowest_min},
    {.name = "mostDeviant",
     .group = "Filter Series",
     .params = {FN_SERIES("seriesList"), FN_PARAM("n", FN_TYPE_INTEGER)},
     .brief = "The n series that vary most.",
     .kind = FN_ANY,
     .run = most_deviant},
    {.name = "sortBy",
     .group = "Sorting",
     .params = {FN_SERIES("seriesList"), FN_DEFAULT("func", FN_TYPE_AGG_FUNC, "\"average\""),
                FN_DEFAULT("reverse", FN_TYPE_BOOLEAN, "false")},
     .brief = "Sorts by the average or another aggregate.",
     .kind = FN_ANY,
     .run = sort_by},
    {.name = "sortByMaxima",
     .group = "Sorting",
     .params = {FN_SERIES("seriesList")},
     .brief = "Sorts by the maximum, the largest first.",
     .kind = FN_ANY,
     .run = sort_by_maxima},
    {.name = "sortByMinima",
     .group = "Sorting",
     .params = {FN_SERIES("seriesList")},
     .brief = "Sorts by the minimum, the smallest first; series that are never above 0 are left out.",
     .kind = FN_ANY,
     .run = sort_by_minima},
    {.name = "sortByName",
     .group = "Sorting",
     .params = {FN_SERIES("seriesList"), FN_DEFAULT("natural", FN_TYPE_BOOLEAN, "false"),
                FN_DEFAULT("reverse", FN_TYPE_BOOLEAN, "false")},
     .brief = "Sorts by name; natural compares the numbers in names as numbers.",
     .kind = FN_ANY,
     .run = sort_by_name},
    {.name = "sortByTotal",
     .group = "Sorting",
     .params = {FN_SERIES("seriesList")},
     .brief = "Sorts by the sum of all values, the largest first.",
     .kind = FN_ANY,
     .run = sort_by_total},
};
const struct fn_family fn_sort = FN_FAMILY(sorts);
