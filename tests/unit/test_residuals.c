#include "storage/residuals.h"

#include "storage/format.h"
#include "tests/help/shapes.h"

#include <criterion/criterion.h>

static uint64_t numbers[CHUNK_SLOTS_MAX], out[CHUNK_SLOTS_MAX];
static uint8_t bytes[RESIDUALS_BOUND(CHUNK_SLOTS_MAX)];
static struct residuals_scratch scratch;

/* Write and read COUNT numbers; returns how many bytes they took. */
static size_t round_trip(uint32_t count, struct residuals_plan plan, uint64_t seed)
{
    size_t len = (size_t)(residuals_put(numbers, count, &plan, &scratch, bytes) - bytes);
    struct reader in = reader_of(span_of(bytes, len));

    cr_assert_leq(len, RESIDUALS_BOUND(count));
    cr_assert(residuals_get(&in, count, out), "seed %d: form %d", (int)seed, plan.form);
    for (uint32_t i = 0; i < count; i++)
        cr_assert_eq(out[i], numbers[i], "seed %d form %d: number %u", (int)seed, plan.form, i);
    return len;
}

static size_t round_trip_best(uint32_t count, uint64_t seed)
{
    struct residuals_plan packed = residuals_plan_packed(numbers, count);
    struct residuals_plan refined = residuals_plan_refine(numbers, count, packed);
    size_t len = round_trip(count, refined, seed);

    /* The estimate is near the truth. */
    cr_assert_lt(fabs((double)len - refined.bits / 8), 24 + (double)len / 8, "seed %d form %d: %zu bytes, planned %f",
                 (int)seed, refined.form, len, refined.bits / 8);
    round_trip(count, packed, seed);
    return len;
}

Test(residuals, of_nothing_round_trip)
{
    round_trip_best(0, 0);
}

Test(residuals, of_every_width_round_trip)
{
    for (unsigned width = 0; width <= 64; width++) {
        struct rng rng = rng_from(width + 1);

        for (uint32_t count = 1; count < 300; count += 1 + count / 9) {
            for (uint32_t i = 0; i < count; i++)
                numbers[i] = width == 0 ? 0 : rng_u64(&rng) >> (64 - width);
            round_trip_best(count, width + 1);
        }
    }
}

Test(residuals, that_are_equally_likely_cost_log2_of_their_number)
{
    struct rng rng = rng_from(7);

    for (uint32_t i = 0; i < 4000; i++)
        numbers[i] = (uint64_t)rng_between(&rng, -50, 49);
    cr_assert_lt(round_trip_best(4000, 7), 4000 * log2(100) / 8 * 1.01 + 24);
}

Test(residuals, with_a_usual_number_cost_less)
{
    struct rng rng = rng_from(8);

    for (uint32_t i = 0; i < 4000; i++)
        numbers[i] = rng_below(&rng, 2) ? 0 : (uint64_t)rng_between(&rng, -50, 50);
    /* One bit for which it is, and half of the time log2(101). */
    cr_assert_lt(round_trip_best(4000, 8), 4000 * (1 + log2(101) / 2) / 8 * 1.02 + 24);
}

Test(residuals, in_a_bell_cost_their_entropy)
{
    struct rng rng = rng_from(9);

    for (uint32_t i = 0; i < 4000; i++)
        numbers[i] = (uint64_t)(int64_t)floor(1000 * shape_normal(&rng));
    cr_assert_lt(round_trip_best(4000, 9), 4000 * (log2(1000) + 2.047) / 8 * 1.02 + 48);
}

/* Any mixture of narrow and wide, near and far. */
static void random_numbers(struct rng *rng, uint32_t count)
{
    int64_t near = rng_between(rng, 1, (int64_t)1 << rng_below(rng, 60));
    int64_t far = near + rng_between(rng, 0, near);
    uint64_t base = rng_below(rng, 2) ? rng_u64(rng) : 0;
    unsigned kind = (unsigned)rng_below(rng, 4), rare = 1 + (unsigned)rng_below(rng, 200);

    for (uint32_t i = 0; i < count; i++) {
        numbers[i] = base + (uint64_t)rng_between(rng, -near, near);
        if (kind == 1)
            numbers[i] = base + (uint64_t)(int64_t)((double)near / 4 * shape_normal(rng));
        if (kind == 2 && rng_below(rng, 3) != 0)
            numbers[i] = base;
        if (rng_below(rng, rare) == 0)
            numbers[i] = base + (uint64_t)rng_between(rng, -far, far);
        if (kind == 3 && rng_below(rng, 100) == 0)
            numbers[i] = rng_u64(rng);
    }
}

Test(residuals, of_any_kind_round_trip)
{
    const char *only = getenv("SEED");
    uint64_t first = only == NULL ? 1 : strtoull(only, NULL, 10), count = only == NULL ? 4000 : 1;

    for (uint64_t seed = first; seed < first + count; seed++) {
        struct rng rng = rng_from(seed);
        uint32_t n = 1 + (uint32_t)rng_below(&rng, rng_below(&rng, 2) ? CHUNK_SLOTS_MAX : 200);

        random_numbers(&rng, n);
        round_trip_best(n, seed);
    }
}

Test(residuals, are_refused_when_something_is_missing_or_left)
{
    struct rng rng = rng_from(11);

    for (int form = 0; form < 3; form++) {
        struct residuals_plan plan;
        size_t len;

        for (uint32_t i = 0; i < 1000; i++)
            numbers[i] = form == 0   ? rng_u64(&rng) >> 54
                         : form == 1 ? rng_below(&rng, 150)
                                     : (uint64_t)(int64_t)(40 * shape_normal(&rng));
        plan = residuals_plan_refine(numbers, 1000, residuals_plan_packed(numbers, 1000));
        len = (size_t)(residuals_put(numbers, 1000, &plan, &scratch, bytes) - bytes);
        for (int change = -3; change <= 3; change++) {
            struct reader in = reader_of(span_of(bytes, len + (size_t)change));

            cr_assert_eq(residuals_get(&in, 1000, out), change == 0, "form %d, %d bytes", plan.form, change);
        }
    }
}

Test(residuals, garbage_is_safe)
{
    for (uint64_t seed = 1; seed < 30000; seed++) {
        struct rng rng = rng_from(seed);
        size_t len = rng_below(&rng, 200);
        uint8_t *garbage = malloc(len + 1);
        struct reader in = reader_of(span_of(garbage, len));

        for (size_t i = 0; i < len; i++)
            garbage[i] = (uint8_t)rng_u64(&rng);
        if (len != 0 && rng_below(&rng, 2))
            garbage[0] = (uint8_t)(rng_between(&rng, 60, RESIDUALS_BUCKETS) | rng_below(&rng, 2) << 7);
        residuals_get(&in, (uint32_t)rng_below(&rng, 100), out);
        free(garbage);
    }
}
