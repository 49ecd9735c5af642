/* residuals.c - small integers as bits, in one of three forms.
 *
 * Packed. Subtract a base, write what is left with the same number of bits each. Numbers that would need
 * more are listed apart ("patches"). The base is either the smallest number (all are then at or above
 * it), or so that zero lies in the middle (differences of a wandering value, with outliers on both sides).
 * For each of the two a histogram of bit lengths tells the cost of every width at once.
 *
 * Packing rounds up to whole bits and treats all numbers as equally likely. On counters and gauges that
 * loses half a bit a number and more, a tenth of the chunk. So the other two forms cut a number to a symbol
 * (its top, at most 8 bits) and low bits, which look random and are written as they are, and give the
 * symbols to an asymmetric numeral system (ans.c) with weights after one of two models:
 *
 * Ranged. All symbols are equally likely but one, nearly always "no change", which is more frequent. The
 * model takes 3 bytes, so it pays in short chunks, and it may have 256 symbols.
 *
 * Buckets. At most 64 symbols, each with a weight of its own, in half a byte: steps of the square root of
 * two, which cost a hundredth of a bit against the exact weights. For everything with a bell, a slope or
 * several humps. */
#include "storage/residuals.h"

#include "base/bits.h"
#include "storage/ans.h"
#include "storage/format.h"

#include <math.h>

enum {
    SYMBOL_BITS = 8,
    LOW_BITS_MAX = 60,       /* what is left of 64 beside the fewest symbols */
    BUCKETS_MIN = 8,         /* fewer tell too little */
    PATCH_SHARE = 4,         /* at most one number in so many is a patch */
    PATCH_POSITION_BITS = 8, /* usual length of a gap between patches */
    WINDOWS = 3,             /* widths that are tried for symbols: fewer patches, more symbols */
    REFINE_BITS = 1200,      /* a packed form of so few bits is short enough */
    REFINE_WIDTH = 40,       /* one of that width would gain 2 % at most, and decode at half the speed */
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

/* What a patch costs that has that many bits. */
static double patch_bits(unsigned length)
{
    return PATCH_POSITION_BITS + (length / 7 + 1) * 8;
}

/* Find the width of the least cost: LENGTHS[b] numbers need b bits. */
static void best_width(const uint32_t lengths[65], uint32_t count, struct residuals_plan *plan)
{
    uint32_t patches = 0;
    double apart = 0;
    int longest = 64;

    while (longest > 0 && lengths[longest] == 0)
        longest--;
    plan->bits = INFINITY;
    for (int width = longest; width >= 0 && patches <= count / PATCH_SHARE; width--) {
        double bits = (double)count * width + apart;

        if (bits <= plan->bits) {
            plan->bits = bits;
            plan->form = (uint8_t)width;
            plan->patches = patches;
        }
        patches += lengths[width];
        apart += lengths[width] * patch_bits((unsigned)width);
    }
}

/* How many of the numbers need how many bits: above BASE, and around zero. */
static void count_lengths(const uint64_t *numbers, uint32_t count, uint64_t base, uint32_t above[65],
                          uint32_t around[65])
{
    /* Two of each, as a counter cannot be added to again before the last sum is back in memory. */
    uint32_t other_above[65] = {0}, other_around[65] = {0};
    uint32_t i = 0;

    for (; i + 2 <= count; i += 2) {
        above[bit_length(numbers[i] - base)]++;
        other_above[bit_length(numbers[i + 1] - base)]++;
        around[bit_length(zigzag((int64_t)numbers[i]))]++;
        other_around[bit_length(zigzag((int64_t)numbers[i + 1]))]++;
    }
    if (i < count) {
        above[bit_length(numbers[i] - base)]++;
        around[bit_length(zigzag((int64_t)numbers[i]))]++;
    }
    for (i = 0; i <= 64; i++) {
        above[i] += other_above[i];
        around[i] += other_around[i];
    }
}

struct residuals_plan residuals_plan_packed(const uint64_t *numbers, uint32_t count)
{
    struct residuals_plan above = {0}, around = {0};
    uint32_t lengths_above[65] = {0}, lengths_around[65] = {0};

