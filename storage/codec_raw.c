/* codec_raw.c - 8 bytes a value: what a chunk never exceeds. */
#include "storage/codec.h"

#include "storage/format.h"

static bool encode(struct codec_scratch *scratch, const double *values, uint32_t n, uint8_t *to, size_t max,
                   size_t *len)
{
    (void)scratch;
    if (max < (size_t)n * sizeof(double))
        return false;
    *len = (size_t)n * sizeof(double);
    memcpy(to, values, *len);
    return true;
}

static bool decode(struct span in, uint32_t n, double *out)
{
    if (in.len != (size_t)n * sizeof(double))
        return false;
    memcpy(out, in.ptr, in.len);
    return true;
}

const struct codec codec_raw = {.id = CODEC_RAW, .name = "raw", .encode = encode, .decode = decode};
