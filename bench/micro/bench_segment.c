/* bench_segment.c - writing and reading one segment.
 *
 *     bench_segment [ROWS [SLOTS [DIR]]]      default: 200,000 rows of 120 slots in /tmp
 *
 * The compared mixture, ids with holes. Prints writing in points a second and bytes a point, opening, the
 * first touch of all groups (checksums), a look-up of a random id, and a walk that decodes everything. */
#include "base/clock.h"
#include "storage/chunk.h"
#include "storage/segment_write.h"
#include "tests/help/shapes.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { KINDS = 1000 };

static double *rows; /* KINDS rows that are used in turn */
static uint32_t slots = 120, count = 200000;

static uint32_t id_of(uint32_t row)
{
    return row + row / 10;
}

static void fill_rows(void)
{
    rows = malloc((size_t)KINDS * slots * sizeof(double));
    for (uint32_t k = 0; k < KINDS; k++) {
        struct rng rng = rng_from(k + 1);
        double pick = rng_unit(&rng);
        unsigned shape = 0;

        for (; shape < SHAPES_COMPARED - 1 && pick >= shapes_compared[shape].weight; shape++)
            pick -= shapes_compared[shape].weight;
        shapes_compared[shape].fill(&rng, rows + (size_t)k * slots, slots);
    }
}

static double since(int64_t start)
{
    return (double)(clock_mono_ns() - start) / 1e9;
}

static int fail(const struct err *err)
{
    fprintf(stderr, "%s\n", err->text);
    return 1;
}

static int write_all(const char *path, struct err *err)
{
    struct segment_info info = {.columns = 1, .step_s = 10, .slots = slots, .start_s = 1700000000};
    struct segment_writer *w = NULL;
    int64_t start = clock_mono_ns();
    int rc = segment_writer_new(path, &info, &w, err);

    for (uint32_t row = 0; row < count && rc == 0; row++)
        rc = segment_writer_add(w, id_of(row), rows + (size_t)(row % KINDS) * slots, err);
    if (rc == 0)
        printf("encoded: %.1f M points/s\n", (double)count * slots / 1e6 / since(start));
    if (rc == 0)
        rc = segment_writer_commit(w, err);
    if (rc == 0)
        printf("written and synced: %.1f M points/s, %.3f bytes a point\n", (double)count * slots / 1e6 / since(start),
               (double)segment_writer_bytes(w) / count / slots);
    segment_writer_free(w);
    return rc;
}

static void read_all(struct segment *seg)
{
    double out[CHUNK_SLOTS_MAX];
    struct segment_cursor cursor = segment_cursor(seg);
    struct segment_row row;
    struct rng rng = rng_from(1);
    int64_t start = clock_mono_ns();
    uint64_t found = 0;

    for (uint32_t i = 0; i < count; i += 100)
        found += segment_has(seg, id_of(i), NULL) == 1;
    printf("first touch of %u groups, %.1f MB: %.1f ms\n", segment_info(seg)->groups,
           (double)segment_info(seg)->bytes / 1e6, since(start) * 1e3);
    start = clock_mono_ns();
    for (int i = 0; i < 1000000; i++)
        found += segment_row(seg, id_of((uint32_t)rng_below(&rng, count)), &row, NULL) == 1;
    printf("look-up: %.0f ns\n", since(start) * 1e3);
    start = clock_mono_ns();
    while (segment_cursor_next(&cursor, &row, NULL) == 1)
        found += (uint64_t)segment_decode(seg, &row, 0, out, NULL);
    printf("walk and decode: %.0f M points/s (%d)\n", (double)count * slots / 1e6 / since(start), (int)(found & 1));
}

int main(int argc, char **argv)
{
    struct segment *seg;
    struct err err;
    char path[512];
    int64_t start;

    if (argc > 1)
        count = (uint32_t)atoi(argv[1]);
    if (argc > 2)
        slots = (uint32_t)atoi(argv[2]);
    if (slots < 1 || slots > CHUNK_SLOTS_MAX || count < 1) {
        fprintf(stderr, "usage: bench_segment [ROWS [SLOTS [DIR]]]\n");
        return 2;
    }
    snprintf(path, sizeof(path), "%s/bench_segment.%d", argc > 3 ? argv[3] : "/tmp", (int)getpid());
    fill_rows();
    if (write_all(path, &err) < 0)
        return fail(&err);
    start = clock_mono_ns();
    if (segment_open(path, &seg, &err) < 0)
        return fail(&err);
    printf("open: %.0f us\n", since(start) * 1e6);
    read_all(seg);
    segment_close(seg);
    unlink(path);
    free(rows);
    return 0;
}
