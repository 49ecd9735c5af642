#include "storage/segment.h"

#include "base/file.h"
#include "storage/chunk.h"
#include "storage/format.h"
#include "storage/segment_write.h"
#include "tests/help/mend.h"
#include "tests/help/shapes.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <unistd.h>

static char dir[256];
static char path[300];
static struct err err;

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(dir, sizeof(dir), "%s/test_segment.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    cr_assert(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/one.seg", dir);
}

static void teardown(void)
{
    char name[400];

    unlink(path);
    snprintf(name, sizeof(name), "%s.tmp", path);
    unlink(name);
    cr_assert_eq(rmdir(dir), 0, "something else was left in %s", dir);
}

TestSuite(segment, .init = setup, .fini = teardown);

static struct segment_info info_of(uint32_t slots)
{
    return (struct segment_info){
        .policy = 7,
        .tier = 2,
        .columns = 1,
        .step_s = 60,
        .slots = slots,
        .start_s = 1700000040,
        .generation = 0x123456789ab,
    };
}

static struct segment_writer *writer_for(const struct segment_info *info)
{
    struct segment_writer *w;

    cr_assert_eq(segment_writer_new(path, info, &w, &err), 0, "%s", err.text);
    return w;
}

static void commit(struct segment_writer *w)
{
    cr_assert_eq(segment_writer_commit(w, &err), 0, "%s", err.text);
    segment_writer_free(w);
}

static struct segment *open_it(void)
{
    struct segment *seg;

    cr_assert_eq(segment_open(path, &seg, &err), 0, "%s", err.text);
    return seg;
}

/* The value of series ID in SLOT in most tests. */
static double value_of(uint32_t id, uint32_t slot)
{
    return (double)(id % 1000) + slot * (id % 3 == 0 ? 0.0 : 0.25);
}

static void fill(uint32_t id, uint32_t slots, double *values)
{
    for (uint32_t i = 0; i < slots; i++)
        values[i] = value_of(id, i);
}

/* A file with the COUNT ids. */
static void write_ids(const uint32_t *ids, uint32_t count, uint32_t slots)
{
    struct segment_info info = info_of(slots);
    struct segment_writer *w = writer_for(&info);
    double *values = malloc(slots * sizeof(double));

    for (uint32_t i = 0; i < count; i++) {
        fill(ids[i], slots, values);
        cr_assert_eq(segment_writer_add(w, ids[i], values, &err), 0, "%s", err.text);
    }
    free(values);
    commit(w);
}

static void assert_row(struct segment *seg, uint32_t id)
{
    uint32_t slots = segment_info(seg)->slots;
    double out[CHUNK_SLOTS_MAX];

    for (uint32_t i = 0; i < slots; i++)
        out[i] = NAN;
    cr_assert_eq(segment_read(seg, id, 0, slots, out, &err), 1, "series %u", id);
    for (uint32_t i = 0; i < slots; i++)
        cr_assert_eq(out[i], value_of(id, i), "series %u slot %u", id, i);
}

Test(segment, says_what_it_spans)
{
    uint32_t ids[] = {3, 4, 9};
    const struct segment_info *info;
    struct segment *seg;

    write_ids(ids, 3, 10);
    seg = open_it();
    info = segment_info(seg);
    cr_assert_eq(info->policy, 7);
    cr_assert_eq(info->tier, 2);
    cr_assert_eq(info->columns, 1);
    cr_assert_eq(info->step_s, 60);
    cr_assert_eq(info->slots, 10);
    cr_assert_eq(info->start_s, 1700000040);
    cr_assert_eq(info->generation, 0x123456789ab);
    cr_assert_eq(info->series, 3);
    cr_assert_eq(info->groups, 1);
    cr_assert_eq(info->first_id, 3);
    cr_assert_eq(info->last_id, 9);
    cr_assert_str_eq(segment_path(seg), path);
    segment_close(seg);
}

Test(segment, of_no_rows_opens_and_has_nothing)
{
    struct segment_info info = info_of(5);
    struct segment_cursor cursor;
    struct segment_row row;
    struct segment *seg;

    commit(writer_for(&info));
    seg = open_it();
    cr_assert_eq(segment_info(seg)->series, 0);
    cr_assert_eq(segment_has(seg, 0, &err), 0);
    cursor = segment_cursor(seg);
    cr_assert_eq(segment_cursor_next(&cursor, &row, &err), 0);
    segment_close(seg);
}

