#include "storage/events.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "base/grace.h"
#include "base/log.h"
#include "storage/event_log.h"
#include "storage/format.h"
#include "tests/help/powercut.h"
#include "tests/help/rng.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { BASE_S = 1700000000, DAY_S = 86400 };

/* ---- a store of events in a test's hands ---- */

struct kit {
    struct tmpdir dir;
    struct events *events;
    uint64_t count_max;
    int64_t retention_s;
};

static void kit_open(struct kit *kit)
{
    struct err err = {0};

    cr_assert_eq(events_open(kit->dir.path, kit->count_max, kit->retention_s, &kit->events, &err), 0, "%s", err.text);
}

static struct kit kit_new(void)
{
    struct kit kit = {.count_max = 1000, .retention_s = 0};

    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    clock_fake_ns((BASE_S + DAY_S) * INT64_C(1000000000));
    tmpdir_init(&kit.dir);
    kit_open(&kit);
    return kit;
}

static void kit_close(struct kit *kit)
{
    events_close(kit->events);
    kit->events = NULL;
}

static void kit_reopen(struct kit *kit)
{
    kit_close(kit);
    kit_open(kit);
}

static void kit_release(struct kit *kit)
{
    kit_close(kit);
    tmpdir_release(&kit->dir);
}

static struct storage_event event_of(int64_t when_s, const char *what, const char *tags, const char *data)
{
    return (struct storage_event){
        .when_s = when_s, .what = span_str(what), .tags = span_str(tags), .data = span_str(data)};
}

static uint32_t add(struct kit *kit, int64_t when_s, const char *what, const char *tags)
{
    struct storage_event event = event_of(when_s, what, tags, "data");
    struct err err = {0};
    uint32_t id = 0;

    cr_assert_eq(events_add(kit->events, &event, &id, &err), 0, "%s", err.text);
    return id;
}

/* The texts are valid until the next call. */
static bool get(struct kit *kit, uint32_t id, struct storage_event *out)
{
    static struct arena arena;

    arena_release(&arena);
    return events_get(kit->events, id, &arena, out);
}

/* The "what" of all events that are found, one behind the other. */
static const char *found(struct events *events, struct storage_events_query query)
{
    static char text[65536];
    struct arena arena;
    struct storage_event *items;
    size_t count, len = 0;

    arena_init(&arena, 0, NULL);
    events_find(events, &query, &arena, &items, &count);
    for (size_t i = 0; i < count && len + items[i].what.len < sizeof text; i++)
        len += (size_t)sprintf(text + len, "%s%.*s", i == 0 ? "" : " ", SPAN_ARG(items[i].what));
    text[len] = '\0';
    arena_release(&arena);
    return text;
}

static const char *between(struct events *events, int64_t from_s, int64_t until_s)
{
    return found(events, (struct storage_events_query){.from_s = from_s, .until_s = until_s});
}

static const char *all(struct events *events)
{
    return between(events, 0, INT64_MAX);
}

static const char *tagged(struct events *events, enum storage_events_match match, const char *first, const char *second)
{
    struct span tags[] = {span_str(first), span_str(second == NULL ? "" : second)};

    return found(events, (struct storage_events_query){
                             .until_s = INT64_MAX, .match = match, .tags = tags, .tags_count = second == NULL ? 1 : 2});
}

/* ---- finding ---- */

Test(events, are_found_by_time_and_both_ends_belong_to_the_range)
{
    struct kit kit = kit_new();

    add(&kit, BASE_S + 20, "c", "");
    add(&kit, BASE_S, "a", "");
    add(&kit, BASE_S + 10, "b", "");
    cr_assert_str_eq(all(kit.events), "a b c");
    cr_assert_str_eq(between(kit.events, BASE_S, BASE_S + 10), "a b");
    cr_assert_str_eq(between(kit.events, BASE_S + 10, BASE_S + 10), "b");
    cr_assert_str_eq(between(kit.events, BASE_S + 11, BASE_S + 19), "");
    cr_assert_str_eq(between(kit.events, BASE_S + 20, BASE_S), "");
    cr_assert_str_eq(between(kit.events, INT64_MIN, INT64_MAX), "a b c");
    kit_release(&kit);
}

