/* The store's face for tags: series without tags beside those of the index, restarts, deletion. */
#include "storage/storage.h"

#include "tests/help/store_kit.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { NOW_S = 1700000000 };

struct store {
    struct tmpdir dir;
    struct store_kit kit;
};

static void feed(struct store_kit *kit, const char *const *names)
{
    for (; *names != NULL; names++)
        cr_assert_eq(kit_store(kit, *names, NOW_S, NOW_S, 1), STORE_OK, "%s", *names);
}

static void store_begin_with(struct store *s, const char *const *names)
{
    storage_thread_begin();
    tmpdir_init(&s->dir);
    s->kit = kit_of(tmpdir_file(&s->dir, "data"));
    kit_open(&s->kit);
    feed(&s->kit, names);
}

static void store_end(struct store *s)
{
    kit_close(&s->kit);
    tmpdir_release(&s->dir);
    storage_thread_end();
}

static const char *const few[] = {"web.a.cpu",         "web.b.cpu",           "db.a.cpu", "up;dc=a", "up;dc=b;host=web",
                                  "web.load;host=web", "odd.{x}*.y;dc=a;b=c", "w",        NULL};

/* Texts, divided by blanks, to a list. */
static size_t split(const char *texts, struct span *list)
{
    struct span rest = span_str(texts);
    size_t count = 0;

    while (rest.len > 0) {
        list[count++] = span_cut(rest, 0, span_find(rest, ' '));
        rest = span_cut(rest, span_find(rest, ' ') + 1, rest.len);
    }
    return count;
}

/* What the expressions find, divided by blanks, or the error's text. */
static void expect_found(struct store *s, const char *texts, size_t max, const char *want)
{
    struct span list[8];
    size_t count = split(texts, list);
    struct storage_matches got;
    struct arena arena;
    struct err err = {0};
    char text[1000] = "";

    arena_init(&arena, 0, NULL);
    storage_enter();
    int rc = storage_find_by_tags(s->kit.st, list, count, max, NULL, &arena, &got, &err);
    for (size_t i = 0; rc == 0 && i < got.count; i++) {
        size_t n = strlen(text);
        uint32_t id;
        cr_expect(got.items[i].leaf && storage_lookup(s->kit.st, got.items[i].path, &id) && id == got.items[i].series);
        snprintf(text + n, sizeof text - n, "%s%.*s", i == 0 ? "" : " ", SPAN_ARG(got.items[i].path));
    }
    storage_leave();
    cr_expect_str_eq(rc == 0 ? text : err.text, want, "%s: %s", texts, rc == 0 ? text : err.text);
    arena_release(&arena);
}

Test(tags, find_series_without_tags_by_their_name)
{
    struct store s;

    store_begin_with(&s, few);
    expect_found(&s, "name=web.a.cpu", 0, "web.a.cpu");
    expect_found(&s, "name=web.nosuch", 0, "");
    expect_found(&s, "name=~web", 0, "web.a.cpu web.b.cpu web.load;host=web");
    expect_found(&s, "name=~web host=", 0, "web.a.cpu web.b.cpu");
    expect_found(&s, "name=~web host!=", 0, "web.load;host=web");
    expect_found(&s, "name=~.*cpu name!=db.a.cpu name!=~web.b", 0, "web.a.cpu");
    expect_found(&s, "name!= dc!=a dc!=b host=", 0, "db.a.cpu w web.a.cpu web.b.cpu");
    expect_found(&s, "name=web.a.cpu host!=", 0, "");
    store_end(&s);
}

Test(tags, take_no_more_for_plain_than_a_regular_expression_says)
{
    struct store s;

    store_begin_with(&s, few);
    expect_found(&s, "name=~^web.a", 0, "web.a.cpu");
    expect_found(&s, "name=~we?b", 0, "web.a.cpu web.b.cpu web.load;host=web");
    expect_found(&s, "name=~we*$", 0, "w");
    expect_found(&s, "name=~we{0}$", 0, "w");
    expect_found(&s, "name=~web.b|db", 0, "db.a.cpu web.b.cpu");
    expect_found(&s, "name=~(?i)WEB.A", 0, "web.a.cpu");
    expect_found(&s, "name=~w+$", 0, "w");
    store_end(&s);
}

