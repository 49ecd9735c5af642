/* shapes.h - the shapes of series that codecs are tested and measured with.
 *
 * Header only, as tests and bench both use it. Two families: the shapes of the comparison with other
 * servers (a mixture whose entropy is 1.41 bytes a point), and fourteen classes of series as collectors
 * send them, with weights. */
#ifndef PLUMBAGO_TESTS_HELP_SHAPES_H
#define PLUMBAGO_TESTS_HELP_SHAPES_H

#include "tests/help/rng.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Standard normal. */
static inline double shape_normal(struct rng *r)
{
    double u = 1.0 - rng_unit(r);

    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * rng_unit(r));
}

/* V as a sender prints it with DIGITS decimals and a reader parses it. */
static inline double shape_round(double v, int digits)
{
    char text[64];

    snprintf(text, sizeof(text), "%.*f", digits, v);
    return strtod(text, NULL);
}

/* ---- the comparison's shapes ---- */

static inline void shape_gauge(struct rng *r, double *v, size_t n)
{
    int64_t widest = rng_between(r, 1, 60), at = rng_between(r, 0, 10000);

    for (size_t i = 0; i < n; i++) {
        if (rng_below(r, 8) != 0)
            at += rng_between(r, -widest, widest);
        at = at < 0 ? 0 : at > 10000 ? 10000 : at;
        v[i] = (double)at / 100;
    }
}

static inline void shape_counter(struct rng *r, double *v, size_t n)
{
    int64_t rate = rng_between(r, 1, rng_below(r, 3) != 0 ? 128 : 16384), at = rng_between(r, 0, 1000000000);

    for (size_t i = 0; i < n; i++) {
        at += rng_between(r, rate / 2, rate * 3 / 2);
        v[i] = (double)at;
    }
}

static inline void shape_constant(struct rng *r, double *v, size_t n)
{
    double value = (double)rng_below(r, 1000);

    for (size_t i = 0; i < n; i++)
        v[i] = value;
}

static inline void shape_rare(struct rng *r, double *v, size_t n)
{
    double value = (double)rng_below(r, 100);

    for (size_t i = 0; i < n; i++) {
        if (rng_below(r, 256) == 0)
            value = (double)rng_below(r, 100);
        v[i] = value;
    }
}

static inline void shape_noisy(struct rng *r, double *v, size_t n)
{
    double base = (double)rng_between(r, 1, 900);

    for (size_t i = 0; i < n; i++)
        v[i] = shape_round(base * (1 + 0.25 * rng_unit(r)), 13);
}

static inline void shape_random53(struct rng *r, double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = shape_round(100 + 900 * rng_unit(r), 14);
}

/* ---- what collectors send ---- */

static inline double shape_day(size_t i)
{
    return sin(6.283185307179586 * (double)i / 8640);
}

static inline void shape_level(struct rng *r, double *v, size_t n)
{
    double level = floor(10 * rng_unit(r));

    for (size_t i = 0; i < n; i++)
        v[i] = level;
}

static inline void shape_flag(struct rng *r, double *v, size_t n)
{
    double flag = 1;

    for (size_t i = 0; i < n; i++) {
        if (rng_unit(r) < 0.002)
            flag = 1 - flag;
        v[i] = flag;
    }
}

static inline void shape_errors(struct rng *r, double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = rng_unit(r) < 0.02 ? (double)rng_between(r, 1, 5) : 0;
}

static inline void shape_counter50(struct rng *r, double *v, size_t n)
{
    double c = (double)rng_below(r, 1000000000);

    for (size_t i = 0; i < n; i++)
        v[i] = c += trunc(50 * (1 + 0.5 * shape_day(i))) + trunc(7 * shape_normal(r));
}

static inline void shape_counter1m(struct rng *r, double *v, size_t n)
{
    double c = (double)rng_below(r, 1000000000);

    for (size_t i = 0; i < n; i++)
        v[i] = c += trunc(1e6 * (1 + 0.6 * shape_day(i)) * exp(0.3 * shape_normal(r)));
}

static inline void shape_integer(struct rng *r, double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = fmax(0, floor(12 + 8 * shape_day(i) + 3 * shape_normal(r)));
}

static inline void shape_rss(struct rng *r, double *v, size_t n)
{
    double m = (1 + 7 * rng_unit(r)) * 1e9;

    for (size_t i = 0; i < n; i++) {
        m = fmax(m + 3e6 * shape_normal(r), 1e8);
        v[i] = floor(m / 4096) * 4096;
    }
}

