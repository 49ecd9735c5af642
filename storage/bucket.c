#include "storage/bucket.h"

#include "base/must.h"

#include <math.h>

/* What the bucket holds after V, the first known value or a further one. */
static inline double bucket_join(enum aggregation method, bool first, double so_far, double v)
{
    switch (method) {
    case AGG_LAST:
        return v;
    case AGG_MAX:
        return first || v > so_far ? v : so_far;
    case AGG_MIN:
        return first || v < so_far ? v : so_far;
    case AGG_ABSMAX:
        return first || fabs(v) > fabs(so_far) ? v : so_far;
    case AGG_ABSMIN:
        return first || fabs(v) < fabs(so_far) ? v : so_far;
    default:
        return so_far + v; /* sum, average, avg_zero */
    }
}

void bucket_add(struct bucket *b, const double *values, size_t count)
{
    MUST(b->method > 0 && b->method < AGG_COUNT);
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i]))
            continue;
        b->value = bucket_join(b->method, b->known == 0, b->value, values[i]);
        b->known++;
    }
}

double bucket_value(const struct bucket *b, size_t slots, double x_files_factor)
{
    if (b->known == 0 || (double)b->known / (double)slots < x_files_factor)
        return NAN;
    if (b->method == AGG_AVERAGE)
        return b->value / (double)b->known;
    return b->method == AGG_AVG_ZERO ? b->value / (double)slots : b->value;
}