Test(tags, say_what_is_wrong)
{
    struct store s;

    store_begin_with(&s, few);
    expect_found(&s, "name=~web", 2, "more than 2 series");
    expect_found(&s, "host=web", 1, "more than 1 series");
    expect_found(&s, "host=web", 2, "up;dc=b;host=web web.load;host=web");
    expect_found(&s, "host=", 0, "At least one tagspec must require a non-empty value");
    expect_found(&s, "host", 0, "Invalid tagspec host");
    expect_found(&s, "host=~(", 0, "regular expression \"(?:()\", at position 5: missing closing parenthesis");
    store_end(&s);
}

Test(tags, a_full_arena_loses_nothing)
{
    struct store s;
    struct span list[] = {SPAN_LIT("name=~m"), SPAN_LIT("x!=~7")};
    struct storage_matches got;
    struct arena arena;
    jmp_buf full;
    char name[32];

    store_begin_with(&s, few);
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, i % 2 == 0 ? "m.n%d" : "m;x=%d", i);
        kit_store(&s.kit, name, NOW_S, NOW_S, 1);
    }
    arena_init(&arena, 20000, &full);
    storage_enter();
    if (setjmp(full) == 0) {
        storage_find_by_tags(s.kit.st, list, 2, 0, NULL, &arena, &got, NULL);
        cr_expect_fail("the arena was not full");
    }
    storage_leave();
    arena_release(&arena);
    store_end(&s);
}

static bool now(void *ctx)
{
    (void)ctx;
    return true;
}

Test(tags, a_search_through_all_names_can_be_cancelled)
{
    struct store s;
    struct span list[] = {SPAN_LIT("name=~.")};
    struct storage_stop stop = {now, NULL};
    struct storage_matches got;
    struct arena arena;
    char name[32];

    store_begin_with(&s, few);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "m.n%d", i);
        kit_store(&s.kit, name, NOW_S, NOW_S, 1);
    }
    arena_init(&arena, 0, NULL);
    storage_enter();
    cr_expect_eq(storage_find_by_tags(s.kit.st, list, 1, 0, &stop, &arena, &got, NULL), ERR_CANCELLED);
    storage_leave();
    arena_release(&arena);
    store_end(&s);
}

/* The list as "a:1 b:2", or the code of the error. */
static void expect_list(int rc, const struct storage_tag_list *list, const char *want)
{
    char text[1000] = "";

    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s%.*s:%llu", i == 0 ? "" : " ", SPAN_ARG(list->items[i].text),
                 (unsigned long long)list->items[i].series);
    }
    if (rc < 0)
        snprintf(text, sizeof text, "%d", rc);
    cr_expect_str_eq(text, want, "%s, not %s", text, want);
}

static void expect_tags(struct store *s, struct storage_tag_query q, const char *exprs, const char *want)
{
    struct span list[8];
    struct storage_tag_list got;
    struct arena arena;

    q.exprs = list;
    q.exprs_count = split(exprs, list);
    arena_init(&arena, 0, NULL);
    storage_enter();
    int rc = storage_tags(s->kit.st, &q, &arena, &got, NULL);
    expect_list(rc, &got, want);
    storage_leave();
    arena_release(&arena);
}

static void expect_values(struct store *s, const char *tag, struct storage_tag_query q, const char *exprs,
                          const char *want)
{
    struct span list[8];
    struct storage_tag_list got;
    struct arena arena;

    q.exprs = list;
    q.exprs_count = split(exprs, list);
    arena_init(&arena, 0, NULL);
    storage_enter();
    int rc = storage_tag_values(s->kit.st, span_str(tag), &q, &arena, &got, NULL);
    expect_list(rc, &got, want);
    storage_leave();
    arena_release(&arena);
}

static const struct storage_tag_query everything;

