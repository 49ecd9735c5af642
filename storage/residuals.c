/* residuals.c - small integers as bits, in one of two forms.
 *
 * Packed. Subtract a base, write what is left with the same number of bits each. Numbers that would need
 * more are listed apart ("patches"). The base is either the smallest number (all are then at or above
 * it), or so that zero lies in the middle (differences of a wandering value, with outliers on both sides).
 * For each of the two a histogram of bit lengths tells the cost of every width at once.
 *
 * Ranged. When K values occur about equally often, log2 K bits each are enough, and packing rounds that up
 * to a whole number: half a bit lost on average, a tenth of a chunk of counters or gauges. And real
 * gauges often do not move at all: one value, nearly always "no difference", is more frequent than its
 * neighbours. Both is what an asymmetric numeral system (Duda, 2013) of this simple model gives: slot 0 ..
 * weight-1 of M = K - 1 + weight stand for the spike, one slot for every other value. No table has to be
 * built or stored; a symbol is one division of the state by M, done as a multiplication.
 *
 *     decode: slot = x mod M, x = x div M          for a plain value
 *             x = (x div M) * weight + slot        for the spike
 *             x = x << 16 | next word              when x < L
 *     L = the largest multiple of M up to 2^15; so L <= x < 2^31 before every step.
 *
 * Four states take turns so that their multiplications overlap. A state that ends as L, the encoder's
 * start, proves that nothing was lost. Of wide ranges only the top ten bits are treated so; the low bits,
 * which look random then, follow as they are. */
#include "storage/residuals.h"

#include "base/bits.h"
#include "base/must.h"
#include "storage/format.h"

#include <math.h>

enum {
    STATES = 4,
    SYMBOLS_MAX = 1024,
    SLOTS_MAX = 4096, /* M */
    STATE_LOW_BITS = 15,
    PATCH_SHARE = 4,         /* at most one number in so many is a patch */
    RANGED_HEAD_BITS = 200,  /* of states and parameters: what the ranged form has to save at least */
    PATCH_POSITION_BITS = 8, /* usual length of a gap between patches */
};

/* ---- packed: plan ---- */

static uint64_t number_min(const uint64_t *numbers, uint32_t count)
{
    int64_t min = (int64_t)numbers[0];

    for (uint32_t i = 1; i < count; i++)
        min = (int64_t)numbers[i] < min ? (int64_t)numbers[i] : min;
    return (uint64_t)min;
}

/* The base for numbers around zero that WIDTH bits shall hold. */
static uint64_t base_around_zero(unsigned width)
{
    return width == 0 ? 0 : 0 - (UINT64_C(1) << (width - 1));
}

/* Find the width of the least cost: LENGTHS[b] numbers need b bits. */
static void best_width(const uint32_t lengths[65], uint32_t count, struct residuals_plan *plan)
{
    uint32_t patches = 0;
    double patch_bits = 0;

    plan->bits = INFINITY;
    for (int width = 64; width >= 0; width--) {
        double bits = (double)count * width + patch_bits;

        if (bits <= plan->bits) {
            plan->bits = bits;
            plan->form = (uint8_t)width;
            plan->patches = patches;
        }
        patches += lengths[width];
        patch_bits += (double)lengths[width] * (PATCH_POSITION_BITS + (width / 7 + 1) * 8);
        if (patches > count / PATCH_SHARE)
            break;
    }
}

struct residuals_plan residuals_plan_packed(const uint64_t *numbers, uint32_t count)
{
    struct residuals_plan above = {.weight = 1}, around = {.weight = 1};
    uint32_t lengths_above[65] = {0}, lengths_around[65] = {0};

    if (count == 0)
        return above;
    above.base = number_min(numbers, count);
    for (uint32_t i = 0; i < count; i++) {
        lengths_above[bit_length(numbers[i] - above.base)]++;
        lengths_around[bit_length(zigzag((int64_t)numbers[i]))]++;
    }
    best_width(lengths_above, count, &above);
    best_width(lengths_around, count, &around);
    around.base = base_around_zero(around.form);
    above.bits += 8.0 + 8.0 * (double)varint_size(zigzag((int64_t)above.base));
    around.bits += 8.0 + 8.0 * (double)varint_size(zigzag((int64_t)around.base));
    return around.bits < above.bits ? around : above;
}

/* ---- ranged: plan ---- */

static bool fits(uint64_t offset, unsigned width)
{
    return width == 64 || offset >> width == 0;
}

/* The least and the largest of the offsets from the base that are no patches. */
static void window_ends(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan, uint64_t *low,
                        uint64_t *high)
{
    *low = UINT64_MAX;
    *high = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = numbers[i] - plan->base;

        if (!fits(offset, plan->form))
            continue;
        *low = offset < *low ? offset : *low;
        *high = offset > *high ? offset : *high;
    }
}