Test(events, of_one_second_stay_in_the_order_in_which_they_came)
{
    struct kit kit = kit_new();

    add(&kit, BASE_S, "a", "");
    add(&kit, BASE_S + 1, "d", "");
    add(&kit, BASE_S, "b", "");
    add(&kit, BASE_S, "c", "");
    cr_assert_str_eq(all(kit.events), "a b c d");
    kit_reopen(&kit);
    cr_assert_str_eq(all(kit.events), "a b c d");
    kit_release(&kit);
}

Test(events, are_found_by_all_or_any_of_their_tags)
{
    struct kit kit = kit_new();

    add(&kit, BASE_S, "a", "deploy prod");
    add(&kit, BASE_S, "b", " web\t deploy  ");
    add(&kit, BASE_S, "c", "");
    add(&kit, BASE_S, "d", "deploying x,prod");
    cr_assert_str_eq(tagged(kit.events, STORAGE_EVENTS_ALL_TAGS, "deploy", NULL), "a b");
    cr_assert_str_eq(tagged(kit.events, STORAGE_EVENTS_ALL_TAGS, "deploy", "web"), "b");
    cr_assert_str_eq(tagged(kit.events, STORAGE_EVENTS_ANY_TAG, "prod", "web"), "a b d");
    cr_assert_str_eq(tagged(kit.events, STORAGE_EVENTS_ALL_TAGS, "deploy", "nothing"), "");
    cr_assert_str_eq(tagged(kit.events, STORAGE_EVENTS_ANY_TAG, "", NULL), "");
    cr_assert_str_eq(tagged(kit.events, STORAGE_EVENTS_ALL_TAGS, "x", "prod"), "d", "commas divide tags, too");
    cr_assert_str_eq(tagged(kit.events, STORAGE_EVENTS_ALL_TAGS, "x,prod", NULL), "d");
    kit_release(&kit);
}

Test(events, without_a_wanted_tag_none_are_found)
{
    struct kit kit = kit_new();

    add(&kit, BASE_S, "a", "deploy");
    cr_assert_str_eq(
        found(kit.events, (struct storage_events_query){.until_s = INT64_MAX, .match = STORAGE_EVENTS_ALL_TAGS}), "");
    kit_release(&kit);
}

Test(events, are_found_by_their_id_with_all_texts)
{
    struct kit kit = kit_new();
    struct storage_event event = {0};
    uint32_t id = add(&kit, BASE_S, "first", "x  y ");

    cr_assert_eq(id, 1);
    cr_assert_eq(add(&kit, BASE_S - 5, "second", ""), 2);
    cr_assert(get(&kit, id, &event));
    cr_assert_eq(event.id, id);
    cr_assert_eq(event.when_s, BASE_S);
    cr_assert(span_eq(event.what, SPAN_LIT("first")));
    cr_assert(span_eq(event.tags, SPAN_LIT("x y")));
    cr_assert(span_eq(event.data, SPAN_LIT("data")));
    cr_assert_not(get(&kit, 3, &event));
    cr_assert_not(get(&kit, 0, &event));
    kit_release(&kit);
}

/* ---- what is refused ---- */

static void expect_refused(struct kit *kit, struct storage_event event, int code, const char *text)
{
    struct err err = {0};
    uint32_t id;

    cr_expect_eq(events_add(kit->events, &event, &id, &err), code);
    cr_expect(strstr(err.text, text) != NULL, "\"%s\" is not in \"%s\"", text, err.text);
}