static inline void shape_cpu(struct rng *r, double *v, size_t n)
{
    double a = 0;

    for (size_t i = 0; i < n; i++) {
        a += 1.5 * shape_normal(r) - 0.05 * (a - (40 + 20 * shape_day(i)));
        a = a < 0 ? 0 : a > 100 ? 100 : a;
        v[i] = shape_round(a, 2);
    }
}

static inline void shape_gaps(struct rng *r, double *v, size_t n)
{
    double a = 0;

    for (size_t i = 0; i < n; i++) {
        a += 1.5 * shape_normal(r) - 0.05 * (a - 40);
        v[i] = rng_unit(r) < 0.05 ? NAN : shape_round(a, 2);
    }
}

static inline void shape_temperature(struct rng *r, double *v, size_t n)
{
    double a = 0;

    for (size_t i = 0; i < n; i++) {
        a += 0.05 * shape_normal(r);
        v[i] = shape_round(45 + a, 1);
    }
}

static inline void shape_latency(struct rng *r, double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = shape_round(exp(2.5 + 0.4 * shape_day(i) + 0.5 * shape_normal(r)), 3);
}

static inline void shape_mean(struct rng *r, double *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double sum = (double)(rng_below(r, 2000) + rng_below(r, 2000) + rng_below(r, 2000));

        v[i] = sum / (double)rng_between(r, 20, 99);
    }
}

static inline void shape_double(struct rng *r, double *v, size_t n)
{
    double a = 0;

    for (size_t i = 0; i < n; i++) {
        a += 0.5 * shape_normal(r);
        v[i] = 50 + a + 0.01 * shape_normal(r);
    }
}

static inline void shape_load(struct rng *r, double *v, size_t n)
{
    double level = rng_unit(r);

    for (size_t i = 0; i < n; i++)
        v[i] = shape_round(fmax(0, 0.5 + 4 * level + 0.3 * shape_day(i) + 0.2 * shape_normal(r)), 2);
}

struct shape {
    const char *name;
    double weight;  /* in the mixture of its family */
    double entropy; /* bytes a point, where it is known; else 0 */
    void (*fill)(struct rng *r, double *v, size_t n);
};

static const struct shape shapes_compared[] = {
    {"gauge", .35, .668, shape_gauge}, {"counter", .25, .994, shape_counter}, {"constant", .125, 0, shape_constant},
    {"rare", .125, .008, shape_rare},  {"noisy", .15, 6.19, shape_noisy},     {"random53", 0, 0, shape_random53},
};

static const struct shape shapes_collected[] = {
    {"constant", .25, 0, shape_level},
    {"flag", .05, 0, shape_flag},
    {"sparse errors", .10, 0, shape_errors},
    {"counter 50/step", .10, 0, shape_counter50},
    {"counter 1M/step", .08, 0, shape_counter1m},
    {"integer gauge", .10, 0, shape_integer},
    {"rss bytes", .04, 0, shape_rss},
    {"cpu %", .06, 0, shape_cpu},
    {"cpu % 5% gaps", .03, 0, shape_gaps},
    {"temperature", .04, 0, shape_temperature},
    {"latency", .05, 0, shape_latency},
    {"mean", .03, 0, shape_mean},
    {"noisy double", .03, 0, shape_double},
    {"load", .04, 0, shape_load},
};

enum {
    SHAPES_COMPARED = sizeof(shapes_compared) / sizeof(shapes_compared[0]),
    SHAPES_COLLECTED = sizeof(shapes_collected) / sizeof(shapes_collected[0]),
};

/* A double of any kind, the nasty ones often: zeros of both signs, infinities, subnormals, the ends of the
 * range, integers around 2^53, decimals, random bits. Never NaN. */
static inline double shape_nasty(struct rng *r)
{
    static const double special[] = {0.0,
                                     -0.0,
                                     INFINITY,
                                     -INFINITY,
                                     5e-324,
                                     -5e-324,
                                     1.7976931348623157e308,
                                     -1.7976931348623157e308,
                                     2.2250738585072014e-308,
                                     9007199254740992.0,
                                     9007199254740993.0,
                                     -9007199254740991.0,
                                     4503599627370496.0,
                                     0.1,
                                     1e22,
                                     1e23,
                                     1e-22,
                                     1e15,
                                     123456789.123};
    uint64_t bits;
    double v;

    switch (rng_below(r, 8)) {
    case 0:
    case 1:
        return special[rng_below(r, sizeof(special) / sizeof(special[0]))];
    case 2:
        return (double)rng_between(r, -1000, 1000) / 100;
    case 3:
        return (double)rng_between(r, -1000, 1000);
    case 4:
        return (double)(int64_t)rng_u64(r) / 1024;
    default:
        do {
            bits = rng_u64(r);
            memcpy(&v, &bits, sizeof(v));
        } while (v != v);
        return v;
    }
}

#endif
