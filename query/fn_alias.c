/* Functions that only change names. They leave the path expression alone, so that a combining function
 * around them still names what was asked for. */
#include "query/fn.h"

#include "base/utf8.h"

#include "base/buf.h"
#include "base/regex.h"

#include <math.h>
#include <stdio.h>

static int alias(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);
    struct span name = fn_text(call, 1, "");

    for (size_t i = 0; i < list->count; i++)
        list->items[i]->name = name;
    return fn_return(out, *list);
}

static int alias_by_node(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++) {
        int rc = fn_node_key(call, list->items[i], 1, &list->items[i]->name);

        if (rc < 0)
            return rc;
    }
    return fn_return(out, *list);
}

/* ---- regular expressions ---- */

static int alias_sub(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);
    struct span replacement = fn_text(call, 2, "");
    struct regex *re;
    int rc = fn_regex(call, 1, &re);

    for (size_t i = 0; rc == 0 && i < list->count; i++)
        rc = fn_substitute(call, re, list->items[i]->name, replacement, &list->items[i]->name);
    return rc < 0 ? rc : fn_return(out, *list);
}

/* newName is a printf format for the one value. */
static int formatted(struct fn_call *call, struct span format, double v, struct span *out)
{
    const struct span text = arena_span(call->arena, format);
    char spec[32];
    size_t at = span_find(text, '%');
    size_t end = at + 1;
    struct span head = span_cut(text, 0, at);
    struct span middle;

    while (end < text.len && strchr("#0- +.123456789", text.ptr[end]) != NULL)
        end++;
    if (at >= text.len || end >= text.len || end - at > 16 || strchr("difFgGeEsr", text.ptr[end]) == NULL ||
        span_find(span_cut(text, end + 1, text.len), '%') < text.len - end - 1)
        return fn_fail(call, "newName must hold one %%d, %%f, %%g, %%e or %%s");
    memcpy(spec, text.ptr + at, end - at);
    switch (text.ptr[end]) {
    case 's':
    case 'r':
        middle = float_text(call->arena, v);
        break;
    case 'd':
    case 'i':
        snprintf(spec + (end - at), sizeof(spec) - (end - at), ".0f");
        v = trunc(v);
        /* fall through */
    default:
        if (text.ptr[end] != 'd' && text.ptr[end] != 'i')
            snprintf(spec + (end - at), sizeof(spec) - (end - at), "%c", text.ptr[end]);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* checked above: flags, width, precision, one letter */
        middle = arena_printf(call->arena, spec, v);
#pragma GCC diagnostic pop
        break;
    }
    *out = arena_join(call->arena, head, middle, span_cut(text, end + 1, text.len));
    return 0;
}

/* The name of each series becomes a target; its last value goes into the new name. */
static int alias_query(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);
    struct regex *re;
    int rc = fn_regex(call, 1, &re);

    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        struct context ctx = *call->ctx;
        struct series_list found = {0};
        struct span query;
        double last = NAN;

        rc = fn_substitute(call, re, list->items[i]->name, fn_text(call, 2, ""), &query);
        if (rc == 0)
            rc = eval_target(call->ev, &ctx, query, EVAL_PREFIX, &found);
        if (rc == 0 && found.count == 0)
            rc = fn_fail(call, "No series found with query: %.*s", (int)(query.len < 200 ? query.len : 200), query.ptr);
        if (rc == 0)
            rc = fn_aggregate_of(call, found.items[0], aggregator_find(SPAN_LIT("last")), &last);
        if (rc == 0 && isnan(last))
            rc = fn_fail(call, "Cannot get last value of series: %.*s", (int)(query.len < 200 ? query.len : 200),
                         query.ptr);
        if (rc == 0)
            rc = formatted(call, fn_text(call, 3, ""), last, &list->items[i]->name);
    }
    return rc < 0 ? rc : fn_return(out, *list);
}

/* ---- parts of names ---- */

/* Python's list[start:stop] over the dotted parts of TEXT. */
static struct span parts_of(struct span text, int64_t start, int64_t stop, bool has_stop)
{
    int64_t parts = 1;
    int64_t part = 0;
    size_t from = text.len;
    size_t to = 0;
    size_t at = 0;

