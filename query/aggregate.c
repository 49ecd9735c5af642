/* Sums are taken from left to right, beginning with zero, so that results agree to the last bit with
 * graphite-web's sum(). The column-wise forms add series after series and therefore keep that order. */
#include "query/aggregate.h"

#include <math.h>
#include <stdlib.h>

enum op {
    OP_SUM,
    OP_AVERAGE,
    OP_AVG_ZERO,
    OP_MIN,
    OP_MAX,
    OP_COUNT,
    OP_DIFF,
    OP_MULTIPLY,
    OP_LAST,
    OP_RANGE,
    OP_STDDEV,
    OP_MEDIAN
};

/* ---- along one series ---- */

static size_t known_in(const double *v, size_t n)
{
    size_t known = 0;

    for (size_t i = 0; i < n; i++)
        known += !isnan(v[i]);
    return known;
}

static double plain_sum(const double *v, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += isnan(v[i]) ? 0 : v[i];
    return sum;
}

static double of_sum(const double *v, size_t n, struct arena *arena)
{
    (void)arena;
    return known_in(v, n) == 0 ? NAN : plain_sum(v, n);
}

static double of_average(const double *v, size_t n, struct arena *arena)
{
    (void)arena;
    return plain_sum(v, n) / (double)known_in(v, n); /* 0/0 is NaN: None */
}

static double of_avg_zero(const double *v, size_t n, struct arena *arena)
{
    (void)arena;
    return n == 0 ? NAN : plain_sum(v, n) / (double)n;
}

static double of_min(const double *v, size_t n, struct arena *arena)
{
    double min = NAN;

    (void)arena;
    for (size_t i = 0; i < n; i++)
        min = v[i] < min || isnan(min) ? v[i] : min;
    return min;
}

static double of_max(const double *v, size_t n, struct arena *arena)
{
    double max = NAN;

    (void)arena;
    for (size_t i = 0; i < n; i++)
        max = v[i] > max || isnan(max) ? v[i] : max;
    return max;
}

static double of_count(const double *v, size_t n, struct arena *arena)
{
    (void)arena;
    return (double)known_in(v, n);
}

static double of_diff(const double *v, size_t n, struct arena *arena)
{
    double diff = NAN;

    (void)arena;
    for (size_t i = 0; i < n; i++) {
        if (isnan(diff))
            diff = v[i];
        else if (!isnan(v[i]))
            diff -= v[i];
    }
    return diff;
}

static double of_multiply(const double *v, size_t n, struct arena *arena)
{
    double product = n == 0 ? NAN : v[0];

    (void)arena;
    for (size_t i = 1; i < n; i++)
        product *= v[i];
    return product;
}

static double of_last(const double *v, size_t n, struct arena *arena)
{
    (void)arena;
    while (n > 0 && isnan(v[n - 1]))
        n--;
    return n == 0 ? NAN : v[n - 1];
}

static double of_range(const double *v, size_t n, struct arena *arena)
{
    return of_max(v, n, arena) - of_min(v, n, arena);
}