    if (count == 0)
        return above;
    above.base = number_min(numbers, count);
    count_lengths(numbers, count, above.base, lengths_above, lengths_around);
    best_width(lengths_above, count, &above);
    best_width(lengths_around, count, &around);
    around.base = base_around_zero(around.form);
    above.bits += 8.0 + 8.0 * (double)varint_size(zigzag((int64_t)above.base));
    around.bits += 8.0 + 8.0 * (double)varint_size(zigzag((int64_t)around.base));
    return around.bits < above.bits ? around : above;
}

/* ---- symbols: models ---- */

/* What the half bytes of RESIDUALS_BUCKETS mean: powers of the square root of two. */
static const uint16_t code_weights[16] = {0,   64,   91,   128,  181,  256,  362,  512,
                                          724, 1024, 1448, 2048, 2896, 4096, 5793, 8192};

static uint32_t heaviest(const struct ans_model *model, uint32_t symbols)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < symbols; i++)
        if (model->weights[i] > model->weights[best])
            best = i;
    return best;
}

/* The weights that codes stand for. Both sides come to the same ones, by integers only. False when all are 0. */
static bool model_of_codes(const uint8_t *codes, uint32_t symbols, struct ans_model *model)
{
    uint32_t all = 0, sum = 0;

    memset(model, 0, sizeof(*model));
    for (uint32_t i = 0; i < symbols; i++)
        all += code_weights[codes[i]];
    if (all == 0)
        return false;
    for (uint32_t i = 0; i < symbols; i++) {
        uint32_t weight = code_weights[codes[i]] * (uint32_t)ANS_TOTAL / all;

        model->weights[i] = (uint16_t)(codes[i] != 0 && weight == 0 ? 1 : weight);
        sum += model->weights[i];
    }
    for (; sum > ANS_TOTAL; sum--)
        model->weights[heaviest(model, symbols)]--;
    model->weights[heaviest(model, symbols)] += (uint16_t)(ANS_TOTAL - sum);
    return true;
}

/* The usual symbol has its weight, the others share the rest; the first ones have one more when it does not
 * go into equal parts. */
static void model_of_range(uint32_t symbols, uint32_t usual, uint32_t weight, struct ans_model *model)
{
    uint32_t others = symbols - 1, share = ANS_TOTAL - weight;

    memset(model, 0, sizeof(*model));
    for (uint32_t i = 0; i < others; i++)
        model->weights[i < usual ? i : i + 1] = (uint16_t)(share / others + (i < share % others));
    model->weights[usual] = (uint16_t)weight;
}

static bool model_of(const struct residuals_plan *plan, struct ans_model *model)
{
    if (plan->form == RESIDUALS_BUCKETS)
        return model_of_codes(plan->codes, plan->symbols, model);
    model_of_range(plan->symbols, plan->usual, plan->weight, model);
    return true;
}

/* ---- symbols: plan ---- */

static bool fits(uint64_t offset, unsigned width)
{
    return width == 64 || offset >> width == 0;
}

/* Whether a number is listed apart. */
static bool is_patch(const struct residuals_plan *plan, uint64_t offset)
{
    if (plan->form >= RESIDUALS_RANGED)
        return offset >> plan->low_bits >= plan->symbols;
    return !fits(offset, plan->form);
}

/* The least and the largest of the offsets from BASE that fit in WIDTH bits. Returns what the others cost. */
static double window_ends(const uint64_t *numbers, uint32_t count, uint64_t base, unsigned width, uint64_t *low,
                          uint64_t *high)
{
    double apart = 0;

    *low = UINT64_MAX;
    *high = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = numbers[i] - base;

        if (!fits(offset, width)) {
            apart += patch_bits(bit_length(zigzag((int64_t)offset)));
            continue;
        }
        *low = offset < *low ? offset : *low;
        *high = offset > *high ? offset : *high;
    }
    return apart;
}

/* How often each symbol of PLAN occurs; the patches, which stand as the usual one, included. */
static void count_symbols(const uint64_t *numbers, uint32_t count, struct residuals_plan *plan, uint32_t *counts)
{
    memset(counts, 0, plan->symbols * sizeof(*counts));
    plan->patches = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t symbol = (numbers[i] - plan->base) >> plan->low_bits;

        if (symbol < plan->symbols)
            counts[symbol]++;
        else
            plan->patches++;
    }
    plan->usual = 0;
    for (uint32_t i = 1; i < plan->symbols; i++)
        if (counts[i] > counts[plan->usual])
            plan->usual = i;
    counts[plan->usual] += plan->patches;
}

/* What the symbols and all low bits cost in the model of PLAN. */
static double cost_of(const struct residuals_plan *plan, const uint32_t *counts)
{
    struct ans_model model;
    double bits = 0;

    model_of(plan, &model);
    for (uint32_t i = 0; i < plan->symbols; i++)
        if (counts[i] != 0)
            bits += counts[i] * (ANS_TOTAL_BITS + plan->low_bits - (double)log2f(model.weights[i]));
    return bits + 8 * ANS_OVERHEAD;
}