    for (size_t i = 0; i < text.len; i++)
        parts += text.ptr[i] == '.';
    start = start < 0 ? start + parts : start;
    start = start < 0 ? 0 : start;
    stop = !has_stop ? parts : stop < 0 ? stop + parts : stop;
    for (; part < parts; part++) {
        size_t end = at + span_find(span_cut(text, at, text.len), '.');

        if (part >= start && part < stop) {
            from = at < from ? at : from;
            to = end;
        }
        at = end + 1;
    }
    return from <= to ? span_cut(text, from, to) : SPAN_LIT("");
}

static size_t find_last(struct span s, char c)
{
    size_t i = s.len;

    while (i > 0 && s.ptr[i - 1] != c)
        i--;
    return i;
}

/* The text between the last '(' and the first ')', cut to parts, and cut again at a comma. */
static struct span substring(struct span name, int64_t start, int64_t stop)
{
    struct span clean = span_cut(name, find_last(name, '('), span_find(name, ')'));
    struct span cut = parts_of(clean, start, stop, stop != 0);

    return span_cut(cut, 0, span_find(cut, ','));
}

static int substr(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++)
        list->items[i]->name = substring(list->items[i]->name, fn_int(call, 1, 0), fn_int(call, 2, 0));
    return fn_return(out, *list);
}

static int alias_by_metric(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++)
        list->items[i]->name = substring(list->items[i]->name, -1, 0);
    return fn_return(out, *list);
}

/* ---- letters ---- */

static char to_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* All letters, or only those at the given positions (from the end when negative). */
static int change_case(struct fn_call *call, char (*change)(char), struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++) {
        struct span name = list->items[i]->name;
        char *text = arena_alloc(call->arena, name.len);

        if (name.len > 0)
            memcpy(text, name.ptr, name.len);
        for (size_t k = 0; k < name.len && !fn_given(call, 1); k++)
            text[k] = change(text[k]);
        for (size_t a = 1; a < call->args_count && fn_given(call, a); a++) {
            int64_t at = fn_int(call, a, 0) < 0 ? fn_int(call, a, 0) + (int64_t)name.len : fn_int(call, a, 0);

            if (at >= 0 && at < (int64_t)name.len)
                text[at] = change(text[at]);
        }
        list->items[i]->name = span_of(text, name.len);
    }
    return fn_return(out, *list);
}

static int upper(struct fn_call *call, struct value *out)
{
    return change_case(call, to_upper, out);
}

static int lower(struct fn_call *call, struct value *out)
{
    return change_case(call, to_lower, out);
}

/* ---- aliasByBase64 ---- */

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == 0 ? NULL : strchr(digits, c);

    return at == NULL ? -1 : (int)(at - digits);
}

/* What TEXT stands for; false when it is no base64, or of something that is no text. */
static bool base64_decode(struct arena *arena, struct span text, struct span *out)
{
    char *to = arena_alloc(arena, text.len);
    struct span decoded;
    uint32_t bits = 0;
    size_t len = 0, pads = 0;

    for (size_t i = 0; i < text.len; i++) {
        int digit = base64_digit(text.ptr[i]);

        pads += text.ptr[i] == '=';
        if ((digit < 0 && text.ptr[i] != '=') || (digit >= 0 && pads > 0))
            return false;
        bits = bits << 6 | (digit < 0 ? 0 : (uint32_t)digit);
        if (i % 4 == 3) {
            to[len++] = (char)(bits >> 16);
            to[len++] = (char)(bits >> 8);
            to[len++] = (char)bits;
        }
    }
    if (text.len == 0 || text.len % 4 != 0 || pads > 2)
        return false;
    decoded = span_of(to, len - pads);
    for (size_t i = 0; i < decoded.len; i++) {
        if ((unsigned char)to[i] < ' ')
            return false;
    }
    if (utf8_valid(decoded))
        *out = decoded;
    return utf8_valid(decoded);
}