/* Whether a number is listed apart. */
static bool is_patch(const struct residuals_plan *plan, uint64_t offset)
{
    if (plan->form == RESIDUALS_RANGED)
        return offset >> plan->low_bits >= plan->symbols;
    return !fits(offset, plan->form);
}

static uint32_t count_patches(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan)
{
    uint32_t patches = 0;

    for (uint32_t i = 0; i < count; i++)
        patches += is_patch(plan, numbers[i] - plan->base);
    return patches;
}

/* Find the spike, how often it occurs, and the weight that makes the cost least. */
static void plan_spike(const uint64_t *numbers, uint32_t count, struct residuals_plan *plan, uint16_t *counts)
{
    uint32_t k = plan->symbols, most;
    double others;

    memset(counts, 0, k * sizeof(*counts));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = numbers[i] - plan->base;

        /* A patch stands as the spike in the stream; which one that is does not matter here. */
        if (offset < k)
            counts[offset]++;
    }
    plan->spike = 0;
    for (uint32_t i = 1; i < k; i++)
        if (counts[i] > counts[plan->spike])
            plan->spike = i;
    most = counts[plan->spike] + plan->patches;
    others = (double)count - most;
    plan->weight = SLOTS_MAX - (k - 1);
    if (others > 0 && (double)most * (k - 1) / others < plan->weight)
        plan->weight = (uint32_t)((double)most * (k - 1) / others + 0.5);
    plan->weight = plan->weight < 1 ? 1 : plan->weight;
    plan->bits = count * log2(plan->weight + k - 1) - most * log2(plan->weight);
}

struct residuals_plan residuals_plan_refine(const uint64_t *numbers, uint32_t count, struct residuals_plan plan,
                                            struct residuals_scratch *scratch)
{
    struct residuals_plan ranged = plan;
    uint64_t low, high;
    unsigned length;

    /* Not worth the heads; or no room to count in. */
    if (count == 0 || plan.bits < 2 * RANGED_HEAD_BITS)
        return plan;
    window_ends(numbers, count, &plan, &low, &high);
    length = bit_length(high - low);
    ranged.form = RESIDUALS_RANGED;
    ranged.base = plan.base + low;
    ranged.low_bits = length > 10 ? length - 10 : 0;
    ranged.symbols = (uint32_t)((high - low) >> ranged.low_bits) + 1;
    /* Fewer than packed has, where the top of the range is beyond its highest number. */
    if (plan.patches != 0)
        ranged.patches = count_patches(numbers, count, &ranged);
    if (ranged.low_bits == 0)
        plan_spike(numbers, count, &ranged, scratch->counts);
    else
        ranged.bits = count * (log2(ranged.symbols) + ranged.low_bits);
    /* The patches cost the same in both. */
    ranged.bits += RANGED_HEAD_BITS + plan.bits - (double)count * plan.form;
    return ranged.symbols > 1 && ranged.bits < plan.bits ? ranged : plan;
}

/* ---- write ---- */

static uint8_t *put_patches(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan, uint8_t *to)
{
    uint32_t next = 0;

    to = put_varint(to, plan->patches);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = numbers[i] - plan->base;

        if (!is_patch(plan, offset))
            continue;
        to = put_varint(to, i - next);
        to = put_varint(to, zigzag((int64_t)offset));
        next = i + 1;
    }
    return to;
}

static uint8_t *put_packed(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan, uint8_t *to)
{
    struct bit_writer w = bit_writer_of(to, RESIDUALS_BOUND(count));

    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = numbers[i] - plan->base;

        bits_put(&w, is_patch(plan, offset) ? 0 : offset, plan->form);
    }
    return bits_finish(&w);
}

/* The numeral system of a plan. */
struct numerals {
    uint32_t slots;   /* M */
    uint32_t weight;  /* slots of the spike, the first ones */
    uint32_t spike;   /* its symbol */
    uint32_t low;     /* L */
    uint64_t inverse; /* x div M is x * inverse >> shift for all x < 2^31 */
    unsigned shift;
};

static struct numerals numerals_of(uint32_t symbols, uint32_t spike, uint32_t weight)
{
    struct numerals s = {.slots = symbols - 1 + weight, .weight = weight, .spike = spike};

    /* With 2^shift >= 2^31 * M the rounding of the inverse, less than M in 2^shift, stays without effect. */
    s.shift = 31 + bit_length(s.slots);
    s.inverse = (UINT64_C(1) << s.shift) / s.slots + 1;
    s.low = (UINT32_C(1) << STATE_LOW_BITS) / s.slots * s.slots;
    return s;
}

