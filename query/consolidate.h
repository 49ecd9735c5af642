/* consolidate.h - several values of one series to one, as consolidateBy() and maxDataPoints ask. */
#ifndef PLUMBAGO_QUERY_CONSOLIDATE_H
#define PLUMBAGO_QUERY_CONSOLIDATE_H

#include "base/span.h"

#include <stdint.h>

enum consolidation {
    CONSOLIDATE_AVERAGE,
    CONSOLIDATE_AVG_ZERO,
    CONSOLIDATE_SUM,
    CONSOLIDATE_MIN,
    CONSOLIDATE_MAX,
    CONSOLIDATE_FIRST,
    CONSOLIDATE_LAST,
};

/* "average", "avg", "avg_zero", "sum", "min", "max", "first", "last"; false for any other word. */
bool consolidation_parse(struct span word, enum consolidation *out);

/* How many points come out of COUNT values when PER of them make one. */
static inline size_t consolidated_count(size_t count, int64_t per)
{
    return (count + (size_t)per - 1) / (size_t)per;
}

/* Make one point of each PER (at least 1) values of IN; the last may have fewer. A point is None when
 * the share of known values in PER is below X_FILES_FACTOR, or when there is none. OUT has room for
 * consolidated_count() points. */
void consolidate(enum consolidation method, const double *in, size_t count, int64_t per, double x_files_factor,
                 double *out);

#endif
