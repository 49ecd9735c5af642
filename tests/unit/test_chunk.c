#include "storage/chunk.h"

#include "storage/format.h"
#include "tests/help/shapes.h"

#include <criterion/criterion.h>

static struct chunk_encoder *encoder;

static void setup(void)
{
    cr_assert_eq(chunk_encoder_new(&encoder, NULL), 0);
}

static void teardown(void)
{
    chunk_encoder_free(encoder);
}

TestSuite(chunk, .init = setup, .fini = teardown);

static bool same(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

/* Seeds FROM.. of a random test; SEED=n in the environment repeats one of them alone. */
static uint64_t seeds_first(uint64_t *count)
{
    const char *only = getenv("SEED");

    if (only == NULL)
        return 1;
    *count = 1;
    return strtoull(only, NULL, 10);
}

/* Encode, check the bound, decode over other values, compare to the bit, NaN slots untouched. Returns the length. */
static size_t round_trip(const double *values, uint32_t slots, uint64_t seed)
{
    static uint8_t bytes[CHUNK_SLOTS_MAX * 9 + 16];
    static double out[CHUNK_SLOTS_MAX];
    size_t len = chunk_encode(encoder, values, slots, bytes);
    int present = 0, written;

    cr_assert_leq(len, chunk_bound(slots), "seed %lu", (unsigned long)seed);
    for (uint32_t i = 0; i < slots; i++) {
        out[i] = -77.0 - i;
        present += values[i] == values[i];
    }
    if (present == 0) {
        cr_assert_eq(len, 0);
        return 0;
    }
    written = chunk_decode(span_of(bytes, len), slots, out);
    cr_assert_eq(written, present, "seed %lu: %d of %d points", (unsigned long)seed, written, present);
    for (uint32_t i = 0; i < slots; i++)
        cr_assert(same(out[i], values[i] == values[i] ? values[i] : -77.0 - i), "seed %lu slot %u: %a, want %a",
                  (unsigned long)seed, i, out[i], values[i]);
    return len;
}

Test(chunk, of_no_point_is_no_bytes)
{
    double values[3] = {NAN, NAN, NAN};
    uint8_t bytes[64];

    cr_assert_eq(chunk_encode(encoder, values, 3, bytes), 0);
}

Test(chunk, of_one_slot_keeps_it)
{
    for (int i = 0; i < 64; i++) {
        struct rng rng = rng_from((uint64_t)i);
        double value = shape_nasty(&rng);

        round_trip(&value, 1, (uint64_t)i);
    }
}

Test(chunk, of_a_constant_takes_few_bytes)
{
    double values[720];

    for (int i = 0; i < 720; i++)
        values[i] = 42;
    cr_assert_leq(round_trip(values, 720, 0), 3);
    for (int i = 0; i < 720; i++)
        values[i] = -0.0;
    cr_assert_leq(round_trip(values, 720, 0), 2);
    for (int i = 0; i < 720; i++)
        values[i] = 0.1;
    cr_assert_leq(round_trip(values, 720, 0), 9);
}

Test(chunk, leaves_absent_slots_untouched)
{
    double values[8] = {NAN, 1, 2, NAN, NAN, 5, NAN, NAN};
    double out[8] = {10, 11, 12, 13, 14, 15, 16, 17};
    const double want[8] = {10, 1, 2, 13, 14, 5, 16, 17};
    uint8_t bytes[128];
    size_t len = chunk_encode(encoder, values, 8, bytes);

    cr_assert_eq(chunk_decode(span_of(bytes, len), 8, out), 3);
    cr_assert_arr_eq(out, want, sizeof(want));
}

Test(chunk, newer_generations_lay_over_older_ones)
{
    double old[4] = {1, 2, 3, NAN}, new[4] = {NAN, 20, NAN, 40}, out[4] = {NAN, NAN, NAN, NAN};
    const double want[4] = {1, 20, 3, 40};
    uint8_t bytes[128];
    size_t len = chunk_encode(encoder, old, 4, bytes);

    chunk_decode(span_of(bytes, len), 4, out);
    len = chunk_encode(encoder, new, 4, bytes);
    chunk_decode(span_of(bytes, len), 4, out);
    cr_assert_arr_eq(out, want, sizeof(want));
}

Test(chunk, all_payloads_of_nan_are_absent)
{
    double values[3] = {1, 0, 2}, out[3] = {0, 0, 0};
    uint64_t nan_bits[] = {0x7ff8000000000000, 0xfff8000000000000, 0x7ff0000000000001, 0xffffffffffffffff};
    uint8_t bytes[128];

    for (int i = 0; i < 4; i++) {
        size_t len;

        memcpy(&values[1], &nan_bits[i], 8);
        len = chunk_encode(encoder, values, 3, bytes);
        cr_assert_eq(chunk_decode(span_of(bytes, len), 3, out), 2);
        cr_assert_eq(out[1], 0);
    }
}

/* A random row: a shape or nasty values, with no, few or many gaps, or long ones. */
static void random_row(struct rng *rng, double *values, uint32_t slots)
{
    unsigned shape = (unsigned)rng_below(rng, SHAPES_COMPARED + SHAPES_COLLECTED + 3);
    unsigned gaps = (unsigned)rng_below(rng, 4);
    double chance = gaps == 1 ? 0.02 : gaps == 2 ? rng_unit(rng) : 0;
    bool away = false;

    if (shape < SHAPES_COMPARED)
        shapes_compared[shape].fill(rng, values, slots);
    else if (shape < SHAPES_COMPARED + SHAPES_COLLECTED)
        shapes_collected[shape - SHAPES_COMPARED].fill(rng, values, slots);
    else
        for (uint32_t i = 0; i < slots; i++)
            values[i] = shape_nasty(rng);
    /* Single strange values among tame ones. */
    if (rng_below(rng, 3) == 0)
        for (unsigned i = 0; i < 1 + rng_below(rng, 5); i++)
            values[rng_below(rng, slots)] = shape_nasty(rng);
    for (uint32_t i = 0; i < slots; i++) {
        if (gaps == 3 && rng_below(rng, 50) == 0)
            away = !away;
        if (away || rng_unit(rng) < chance)
            values[i] = NAN;
    }
}

Test(chunk, round_trips_to_the_bit)
{
    static double values[CHUNK_SLOTS_MAX];
    uint64_t count = 3000, first = seeds_first(&count);

    for (uint64_t seed = first; seed < first + count; seed++) {
        struct rng rng = rng_from(seed);
        uint32_t slots = 1 + (uint32_t)rng_below(&rng, rng_below(&rng, 8) == 0 ? CHUNK_SLOTS_MAX : 300);

        random_row(&rng, values, slots);
        round_trip(values, slots, seed);
    }
}

Test(chunk, decodes_any_part)
{
    static double values[1000], whole[1000], part[1000];
    static uint8_t bytes[10000];

    for (uint64_t seed = 1; seed < 200; seed++) {
        struct rng rng = rng_from(seed);
        uint32_t slots = 1 + (uint32_t)rng_below(&rng, 1000);
        uint32_t first = (uint32_t)rng_below(&rng, slots + 1), count = (uint32_t)rng_below(&rng, slots - first + 1);
        size_t len;
        int want = 0;

        random_row(&rng, values, slots);
        len = chunk_encode(encoder, values, slots, bytes);
        if (len == 0)
            continue;
        for (uint32_t i = 0; i < slots; i++)
            whole[i] = part[i] = -5;
        chunk_decode(span_of(bytes, len), slots, whole);
        for (uint32_t i = first; i < first + count; i++)
            want += values[i] == values[i];
        cr_assert_eq(chunk_decode_range(span_of(bytes, len), slots, first, count, part), want, "seed %d", (int)seed);
        cr_assert_arr_eq(part, whole + first, count * sizeof(double));
        for (uint32_t i = count; i < slots; i++)
            cr_assert_eq(part[i], -5, "seed %d: wrote beyond", (int)seed);
    }
}

/* Whatever the bytes are: an error and no change, or points in the slots; never a crash. */
static void decode_garbage(const uint8_t *bytes, size_t len, uint32_t slots)
{
    static double out[CHUNK_SLOTS_MAX];
    uint8_t *copy = malloc(len + 1); /* of its own, so that a sanitizer sees a read beyond it */
    int rc;

    memcpy(copy, bytes, len);
    for (uint32_t i = 0; i < slots; i++)
        out[i] = -1;
    rc = chunk_decode(span_of(copy, len), slots, out);
    cr_assert(rc == ERR_CORRUPT || (rc >= 1 && rc <= (int)slots));
    if (rc < 0)
        for (uint32_t i = 0; i < slots; i++)
            cr_assert_eq(out[i], -1);
    free(copy);
}

Test(chunk, survives_damage)
{
    static double values[CHUNK_SLOTS_MAX];
    static uint8_t bytes[CHUNK_SLOTS_MAX * 9 + 16];
    uint64_t count = 300, first = seeds_first(&count);

    for (uint64_t seed = first; seed < first + count; seed++) {
        struct rng rng = rng_from(seed);
        uint32_t slots = 1 + (uint32_t)rng_below(&rng, 200);
        size_t len;

        random_row(&rng, values, slots);
        len = chunk_encode(encoder, values, slots, bytes);
        for (int i = 0; i < 50 && len != 0; i++) {
            size_t at = rng_below(&rng, rng_below(&rng, 2) ? len : len < 16 ? len : 16);
            uint8_t before = bytes[at];

            bytes[at] ^= (uint8_t)(1 << rng_below(&rng, 8));
            decode_garbage(bytes, len, slots);
            decode_garbage(bytes, rng_below(&rng, len), slots);
            bytes[at] = before;
            decode_garbage(bytes, len, 1 + (uint32_t)rng_below(&rng, 300));
        }
    }
}

Test(chunk, survives_random_bytes)
{
    static uint8_t bytes[600];
    uint64_t count = 20000, first = seeds_first(&count);

    for (uint64_t seed = first; seed < first + count; seed++) {
        struct rng rng = rng_from(seed);
        size_t len = rng_below(&rng, sizeof(bytes));

        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)rng_u64(&rng);
        /* Mostly with a head that gets beyond the first check. */
        if (len != 0 && rng_below(&rng, 4) != 0)
            bytes[0] = (uint8_t)(rng_below(&rng, 3) << 6 | rng_between(&rng, CODEC_CONST, CODEC_RAW));
        decode_garbage(bytes, len, 1 + (uint32_t)rng_below(&rng, 300));
    }
}

