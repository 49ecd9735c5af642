#include "storage/series.h"

#include "base/file.h"
#include "storage/deferred.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

static struct tmpdir dir;
static struct series_table t;
static struct err err;

static int no_rule(void *ctx, const struct log_rule *rule, struct err *e)
{
    (void)ctx, (void)rule, (void)e;
    return 0;
}

static int no_create(void *ctx, const struct log_create *create, uint32_t at, struct err *e)
{
    (void)ctx, (void)create, (void)at, (void)e;
    return 0;
}

static void open_table(uint64_t limit)
{
    struct series_log_reader reader = {.rule = no_rule, .create = no_create};

    cr_assert_eq(series_table_init(&t, limit, &err), 0, "%s", err.text);
    cr_assert_eq(series_log_open(tmpdir_file(&dir, "series.log"), &t.log, &err), 0, "%s", err.text);
    cr_assert_eq(series_log_replay(t.log, &reader, &err), 0);
    t.seed = series_log_seed(t.log);
}

static void close_table(void)
{
    series_table_release(&t);
    series_log_close(t.log);
    deferred_drain();
}

static void begin(void)
{
    tmpdir_init(&dir);
    open_table(0);
}

static void end(void)
{
    close_table();
    tmpdir_release(&dir);
}

TestSuite(series, .init = begin, .fini = end);

static int try_create(const char *name, uint32_t *id)
{
    return series_create(&t, span_str(name), series_hash(&t, span_str(name)), 4, 1234, id, &err);
}

static uint32_t create(const char *name)
{
    uint32_t id;

    cr_assert_eq(try_create(name, &id), 0, "%s", err.text);
    return id;
}

static uint32_t find(const char *name)
{
    return series_find(&t, span_str(name), series_hash(&t, span_str(name)));
}

Test(series, an_empty_table_finds_nothing)
{
    cr_assert_eq(find("a"), SERIES_NONE);
    cr_assert_eq(find(""), SERIES_NONE);
    cr_assert_eq(t.count, 0);
    cr_assert_not(series_has_name(&t, 0));
    cr_assert_not(series_has_name(&t, SERIES_NONE));
}

Test(series, ids_count_up_from_zero)
{
    cr_assert_eq(create("a"), 0);
    cr_assert_eq(create("b"), 1);
    cr_assert_eq(find("a"), 0);
    cr_assert_eq(find("b"), 1);
    cr_assert_eq(find("ab"), SERIES_NONE);
    cr_assert_eq(t.count, 2);
    cr_assert(series_has_name(&t, 1));
    cr_assert_not(series_has_name(&t, 2));
}

Test(series, a_record_tells_all_of_its_series)
{
    const struct series *s = series_get(&t, create("some.name"));

    cr_assert(span_eq(series_name(&t, s), SPAN_LIT("some.name")));
    cr_assert_eq(s->rule, 4);
    cr_assert_eq(s->created_s, 1234);
    cr_assert_eq(s->next, 0);
    cr_assert_eq(s->place, 0);
}

Test(series, many_are_found_while_the_tables_grow)
{
    char name[40];
    uint64_t bytes = series_table_bytes(&t);

    for (uint32_t i = 0; i < 30000; i++) {
        sprintf(name, "series.number%u", i);
        cr_assert_eq(create(name), i);
        sprintf(name, "series.number%u", i / 2);
        cr_assert_eq(find(name), i / 2);
    }
    for (uint32_t i = 0; i < 30000; i++) {
        sprintf(name, "series.number%u", i);
        cr_assert_eq(find(name), i);
    }
    cr_assert_eq(find("series.number30000"), SERIES_NONE);
    cr_assert_gt(series_table_bytes(&t), bytes + 30000 * sizeof(struct series));
}

Test(series, names_may_differ_in_one_byte_or_in_length_only)
{
    create("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    cr_assert_eq(find("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), SERIES_NONE);
    cr_assert_eq(find("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), SERIES_NONE);
    cr_assert_eq(find("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), SERIES_NONE);
}

Test(series, equal_hashes_are_told_apart_by_the_name)
{
    uint32_t a, b;

    cr_assert_eq(series_create(&t, SPAN_LIT("one"), 77, 0, 0, &a, &err), 0);
    cr_assert_eq(series_create(&t, SPAN_LIT("two"), 77, 0, 0, &b, &err), 0);
    cr_assert_eq(series_find(&t, SPAN_LIT("one"), 77), a);
    cr_assert_eq(series_find(&t, SPAN_LIT("two"), 77), b);
    cr_assert_eq(series_find(&t, SPAN_LIT("three"), 77), SERIES_NONE);
}

Test(series, the_limit_holds)
{
    uint32_t id;

    close_table();
    open_table(2);
    create("a");
    create("b");
    cr_assert_eq(try_create("c", &id), ERR_LIMIT);
    cr_assert_eq(find("c"), SERIES_NONE);
    cr_assert_eq(t.count, 2);
}

Test(series, reserved_ids_are_not_handed_out)
{
    create("a");
    series_reserve_ids(&t, 100);
    cr_assert_eq(create("b"), 100);
    cr_assert_not(series_has_name(&t, 50));
    cr_assert_eq(t.count, 2);
    series_reserve_ids(&t, 7);
    cr_assert_eq(create("c"), 101, "never back");
}

static int full(void *ctx, enum file_op op, const char *path, uint64_t offset, size_t *len)
{
    (void)ctx, (void)path, (void)offset, (void)len;
    return op == FILE_OP_RESERVE ? ENOSPC : 0;
}

Test(series, a_name_that_cannot_be_logged_does_not_exist)
{
    static const struct file_hook hook = {.before = full};
    char name[4097];
    uint32_t id, count = 0;

    memset(name, 'x', 4096);
    name[4096] = '\0';
    file_set_hook(&hook);
    do
        sprintf(name, "%u", count), name[strlen(name)] = 'x';
    while (try_create(name, &id) == 0 && ++count > 0);
    cr_assert_eq(err.code, ERR_FULL);
    cr_assert_eq(find(name), SERIES_NONE);
    cr_assert_eq(t.count, count);
    file_set_hook(NULL);
    cr_assert_eq(create(name), count);
}
