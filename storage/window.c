#include "storage/window.h"

#include "base/file.h"
#include "base/must.h"
#include "base/vmem.h"
#include "storage/space.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    RUN_ROWS_SMALL = 64,  /* while the window has few rows: eight cache lines of cells */
    RUN_ROWS_LARGE = 512, /* later: one page of cells, so that a page is written by one sender */
    RUN_LARGE_FROM = 4096,
    WINDOW_LEAF_BYTES = WINDOW_MAP_LEAF * sizeof(uint32_t),
};

static uint64_t maps_bytes; /* relaxed atomic: leaves of all row maps */

uint64_t window_maps_bytes(void)
{
    return __atomic_load_n(&maps_bytes, __ATOMIC_RELAXED);
}

struct window *window_new(const struct grid_header *what, uint32_t serial, const char *dir, struct space *space)
{
    struct window *w = calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    w->serial = serial;
    w->policy = what->policy;
    w->tier = what->tier;
    w->step_s = what->step_s;
    w->slots = what->slots;
    w->start_s = what->start_s;
    w->end_s = what->start_s + (int64_t)what->slots * what->step_s;
    w->generation = what->generation;
    w->dir = dir;
    w->space = space;
    pthread_mutex_init(&w->lock, NULL);
    w->grid = calloc(GRID_BLOCKS_MAX, sizeof w->grid[0]);
    w->rows_of = vmem_reserve(WINDOW_MAP_LEAVES * sizeof w->rows_of[0]);
    if (w->grid == NULL || w->rows_of == NULL) {
        window_free(w);
        return NULL;
    }
    return w;
}

void window_free(struct window *w)
{
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->blocks; i++)
        grid_close(w->grid[i]);
    for (uint32_t i = 0; i < w->leaves; i++) {
        if (w->rows_of[i] != NULL)
            __atomic_fetch_sub(&maps_bytes, WINDOW_LEAF_BYTES, __ATOMIC_RELAXED);
        free(w->rows_of[i]);
    }
    free(w->grid);
    vmem_release(w->rows_of, WINDOW_MAP_LEAVES * sizeof w->rows_of[0]);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void window_grid_path(const struct window *w, uint32_t block, char *to, size_t size)
{
    snprintf(to, size, "%s/w%" PRId64 "-n%" PRIu64 "-b%" PRIu32 ".grid", w->dir, w->start_s, w->generation, block);
}

/* The leaf of the row map for ID, made when missing. */
static uint32_t *window_leaf(struct window *w, uint32_t id)
{
    uint32_t **leaf = &w->rows_of[id / WINDOW_MAP_LEAF];

    if (*leaf == NULL) {
        uint32_t *fresh = calloc(WINDOW_MAP_LEAF, sizeof fresh[0]);
        if (fresh == NULL)
            return NULL;
        __atomic_fetch_add(&maps_bytes, WINDOW_LEAF_BYTES, __ATOMIC_RELAXED);
        __atomic_store_n(leaf, fresh, __ATOMIC_RELEASE);
        if (id / WINDOW_MAP_LEAF >= w->leaves)
            w->leaves = id / WINDOW_MAP_LEAF + 1;
    }
    return *leaf;
}

static void window_has_block(struct window *w, uint32_t block)
{
    if (block >= w->blocks)
        __atomic_store_n(&w->blocks, block + 1, __ATOMIC_RELEASE);
}

/* The grid of BLOCK, created when missing. */
static int window_make_grid(struct window *w, uint32_t block, struct err *err)
{
    char path[4096];
    struct grid *g;
    struct grid_header header = {.tier = w->tier,
                                 .policy = w->policy,
                                 .step_s = w->step_s,
                                 .start_s = w->start_s,
                                 .generation = w->generation,
                                 .slots = w->slots,
                                 .block = block};
    uint64_t bytes = grid_file_bytes(grid_block_rows(block), w->slots);

    if (w->grid[block] != NULL)
        return 0;
    int rc = space_ask(w->space, bytes, err);
    if (rc < 0)
        return rc;
    window_grid_path(w, block, path, sizeof path);
    rc = grid_create(path, &header, &g, err);
    space_tell(w->space, rc);
    if (rc < 0)
        return rc;
    __atomic_store_n(&w->grid_bytes, w->grid_bytes + bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&w->grid[block], g, __ATOMIC_RELEASE);
    window_has_block(w, block);
    return 0;
}

static uint32_t window_run_rows(uint32_t rows_used)
{
    return rows_used < RUN_LARGE_FROM ? RUN_ROWS_SMALL : RUN_ROWS_LARGE;
}

