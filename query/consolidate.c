#include "query/consolidate.h"

#include <math.h>

bool consolidation_parse(struct span word, enum consolidation *out)
{
    static const struct {
        const char *word;
        enum consolidation method;
    } words[] = {
        {"average", CONSOLIDATE_AVERAGE}, {"avg", CONSOLIDATE_AVERAGE}, {"avg_zero", CONSOLIDATE_AVG_ZERO},
        {"sum", CONSOLIDATE_SUM},         {"min", CONSOLIDATE_MIN},     {"max", CONSOLIDATE_MAX},
        {"first", CONSOLIDATE_FIRST},     {"last", CONSOLIDATE_LAST},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (span_eq(word, span_str(words[i].word))) {
            *out = words[i].method;
            return true;
        }
    }
    return false;
}

/* What one pass over the values of a point finds. */
struct bucket {
    double sum, min, max, first, last;
    size_t known;
};

static struct bucket bucket_of(const double *in, size_t count)
{
    struct bucket b = {.sum = 0, .min = INFINITY, .max = -INFINITY, .first = NAN, .last = NAN};

    for (size_t i = 0; i < count; i++) {
        double v = in[i];

        if (isnan(v))
            continue;
        if (b.known++ == 0)
            b.first = v;
        b.sum += v;
        b.min = v < b.min ? v : b.min;
        b.max = v > b.max ? v : b.max;
        b.last = v;
    }
    return b;
}

static double bucket_value(enum consolidation method, const struct bucket *b, size_t count)
{
    switch (method) {
    case CONSOLIDATE_AVERAGE:
        return b->sum / (double)b->known;
    case CONSOLIDATE_AVG_ZERO:
        return b->sum / (double)count;
    case CONSOLIDATE_SUM:
        return b->sum;
    case CONSOLIDATE_MIN:
        return b->min;
    case CONSOLIDATE_MAX:
        return b->max;
    case CONSOLIDATE_FIRST:
        return b->first;
    case CONSOLIDATE_LAST:
        return b->last;
    }
    return NAN;
}

void consolidate(enum consolidation method, const double *in, size_t count, int64_t per, double x_files_factor,
                 double *out)
{
    size_t at = 0;

    while (at < count) {
        size_t n = count - at < (size_t)per ? count - at : (size_t)per;
        struct bucket b = bucket_of(in + at, n);
        bool enough = b.known > 0 && (double)b.known / (double)per >= x_files_factor;

        *out++ = enough ? bucket_value(method, &b, n) : NAN;
        at += n;
    }
}
