/* functions.h - the table of all functions: what they are called, what they take, what they do.
 *
 * Each family of functions is a file fn_<family>.c with a table at its end; functions.c lists the
 * families. Argument checks (eval.c), error texts, /functions and the reference page read these tables
 * and nothing else. */
#ifndef PLUMBAGO_QUERY_FUNCTIONS_H
#define PLUMBAGO_QUERY_FUNCTIONS_H

#include "base/buf.h"
#include "base/span.h"

#include <stdint.h>

/* What a parameter takes; names and meaning are graphite-web's (functions/params.py). */
enum fn_type {
    FN_TYPE_ANY = 1,
    FN_TYPE_SERIES_LIST,
    FN_TYPE_SERIES_LISTS,
    FN_TYPE_FLOAT,
    FN_TYPE_INTEGER,
    FN_TYPE_INT_OR_INF,
    FN_TYPE_INT_OR_INTERVAL,
    FN_TYPE_INTERVAL,
    FN_TYPE_DATE,
    FN_TYPE_BOOLEAN,
    FN_TYPE_STRING,
    FN_TYPE_NODE,
    FN_TYPE_NODE_OR_TAG,
    FN_TYPE_TAG,
    FN_TYPE_AGG_FUNC,
    FN_TYPE_AGG_OR_SERIES_FUNC,
};

struct fn_param {
    const char *name; /* NULL ends the list */
    enum fn_type type;
    bool required;
    bool multiple;           /* the last parameter may be given any number of times */
    const char *fallback;    /* the default, as JSON, or NULL */
    const char *options;     /* JSON list, or NULL */
    const char *suggestions; /* JSON list, or NULL */
    const char *also;        /* another name as keyword argument, or NULL */
    bool lenient;            /* another kind of literal is handed on as it is: the function looks at it */
    bool can_be_missing;     /* though .required, as graphite-web's function has a default */
};

enum { FN_PARAMS_MAX = 6 };

struct fn_call;
struct series;
struct context;
struct value;

enum fn_kind {
    FN_PER_SERIES, /* each series gives one with as many points: .each */
    FN_ANY,        /* anything: .run */
};

struct fn_def {
    const char *name;
    const char *group;
    const char *brief; /* one sentence or two */
    struct fn_param params[FN_PARAMS_MAX + 1];
    enum fn_kind kind;
    bool aggregator; /* may be named as callback of groupByNode and its like */

    /* FN_PER_SERIES: OUT[0..N) from IN[0..N), the points of S. The result is named "NAME(S)", or with
     * LABEL behind the series' name: text with one of %g %d %s for the second argument. TAG is the
     * value of the tag NAME: a text, "=" for the second argument, NULL for no tag. */
    int (*each)(struct fn_call *call, const struct series *s, const double *in, size_t n, double *out);
    const char *label;
    const char *tag;
    enum fn_numbers {
        FN_NUMBERS_FLOAT, /* the results are floats */
        FN_NUMBERS_COUNT, /* counts, printed without a fraction */
        FN_NUMBERS_SAME,  /* as those of the series */
    } numbers;

    /* FN_ANY */
    int (*run)(struct fn_call *call, struct value *out);

    /* The result hangs on more than arguments and context, or the call changes the context. */
    bool impure;

    /* Whose function this is when graphite-web does not have it ("carbonapi"), else NULL. */
    const char *extension;

    /* What looks at another time range than the request's says which: changes CTX. The first argument
     * is then evaluated in that range and handed to .run as call->again. */
    int (*range)(struct fn_call *call, struct context *ctx);
};

struct fn_family {
    const struct fn_def *defs;
    size_t count;
};

#define FN_FAMILY(table)                                                                                               \
    {                                                                                                                  \
        (table), sizeof(table) / sizeof(*(table))                                                                      \
    }

/* The function of this name (names are case-sensitive), or NULL. */
const struct fn_def *functions_find(struct span name);

/* Calls EACH for every function, family by family, until it returns non-zero; returns that. */
int functions_each(int (*each)(void *ctx, const struct fn_def *def), void *ctx);

/* "seriesList", "float", ... */
const char *fn_type_name(enum fn_type type);

/* "scale(seriesList, factor)", with the defaults of parameters that may be missing. */
void functions_signature(const struct fn_def *def, struct buf *out);

/* The entry of DEF in /functions, as a JSON object: name, function (its signature), description,
 * module, group, params. */
void functions_json_one(const struct fn_def *def, struct buf *out);

/* All of /functions: by name, or with GROUPED by group and name. */
enum functions_layout { FUNCTIONS_FLAT, FUNCTIONS_GROUPED };
void functions_json(enum functions_layout layout, struct buf *out);

#endif