Test(segment, skips_rows_without_points)
{
    struct segment_info info = info_of(4);
    struct segment_writer *w = writer_for(&info);
    double nothing[4] = {NAN, NAN, NAN, NAN}, some[4] = {NAN, 5, NAN, NAN};
    struct segment *seg;

    cr_assert_eq(segment_writer_add(w, 1, nothing, &err), 0);
    cr_assert_eq(segment_writer_add(w, 2, some, &err), 0);
    cr_assert_eq(segment_writer_add(w, 3, nothing, &err), 0);
    cr_assert_eq(segment_writer_rows(w), 1);
    commit(w);
    seg = open_it();
    cr_assert_eq(segment_has(seg, 1, &err), 0);
    cr_assert_eq(segment_has(seg, 2, &err), 1);
    cr_assert_eq(segment_has(seg, 3, &err), 0);
    segment_close(seg);
}

Test(segment, appears_only_when_committed)
{
    struct segment_info info = info_of(4);
    struct segment_writer *w = writer_for(&info);
    double values[4] = {1, 2, 3, 4};

    cr_assert_eq(segment_writer_add(w, 1, values, &err), 0);
    cr_assert_neq(access(path, F_OK), 0);
    cr_assert_eq(segment_writer_bytes(w), 0);
    segment_writer_free(w); /* the teardown sees that no temporary file is left */
    cr_assert_neq(access(path, F_OK), 0);
}

Test(segment, overwrites_what_a_crash_left)
{
    char name[400];
    FILE *left;
    uint32_t id = 5;
    struct segment *seg;

    snprintf(name, sizeof(name), "%s.tmp", path);
    left = fopen(name, "w");
    for (int i = 0; i < 100000; i++)
        fputc('x', left);
    fclose(left);
    write_ids(&id, 1, 4);
    seg = open_it();
    assert_row(seg, 5);
    segment_close(seg);
}

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Ids that lie NEAR each other on average; returns how many are left without repetitions. */
static uint32_t random_ids(struct rng *rng, uint32_t *ids, uint32_t count, uint64_t near)
{
    uint64_t range = count * near < UINT32_MAX ? count * near : UINT32_MAX;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < count; i++)
        ids[i] = (uint32_t)rng_below(rng, range);
    qsort(ids, count, sizeof(*ids), compare_ids);
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || ids[kept - 1] != ids[i])
            ids[kept++] = ids[i];
    return kept;
}

static bool has_id(const uint32_t *ids, uint32_t count, uint32_t id)
{
    return bsearch(&id, ids, count, sizeof(*ids), compare_ids) != NULL;
}

Test(segment, finds_exactly_its_ids)
{
    static uint32_t ids[10000];
    const uint64_t nears[] = {1, 2, 20, 60, 1000, 1000000};

    for (unsigned n = 0; n < sizeof(nears) / sizeof(nears[0]); n++) {
        struct rng rng = rng_from(n + 1);
        uint32_t count = random_ids(&rng, ids, 10000, nears[n]);
        struct segment *seg;

        write_ids(ids, count, 3);
        seg = open_it();
        cr_assert_eq(segment_info(seg)->series, count);
        for (uint32_t i = 0; i < count; i++)
            assert_row(seg, ids[i]);
        for (int i = 0; i < 20000; i++) {
            uint32_t id = (uint32_t)rng_below(&rng, 10000 * nears[n] + 10);

            cr_assert_eq(segment_has(seg, id, &err), has_id(ids, count, id), "near %d id %u", (int)nears[n], id);
        }
        cr_assert_eq(segment_has(seg, UINT32_MAX, &err), has_id(ids, count, UINT32_MAX));
        segment_close(seg);
    }
}