Test(events, that_are_too_long_or_of_no_time_are_refused_with_a_reason)
{
    static char text[STORAGE_EVENT_DATA_MAX + 1];
    struct kit kit = kit_new();
    struct storage_event event = event_of(BASE_S, "a", "", "");

    memset(text, 'x', sizeof text);
    event.what = span_of(text, STORAGE_EVENT_WHAT_MAX + 1);
    expect_refused(&kit, event, ERR_INPUT, "\"what\" of an event is at most 1024 bytes long, not 1025");
    event = event_of(BASE_S, "a", "", "");
    event.tags = span_of(text, STORAGE_EVENT_TAGS_MAX + 1);
    expect_refused(&kit, event, ERR_INPUT, "\"tags\"");
    event = event_of(BASE_S, "a", "", "");
    event.data = span_of(text, sizeof text);
    expect_refused(&kit, event, ERR_INPUT, "\"data\"");
    event.data = SPAN_LIT("a\0b");
    expect_refused(&kit, event, ERR_INPUT, "zero byte");
    expect_refused(&kit, event_of(-1, "a", "", ""), ERR_INPUT, "1970");
    expect_refused(&kit, event_of(INT64_C(253402300800), "a", "", ""), ERR_INPUT, "9999");
    cr_assert_str_eq(all(kit.events), "");
    event = (struct storage_event){.when_s = INT64_C(253402300799),
                                   .what = span_of(text, STORAGE_EVENT_WHAT_MAX),
                                   .tags = span_of(text, STORAGE_EVENT_TAGS_MAX),
                                   .data = span_of(text, STORAGE_EVENT_DATA_MAX)};
    uint32_t id;
    cr_assert_eq(events_add(kit.events, &event, &id, NULL), 0, "the largest one");
    kit_reopen(&kit);
    cr_assert(get(&kit, id, &event));
    cr_assert_eq(event.data.len, STORAGE_EVENT_DATA_MAX);
    kit_release(&kit);
}

Test(events, beyond_the_limit_are_refused_and_the_old_ones_stay)
{
    struct kit kit = kit_new();

    kit.count_max = 2;
    kit_reopen(&kit);
    add(&kit, BASE_S, "a", "");
    add(&kit, BASE_S, "b", "");
    expect_refused(&kit, event_of(BASE_S, "c", "", ""), ERR_LIMIT, "there are 2 events; max-events is the limit");
    cr_assert_str_eq(all(kit.events), "a b");
    kit_release(&kit);
}

static int try_large(struct kit *kit, struct err *err)
{
    static char text[STORAGE_EVENT_DATA_MAX];
    struct storage_event event = event_of(BASE_S, "e", "", "");
    uint32_t id;

    memset(text, 'x', sizeof text);
    event.data = span_of(text, sizeof text);
    return events_add(kit->events, &event, &id, err);
}

Test(events, may_not_be_large_all_of_them)
{
    struct kit kit = kit_new();
    struct err err = {0};
    int count = 0;

    kit.count_max = 100;
    kit_reopen(&kit);
    while (try_large(&kit, &err) == 0)
        count++;
    cr_assert(count >= 60 && count < 70, "%d", count);
    cr_assert(strstr(err.text, "max-events allows 2048 for each") != NULL, "%s", err.text);
    add(&kit, BASE_S, "small", "");
    kit_release(&kit);
}

/* ---- the end of the retention ---- */

Test(events, past_their_retention_are_dropped_and_refused)
{
    struct kit kit = kit_new();

    kit.retention_s = 2 * DAY_S;
    kit_reopen(&kit);
    add(&kit, BASE_S, "a", "");
    add(&kit, BASE_S + 10, "b", "");
    cr_assert_eq(events_expire(kit.events, BASE_S + 2 * DAY_S, NULL), 0);
    cr_assert_str_eq(all(kit.events), "a b");
    cr_assert_eq(events_expire(kit.events, BASE_S + 2 * DAY_S + 1, NULL), 0);
    cr_assert_str_eq(all(kit.events), "b");
    expect_refused(&kit, event_of(BASE_S - 2 * DAY_S, "c", "", ""), ERR_INPUT, "events-retention");
    clock_fake_ns((BASE_S + 3 * DAY_S) * INT64_C(1000000000));
    kit_reopen(&kit);
    cr_assert_str_eq(all(kit.events), "");
    cr_assert_eq(add(&kit, BASE_S + 3 * DAY_S, "d", ""), 3, "ids are not given again");
    kit_release(&kit);
}

