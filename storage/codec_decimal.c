/* codec_decimal.c - values as integers.
 *
 * What monitoring sends is nearly always a decimal with few digits, and a decimal has a full, random
 * looking mantissa. So the encoder looks for the integers:
 *
 *     value -> integer        i = value * 10^e, when i / 10^e is the value again, to the bit
 *           -> x              (i - first i) / divisor that all have in common
 *           -> residuals      x itself, its differences, or the differences of those
 *           -> bits           residuals.c
 *
 * The test is exact: an integer up to 2^53 and a power of ten up to 10^22 are both exact as doubles, so
 * their quotient is the correctly rounded one, which is what every parser gives for that decimal. The
 * decoder divides again. (Multiplying by 10^-e would not be exact.) Rates that a collector made by dividing
 * an integer by the seconds of its interval go the same way: one more scale is a week's seconds, which all
 * intervals divide, and 3, 7, 9, 60, 3600 ... with it. A few values of a row may be something
 * else (an infinity, -0.0, a quotient): they are exceptions, with their place and their 8 bytes, and stand
 * as the integer before them in the stream.
 *
 * Rows of full mantissas have no e. They still have a sign, an exponent and top bits in common: their
 * integers are the doubles' bits, made monotonic, and the rest goes the same way.
 *
 * All arithmetic on integers wraps around, on both sides, so that it needs no limits. */
#include "storage/codec.h"

#include "base/bits.h"
#include "base/must.h"
#include "storage/format.h"

#include <math.h>

enum {
    SCALE_DECIMAL_MAX = 17, /* of the powers of ten that are tried: with 2^53 of integer there is no value behind */
    SCALE_NONE = -1,
    SAMPLES = 16,    /* values that are asked for their scale */
    RETRIES = 4,     /* passes with another scale */
    FEW = 64,        /* one exception in so many is no reason for another scale */
    EXCEPTIONS = 16, /* more than one in so many: these are no decimals */
    BITS_TRIED = 36, /* bits a value from which on the doubles' own bits are tried too */
    MEDIAN_OF = 9,
    SPREAD_OF = 64,  /* numbers that are asked for their distance from the median */
    SPREAD_SURE = 1, /* bits: an order that looks worse by that is worse */
};

/* What integers are divided by: 10^0 .. 10^22, the seconds of a week (DECIMAL_WEEK). */
static const double scales[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 604800};
static_assert(sizeof(scales) / sizeof(scales[0]) == DECIMAL_WEEK + 1, "docs/format.md lists them");

/* ---- values -> integers ---- */

/* Whether V is an integer of at most 53 bits over POWER; *INTEGER is garbage when not. */
static inline bool decimal_try(double v, double power, int64_t *integer)
{
    double scaled = v * power;
    double rounded = fabs(scaled) < 0x1p52 ? scaled + copysign(0.5, scaled) : scaled;

    if (!(fabs(scaled) <= 0x1p53))
        return false;
    *integer = (int64_t)rounded;
    return value_bits((double)*integer / power) == value_bits(v);
}

/* The first scale by which V is an integer. */
static int scale_of(double v)
{
    int64_t integer;

    for (int scale = 0; scale <= SCALE_DECIMAL_MAX; scale++)
        if (decimal_try(v, scales[scale], &integer))
            return scale;
    return decimal_try(v, scales[DECIMAL_WEEK], &integer) ? DECIMAL_WEEK : SCALE_NONE;
}

/* What most values of a row need, by samples; SCALE_NONE when they are nothing of the kind. */
static int scale_guess(const double *values, uint32_t n)
{
    uint32_t step = n / SAMPLES + 1, samples = 0, without = 0;
    int highest = 0;

    for (uint32_t i = 0; i < n; i += step, samples++) {
        int scale = scale_of(values[i]);

        without += scale == SCALE_NONE;
        highest = scale > highest ? scale : highest;
    }
    return without <= samples / 2 ? highest : SCALE_NONE;
}

