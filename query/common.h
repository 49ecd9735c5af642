/* common.h - an expression that a request has more than once is evaluated once.
 *
 * Dashboards do that all the time: asPercent(group, sumSeries(group)), ten targets over one sum. Equal calls get
 * one struct common, which keeps what they gave in each context; whoever asks again gets series of its own, for
 * names and tags are changed by the functions above. Calls whose result hangs on more than their arguments and
 * context (.impure in the tables) are left alone, and so is what stands in a template. */
#ifndef PLUMBAGO_QUERY_COMMON_H
#define PLUMBAGO_QUERY_COMMON_H

#include "query/eval.h"

/* Mark the calls that occur more than once in the trees ROOTS[0..COUNT). Takes time linear in their size. */
void common_find(struct node *const *roots, size_t count, struct arena *arena);

/* Whether NODE was evaluated in CTX before; then *out is a copy of what it gave. */
bool common_get(struct eval *ev, const struct context *ctx, const struct node *node, struct value *out);

/* Keep what NODE has given in CTX, when somebody will ask for it. */
void common_put(struct eval *ev, const struct context *ctx, const struct node *node, const struct value *value);

#endif
