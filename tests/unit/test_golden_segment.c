/* tests/golden/segment-1.seg is what version 1 of the format looked like when it was released: every codec,
 * every form of residuals, every kind of presence. It is read for ever. The values are made by integer
 * arithmetic and single operations on doubles, so they are the same everywhere.
 *
 * WRITE_GOLDEN=path writes such a file with today's encoder: to add one, never to replace one. */
#include "storage/chunk.h"
#include "storage/segment_write.h"
#include "tests/help/shapes.h"

#include <criterion/criterion.h>

enum { SLOTS = 600, ROWS = 14 };

static const uint32_t ids[ROWS] = {3, 4, 5, 9, 10, 11, 12, 70, 71, 200, 201, 300, 301, 1000};

static void row_of(uint32_t row, double *v)
{
    struct rng rng = rng_from(row + 1);
    int64_t at = 100000;
    uint64_t bits = 0;

    for (int64_t i = 0; i < SLOTS; i++) {
        int64_t bell = 0;

        for (int k = 0; k < 6; k++)
            bell += rng_between(&rng, -40, 40);
        switch (row) {
        case 0: /* const */
            v[i] = 42;
            break;
        case 1: /* a counter: differences, all alike */
            v[i] = (double)(at += rng_between(&rng, 50, 110));
            break;
        case 2: /* a gauge that often stands still: one usual difference */
            at += rng_below(&rng, 3) == 0 ? rng_between(&rng, -30, 30) : 0;
            v[i] = (double)at / 100;
            break;
        case 3: /* a bell: buckets */
            v[i] = (double)(at + bell) / 1000;
            break;
        case 4: /* runs of gaps */
            v[i] = i / 30 % 2 == 0 ? NAN : (double)(at + bell) / 10;
            break;
        case 5: /* many single gaps: a bitmap */
            v[i] = rng_below(&rng, 2) ? NAN : (double)(at += rng_between(&rng, 0, 9));
            break;
        case 6: /* full mantissas: their bits */
            bits = 0x4070000000000000 + (rng_u64(&rng) >> 12);
            memcpy(&v[i], &bits, sizeof(v[i]));
            break;
        case 7: /* irregular values, each for a while: XOR */
            if (i % 8 == 0)
                bits = 0x3ff0000000000000 + (rng_u64(&rng) >> 12);
            memcpy(&v[i], &bits, sizeof(v[i]));
            break;
        case 8: /* random bits: raw */
            bits = rng_u64(&rng);
            bits ^= bits << 1 >> 53 == 0x7ff ? (uint64_t)1 << 62 : 0;
            memcpy(&v[i], &bits, sizeof(v[i]));
            break;
        case 9: /* exceptions among decimals */
            v[i] = i == 100 ? INFINITY : i == 200 ? -0.0 : i == 599 ? 5e-324 : (double)(i % 7) / 10;
            break;
        case 10: /* second differences */
            v[i] = (double)(3 * i * i + rng_between(&rng, 0, 3));
            break;
        case 11: /* multiples of a page, with outliers: divisor and patches */
            v[i] = i % 90 == 89 ? 1e15 : 4096.0 * (double)rng_between(&rng, 1000, 1300);
            break;
        case 12: /* an error now and then: no bits but patches */
            v[i] = i % 50 == 7 ? (double)(i % 4 + 1) : 0;
            break;
        case 13: /* a rate over a minute */
            v[i] = (double)rng_between(&rng, 0, 5000) / 60;
        }
    }
}

static void write_golden(const char *path)
{
    struct segment_info info = {
        .policy = 3, .tier = 1, .columns = 1, .step_s = 60, .slots = SLOTS, .start_s = 1700000040, .generation = 99};
    struct segment_writer *w;
    double values[SLOTS];
    struct err err;

    cr_assert_eq(segment_writer_new(path, &info, &w, &err), 0, "%s", err.text);
    for (uint32_t row = 0; row < ROWS; row++) {
        row_of(row, values);
        cr_assert_eq(segment_writer_add(w, ids[row], values, &err), 0, "%s", err.text);
    }
    cr_assert_eq(segment_writer_commit(w, &err), 0, "%s", err.text);
    segment_writer_free(w);
}

Test(golden_segment, of_version_1_is_read)
{
    static const char path[] = "tests/golden/segment-1.seg";
    static const char *const codecs[ROWS] = {"const",   "decimal", "decimal", "decimal", "decimal",
                                             "decimal", "decimal", "gorilla", "raw",     "decimal",
                                             "decimal", "decimal", "decimal", "decimal"};
    struct segment_check check;
    struct segment *seg;
    struct err err;

    if (getenv("WRITE_GOLDEN") != NULL)
        write_golden(getenv("WRITE_GOLDEN"));
    cr_assert_eq(segment_open(path, &seg, &err), 0, "%s", err.text);
    cr_assert_eq(segment_info(seg)->start_s, 1700000040);
    cr_assert_eq(segment_info(seg)->series, ROWS);
    for (uint32_t row = 0; row < ROWS; row++) {
        double want[SLOTS], out[SLOTS];
        struct segment_row found;

        row_of(row, want);
        for (uint32_t i = 0; i < SLOTS; i++)
            out[i] = -12345;
        cr_assert_eq(segment_read(seg, ids[row], 0, SLOTS, out, &err), 1, "%s", err.text);
        for (uint32_t i = 0; i < SLOTS; i++)
            if (want[i] == want[i])
                cr_assert_eq(memcmp(&out[i], &want[i], sizeof(double)), 0, "row %u slot %u: %a", row, i, out[i]);
            else
                cr_assert_eq(out[i], -12345);
        cr_assert_eq(segment_row(seg, ids[row], &found, &err), 1);
        cr_assert_str_eq(chunk_codec(found.chunks[0]), codecs[row], "row %u: %s", row, chunk_codec(found.chunks[0]));
    }
    segment_close(seg);
    cr_assert_eq(segment_check(path, NULL, NULL, &check, &err), 0, "%s", err.text);
    cr_assert_eq(check.rows, ROWS);
}