/* The integers by that scale. Returns how many exceptions there are; stops early when they are too many. */
static uint32_t integers_at(struct codec_scratch *scratch, const double *values, uint32_t n, int scale)
{
    double power = scales[scale];
    uint32_t exceptions = 0;
    int64_t before = 0;

    for (uint32_t i = 0; i < n; i++) {
        int64_t integer = 0;

        if (__builtin_expect(!decimal_try(values[i], power, &integer), 0)) {
            integer = before;
            scratch->exceptions[exceptions++] = (uint16_t)i;
            if (exceptions > n / EXCEPTIONS + 1)
                break;
        }
        scratch->integers[i] = (uint64_t)integer;
        before = integer;
    }
    return exceptions;
}

/* The highest scale that some of the exceptions need; SCALE_NONE when none has any. */
static int scale_of_exceptions(const struct codec_scratch *scratch, const double *values, uint32_t exceptions)
{
    int highest = SCALE_NONE;

    for (uint32_t i = 0; i < exceptions && i < SAMPLES; i++) {
        int scale = scale_of(values[scratch->exceptions[i]]);

        highest = scale > highest ? scale : highest;
    }
    return highest;
}

/* Turn the values to integers by one scale. Returns it, or SCALE_NONE. */
static int integers_scaled(struct codec_scratch *scratch, const double *values, uint32_t n, uint32_t *exceptions)
{
    int scale = scale_guess(values, n), higher = scale;

    if (scale == SCALE_NONE)
        return SCALE_NONE;
    for (int i = 0; i < RETRIES && higher >= scale; i++) {
        scale = higher;
        *exceptions = integers_at(scratch, values, n, scale);
        if (*exceptions <= n / FEW)
            return scale;
        higher = scale_of_exceptions(scratch, values, *exceptions);
        if (higher == scale)
            break;
    }
    return *exceptions <= n / EXCEPTIONS ? scale : SCALE_NONE;
}

/* The bits of a double as an integer that grows with it; its own inverse. */
static inline uint64_t bits_ordered(uint64_t bits)
{
    return bits ^ (uint64_t)((int64_t)bits >> 63) >> 1;
}

static void integers_bits(struct codec_scratch *scratch, const double *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        scratch->integers[i] = bits_ordered(value_bits(values[i]));
}

