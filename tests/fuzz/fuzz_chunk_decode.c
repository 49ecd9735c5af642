/* Two bytes say how many slots, the rest is taken for a chunk: points in the slots, or refused and nothing
 * touched. */
#include "storage/chunk.h"

#include "base/must.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static double out[CHUNK_SLOTS_MAX];
    uint32_t slots, touched = 0;
    struct span chunk;
    int rc;

    if (size < 2)
        return 0;
    slots = (data[0] | (uint32_t)data[1] << 8) % CHUNK_SLOTS_MAX + 1;
    chunk = span_of(data + 2, size - 2);
    memset(out, 0xff, sizeof(out)); /* a NaN, which no chunk should hold; but garbage may */
    rc = chunk_decode(chunk, slots, out);
    for (uint32_t i = 0; i < CHUNK_SLOTS_MAX; i++) {
        uint64_t bits;

        memcpy(&bits, &out[i], sizeof(bits));
        touched += bits != UINT64_MAX;
        MUST(i < slots || bits == UINT64_MAX);
    }
    MUST(rc == ERR_CORRUPT || (rc >= 1 && rc <= (int)slots));
    MUST(touched <= (rc < 0 ? 0u : (uint32_t)rc));
    return 0;
}
