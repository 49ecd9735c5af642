#include "base/bits.h"

#include "tests/help/shapes.h"

#include <criterion/criterion.h>

Test(bits, the_first_bit_is_the_lowest_of_the_first_byte)
{
    uint8_t bytes[2];
    struct bit_writer w = bit_writer_of(bytes, sizeof(bytes));

    bits_put(&w, 1, 1);
    bits_put(&w, 2, 3);
    bits_put(&w, 0x1f, 5);
    cr_assert_eq(bits_finish(&w), bytes + 2);
    cr_assert_eq(bytes[0], 0xf5);
    cr_assert_eq(bytes[1], 0x01);
}

Test(bits, of_any_widths_round_trip)
{
    static uint64_t numbers[500];
    static unsigned widths[500];
    static uint8_t bytes[500 * 8];

    for (uint64_t seed = 1; seed < 500; seed++) {
        struct rng rng = rng_from(seed);
        unsigned n = 1 + (unsigned)rng_below(&rng, 500);
        struct bit_writer w = bit_writer_of(bytes, sizeof(bytes));
        struct bit_reader r;
        uint8_t *end;

        for (unsigned i = 0; i < n; i++) {
            widths[i] = (unsigned)rng_below(&rng, 65);
            numbers[i] = widths[i] == 0 ? 0 : rng_u64(&rng) >> (64 - widths[i]);
            bits_put(&w, numbers[i], widths[i]);
        }
        end = bits_finish(&w);
        cr_assert_not_null(end);
        r = bit_reader_of(span_of(bytes, (size_t)(end - bytes)));
        for (unsigned i = 0; i < n; i++) {
            cr_assert_eq(bits_get64(&r, widths[i]), numbers[i], "seed %d: number %u", (int)seed, i);
        }
        cr_assert(bits_end(&r));
    }
}

Test(bits, that_do_not_fit_are_told)
{
    uint8_t bytes[16];

    for (unsigned room = 0; room < 16; room++) {
        struct bit_writer fits = bit_writer_of(bytes, room), full = bit_writer_of(bytes, room);

        for (unsigned i = 0; i < room * 8; i++)
            bits_put(&fits, 1, 1);
        for (unsigned i = 0; i < room * 8 + 1; i++)
            bits_put(&full, 1, 1);
        cr_assert_eq(bits_finish(&fits), bytes + room);
        cr_assert_null(bits_finish(&full));
    }
}

Test(bits, beyond_the_end_are_zeros_and_bad)
{
    static const uint8_t bytes[3] = {0xff, 0xff, 0xff};
    struct bit_reader r = bit_reader_of(span_of(bytes, 3));

    cr_assert_eq(bits_peek(&r), 0xffffff);
    cr_assert_eq(bits_get(&r, 20), 0xfffff);
    cr_assert_eq(bits_peek(&r), 0xf);
    bits_get(&r, 5);
    cr_assert(r.bad);
    cr_assert_not(bits_end(&r));
    cr_assert_eq(bits_get64(&r, 64), 0);
}

Test(bits, an_end_with_a_set_bit_or_a_whole_byte_left_is_none)
{
    static const uint8_t bytes[2] = {0x81, 0x00};
    struct bit_reader r = bit_reader_of(span_of(bytes, 2));

    bits_skip(&r, 7);
    cr_assert_not(bits_end(&r));
    bits_skip(&r, 1);
    cr_assert_not(bits_end(&r), "a byte is left");
    bits_skip(&r, 1);
    cr_assert(bits_end(&r));
}

Test(bits, length_counts_to_the_highest_set_bit)
{
    cr_assert_eq(bit_length(0), 0);
    cr_assert_eq(bit_length(1), 1);
    cr_assert_eq(bit_length(255), 8);
    cr_assert_eq(bit_length(256), 9);
    cr_assert_eq(bit_length(UINT64_MAX), 64);
}