/* Put SYMBOL on top of the state X; a word that must go first is stored below WORDS. */
static uint32_t push(const struct numerals *s, uint32_t x, uint32_t symbol, uint16_t **words)
{
    uint32_t weight = symbol == s->spike ? s->weight : 1;
    uint32_t slot = symbol < s->spike ? s->weight + symbol : s->weight + symbol - 1;

    if (x >= (uint64_t)(s->low / s->slots << 16) * weight) {
        *--*words = (uint16_t)x;
        x >>= 16;
    }
    if (symbol == s->spike)
        return x / weight * s->slots + x % weight;
    return x * s->slots + slot;
}

static uint8_t *put_ranged(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan,
                           struct residuals_scratch *scratch, uint8_t *to)
{
    struct numerals s = numerals_of(plan->symbols, plan->spike, plan->weight);
    struct bit_writer low = bit_writer_of(to, RESIDUALS_BOUND(count));
    uint16_t *end = scratch->words + CHUNK_SLOTS_MAX, *words = end;
    uint32_t x[STATES];

    for (uint32_t i = 0; i < count; i++)
        bits_put(&low, (numbers[i] - plan->base) & ((UINT64_C(1) << plan->low_bits) - 1), plan->low_bits);
    to = bits_finish(&low);
    for (int i = 0; i < STATES; i++)
        x[i] = s.low;
    /* Last in, first out. */
    for (uint32_t i = count; i-- > 0;) {
        uint64_t offset = numbers[i] - plan->base;

        x[i % STATES] =
            push(&s, x[i % STATES], is_patch(plan, offset) ? s.spike : (uint32_t)(offset >> plan->low_bits), &words);
    }
    for (int i = 0; i < STATES; i++)
        to = put_u32(to, x[i]);
    memcpy(to, words, (size_t)(end - words) * sizeof(*words));
    return to + (size_t)(end - words) * sizeof(*words);
}

uint8_t *residuals_put(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan,
                       struct residuals_scratch *scratch, uint8_t *to)
{
    *to++ = (uint8_t)(plan->form | (plan->patches != 0 ? RESIDUALS_PATCHES : 0));
    to = put_varint(to, zigzag((int64_t)plan->base));
    if (plan->form == RESIDUALS_RANGED) {
        *to++ = (uint8_t)plan->low_bits;
        to = put_varint(to, plan->symbols);
        to = put_varint(to, plan->weight);
        to = put_varint(to, plan->spike);
    }
    if (plan->patches != 0)
        to = put_patches(numbers, count, plan, to);
    if (plan->form == RESIDUALS_RANGED)
        return put_ranged(numbers, count, plan, scratch, to);
    return put_packed(numbers, count, plan, to);
}

/* ---- read ---- */

/* COUNT numbers of WIDTH (0..64) bits each, which are all of IN; ADD is added to each, shifted by SHIFT. */
static bool unpack(struct span in, uint32_t count, unsigned width, uint64_t add, uint64_t *out)
{
    const uint8_t *bytes = (const uint8_t *)in.ptr;
    uint64_t mask = width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
    size_t bits = (size_t)count * width, at = 0;
    uint32_t i = 0;

    if (in.len != (bits + 7) / 8 || (bits % 8 != 0 && bytes[in.len - 1] >> bits % 8 != 0))
        return false;
    if (width == 0) {
        for (; i < count; i++)
            out[i] = add;
        return true;
    }
    /* As long as 8 bytes can be loaded, and the number lies within them: */
    if (width <= 57 && in.len >= 8) {
        size_t safe = ((in.len - 8) * 8 + 7) / width + 1;

        for (; i < count && i < safe; i++, at += width)
            out[i] = (get_u64(bytes + at / 8) >> at % 8 & mask) + add;
    }
    for (; i < count; i++, at += width) {
        uint64_t v = bits_load(bytes, in.len, at / 8) >> at % 8;

        if (width + at % 8 > 64)
            v |= (uint64_t)bytes[at / 8 + 8] << (64 - at % 8);
        out[i] = (v & mask) + add;
    }
    return true;
}

/* Undo push(): the symbol, and the state below it. The choices are unpredictable, so none is a branch. */
static inline uint32_t pop(const struct numerals *s, uint32_t *x, const uint16_t **words)
{
    uint32_t q = (uint32_t)(*x * s->inverse >> s->shift);
    uint32_t slot = *x - q * s->slots;
    uint32_t plain = slot - s->weight;
    uint32_t is_spike = 0 - (uint32_t)(slot < s->weight);
    uint32_t symbol = plain + (plain >= s->spike);
    uint32_t below = (q & ~is_spike) | ((q * s->weight + slot) & is_spike);
    uint32_t refill = below < s->low;
    uint16_t word;

    memcpy(&word, *words, sizeof(word));
    *words += refill;
    *x = refill ? below << 16 | word : below;
    return (symbol & ~is_spike) | (s->spike & is_spike);
}

