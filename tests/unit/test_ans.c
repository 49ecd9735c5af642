#include "storage/ans.h"

#include "storage/chunk.h"
#include "tests/help/shapes.h"

#include <criterion/criterion.h>

static uint8_t symbols[CHUNK_SLOTS_MAX], out[CHUNK_SLOTS_MAX];
static uint8_t bytes[CHUNK_SLOTS_MAX * 2 + ANS_OVERHEAD];
static uint16_t words[CHUNK_SLOTS_MAX];

/* Random weights of KINDS symbols. */
static struct ans_model model_for(struct rng *rng, uint32_t kinds)
{
    struct ans_model model = {{0}};

    for (uint32_t i = 0; i < kinds; i++)
        model.weights[i] = 1;
    for (uint32_t left = ANS_TOTAL - kinds; left > 0;) {
        uint32_t some = 1 + (uint32_t)rng_below(rng, left);

        model.weights[rng_below(rng, kinds)] += (uint16_t)some;
        left -= some;
    }
    return model;
}

/* COUNT symbols, as often as their weights say. Returns how many bits they are worth. */
static double draw(struct rng *rng, const struct ans_model *model, uint32_t count)
{
    double bits = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = (uint32_t)rng_below(rng, ANS_TOTAL), symbol = 0;

        while (slot >= model->weights[symbol])
            slot -= model->weights[symbol++];
        symbols[i] = (uint8_t)symbol;
        bits += ANS_TOTAL_BITS - log2(model->weights[symbol]);
    }
    return bits;
}

Test(ans, symbols_round_trip_at_what_they_are_worth)
{
    for (uint64_t seed = 1; seed < 2000; seed++) {
        struct rng rng = rng_from(seed);
        uint32_t count = 1 + (uint32_t)rng_below(&rng, rng_below(&rng, 4) ? 100 : CHUNK_SLOTS_MAX);
        struct ans_model model = model_for(&rng, 1 + (uint32_t)rng_below(&rng, ANS_SYMBOLS_MAX));
        double bits = draw(&rng, &model, count);
        size_t len = (size_t)(ans_put(&model, symbols, count, words, bytes) - bytes);

        cr_assert(ans_get(&model, span_of(bytes, len), count, out), "seed %d", (int)seed);
        cr_assert_arr_eq(out, symbols, count);
        cr_assert_leq((double)len, bits / 8 * 1.005 + ANS_OVERHEAD, "seed %d: %zu bytes for %f bits", (int)seed, len,
                      bits);
    }
}

Test(ans, every_changed_bit_is_noticed_or_changes_a_symbol)
{
    struct rng rng = rng_from(5);
    struct ans_model model = model_for(&rng, 20);
    size_t len;

    draw(&rng, &model, 200);
    len = (size_t)(ans_put(&model, symbols, 200, words, bytes) - bytes);
    for (size_t bit = 0; bit < len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert(!ans_get(&model, span_of(bytes, len), 200, out) || memcmp(out, symbols, 200) != 0);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

Test(ans, refuses_what_is_cut_or_too_long)
{
    struct rng rng = rng_from(6);
    struct ans_model model = model_for(&rng, 20);
    size_t len;

    draw(&rng, &model, 200);
    len = (size_t)(ans_put(&model, symbols, 200, words, bytes) - bytes);
    memset(bytes + len, 0, 4);
    for (size_t other = 0; other < len + 4; other++)
        cr_assert_eq(ans_get(&model, span_of(bytes, other), 200, out), other == len, "%zu of %zu bytes", other, len);
    cr_assert_not(ans_get(&model, span_of(bytes, len), 199, out));
    cr_assert_not(ans_get(&model, span_of(bytes, len), 201, out));
}
