/* segment.h - one sealed file: the chunks of many series over one span of one tier, read through a mapping.
 *
 * Immutable once written, so readers take no lock and any number of threads may use one segment. Bytes:
 * docs/format.md, "Segment". Written by segment_write.c for seal and merge; read by fetch and merge.
 *
 * A group of series (about 1 MB at most) is checked against its checksum when it is first touched. What
 * is found damaged stays damaged: each read from it gives ERR_CORRUPT with file and offset, all other
 * groups remain readable. A file that was cut, or that the device cannot give, is damage, too. */
#ifndef PLUMBAGO_STORAGE_SEGMENT_H
#define PLUMBAGO_STORAGE_SEGMENT_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

enum {
    SEGMENT_COLUMNS_MAX = 2, /* 1: a value; 2: sum and count, for tiers that keep averages */
};

/* What a segment spans. For the writer the first block is given, the second comes out of the rows. */
struct segment_info {
    uint32_t policy;     /* number of the policy, as in the manifest */
    uint8_t tier;        /* archive of the policy, 0 is the finest */
    uint8_t columns;     /* chunks of each row: 1..SEGMENT_COLUMNS_MAX */
    uint32_t step_s;     /* seconds a slot; at least 1 */
    uint32_t slots;      /* 1..CHUNK_SLOTS_MAX */
    int64_t start_s;     /* time of slot 0: seconds since 1970, a multiple of the step */
    uint64_t generation; /* newer wins where two segments have the same slot */

    uint32_t series;   /* rows in the file */
    uint32_t groups;   /* units of checking */
    uint32_t first_id; /* ids of the first and last row; meaningless when there is none */
    uint32_t last_id;
    uint64_t bytes; /* of the whole file */
};

struct segment;

/* Map the file at PATH; checks header, footer and directory, not yet the chunks.
 * *out is the caller's, to be given back with segment_close(); NULL on failure.
 * Fails with ERR_IO, ERR_MISSING, ERR_MEMORY, ERR_CORRUPT (names file and offset) or ERR_VERSION. */
int segment_open(const char *path, struct segment **out, struct err *err);
void segment_close(struct segment *seg); /* NULL is fine */

/* Borrowed until segment_close(). */
const struct segment_info *segment_info(const struct segment *seg);
const char *segment_path(const struct segment *seg);

/* Lay the points of series ID in the slots [first_slot, first_slot + slots) over OUT[0..slots): present
 * ones are written, absent ones leave OUT as it is. The range must lie within the segment. Returns 1
 * when the series has a row here, 0 when not, or ERR_CORRUPT: then OUT is unchanged. Any thread. */
int segment_read(struct segment *seg, uint32_t id, uint32_t first_slot, uint32_t slots, double *out, struct err *err);

/* The same for one of several columns. */
int segment_read_column(struct segment *seg, uint32_t id, uint8_t column, uint32_t first_slot, uint32_t slots,
                        double *out, struct err *err);

/* Whether series ID has a row here: 1, 0 or ERR_CORRUPT. */
int segment_has(struct segment *seg, uint32_t id, struct err *err);

/* One row: the encoded points of each column, borrowed until segment_close(). An empty chunk is a
 * column without points. */
struct segment_row {
    uint32_t id;
    struct span chunks[SEGMENT_COLUMNS_MAX];
};

/* The row of series ID: 1, 0 when it has none here, or ERR_CORRUPT. The chunks lie in the mapping: decode them by
 * segment_decode(), which survives a file that was cut. */
int segment_row(struct segment *seg, uint32_t id, struct segment_row *row, struct err *err);

/* A walk over all rows by ascending id, for merging, rollups and checks. The caller holds it by value;
 * it needs no release. */
struct segment_cursor {
    struct segment *seg;
    uint32_t group; /* the group of the next row */
    uint32_t index; /* its number in that group */
    uint32_t at;    /* where its first chunk begins: bytes behind the first chunk of the group */
    uint32_t id;    /* id of the row before it in that group */
};

struct segment_cursor segment_cursor(struct segment *seg);

/* The next row: 1; 0 at the end; ERR_CORRUPT for a damaged group, which the following call skips. */
int segment_cursor_next(struct segment_cursor *cursor, struct segment_row *row, struct err *err);

/* Lay all points of one chunk of ROW over OUT, which has a place for each slot of the segment; absent ones leave
 * OUT as it is. How many were written, or ERR_CORRUPT. Any thread. */
int segment_decode(const struct segment *seg, const struct segment_row *row, uint8_t column, double *out,
                   struct err *err);

/* Read the group of that number (below segment_info()->groups) and check it again, whatever was found before: 0 or
 * ERR_CORRUPT. *bytes is its length in the file. Any thread. */
int segment_check_group(struct segment *seg, uint32_t number, uint64_t *bytes, struct err *err);

/* What segment_check() found. */
struct segment_check {
    uint64_t rows;
    uint64_t points;  /* in all columns */
    uint64_t damaged; /* groups and chunks that cannot be read */
};

/* Read everything in the file at PATH and check it: structure, checksums, and that every chunk decodes.
 * EACH (NULL is fine) is called with each damage found; 0 when all is well, else the first error. */
int segment_check(const char *path, void (*each)(void *ctx, const struct err *damage), void *ctx,
                  struct segment_check *result, struct err *err);

#endif
