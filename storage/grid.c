#include "storage/grid.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/must.h"

#include <stdlib.h>

uint32_t grid_block_first(uint32_t block)
{
    static const uint32_t first[GRID_SMALL_BLOCKS] = {0, 512, 4096, 16384};

    return block < GRID_SMALL_BLOCKS ? first[block] : (block - GRID_SMALL_BLOCKS + 1) * GRID_BLOCK_ROWS;
}

uint32_t grid_block_rows(uint32_t block)
{
    return grid_block_first(block + 1) - grid_block_first(block);
}

static size_t grid_cells_at(uint32_t rows)
{
    size_t map = (size_t)rows * sizeof(uint64_t);

    return GRID_PAGE + (map + GRID_PAGE - 1) / GRID_PAGE * GRID_PAGE;
}

uint64_t grid_file_bytes(uint32_t rows, uint32_t slots)
{
    return grid_cells_at(rows) + (uint64_t)rows * slots * sizeof(uint64_t);
}

static int grid_map(struct grid *g, const struct grid_header *header, struct err *err)
{
    g->row_first = header->row_first;
    g->rows = header->rows;
    g->generation = header->generation;
    g->map_len = (size_t)grid_file_bytes(header->rows, header->slots);
    int rc = file_map(g->file, 0, g->map_len, FILE_MAP_WRITE, &g->map, err);
    if (rc == 0) {
        g->owners = (uint64_t *)(void *)((char *)g->map + GRID_PAGE);
        g->cells = (uint64_t *)(void *)((char *)g->map + grid_cells_at(header->rows));
    }
    return rc;
}

int grid_create(const char *path, struct grid_header *header, struct grid **out, struct err *err)
{
    struct grid *g = calloc(1, sizeof *g);

    *out = NULL;
    if (g == NULL)
        return err_set(err, ERR_MEMORY, "%s", path);
    header->magic = GRID_MAGIC;
    header->version = GRID_VERSION;
    header->row_first = grid_block_first(header->block);
    header->rows = grid_block_rows(header->block);
    header->crc = crc32c(header, offsetof(struct grid_header, crc));
    int rc = file_open(path, FILE_READ_WRITE | FILE_CREATE | FILE_EMPTY, &g->file, err);
    if (rc == 0)
        rc = file_reserve(g->file, grid_file_bytes(header->rows, header->slots), err);
    if (rc == 0)
        rc = file_write(g->file, header, sizeof *header, 0, err);
    if (rc == 0)
        rc = grid_map(g, header, err);
    if (rc < 0) {
        grid_close(g);
        file_unlink(path, NULL);
        return rc;
    }
    *out = g;
    return 0;
}

static int grid_check_header(const struct grid *g, const struct grid_header *h, struct err *err)
{
    uint64_t size;
    const char *path = file_path(g->file);

    if (h->magic != GRID_MAGIC || h->crc != crc32c(h, offsetof(struct grid_header, crc)))
        return err_corrupt(err, path, 0, "grid header");
    if (h->version > GRID_VERSION)
        return err_set(err, ERR_VERSION, "%s: version %u, this plumbago reads up to %u", path, h->version,
                       GRID_VERSION);
    if (h->slots == 0 || h->slots > GRID_SLOTS_MAX || h->step_s == 0 || h->block >= GRID_BLOCKS_MAX ||
        h->rows != grid_block_rows(h->block) || h->row_first != grid_block_first(h->block))
        return err_corrupt(err, path, 0, "geometry in the grid header");
    int rc = file_size(g->file, &size, err);
    if (rc == 0 && size < grid_file_bytes(h->rows, h->slots))
        return err_corrupt(err, path, size, "grid is cut short");
    return rc;
}

int grid_open(const char *path, struct grid_header *header, struct grid **out, struct err *err)
{
    struct grid *g = calloc(1, sizeof *g);

    *out = NULL;
    if (g == NULL)
        return err_set(err, ERR_MEMORY, "%s", path);
    int rc = file_open(path, FILE_READ_WRITE, &g->file, err);
    if (rc == 0)
        rc = file_read(g->file, header, sizeof *header, 0, err);
    if (rc == 0)
        rc = grid_check_header(g, header, err);
    if (rc == 0)
        rc = grid_map(g, header, err);
    if (rc < 0) {
        grid_close(g);
        return rc;
    }
    g->dirty = 1; /* whether the last process had flushed it is not known */
    *out = g;
    return 0;
}

void grid_close(struct grid *g)
{
    if (g == NULL)
        return;
    file_unmap(g->map, g->map_len);
    file_close(g->file);
    free(g);
}

/* A map entry: id + 1, and a checksum of it with its place in the upper half. */
static uint64_t grid_owner_word(const struct grid *g, uint32_t row, uint32_t id)
{
    struct {
        uint64_t generation;
        uint32_t row, id_plus_1;
    } what = {g->generation, row, id + 1};

    return (uint64_t)crc32c(&what, sizeof what) << 32 | what.id_plus_1;
}

void grid_name_row(struct grid *g, uint32_t row, uint32_t id)
{
    __atomic_store_n(&g->owners[row - g->row_first], grid_owner_word(g, row, id), __ATOMIC_RELAXED);
}

uint32_t grid_row_owner(const struct grid *g, uint32_t row)
{
    uint64_t word = __atomic_load_n(&g->owners[row - g->row_first], __ATOMIC_RELAXED);
    uint32_t id = (uint32_t)word - 1;

    if (word == 0)
        return GRID_ROW_FREE;
    return word == grid_owner_word(g, row, id) && id < 1u << 28 ? id : GRID_ROW_DAMAGED;
}