static double of_stddev(const double *v, size_t n, struct arena *arena)
{
    size_t known = known_in(v, n);
    double mean = of_average(v, n, arena);
    double squares = 0;

    for (size_t i = 0; i < n; i++)
        squares += isnan(v[i]) ? 0 : (v[i] - mean) * (v[i] - mean);
    return known == 0 ? NAN : sqrt(squares / (double)known);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The known values of V[0..N) into OUT (room for N); returns how many. */
static size_t known_of(const double *v, size_t n, double *out)
{
    size_t known = 0;

    for (size_t i = 0; i < n; i++) {
        out[known] = v[i];
        known += !isnan(v[i]);
    }
    return known;
}

static double middle_of(double a, double b, double c)
{
    return a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
}

/* The K-th smallest of V[0..N), from 0; afterwards none before it is larger and none behind it smaller (Hoare's
 * quickselect). Values that defeat it are sorted. */
static double nth_of(double *v, size_t n, size_t k)
{
    size_t low = 0, high = n - 1;

    for (int rounds = 0; low < high; rounds++) {
        double pivot = middle_of(v[low], v[(low + high) / 2], v[high]);
        size_t i = low, j = high;

        if (rounds == 64) {
            qsort(v + low, high - low + 1, sizeof(*v), ascending);
            break;
        }
        while (i <= j) {
            double swap;

            while (v[i] < pivot)
                i++;
            while (pivot < v[j])
                j--;
            if (i > j)
                break;
            swap = v[i];
            v[i++] = v[j];
            v[j] = swap;
            if (j-- == 0)
                break;
        }
        if (k >= i)
            low = i;
        else if (j != SIZE_MAX && k <= j)
            high = j;
        else
            break;
    }
    return v[k];
}

/* The median of V[0..N), which is not empty; V changes its order. */
static double median_in(double *v, size_t n)
{
    double upper = nth_of(v, n, n / 2);

    return n % 2 == 1 ? upper : (nth_of(v, n / 2, n / 2 - 1) + upper) / 2;
}

/* Small rows are sorted on the stack: a median for each point must not eat up the arena. */
enum { STACK_VALUES = 512 };

static double *scratch(struct arena *arena, double *stack, size_t n)
{
    return n <= STACK_VALUES ? stack : arena_alloc(arena, n * sizeof(double));
}

static double of_median(const double *v, size_t n, struct arena *arena)
{
    double stack[STACK_VALUES];
    double *values = scratch(arena, stack, n);
    size_t known = known_of(v, n, values);

    return known == 0 ? NAN : median_in(values, known);
}

double percentile_of(const double *v, size_t n, double p, bool interpolate, struct arena *arena, bool *valid)
{
    double stack[STACK_VALUES];
    double *values = scratch(arena, stack, n);
    size_t known = known_of(v, n, values);
    double exact = p / 100.0 * (double)(known + 1);
    double whole = trunc(exact);
    double fraction = exact - whole;
    double rank = interpolate ? whole : whole + ceil(fraction);
    double value;

    *valid = true;
    if (known == 0)
        return NAN;
    /* Ranks count from the end when negative, as indexes of Python lists do. */
    *valid = rank - 1 <= (double)known && rank >= 1 - (double)known;
    if (!*valid)
        return NAN;
    if (rank == 0)
        value = nth_of(values, known, 0);
    else if (rank - 1 == (double)known)
        value = nth_of(values, known, known - 1);
    else
        value = nth_of(values, known, (size_t)(rank >= 1 ? rank - 1 : (double)known + rank - 1));
    if (interpolate && rank != (double)known) {
        if (rank > (double)known || rank < 0) {
            *valid = rank < 0;
            return NAN;
        }
        value += fraction * (nth_of(values, known, (size_t)rank) - value);
    }
    return value;
}

static const struct aggregator aggregators[] = {
    {"average", of_average, OP_AVERAGE},
    {"avg", of_average, OP_AVERAGE},
    {"avg_zero", of_avg_zero, OP_AVG_ZERO},
    {"count", of_count, OP_COUNT},
    {"current", of_last, OP_LAST},
    {"diff", of_diff, OP_DIFF},
    {"last", of_last, OP_LAST},
    {"max", of_max, OP_MAX},
    {"median", of_median, OP_MEDIAN},
    {"min", of_min, OP_MIN},
    {"multiply", of_multiply, OP_MULTIPLY},
    {"range", of_range, OP_RANGE},
    {"rangeOf", of_range, OP_RANGE},
    {"stddev", of_stddev, OP_STDDEV},
    {"sum", of_sum, OP_SUM},
    {"total", of_sum, OP_SUM},
};

const struct aggregator *aggregator_find(struct span word)
{
    for (size_t i = 0; i < sizeof(aggregators) / sizeof(*aggregators); i++) {
        if (span_eq(word, span_str(aggregators[i].name)))
            return &aggregators[i];
    }
    return NULL;
}

/* ---- across series: plain loops over one column each ---- */

static void add_column(double *restrict sum, double *restrict known, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool none = isnan(v[i]);

        sum[i] += none ? 0.0 : v[i];
        known[i] += none ? 0.0 : 1.0;
    }
}

static void count_column(double *restrict known, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        known[i] += isnan(v[i]) ? 0.0 : 1.0;
}

static void min_column(double *restrict min, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        min[i] = v[i] < min[i] ? v[i] : min[i];
}

static void max_column(double *restrict max, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        max[i] = v[i] > max[i] ? v[i] : max[i];
}

static void last_column(double *restrict last, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        last[i] = isnan(v[i]) ? last[i] : v[i];
}

static void diff_column(double *restrict diff, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double next = isnan(diff[i]) ? v[i] : diff[i] - v[i];

        diff[i] = isnan(v[i]) ? diff[i] : next;
    }
}

static void multiply_column(double *restrict product, const double *restrict v, size_t n, size_t out_count)
{
    for (size_t i = 0; i < n; i++)
        product[i] *= v[i];
    for (size_t i = n; i < out_count; i++)
        product[i] = NAN;
}

static void square_column(double *restrict squares, const double *restrict mean, const double *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double d = v[i] - mean[i];

        squares[i] += isnan(d) ? 0.0 : d * d;
    }
}

