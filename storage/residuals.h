/* residuals.h - a sequence of small integers as bits: the last stage of codec_decimal.c.
 *
 * Bytes: docs/format.md, "Residuals". Numbers are 64 bits wide and wrap around; "small" is what pays, any
 * value is possible. */
#ifndef PLUMBAGO_STORAGE_RESIDUALS_H
#define PLUMBAGO_STORAGE_RESIDUALS_H

#include "base/reader.h"
#include "storage/chunk.h"

enum {
    RESIDUALS_BUCKETS_MAX = 64,
    RESIDUALS_HEAD_MAX = 128, /* bytes that do not depend on how many numbers there are */
};

/* How a sequence would be written. */
struct residuals_plan {
    uint8_t form;     /* enum residuals_form of format.h: 0..64 is packed with as many bits */
    uint64_t base;    /* what is subtracted from each number */
    uint32_t patches; /* numbers that do not fit then and are listed apart */
    double bits;      /* estimate of the whole, the heads included */

    /* RESIDUALS_RANGED and RESIDUALS_BUCKETS: a symbol, and low bits as they are */
    unsigned low_bits;
    uint32_t symbols;                     /* 0..symbols-1 */
    uint32_t usual;                       /* the most frequent one */
    uint32_t weight;                      /* RESIDUALS_RANGED: its weight; the others share the rest */
    uint8_t codes[RESIDUALS_BUCKETS_MAX]; /* RESIDUALS_BUCKETS: the weight of each, as 0..15 */
};

/* Space for writing; part of a codec's scratch. */
struct residuals_scratch {
    uint8_t symbols[CHUNK_SLOTS_MAX];
    uint16_t words[CHUNK_SLOTS_MAX];
};

/* The best packed form for the COUNT (0..CHUNK_SLOTS_MAX) numbers. */
struct residuals_plan residuals_plan_packed(const uint64_t *numbers, uint32_t count);

/* The plan, or a better one that takes longer to find. */
struct residuals_plan residuals_plan_refine(const uint64_t *numbers, uint32_t count, struct residuals_plan plan);

/* Write the numbers to TO, which has room for RESIDUALS_BOUND(count) bytes. Returns the place behind. */
uint8_t *residuals_put(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan,
                       struct residuals_scratch *scratch, uint8_t *to);

#define RESIDUALS_BOUND(count) ((size_t)(count)*9 + RESIDUALS_HEAD_MAX)

/* Read exactly COUNT numbers from all that is left of IN. False for anything that residuals_put() does
 * not write for as many; then OUT is undefined. */
bool residuals_get(struct reader *in, uint32_t count, uint64_t *out);

#endif
