#include "storage/manifest.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tmpdir dir;
static struct manifest *m;
static char path[300];
static struct err err;

static void reopen(void)
{
    manifest_close(m);
    cr_assert_eq(manifest_open(dir.path, &m, &err), 0, "%s", err.text);
}

static void begin(void)
{
    tmpdir_init(&dir);
    snprintf(path, sizeof path, "%s", tmpdir_file(&dir, "MANIFEST"));
    reopen();
}

static void end(void)
{
    manifest_close(m);
    tmpdir_release(&dir);
}

TestSuite(manifest, .init = begin, .fini = end);

static struct manifest_record record(enum manifest_type type, uint64_t number)
{
    return (struct manifest_record){
        .type = (uint8_t)type, .tier = 1, .policy = 2, .slots = 10, .start_s = 600 * (int64_t)number, .number = number};
}

static void append(enum manifest_type type, uint64_t number)
{
    struct manifest_record r = record(type, number);

    cr_assert_eq(manifest_append(m, &r, 1, &err), 0, "%s", err.text);
}

/* The numbers of the live segments, "3 5 ". */
static const char *live(void)
{
    static char text[1000];
    size_t count, at = 0;
    const struct manifest_record *r = manifest_segments(m, &count);

    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%llu ", (unsigned long long)r[i].number);
    return text;
}

static off_t file_length(void)
{
    struct stat st;

    cr_assert_eq(stat(path, &st), 0);
    return st.st_size;
}

static void change_byte(off_t at)
{
    struct file *f;
    char byte;

    cr_assert_eq(file_open(path, FILE_READ_WRITE, &f, &err), 0);
    cr_assert_eq(file_read(f, &byte, 1, (uint64_t)at, &err), 0);
    byte ^= 1;
    cr_assert_eq(file_write(f, &byte, 1, (uint64_t)at, &err), 0);
    file_close(f);
}

Test(manifest, a_new_one_names_nothing)
{
    struct manifest_record r;

    for (int round = 0; round < 2; round++) {
        cr_assert_str_eq(live(), "");
        cr_assert_eq(manifest_number_max(m), 0);
        cr_assert_not(manifest_has_ended(m, 1));
        cr_assert_not(manifest_is_damaged(m));
        cr_assert_not(manifest_rolled(m, 0, 0, &r));
        reopen();
    }
}

Test(manifest, segments_live_until_they_are_dropped)
{
    append(MANIFEST_SEAL, 3);
    append(MANIFEST_SEAL, 1);
    append(MANIFEST_SEAL, 5);
    append(MANIFEST_DROP, 1);
    for (int round = 0; round < 2; round++) {
        cr_assert_str_eq(live(), "3 5 ");
        cr_assert_eq(manifest_number_max(m), 5);
        reopen();
    }
    cr_assert(manifest_has_ended(m, 3));
    cr_assert(manifest_has_ended(m, 1));
    cr_assert_not(manifest_has_ended(m, 2));
    size_t count;
    const struct manifest_record *r = manifest_segments(m, &count);
    cr_assert_eq(r[1].start_s, 3000);
    cr_assert_eq(r[1].policy, 2);
    cr_assert_eq(r[1].tier, 1);
    cr_assert_eq(r[1].slots, 10);
}

Test(manifest, the_same_record_twice_is_once)
{
    append(MANIFEST_SEAL, 3);
    append(MANIFEST_SEAL, 3);
    cr_assert_str_eq(live(), "3 ");
    append(MANIFEST_DROP, 3);
    append(MANIFEST_DROP, 3);
    cr_assert_str_eq(live(), "");
}

Test(manifest, the_last_roll_of_a_tier_counts)
{
    struct manifest_record r = record(MANIFEST_ROLL, 7), other = record(MANIFEST_ROLL, 0);

    cr_assert_eq(manifest_append(m, &r, 1, &err), 0);
    other.start_s = 9000;
    cr_assert_eq(manifest_append(m, &other, 1, &err), 0);
    other.tier = 2;
    other.start_s = 1200;
    cr_assert_eq(manifest_append(m, &other, 1, &err), 0);
    for (int round = 0; round < 2; round++) {
        cr_assert_str_eq(live(), "7 ", "a roll with a number has a segment");
        cr_assert(manifest_rolled(m, 2, 1, &r));
        cr_assert_eq(r.start_s, 9000);
        cr_assert(manifest_rolled(m, 2, 2, &r));
        cr_assert_eq(r.start_s, 1200);
        cr_assert_not(manifest_rolled(m, 1, 1, &r));
        reopen();
    }
}

