/* bucket.h - one slot of a coarse tier from the slots of the finer one, by whisper's rules.
 *
 * Source: whisper.py, aggregate() and __propagate(): the known values are aggregated when there is at
 * least one and known / all reaches xFilesFactor; sums run in order of time. */
#ifndef PLUMBAGO_STORAGE_BUCKET_H
#define PLUMBAGO_STORAGE_BUCKET_H

#include "storage/storage.h"

/* A bucket being filled; on the stack of the caller. */
struct bucket {
    enum aggregation method;
    size_t known;
    double value; /* by method: the sum, the last, the extreme so far */
};

static inline struct bucket bucket_empty(enum aggregation method)
{
    return (struct bucket){.method = method};
}

/* Add COUNT slots in order of time; NaN is None. */
void bucket_add(struct bucket *b, const double *values, size_t count);

/* The value for a bucket of SLOTS slots in all, or NaN when too few are known. */
double bucket_value(const struct bucket *b, size_t slots, double x_files_factor);

#endif
