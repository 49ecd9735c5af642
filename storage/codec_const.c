/* codec_const.c - all values are the same.
 *
 * The payload is the value's bits from the highest byte down, without the zero bytes at the low end:
 * nothing at all for 0, two bytes for small integers. */
#include "storage/codec.h"

#include "base/reader.h"
#include "storage/format.h"

static bool encode(struct codec_scratch *scratch, const double *values, uint32_t n, uint8_t *to, size_t max,
                   size_t *len)
{
    uint64_t bits = value_bits(values[0]);
    size_t used = bits == 0 ? 0 : 8 - (size_t)__builtin_ctzll(bits) / 8;

    (void)scratch;
    for (uint32_t i = 1; i < n; i++)
        if (value_bits(values[i]) != bits)
            return false;
    if (used > max)
        return false;
    for (size_t i = 0; i < used; i++)
        to[i] = (uint8_t)(bits >> (56 - 8 * i));
    *len = used;
    return true;
}

static bool decode(struct span in, uint32_t n, double *out)
{
    uint64_t bits = 0;
    double value;

    if (in.len > 8)
        return false;
    for (size_t i = 0; i < in.len; i++)
        bits |= (uint64_t)(uint8_t)in.ptr[i] << (56 - 8 * i);
    value = bits_value(bits);
    for (uint32_t i = 0; i < n; i++)
        out[i] = value;
    return true;
}

const struct codec codec_const = {.id = CODEC_CONST, .name = "const", .encode = encode, .decode = decode};
