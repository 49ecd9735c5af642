/* ans.h - symbols to bytes by an asymmetric numeral system: each costs what its weight says, to the
 * fraction of a bit. Used by residuals.c. Bytes: docs/format.md, "Symbols". */
#ifndef PLUMBAGO_STORAGE_ANS_H
#define PLUMBAGO_STORAGE_ANS_H

#include "base/span.h"

#include <stdint.h>

enum {
    ANS_SYMBOLS_MAX = 256,
    ANS_TOTAL_BITS = 10,
    ANS_TOTAL = 1 << ANS_TOTAL_BITS, /* what the weights of all symbols sum up to */
    ANS_OVERHEAD = 16,               /* bytes that come on top of what the weights say */
};

/* How often a symbol is expected: WEIGHTS[s] times in ANS_TOTAL. A symbol of weight 0 cannot be written. */
struct ans_model {
    uint16_t weights[ANS_SYMBOLS_MAX];
};

/* Write the COUNT symbols to TO, which has room for 2 * COUNT + ANS_OVERHEAD bytes. WORDS is scratch space
 * for COUNT numbers. Returns the place behind. */
uint8_t *ans_put(const struct ans_model *model, const uint8_t *symbols, uint32_t count, uint16_t *words, uint8_t *to);

/* Read exactly COUNT (1..CHUNK_SLOTS_MAX) symbols from all of IN. The model's weights sum up to ANS_TOTAL.
 * False for anything that ans_put() does not write; then OUT is undefined. */
bool ans_get(const struct ans_model *model, struct span in, uint32_t count, uint8_t *out);

#endif