/* The NODE-th part of NAME, counted from 1, decoded; the name as it is when that is not possible. */
static struct span with_node_decoded(struct fn_call *call, struct span name, int64_t node)
{
    size_t begin = 0, end;
    struct span decoded;

    for (; node > 1; node--) {
        size_t dot = span_find(span_cut(name, begin, name.len), '.');

        if (begin + dot >= name.len)
            return name;
        begin += dot + 1;
    }
    end = begin + span_find(span_cut(name, begin, name.len), '.');
    if (node < 1 || !base64_decode(call->arena, span_cut(name, begin, end), &decoded))
        return name;
    return arena_join(call->arena, span_cut(name, 0, begin), decoded, span_cut(name, end, name.len));
}

static int alias_by_base64(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++) {
        struct series *s = list->items[i];
        const struct span *metric = tags_get(series_tags(call->arena, s), SPAN_LIT("name"));

        if (!fn_given(call, 1))
            base64_decode(call->arena, s->name, &s->name);
        else if (metric != NULL)
            s->name = with_node_decoded(call, *metric, fn_int(call, 1, 0));
    }
    return fn_return(out, *list);
}

/* ---- values in names ---- */

struct unit {
    const char *prefix;
    double size;
};

static const struct unit si_units[] = {{"P", 1e15}, {"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}, {NULL, 0}};
static const struct unit binary_units[] = {{"Pi", 1125899906842624.0}, {"Ti", 1099511627776.0}, {"Gi", 1073741824.0},
                                           {"Mi", 1048576.0},          {"Ki", 1024.0},          {NULL, 0}};

static double without_dust(double v, double shown)
{
    return shown - floor(shown) < 0.00000000001 && v > 1 ? floor(shown) : shown;
}

/* "1.50K", and the UNITS behind it. SYSTEM is NULL for no prefixes. */
static struct span with_units(struct fn_call *call, double v, const struct unit *system, struct span units)
{
    const char *blank = units.len > 0 ? " " : "";

    if (system == NULL)
        return fn_name(call, "%.2f%s%.*s", v, blank, SPAN_ARG(units));
    for (; system->prefix != NULL; system++) {
        if (fabs(v) >= system->size)
            return fn_name(call, "%.2f%s%s%.*s", without_dust(v, v / system->size), blank, system->prefix,
                           SPAN_ARG(units));
    }
    return fn_name(call, "%.2f%s%.*s", without_dust(v, v), blank, SPAN_ARG(units));
}

static int find_system(struct fn_call *call, struct span name, const struct unit **out)
{
    *out = NULL;
    if (name.len == 0)
        return 0;
    *out = span_eq(name, SPAN_LIT("si")) ? si_units : span_eq(name, SPAN_LIT("binary")) ? binary_units : NULL;
    return *out != NULL ? 0 : fn_fail(call, "the system of units must be si or binary");
}

/* One of the three values that cactiStyle shows. */
struct cacti {
    const struct aggregator *agg;
    int width;
};

static int cacti_width(struct fn_call *call, struct cacti *column, const struct unit *system, struct span units)
{
    const struct series_list *list = fn_list(call, 0);

    for (size_t i = 0; i < list->count; i++) {
        struct span text;
        double v;

        if (fn_aggregate_of(call, list->items[i], column->agg, &v) < 0)
            return ERR_INPUT;
        if (isinf(v))
            return fn_fail(call, "\"%.*s\" is infinite",
                           (int)(list->items[i]->name.len < 100 ? list->items[i]->name.len : 100),
                           list->items[i]->name.ptr);
        text = with_units(call, isnan(v) || v == 0 ? 3 : trunc(v) + 0.0, system, units);
        column->width = (int)text.len + 3 > column->width ? (int)text.len + 3 : column->width;
    }
    return 0;
}

static int cacti_style(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);
    struct span units = fn_text(call, 2, "");
    struct cacti columns[] = {{aggregator_find(SPAN_LIT("last")), 3},
                              {aggregator_find(SPAN_LIT("max")), 3},
                              {aggregator_find(SPAN_LIT("min")), 3}};
    const struct unit *system;
    int width = 0;

    if (find_system(call, fn_text(call, 1, ""), &system) < 0)
        return ERR_INPUT;
    for (size_t k = 0; k < 3; k++) {
        if (cacti_width(call, &columns[k], system, units) < 0)
            return ERR_INPUT;
    }
    for (size_t i = 0; i < list->count; i++)
        width = (int)list->items[i]->name.len > width ? (int)list->items[i]->name.len : width;
    for (size_t i = 0; i < list->count; i++) {
        struct span shown[3];
        double v;

        for (size_t k = 0; k < 3; k++) {
            fn_aggregate_of(call, list->items[i], columns[k].agg, &v);
            shown[k] = isnan(v) ? SPAN_LIT("nan") : with_units(call, v, system, units);
        }
        list->items[i]->name = fn_name(call, "%-*.*s Current:%-*.*s Max:%-*.*s Min:%-*.*s ", width,
                                       SPAN_ARG(list->items[i]->name), columns[0].width, SPAN_ARG(shown[0]),
                                       columns[1].width, SPAN_ARG(shown[1]), columns[2].width, SPAN_ARG(shown[2]));
    }
    return fn_return(out, *list);
}

/* " (max: 5.0)" behind the name, or with a system of units in columns. */
static int add_legend(struct fn_call *call, struct series *s, struct span kind, const struct unit *system)
{
    const struct aggregator *agg = aggregator_find(kind);
    struct span text = SPAN_LIT("(?)");
    double v = NAN;

    if (agg != NULL && fn_aggregate_of(call, s, agg, &v) < 0)
        return ERR_INPUT;
    if (agg != NULL)
        text =
            system == NULL || isnan(v) ? fn_aggregate_text(call, s, agg, v) : with_units(call, v, system, SPAN_LIT(""));
    s->name = system == NULL ? fn_name(call, "%.*s (%.*s: %.*s)", SPAN_ARG(s->name), SPAN_ARG(kind), SPAN_ARG(text))
                             : fn_name(call, "%-20.*s%-5.*s%-10.*s", SPAN_ARG(s->name), SPAN_ARG(kind), SPAN_ARG(text));
    return 0;
}

static int legend_value(struct fn_call *call, struct value *out)
{
    struct series_list *list = fn_list(call, 0);
    size_t end = call->args_count;
    const struct unit *system = NULL;

    while (end > 1 && !fn_given(call, end - 1))
        end--;
    if (end <= 1)
        return fn_fail(call, "at least one value type is needed");
    if (span_eq(fn_text(call, end - 1, ""), SPAN_LIT("si")) || span_eq(fn_text(call, end - 1, ""), SPAN_LIT("binary")))
        find_system(call, fn_text(call, --end, ""), &system);
    for (size_t a = 1; a < end; a++) {
        for (size_t i = 0; i < list->count; i++) {
            if (add_legend(call, list->items[i], fn_text(call, a, ""), system) < 0)
                return ERR_INPUT;
        }
    }
    return fn_return(out, *list);
}

static const struct fn_def aliases[] = {
    {.name = "alias",
     .group = "Alias",
     .params = {FN_SERIES("seriesList"), FN_PARAM("newName", FN_TYPE_STRING)},
     .brief = "Names the series as you like.",
     .kind = FN_ANY,
     .run = alias},
    {.name = "aliasByMetric",
     .group = "Alias",
     .params = {FN_SERIES("seriesList")},
     .brief = "Names each series by the last part of its path.",
     .kind = FN_ANY,
     .run = alias_by_metric},
    {.name = "aliasByNode",
     .group = "Alias",
     .params = {FN_SERIES("seriesList"), FN_MANY_REQUIRED("nodes", FN_TYPE_NODE_OR_TAG)},
     .brief = "Names each series by parts of its path (counted from 0, from the end when negative) or by tags.",
     .kind = FN_ANY,
     .run = alias_by_node},
    {.name = "aliasByTags",
     .group = "Alias",
     .params = {FN_SERIES("seriesList"), FN_MANY_REQUIRED("tags", FN_TYPE_NODE_OR_TAG)},
     .brief = "Names each series by its tags or parts of its path.",
     .kind = FN_ANY,
     .run = alias_by_node},
    {.name = "aliasQuery",
     .impure = true,
     .group = "Alias",
     .params = {FN_SERIES("seriesList"), FN_PARAM("search", FN_TYPE_STRING), FN_PARAM("replace", FN_TYPE_STRING),
                FN_PARAM("newName", FN_TYPE_STRING)},
     .brief = "Makes a target from the name of each series and puts that target's last value into the new name.",
     .kind = FN_ANY,
     .run = alias_query},
    {.name = "aliasSub",
     .group = "Alias",
     .params = {FN_SERIES("seriesList"), FN_PARAM("search", FN_TYPE_STRING), FN_PARAM("replace", FN_TYPE_STRING)},
     .brief = "Replaces what a regular expression finds in each name.",
     .kind = FN_ANY,
     .run = alias_sub},
    {.name = "legendValue",
     .group = "Alias",
     .params = {FN_SERIES("seriesList"),
                {.name = "valuesTypes",
                 .type = FN_TYPE_STRING,
                 .multiple = true,
                 .options =
                     "[\"average\",\"averageSeries\",\"avg\",\"avgSeries\",\"avg_zero\",\"avg_zeroSeries\",\"binary\","
                     "\"count\",\"countSeries\",\"current\",\"currentSeries\",\"diff\",\"diffSeries\",\"last\","
                     "\"lastSeries\",\"max\",\"maxSeries\",\"median\",\"medianSeries\",\"min\",\"minSeries\","
                     "\"multiply\",\"multiplySeries\",\"range\",\"rangeOf\",\"rangeOfSeries\",\"rangeSeries\",\"si\","
                     "\"stddev\",\"stddevSeries\",\"sum\",\"sumSeries\",\"total\",\"totalSeries\"]"}},
     .brief = "Adds values such as avg, max or last to each name; with si or binary, in short units.",
     .kind = FN_ANY,
     .run = legend_value},
    {.name = "lower",
     .group = "Alias",
     .params = {FN_SERIES("seriesList"), FN_MANY("pos", FN_TYPE_INTEGER)},
     .brief = "Turns letters of each name into small ones: all, or those at the given positions.",
     .kind = FN_ANY,
     .run = lower},
    {.name = "upper",
     .group = "Alias",
     .params = {FN_SERIES("seriesList"), FN_MANY("pos", FN_TYPE_INTEGER)},
     .brief = "Turns letters of each name into capitals: all, or those at the given positions.",
     .kind = FN_ANY,
     .run = upper},
    {.name = "aliasByBase64",
     .group = "Alias",
     .params = {FN_SERIES("seriesList"), FN_OPTIONAL("nodeNum", FN_TYPE_INTEGER)},
     .brief = "Decodes names, or the one part of each (counted from 1), that are base64.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = alias_by_base64},
    {.name = "toLowerCase",
     .group = "Alias",
     .params = {FN_SERIES("seriesList"), FN_MANY("pos", FN_TYPE_INTEGER)},
     .brief = "Another name of lower.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = lower},
    {.name = "toUpperCase",
     .group = "Alias",
     .params = {FN_SERIES("seriesList"), FN_MANY("pos", FN_TYPE_INTEGER)},
     .brief = "Another name of upper.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = upper},
    {.name = "cactiStyle",
     .group = "Special",
     .params = {FN_SERIES("seriesList"),
                {.name = "system", .type = FN_TYPE_STRING, .options = "[\"binary\",\"si\"]"},
                FN_OPTIONAL("units", FN_TYPE_STRING)},
     .brief = "Adds current, maximum and minimum to each name, in columns, as Cacti shows them.",
     .kind = FN_ANY,
     .run = cacti_style},
    {.name = "substr",
     .group = "Special",
     .params = {FN_SERIES("seriesList"), FN_DEFAULT("start", FN_TYPE_NODE, "0"), FN_DEFAULT("stop", FN_TYPE_NODE, "0")},
     .brief = "Names each series by the parts of its path from start up to, not including, stop.",
     .kind = FN_ANY,
     .run = substr},
};
const struct fn_family fn_alias = FN_FAMILY(aliases);
