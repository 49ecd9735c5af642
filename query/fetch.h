/* fetch.h - the leaves of a tree: path expressions and seriesByTag() to series with their points.
 *
 * Within one request each pattern is searched once and each (pattern, range) fetched once; the points
 * are shared by all series made from them. */
#ifndef PLUMBAGO_QUERY_FETCH_H
#define PLUMBAGO_QUERY_FETCH_H

#include "query/eval.h"

/* Add the series that PATTERN (globs) matches, in the range of CTX, sorted by name. */
int fetch_path(struct eval *ev, const struct context *ctx, struct span pattern, struct series_list *out);

/* The same for seriesByTag(EXPRS...), written as CALL in the target. */
int fetch_by_tags(struct eval *ev, const struct context *ctx, struct span call, const struct span *exprs,
                  size_t exprs_count, struct series_list *out);

#endif
