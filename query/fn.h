/* fn.h - for the files fn_<family>.c only: what a function is called with, and the words of its table.
 *
 * Arguments are checked and converted by eval.c before a function runs: args[i] belongs to params[i],
 * those of a last parameter with .multiple follow one another; what was not given is VALUE_UNSET. */
#ifndef PLUMBAGO_QUERY_FN_H
#define PLUMBAGO_QUERY_FN_H

#include "base/regex.h"
#include "query/aggregate.h"
#include "query/eval.h"
#include "query/functions.h"
#include "query/series_list.h"
#include "query/value.h"

/* All families; functions.c lists them. */
extern const struct fn_family fn_alias, fn_combine, fn_lists, fn_group, fn_ratio, fn_pointwise, fn_rates, fn_resample,
    fn_time, fn_gaps, fn_moving, fn_stats, fn_holtwinters, fn_filter, fn_thresholds, fn_sort, fn_graph, fn_source,
    fn_trend, fn_similar, fn_fourier;

struct fn_call {
    struct eval *ev;
    struct arena *arena;
    struct err *err;
    struct context *ctx;
    const struct fn_def *def;
    const struct node *node;
    const struct variables *vars;
    struct value *args;
    size_t args_count;        /* at least as many as the function has parameters */
    struct series_list again; /* with .range: the first argument in that range */
};

/* ---- the words of a table ---- */
#define FN_CARBONAPI "carbonapi" /* as .extension */
#define FN_REQUIRED .required = true
#define FN_SERIES(n)                                                                                                   \
    {                                                                                                                  \
        .name = (n), .type = FN_TYPE_SERIES_LIST, FN_REQUIRED                                                          \
    }
#define FN_SERIES_MANY(n)                                                                                              \
    {                                                                                                                  \
        .name = (n), .type = FN_TYPE_SERIES_LIST, FN_REQUIRED, .multiple = true                                        \
    }
#define FN_PARAM(n, t)                                                                                                 \
    {                                                                                                                  \
        .name = (n), .type = (t), FN_REQUIRED                                                                          \
    }
#define FN_OPTIONAL(n, t)                                                                                              \
    {                                                                                                                  \
        .name = (n), .type = (t)                                                                                       \
    }
#define FN_DEFAULT(n, t, d)                                                                                            \
    {                                                                                                                  \
        .name = (n), .type = (t), .fallback = (d)                                                                      \
    }
#define FN_MANY(n, t)                                                                                                  \
    {                                                                                                                  \
        .name = (n), .type = (t), .multiple = true                                                                     \
    }
#define FN_MANY_REQUIRED(n, t)                                                                                         \
    {                                                                                                                  \
        .name = (n), .type = (t), FN_REQUIRED, .multiple = true                                                        \
    }

/* ---- arguments ---- */
static inline bool fn_given(const struct fn_call *c, size_t i)
{
    return i < c->args_count && c->args[i].kind != VALUE_UNSET && c->args[i].kind != VALUE_NONE;
}

/* A number, or FALLBACK when it was not given. */
double fn_float(const struct fn_call *c, size_t i, double fallback);
int64_t fn_int(const struct fn_call *c, size_t i, int64_t fallback);
bool fn_bool(const struct fn_call *c, size_t i, bool fallback);

/* A text; numbers are written out. */
struct span fn_text(const struct fn_call *c, size_t i, const char *fallback);

/* The series of argument I; an empty list when it is none. */
struct series_list *fn_list(const struct fn_call *c, size_t i);

/* All series of all arguments from I on, in one new list. */
struct series_list fn_lists_joined(const struct fn_call *c, size_t i);

/* The aggregation function named by argument I; "sumSeries" counts as "sum". NULL, with the error set. */
const struct aggregator *fn_aggregator(struct fn_call *c, size_t i, const char *fallback);

/* Seconds of an interval argument ("1d", "-2h"). */
int fn_interval(struct fn_call *c, size_t i, const char *fallback, int64_t *out_s);

/* ---- numbers as Python has them ---- */

/* round(v, digits): to the decimal nearest to the exact value, ties to even. */
double fn_round(double v, int digits);

/* math.pow(): NaN (None) for what has no result or is out of range. */
double fn_pow(double base, double exponent);

/* ---- results ---- */

/* The result is LIST. */
int fn_return(struct value *out, struct series_list list);

/* ERR_INPUT with a reason: the request is answered with 400. */
int fn_fail(struct fn_call *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "NAME(S...)" by printf. */
#define fn_name(c, ...) arena_printf((c)->arena, __VA_ARGS__)

/* Points as readers see them (series_points()). */
int fn_points(struct fn_call *c, const struct series *s, const double **points, size_t *count);

/* An aggregate of S as text; without a fraction when its values are counts and AGG keeps them so. */
struct span fn_aggregate_text(struct fn_call *c, const struct series *s, const struct aggregator *agg, double v);

/* The aggregate of all points of S. */
int fn_aggregate_of(struct fn_call *c, const struct series *s, const struct aggregator *agg, double *out);

/* Evaluate the first argument in another context. */
int fn_again(struct fn_call *c, struct context *ctx, struct series_list *out);

/* Argument I, which must be a text, as a regular expression in the arena. */
int fn_regex(struct fn_call *c, size_t i, struct regex **out);

/* Python's re.sub(): every match of RE in TEXT becomes REPLACEMENT. */
int fn_substitute(struct fn_call *c, const struct regex *re, struct span text, struct span replacement,
                  struct span *out);

/* The key that NODES (arguments from FIRST on: numbers or tags) make of the name of S, joined by dots:
 * of the first path expression in it when it is a function's. */
int fn_node_key(struct fn_call *c, const struct series *s, size_t first, struct span *out);

/* One series that aggregates LIST by AGG, with path expressions in its name: "sumSeries(a.*)".
 * *out is NULL when LIST is empty. FUNC is the word as the user wrote it. */
int fn_aggregate(struct fn_call *c, const struct series_list *list, const struct aggregator *agg, struct span func,
                 double x_files_factor, struct series **out);

/* The one series of constantLine(V): three points over the range of the request. */
int fn_constant_line(struct fn_call *c, double v, struct span name, struct span path_expression, struct value *out);

/* A combining callback: a function of the table that aggregates, or the name of an aggregation. */
int fn_callback(struct fn_call *c, struct span callback, const struct series_list *list, struct series **out);

/* Call the function of this name with one argument for each series (none may be missing); the first
 * series of its result. */
int fn_call_with(struct fn_call *c, struct span function, const struct series_list *each, struct series **out);

#endif