/* How many bits a value the doubles' own bits would need when nothing but their range is used. */
static unsigned bits_of_range(const double *values, uint32_t n)
{
    double low = values[0], high = values[0];

    for (uint32_t i = 1; i < n; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    return bit_length(bits_ordered(value_bits(high)) - bits_ordered(value_bits(low)));
}

/* ---- integers -> residuals ---- */

/* How a row would be written. */
struct plan {
    uint8_t scale;
    uint8_t order;
    uint32_t exceptions;
    uint64_t first;
    uint64_t divisor;
    struct residuals_plan residuals;
};

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* The largest number that divides all distances from the first integer; 1 when they are all 0. */
static uint64_t common_divisor(const uint64_t *integers, uint32_t n)
{
    uint64_t odd = 0, all = 0;
    unsigned zeros;

    for (uint32_t i = 1; i < n; i++)
        all |= integers[i] - integers[0];
    if (all == 0)
        return 1;
    /* Powers of two (pages, blocks) are the most usual divisors, and what is left is 1 then. */
    zeros = (unsigned)__builtin_ctzll(all);
    for (uint32_t i = 1; i < n && odd != 1; i++) {
        int64_t distance = (int64_t)(integers[i] - integers[0]) >> zeros;
        uint64_t size = distance < 0 ? 0 - (uint64_t)distance : (uint64_t)distance;

        if (odd == 0 || size % odd != 0)
            odd = gcd(size, odd);
    }
    return odd << zeros;
}

/* Fill in the residuals of all orders; n numbers of order 0, one less of each further one. */
static void all_orders(struct codec_scratch *scratch, uint32_t n, uint64_t first, uint64_t divisor)
{
    uint64_t *x = scratch->residuals[0], *d = scratch->residuals[1], *dd = scratch->residuals[2];
    unsigned zeros = (unsigned)__builtin_ctzll(divisor);
    int64_t odd = (int64_t)(divisor >> zeros);

    for (uint32_t i = 0; i < n; i++)
        x[i] = (uint64_t)((int64_t)(scratch->integers[i] - first) >> zeros);
    if (odd != 1)
        for (uint32_t i = 0; i < n; i++)
            x[i] = (uint64_t)((int64_t)x[i] / odd);
    for (uint32_t i = 1; i < n; i++)
        d[i - 1] = x[i] - x[i - 1];
    for (uint32_t i = 2; i < n; i++)
        dd[i - 2] = d[i - 1] - d[i - 2];
}

/* The median of a few numbers of a sequence. */
static int64_t median(const uint64_t *numbers, uint32_t count)
{
    int64_t some[MEDIAN_OF];

    for (uint32_t i = 0; i < MEDIAN_OF; i++) {
        int64_t number = (int64_t)numbers[(uint64_t)count * i / MEDIAN_OF];
        uint32_t at = i;

        for (; at > 0 && some[at - 1] > number; at--)
            some[at] = some[at - 1];
        some[at] = number;
    }
    return some[MEDIAN_OF / 2];
}

/* About how many bits a number of the sequence needs, by samples: their distance from the median. */
static double spread(const uint64_t *numbers, uint32_t count)
{
    uint64_t middle = (uint64_t)median(numbers, count);
    uint32_t step = count / SPREAD_OF + 1, samples = 0, bits = 0;

    for (uint32_t i = 0; i < count; i += step, samples++)
        bits += bit_length(zigzag((int64_t)(numbers[i] - middle)));
    return (double)bits / samples;
}

/* Plan for what is in scratch->integers. */
static struct plan plan_integers(struct codec_scratch *scratch, uint32_t n, uint8_t scale, uint32_t exceptions)
{
    struct plan plan = {.scale = scale, .exceptions = exceptions, .first = scratch->integers[0]};
    double spreads[3] = {0, INFINITY, INFINITY}, least;

    plan.divisor = common_divisor(scratch->integers, n);
    all_orders(scratch, n, plan.first, plan.divisor);
    for (uint32_t order = 0; order <= 2 && order < n; order++)
        spreads[order] = spread(scratch->residuals[order], n - order);
    least = fmin(spreads[0], fmin(spreads[1], spreads[2]));
    plan.residuals.bits = INFINITY;
    for (uint8_t order = 0; order <= 2 && order < n; order++) {
        struct residuals_plan other;

        /* The exact cost takes longer than all the rest; not for what is surely worse. */
        if (spreads[order] > least + SPREAD_SURE)
            continue;
        other = residuals_plan_packed(scratch->residuals[order], n - order);
        if (other.bits < plan.residuals.bits) {
            plan.residuals = other;
            plan.order = order;
        }
    }
    return plan;
}

/* ---- encode ---- */

static uint8_t *put_exceptions(const struct codec_scratch *scratch, const double *values, uint32_t count, uint8_t *to)
{
    uint32_t next = 0;

    to = put_varint(to, count);
    for (uint32_t i = 0; i < count; i++) {
        to = put_varint(to, scratch->exceptions[i] - next);
        to = put_u64(to, value_bits(values[scratch->exceptions[i]]));
        next = scratch->exceptions[i] + 1u;
    }
    return to;
}

/* Write everything to the scratch's bytes. Returns how many. */
static size_t put_all(struct codec_scratch *scratch, const double *values, uint32_t n, const struct plan *plan)
{
    unsigned more = (plan->divisor != 1 ? DECIMAL_DIVISOR : 0u) | (plan->exceptions != 0 ? DECIMAL_EXCEPTIONS : 0u);
    uint8_t *to = scratch->bytes;

    *to++ = (uint8_t)(plan->scale | plan->order << DECIMAL_ORDER_SHIFT | (more != 0 ? DECIMAL_MORE : 0));
    if (more != 0)
        *to++ = (uint8_t)more;
    to = put_varint(to, zigzag((int64_t)plan->first));
    if (more & DECIMAL_DIVISOR)
        to = put_varint(to, plan->divisor);
    if (plan->order == 2)
        to = put_varint(to, zigzag((int64_t)scratch->residuals[1][0]));
    if (more & DECIMAL_EXCEPTIONS)
        to = put_exceptions(scratch, values, plan->exceptions, to);
    to = residuals_put(scratch->residuals[plan->order], n - plan->order, &plan->residuals, &scratch->numbers, to);
    MUST(to <= scratch->bytes + sizeof(scratch->bytes));
    return (size_t)(to - scratch->bytes);
}

static bool encode(struct codec_scratch *scratch, const double *values, uint32_t n, uint8_t *to, size_t max,
                   size_t *len)
{
    uint32_t exceptions;
    struct plan plan;
    int scale = integers_scaled(scratch, values, n, &exceptions);

    if (scale != SCALE_NONE)
        plan = plan_integers(scratch, n, (uint8_t)scale, exceptions);
    if (scale == SCALE_NONE ||
        (plan.residuals.bits > (double)n * BITS_TRIED && (double)n * bits_of_range(values, n) < plan.residuals.bits)) {
        integers_bits(scratch, values, n);
        plan = plan_integers(scratch, n, DECIMAL_BITS, 0);
    }
    plan.residuals = residuals_plan_refine(scratch->residuals[plan.order], n - plan.order, plan.residuals);
    if (plan.residuals.bits > (double)max * 8)
        return false;
    *len = put_all(scratch, values, n, &plan);
    if (*len > max)
        return false;
    memcpy(to, scratch->bytes, *len);
    return true;
}

/* ---- decode ---- */

/* How residuals become integers again. */
struct sums {
    unsigned order;
    uint64_t first;
    uint64_t divisor;
    uint64_t difference; /* the first one, for order 2 */
};

/* One integer as a double: its bits, or its value yet undivided. *USED collects the bits that magnitudes use. */
static inline double emit(uint64_t integer, bool is_bits, uint64_t *used)
{
    if (is_bits)
        return bits_value(bits_ordered(integer));
    *used |= integer ^ (uint64_t)((int64_t)integer >> 63);
    return (double)(int64_t)integer;
}

/* Add up the residuals, of which there are n - order. Inlined twice, for a constant IS_BITS. */
static inline __attribute__((always_inline)) uint64_t add_up(const struct sums *sums, const uint64_t *residuals,
                                                             uint32_t n, bool is_bits, double *out)
{
    uint64_t at = sums->first, divisor = sums->divisor, difference = sums->difference * divisor, used = 0;

    if (sums->order == 0) {
        for (uint32_t i = 0; i < n; i++)
            out[i] = emit(at + residuals[i] * divisor, is_bits, &used);
        return used;
    }
    out[0] = emit(at, is_bits, &used);
    if (sums->order == 1) {
        for (uint32_t i = 1; i < n; i++)
            out[i] = emit(at += residuals[i - 1] * divisor, is_bits, &used);
        return used;
    }
    out[1] = emit(at += difference, is_bits, &used);
    for (uint32_t i = 2; i < n; i++) {
        difference += residuals[i - 2] * divisor;
        out[i] = emit(at += difference, is_bits, &used);
    }
    return used;
}

/* Two doubles, for which a machine without anything special has instructions too. */
typedef double pair __attribute__((vector_size(16)));

/* Divide by POWER, correctly rounded. */
static void divide(double *values, uint32_t n, double power)
{
    const pair by = {power, power};
    uint32_t i = 0;

    for (; i + 2 <= n; i += 2) {
        pair two;

        memcpy(&two, values + i, sizeof(two));
        two /= by;
        memcpy(values + i, &two, sizeof(two));
    }
    if (i < n)
        values[i] /= power;
}

/* For integers up to 2^b a division by 10^e is two multiplications, at a third of the time:
 *
 * 1 / 10^e is split to HIGH, its top 53 - b bits, and LOW, the rest. i * high is exact then. i * low is off by
 * the rounding of low and its own, and as low is less than high / 2^(52 - b), that is less than 2^-(51 - b)
 * of a last place of the quotient. Only the rounding of the sum is left, and it can only go wrong when the
 * quotient is as near to the middle between two doubles. It never is: it cannot be a middle (that has 54
 * bits), and all else is at least 1 / (2 * 10^e) of a last place away. So b must satisfy
 * 2 * 10^e <= 2^(51 - b); and for 1 - high * 10^e to be exact, 10^e < 2^b. */
static const uint8_t small_bits[] = {0, 46, 43, 40, 36, 33, 30, 26};

static void divide_small(double *values, uint32_t n, uint8_t scale)
{
    double power = scales[scale];
    double high = bits_value(value_bits(1 / power) >> small_bits[scale] << small_bits[scale]);
    double low = (1 - high * power) / power;
    const pair by_high = {high, high}, by_low = {low, low};
    uint32_t i = 0;

    for (; i + 2 <= n; i += 2) {
        pair two;

        memcpy(&two, values + i, sizeof(two));
        two = two * by_high + two * by_low;
        memcpy(values + i, &two, sizeof(two));
    }
    if (i < n)
        values[i] = values[i] * high + values[i] * low;
}

static void to_values(const struct sums *sums, const uint64_t *residuals, uint32_t n, uint8_t scale, double *out)
{
    uint64_t used;

    if (scale == DECIMAL_BITS) {
        add_up(sums, residuals, n, true, out);
        return;
    }
    used = add_up(sums, residuals, n, false, out);
    if (scale == 0)
        return;
    if (scale < sizeof(small_bits) && used >> small_bits[scale] == 0)
        divide_small(out, n, scale);
    else
        divide(out, n, scales[scale]);
}

/* Read the list of exceptions. With OUT, put them in their places. */
static void read_exceptions(struct reader *in, uint32_t n, double *out)
{
    uint64_t count = read_varint(in);
    uint32_t at = 0;

    for (; count != 0 && !in->bad; count--) {
        uint64_t gap = read_varint(in), bits = read_u64(in);

        if (gap >= n - at) {
            in->bad = true;
            return;
        }
        at += (uint32_t)gap;
        if (out != NULL)
            out[at] = bits_value(bits);
        at++;
    }
}

static bool decode(struct span bytes, uint32_t n, double *out)
{
    uint64_t residuals[CHUNK_SLOTS_MAX];
    struct reader in = reader_of(bytes), exceptions;
    uint8_t head = read_u8(&in);
    uint8_t more = head & DECIMAL_MORE ? read_u8(&in) : 0;
    uint8_t scale = head & DECIMAL_SCALE_MASK;
    struct sums sums = {.order = (head & ~DECIMAL_MORE) >> DECIMAL_ORDER_SHIFT};

    sums.first = (uint64_t)unzigzag(read_varint(&in));
    sums.divisor = more & DECIMAL_DIVISOR ? read_varint(&in) : 1;
    sums.difference = sums.order == 2 ? (uint64_t)unzigzag(read_varint(&in)) : 0;
    if (in.bad || sums.order > 2 || sums.order > n || more & ~DECIMAL_MORE_MASK ||
        (scale != DECIMAL_BITS && scale >= sizeof(scales) / sizeof(scales[0])))
        return false;
    exceptions = in;
    if (more & DECIMAL_EXCEPTIONS)
        read_exceptions(&in, n, NULL);
    if (in.bad || !residuals_get(&in, n - sums.order, residuals))
        return false;
    to_values(&sums, residuals, n, scale, out);
    if (more & DECIMAL_EXCEPTIONS)
        read_exceptions(&exceptions, n, out);
    return true;
}

const struct codec codec_decimal = {.id = CODEC_DECIMAL, .name = "decimal", .encode = encode, .decode = decode};