static void add_large(struct kit *kit, int64_t when_s, const char *what)
{
    static char text[STORAGE_EVENT_DATA_MAX];
    struct storage_event event = event_of(when_s, what, "", "");
    uint32_t id;

    memset(text, 'x', sizeof text);
    event.data = span_of(text, sizeof text);
    cr_assert_eq(events_add(kit->events, &event, &id, NULL), 0);
}

static uint64_t bytes_of(const struct events *events)
{
    uint64_t count, bytes, damaged;

    events_stats(events, &count, &bytes, &damaged);
    return bytes;
}

Test(events, that_are_dead_do_not_fill_the_disk)
{
    struct kit kit = kit_new();

    kit.retention_s = 2 * DAY_S;
    kit_reopen(&kit);
    for (int i = 0; i < 20; i++)
        add_large(&kit, BASE_S, "old");
    add_large(&kit, BASE_S + 10, "a");
    uint32_t id = add(&kit, BASE_S + 5, "b", "");
    cr_assert_gt(bytes_of(kit.events), 20 * STORAGE_EVENT_DATA_MAX);
    cr_assert_eq(events_expire(kit.events, BASE_S + 2 * DAY_S + 1, NULL), 0);
    cr_assert_lt(bytes_of(kit.events), 2 * STORAGE_EVENT_DATA_MAX);
    cr_assert_str_eq(all(kit.events), "b a");
    cr_assert_eq(add(&kit, BASE_S + 20, "c", ""), id + 1);
    kit_reopen(&kit);
    cr_assert_str_eq(all(kit.events), "b a c");
    kit_release(&kit);
}

Test(events, keep_their_ids_apart_when_all_are_gone)
{
    struct kit kit = kit_new();

    kit.retention_s = 2 * DAY_S;
    kit_reopen(&kit);
    for (int i = 0; i < 20; i++)
        add_large(&kit, BASE_S, "old");
    cr_assert_eq(events_expire(kit.events, BASE_S + 2 * DAY_S + 1, NULL), 0);
    cr_assert_eq(bytes_of(kit.events), sizeof(struct event_log_header));
    kit_reopen(&kit);
    cr_assert_eq(add(&kit, BASE_S, "a", ""), 21);
    kit_release(&kit);
}

/* ---- damage ---- */

static char *path_of(const struct kit *kit)
{
    static char path[400];

    snprintf(path, sizeof path, "%s/events.log", kit->dir.path);
    return path;
}

/* Change one byte of the file. */
static void damage(struct kit *kit, uint64_t offset)
{
    struct file *f;
    unsigned char byte;

    cr_assert_eq(file_open(path_of(kit), FILE_READ_WRITE, &f, NULL), 0);
    cr_assert_eq(file_read(f, &byte, 1, offset, NULL), 0);
    byte ^= 0x10;
    cr_assert_eq(file_write(f, &byte, 1, offset, NULL), 0);
    file_close(f);
}

static uint64_t damaged_of(const struct events *events)
{
    uint64_t count, bytes, damaged;

    events_stats(events, &count, &bytes, &damaged);
    return damaged;
}

