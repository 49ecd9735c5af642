/* eval.h - walks a tree and gives its series.
 *
 * One struct eval serves one request: data source, limits, arena, and the cache of what was fetched
 * (one fetch for each distinct pattern and range). A struct context is where an expression is
 * evaluated: functions such as timeShift evaluate their argument again in a changed copy. */
#ifndef PLUMBAGO_QUERY_EVAL_H
#define PLUMBAGO_QUERY_EVAL_H

#include "base/arena.h"
#include "base/err.h"
#include "query/ast.h"
#include "query/functions.h"
#include "query/query.h"
#include "query/tz.h"
#include "query/value.h"

struct stacks; /* totals of stacked() */

struct context {
    int64_t from_s;
    int64_t until_s;
    double x_files_factor; /* setXFilesFactor() changes it for all that is evaluated afterwards */
    struct stacks *stacks; /* NULL until stacked() is first used */
};

/* What the variables of a template stand for. */
struct variable {
    struct span name;
    struct value value;
};

struct variables {
    const struct variable *items;
    size_t count;
};

struct fetched;
struct fetched_times;
struct explain;
struct parse_result;

struct eval {
    struct arena *arena;
    const struct source *source;
    const struct query_limits *limits;
    struct query_control *control; /* may be NULL */
    const struct tz *tz;
    int64_t now_s;                        /* the request's "now" */
    int64_t wall_s;                       /* the wall clock's */
    const struct params *template_params; /* template[x]=...; keys already cut down to x */
    struct fetched *fetched;
    struct fetched_times *fetched_times;
    struct explain *explain; /* NULL: nobody asks */
    size_t series_fetched;
    size_t points_fetched;
    struct err *err;
};

/* Evaluate the tree NODE in CTX. *out may be a list or a literal. Errors are in ev->err. */
int eval_node(struct eval *ev, struct context *ctx, const struct node *node, const struct variables *vars,
              struct value *out);

/* When only the beginning of a text is a valid target, what it gives is the answer, as in graphite-web.
 * But when it gives nothing, the user had better be told. */
enum eval_whole {
    EVAL_WHOLE,  /* a beginning that gives no series is an error */
    EVAL_PREFIX, /* it gives no series */
};

/* The same for target text: what a user gave, or what a function such as aliasQuery has made. Series
 * are added to LIST. A blank target adds none. */
int eval_target(struct eval *ev, struct context *ctx, struct span target, enum eval_whole whole,
                struct series_list *list);

/* Whether S is nothing but blanks. */
bool eval_is_blank(struct span s);

/* The same for a target that was parsed already. */
int eval_parsed(struct eval *ev, struct context *ctx, const struct parse_result *parsed, enum eval_whole whole,
                struct series_list *list);

/* ERR_CANCELLED when the deadline has passed or the client has left. */
int eval_check(struct eval *ev);

#endif
