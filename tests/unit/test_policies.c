#include "storage/policies.h"

#include "base/file.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct tmpdir dir;
static struct policies policies;
static struct series_log *names;
static struct err err;

static int restore(void *ctx, const struct log_rule *rule, struct err *e)
{
    return policies_restore(ctx, rule, e);
}

static int ignore_create(void *ctx, const struct log_create *create, uint32_t at, struct err *e)
{
    (void)ctx, (void)create, (void)at, (void)e;
    return 0;
}

static void no_damage(void *ctx, uint64_t offset, uint64_t len)
{
    (void)ctx;
    cr_assert_fail("%llu bytes at %llu are damaged", (unsigned long long)len, (unsigned long long)offset);
}

/* Open the log and put its rules in place. */
static int open_all(void)
{
    static char path[300];
    struct series_log_reader reader = {
        .ctx = &policies, .rule = restore, .create = ignore_create, .damaged = no_damage};

    snprintf(path, sizeof path, "%s", tmpdir_file(&dir, "series.log"));
    policies = (struct policies){.dir = dir.path};
    cr_assert_eq(series_log_open(path, &names, &err), 0, "%s", err.text);
    return series_log_replay(names, &reader, &err);
}

static void close_all(void)
{
    policies_release(&policies);
    series_log_close(names);
}

static void begin(void)
{
    tmpdir_init(&dir);
    cr_assert_eq(open_all(), 0, "%s", err.text);
}

static void end(void)
{
    close_all();
    tmpdir_release(&dir);
}

TestSuite(policies, .init = begin, .fini = end);

static int try_rule(const char *retentions, enum aggregation method, double x_files_factor, uint16_t *number)
{
    static struct retention retention;
    struct policy_match match = {.retention = &retention, .method = method, .x_files_factor = x_files_factor};

    cr_assert_eq(retention_parse(span_str(retentions), &retention, &err), 0, "%s", err.text);
    return policies_rule_for(&policies, names, &match, 1700000000, number, &err);
}

static uint16_t rule(const char *retentions, enum aggregation method, double x_files_factor)
{
    uint16_t number;

    cr_assert_eq(try_rule(retentions, method, x_files_factor, &number), 0, "%s", err.text);
    return number;
}

static int count_tier(void *ctx, struct policy *policy, struct tier *tier)
{
    int *count = ctx;

    cr_assert_eq(tier->policy, policy->number);
    return ++*count == 3 ? 33 : 0;
}

Test(policies, are_numbered_in_order_of_first_use)
{
    cr_assert_eq(rule("10s:1d", AGG_AVERAGE, 0.5), 0);
    cr_assert_eq(rule("10s:1d", AGG_SUM, 0.5), 1);
    cr_assert_eq(rule("1m:1d,1h:1y", AGG_SUM, 0.5), 2);
    cr_assert_eq(rule("10s:1d", AGG_SUM, 0.25), 3);
    cr_assert_eq(rule("10s:1d", AGG_AVERAGE, 0.5), 0, "the same again is the same");
    cr_assert_eq(policies.count, 2);
    cr_assert_eq(policies.rule[3].policy, 0);
    cr_assert_eq(policies.rule[2].policy, 1);
    cr_assert_eq(policies.rule[2].method, AGG_SUM);
    cr_assert_eq(policies.rule[3].x_files_factor, 0.25);
}

Test(policies, are_the_same_after_a_restart)
{
    rule("10s:1d", AGG_LAST, 0.5);
    rule("1m:1d,1h:1y", AGG_MAX, 0);
    close_all();
    cr_assert_eq(open_all(), 0, "%s", err.text);
    cr_assert_eq(policies.count, 2);
    cr_assert_eq(policies.rules, 2);
    cr_assert_str_eq(policies.policy[1]->retention.text, "1m:1d,1h:1y");
    cr_assert_eq(policies.rule[0].method, AGG_LAST);
    cr_assert_eq(rule("1m:1d,1h:1y", AGG_MAX, 0), 1);
    cr_assert_eq(rule("1s:1h", AGG_MAX, 0), 2);
}