/* One usual symbol, all others alike. */
static struct residuals_plan plan_ranged(struct residuals_plan plan, uint32_t count, const uint32_t *counts)
{
    uint32_t most = counts[plan.usual], weight_max = ANS_TOTAL - (plan.symbols - 1);

    plan.form = RESIDUALS_RANGED;
    plan.weight = (uint32_t)((uint64_t)most * ANS_TOTAL / count);
    plan.weight = plan.weight < 1 ? 1 : plan.weight > weight_max ? weight_max : plan.weight;
    plan.bits = cost_of(&plan, counts) + 8 * 8;
    return plan;
}

/* Each symbol after its count; so few of them that FOLD bits go over to the low ones. */
static struct residuals_plan plan_buckets(struct residuals_plan plan, unsigned fold, const uint32_t *counts)
{
    uint32_t folded[RESIDUALS_BUCKETS_MAX] = {0}, symbols = ((plan.symbols - 1) >> fold) + 1;

    for (uint32_t i = 0; i < plan.symbols; i++)
        folded[i >> fold] += counts[i];
    plan.form = RESIDUALS_BUCKETS;
    plan.usual = 0;
    for (uint32_t i = 0; i < symbols; i++)
        if (folded[i] > folded[plan.usual])
            plan.usual = i;
    for (uint32_t i = 0; i < symbols; i++) {
        float code = folded[i] == 0 ? 0 : 15.5f + 2 * log2f((float)folded[i] / (float)folded[plan.usual]);

        plan.codes[i] = (uint8_t)(folded[i] == 0 ? 0 : code < 1 ? 1 : code);
    }
    plan.symbols = symbols;
    plan.low_bits += fold;
    plan.bits = cost_of(&plan, folded) + 4 * symbols + 6 * 8;
    return plan;
}

/* The best plan with symbols for the numbers that fit in WIDTH bits above BASE; the rest are patches. */
static struct residuals_plan plan_symbols(const uint64_t *numbers, uint32_t count, uint64_t base, unsigned width)
{
    struct residuals_plan plan = {.form = RESIDUALS_RANGED, .bits = INFINITY}, best;
    uint32_t counts[ANS_SYMBOLS_MAX];
    uint64_t low, high;
    unsigned length;
    double apart = window_ends(numbers, count, base, width, &low, &high);

    length = bit_length(high - low);
    if (low >= high)
        return plan;
    plan.base = base + low;
    plan.low_bits = length > SYMBOL_BITS ? length - SYMBOL_BITS : 0;
    plan.symbols = (uint32_t)((high - low) >> plan.low_bits) + 1;
    count_symbols(numbers, count, &plan, counts);
    best = plan_ranged(plan, count, counts);
    for (unsigned fold = 0; fold == 0 || (plan.symbols - 1) >> fold >= BUCKETS_MIN; fold++) {
        struct residuals_plan buckets;

        if ((plan.symbols - 1) >> fold >= RESIDUALS_BUCKETS_MAX)
            continue;
        buckets = plan_buckets(plan, fold, counts);
        if (buckets.bits < best.bits)
            best = buckets;
    }
    best.bits += apart;
    return best;
}

struct residuals_plan residuals_plan_refine(const uint64_t *numbers, uint32_t count, struct residuals_plan packed)
{
    struct residuals_plan best = packed;
    bool around = packed.base == base_around_zero(packed.form);

    if (count == 0 || packed.bits < REFINE_BITS || packed.form > REFINE_WIDTH)
        return packed;
    for (unsigned width = packed.form; width < packed.form + (unsigned)WINDOWS && width <= 64; width++) {
        struct residuals_plan plan =
            plan_symbols(numbers, count, around ? base_around_zero(width) : packed.base, width);

        if (plan.bits < best.bits)
            best = plan;
        /* A wider window holds the same. */
        if (plan.patches == 0)
            break;
    }
    return best;
}

/* ---- write ---- */

/* Not always plan->patches: symbols that were folded may reach a bit further. */
static uint32_t count_patches(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan)
{
    uint32_t patches = 0;

    for (uint32_t i = 0; i < count && plan->patches != 0; i++)
        patches += is_patch(plan, numbers[i] - plan->base);
    return patches;
}

static uint8_t *put_patches(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan,
                            uint32_t patches, uint8_t *to)
{
    uint32_t next = 0;

    to = put_varint(to, patches);
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

static uint8_t *put_symbols(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan,
                            struct residuals_scratch *scratch, uint8_t *to)
{
    struct bit_writer low = bit_writer_of(to, RESIDUALS_BOUND(count));
    uint64_t mask = (UINT64_C(1) << plan->low_bits) - 1;
    struct ans_model model;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = numbers[i] - plan->base;

        scratch->symbols[i] = (uint8_t)(is_patch(plan, offset) ? plan->usual : offset >> plan->low_bits);
        bits_put(&low, offset & mask, plan->low_bits);
    }
    model_of(plan, &model);
    return ans_put(&model, scratch->symbols, count, scratch->words, bits_finish(&low));
}