Test(events, but_the_damaged_one_survive_any_wrong_byte)
{
    struct kit kit = kit_new();

    add(&kit, BASE_S, "a", "x");
    uint64_t second = bytes_of(kit.events);
    add(&kit, BASE_S + 1, "b", "x y z");
    uint64_t third = bytes_of(kit.events);
    add(&kit, BASE_S + 2, "c", "");
    kit_close(&kit);
    for (uint64_t at = second; at < third; at++) {
        damage(&kit, at);
        kit_open(&kit);
        cr_assert_str_eq(all(kit.events), "a c", "byte %llu", (unsigned long long)at);
        cr_assert_eq(damaged_of(kit.events), 1);
        kit_close(&kit);
        damage(&kit, at); /* and right again */
    }
    kit_open(&kit);
    cr_assert_str_eq(all(kit.events), "a b c");
    cr_assert_eq(damaged_of(kit.events), 0);
    kit_release(&kit);
}

Test(events, survive_a_damaged_header)
{
    for (uint64_t at = 0; at < sizeof(struct event_log_header); at++) {
        struct kit kit = kit_new();

        add(&kit, BASE_S, "a", "x");
        kit_close(&kit);
        damage(&kit, at);
        kit_open(&kit);
        cr_assert_str_eq(all(kit.events), "a");
        cr_assert_eq(damaged_of(kit.events), 1);
        cr_assert_eq(add(&kit, BASE_S, "b", ""), 2);
        kit_reopen(&kit);
        cr_assert_eq(damaged_of(kit.events), 0, "it was mended");
        kit_release(&kit);
    }
}

Test(events, survive_a_file_that_ends_anywhere)
{
    struct kit kit = kit_new();
    uint64_t ends[4];

    ends[0] = bytes_of(kit.events);
    for (int i = 1; i < 4; i++) {
        add(&kit, BASE_S + i, (const char *[]){"", "a", "b", "c"}[i], "some tags");
        ends[i] = bytes_of(kit.events);
    }
    kit_close(&kit);
    char *whole;
    size_t len;
    cr_assert_eq(file_slurp(path_of(&kit), 1 << 20, &whole, &len, NULL), 0);
    for (size_t end = 0; end <= len; end++) {
        cr_assert_eq(file_put(path_of(&kit), span_of(whole, end), NULL), 0);
        kit_open(&kit);
        const char *expected = end >= ends[3] ? "a b c" : end >= ends[2] ? "a b" : end >= ends[1] ? "a" : "";
        cr_assert_str_eq(all(kit.events), expected, "%zu bytes", end);
        add(&kit, BASE_S, "new", "");
        kit_reopen(&kit);
        cr_assert_eq(damaged_of(kit.events), 0, "what is behind the end was cut off");
        cr_assert(strstr(all(kit.events), "new") == all(kit.events));
        kit_close(&kit);
    }
    free(whole);
    kit_release(&kit);
}

Test(events, whose_bytes_are_gone_are_left_out_and_the_others_are_served)
{
    struct kit kit = kit_new();
    struct file *f;
    struct storage_event event;

    kit.retention_s = 2 * DAY_S;
    kit_reopen(&kit);
    for (int i = 0; i < 20; i++)
        add_large(&kit, BASE_S, "old");
    add(&kit, BASE_S + 10, "a", "x");
    uint64_t end = bytes_of(kit.events);
    uint32_t id = add(&kit, BASE_S + 11, "b", "x");
    add_large(&kit, BASE_S + 12, "c");
    cr_assert_eq(file_open(path_of(&kit), FILE_READ_WRITE, &f, NULL), 0); /* somebody else cuts the file */
    cr_assert_eq(file_truncate(f, end, NULL), 0);
    file_close(f);
    cr_assert_str_eq(between(kit.events, BASE_S + 10, BASE_S + 20), "a");
    cr_assert_str_eq(tagged(kit.events, STORAGE_EVENTS_ALL_TAGS, "x", NULL), "a");
    cr_assert_not(get(&kit, id, &event));
    cr_assert_gt(damaged_of(kit.events), 0);
    cr_assert_eq(events_expire(kit.events, BASE_S + 2 * DAY_S + 1, NULL), 0, "and the file is written anew");
    cr_assert_str_eq(all(kit.events), "a");
    add(&kit, BASE_S + 11, "d", "");
    kit_reopen(&kit);
    cr_assert_str_eq(all(kit.events), "a d");
    kit_release(&kit);
}

