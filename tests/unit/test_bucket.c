#include "storage/bucket.h"

#include <criterion/criterion.h>
#include <math.h>

#define X NAN

static double of(enum aggregation method, double x_files_factor, const double *slots, size_t count)
{
    struct bucket b = bucket_empty(method);

    bucket_add(&b, slots, count);
    return bucket_value(&b, count, x_files_factor);
}

static const double slots[] = {X, -5, 3, X, 1, X};

Test(bucket, aggregates_what_is_known)
{
    static const double expected[AGG_COUNT] = {
        [AGG_AVERAGE] = -1.0 / 3,  [AGG_SUM] = -1,    [AGG_LAST] = 1,   [AGG_MAX] = 3, [AGG_MIN] = -5,
        [AGG_AVG_ZERO] = -1.0 / 6, [AGG_ABSMAX] = -5, [AGG_ABSMIN] = 1,
    };

    for (enum aggregation m = AGG_AVERAGE; m < AGG_COUNT; m++)
        cr_assert_eq(of(m, 0, slots, 6), expected[m], "%s: %.17g", aggregation_name(m), of(m, 0, slots, 6));
}

Test(bucket, of_one_value_is_that_value)
{
    static const double one[] = {-0.0};

    for (enum aggregation m = AGG_AVERAGE; m < AGG_COUNT; m++)
        cr_assert_eq(of(m, 1, one, 1), 0, "%s", aggregation_name(m));
}

Test(bucket, of_nothing_is_none_whatever_the_factor)
{
    static const double nothing[] = {X, X};

    for (enum aggregation m = AGG_AVERAGE; m < AGG_COUNT; m++)
        cr_assert(isnan(of(m, 0, nothing, 2)), "%s", aggregation_name(m));
}

Test(bucket, needs_as_many_as_the_factor_says)
{
    cr_assert_eq(of(AGG_SUM, 0.5, slots, 6), -1, "3 of 6 reach 0.5");
    cr_assert(isnan(of(AGG_SUM, 0.51, slots, 6)));
    cr_assert(isnan(of(AGG_SUM, (float)0.3, (double[]){1, 1, 1, X, X, X, X, X, X, X}, 10)),
              "3 of 10 do not reach the float 0.3, as in whisper");
}

Test(bucket, can_be_filled_piece_by_piece)
{
    for (enum aggregation m = AGG_AVERAGE; m < AGG_COUNT; m++)
        for (size_t cut = 0; cut <= 6; cut++) {
            struct bucket b = bucket_empty(m);
            bucket_add(&b, slots, cut);
            bucket_add(&b, slots + cut, 6 - cut);
            cr_assert_eq(bucket_value(&b, 6, 0), of(m, 0, slots, 6));
        }
}

Test(bucket, of_two_equally_far_from_zero_the_first_counts)
{
    cr_assert_eq(of(AGG_ABSMAX, 0, (double[]){-2, 2}, 2), -2);
    cr_assert_eq(of(AGG_ABSMIN, 0, (double[]){2, -2}, 2), 2);
}

Test(bucket, sums_run_in_order_of_time)
{
    cr_assert_eq(of(AGG_SUM, 0, (double[]){1e100, 1, -1e100}, 3), 0);
    cr_assert_eq(of(AGG_SUM, 0, (double[]){1e100, -1e100, 1}, 3), 1);
}

Test(bucket, infinity_takes_part)
{
    cr_assert_eq(of(AGG_MAX, 0, (double[]){1, INFINITY}, 2), INFINITY);
    cr_assert(isnan(of(AGG_SUM, 0, (double[]){INFINITY, -INFINITY}, 2)));
}
