/* reader.h - bytes that came from a disk or a socket, read with checks: little-endian numbers and varints.
 *
 * Sticky: reading beyond the end sets .bad and gives zeros from then on, so a whole header is read first
 * and asked about once:
 *
 *     struct reader in = reader_of(file);
 *     uint32_t magic = read_u32(&in);
 *     uint64_t rows = read_varint(&in);
 *     if (in.bad || magic != SEGMENT_MAGIC)
 *         return err_corrupt(err, path, in.offset, "segment header");
 *
 * The put_ functions are the other direction: plain stores into memory that the caller has made large
 * enough. Hosts are little-endian, as the files are. */
#ifndef PLUMBAGO_BASE_READER_H
#define PLUMBAGO_BASE_READER_H

#include "base/span.h"

#include <assert.h>
#include <stdint.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian and are read as they are");

struct reader {
    struct span in;
    size_t offset; /* of the next byte */
    bool bad;      /* sticky: something reached beyond the end, or was no valid varint */
};

static inline struct reader reader_of(struct span in)
{
    return (struct reader){.in = in};
}

/* The bytes that are left. */
static inline struct span reader_rest(const struct reader *r)
{
    return (struct span){r->in.ptr + r->offset, r->in.len - r->offset};
}

/* The next N bytes, borrowed from the input; an empty span (and .bad) when there are not as many. */
static inline struct span read_bytes(struct reader *r, size_t n)
{
    if (r->bad || n > r->in.len - r->offset) {
        r->bad = true;
        return (struct span){NULL, 0};
    }
    r->offset += n;
    return (struct span){r->in.ptr + r->offset - n, n};
}

/* The next N bytes (at most 8) as a little-endian number. */
static inline uint64_t read_uint(struct reader *r, size_t n)
{
    struct span bytes = read_bytes(r, n);
    uint64_t v = 0;

    if (bytes.len != 0)
        memcpy(&v, bytes.ptr, bytes.len);
    return v;
}

static inline uint8_t read_u8(struct reader *r)
{
    return (uint8_t)read_uint(r, 1);
}

static inline uint16_t read_u16(struct reader *r)
{
    return (uint16_t)read_uint(r, 2);
}

static inline uint32_t read_u32(struct reader *r)
{
    return (uint32_t)read_uint(r, 4);
}

static inline uint64_t read_u64(struct reader *r)
{
    return read_uint(r, 8);
}

/* An unsigned number in groups of 7 bits, the lowest first, all but the last with the top bit set
 * (LEB128). Bits beyond 64 are an error. */
static inline uint64_t read_varint(struct reader *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_u8(r);

        if (shift == 63 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
    r->bad = true;
    return 0;
}

/* Small numbers of either sign as small unsigned ones: 0, -1, 1, -2, ... become 0, 1, 2, 3, ... */
static inline uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static inline int64_t unzigzag(uint64_t v)
{
    return (int64_t)((v >> 1) ^ (0 - (v & 1)));
}

enum { VARINT_MAX = 10 }; /* bytes of the longest varint */

/* How many bytes put_varint() writes. */
static inline size_t varint_size(uint64_t v)
{
    return (size_t)(63 - __builtin_clzll(v | 1)) / 7 + 1;
}

/* Each returns the place behind what it wrote. */
static inline uint8_t *put_varint(uint8_t *to, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *to++ = (uint8_t)(v | 0x80);
    *to++ = (uint8_t)v;
    return to;
}

/* The lowest N bytes (at most 8) of V. */
static inline uint8_t *put_uint(uint8_t *to, uint64_t v, size_t n)
{
    memcpy(to, &v, n);
    return to + n;
}

static inline uint8_t *put_u16(uint8_t *to, uint16_t v)
{
    return put_uint(to, v, 2);
}

static inline uint8_t *put_u32(uint8_t *to, uint32_t v)
{
    return put_uint(to, v, 4);
}

static inline uint8_t *put_u64(uint8_t *to, uint64_t v)
{
    return put_uint(to, v, 8);
}

/* Plain loads from memory that is known to be there, aligned or not. */
static inline uint32_t get_u32(const void *from)
{
    uint32_t v;

    memcpy(&v, from, sizeof(v));
    return v;
}

static inline uint64_t get_u64(const void *from)
{
    uint64_t v;

    memcpy(&v, from, sizeof(v));
    return v;
}

#endif
