#include "storage/series_log.h"

#include "base/file.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct tmpdir dir;
static const char *path;
static struct err err;

static void begin(void)
{
    static char text[400];

    tmpdir_init(&dir);
    snprintf(text, sizeof text, "%s", tmpdir_file(&dir, "series.log"));
    path = text;
}

static void end(void)
{
    tmpdir_release(&dir);
}

TestSuite(series_log, .init = begin, .fini = end);

/* What a replay saw. */
struct seen {
    int rules, creates;
    struct log_rule rule; /* the last */
    struct log_create create[64];
    char name[64][100];
    uint32_t at[64];
    uint64_t damaged_bytes;
    uint64_t damaged_at;
    int stop_at;    /* the creation that makes it stop, from 1 on */
    bool same_boot; /* the machine has not gone down since */
};

static int on_rule(void *ctx, const struct log_rule *rule, struct err *e)
{
    struct seen *seen = ctx;

    (void)e;
    seen->rules++;
    seen->rule = *rule;
    return 0;
}

static int on_create(void *ctx, const struct log_create *create, uint32_t at, struct err *e)
{
    struct seen *seen = ctx;
    int n = seen->creates++ % 64;

    seen->create[n] = *create;
    snprintf(seen->name[n], sizeof seen->name[n], "%.*s", SPAN_ARG(create->name));
    seen->at[n] = at;
    return seen->creates == seen->stop_at ? err_set(e, ERR_LIMIT, "stop") : 0;
}

static void on_damaged(void *ctx, uint64_t offset, uint64_t len)
{
    struct seen *seen = ctx;

    seen->damaged_at = offset;
    seen->damaged_bytes += len;
}

static int try_replay(struct series_log *log, struct seen *seen)
{
    struct series_log_reader reader = {.ctx = seen, .rule = on_rule, .create = on_create, .damaged = on_damaged};

    *seen = (struct seen){.stop_at = seen->stop_at, .same_boot = seen->same_boot};
    reader.same_boot = seen->same_boot;
    return series_log_replay(log, &reader, &err);
}

static struct series_log *open_log(struct seen *seen)
{
    struct series_log *log;

    cr_assert_eq(series_log_open(path, &log, &err), 0, "%s", err.text);
    cr_assert_eq(try_replay(log, seen), 0, "%s", err.text);
    return log;
}

static void append(struct series_log *log, uint32_t id, const char *name)
{
    struct log_create create = {.id = id, .rule = 3, .created_s = 1000 + id, .name = span_str(name)};
    uint32_t at;

    cr_assert_eq(series_log_append_create(log, &create, &at, &err), 0, "%s", err.text);
    cr_assert(span_eq(series_log_name(log, at, (uint32_t)strlen(name)), span_str(name)));
}