Test(events, that_rot_while_the_server_runs_are_not_shown)
{
    struct kit kit = kit_new();

    add(&kit, BASE_S, "a", "x");
    uint64_t second = bytes_of(kit.events);
    add(&kit, BASE_S + 1, "b", "x");
    add(&kit, BASE_S + 2, "c", "x");
    damage(&kit, second + sizeof(struct event_record));
    cr_assert_str_eq(all(kit.events), "a c");
    cr_assert_eq(damaged_of(kit.events), 1);
    damage(&kit, second + sizeof(struct event_record));
    cr_assert_str_eq(all(kit.events), "a b c");
    kit_release(&kit);
}

Test(events, of_a_newer_version_are_not_touched)
{
    struct kit kit = kit_new();
    struct event_log_header header = {.magic = EVENT_LOG_MAGIC, .version = EVENT_LOG_VERSION + 1};
    struct err err = {0};

    kit_close(&kit);
    header.crc = crc32c(&header, offsetof(struct event_log_header, crc));
    cr_assert_eq(file_put(path_of(&kit), span_of(&header, sizeof header), NULL), 0);
    cr_assert_eq(events_open(kit.dir.path, 10, 0, &kit.events, &err), ERR_VERSION);
    cr_assert(strstr(err.text, "events.log: version 2, this plumbago reads up to 1") != NULL, "%s", err.text);
    kit_release(&kit);
}

Test(events, files_of_random_bytes_are_no_harm)
{
    FOR_SEEDS (seed, 300) {
        struct rng rng = rng_from(seed);
        struct kit kit = kit_new();
        char bytes[2000];
        size_t len = rng_below(&rng, sizeof bytes);

        for (int i = 0; i < 5; i++)
            add(&kit, BASE_S + i, "some text", "some tags");
        kit_close(&kit);
        char *whole;
        size_t whole_len;
        cr_assert_eq(file_slurp(path_of(&kit), 1 << 20, &whole, &whole_len, NULL), 0);
        rng_fill(&rng, bytes, sizeof bytes);
        if (rng_one_in(&rng, 2)) { /* half of a true file with some wrong bytes */
            len = whole_len;
            memcpy(bytes, whole, len);
            for (uint64_t n = rng_below(&rng, 20); n > 0; n--)
                bytes[rng_below(&rng, len)] = (char)rng_u64(&rng);
        }
        free(whole);
        cr_assert_eq(file_put(path_of(&kit), span_of(bytes, len), NULL), 0);
        struct err err = {0};
        if (events_open(kit.dir.path, 1000, 0, &kit.events, &err) == 0) {
            add(&kit, BASE_S + 9, "new", "");
            kit_reopen(&kit);
            cr_assert(strstr(all(kit.events), "new") != NULL);
        }
        kit_release(&kit);
    }
}

/* ---- failures and power cuts ---- */

struct failure {
    uint64_t at, seen;
    bool lifted;
};

static int failure_before(void *ctx, enum file_op op, const char *path, uint64_t offset, size_t *len)
{
    struct failure *f = ctx;

    (void)path, (void)offset;
    if (f->lifted || ++f->seen < f->at)
        return 0;
    if (op == FILE_OP_WRITE)
        *len /= 2;
    return f->seen % 2 == 0 ? EIO : ENOSPC;
}

enum { STEPS = 30 };

/* Adds events, drops old ones; acknowledged[i] says whether event i was. */
static void work(struct kit *kit, bool acknowledged[STEPS])
{
    static char text[STORAGE_EVENT_DATA_MAX];

    memset(text, 'x', sizeof text);
    for (int i = 0; i < STEPS; i++) {
        char what[20];
        struct storage_event event = event_of(BASE_S + i, what, "", "");
        uint32_t id;

        snprintf(what, sizeof what, "e%02d", i);
        event.what = span_str(what);
        event.data = span_of(text, i < 25 ? sizeof text : 10);
        acknowledged[i] = events_add(kit->events, &event, &id, NULL) == 0;
        if (i >= 25)
            events_expire(kit->events, BASE_S + 2 * DAY_S + 20, NULL);
    }
}