/* The symbols, shifted by LOW_BITS and added to what is in OUT, from all of IN. */
static bool get_symbols(struct span in, uint32_t count, const struct numerals *s, unsigned low_bits, uint64_t *out)
{
    struct reader reader = reader_of(in);
    uint16_t words[CHUNK_SLOTS_MAX + STATES];
    const uint16_t *at = words, *end;
    uint32_t x[STATES];
    struct span rest;

    for (int i = 0; i < STATES; i++) {
        x[i] = read_u32(&reader);
        if (x[i] < s->low || x[i] >= (uint64_t)s->low << 16)
            return false;
    }
    rest = reader_rest(&reader);
    if (reader.bad || rest.len % 2 != 0 || rest.len / 2 > count)
        return false;
    /* A copy, aligned and with room behind it: each of the symbols takes one word at most, whatever they
     * are, so that the loop needs no check. */
    memcpy(words, rest.ptr, rest.len);
    end = words + rest.len / 2;
    memset(words + rest.len / 2, 0, (count + STATES - rest.len / 2) * sizeof(*words));
    uint32_t i = 0;
    for (; i + STATES <= count; i += STATES)
        for (uint32_t k = 0; k < STATES; k++)
            out[i + k] += (uint64_t)pop(s, &x[k], &at) << low_bits;
    for (; i < count; i++)
        out[i] += (uint64_t)pop(s, &x[i % STATES], &at) << low_bits;
    return at == end && x[0] == s->low && x[1] == s->low && x[2] == s->low && x[3] == s->low;
}

static bool get_ranged(struct reader *in, const struct residuals_plan *plan, uint32_t count, uint64_t *out)
{
    struct numerals s = numerals_of(plan->symbols, plan->spike, plan->weight);
    struct span low = read_bytes(in, ((size_t)count * plan->low_bits + 7) / 8);

    return !in->bad && unpack(low, count, plan->low_bits, plan->base, out) &&
           get_symbols(reader_rest(in), count, &s, plan->low_bits, out);
}

/* Put the numbers that are listed apart in their places. */
static bool get_patches(struct reader patches, uint32_t count, uint64_t base, uint64_t *out)
{
    uint64_t number = read_varint(&patches), at = 0;

    for (; number != 0 && !patches.bad; number--) {
        uint64_t gap = read_varint(&patches);

        if (gap >= count - at)
            return false;
        at += gap;
        out[at++] = base + (uint64_t)unzigzag(read_varint(&patches));
    }
    return !patches.bad;
}

/* Skip the list of patches; there is one at least. */
static void skip_patches(struct reader *in, uint32_t count)
{
    uint64_t number = read_varint(in);

    if (number == 0 || number > count)
        in->bad = true;
    for (; number != 0 && !in->bad; number--) {
        read_varint(in);
        read_varint(in);
    }
}

static bool read_ranged_head(struct reader *in, struct residuals_plan *plan)
{
    uint64_t symbols, weight, spike;

    plan->low_bits = read_u8(in);
    symbols = read_varint(in);
    weight = read_varint(in);
    spike = read_varint(in);
    plan->symbols = (uint32_t)symbols;
    plan->weight = (uint32_t)weight;
    plan->spike = (uint32_t)spike;
    return !in->bad && plan->low_bits <= 54 && symbols >= 2 && symbols <= SYMBOLS_MAX && weight >= 1 &&
           weight <= SLOTS_MAX - (symbols - 1) && spike < symbols;
}

bool residuals_get(struct reader *in, uint32_t count, uint64_t *out)
{
    struct residuals_plan plan = {.form = read_u8(in)};
    bool patched = (plan.form & RESIDUALS_PATCHES) != 0;
    struct reader patches;
    bool ok;

    plan.form &= (uint8_t)~RESIDUALS_PATCHES;
    plan.base = (uint64_t)unzigzag(read_varint(in));
    if (in->bad || plan.form > RESIDUALS_RANGED || (plan.form == RESIDUALS_RANGED && !read_ranged_head(in, &plan)))
        return false;
    patches = *in;
    if (patched)
        skip_patches(in, count);
    if (in->bad)
        return false;
    if (plan.form == RESIDUALS_RANGED)
        ok = get_ranged(in, &plan, count, out);
    else
        ok = unpack(reader_rest(in), count, plan.form, plan.base, out);
    return ok && (!patched || get_patches(patches, count, plan.base, out));
}
