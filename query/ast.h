/* ast.h - a parsed target: a tree of calls, path expressions and literals.
 *
 * Everything lives in the arena of the request and is never changed after parsing, so that a part of
 * the tree may be evaluated again in another time range (movingAverage, timeShift, ...). A pipe is
 * gone after parsing: "x|f(a)" is the call f(x,a). */
#ifndef PLUMBAGO_QUERY_AST_H
#define PLUMBAGO_QUERY_AST_H

#include "base/span.h"

#include <stdint.h>

struct common;

enum node_kind {
    NODE_PATH,     /* text: the path expression, escapes resolved */
    NODE_CALL,     /* text: the call as written (what seriesByTag is named by) */
    NODE_TEMPLATE, /* args[0] is the body; the rest and kwargs are literals */
    NODE_INTEGER,
    NODE_FLOAT,
    NODE_STRING, /* text: what stands between the quotes, backslashes included */
    NODE_BOOLEAN,
    NODE_NONE,
    NODE_INFINITY,
};

struct node_kwarg {
    struct span name;
    struct node *value;
};

struct node {
    enum node_kind kind;
    size_t at; /* byte position in the target */
    struct span text;
    struct span function; /* NODE_CALL */
    struct node **args;
    size_t args_count;
    struct node_kwarg *kwargs;
    size_t kwargs_count;
    int64_t integer;       /* NODE_INTEGER, NODE_BOOLEAN */
    double real;           /* NODE_FLOAT, NODE_INTEGER */
    uint32_t number;       /* equal expressions of a request have the same (common.c) */
    struct common *common; /* of a call that the request has more than once, else NULL (common.h) */
    int depth;             /* of the tree below; bounded by the parser, so that recursion over the tree is, too */
};

#endif