struct fold {
    const struct column *columns;
    size_t columns_count;
    double *out;
    double *known;
    size_t count;
    struct arena *arena;
};

static void fill(double *v, size_t n, double value)
{
    for (size_t i = 0; i < n; i++)
        v[i] = value;
}

static size_t column_length(const struct fold *f, size_t i)
{
    return f->columns[i].count < f->count ? f->columns[i].count : f->count;
}

static void fold_sum(struct fold *f)
{
    fill(f->out, f->count, 0);
    for (size_t i = 0; i < f->columns_count; i++)
        add_column(f->out, f->known, f->columns[i].values, column_length(f, i));
}

static void fold_average(struct fold *f)
{
    fold_sum(f);
    for (size_t i = 0; i < f->count; i++)
        f->out[i] /= f->known[i];
}

static void fold_extreme(struct fold *f, double *out, double from,
                         void (*column)(double *restrict, const double *restrict, size_t))
{
    fill(out, f->count, from);
    for (size_t i = 0; i < f->columns_count; i++)
        column(out, f->columns[i].values, column_length(f, i));
}

static void fold_stddev(struct fold *f)
{
    double *squares = arena_alloc(f->arena, f->count * sizeof(double));

    fold_average(f);
    fill(squares, f->count, 0);
    for (size_t i = 0; i < f->columns_count; i++)
        square_column(squares, f->out, f->columns[i].values, column_length(f, i));
    for (size_t i = 0; i < f->count; i++)
        f->out[i] = sqrt(squares[i] / f->known[i]);
}

static void fold_range(struct fold *f)
{
    double *min = arena_alloc(f->arena, f->count * sizeof(double));

    fold_extreme(f, min, INFINITY, min_column);
    fold_extreme(f, f->out, -INFINITY, max_column);
    for (size_t i = 0; i < f->count; i++)
        f->out[i] -= min[i];
}

static void fold_multiply(struct fold *f)
{
    fill(f->out, f->count, 1);
    for (size_t i = 0; i < f->columns_count; i++)
        multiply_column(f->out, f->columns[i].values, column_length(f, i), f->count);
}

static void fold_median(struct fold *f)
{
    double *row = arena_alloc(f->arena, f->columns_count * sizeof(double));

    for (size_t i = 0; i < f->count; i++) {
        size_t known = 0;

        for (size_t k = 0; k < f->columns_count; k++) {
            row[known] = i < f->columns[k].count ? f->columns[k].values[i] : NAN;
            known += !isnan(row[known]);
        }
        f->out[i] = known == 0 ? NAN : median_in(row, known);
    }
}

void aggregate_columns(const struct aggregator *agg, const struct column *columns, size_t columns_count,
                       double x_files_factor, double *out, size_t out_count, struct arena *arena)
{
    struct fold f = {columns, columns_count, out, arena_calloc(arena, out_count, sizeof(double)), out_count, arena};
    bool counted = agg->op == OP_SUM || agg->op == OP_AVERAGE || agg->op == OP_AVG_ZERO || agg->op == OP_STDDEV;

    switch ((enum op)agg->op) {
    case OP_SUM:
        fold_sum(&f);
        break;
    case OP_AVERAGE:
        fold_average(&f);
        break;
    case OP_AVG_ZERO:
        fold_sum(&f);
        for (size_t i = 0; i < out_count; i++)
            out[i] /= (double)columns_count;
        break;
    case OP_MIN:
        fold_extreme(&f, out, INFINITY, min_column);
        break;
    case OP_MAX:
        fold_extreme(&f, out, -INFINITY, max_column);
        break;
    case OP_LAST:
        fold_extreme(&f, out, NAN, last_column);
        break;
    case OP_DIFF:
        fold_extreme(&f, out, NAN, diff_column);
        break;
    case OP_MULTIPLY:
        fold_multiply(&f);
        break;
    case OP_RANGE:
        fold_range(&f);
        break;
    case OP_STDDEV:
        fold_stddev(&f);
        break;
    case OP_MEDIAN:
        fold_median(&f);
        break;
    case OP_COUNT:
        break;
    }
    if (!counted) {
        for (size_t i = 0; i < columns_count; i++)
            count_column(f.known, columns[i].values, column_length(&f, i));
    }
    if (agg->op == OP_COUNT)
        memcpy(out, f.known, out_count * sizeof(double));
    for (size_t i = 0; i < out_count; i++) {
        if (f.known[i] == 0 || f.known[i] / (double)columns_count < x_files_factor)
            out[i] = NAN;
    }
}
