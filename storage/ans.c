/* ans.c - an asymmetric numeral system (Duda, 2013) with a range of weights that sum up to a power of two.
 *
 * A state x is a number in a numeral system whose digits are of unequal size: a symbol of weight w out of
 * T = 1024 makes x larger by T / w, which is what it is worth.
 *
 *     put:  x = (x div w) * T + begin of the symbol's slots + x mod w
 *     get:  slot = x mod T; x = (x div T) * w + slot - begin
 *
 * x is kept in 2^15 <= x < 2^31 by moving 16 bits at a time between it and a list of words. Last in, first
 * out: the encoder works from the end and stores its words downwards. Four states take turns, so that a
 * processor works on four symbols at once; each costs about 3 bytes a sequence. A state begins as 2^15 in
 * the encoder, so it must end as that in the decoder, which is as good as a checksum.
 *
 * The decoder has one table of what each slot means. The only unpredictable choice, whether a word is
 * needed, is arithmetic and no branch. */
#include "storage/ans.h"

#include "base/must.h"
#include "base/reader.h"
#include "storage/chunk.h"

enum {
    STATES = 4,
    LOW = 1 << 15,
    WORD_BITS = 16,
};

/* ---- put ---- */

/* The symbol on top of the state X; a word that must go first is stored below *WORDS. */
static uint32_t push(uint32_t x, uint32_t weight, uint32_t begin, uint16_t **words)
{
    if (x >= (uint32_t)(LOW >> ANS_TOTAL_BITS << WORD_BITS) * weight) {
        *--*words = (uint16_t)x;
        x >>= WORD_BITS;
    }
    return (x / weight << ANS_TOTAL_BITS) + begin + x % weight;
}

uint8_t *ans_put(const struct ans_model *model, const uint8_t *symbols, uint32_t count, uint16_t *words, uint8_t *to)
{
    uint16_t begins[ANS_SYMBOLS_MAX];
    uint16_t *end = words + count, *at = end;
    uint32_t x[STATES] = {LOW, LOW, LOW, LOW}, begin = 0;

    for (int i = 0; i < ANS_SYMBOLS_MAX; i++) {
        begins[i] = (uint16_t)begin;
        begin += model->weights[i];
    }
    MUST(begin == ANS_TOTAL);
    for (uint32_t i = count; i-- > 0;) {
        uint8_t symbol = symbols[i];

        MUST(model->weights[symbol] != 0);
        x[i % STATES] = push(x[i % STATES], model->weights[symbol], begins[symbol], &at);
    }
    for (int i = 0; i < STATES; i++)
        to = put_u32(to, x[i]);
    memcpy(to, at, (size_t)(end - at) * sizeof(*at));
    return to + (size_t)(end - at) * sizeof(*at);
}

/* ---- get ---- */

/* What a slot means: the symbol in the lowest 8 bits, its weight in 12, the slot's number within the symbol
 * in the rest. */
static void fill_slots(const struct ans_model *model, uint32_t slots[ANS_TOTAL])
{
    uint32_t begin = 0;

    for (uint32_t symbol = 0; symbol < ANS_SYMBOLS_MAX; symbol++) {
        uint32_t weight = model->weights[symbol], meaning = symbol | weight << 8;

        for (uint32_t i = 0; i < weight; i++)
            slots[begin + i] = meaning + (i << 20);
        begin += weight;
    }
    MUST(begin == ANS_TOTAL);
}

static inline uint8_t pop(const uint32_t *slots, uint32_t *x, const uint16_t *words, size_t *at)
{
    uint32_t slot = slots[*x % ANS_TOTAL];
    uint32_t below = (*x >> ANS_TOTAL_BITS) * (slot >> 8 & 0xfff) + (slot >> 20);
    uint32_t refilled = below << WORD_BITS | words[*at];

    /* Computed in any case: what is left to choose then is a conditional move. */
    __asm__("" : "+r"(refilled));
    *at += below < LOW;
    *x = below < LOW ? refilled : below;
    return (uint8_t)slot;
}

/* COUNT symbols from WORDS, of which one is taken for each symbol at most. Returns how many were taken. */
static size_t pop_all(const uint32_t *slots, uint32_t x[STATES], const uint16_t *words, uint32_t count, uint8_t *out)
{
    uint32_t a = x[0], b = x[1], c = x[2], d = x[3], i;
    size_t at = 0;

    for (i = 0; i + STATES <= count; i += STATES) {
        out[i] = pop(slots, &a, words, &at);
        out[i + 1] = pop(slots, &b, words, &at);
        out[i + 2] = pop(slots, &c, words, &at);
        out[i + 3] = pop(slots, &d, words, &at);
    }
    if (i < count)
        out[i++] = pop(slots, &a, words, &at);
    if (i < count)
        out[i++] = pop(slots, &b, words, &at);
    if (i < count)
        out[i++] = pop(slots, &c, words, &at);
    x[0] = a;
    x[1] = b;
    x[2] = c;
    x[3] = d;
    return at;
}

bool ans_get(const struct ans_model *model, struct span in, uint32_t count, uint8_t *out)
{
    uint32_t slots[ANS_TOTAL], x[STATES];
    uint16_t words[CHUNK_SLOTS_MAX + 1];
    struct reader reader = reader_of(in);
    struct span rest;

    MUST(count >= 1 && count <= CHUNK_SLOTS_MAX);
    for (int i = 0; i < STATES; i++) {
        x[i] = read_u32(&reader);
        if (x[i] < LOW || x[i] >> (WORD_BITS + 15) != 0)
            return false;
    }
    rest = reader_rest(&reader);
    if (reader.bad || rest.len % sizeof(*words) != 0 || rest.len / sizeof(*words) > count)
        return false;
    /* A copy, aligned and with zeros behind it up to the most that can be taken: the loop needs no check. */
    memcpy(words, rest.ptr, rest.len);
    memset((char *)words + rest.len, 0, (count + 1) * sizeof(*words) - rest.len);
    fill_slots(model, slots);
    return pop_all(slots, x, words, count, out) == rest.len / sizeof(*words) && x[0] == LOW && x[1] == LOW &&
           x[2] == LOW && x[3] == LOW;
}
