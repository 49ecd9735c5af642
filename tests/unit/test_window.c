#include "storage/window.h"

#include "base/log.h"
#include "storage/space.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct tmpdir dir;
static struct space space;
static struct window *w;
static struct err err;

static const struct grid_header what = {
    .tier = 1, .policy = 2, .step_s = 10, .start_s = 1200, .generation = 99, .slots = 12};

static void begin(void)
{
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    tmpdir_init(&dir);
    space = (struct space){.dir = dir.path};
    w = window_new(&what, 1, dir.path, &space);
    cr_assert_not_null(w);
}

static void end(void)
{
    window_free(w);
    tmpdir_release(&dir);
}

TestSuite(window, .init = begin, .fini = end);

static uint32_t row_for(uint32_t id, unsigned writer)
{
    uint32_t row;

    cr_assert_eq(window_row_for(w, id, writer, &row, &err), 0, "%s", err.text);
    cr_assert_eq(window_row(w, id), row);
    return row;
}

static void store(uint32_t id, uint32_t slot, double v)
{
    uint32_t row = row_for(id, 0);

    grid_store(window_grid(w, row), slot, row, v);
}

static double load(uint32_t id, uint32_t slot)
{
    double v = NAN;

    window_read(w, id, slot, 1, &v);
    return v;
}

/* Close the files and take them over into a new window, as a start does. */
static uint32_t reopen(uint32_t *id_max)
{
    uint32_t damaged = 0, blocks = window_blocks(w);
    char path[400];

    window_free(w);
    w = window_new(&what, 2, dir.path, &space);
    for (uint32_t block = 0; block < blocks; block++) {
        struct grid_header header;
        struct grid *g;
        window_grid_path(w, block, path, sizeof path);
        cr_assert_eq(grid_open(path, &header, &g, &err), 0, "%s", err.text);
        cr_assert_eq(window_adopt(w, g, &header, id_max, &damaged, &err), 0, "%s", err.text);
    }
    return damaged;
}

Test(window, a_new_one_has_no_rows_and_no_file)
{
    double v = 5;

    cr_assert_eq(w->end_s, 1320);
    cr_assert_eq(window_blocks(w), 0);
    cr_assert_eq(window_row(w, 0), UINT32_MAX);
    cr_assert_eq(window_row(w, (1u << 28) - 1), UINT32_MAX);
    cr_assert_not(window_read(w, 7, 0, 1, &v));
    cr_assert_eq(v, 5);
    cr_assert_eq(w->grid_bytes, 0);
}

Test(window, a_series_keeps_its_row)
{
    uint32_t a = row_for(1000, 0), b = row_for(5, 0);

    cr_assert_neq(a, b);
    cr_assert_eq(row_for(1000, 0), a);
    cr_assert_eq(row_for(1000, 1), a, "whoever asks");
    cr_assert_gt(w->grid_bytes, 0);
}

Test(window, the_series_of_a_writer_lie_together)
{
    for (uint32_t n = 0; n < 60; n++) {
        cr_assert_eq(row_for(100 + n, 0), n);
        cr_assert_eq(row_for(200 + n, 1), 64 + n);
    }
}

Test(window, reading_lays_what_is_there_over)
{
    double out[3] = {1, 2, 3};

    store(7, 4, 40);
    store(7, 6, 60);
    cr_assert(window_read(w, 7, 4, 3, out));
    cr_assert_eq(out[0], 40);
    cr_assert_eq(out[1], 2);
    cr_assert_eq(out[2], 60);
}

Test(window, grows_by_blocks)
{
    for (uint32_t id = 0; id < 5000; id++)
        store(id * 3, id % 12, id);
    cr_assert_eq(window_blocks(w), 3);
    for (uint32_t id = 0; id < 5000; id++)
        cr_assert_eq(load(id * 3, id % 12), id);
}