/* What was acknowledged and is not past the retention is there, and nothing that never was. */
static void check_work(struct kit *kit, const bool acknowledged[STEPS], uint64_t n)
{
    const char *text = all(kit->events);
    char what[20];

    for (int i = 20; i < STEPS; i++) {
        snprintf(what, sizeof what, "e%02d", i);
        cr_assert(!acknowledged[i] || strstr(text, what) != NULL, "%s is gone after failure %llu: %s", what,
                  (unsigned long long)n, text);
    }
    cr_assert_leq(strlen(text), STEPS * 4);
}

Test(events, that_were_acknowledged_survive_failures_of_the_disk)
{
    for (uint64_t n = 1;; n++) {
        struct kit kit = kit_new();
        struct failure failure = {.at = n};
        struct file_hook hook = {.before = failure_before, .ctx = &failure};
        bool acknowledged[STEPS];

        kit.retention_s = 2 * DAY_S;
        kit_reopen(&kit);
        file_set_hook(&hook);
        work(&kit, acknowledged);
        check_work(&kit, acknowledged, n);
        bool done = failure.seen < n;
        failure.lifted = true;
        cr_assert_eq(events_expire(kit.events, BASE_S + 2 * DAY_S + 20, NULL), 0);
        uint32_t id = add(&kit, BASE_S + 50, "end", "");
        kit_reopen(&kit);
        file_set_hook(NULL);
        check_work(&kit, acknowledged, n);
        struct storage_event event;
        cr_assert(get(&kit, id, &event));
        kit_release(&kit);
        if (done)
            break;
        cr_assert_lt(n, 1000);
    }
}

Test(events, that_were_acknowledged_survive_a_power_cut_at_any_instant)
{
    uint64_t last = UINT64_MAX;

    for (uint64_t n = 0; n <= last; n++) {
        struct kit kit = kit_new();
        bool acknowledged[STEPS];

        kit.retention_s = 2 * DAY_S;
        kit_reopen(&kit);
        struct powercut *pc = powercut_new(kit.dir.path);
        powercut_stop_after(pc, n);
        work(&kit, acknowledged);
        if (!powercut_stopped(pc))
            last = n;
        for (uint64_t cut = 0; cut < 4; cut++) {
            struct kit after = {.count_max = 1000, .retention_s = 2 * DAY_S};
            struct rng rng = rng_from(n * 4 + cut + 1);
            enum powercut_mode mode = cut == 0 ? POWERCUT_LOST : cut == 1 ? POWERCUT_KEPT : POWERCUT_RANDOM;

            snprintf(after.dir.path, sizeof after.dir.path, "%.240s-cut", kit.dir.path);
            powercut_write(pc, mode, NULL, &rng, after.dir.path);
            struct err err = {0};
            cr_assert_eq(events_open(after.dir.path, 1000, 2 * DAY_S, &after.events, &err), 0, "%s", err.text);
            check_work(&after, acknowledged, n);
            kit_close(&after);
            tmpdir_remove_tree(after.dir.path);
        }
        powercut_free(pc);
        kit_release(&kit);
    }
    cr_assert_gt(last, 50);
}

/* ---- a model ---- */

struct model_event {
    uint32_t id;
    int64_t when_s;
};

