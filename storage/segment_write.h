/* segment_write.h - writing a segment: rows in, by ascending id; one immutable file out.
 *
 * The file appears under its name at once and whole, or not at all: it is written under a temporary
 * name beside it (PATH.tmp), synced, renamed, and its folder is synced. Memory is bounded by one group
 * (about 1 MB) and 32 bytes for each group written; the number of rows has no part in it. */
#ifndef PLUMBAGO_STORAGE_SEGMENT_WRITE_H
#define PLUMBAGO_STORAGE_SEGMENT_WRITE_H

#include "storage/segment.h"

struct segment_writer; /* belongs to one thread */

/* Begin the file that will be PATH. INFO's first block says what it spans; it is copied. A temporary
 * file left by a crash is overwritten. *out is the caller's, to be given back with
 * segment_writer_free(); NULL on failure. ERR_IO, ERR_FULL, ERR_MEMORY. */
int segment_writer_new(const char *path, const struct segment_info *info, struct segment_writer **out, struct err *err);

/* Add the row of series ID, larger than all before. VALUES are info.columns arrays of info.slots
 * numbers one after the other, NaN for absent. A row without any point is skipped. After a failure
 * only segment_writer_free() may be called. */
int segment_writer_add(struct segment_writer *w, uint32_t id, const double *values, struct err *err);

/* Add a row that is encoded already, as segment_row() or a cursor gave it, from a segment of the same
 * slots and columns. */
int segment_writer_add_row(struct segment_writer *w, const struct segment_row *row, struct err *err);

/* Rows added so far. A segment of no rows can be committed, but there is no use in one. */
uint32_t segment_writer_rows(const struct segment_writer *w);

/* Write the rest, sync, rename, sync the folder. Once only; afterwards only segment_writer_free().
 * On failure PATH is as it was before. */
int segment_writer_commit(struct segment_writer *w, struct err *err);

/* Bytes of the committed file; 0 before. */
uint64_t segment_writer_bytes(const struct segment_writer *w);

/* Removes the temporary file when nothing was committed. NULL is fine. */
void segment_writer_free(struct segment_writer *w);

#endif
