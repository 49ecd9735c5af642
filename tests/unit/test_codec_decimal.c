#include "storage/codec.h"

#include "storage/format.h"
#include "tests/help/shapes.h"

#include <criterion/criterion.h>

static struct codec_scratch scratch;
static double values[CHUNK_SLOTS_MAX], out[CHUNK_SLOTS_MAX];
static uint8_t bytes[CHUNK_SLOTS_MAX * 9];

/* Encode and decode the first N values; returns how many bytes they took, 0 when the codec declined. */
static size_t round_trip(uint32_t n)
{
    size_t len;

    if (!codec_decimal.encode(&scratch, values, n, bytes, sizeof(bytes), &len))
        return 0;
    memset(out, 0xff, sizeof(out));
    cr_assert(codec_decimal.decode(span_of(bytes, len), n, out));
    for (uint32_t i = 0; i < n; i++)
        cr_assert_eq(memcmp(&out[i], &values[i], sizeof(double)), 0, "value %u: %a, want %a", i, out[i], values[i]);
    return len;
}

/* The decoder has a fast division for small integers; each of them must be what a division gives. */
Test(codec_decimal, divides_to_the_bit_at_every_size)
{
    double power = 1;

    for (int e = 0; e <= 15; e++, power *= 10) {
        for (int size = 1; size <= 52; size++) {
            struct rng rng = rng_from((uint64_t)(e * 100 + size));

            for (uint32_t i = 0; i < 400; i++) {
                int64_t most = ((int64_t)1 << size) - 1, near = most - (int64_t)rng_below(&rng, 20);
                int64_t integer = rng_below(&rng, 4) == 0 && near > 0 ? near : rng_between(&rng, 0, most);

                values[i] = (double)(rng_below(&rng, 2) ? integer : -integer) / power;
                /* There is no negative zero among decimals. */
                if (values[i] == 0)
                    values[i] = 0;
            }
            round_trip(400);
        }
    }
}

Test(codec_decimal, divides_all_small_integers_to_the_bit)
{
    double power = 10;

    for (int e = 1; e <= 7; e++, power *= 10)
        for (int64_t from = -100000; from < 100000; from += 4000) {
            for (uint32_t i = 0; i < 4000; i++)
                values[i] = (double)(from + i) / power;
            cr_assert_neq(round_trip(4000), 0);
        }
}

Test(codec_decimal, takes_what_strtod_makes_of_decimals)
{
    struct rng rng = rng_from(1);
    char text[64];

    for (int digits = 0; digits <= 9; digits++) {
        for (uint32_t i = 0; i < 1000; i++) {
            snprintf(text, sizeof(text), "%.*f", digits, 100000 * rng_unit(&rng));
            values[i] = strtod(text, NULL);
        }
        cr_assert_lt(round_trip(1000), 1000 * (17 + 3.33 * digits + 1) / 8 + 50, "%d digits", digits);
    }
}

Test(codec_decimal, keeps_strange_values_among_decimals)
{
    const double strange[] = {INFINITY, -INFINITY, -0.0, 5e-324, 1e300, 0.1 + 0.2, -1.7976931348623157e308};

    for (uint32_t i = 0; i < 1000; i++)
        values[i] = (double)(i % 50) / 100;
    for (uint32_t i = 0; i < 7; i++)
        values[i * i * 20] = strange[i];
    cr_assert_lt(round_trip(1000), 1000 + 7 * 10);
}

Test(codec_decimal, takes_full_mantissas_by_their_bits)
{
    struct rng rng = rng_from(3);

    for (uint32_t i = 0; i < 1000; i++)
        values[i] = (rng_unit(&rng) - 0.5) / 3;
    cr_assert_neq(round_trip(1000), 0);
    for (uint32_t i = 0; i < 1000; i++)
        values[i] = 100 + rng_unit(&rng);
    cr_assert_lt(round_trip(1000), 1000 * 47 / 8 + 50, "sign, exponent and the first bits are common");
}

Test(codec_decimal, finds_the_common_divisor)
{
    struct rng rng = rng_from(4);

    for (uint32_t i = 0; i < 1000; i++)
        values[i] = 1e9 + 4096.0 * (double)rng_below(&rng, 16);
    cr_assert_lt(round_trip(1000), 1000 * 4 / 8 + 40);
    for (uint32_t i = 0; i < 1000; i++)
        values[i] = 0.05 * (double)rng_below(&rng, 16);
    for (uint32_t i = 0; i < 1000; i++)
        values[i] = (double)rng_below(&rng, 16) * 5 / 100;
    cr_assert_lt(round_trip(1000), 1000 * 4 / 8 + 40);
}

Test(codec_decimal, takes_rates_over_an_interval)
{
    const double intervals[] = {3, 6, 7, 9, 15, 30, 60, 300, 3600, 86400, 604800};

    for (unsigned k = 0; k < sizeof(intervals) / sizeof(intervals[0]); k++) {
        struct rng rng = rng_from(k + 1);

        for (uint32_t i = 0; i < 1000; i++)
            values[i] = (double)rng_between(&rng, -2000, 2000) / intervals[k];
        for (uint32_t i = 0; i < 1000; i++)
            values[i] = values[i] == 0 ? 0 : values[i];
        cr_assert_lt(round_trip(1000), 1000 * 12 / 8 + 50, "a divisor of %g", intervals[k]);
    }
}

Test(codec_decimal, takes_differences_where_they_are_smaller)
{
    struct rng rng = rng_from(5);
    double at = 1e12;

    for (uint32_t i = 0; i < 1000; i++)
        values[i] = at += (double)rng_below(&rng, 16);
    cr_assert_lt(round_trip(1000), 1000 * 4 / 8 + 40);
    for (uint32_t i = 0; i < 1000; i++)
        values[i] = 3.0 * i * i + 7.0 * i + 1e6;
    cr_assert_lt(round_trip(1000), 40, "second differences are constant");
}

Test(codec_decimal, goes_to_the_ends_of_the_integers)
{
    const double ends[] = {9007199254740992.0, -9007199254740992.0, 0, 1, -1, 4503599627370497.0};

    for (uint32_t i = 0; i < 600; i++)
        values[i] = ends[i % 6];
    cr_assert_neq(round_trip(600), 0);
    for (uint32_t i = 0; i < 600; i++)
        values[i] = i % 2 ? 1.7976931348623157e308 : -1.7976931348623157e308;
    round_trip(600);
}

Test(codec_decimal, declines_when_there_is_no_room)
{
    size_t len;

    for (uint32_t i = 0; i < 100; i++)
        values[i] = i % 7;
    cr_assert(codec_decimal.encode(&scratch, values, 100, bytes, sizeof(bytes), &len));
    cr_assert(codec_decimal.encode(&scratch, values, 100, bytes, len, &len));
    cr_assert_not(codec_decimal.encode(&scratch, values, 100, bytes, len - 1, &len));
}