Test(window, pairs_are_sorted_by_id)
{
    static const uint32_t ids[] = {70000, 3, (1u << 28) - 1, 0, 4096, 4095};
    static const uint32_t sorted[] = {0, 3, 4095, 4096, 70000, (1u << 28) - 1};
    struct window_pair *pairs;
    size_t count;

    for (int i = 0; i < 6; i++)
        row_for(ids[i], (unsigned)i);
    cr_assert_eq(window_pairs(w, &pairs, &count, &err), 0);
    cr_assert_eq(count, 6);
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(pairs[i].id, sorted[i]);
        cr_assert_eq(pairs[i].row, window_row(w, sorted[i]));
    }
    free(pairs);
}

Test(window, goes_on_after_a_restart)
{
    uint32_t id_max = 0;

    for (uint32_t id = 0; id < 600; id++)
        store(id, 1, id);
    uint64_t bytes = w->grid_bytes;
    cr_assert_eq(reopen(&id_max), 0);
    cr_assert_eq(id_max, 600);
    cr_assert_eq(w->grid_bytes, bytes);
    for (uint32_t id = 0; id < 600; id++)
        cr_assert_eq(load(id, 1), id);
    store(10000, 1, -1);
    cr_assert_geq(window_row(w, 10000), 600, "a row that nobody had");
    cr_assert_eq(load(10000, 1), -1);
    cr_assert_eq(reopen(&id_max), 0);
    cr_assert_eq(id_max, 10001);
    cr_assert_eq(load(599, 1), 599);
}

Test(window, rows_without_a_valid_owner_are_nobody_s)
{
    uint32_t id_max = 0;

    for (uint32_t id = 0; id < 10; id++)
        store(id, 1, id);
    window_grid(w, 0)->owners[9] ^= 2;
    window_grid(w, 0)->owners[3] ^= 1ULL << 40;
    cr_assert_eq(reopen(&id_max), 2);
    cr_assert_eq(id_max, 9);
    for (uint32_t id = 0; id < 12; id++)
        cr_assert_eq(window_row(w, id) == UINT32_MAX, id == 3 || id >= 9);
    cr_assert_geq(row_for(50, 0), 10, "and are not given away");
}

Test(window, a_grid_of_another_window_is_not_taken)
{
    struct grid_header header;
    struct grid *g;
    char path[400];
    uint32_t id_max = 0, damaged = 0;

    store(1, 1, 1);
    window_grid_path(w, 0, path, sizeof path);
    cr_assert_eq(grid_open(path, &header, &g, &err), 0);
    cr_assert_eq(window_adopt(w, g, &header, &id_max, &damaged, &err), ERR_CORRUPT, "it has that block");
    header.block = 1;
    header.start_s += 120;
    cr_assert_eq(window_adopt(w, g, &header, &id_max, &damaged, &err), ERR_CORRUPT);
    grid_close(g);
    cr_assert_eq(load(1, 1), 1);
}

Test(window, a_full_disk_refuses_new_blocks_only)
{
    uint32_t row;

    for (uint32_t id = 0; id < 448; id++)
        row_for(id, 0);
    space.free_min = UINT64_MAX / 2;
    row_for(500, 0);
    for (uint32_t id = 1000; id < 1063; id++)
        row_for(id, 0);
    cr_assert_eq(window_row_for(w, 2000, 0, &row, &err), ERR_FULL);
    cr_assert_eq(window_row(w, 2000), UINT32_MAX);
    space = (struct space){.dir = dir.path};
    cr_assert_eq(row_for(2000, 0), 512);
}

Test(window, unlink_takes_the_files_away)
{
    char path[400];

    for (uint32_t id = 0; id < 600; id++)
        row_for(id, 0);
    cr_assert_eq(window_unlink(w, &err), 0, "%s", err.text);
    for (uint32_t block = 0; block < 2; block++) {
        window_grid_path(w, block, path, sizeof path);
        cr_assert_neq(access(path, F_OK), 0);
    }
    cr_assert_eq(window_row(w, 7), 7, "still mapped");
}