static void change_byte(off_t at)
{
    int fd = open(path, O_RDWR);
    char byte;

    cr_assert_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static off_t find_in_file(const char *text)
{
    char *bytes;
    size_t len;

    cr_assert_eq(file_slurp(path, 64 << 20, &bytes, &len, &err), 0);
    char *at = memmem(bytes, len, text, strlen(text));
    cr_assert(at != NULL);
    off_t offset = at - bytes;
    free(bytes);
    return offset;
}

Test(series_log, a_new_one_is_empty)
{
    struct seen seen = {0};
    struct series_log *log = open_log(&seen);

    cr_assert_eq(seen.rules + seen.creates, 0);
    cr_assert_eq(series_log_bytes(log), 32);
    series_log_close(log);
    series_log_close(NULL);
}

Test(series_log, gives_back_what_was_appended)
{
    struct seen seen = {0};
    struct series_log *log = open_log(&seen);
    struct log_rule rule = {.number = 3,
                            .policy = 2,
                            .method = 5,
                            .created_s = 77,
                            .x_files_factor = 0.25,
                            .retentions = SPAN_LIT("10s:1d,1m:30d")};

    cr_assert_eq(series_log_append_rule(log, &rule, &err), 0);
    append(log, 0, "a");
    append(log, 7, "a.name.of.22.characters");
    uint64_t bytes = series_log_bytes(log), seed = series_log_seed(log);
    series_log_close(log); /* without a sync: a killed process */

    log = open_log(&seen);
    cr_assert_eq(seen.rules, 1);
    cr_assert_eq(seen.rule.number, 3);
    cr_assert_eq(seen.rule.policy, 2);
    cr_assert_eq(seen.rule.method, 5);
    cr_assert_eq(seen.rule.created_s, 77);
    cr_assert_eq(seen.rule.x_files_factor, 0.25);
    cr_assert_eq(seen.creates, 2);
    cr_assert_str_eq(seen.name[0], "a");
    cr_assert_eq(seen.create[1].id, 7);
    cr_assert_eq(seen.create[1].rule, 3);
    cr_assert_eq(seen.create[1].created_s, 1007);
    cr_assert_str_eq(seen.name[1], "a.name.of.22.characters");
    cr_assert(span_eq(series_log_name(log, seen.at[1], 6), SPAN_LIT("a.name")));
    cr_assert_eq(seen.damaged_bytes, 0);
    cr_assert_eq(series_log_bytes(log), bytes);
    cr_assert_eq(series_log_seed(log), seed);
    series_log_close(log);
}

Test(series_log, keeps_names_of_every_length)
{
    struct seen seen = {0};
    struct series_log *log = open_log(&seen);
    static char name[4097];

    for (uint32_t len = 1; len < 40; len++) {
        memset(name, 'x', len);
        name[len] = '\0';
        append(log, len, name);
    }
    memset(name, 'y', 4096);
    append(log, 40, name);
    series_log_close(log);
    log = open_log(&seen);
    cr_assert_eq(seen.creates, 40);
    for (int n = 0; n < 39; n++)
        cr_assert_eq(seen.create[n].name.len, (size_t)n + 1);
    cr_assert_eq(seen.create[39].name.len, 4096);
    series_log_close(log);
}

Test(series_log, grows_beyond_what_was_allocated_first)
{
    struct seen seen = {0};
    struct series_log *log = open_log(&seen);
    char name[64];

    for (uint32_t id = 0; id < 50000; id++) {
        sprintf(name, "a.rather.long.name.of.a.series.number%u", id);
        append(log, id, name);
    }
    cr_assert_gt(series_log_bytes(log), 2 << 20);
    series_log_close(log);
    log = open_log(&seen);
    cr_assert_eq(seen.creates, 50000);
    series_log_close(log);
}

Test(series_log, a_damaged_record_costs_only_itself)
{
    struct seen seen = {0};
    struct series_log *log = open_log(&seen);

    append(log, 0, "first");
    append(log, 1, "second");
    append(log, 2, "third");
    series_log_close(log);
    off_t at = find_in_file("second");
    change_byte(at + 2);
    log = open_log(&seen);
    cr_assert_eq(seen.creates, 2);
    cr_assert_str_eq(seen.name[0], "first");
    cr_assert_str_eq(seen.name[1], "third");
    cr_assert_eq(seen.damaged_at, (uint64_t)at - 20, "where the record begins");
    cr_assert_eq(seen.damaged_bytes, 28);
    append(log, 3, "fourth");
    series_log_close(log);
    log = open_log(&seen);
    cr_assert_eq(seen.creates, 3);
    series_log_close(log);
}

Test(series_log, a_torn_last_record_is_overwritten)
{
    struct seen seen = {0};
    struct series_log *log = open_log(&seen);

    append(log, 0, "first");
    append(log, 1, "second");
    series_log_close(log);
    change_byte(find_in_file("second"));
    log = open_log(&seen);
    cr_assert_eq(seen.creates, 1);
    append(log, 1, "other");
    series_log_close(log);
    log = open_log(&seen);
    cr_assert_eq(seen.creates, 2);
    cr_assert_str_eq(seen.name[1], "other");
    cr_assert_eq(seen.damaged_bytes, 0);
    series_log_close(log);
}

Test(series_log, after_a_mere_kill_a_damaged_last_record_is_told)
{
    struct seen seen = {.same_boot = true};
    struct series_log *log = open_log(&seen);

    append(log, 0, "first");
    append(log, 1, "second");
    series_log_close(log);
    change_byte(find_in_file("second"));
    log = open_log(&seen);
    cr_assert_eq(seen.creates, 1);
    cr_assert_gt(seen.damaged_bytes, 0);
    series_log_close(log);
}

Test(series_log, after_a_mere_kill_zeros_do_not_hide_what_is_behind_them)
{
    struct seen seen = {.same_boot = true};
    struct series_log *log = open_log(&seen);
    static const char zeros[28];
    struct file *f;

    append(log, 0, "first");
    append(log, 1, "second");
    append(log, 2, "third");
    series_log_close(log);
    cr_assert_eq(file_open(path, FILE_READ_WRITE, &f, &err), 0);
    cr_assert_eq(file_write(f, zeros, sizeof zeros, (uint64_t)find_in_file("second") - 20, &err), 0);
    file_close(f);
    log = open_log(&seen);
    cr_assert_eq(seen.creates, 2);
    cr_assert_str_eq(seen.name[1], "third");
    cr_assert_eq(seen.damaged_bytes, 28);
    series_log_close(log);
}

Test(series_log, a_replay_stops_when_it_is_told)
{
    struct seen seen = {0};
    struct series_log *log = open_log(&seen);

    append(log, 0, "first");
    append(log, 1, "second");
    seen.stop_at = 1;
    cr_assert_eq(try_replay(log, &seen), ERR_LIMIT);
    cr_assert_eq(seen.creates, 1);
    series_log_close(log);
}

Test(series_log, a_damaged_header_is_refused)
{
    struct seen seen = {0};
    struct series_log *log = open_log(&seen);

    append(log, 0, "first");
    series_log_close(log);
    change_byte(9);
    cr_assert_eq(series_log_open(path, &log, &err), ERR_CORRUPT);
    cr_assert_null(log);
    cr_assert(strstr(err.text, path) != NULL, "%s", err.text);
}

Test(series_log, one_that_died_before_its_header_is_new)
{
    struct seen seen = {0};
    static const char zeros[100000];

    cr_assert_eq(file_put(path, span_of(zeros, sizeof zeros), &err), 0);
    struct series_log *log = open_log(&seen);
    append(log, 0, "first");
    series_log_close(log);
    log = open_log(&seen);
    cr_assert_eq(seen.creates, 1);
    series_log_close(log);
}

/* ---- a full disk ---- */

static int full(void *ctx, enum file_op op, const char *file, uint64_t offset, size_t *len)
{
    (void)ctx;
    (void)file;
    (void)offset;
    (void)len;
    return op == FILE_OP_RESERVE ? ENOSPC : 0;
}

Test(series_log, a_full_disk_refuses_and_harms_nothing)
{
    static const struct file_hook hook = {.before = full};
    struct seen seen = {0};
    struct series_log *log = open_log(&seen);
    static char name[4097];
    uint32_t at, count = 0;

    memset(name, 'x', 4096);
    file_set_hook(&hook);
    struct log_create create = {.name = span_str(name)};
    while (series_log_append_create(log, &create, &at, &err) == 0)
        create.id = ++count;
    cr_assert_eq(err.code, ERR_FULL);
    uint64_t bytes = series_log_bytes(log);
    cr_assert_eq(series_log_append_create(log, &create, &at, &err), ERR_FULL);
    cr_assert_eq(series_log_bytes(log), bytes);
    file_set_hook(NULL);
    append(log, count, "there is room again");
    series_log_close(log);
    log = open_log(&seen);
    cr_assert_eq(seen.creates, (int)count + 1);
    series_log_close(log);
}