Test(chunk, refuses_a_presence_that_does_not_fit)
{
    const uint8_t too_long[] = {CHUNK_PRESENCE_RUNS | CODEC_CONST, 0, 9};
    const uint8_t empty_run[] = {CHUNK_PRESENCE_RUNS | CODEC_CONST, 4, 0, 4};
    const uint8_t nothing[] = {CHUNK_PRESENCE_RUNS | CODEC_CONST, 8};
    const uint8_t bit_beyond[] = {CHUNK_PRESENCE_BITMAP | CODEC_CONST, 0x3f};
    const uint8_t no_kind[] = {CHUNK_PRESENCE_MASK | CODEC_CONST};
    const uint8_t fits[] = {CHUNK_PRESENCE_RUNS | CODEC_CONST, 4, 4};
    double out[8];

    cr_assert_eq(chunk_decode(span_of(too_long, sizeof(too_long)), 8, out), ERR_CORRUPT);
    cr_assert_eq(chunk_decode(span_of(empty_run, sizeof(empty_run)), 8, out), ERR_CORRUPT);
    cr_assert_eq(chunk_decode(span_of(nothing, sizeof(nothing)), 8, out), ERR_CORRUPT);
    cr_assert_eq(chunk_decode(span_of(bit_beyond, sizeof(bit_beyond)), 5, out), ERR_CORRUPT);
    cr_assert_eq(chunk_decode(span_of(no_kind, sizeof(no_kind)), 8, out), ERR_CORRUPT);
    cr_assert_eq(chunk_decode(span_of(NULL, 0), 8, out), ERR_CORRUPT);
    cr_assert_eq(chunk_decode(span_of(fits, sizeof(fits)), 8, out), 4);
}

Test(chunk, names_its_codec)
{
    double values[4] = {1, 1, 1, 1};
    uint8_t bytes[64];
    size_t len = chunk_encode(encoder, values, 4, bytes);

    cr_assert_str_eq(chunk_codec(span_of(bytes, len)), "const");
    cr_assert_str_eq(chunk_codec(span_of("\x3f", 1)), "unknown");
}