static int model_order(const void *a, const void *b)
{
    const struct model_event *x = a, *y = b;

    if (x->when_s != y->when_s)
        return x->when_s < y->when_s ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void model_check(const struct kit *kit, struct model_event *model, size_t count, int64_t from_s, int64_t until_s)
{
    struct arena arena;
    struct storage_event *items;
    size_t got, at = 0;
    struct storage_events_query query = {.from_s = from_s, .until_s = until_s};

    arena_init(&arena, 0, NULL);
    qsort(model, count, sizeof *model, model_order);
    events_find(kit->events, &query, &arena, &items, &got);
    for (size_t i = 0; i < count; i++) {
        if (model[i].when_s < from_s || model[i].when_s > until_s)
            continue;
        cr_assert_lt(at, got);
        cr_assert_eq(items[at].id, model[i].id);
        cr_assert_eq(items[at++].when_s, model[i].when_s);
    }
    cr_assert_eq(at, got);
    arena_release(&arena);
}

Test(events, behave_like_a_sorted_list)
{
    FOR_SEEDS (seed, 20) {
        struct rng rng = rng_from(seed);
        struct kit kit = kit_new();
        static struct model_event model[2000];
        size_t count = 0;
        int64_t now_s = BASE_S + DAY_S;

        kit.retention_s = DAY_S;
        kit_reopen(&kit);
        for (int step = 0; step < 500; step++) {
            if (rng_one_in(&rng, 40)) {
                kit_reopen(&kit);
            } else if (rng_one_in(&rng, 20)) {
                size_t kept = 0;
                now_s += rng_between(&rng, 0, DAY_S / 5);
                clock_fake_ns(now_s * 1000000000);
                cr_assert_eq(events_expire(kit.events, now_s, NULL), 0);
                for (size_t i = 0; i < count; i++)
                    if (model[i].when_s >= now_s - DAY_S)
                        model[kept++] = model[i];
                count = kept;
            } else {
                int64_t when_s = rng_one_in(&rng, 3) ? now_s - rng_between(&rng, 0, DAY_S) : now_s;
                model[count++] = (struct model_event){add(&kit, when_s, "e", "t"), when_s};
            }
            int64_t from_s = now_s - rng_between(&rng, -10, DAY_S);
            model_check(&kit, model, count, from_s, from_s + rng_between(&rng, 0, DAY_S));
        }
        model_check(&kit, model, count, 0, INT64_MAX);
        kit_release(&kit);
    }
}

/* ---- threads ---- */

struct readers {
    struct events *events;
    bool stop;
};

static void *read_events(void *arg)
{
    struct readers *readers = arg;
    struct storage_events_query query = {.until_s = INT64_MAX};

    grace_thread_begin();
    while (!__atomic_load_n(&readers->stop, __ATOMIC_RELAXED)) {
        struct arena arena;
        struct storage_event *items;
        size_t count;

        arena_init(&arena, 0, NULL);
        grace_enter();
        events_find(readers->events, &query, &arena, &items, &count);
        for (size_t i = 0; i < count; i++)
            if (items[i].what.len != 1 || (i > 0 && items[i].when_s < items[i - 1].when_s))
                abort();
        grace_leave();
        arena_release(&arena);
    }
    grace_thread_end();
    return NULL;
}

static void *add_events(void *arg)
{
    struct readers *readers = arg;
    uint32_t id;

    for (int i = 0; i < 60; i++) {
        struct storage_event event = event_of(BASE_S + i * 37 % 50, "x", "a b", "");
        if (events_add(readers->events, &event, &id, NULL) != 0)
            abort();
    }
    return NULL;
}

Test(events, are_read_and_added_and_dropped_by_many_threads)
{
    struct kit kit = kit_new();
    pthread_t reader[2], adder[3];

    kit.retention_s = 2 * DAY_S;
    kit_reopen(&kit);
    struct readers readers = {.events = kit.events};
    for (int i = 0; i < 2; i++)
        pthread_create(&reader[i], NULL, read_events, &readers);
    for (int i = 0; i < 3; i++)
        pthread_create(&adder[i], NULL, add_events, &readers);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(events_expire(kit.events, BASE_S + 2 * DAY_S + i, NULL), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(adder[i], NULL);
    __atomic_store_n(&readers.stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        pthread_join(reader[i], NULL);
    kit_release(&kit);
}
