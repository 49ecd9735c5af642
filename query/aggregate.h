/* aggregate.h - the aggregation functions: many values to one.
 *
 * They work in two directions: along one series (the maximum of a series, of a moving window), and
 * across series (the sum of all series at each instant). The second goes series by series over a
 * whole column of accumulators, which the compiler turns into vector code. None (NaN) is left out. */
#ifndef PLUMBAGO_QUERY_AGGREGATE_H
#define PLUMBAGO_QUERY_AGGREGATE_H

#include "base/arena.h"
#include "base/span.h"

#include <stdint.h>

struct aggregator {
    const char *name;
    /* Of V[0..N); NaN when no value is known. */
    double (*of)(const double *v, size_t n, struct arena *arena);
    int op; /* private */
};

/* "average", "avg", "avg_zero", "count", "current", "diff", "last", "max", "median", "min", "multiply",
 * "range", "rangeOf", "stddev", "sum", "total"; NULL for any other word. */
const struct aggregator *aggregator_find(struct span word);

/* One row: the values of one series, as long as it is. */
struct column {
    const double *values;
    size_t count;
};

/* OUT[i] = the aggregate of all COLUMNS at i, for i < OUT_COUNT; a column that has ended counts as
 * None. NaN where the share of known values is below X_FILES_FACTOR, or none is known. */
void aggregate_columns(const struct aggregator *agg, const struct column *columns, size_t columns_count,
                       double x_files_factor, double *out, size_t out_count, struct arena *arena);

/* The p-th percentile (0..100) of V[0..N), None left out, by rank p/100 * (n + 1), rounded up or, with
 * INTERPOLATE, between the neighbours. NaN when no value is known, and *valid false when the rank lies
 * outside of the values. */
double percentile_of(const double *v, size_t n, double p, bool interpolate, struct arena *arena, bool *valid);

#endif
