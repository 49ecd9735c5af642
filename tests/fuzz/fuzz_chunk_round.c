/* Rows made from bytes are the same, to the bit, after encoding and decoding. The first byte says how the
 * others become values; steps of small integers and decimals get far into the codecs, raw doubles to their
 * edges. */
#include "storage/chunk.h"

#include "base/must.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAW, STEPS, SCALED, KINDS };

static uint32_t row_of(const uint8_t *data, size_t size, double *values)
{
    static const double scales[] = {1, 10, 100, 1000, 4096, 1e-3, 1e6, 1e13};
    unsigned kind = data[0] % KINDS;
    double scale = scales[data[0] / KINDS % 8];
    int64_t at = 0;
    uint32_t n = 0;

    data++;
    size--;
    for (size_t i = 0; i < size && n < CHUNK_SLOTS_MAX; i++) {
        if (kind == RAW) {
            if (i + 8 > size)
                break;
            memcpy(&values[n++], data + i, 8);
            i += 7;
        } else if (data[i] == 0x80) {
            values[n++] = NAN;
        } else if (data[i] == 0x81 && i + 8 < size) {
            memcpy(&values[n++], data + i + 1, 8);
            i += 8;
        } else {
            at = kind == STEPS ? at + (int8_t)data[i] : (int8_t)data[i];
            values[n++] = (double)at / scale;
        }
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chunk_encoder *encoder;
    static double values[CHUNK_SLOTS_MAX], out[CHUNK_SLOTS_MAX];
    static uint8_t bytes[CHUNK_SLOTS_MAX * 9 + 16];
    uint32_t n = size < 2 ? 0 : row_of(data, size, values);
    size_t len;
    int points = 0;

    if (n == 0 || (encoder == NULL && chunk_encoder_new(&encoder, NULL) < 0))
        return 0;
    for (uint32_t i = 0; i < n; i++)
        points += values[i] == values[i];
    len = chunk_encode(encoder, values, n, bytes);
    MUST(len <= chunk_bound(n) && (len == 0) == (points == 0));
    if (len == 0)
        return 0;
    memset(out, 0, sizeof(out));
    MUST(chunk_decode(span_of(bytes, len), n, out) == points);
    for (uint32_t i = 0; i < n; i++)
        MUST(values[i] != values[i] || memcmp(&values[i], &out[i], sizeof(double)) == 0);
    return 0;
}
