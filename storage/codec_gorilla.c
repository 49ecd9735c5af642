/* codec_gorilla.c - the XOR of each value with the one before ("Gorilla: A Fast, Scalable, In-Memory Time
 * Series Database", VLDB 2015), without the time stamps: the slots say when.
 *
 * Neighbours tend to have sign, exponent and the top of the mantissa in common, and, if they are round,
 * the zeros at the end. So the XOR has zeros on both sides and only the window between them is written:
 *
 *     64 bits           the first value
 *     0                 the same again
 *     1 0 <length>      the window as it was, its bits
 *     1 1 llllll nnnnnn <n + 1 bits>    a new window: l zeros before it, n + 1 bits long
 *
 * Opening a window costs 12 bits, so the encoder keeps an old one that is too wide until a new one would
 * be narrower by more than that, and opens it then, not only when it must: 0-10 % smaller than the
 * paper's rule at no cost in the decoder. */
#include "storage/codec.h"

#include "base/bits.h"
#include "storage/format.h"

enum {
    WINDOW_BITS = 12,  /* of the description of a new window */
    CHECK_EVERY = 128, /* values between looks at whether it still can pay */
};

/* The window that covers XOR: how many zeros before it, how long it is. */
struct window {
    unsigned zeros;
    unsigned length; /* 1..64; 0: none yet */
};

static struct window window_of(uint64_t xor)
{
    unsigned zeros = (unsigned)__builtin_clzll(xor);

    return (struct window){zeros, 64 - zeros - (unsigned)__builtin_ctzll(xor)};
}

static unsigned window_shift(struct window w)
{
    return 64 - w.zeros - w.length;
}

static bool window_covers(struct window w, struct window inner)
{
    return w.length != 0 && w.zeros <= inner.zeros && w.zeros + w.length >= inner.zeros + inner.length;
}

static void put_xor(struct bit_writer *w, struct window *open, uint64_t xor)
{
    struct window want;

    if (xor == 0) {
        bits_put(w, 0, 1);
        return;
    }
    want = window_of(xor);
    if (window_covers(*open, want) && want.length + WINDOW_BITS >= open->length) {
        bits_put(w, 1, 2);
    } else {
        *open = want;
        bits_put(w, 3 | want.zeros << 2 | (want.length - 1) << 8, 2 + WINDOW_BITS);
    }
    bits_put(w, xor >> window_shift(*open), open->length);
}

static bool encode(struct codec_scratch *scratch, const double *values, uint32_t n, uint8_t *to, size_t max,
                   size_t *len)
{
    struct bit_writer w = bit_writer_of(to, max);
    struct window open = {0, 0};
    uint64_t before = value_bits(values[0]);
    const uint8_t *end;

    (void)scratch;
    bits_put(&w, before, 64);
    for (uint32_t i = 1; i < n; i++) {
        uint64_t bits = value_bits(values[i]);

        put_xor(&w, &open, bits ^ before);
        before = bits;
        if (i % CHECK_EVERY == 0 && w.full)
            return false;
    }
    end = bits_finish(&w);
    if (end == NULL)
        return false;
    *len = (size_t)(end - to);
    return true;
}

/* The rest of a code that is not "the same again", whose first bits are in CODE. */
static uint64_t get_xor(struct bit_reader *r, struct window *open, uint64_t code)
{
    unsigned head = 2;
    uint64_t bits;

    if (code & 2) {
        head = 2 + WINDOW_BITS;
        open->zeros = code >> 2 & 63;
        open->length = (unsigned)(code >> 8 & 63) + 1;
        if (open->zeros + open->length > 64)
            r->bad = true;
    } else if (open->length == 0) {
        r->bad = true;
    }
    if (r->bad)
        return 0;
    if (head + open->length <= 57) {
        bits = code >> head & ((UINT64_C(1) << open->length) - 1);
        bits_skip(r, head + open->length);
    } else {
        bits_skip(r, head);
        bits = bits_get64(r, open->length);
    }
    return bits << window_shift(*open);
}

static bool decode(struct span in, uint32_t n, double *out)
{
    struct bit_reader r = bit_reader_of(in);
    struct window open = {0, 0};
    uint64_t bits = bits_get64(&r, 64);

    out[0] = bits_value(bits);
    for (uint32_t i = 1; i < n; i++) {
        uint64_t code = bits_peek(&r);

        if (code & 1) {
            bits ^= get_xor(&r, &open, code);
            if (r.bad)
                return false;
        } else {
            bits_skip(&r, 1);
        }
        out[i] = bits_value(bits);
    }
    return bits_end(&r);
}

const struct codec codec_gorilla = {.id = CODEC_GORILLA, .name = "gorilla", .encode = encode, .decode = decode};