/* Give a writer a run of rows when its last is used up. The rows of a run lie in one block. */
static int window_take_run(struct window *w, struct window_run *run, struct err *err)
{
    if (run->next < run->end)
        return 0;
    uint32_t rows = window_run_rows(w->rows_used);
    if (w->rows_used + rows > 1u << 28)
        return err_set(err, ERR_LIMIT, "%s: no rows left in the window at %" PRId64, w->dir, w->start_s);
    int rc = window_make_grid(w, grid_block_of(w->rows_used), err);
    if (rc < 0)
        return rc;
    run->next = w->rows_used;
    run->end = w->rows_used += rows;
    return 0;
}

int window_row_for(struct window *w, uint32_t id, unsigned writer, uint32_t *row, struct err *err)
{
    *row = window_row(w, id);
    if (*row != UINT32_MAX)
        return 0;
    pthread_mutex_lock(&w->lock);
    struct window_run *run = &w->run[writer];
    uint32_t *leaf = window_leaf(w, id);
    int rc = leaf == NULL ? err_set(err, ERR_MEMORY, "row map") : 0;
    if (rc == 0 && leaf[id % WINDOW_MAP_LEAF] != 0) {
        *row = leaf[id % WINDOW_MAP_LEAF] - 1; /* another writer was faster */
    } else if (rc == 0 && (rc = window_take_run(w, run, err)) == 0) {
        *row = run->next++;
        grid_name_row(w->grid[grid_block_of(*row)], *row, id);
        __atomic_store_n(&leaf[id % WINDOW_MAP_LEAF], *row + 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

bool window_read(const struct window *w, uint32_t id, uint32_t first, uint32_t count, double *out)
{
    uint32_t row = window_row(w, id);

    MUST(first + count <= w->slots);
    if (row == UINT32_MAX)
        return false;
    const struct grid *g = window_grid(w, row);
    for (uint32_t i = 0; i < count; i++) {
        double v = grid_load(g, first + i, row);
        if (!isnan(v))
            out[i] = v;
    }
    return true;
}

int window_adopt(struct window *w, struct grid *g, const struct grid_header *header, uint32_t *id_max,
                 uint32_t *rows_damaged, struct err *err)
{
    MUST(w->generation == header->generation);
    if (w->grid[header->block] != NULL || header->start_s != w->start_s || header->slots != w->slots)
        return err_corrupt(err, file_path(g->file), 0, "grid does not belong to its window");
    uint32_t used = 0;
    for (uint32_t i = 0; i < g->rows; i++) {
        uint32_t id = grid_row_owner(g, g->row_first + i);
        if (id == GRID_ROW_FREE)
            continue;
        used = g->row_first + i + 1;
        if (id == GRID_ROW_DAMAGED) {
            ++*rows_damaged;
            continue;
        }
        uint32_t *leaf = window_leaf(w, id);
        if (leaf == NULL)
            return err_set(err, ERR_MEMORY, "row map");
        if (leaf[id % WINDOW_MAP_LEAF] == 0)
            leaf[id % WINDOW_MAP_LEAF] = g->row_first + i + 1;
        if (id >= *id_max)
            *id_max = id + 1;
    }
    uint32_t run = window_run_rows(used);
    used = (used + run - 1) / run * run;
    w->rows_used = used > w->rows_used ? used : w->rows_used;
    w->grid[header->block] = g;
    window_has_block(w, header->block);
    w->grid_bytes += g->map_len;
    return 0;
}

/* The map's leaves are in order of ids, so walking them gives sorted pairs without a sort. */
int window_pairs(const struct window *w, struct window_pair **out, size_t *count, struct err *err)
{
    size_t cap = w->rows_used, n = 0;
    struct window_pair *pairs = malloc((cap + 1) * sizeof pairs[0]);

    *out = NULL;
    *count = 0;
    if (pairs == NULL)
        return err_set(err, ERR_MEMORY, "sealing: %zu rows", cap);
    for (uint32_t l = 0; l < w->leaves && n < cap; l++) {
        if (w->rows_of[l] == NULL)
            continue;
        for (uint32_t i = 0; i < WINDOW_MAP_LEAF && n < cap; i++)
            if (w->rows_of[l][i] != 0)
                pairs[n++] = (struct window_pair){l * WINDOW_MAP_LEAF + i, w->rows_of[l][i] - 1};
    }
    *out = pairs;
    *count = n;
    return 0;
}

int window_unlink(const struct window *w, struct err *err)
{
    char path[4096];
    int rc = 0;

    for (uint32_t b = 0; b < w->blocks; b++) {
        if (w->grid[b] == NULL)
            continue;
        window_grid_path(w, b, path, sizeof path);
        int one = file_unlink(path, err);
        rc = rc == 0 ? one : rc;
    }
    return rc;
}
