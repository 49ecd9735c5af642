/* explain.h - what a request did, as JSON: for explain=1.
 *
 * Every evaluation of a call or path is a step: which range, how long, how many series and points it gave. The steps
 * are a tree; a function that looks at another range has its argument there twice. */
#ifndef PLUMBAGO_QUERY_EXPLAIN_H
#define PLUMBAGO_QUERY_EXPLAIN_H

#include "base/buf.h"
#include "query/eval.h"

struct explain_step {
    const struct node *node; /* NULL: the request */
    int64_t from_s;
    int64_t until_s;
    int64_t begun_ns;
    int64_t took_ns; /* with all steps below */
    size_t series;
    size_t points;
    bool reused; /* the result of an equal expression */
    struct explain_step *first, *last, *next;
    struct explain_step *above;
};

struct explain {
    struct explain_step root;
    struct explain_step *now; /* the step that is going on */
};

void explain_init(struct explain *x);

/* A step begins; NULL when nobody asks (ev->explain is NULL) or NODE is a literal. */
struct explain_step *explain_begin(struct eval *ev, const struct context *ctx, const struct node *node);

/* It has given VALUE. STEP may be NULL. */
void explain_end(struct eval *ev, struct explain_step *step, const struct value *value);

/* The plan as JSON (docs/api.md), with the targets as they were sent. */
void explain_json(const struct eval *ev, const struct span *targets, struct buf *out);

#endif