static uint8_t *put_model(const struct residuals_plan *plan, uint8_t *to)
{
    *to++ = (uint8_t)plan->low_bits;
    *to++ = (uint8_t)(plan->symbols - 1);
    if (plan->form == RESIDUALS_RANGED) {
        *to++ = (uint8_t)plan->usual;
        return put_u16(to, (uint16_t)plan->weight);
    }
    for (uint32_t i = 0; i < plan->symbols; i += 2)
        *to++ = (uint8_t)(plan->codes[i] | (i + 1 < plan->symbols ? plan->codes[i + 1] << 4 : 0));
    return to;
}

uint8_t *residuals_put(const uint64_t *numbers, uint32_t count, const struct residuals_plan *plan,
                       struct residuals_scratch *scratch, uint8_t *to)
{
    uint32_t patches = count_patches(numbers, count, plan);

    *to++ = (uint8_t)(plan->form | (patches != 0 ? RESIDUALS_PATCHES : 0));
    to = put_varint(to, zigzag((int64_t)plan->base));
    if (plan->form >= RESIDUALS_RANGED)
        to = put_model(plan, to);
    if (patches != 0)
        to = put_patches(numbers, count, plan, patches, to);
    if (plan->form >= RESIDUALS_RANGED)
        return put_symbols(numbers, count, plan, scratch, to);
    return put_packed(numbers, count, plan, to);
}

/* ---- read ---- */

/* COUNT numbers of WIDTH (0..64) bits each, which are all of IN; ADD is added to each. */
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

static bool get_symbols(struct reader *in, const struct residuals_plan *plan, uint32_t count, uint64_t *out)
{
    struct span low = read_bytes(in, ((size_t)count * plan->low_bits + 7) / 8);
    uint8_t symbols[CHUNK_SLOTS_MAX];
    struct ans_model model;

    if (in->bad || count == 0 || !model_of(plan, &model) || !ans_get(&model, reader_rest(in), count, symbols))
        return false;
    if (plan->low_bits == 0) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = plan->base + symbols[i];
        return true;
    }
    if (!unpack(low, count, plan->low_bits, plan->base, out))
        return false;
    for (uint32_t i = 0; i < count; i++)
        out[i] += (uint64_t)symbols[i] << plan->low_bits;
    return true;
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

static bool read_model(struct reader *in, struct residuals_plan *plan)
{
    struct span codes;

    plan->low_bits = read_u8(in);
    plan->symbols = read_u8(in) + 1u;
    if (plan->low_bits > LOW_BITS_MAX || plan->symbols < 2)
        return false;
    if (plan->form == RESIDUALS_RANGED) {
        plan->usual = read_u8(in);
        plan->weight = read_u16(in);
        return !in->bad && plan->usual < plan->symbols && plan->weight >= 1 &&
               plan->weight <= ANS_TOTAL - (plan->symbols - 1);
    }
    codes = read_bytes(in, plan->symbols / 2 + plan->symbols % 2);
    if (in->bad || plan->symbols > RESIDUALS_BUCKETS_MAX)
        return false;
    for (uint32_t i = 0; i < plan->symbols; i++)
        plan->codes[i] = (uint8_t)codes.ptr[i / 2] >> i % 2 * 4 & 15;
    return true;
}

bool residuals_get(struct reader *in, uint32_t count, uint64_t *out)
{
    struct residuals_plan plan;
    bool patched, ok;
    struct reader patches;

    plan.form = read_u8(in);
    patched = (plan.form & RESIDUALS_PATCHES) != 0;
    plan.form &= (uint8_t)~RESIDUALS_PATCHES;
    plan.base = (uint64_t)unzigzag(read_varint(in));
    if (in->bad || plan.form > RESIDUALS_BUCKETS || (plan.form >= RESIDUALS_RANGED && !read_model(in, &plan)))
        return false;
    patches = *in;
    if (patched)
        skip_patches(in, count);
    if (in->bad)
        return false;
    if (plan.form >= RESIDUALS_RANGED)
        ok = get_symbols(in, &plan, count, out);
    else
        ok = unpack(reader_rest(in), count, plan.form, plan.base, out);
    return ok && (!patched || get_patches(patches, count, plan.base, out));
}