Test(segment, finds_ids_at_the_ends_of_their_range)
{
    uint32_t ids[] = {0, 1, 63, 64, 65, 127, 128, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    uint32_t absent[] = {2, 62, 66, 126, 129, 0x7ffffffe, 0x80000001, 0xfffffffd};
    struct segment *seg;

    write_ids(ids, 11, 4);
    seg = open_it();
    for (int i = 0; i < 11; i++)
        assert_row(seg, ids[i]);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(segment_has(seg, absent[i], &err), 0);
    segment_close(seg);
}

Test(segment, walks_all_rows_in_order)
{
    static uint32_t ids[9000];
    const uint64_t nears[] = {1, 3, 50, 100000};

    for (unsigned n = 0; n < sizeof(nears) / sizeof(nears[0]); n++) {
        struct rng rng = rng_from(n + 10);
        uint32_t count = random_ids(&rng, ids, 9000, nears[n]), at = 0;
        struct segment_cursor cursor;
        struct segment_row row, looked_up;
        struct segment *seg;

        write_ids(ids, count, 2);
        seg = open_it();
        cursor = segment_cursor(seg);
        while (segment_cursor_next(&cursor, &row, &err) == 1) {
            cr_assert_eq(row.id, ids[at++]);
            cr_assert_eq(segment_row(seg, row.id, &looked_up, &err), 1);
            cr_assert_eq(looked_up.chunks[0].ptr, row.chunks[0].ptr);
            cr_assert_eq(looked_up.chunks[0].len, row.chunks[0].len);
        }
        cr_assert_eq(at, count);
        segment_close(seg);
    }
}

Test(segment, reads_a_part_of_the_slots)
{
    uint32_t id = 10;
    double out[5] = {0};
    struct segment *seg;

    write_ids(&id, 1, 100);
    seg = open_it();
    cr_assert_eq(segment_read(seg, 10, 95, 5, out, &err), 1);
    for (uint32_t i = 0; i < 5; i++)
        cr_assert_eq(out[i], value_of(10, 95 + i));
    cr_assert_eq(segment_read(seg, 10, 100, 0, out, &err), 1);
    cr_assert_eq(segment_read(seg, 11, 0, 5, out, &err), 0);
    segment_close(seg);
}

Test(segment, keeps_large_chunks_and_full_groups)
{
    static double values[CHUNK_SLOTS_MAX], out[CHUNK_SLOTS_MAX];
    struct segment_info info = info_of(CHUNK_SLOTS_MAX);
    struct segment_writer *w = writer_for(&info);
    struct segment *seg;

    for (uint32_t id = 0; id < 150; id++) {
        struct rng rng = rng_from(id + 1);

        for (uint32_t i = 0; i < CHUNK_SLOTS_MAX; i++)
            values[i] = shape_nasty(&rng);
        cr_assert_eq(segment_writer_add(w, id, values, &err), 0, "%s", err.text);
    }
    commit(w);
    seg = open_it();
    cr_assert_gt(segment_info(seg)->groups, 2);
    for (uint32_t id = 0; id < 150; id++) {
        struct rng rng = rng_from(id + 1);

        cr_assert_eq(segment_read(seg, id, 0, CHUNK_SLOTS_MAX, out, &err), 1);
        for (uint32_t i = 0; i < CHUNK_SLOTS_MAX; i++) {
            double want = shape_nasty(&rng);

            cr_assert_eq(memcmp(&want, &out[i], sizeof(want)), 0);
        }
    }
    segment_close(seg);
}

Test(segment, keeps_two_columns)
{
    struct segment_info info = info_of(3);
    double rows[3][6] = {{1, 2, 3, 10, 20, 30}, {NAN, NAN, NAN, 7, NAN, NAN}, {4, NAN, NAN, NAN, NAN, NAN}};
    double out[3] = {0, 0, 0};
    struct segment_writer *w;
    struct segment *seg;

    info.columns = 2;
    w = writer_for(&info);
    for (uint32_t id = 0; id < 3; id++)
        cr_assert_eq(segment_writer_add(w, id, rows[id], &err), 0);
    commit(w);
    seg = open_it();
    cr_assert_eq(segment_info(seg)->columns, 2);
    cr_assert_eq(segment_read_column(seg, 0, 1, 0, 3, out, &err), 1);
    cr_assert_eq(out[1], 20);
    cr_assert_eq(segment_read(seg, 0, 0, 3, out, &err), 1);
    cr_assert_eq(out[1], 2);
    cr_assert_eq(segment_read_column(seg, 1, 1, 0, 3, out, &err), 1);
    cr_assert_eq(out[0], 7);
    cr_assert_eq(segment_read(seg, 1, 0, 3, out, &err), 1);
    cr_assert_eq(out[0], 7, "a column without points leaves everything as it is");
    segment_close(seg);
}

Test(segment, copies_encoded_rows)
{
    static uint32_t ids[500];
    struct rng rng = rng_from(3);
    uint32_t count = random_ids(&rng, ids, 500, 5);
    struct segment_info info = info_of(50);
    struct segment_cursor cursor;
    struct segment_row row;
    struct segment *seg, *copy;
    struct segment_writer *w;
    char other[400];

    write_ids(ids, count, 50);
    seg = open_it();
    snprintf(other, sizeof(other), "%s/copy.seg", dir);
    cr_assert_eq(segment_writer_new(other, &info, &w, &err), 0);
    cursor = segment_cursor(seg);
    while (segment_cursor_next(&cursor, &row, &err) == 1)
        cr_assert_eq(segment_writer_add_row(w, &row, &err), 0);
    commit(w);
    cr_assert_eq(segment_open(other, &copy, &err), 0, "%s", err.text);
    for (uint32_t i = 0; i < count; i++)
        assert_row(copy, ids[i]);
    cr_assert_eq(segment_info(copy)->bytes, segment_info(seg)->bytes);
    segment_close(copy);
    segment_close(seg);
    unlink(other);
}

Test(segment, of_100000_series_reads_every_one)
{
    struct segment_info info = info_of(12);
    struct segment_writer *w = writer_for(&info);
    struct segment_check result;
    double values[12];
    struct segment *seg;

    for (uint32_t id = 0; id < 100000; id++) {
        fill(id, 12, values);
        cr_assert_eq(segment_writer_add(w, id, values, &err), 0, "%s", err.text);
    }
    commit(w);
    seg = open_it();
    cr_assert_eq(segment_info(seg)->groups, (100000 + 4095) / 4096);
    for (uint32_t id = 0; id < 100000; id++)
        assert_row(seg, id);
    cr_assert_eq(segment_has(seg, 100000, &err), 0);
    segment_close(seg);
    cr_assert_eq(segment_check(path, NULL, NULL, &result, &err), 0, "%s", err.text);
    cr_assert_eq(result.rows, 100000);
    cr_assert_eq(result.points, 1200000);
    cr_assert_eq(result.damaged, 0);
}

/* ---- damage ---- */

static char *slurp(size_t *len)
{
    char *bytes;

    cr_assert_eq(file_slurp(path, 1 << 26, &bytes, len, &err), 0, "%s", err.text);
    return bytes;
}

static void put(const char *bytes, size_t len)
{
    FILE *f = fopen(path, "w");

    cr_assert_eq(fwrite(bytes, 1, len, f), len);
    fclose(f);
}

Test(segment, a_flipped_bit_anywhere_is_noticed)
{
    uint32_t ids[] = {3, 4, 9, 200};
    size_t len;
    char *bytes;

    write_ids(ids, 4, 30);
    bytes = slurp(&len);
    for (size_t at = 0; at < len; at++) {
        struct segment_check result;
        int rc;

        bytes[at] ^= (char)(1 << at % 8);
        put(bytes, len);
        rc = segment_check(path, NULL, NULL, &result, &err);
        cr_assert(rc == ERR_CORRUPT || rc == ERR_VERSION, "byte %zu of %zu: %d", at, len, rc);
        cr_assert_eq(strncmp(err.text, path, strlen(path)), 0, "names the file: %s", err.text);
        bytes[at] ^= (char)(1 << at % 8);
    }
    free(bytes);
}

Test(segment, a_cut_file_is_refused)
{
    uint32_t ids[] = {3, 4, 9, 200};
    struct segment *seg;
    size_t len;
    char *bytes;

    write_ids(ids, 4, 30);
    bytes = slurp(&len);
    for (size_t to = 0; to < len; to++) {
        put(bytes, to);
        cr_assert_eq(segment_open(path, &seg, &err), ERR_CORRUPT, "cut to %zu", to);
        cr_assert_null(seg);
    }
    free(bytes);
}

Test(segment, a_newer_version_is_told_apart)
{
    uint32_t id = 1;
    struct segment *seg;
    size_t len;
    char *bytes;

    write_ids(&id, 1, 5);
    bytes = slurp(&len);
    bytes[offsetof(struct segment_header, version)] = SEGMENT_VERSION + 1;
    put(bytes, len);
    cr_assert_eq(segment_open(path, &seg, &err), ERR_CORRUPT);
    mend_segment(bytes, len);
    put(bytes, len);
    cr_assert_eq(segment_open(path, &seg, &err), ERR_VERSION);
    free(bytes);
}

Test(segment, damage_costs_one_group_and_names_the_place)
{
    static uint32_t ids[9000];
    char place[64];
    double out[2];
    struct segment_entry entry;
    struct segment_footer footer;
    struct segment_cursor cursor;
    struct segment_row row;
    struct segment *seg;
    unsigned rows = 0, errors = 0;
    size_t len;
    char *bytes;
    int rc;

    for (uint32_t i = 0; i < 9000; i++)
        ids[i] = i;
    write_ids(ids, 9000, 2);
    bytes = slurp(&len);
    memcpy(&footer, bytes + len - sizeof(footer), sizeof(footer));
    memcpy(&entry, bytes + footer.directory + sizeof(entry), sizeof(entry)); /* the second group */
    bytes[entry.offset + entry.length / 2] ^= 1;
    put(bytes, len);
    free(bytes);

    seg = open_it();
    assert_row(seg, 0);
    assert_row(seg, 4095);
    assert_row(seg, 8192);
    for (int again = 0; again < 2; again++) {
        out[0] = out[1] = -3;
        cr_assert_eq(segment_read(seg, 5000, 0, 2, out, &err), ERR_CORRUPT);
        cr_assert_eq(out[0], -3);
        snprintf(place, sizeof(place), " at %" PRIu64 ":", entry.offset);
        cr_assert(strstr(err.text, path) != NULL && strstr(err.text, place) != NULL, "%s", err.text);
    }
    cursor = segment_cursor(seg);
    while ((rc = segment_cursor_next(&cursor, &row, &err)) != 0) {
        rows += rc > 0;
        errors += rc < 0;
    }
    cr_assert_eq(errors, 1);
    cr_assert_eq(rows, 9000 - 4096);
    segment_close(seg);
}

/* Bytes that are wrong under right checksums: errors or some answer, never a crash. */
Test(segment, survives_lies_under_valid_checksums)
{
    static uint32_t ids[300];
    uint64_t count = 1500, first = 1;
    const char *only = getenv("SEED");
    char *bytes, *lie;
    size_t len;

    if (only != NULL) {
        first = strtoull(only, NULL, 10);
        count = 1;
    }
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct rng rng = rng_from(seed);
        double out[40];
        struct segment *seg;
        struct segment_check result;
        uint32_t rows = random_ids(&rng, ids, 300, 1 + rng_below(&rng, 50));
        size_t directory;

        if (seed % 50 == 0 || seed == first)
            write_ids(ids, rows, 40);
        bytes = slurp(&len);
        lie = malloc(len);
        memcpy(lie, bytes, len);
        directory = len - sizeof(struct segment_footer) - sizeof(struct segment_entry);
        for (uint64_t i = 0; i < 1 + rng_below(&rng, 3); i++) {
            /* header, head of the group, anywhere in it, directory */
            const size_t froms[] = {6, sizeof(struct segment_header), sizeof(struct segment_header), directory};
            const size_t tos[] = {sizeof(struct segment_header), sizeof(struct segment_header) + 24, directory,
                                  len - sizeof(struct segment_footer)};
            unsigned part = (unsigned)rng_below(&rng, 4);

            lie[froms[part] + rng_below(&rng, tos[part] - froms[part])] = (char)rng_u64(&rng);
        }
        mend_segment(lie, len);
        put(lie, len);
        segment_check(path, NULL, NULL, &result, &err);
        if (segment_open(path, &seg, &err) == 0) {
            for (uint32_t id = 0; id < 400; id++)
                segment_read(seg, id, 0, segment_info(seg)->slots < 40 ? segment_info(seg)->slots : 40, out, &err);
            segment_close(seg);
        }
        put(bytes, len);
        free(bytes);
        free(lie);
    }
}

