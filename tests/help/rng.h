/* rng.h - random numbers that a seed repeats, and the loop over seeds.
 *
 *     FOR_SEEDS(seed, 200) {
 *         struct rng rng = rng_from(seed);
 *         ...
 *     }
 *
 * runs the body with 200 seeds: 1..200, or those from SEEDS_FROM=n in the environment on; SEED=n runs
 * it with that one only. When the test fails or crashes in the body, the seed is printed. */
#ifndef PLUMBAGO_TESTS_HELP_RNG_H
#define PLUMBAGO_TESTS_HELP_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

/* Not SEED times the step below: the numbers of seed n + 1 would be those of seed n, but for the first one. */
static inline struct rng rng_from(uint64_t seed)
{
    return (struct rng){seed};
}

/* 64 random bits (splitmix64). */
static inline uint64_t rng_u64(struct rng *r)
{
    uint64_t z = r->state += 0x9E3779B97F4A7C15;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

/* 0 <= result < N; N is not 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return (uint64_t)((unsigned __int128)rng_u64(r) * n >> 64);
}

/* FIRST <= result <= LAST. */
static inline int64_t rng_between(struct rng *r, int64_t first, int64_t last)
{
    return first + (int64_t)rng_below(r, (uint64_t)(last - first) + 1);
}

/* 0 <= result < 1. */
static inline double rng_unit(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

/* True once in N times. */
static inline bool rng_one_in(struct rng *r, uint64_t n)
{
    return rng_below(r, n) == 0;
}

static inline void rng_fill(struct rng *r, void *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)to)[i] = (unsigned char)rng_u64(r);
}

/* What FOR_SEEDS is made of: the first seed, and whether the loop goes on with SEED; it notes SEED for
 * the message of a failure, and forgets it when it returns false. */
uint64_t rng_seed_first(void);
bool rng_seed_next(uint64_t seed, uint64_t count);

#define FOR_SEEDS(seed, count) for (uint64_t seed = rng_seed_first(); rng_seed_next(seed, (count)); seed++)

#endif
