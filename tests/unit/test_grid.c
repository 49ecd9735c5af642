#include "storage/grid.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct tmpdir dir;
static char path[300];
static struct grid *g;
static struct grid_header header;
static struct err err;

static struct grid_header header_of(uint32_t block)
{
    return (struct grid_header){
        .tier = 1, .policy = 2, .step_s = 10, .start_s = 1200, .generation = 99, .slots = 12, .block = block};
}

static void create(uint32_t block)
{
    header = header_of(block);
    cr_assert_eq(grid_create(path, &header, &g, &err), 0, "%s", err.text);
}

static void reopen(void)
{
    grid_close(g);
    cr_assert_eq(grid_open(path, &header, &g, &err), 0, "%s", err.text);
}

static void begin(void)
{
    tmpdir_init(&dir);
    snprintf(path, sizeof path, "%s", tmpdir_file(&dir, "x.grid"));
}

static void end(void)
{
    grid_close(g);
    tmpdir_release(&dir);
}

TestSuite(grid, .init = begin, .fini = end);

Test(grid, every_row_lies_in_one_block)
{
    static const uint32_t rows[] = {0,     511,   512,   4095,   4096,   16383,
                                    16384, 65535, 65536, 131071, 131072, (1u << 28) - 1};
    static const uint32_t blocks[] = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 4098};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_eq(grid_block_of(rows[i]), blocks[i], "row %u", rows[i]);
    for (uint32_t block = 0; block < 100; block++) {
        cr_assert_eq(grid_block_of(grid_block_first(block)), block);
        cr_assert_eq(grid_block_of(grid_block_first(block) + grid_block_rows(block) - 1), block);
        cr_assert_eq(grid_block_first(block) + grid_block_rows(block), grid_block_first(block + 1));
    }
}

Test(grid, a_new_one_is_empty)
{
    create(1);
    cr_assert_eq(g->row_first, 512);
    cr_assert_eq(g->rows, 3584);
    cr_assert_eq(g->dirty, 0);
    for (uint32_t row = 512; row < 4096; row++) {
        cr_assert_eq(grid_row_owner(g, row), GRID_ROW_FREE);
        for (uint32_t slot = 0; slot < 12; slot++)
            cr_assert(isnan(grid_load(g, slot, row)));
    }
}

Test(grid, keeps_the_last_write)
{
    create(0);
    grid_store(g, 3, 7, 1);
    cr_assert_eq(g->dirty, 1);
    grid_store(g, 3, 7, 2);
    cr_assert_eq(grid_load(g, 3, 7), 2);
    cr_assert(isnan(grid_load(g, 3, 6)));
    cr_assert(isnan(grid_load(g, 4, 7)));
}

Test(grid, keeps_every_value_to_the_bit_when_it_is_opened_again)
{
    static const double values[] = {0, -0.0, INFINITY, -INFINITY, 5e-324, 1.7976931348623157e308, 0.1};

    create(0);
    for (uint32_t i = 0; i < 7; i++)
        grid_store(g, 11 - i, 511 - i, values[i]);
    grid_name_row(g, 511, 0);
    grid_name_row(g, 0, (1u << 28) - 1);
    reopen();
    for (uint32_t i = 0; i < 7; i++) {
        double v = grid_load(g, 11 - i, 511 - i);
        cr_assert(memcmp(&v, &values[i], sizeof v) == 0);
    }
    cr_assert_eq(grid_row_owner(g, 511), 0);
    cr_assert_eq(grid_row_owner(g, 0), (1u << 28) - 1);
    cr_assert_eq(g->dirty, 1, "whether it was flushed is not known");
    cr_assert_eq(header.generation, 99);
    cr_assert_eq(header.start_s, 1200);
}

Test(grid, a_changed_bit_of_the_row_map_is_noticed)
{
    create(0);
    grid_name_row(g, 5, 1000);
    for (int bit = 0; bit < 64; bit++) {
        g->owners[5] ^= 1ULL << bit;
        cr_assert_eq(grid_row_owner(g, 5), GRID_ROW_DAMAGED, "bit %d", bit);
        g->owners[5] ^= 1ULL << bit;
    }
    g->owners[6] = g->owners[5];
    cr_assert_eq(grid_row_owner(g, 6), GRID_ROW_DAMAGED, "an entry holds in its own place only");
    cr_assert_eq(grid_row_owner(g, 5), 1000);
}

static void write_at(uint64_t offset, const void *bytes, size_t len)
{
    struct file *f;

    cr_assert_eq(file_open(path, FILE_READ_WRITE, &f, &err), 0);
    cr_assert_eq(file_write(f, bytes, len, offset, &err), 0);
    file_close(f);
}

/* The file with this header opens with CODE. */
static void expect_open(struct grid_header h, int code)
{
    h.crc = crc32c(&h, offsetof(struct grid_header, crc));
    write_at(0, &h, sizeof h);
    cr_assert_eq(grid_open(path, &header, &g, &err), code, "%s", err.text);
    grid_close(g);
    g = NULL;
}

Test(grid, a_wrong_header_is_refused)
{
    create(0);
    grid_close(g);
    g = NULL;
    struct grid_header good = header, h;
    expect_open(good, 0);
    h = good, h.version++;
    expect_open(h, ERR_VERSION);
    h = good, h.magic++;
    expect_open(h, ERR_CORRUPT);
    h = good, h.slots = 0;
    expect_open(h, ERR_CORRUPT);
    h = good, h.slots = GRID_SLOTS_MAX + 1;
    expect_open(h, ERR_CORRUPT);
    h = good, h.slots = 13; /* more than the file has */
    expect_open(h, ERR_CORRUPT);
    h = good, h.step_s = 0;
    expect_open(h, ERR_CORRUPT);
    h = good, h.rows++;
    expect_open(h, ERR_CORRUPT);
    h = good, h.block = UINT32_MAX;
    expect_open(h, ERR_CORRUPT);
    write_at(0, &good, sizeof good);
    write_at(20, "x", 1); /* under its checksum */
    cr_assert_eq(grid_open(path, &header, &g, &err), ERR_CORRUPT);
    cr_assert(strstr(err.text, path) != NULL, "%s", err.text);
    cr_assert_null(g);
}

Test(grid, one_cut_short_is_refused)
{
    create(0);
    grid_close(g);
    g = NULL;
    for (off_t len = (off_t)grid_file_bytes(512, 12) - 1; len > 0; len /= 3) {
        cr_assert_eq(truncate(path, len), 0);
        cr_assert_eq(grid_open(path, &header, &g, &err), ERR_CORRUPT);
    }
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(grid_open(path, &header, &g, &err), ERR_MISSING);
}

static enum file_op failing;

static int fail(void *ctx, enum file_op op, const char *file, uint64_t offset, size_t *len)
{
    (void)ctx, (void)file, (void)offset, (void)len;
    return op == failing ? ENOSPC : 0;
}

Test(grid, a_creation_that_fails_leaves_nothing)
{
    static const struct file_hook hook = {.before = fail};
    static const enum file_op ops[] = {FILE_OP_OPEN, FILE_OP_RESERVE, FILE_OP_WRITE, FILE_OP_MAP};

    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        failing = ops[i];
        header = header_of(0);
        file_set_hook(&hook);
        cr_assert_eq(grid_create(path, &header, &g, &err), ERR_FULL);
        file_set_hook(NULL);
        cr_assert_null(g);
        cr_assert_neq(access(path, F_OK), 0);
    }
}