/* ---- threads, failures ---- */

static void *read_all(void *arg)
{
    struct segment *seg = arg;

    for (uint32_t id = 0; id < 9000; id++) {
        double out[2] = {0, 0};

        if (segment_read(seg, id, 0, 2, out, NULL) != 1 || out[1] != value_of(id, 1))
            return seg;
    }
    return NULL;
}

Test(segment, is_read_by_many_threads)
{
    static uint32_t ids[9000];
    pthread_t threads[4];
    struct segment *seg;
    void *failed;

    for (uint32_t i = 0; i < 9000; i++)
        ids[i] = i;
    write_ids(ids, 9000, 2);
    seg = open_it();
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, read_all, seg), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &failed);
        cr_assert_null(failed);
    }
    segment_close(seg);
}

struct nth {
    int left;
};

static int fail_nth(void *ctx, enum file_op op, const char *at, uint64_t offset, size_t *len)
{
    struct nth *nth = ctx;

    (void)at;
    (void)offset;
    (void)len;
    if (op == FILE_OP_UNLINK)
        return 0;
    return nth->left-- == 0 ? 5 /* EIO */ : 0;
}

/* The 1st, 2nd, 3rd ... file operation fails, until the whole succeeds: no half file, nothing left behind. */
Test(segment, a_failed_write_leaves_the_old_file)
{
    struct segment_info info = info_of(3);
    double old[3] = {1, 1, 1}, new[3] = {2, 2, 2}, out[3];
    struct segment_writer *w = writer_for(&info);
    bool done = false;

    cr_assert_eq(segment_writer_add(w, 1, old, &err), 0);
    commit(w);
    for (int n = 0; !done; n++) {
        struct nth nth = {n};
        struct file_hook hook = {.before = fail_nth, .ctx = &nth};
        struct segment *seg;
        int rc;

        file_set_hook(&hook);
        rc = segment_writer_new(path, &info, &w, &err);
        if (rc == 0)
            rc = segment_writer_add(w, 1, new, &err);
        if (rc == 0)
            rc = segment_writer_commit(w, &err);
        done = rc == 0;
        segment_writer_free(w);
        file_set_hook(NULL);
        seg = open_it();
        cr_assert_eq(segment_read(seg, 1, 0, 3, out, &err), 1);
        cr_assert(out[0] == (done ? 2 : 1) || n >= 6, "operation %d", n);
        segment_close(seg);
        cr_assert_lt(n, 50);
    }
}

