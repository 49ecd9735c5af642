/* residuals.h - a sequence of small integers as bits: the last stage of codec_decimal.c.
 *
 * Bytes: docs/format.md, "Residuals". Numbers are 64 bits wide and wrap around; "small" is what pays, any
 * value is possible. */
#ifndef PLUMBAGO_STORAGE_RESIDUALS_H
#define PLUMBAGO_STORAGE_RESIDUALS_H

#include "base/reader.h"
#include "storage/chunk.h"

/* How a sequence would be written. */
struct residuals_plan {
    uint8_t form;     /* enum residuals_form of format.h: 0..64 is packed with as many bits */
    uint64_t base;    /* what is subtracted from each */
    uint32_t patches; /* numbers that do not fit and are listed apart */
    double bits;      /* estimate of the whole, the heads included */

    /* RESIDUALS_RANGED only */
    unsigned low_bits; /* of each number, written as they are */
    uint32_t symbols;  /* values of the rest of it: 0..symbols-1 */
    uint32_t spike;    /* the one that is more frequent than the others, */
    uint32_t weight;   /* and by how much; 1: there is none */
};

/* Space for planning and writing; part of a codec's scratch. */
struct residuals_scratch {
    uint16_t counts[1024];
    uint16_t words[CHUNK_SLOTS_MAX]; /* of the ranged form */
};

/* The best packed form for the COUNT (0..CHUNK_SLOTS_MAX) numbers. */
struct residuals_plan residuals_plan_packed(const uint64_t *numbers, uint32_t count);

/* The plan, or a better one that takes longer to find. */
struct residuals_plan residuals_plan_refine(const uint64_t *numbers, uint32_t count, struct residuals_plan plan,
                                            struct residuals_scratch *scratch);

/* Write the numbers to TO, which has room for RESIDUALS_BOUND(count) bytes. Returns the place behind. */
uint8_t *residuals_put(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan,
                       struct residuals_scratch *scratch, uint8_t *to);

enum { RESIDUALS_HEAD_MAX = 64 };
#define RESIDUALS_BOUND(count) ((size_t)(count)*9 + RESIDUALS_HEAD_MAX)

/* Read exactly COUNT numbers from all that is left of IN. False for anything that residuals_put() does
 * not write for as many; then OUT is undefined. */
bool residuals_get(struct reader *in, uint32_t count, uint64_t *out);

#endif
