#include "storage/codec.h"

#include "storage/format.h"
#include "tests/help/shapes.h"

#include <criterion/criterion.h>

static struct codec_scratch scratch;
static double values[CHUNK_SLOTS_MAX], out[CHUNK_SLOTS_MAX];
static uint8_t bytes[CHUNK_SLOTS_MAX * 10];

static size_t round_trip(const struct codec *codec, uint32_t n)
{
    size_t len;

    if (!codec->encode(&scratch, values, n, bytes, sizeof(bytes), &len))
        return 0;
    memset(out, 0xff, sizeof(out));
    cr_assert(codec->decode(span_of(bytes, len), n, out), "%s of %u values", codec->name, n);
    cr_assert_arr_eq(out, values, n * sizeof(double));
    return len;
}

Test(codec_gorilla, of_any_doubles_round_trip)
{
    for (uint64_t seed = 1; seed < 3000; seed++) {
        struct rng rng = rng_from(seed);
        uint32_t n = 1 + (uint32_t)rng_below(&rng, 200);
        uint64_t mask = rng_u64(&rng) << rng_below(&rng, 64), bits = rng_u64(&rng) >> 2;

        for (uint32_t i = 0; i < n; i++) {
            bits ^= rng_u64(&rng) & mask & INT64_MAX >> 1;
            values[i] = rng_below(&rng, 20) == 0 ? shape_nasty(&rng) : bits_value(bits);
            if (values[i] != values[i])
                values[i] = 0;
        }
        cr_assert_neq(round_trip(&codec_gorilla, n), 0);
    }
}

Test(codec_gorilla, of_one_value_repeated_takes_a_bit_each)
{
    for (uint32_t i = 0; i < 801; i++)
        values[i] = 0.1;
    cr_assert_eq(round_trip(&codec_gorilla, 801), 8 + 100);
}

Test(codec_gorilla, declines_when_there_is_no_room)
{
    size_t len;

    for (uint32_t i = 0; i < 1000; i++)
        values[i] = sqrt(i);
    cr_assert(codec_gorilla.encode(&scratch, values, 1000, bytes, sizeof(bytes), &len));
    cr_assert(codec_gorilla.encode(&scratch, values, 1000, bytes, len, &len));
    cr_assert_not(codec_gorilla.encode(&scratch, values, 1000, bytes, len - 1, &len));
    cr_assert_not(codec_gorilla.encode(&scratch, values, 1000, bytes, 7, &len));
}

Test(codec_gorilla, refuses_what_is_cut_or_too_long)
{
    size_t len;

    for (uint32_t i = 0; i < 300; i++)
        values[i] = sqrt(i);
    len = round_trip(&codec_gorilla, 300);
    for (size_t cut = 0; cut < len; cut++)
        cr_assert_not(codec_gorilla.decode(span_of(bytes, cut), 300, out));
    bytes[len] = 0;
    cr_assert_not(codec_gorilla.decode(span_of(bytes, len + 1), 300, out));
    cr_assert_not(codec_gorilla.decode(span_of(bytes, len), 280, out));
}

Test(codec_gorilla, refuses_a_window_that_was_never_opened_or_is_too_wide)
{
    uint8_t unopened[9] = {0}, wide[10] = {0};

    unopened[8] = 1;                  /* 1 0: the window as it was */
    wide[8] = (uint8_t)(3 | 40 << 2); /* 1 1, 40 zeros, */
    wide[9] = 63;                     /* 64 bits */
    cr_assert_not(codec_gorilla.decode(span_of(unopened, sizeof(unopened)), 2, out));
    cr_assert_not(codec_gorilla.decode(span_of(wide, sizeof(wide)), 2, out));
}

Test(codec_raw, of_any_doubles_round_trip)
{
    struct rng rng = rng_from(1);

    for (uint32_t i = 0; i < 500; i++)
        values[i] = shape_nasty(&rng);
    cr_assert_eq(round_trip(&codec_raw, 500), 4000);
    cr_assert_not(codec_raw.decode(span_of(bytes, 3999), 500, out));
}

Test(codec_const, of_any_double_round_trip)
{
    for (uint64_t seed = 1; seed < 300; seed++) {
        struct rng rng = rng_from(seed);
        double value = shape_nasty(&rng);

        for (uint32_t i = 0; i < 50; i++)
            values[i] = value;
        cr_assert_leq(round_trip(&codec_const, 50), 8);
        values[49] = value == 1 ? 2 : 1;
        cr_assert_eq(round_trip(&codec_const, 50), 0);
    }
}

Test(codec_const, tells_zeros_apart)
{
    values[0] = 0.0;
    values[1] = -0.0;
    cr_assert_eq(round_trip(&codec_const, 2), 0);
}
