/* bits.h - checked access to streams of bits.
 *
 * Bit 0 of byte 0 is the first bit; a number of n bits begins with its lowest bit. So a stream is one
 * long little-endian number, and 57 bits from any place are one load and one shift away. Both sides are
 * sticky: .bad and .full are asked once at the end. */
#ifndef PLUMBAGO_BASE_BITS_H
#define PLUMBAGO_BASE_BITS_H

#include "base/reader.h"

struct bit_writer {
    uint8_t *at;
    uint8_t *end;
    uint64_t held;  /* bits that are not written yet, from bit 0 */
    unsigned count; /* how many; below 64 between calls */
    bool full;      /* sticky: there was no room for something */
};

/* Write to the MAX bytes at TO. */
static inline struct bit_writer bit_writer_of(uint8_t *to, size_t max)
{
    return (struct bit_writer){.at = to, .end = to + max};
}

/* Append the lowest N (0..64) bits of V; the others must be zero. */
static inline void bits_put(struct bit_writer *w, uint64_t v, unsigned n)
{
    w->held |= v << w->count;
    w->count += n;
    if (w->count < 64)
        return;
    if (w->end - w->at < 8) {
        w->full = true;
        w->at = w->end;
    } else {
        w->at = put_u64(w->at, w->held);
    }
    w->count -= 64;
    /* What did not fit; a shift by 64 would be undefined. */
    w->held = w->count == 0 ? 0 : v >> (n - w->count);
}

/* Fill the last byte with zeros. Returns the place behind it, NULL when there was no room. */
static inline uint8_t *bits_finish(struct bit_writer *w)
{
    size_t left = (w->count + 7) / 8;

    if (w->full || (size_t)(w->end - w->at) < left)
        return NULL;
    return put_uint(w->at, w->held, left);
}

struct bit_reader {
    const uint8_t *ptr;
    size_t bits; /* of the whole input */
    size_t at;   /* of the next bit */
    bool bad;    /* sticky: something reached beyond the end */
};

static inline struct bit_reader bit_reader_of(struct span in)
{
    return (struct bit_reader){.ptr = (const uint8_t *)in.ptr, .bits = in.len * 8};
}

/* The 8 bytes of IN from byte AT, with zeros for what lies beyond its end. */
static inline uint64_t bits_load(const uint8_t *in, size_t len, size_t at)
{
    uint64_t v = 0;

    if (__builtin_expect(at + 8 <= len, 1))
        memcpy(&v, in + at, 8);
    else if (at < len)
        memcpy(&v, in + at, len - at);
    return v;
}

/* At least the next 57 bits, with zeros beyond the end; nothing is consumed. */
static inline uint64_t bits_peek(const struct bit_reader *r)
{
    return bits_load(r->ptr, r->bits / 8, r->at / 8) >> (r->at % 8);
}

static inline void bits_skip(struct bit_reader *r, unsigned n)
{
    if (n > r->bits - r->at) {
        r->bad = true;
        r->at = r->bits;
    } else {
        r->at += n;
    }
}

/* The next N (0..57) bits. */
static inline uint64_t bits_get(struct bit_reader *r, unsigned n)
{
    uint64_t v = bits_peek(r) & ((UINT64_C(1) << n) - 1);

    bits_skip(r, n);
    return v;
}

/* The next N (0..64) bits. */
static inline uint64_t bits_get64(struct bit_reader *r, unsigned n)
{
    uint64_t low;

    if (n <= 57)
        return bits_get(r, n);
    low = bits_get(r, 32);
    return low | bits_get(r, n - 32) << 32;
}

/* Whether everything was there and all was used but the filling of the last byte, which is zero. */
static inline bool bits_end(const struct bit_reader *r)
{
    return !r->bad && r->bits - r->at < 8 && (r->bits == r->at || bits_peek(r) == 0);
}

/* How many bits V needs; 0 for 0. */
static inline unsigned bit_length(uint64_t v)
{
    return v == 0 ? 0 : 64 - (unsigned)__builtin_clzll(v);
}

#endif