Test(manifest, a_change_counts_as_a_whole_or_not_at_all)
{
    struct manifest_record change[3] = {record(MANIFEST_DROP, 1), record(MANIFEST_DROP, 2), record(MANIFEST_SEAL, 3)};

    append(MANIFEST_SEAL, 1);
    append(MANIFEST_SEAL, 2);
    off_t before = file_length();
    cr_assert_eq(manifest_append(m, change, 3, &err), 0);
    cr_assert_str_eq(live(), "3 ");
    reopen();
    cr_assert_str_eq(live(), "3 ");
    for (off_t torn = before + 3 * 32 - 1; torn >= before; torn -= 13) {
        manifest_close(m);
        m = NULL;
        cr_assert_eq(truncate(path, torn), 0);
        reopen();
        cr_assert_str_eq(live(), "1 2 ", "cut at %lld", (long long)(torn - before));
        cr_assert_not(manifest_is_damaged(m));
        cr_assert_eq(file_length(), before);
        if (torn > before)
            cr_assert_eq(manifest_append(m, change, 3, &err), 0);
    }
}

Test(manifest, damage_costs_its_record_only_and_is_told)
{
    for (uint64_t n = 1; n <= 5; n++)
        append(MANIFEST_SEAL, n);
    change_byte(16 + 32 + 20);
    reopen();
    cr_assert(manifest_is_damaged(m));
    cr_assert_str_eq(live(), "1 3 4 5 ");
    cr_assert_not(manifest_has_ended(m, 2));
    append(MANIFEST_SEAL, 6);
    cr_assert_eq(manifest_compact(m, &err), 0);
    cr_assert_not(manifest_is_damaged(m));
    reopen();
    cr_assert_not(manifest_is_damaged(m));
    cr_assert_str_eq(live(), "1 3 4 5 6 ");
}

Test(manifest, a_damaged_header_is_refused)
{
    manifest_close(m);
    change_byte(5);
    cr_assert_eq(manifest_open(dir.path, &m, &err), ERR_CORRUPT);
    cr_assert_null(m);
    cr_assert(strstr(err.text, path) != NULL, "%s", err.text);
}

Test(manifest, a_newer_version_is_refused)
{
    struct manifest_header h = {.magic = MANIFEST_MAGIC, .version = MANIFEST_VERSION + 1};

    manifest_close(m);
    h.crc = crc32c(&h, offsetof(struct manifest_header, crc));
    cr_assert_eq(file_put(path, span_of(&h, sizeof h), &err), 0);
    cr_assert_eq(manifest_open(dir.path, &m, &err), ERR_VERSION);
}

static int no_sync(void *ctx, enum file_op op, const char *file, uint64_t offset, size_t *len)
{
    (void)ctx, (void)file, (void)offset, (void)len;
    return op == FILE_OP_SYNC ? EIO : 0;
}

Test(manifest, an_append_that_fails_has_not_happened)
{
    static const struct file_hook hook = {.before = no_sync};
    struct manifest_record r = record(MANIFEST_SEAL, 2);

    append(MANIFEST_SEAL, 1);
    file_set_hook(&hook);
    cr_assert_eq(manifest_append(m, &r, 1, &err), ERR_IO);
    file_set_hook(NULL);
    cr_assert_str_eq(live(), "1 ");
    append(MANIFEST_SEAL, 3); /* takes its place in the file */
    reopen();
    cr_assert_str_eq(live(), "1 3 ");
}

Test(manifest, is_written_anew_when_most_of_it_is_dead)
{
    struct manifest_record rolled;

    append(MANIFEST_SEAL, 1);
    append(MANIFEST_ROLL, 2);
    off_t few = file_length();
    cr_assert_eq(manifest_compact(m, &err), 0);
    cr_assert_eq(file_length(), few, "not worth it");
    for (uint64_t n = 10; n < 700; n++) {
        append(MANIFEST_SEAL, n);
        append(MANIFEST_DROP, n);
    }
    off_t many = file_length();
    cr_assert_eq(manifest_compact(m, &err), 0);
    cr_assert_lt(file_length(), many / 10);
    append(MANIFEST_SEAL, 800);
    for (int round = 0; round < 2; round++) {
        cr_assert_str_eq(live(), "1 2 800 ");
        cr_assert(manifest_rolled(m, 2, 1, &rolled));
        reopen();
    }
}
