/* Any bytes as a segment, its checksums put right first: opened or refused, and then everything can be asked
 * of it. */
#include "storage/segment.h"

#include "base/must.h"
#include "storage/chunk.h"
#include "tests/help/mend.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct segment *seg)
{
    static double out[CHUNK_SLOTS_MAX];
    const struct segment_info *info = segment_info(seg);
    struct segment_cursor cursor = segment_cursor(seg);
    struct segment_row row, again;
    struct err err;
    int rc;

    while ((rc = segment_cursor_next(&cursor, &row, &err)) != 0) {
        if (rc < 0) {
            MUST(rc == ERR_CORRUPT);
            continue;
        }
        MUST(segment_row(seg, row.id, &again, &err) == 1 && again.chunks[0].ptr == row.chunks[0].ptr);
        rc = segment_read(seg, row.id, info->slots / 3, info->slots - info->slots / 3, out, &err);
        MUST(rc == 1 || rc == ERR_CORRUPT);
        segment_has(seg, row.id + 1, &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int memory = -1;
    struct segment_check result;
    struct segment *seg;
    char path[64];
    char *copy;

    if (memory < 0)
        memory = memfd_create("segment", 0);
    copy = malloc(size + 1);
    memcpy(copy, data, size);
    mend_segment(copy, size);
    if (ftruncate(memory, 0) != 0 || pwrite(memory, copy, size, 0) != (ssize_t)size)
        abort();
    free(copy);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    segment_check(path, NULL, NULL, &result, NULL);
    if (segment_open(path, &seg, NULL) == 0)
        read_all(seg);
    segment_close(seg);
    return 0;
}
