/* grid.h - one mapped file of an open window: the cells of one block of rows.
 *
 * Slot-major: the cells of slot s of all rows lie side by side, so the newest slot of all series is one
 * stripe, and flushing it is one sequential write. A cell is one aligned 8-byte word, so a store needs
 * no lock and a crash leaves each cell whole or absent. The file also holds the row map: which series
 * each row belongs to. A row map entry is one word too, is written once and has a checksum, so whatever a
 * power cut or a bad disk leaves of the file, no series can get another's points. Bytes: docs/format.md,
 * "Grid". */
#ifndef PLUMBAGO_STORAGE_GRID_H
#define PLUMBAGO_STORAGE_GRID_H

#include "base/err.h"
#include "storage/format.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

struct file;

struct grid {
    uint64_t *cells;  /* [slot * rows + (row - row_first)], relaxed atomics */
    uint64_t *owners; /* [row - row_first]: the row map; written under the window's lock */
    uint64_t generation;
    uint32_t row_first;
    uint32_t rows;
    uint32_t dirty;    /* relaxed atomic: there were stores since the last flush began */
    bool entry_synced; /* the folder's entry of the file is on the device; flush thread only */
    struct file *file;
    void *map;
    size_t map_len;
};

enum { GRID_BLOCKS_MAX = GRID_SMALL_BLOCKS - 1 + (1 << 28) / GRID_BLOCK_ROWS }; /* of 2^28 rows */

/* The block that ROW lies in, and the rows of a block. */
static inline uint32_t grid_block_of(uint32_t row)
{
    return row >= GRID_BLOCK_ROWS ? GRID_SMALL_BLOCKS - 1 + row / GRID_BLOCK_ROWS
                                  : (uint32_t)(row >= 512) + (row >= 4096) + (row >= 16384);
}

uint32_t grid_block_first(uint32_t block);
uint32_t grid_block_rows(uint32_t block);

/* Bytes of the file of a block of ROWS x SLOTS. */
uint64_t grid_file_bytes(uint32_t rows, uint32_t slots);

/* Create the file at PATH with its space reserved; .row_first and .rows of HEADER are filled in here.
 * On failure nothing is left. ERR_FULL when the disk is full. */
int grid_create(const char *path, struct grid_header *header, struct grid **out, struct err *err);

/* Open an existing file and fill HEADER. ERR_CORRUPT when its header or size is wrong, ERR_VERSION. */
int grid_open(const char *path, struct grid_header *header, struct grid **out, struct err *err);
void grid_close(struct grid *g); /* NULL is fine */

/* Enter in the row map that ROW belongs to series ID. */
void grid_name_row(struct grid *g, uint32_t row, uint32_t id);

enum { GRID_ROW_FREE = UINT32_MAX, GRID_ROW_DAMAGED = UINT32_MAX - 1 };

/* The series that ROW belongs to, or one of these. */
uint32_t grid_row_owner(const struct grid *g, uint32_t row);

static inline void grid_store(struct grid *g, uint32_t slot, uint32_t row, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    __atomic_store_n(&g->cells[(size_t)slot * g->rows + (row - g->row_first)], bits ^ GRID_CELL_KEY, __ATOMIC_RELAXED);
    if (__builtin_expect(__atomic_load_n(&g->dirty, __ATOMIC_RELAXED) == 0, 0))
        __atomic_store_n(&g->dirty, 1, __ATOMIC_RELAXED);
}

/* Bring a cell near that grid_store() will write. */
static inline void grid_prefetch(const struct grid *g, uint32_t slot, uint32_t row)
{
    __builtin_prefetch(&g->cells[(size_t)slot * g->rows + (row - g->row_first)], 1);
}

/* The value of a cell, NaN when absent. */
static inline double grid_load(const struct grid *g, uint32_t slot, uint32_t row)
{
    uint64_t bits = __atomic_load_n(&g->cells[(size_t)slot * g->rows + (row - g->row_first)], __ATOMIC_RELAXED);
    double value;

    if (bits == 0)
        return NAN;
    bits ^= GRID_CELL_KEY;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