static void expect_all_lists(struct store *s)
{
    expect_tags(s, everything, "", "b:0 dc:0 host:0 name:0");
    expect_tags(s, (struct storage_tag_query){.filter = SPAN_LIT("h|n")}, "", "host:0 name:0");
    expect_tags(s, (struct storage_tag_query){.filter = SPAN_LIT("(")}, "", "-6");
    expect_tags(s, everything, "name=up", "dc:0 host:0");
    expect_tags(s, everything, "host=", "-6");
    expect_values(s, "host", everything, "", "web:2");
    expect_values(s, "name", everything, "", "odd.{x}*.y:1 up:2 web.load:1");
    expect_values(s, "name", (struct storage_tag_query){.filter = SPAN_LIT("u")}, "", "up:2");
    expect_values(s, "dc", everything, "host=", "a:2");
    expect_values(s, "dc", everything, "dc!=a", "b:1");
    expect_values(s, "nosuch", everything, "", "-10");
    expect_values(s, "a=b", everything, "", "-10");
    expect_values(s, "", everything, "", "-10");
}

Test(tags, are_listed_also_after_a_restart)
{
    struct store s;

    store_begin_with(&s, few);
    expect_all_lists(&s);
    kit_close(&s.kit);
    kit_open(&s.kit);
    expect_all_lists(&s);
    expect_found(&s, "host=web", 0, "up;dc=b;host=web web.load;host=web");
    store_end(&s);
}

static void delete_names(struct store *s, const char *texts, uint64_t want)
{
    struct span list[8];
    size_t count = split(texts, list);
    uint64_t deleted = 99;

    cr_expect_eq(storage_delete_names(s->kit.st, list, count, &deleted, NULL), 0);
    cr_expect_eq(deleted, want, "%llu deleted", (unsigned long long)deleted);
}

Test(tags, deleted_series_are_gone_also_after_a_restart)
{
    static const char *const again[] = {"up;dc=a", NULL};
    struct store s;

    store_begin_with(&s, few);
    delete_names(&s, "up;dc=a w nosuch;a=b odd.{x}*.y;b=c;dc=a", 3);
    for (int i = 0; i < 3; i++) {
        expect_found(&s, "dc!=", 0, i < 2 ? "up;dc=b;host=web" : "up;dc=a up;dc=b;host=web");
        expect_found(&s, "name=w", 0, "");
        expect_values(&s, "dc", everything, "", i < 2 ? "b:1" : "a:1 b:1");
        if (i == 1)
            feed(&s.kit, again);
        if (i != 1) {
            kit_close(&s.kit);
            kit_open(&s.kit);
        }
    }
    store_end(&s);
}

Test(tags, a_name_with_signs_of_patterns_is_deleted_alone)
{
    static const char *const names[] = {"a.*", "a.b", "a.c", NULL};
    struct store s;

    store_begin_with(&s, names);
    delete_names(&s, "a.*", 1);
    expect_found(&s, "name=~a", 0, "a.b a.c");
    store_end(&s);
}

Test(tags, a_series_can_be_made_without_a_point)
{
    struct store s;
    struct arena arena;
    struct span name;
    uint32_t id, same;
    struct err err;

    store_begin_with(&s, few);
    arena_init(&arena, 0, NULL);
    cr_assert_eq(storage_canonical(SPAN_LIT("~m;z=1;a=2"), &arena, &name, NULL), 0);
    storage_enter();
    cr_expect_eq(storage_create(s.kit.st, name, NOW_S, &id, NULL), STORE_OK);
    cr_expect_eq(storage_create(s.kit.st, name, NOW_S, &same, NULL), STORE_OK);
    storage_leave();
    cr_expect_eq(id, same);
    expect_found(&s, "z=1", 0, "m;a=2;z=1");
    cr_expect_eq(storage_canonical(SPAN_LIT("m;z"), &arena, &name, &err), ERR_INPUT);
    cr_expect_str_eq(err.text, "tag without '='");
    arena_release(&arena);
    store_end(&s);
}
