#include "query/aggregate.h"

#include "query/consolidate.h"
#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <math.h>

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, 0, NULL);
}

static void teardown(void)
{
    arena_release(&arena);
}

TestSuite(aggregate, .init = setup, .fini = teardown);

static const char *const names[] = {"average", "avg", "avg_zero", "count", "current", "diff",   "last", "max",
                                    "median",  "min", "multiply", "range", "rangeOf", "stddev", "sum",  "total"};
enum { NAMES = sizeof(names) / sizeof(*names), ROWS = 7, COLUMNS = 5 };

static double of(const char *name, const double *v, size_t n)
{
    return aggregator_find(span_str(name))->of(v, n, &arena);
}

Test(aggregate, leaves_out_none)
{
    static const double v[] = {NAN, 4, NAN, 1, 3, NAN};

    cr_expect_eq(of("sum", v, 6), 8);
    cr_expect_float_eq(of("average", v, 6), 8.0 / 3, 1e-12);
    cr_expect_float_eq(of("avg_zero", v, 6), 8.0 / 6, 1e-12);
    cr_expect_eq(of("min", v, 6), 1);
    cr_expect_eq(of("max", v, 6), 4);
    cr_expect_eq(of("count", v, 6), 3);
    cr_expect_eq(of("diff", v, 6), 0);
    cr_expect_eq(of("last", v, 6), 3);
    cr_expect_eq(of("median", v, 6), 3);
    cr_expect_eq(of("range", v, 6), 3);
    cr_expect(isnan(of("multiply", v, 6)), "a product needs all of its factors");
    cr_expect_float_eq(of("stddev", v, 6), sqrt(14.0 / 9), 1e-12);
    cr_expect_null(aggregator_find(SPAN_LIT("nosuch")));
}

Test(aggregate, of_nothing_is_none)
{
    static const double v[] = {NAN, NAN};

    for (size_t i = 0; i < NAMES; i++) {
        bool zero = strcmp(names[i], "count") == 0 || strcmp(names[i], "avg_zero") == 0;
        double r = of(names[i], v, 2);

        cr_expect(zero ? r == 0 : isnan(r), "%s of nothing is %g", names[i], r);
    }
}

/* Column by column must give what row by row gives. */
Test(aggregate, columns_agree_with_rows)
{
    FOR_SEEDS (seed, 200) {
        struct rng rng = rng_from(seed);
        double values[COLUMNS][ROWS], out[ROWS], row[COLUMNS];
        struct column columns[COLUMNS];
        double factor = (double)rng_below(&rng, 4) / 3;

        for (size_t k = 0; k < COLUMNS; k++) {
            columns[k] = (struct column){values[k], rng_below(&rng, ROWS + 1)};
            for (size_t i = 0; i < ROWS; i++)
                values[k][i] = rng_one_in(&rng, 3) ? NAN : (double)rng_below(&rng, 100) / 4;
        }
        for (size_t a = 0; a < NAMES; a++) {
            const struct aggregator *agg = aggregator_find(span_str(names[a]));

            aggregate_columns(agg, columns, COLUMNS, factor, out, ROWS, &arena);
            for (size_t i = 0; i < ROWS; i++) {
                double known = 0, wanted;

                for (size_t k = 0; k < COLUMNS; k++) {
                    row[k] = i < columns[k].count ? values[k][i] : NAN;
                    known += !isnan(row[k]);
                }
                wanted = known == 0 || known / COLUMNS < factor ? NAN : agg->of(row, COLUMNS, &arena);
                cr_assert((isnan(wanted) && isnan(out[i])) || wanted == out[i], "%s: %g, not %g", names[a], out[i],
                          wanted);
            }
        }
    }
}

Test(aggregate, percentiles_are_values_of_the_list_or_lie_between)
{
    static const double v[] = {NAN, 1, 3, 5, 99, 85, 8};
    bool valid;

    cr_expect_eq(percentile_of(v, 7, 30, false, &arena, &valid), 5);
    cr_expect_eq(percentile_of(v, 7, 50, false, &arena, &valid), 8);
    cr_expect_eq(percentile_of(v, 7, 50, true, &arena, &valid), 6.5);
    cr_expect_eq(percentile_of(v, 7, 100, false, &arena, &valid), 99);
    cr_expect(valid);
    percentile_of(v, 7, 200, false, &arena, &valid);
    cr_expect_not(valid);
    cr_expect(isnan(percentile_of(v, 1, 50, false, &arena, &valid)));
}

Test(aggregate, consolidation_makes_groups_from_the_first_value_on)
{
    static const double v[] = {1, 2, NAN, 4, 5, 6, NAN, NAN, 9, 10};
    static const struct {
        const char *word;
        double wanted[4];
    } cases[] = {
        {"average", {1.5, 5, 9, 10}}, {"avg", {1.5, 5, 9, 10}}, {"avg_zero", {1, 5, 3, 10}}, {"sum", {3, 15, 9, 10}},
        {"min", {1, 4, 9, 10}},       {"max", {2, 6, 9, 10}},   {"first", {1, 4, 9, 10}},    {"last", {2, 6, 9, 10}},
    };

    for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
        enum consolidation method;
        double out[4];

        cr_assert(consolidation_parse(span_str(cases[c].word), &method));
        cr_assert_eq(consolidated_count(10, 3), 4);
        consolidate(method, v, 10, 3, 0, out);
        for (size_t i = 0; i < 4; i++)
            cr_expect_eq(out[i], cases[c].wanted[i], "%s: %g", cases[c].word, out[i]);
    }
}

Test(aggregate, consolidation_respects_the_x_files_factor)
{
    static const double v[] = {1, 2, NAN, 4, NAN, NAN, 7};
    double out[3];

    consolidate(CONSOLIDATE_SUM, v, 7, 3, 0.5, out);
    cr_expect_eq(out[0], 3);
    cr_expect(isnan(out[1]));
    cr_expect(isnan(out[2]), "a short last group is divided by the full number, too");
}

static int ascending(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

Test(aggregate, medians_and_percentiles_are_those_of_sorted_values, .init = setup, .fini = teardown)
{
    FOR_SEEDS (seed, 300) {
        struct rng rng = rng_from(seed);
        size_t n = 1 + rng_below(&rng, 700), known = 0;
        uint64_t distinct = 1 + rng_below(&rng, 1000);
        double *v = arena_alloc(&arena, n * sizeof(*v)), *sorted = arena_alloc(&arena, n * sizeof(*v));
        double p = 1 + (double)rng_below(&rng, 99);
        size_t rank;
        bool valid;

        for (size_t i = 0; i < n; i++) {
            v[i] = rng_one_in(&rng, 5) ? NAN : (double)rng_below(&rng, distinct);
            if (!isnan(v[i]))
                sorted[known++] = v[i];
        }
        if (known == 0)
            continue;
        qsort(sorted, known, sizeof(*sorted), ascending);
        cr_assert_eq(aggregator_find(SPAN_LIT("median"))->of(v, n, &arena),
                     (sorted[(known - 1) / 2] + sorted[known / 2]) / 2);
        rank = (size_t)ceil(p / 100.0 * (double)(known + 1));
        cr_assert_eq(percentile_of(v, n, p, false, &arena, &valid), sorted[rank > known ? known - 1 : rank - 1]);
    }
}