Test(segment, survives_that_its_file_is_cut)
{
    enum { ROWS = 20000, SLOTS = 120 };
    uint32_t *ids = malloc(ROWS * sizeof(ids[0])), read = 0, cut = 0, last = 0;
    double out[SLOTS];
    uint64_t bytes;

    for (uint32_t i = 0; i < ROWS; i++)
        ids[i] = i;
    write_ids(ids, ROWS, SLOTS);
    struct segment *seg = open_it();
    uint32_t groups = segment_info(seg)->groups;
    cr_assert_gt(groups, 3);
    assert_row(seg, 0);
    assert_row(seg, ROWS - 1); /* checked before the cut: only the fault tells */
    cr_assert_eq(truncate(path, (off_t)(segment_info(seg)->bytes / 2)), 0);
    for (uint32_t i = 0; i < ROWS; i += 100) {
        int rc = segment_read(seg, i, 0, SLOTS, out, &err);
        cr_assert(rc == 1 || rc == ERR_CORRUPT);
        read += rc == 1;
        cut += rc < 0;
    }
    cr_assert(read > 0 && cut > 0);
    cr_assert_not_null(strstr(err.text, path), "%s", err.text);
    cr_assert_eq(segment_has(seg, 0, &err), 1);
    cr_assert_eq(segment_check_group(seg, 0, &bytes, &err), 0, "%s", err.text);
    cr_assert_eq(segment_check_group(seg, groups - 1, &bytes, &err), ERR_CORRUPT);

    struct segment_cursor cursor = segment_cursor(seg);
    struct segment_row row;
    uint32_t damaged = 0;
    for (int rc; (rc = segment_cursor_next(&cursor, &row, &err)) != 0;) {
        damaged += rc < 0;
        last = rc > 0 ? row.id : last;
    }
    cr_assert(damaged >= 1 && damaged < groups, "%u damaged groups of %u", damaged, groups);
    cr_assert(last > 0 && last < ROWS - 1);
    segment_close(seg);
    free(ids);
}

Test(segment, is_found_damaged_by_a_check_after_it_was_read)
{
    uint32_t ids[] = {1, 2, 3};
    struct segment *seg;
    uint64_t bytes;

    write_ids(ids, 3, 10);
    seg = open_it();
    assert_row(seg, 2);
    cr_assert_eq(segment_check_group(seg, 0, &bytes, &err), 0);
    cr_assert_gt(bytes, 0);

    FILE *f = fopen(path, "r+"); /* a bit of the group's last byte: the directory stands behind it */
    long at = (long)(sizeof(struct segment_header) + bytes - 1);
    cr_assert_eq(fseek(f, at, SEEK_SET), 0);
    int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 4, f);
    fclose(f);
    cr_assert_eq(segment_check_group(seg, 0, &bytes, &err), ERR_CORRUPT);
    cr_assert_not_null(strstr(err.text, path), "%s", err.text);
    cr_assert_eq(segment_has(seg, 2, &err), ERR_CORRUPT, "what a check has found counts for readers");
    segment_close(seg);
}
