/* codec.h - the ways to write the present values of a chunk; one struct of functions each.
 *
 * Seen by chunk.c, the codecs, their tests and benchmarks only. To add a codec: a codec_<name>.c, its
 * id in format.h and docs/format.md, its line in the list of chunk.c. Ids are never used
 * again for something else. */
#ifndef PLUMBAGO_STORAGE_CODEC_H
#define PLUMBAGO_STORAGE_CODEC_H

#include "storage/chunk.h"
#include "storage/residuals.h"

/* Scratch of the encoders; belongs to a chunk_encoder. */
struct codec_scratch {
    uint64_t integers[CHUNK_SLOTS_MAX];
    uint64_t residuals[3][CHUNK_SLOTS_MAX]; /* of each order */
    uint16_t exceptions[CHUNK_SLOTS_MAX];   /* places of values that are no such decimals */
    struct residuals_scratch numbers;
    uint8_t bytes[RESIDUALS_BOUND(CHUNK_SLOTS_MAX) + CHUNK_SLOTS_MAX];
};

struct codec {
    uint8_t id; /* enum codec_id of format.h */
    const char *name;
    /* Write the N (1..CHUNK_SLOTS_MAX) values, none of them NaN, to TO in at most MAX bytes. Returns
     * their number in *LEN; false when that is not possible or cannot pay (then TO is undefined). */
    bool (*encode)(struct codec_scratch *scratch, const double *values, uint32_t n, uint8_t *to, size_t max,
                   size_t *len);
    /* Read exactly N (1..CHUNK_SLOTS_MAX) values from all of IN. False when IN is not what encode()
     * writes for N values; then OUT is undefined. */
    bool (*decode)(struct span in, uint32_t n, double *out);
};

/* A double and its bits, as a number. */
static inline uint64_t value_bits(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof(bits));
    return bits;
}

static inline double bits_value(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof(v));
    return v;
}

extern const struct codec codec_const;   /* all values are the same */
extern const struct codec codec_decimal; /* integers over a power of ten */
extern const struct codec codec_gorilla; /* XOR with the value before */
extern const struct codec codec_raw;     /* 8 bytes each: the bound */

#endif
