/* window.h - one open window: an aligned span of one tier into which points are being stored.
 *
 * A window has rows, handed out in order of first arrival *in this window*: series that are sent
 * together lie together, series that are silent cost nothing, and a late point of one series in a window
 * of the past needs a small file only. A row is a number below 2^28; rows are cut into blocks, a block
 * is a grid (grid.h), created when its first row is handed out.
 *
 * Threads. Stores and loads of cells: any, without locks. Rows and grids are made under .lock. A
 * window is found through its tier's view and lives until a grace period after it left that view. */
#ifndef PLUMBAGO_STORAGE_WINDOW_H
#define PLUMBAGO_STORAGE_WINDOW_H

#include "storage/grid.h"

#include <pthread.h>

enum {
    WINDOW_WRITERS_MAX = 64,
    WINDOW_MAP_LEAF = 4096, /* ids that one leaf of the row map covers */
    WINDOW_MAP_LEAVES = (1 << 28) / WINDOW_MAP_LEAF,
};

/* Watches over the free space of the disk: space.h. */
struct space;

/* Rows that one writer has taken and not yet handed out: its series lie together. */
struct window_run {
    uint32_t next, end;
};

struct window {
    uint32_t serial; /* of this process, never 0: stands in series.place */
    uint32_t policy;
    uint8_t tier;
    bool closing; /* atomic: taken from the writers, on its way to be sealed */
    bool failing; /* atomic: one of its files could not be synced; it is to be sealed at once */
    uint32_t step_s;
    uint32_t slots;
    int64_t start_s;
    int64_t end_s; /* start_s + slots * step_s */
    uint64_t generation;
    int64_t opened_s;  /* when it was opened */
    int64_t touched_s; /* relaxed atomic: when a batch last stored here */
    const char *dir;   /* the tier's folder; borrowed */
    struct space *space;

    struct grid **grid;   /* atomic pointers, GRID_BLOCKS_MAX of them; NULL: no row there yet */
    uint32_t **rows_of;   /* atomic pointers to leaves: series id -> row + 1 (atomic), 0: none */
    uint32_t leaves;      /* leaves from here on are NULL; under .lock, or while nobody stores */
    pthread_mutex_t lock; /* guards what follows, and the making of grids and leaves */
    uint32_t blocks;      /* atomic: grids from here on are NULL */
    uint32_t rows_used;   /* rows that were taken by runs */
    uint64_t grid_bytes;  /* atomic: reserved on disk */
    struct window_run run[WINDOW_WRITERS_MAX];
};

/* An empty window; no file yet. DIR and SPACE are borrowed. NULL when memory is short. */
struct window *window_new(const struct grid_header *what, uint32_t serial, const char *dir, struct space *space);

/* Unmap and close everything; the files stay. NULL is fine. */
void window_free(struct window *w);

/* Bytes of the row maps of all windows of the process. Any thread. */
uint64_t window_maps_bytes(void);

/* The number of blocks up to the last that has a grid (some between may have none). Any thread. */
static inline uint32_t window_blocks(const struct window *w)
{
    return __atomic_load_n(&w->blocks, __ATOMIC_ACQUIRE);
}

/* The row of series ID, or UINT32_MAX. Any thread. */
static inline uint32_t window_row(const struct window *w, uint32_t id)
{
    const uint32_t *leaf = __atomic_load_n(&w->rows_of[id / WINDOW_MAP_LEAF], __ATOMIC_ACQUIRE);

    return leaf == NULL ? UINT32_MAX : __atomic_load_n(&leaf[id % WINDOW_MAP_LEAF], __ATOMIC_ACQUIRE) - 1;
}

/* The row of series ID, made when it has none. WRITER is the number of the calling writer. ERR_FULL
 * when there is no space for a grid, ERR_IO, ERR_MEMORY. */
int window_row_for(struct window *w, uint32_t id, unsigned writer, uint32_t *row, struct err *err);

/* The grid that holds ROW, a row that was handed out. */
static inline struct grid *window_grid(const struct window *w, uint32_t row)
{
    return __atomic_load_n(&w->grid[grid_block_of(row)], __ATOMIC_ACQUIRE);
}

/* Lay the cells of series ID in slots [first, first + count) over OUT; absent ones leave it as it is.
 * True when the series has a row here. */
bool window_read(const struct window *w, uint32_t id, uint32_t first, uint32_t count, double *out);

/* Take over an opened grid file while the store opens; *id_max becomes at least the largest id + 1 that
 * its row map names (after a power cut the log may not know it). Rows whose entry in the map is damaged are
 * left out and added to *rows_damaged. ERR_CORRUPT when it does not belong here; G stays the caller's then. */
int window_adopt(struct window *w, struct grid *g, const struct grid_header *header, uint32_t *id_max,
                 uint32_t *rows_damaged, struct err *err);

/* The path of the grid file of BLOCK. */
void window_grid_path(const struct window *w, uint32_t block, char *to, size_t size);

/* A series and its row. */
struct window_pair {
    uint32_t id, row;
};

/* All pairs of the window, sorted by id; *out is malloc'ed, *count their number. For sealing. */
int window_pairs(const struct window *w, struct window_pair **out, size_t *count, struct err *err);

/* Remove the files. */
int window_unlink(const struct window *w, struct err *err);

#endif