Test(policies, each_tier_is_visited_until_it_stops)
{
    int count = 0;

    rule("10s:1d", AGG_SUM, 0);
    cr_assert_eq(policies_each_tier(&policies, count_tier, &count), 0);
    rule("1m:1d,1h:1y", AGG_SUM, 0);
    count = 0;
    cr_assert_eq(policies_each_tier(&policies, count_tier, &count), 33);
}

Test(policies, roll_up_from_the_window_on_in_which_they_were_first_used)
{
    rule("10s:1d,1m:30d,1h:1y", AGG_SUM, 0);
    const struct tier *tier = policies.policy[0]->tier;
    for (int k = 1; k < 3; k++) {
        int64_t from_s = tier_view(&tier[k])->rolled_until_s;
        cr_assert_eq(from_s % tier[k].shape.window_s, 0);
        cr_assert_leq(from_s, 1700000000);
        cr_assert_leq(from_s, tier_view(&tier[1])->rolled_until_s);
    }
}

Test(policies, rules_out_of_order_are_damage)
{
    struct log_rule gap = {.number = 1, .method = AGG_SUM, .retentions = SPAN_LIT("10s:1d")};
    struct log_rule policy = {.number = 0, .policy = 1, .method = AGG_SUM, .retentions = SPAN_LIT("10s:1d")};
    struct log_rule method = {.number = 0, .method = AGG_COUNT, .retentions = SPAN_LIT("10s:1d")};

    cr_assert_eq(policies_restore(&policies, &gap, &err), ERR_CORRUPT);
    cr_assert_eq(policies_restore(&policies, &method, &err), ERR_CORRUPT);
    cr_assert_eq(policies_restore(&policies, &policy, &err), ERR_CORRUPT);
    cr_assert_eq(policies.rules, 0);
}

static enum file_op failing;

static int fail(void *ctx, enum file_op op, const char *path, uint64_t offset, size_t *len)
{
    (void)ctx, (void)path, (void)offset, (void)len;
    return op == failing ? ENOSPC : 0;
}

static const struct file_hook failing_hook = {.before = fail};

Test(policies, one_that_has_no_folder_does_not_exist)
{
    uint16_t number;

    failing = FILE_OP_MAKE_DIR;
    file_set_hook(&failing_hook);
    cr_assert_eq(try_rule("10s:1d,1m:1y", AGG_SUM, 0, &number), ERR_FULL);
    file_set_hook(NULL);
    cr_assert_eq(policies.count, 0);
    cr_assert_eq(rule("1m:1d", AGG_SUM, 0), 0);
}

/* Fill what is allocated of the log, so that not another record fits without a larger file. */
static void fill_log(void)
{
    static char name[4097];
    uint32_t at;

    failing = FILE_OP_RESERVE;
    file_set_hook(&failing_hook);
    memset(name, 'x', 4096);
    for (size_t len = 4096; len >= 1; len /= 4) {
        struct log_create create = {.name = span_of(name, len)};
        while (series_log_append_create(names, &create, &at, &err) == 0)
            ;
    }
}

Test(policies, one_that_is_not_in_the_log_leaves_its_number_to_the_next)
{
    uint16_t number;

    fill_log();
    cr_assert_eq(try_rule("10s:1d", AGG_SUM, 0, &number), ERR_FULL);
    file_set_hook(NULL);
    cr_assert_eq(rule("1m:1d", AGG_SUM, 0), 0);
    cr_assert_eq(rule("10s:1d", AGG_SUM, 0), 1);
    close_all();
    cr_assert_eq(open_all(), 0, "%s", err.text);
    cr_assert_str_eq(policies.policy[0]->retention.text, "1m:1d");
}
