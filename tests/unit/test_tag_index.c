#include "storage/tag_index.h"

#include "base/grace.h"
#include "storage/name.h"
#include "storage/tag_index_int.h"
#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- a list of names, which is the model too ---- */

enum { SERIES_MAX_HERE = 20000 };

struct world {
    struct tag_index *ix;
    char *name[SERIES_MAX_HERE]; /* atomic pointers; NULL: gone */
    uint32_t count;              /* atomic */
};

static bool name_of(void *ctx, uint32_t id, struct span *name)
{
    struct world *w = ctx;
    const char *text = id < SERIES_MAX_HERE ? __atomic_load_n(&w->name[id], __ATOMIC_ACQUIRE) : NULL;

    if (text == NULL)
        return false;
    *name = span_str(text);
    return true;
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);

    cr_assert_eq(tag_index_new(&(struct tag_names){w, name_of}, &w->ix, NULL), 0);
    return w;
}

static void world_free(struct world *w)
{
    tag_index_free(w->ix);
    for (uint32_t i = 0; i < SERIES_MAX_HERE; i++)
        free(w->name[i]);
    free(w);
}

/* The id of a new series. */
static uint32_t add(struct world *w, const char *raw)
{
    char scratch[NAME_MAX_BYTES];
    struct span name;
    uint32_t id = w->count++;

    cr_assert_lt(id, SERIES_MAX_HERE);
    cr_assert_eq(name_canonical(span_str(raw), scratch, &name), NAME_OK, "%s", raw);
    __atomic_store_n(&w->name[id], strndup(name.ptr, name.len), __ATOMIC_RELEASE);
    cr_assert_eq(tag_index_insert(w->ix, span_str(w->name[id]), id, NULL), 0);
    return id;
}

/* Takes a series away; its text is the caller's to free. */
static char *take(struct world *w, uint32_t id)
{
    char *name = w->name[id];

    __atomic_store_n(&w->name[id], NULL, __ATOMIC_RELEASE);
    tag_index_remove(w->ix, span_str(name), id);
    return name;
}

/* ---- asking ---- */

struct asked {
    struct arena arena;
    struct tag_expr *exprs;
    size_t count;
};

/* TEXTS are divided by blanks; empty is none. */
static void ask(struct asked *a, const char *texts)
{
    struct span rest = span_str(texts), list[8];
    struct err err = {0};

    *a = (struct asked){.count = 0};
    arena_init(&a->arena, 0, NULL);
    while (rest.len > 0) {
        list[a->count++] = span_cut(rest, 0, span_find(rest, ' '));
        rest = span_cut(rest, span_find(rest, ' ') + 1, rest.len);
    }
    if (a->count > 0)
        cr_assert_eq(tag_exprs_parse(list, a->count, &a->arena, &a->exprs, &err), 0, "%s: %s", texts, err.text);
}

static void asked_release(struct asked *a)
{
    tag_exprs_release(a->exprs, a->count);
    arena_release(&a->arena);
}

static int by_path(const void *a, const void *b)
{
    return span_cmp(((const struct storage_match *)a)->path, ((const struct storage_match *)b)->path);
}

/* What a search finds, sorted and divided by blanks; the caller's to free. */
static char *found(struct world *w, const char *texts)
{
    struct asked a;
    struct storage_matches got;
    char *out = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&out, &len);

    ask(&a, texts);
    cr_assert_eq(tag_index_find(w->ix, a.exprs, a.count, 0, NULL, &a.arena, &got, NULL), 0);
    if (got.count > 0)
        qsort(got.items, got.count, sizeof got.items[0], by_path);
    for (size_t i = 0; i < got.count; i++)
        fprintf(f, "%s%.*s", i == 0 ? "" : " ", SPAN_ARG(got.items[i].path));
    fclose(f);
    asked_release(&a);
    return out;
}

#define EXPECT_FOUND(w, texts, want)                                                                                   \
    do {                                                                                                               \
        char *got_ = found(w, texts);                                                                                  \
        cr_expect_str_eq(got_, want, "%s: %s", texts, got_);                                                           \
        free(got_);                                                                                                    \
    } while (0)

static char *list_text(const struct storage_tag_list *list, bool counts)
{
    char *out = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&out, &len);

    for (size_t i = 0; i < list->count; i++) {
        fprintf(f, "%s%.*s", i == 0 ? "" : " ", SPAN_ARG(list->items[i].text));
        if (counts)
            fprintf(f, ":%llu", (unsigned long long)list->items[i].series);
    }
    fclose(f);
    return out;
}

static void expect_tags(struct world *w, const char *texts, struct storage_tag_query q, const char *want)
{
    struct asked a;
    struct storage_tag_list got;

    ask(&a, texts);
    cr_assert_eq(tag_index_tags(w->ix, a.exprs, a.count, NULL, &q, &a.arena, &got, NULL), 0);
    char *text = list_text(&got, false);
    cr_expect_str_eq(text, want, "tags of %s: %s", texts, text);
    free(text);
    asked_release(&a);
}

static void expect_values(struct world *w, const char *tag, const char *texts, struct storage_tag_query q,
                          const char *want)
{
    struct asked a;
    struct storage_tag_list got;

    ask(&a, texts);
    cr_assert_eq(tag_index_values(w->ix, span_str(tag), a.exprs, a.count, NULL, &q, &a.arena, &got, NULL), 0);
    char *text = list_text(&got, true);
    cr_expect_str_eq(text, want, "values of %s, %s: %s", tag, texts, text);
    free(text);
    asked_release(&a);
}

static const struct storage_tag_query everything;

/* ---- a few series ---- */

static struct world *small_world(void)
{
    struct world *w = world_new();

    add(w, "cpu;dc=a;host=web1");
    add(w, "cpu;dc=a;host=web2");
    add(w, "cpu;dc=b;host=db1");
    add(w, "disk;dc=a;host=web1;rack=r1");
    add(w, "disk;dc=b;host=db1;rack=r2");
    add(w, "up;dc=b");
    return w;
}

Test(tag_index, finds_by_value)
{
    struct world *w = small_world();

    EXPECT_FOUND(w, "dc=b", "cpu;dc=b;host=db1 disk;dc=b;host=db1;rack=r2 up;dc=b");
    EXPECT_FOUND(w, "name=cpu dc=a", "cpu;dc=a;host=web1 cpu;dc=a;host=web2");
    EXPECT_FOUND(w, "name=cpu dc=a host=web2", "cpu;dc=a;host=web2");
    EXPECT_FOUND(w, "dc=c", "");
    EXPECT_FOUND(w, "nosuch=1", "");
    EXPECT_FOUND(w, "dc=a dc=b", "");
    world_free(w);
}

Test(tag_index, finds_by_what_is_not)
{
    struct world *w = small_world();

    EXPECT_FOUND(w, "dc=b name!=cpu", "disk;dc=b;host=db1;rack=r2 up;dc=b");
    EXPECT_FOUND(w, "dc=b host=", "up;dc=b");
    EXPECT_FOUND(w, "host!=",
                 "cpu;dc=a;host=web1 cpu;dc=a;host=web2 cpu;dc=b;host=db1 disk;dc=a;host=web1;rack=r1 "
                 "disk;dc=b;host=db1;rack=r2");
    EXPECT_FOUND(w, "dc=b nosuch= nosuch!=1", "cpu;dc=b;host=db1 disk;dc=b;host=db1;rack=r2 up;dc=b");
    EXPECT_FOUND(w, "rack!= host!=~web", "disk;dc=b;host=db1;rack=r2");
    world_free(w);
}

Test(tag_index, finds_by_regular_expression)
{
    struct world *w = small_world();

    EXPECT_FOUND(w, "host=~web", "cpu;dc=a;host=web1 cpu;dc=a;host=web2 disk;dc=a;host=web1;rack=r1");
    EXPECT_FOUND(w, "host=~.*1 name=~d|c dc!=~b", "cpu;dc=a;host=web1 disk;dc=a;host=web1;rack=r1");
    EXPECT_FOUND(w, "host!=~", "");
    EXPECT_FOUND(w, "name=disk rack=~r[12] host=~d", "disk;dc=b;host=db1;rack=r2");
    world_free(w);
}

Test(tag_index, lists_tags)
{
    struct world *w = small_world();

    expect_tags(w, "", everything, "dc host name rack");
    expect_tags(w, "", (struct storage_tag_query){.prefix = SPAN_LIT("r")}, "rack");
    expect_tags(w, "", (struct storage_tag_query){.limit = 2}, "dc host");
    expect_tags(w, "name=cpu", everything, "dc host");
    expect_tags(w, "dc=b host=", everything, "name");
    expect_tags(w, "name=nosuch", everything, "");
    world_free(w);
}

Test(tag_index, lists_values)
{
    struct world *w = small_world();

    expect_values(w, "host", "", everything, "db1:2 web1:2 web2:1");
    expect_values(w, "name", "", everything, "cpu:3 disk:2 up:1");
    expect_values(w, "host", "", (struct storage_tag_query){.prefix = SPAN_LIT("w"), .limit = 1}, "web1:2");
    expect_values(w, "host", "name=disk", everything, "db1:2 web1:2");
    expect_values(w, "rack", "name=cpu", everything, "");
    world_free(w);
}

Test(tag_index, knows_which_tags_there_never_were)
{
    struct world *w = small_world();
    struct arena arena;
    struct storage_tag_list got;

    arena_init(&arena, 0, NULL);
    cr_expect_eq(tag_index_values(w->ix, SPAN_LIT("nosuch"), NULL, 0, NULL, &everything, &arena, &got, NULL),
                 ERR_MISSING);
    arena_release(&arena);
    world_free(w);
}

Test(tag_index, says_when_there_are_too_many)
{
    struct world *w = small_world();
    struct asked a;
    struct storage_matches got;
    struct err err;

    ask(&a, "dc=b");
    cr_expect_eq(tag_index_find(w->ix, a.exprs, 1, 3, NULL, &a.arena, &got, NULL), 0);
    cr_expect_eq(tag_index_find(w->ix, a.exprs, 1, 2, NULL, &a.arena, &got, &err), ERR_LIMIT);
    cr_expect_str_eq(err.text, "more than 2 series");
    asked_release(&a);
    world_free(w);
}

Test(tag_index, forgets_what_is_taken_away)
{
    struct world *w = small_world();

    free(take(w, 0));
    EXPECT_FOUND(w, "name=cpu", "cpu;dc=a;host=web2 cpu;dc=b;host=db1");
    expect_values(w, "host", "", everything, "db1:2 web1:1 web2:1");
    free(take(w, 3));
    expect_values(w, "host", "", everything, "db1:2 web2:1");
    expect_values(w, "rack", "", everything, "r2:1");
    free(take(w, 4));
    expect_values(w, "rack", "", everything, "");
    expect_tags(w, "", everything, "dc host name rack"); /* a tag stays, as in graphite-web */
    expect_tags(w, "name=~.", everything, "dc host");
    add(w, "cpu;dc=a;host=web1");
    EXPECT_FOUND(w, "host=web1", "cpu;dc=a;host=web1");
    expect_values(w, "host", "", everything, "db1:1 web1:1 web2:1");
    tag_index_reclaim(w->ix);
    EXPECT_FOUND(w, "host=web1", "cpu;dc=a;host=web1");
    world_free(w);
}

Test(tag_index, taking_away_what_is_not_there_does_nothing)
{
    struct world *w = small_world();

    tag_index_remove(w->ix, SPAN_LIT("nosuch;dc=a"), 99);
    tag_index_remove(w->ix, SPAN_LIT("cpu;dc=a;host=web1"), 99);
    expect_values(w, "dc", "", everything, "a:3 b:3");
    world_free(w);
}

Test(tag_index, a_name_may_have_a_thousand_tags)
{
    struct world *w = world_new();
    char name[NAME_MAX_BYTES + 1];
    size_t n = (size_t)sprintf(name, "m");

    for (int i = 0; n + 8 <= NAME_MAX_BYTES; i++)
        n += (size_t)sprintf(name + n, ";%02x=1", i + 256);
    add(w, name);
    EXPECT_FOUND(w, "100=1 101=1", name);
    world_free(w);
}

Test(tag_index, gives_all_memory_back)
{
    struct world *w = world_new();
    char name[64];

    add(w, "m;a=0");
    uint64_t before = tag_index_bytes(w->ix);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 5000; i++) {
            sprintf(name, "m;a=%u;b=%u", i, i % 7);
            add(w, name);
        }
        for (uint32_t i = 0; i < 5000; i++)
            free(take(w, w->count - 5000 + i));
        tag_index_reclaim(w->ix);
    }
    cr_expect_lt(tag_index_bytes(w->ix), before + 200000, "%llu bytes, %llu before",
                 (unsigned long long)tag_index_bytes(w->ix), (unsigned long long)before);
    world_free(w);
}

/* A full arena in the middle of a search must not lose bitmaps; the address sanitizer looks. */
Test(tag_index, a_full_arena_loses_nothing)
{
    struct world *w = world_new();
    struct asked a;
    struct storage_matches got;
    struct arena arena;
    jmp_buf full;
    char name[64];

    for (int i = 0; i < 3000; i++) {
        sprintf(name, "m;a=%d;b=%d", i, i % 3);
        add(w, name);
    }
    ask(&a, "b=~1|2 a!=");
    arena_init(&arena, 20000, &full);
    if (setjmp(full) == 0) {
        tag_index_find(w->ix, a.exprs, a.count, 0, NULL, &arena, &got, NULL);
        cr_expect_fail("the arena was not full");
    }
    cr_expect_eq(arena.overflow, &full);
    arena_release(&arena);
    asked_release(&a);
    world_free(w);
}

/* Each allocation of an insert fails once: then nothing has changed, and the insert can be tried again. */
Test(tag_index, an_insert_without_memory_changes_nothing)
{
    struct world *w = small_world();
    int failures = 0;
    char name[64];

    for (uint32_t i = 0; i < 300; i++) {
        uint32_t id = w->count++;
        sprintf(name, "new;a=%u;b=%u;c%u=1", i, i % 5, i);
        w->name[id] = strdup(name);
        for (uint64_t n = 1;; n++) {
            w->ix->heap.fail_at = n;
            int rc = tag_index_insert(w->ix, span_str(name), id, NULL);
            w->ix->heap.fail_at = 0;
            if (rc == 0)
                break;
            cr_assert_eq(rc, ERR_MEMORY);
            failures++;
            tag_index_remove(w->ix, span_str(name), id); /* as if it had been there */
            char *got = found(w, "name=new");
            cr_assert_eq((size_t)(i == 0 ? 0 : 1), (size_t)(strlen(got) > 0));
            free(got);
            expect_values(w, "host", "", everything, "db1:2 web1:2 web2:1");
        }
    }
    cr_expect_gt(failures, 500, "%d", failures);
    expect_values(w, "b", "", everything, "0:60 1:60 2:60 3:60 4:60");
    expect_values(w, "a", "b=3", (struct storage_tag_query){.limit = 2}, "103:1 108:1");
    world_free(w);
}

static bool now(void *ctx)
{
    ++*(int *)ctx;
    return true;
}

Test(tag_index, gives_up_when_it_is_told_to)
{
    static const char *const searches[] = {"a=~.*7", "b=0 a!=~.*7", "b=~0|1 a!=", "b!=0 b!= x="};
    struct world *w = world_new();
    int asked = 0;
    struct storage_stop stop = {now, &asked};
    struct storage_tag_query q = {.stop = &stop};
    char name[64];

    for (int i = 0; i < 3000; i++) {
        sprintf(name, "m;a=%d;b=%d", i, i % 3);
        add(w, name);
    }
    for (size_t i = 0; i < sizeof searches / sizeof searches[0]; i++) {
        struct asked a;
        struct storage_matches got;
        struct storage_tag_list list;

        ask(&a, searches[i]);
        cr_expect_eq(tag_index_find(w->ix, a.exprs, a.count, 0, &stop, &a.arena, &got, NULL), ERR_CANCELLED);
        cr_expect_eq(tag_index_values(w->ix, SPAN_LIT("a"), a.exprs, a.count, NULL, &q, &a.arena, &list, NULL),
                     ERR_CANCELLED);
        cr_expect_eq(tag_index_values(w->ix, SPAN_LIT("a"), NULL, 0, NULL, &q, &a.arena, &list, NULL), ERR_CANCELLED);
        cr_expect_eq(asked, 3);
        asked = 0;
        asked_release(&a);
    }
    world_free(w);
}

/* ---- the model ---- */

static const char *const keys[] = {"dc", "host", "rack", "env", "x"};

/* A random name: some values are frequent, some rare, some tags are missing. */
static void random_name(struct rng *rng, char *to)
{
    static const uint32_t values[] = {3, 200, 20, 2, 5000};
    int n = sprintf(to, "m%u", (unsigned)rng_below(rng, 6));

    for (size_t k = 0; k < 5; k++)
        if (!rng_one_in(rng, 3))
            n += sprintf(to + n, ";%s=%u", keys[k], (unsigned)(rng_below(rng, values[k]) * rng_below(rng, 2)));
    if (strchr(to, ';') == NULL)
        sprintf(to + n, ";dc=9");
}

static int random_expr(struct rng *rng, char *to)
{
    static const char *const operators[] = {"=", "!=", "=~", "!=~"};
    static const char *const values[] = {"", "0", "1", "2", "7", "[0-4]", ".*1", "1|2", "1.*3$", "m1", "m[2-4]", "199"};
    const char *key = rng_one_in(rng, 4) ? "name" : rng_one_in(rng, 20) ? "nosuch" : keys[rng_below(rng, 5)];

    return sprintf(to, "%s%s%s", key, operators[rng_below(rng, 4)], values[rng_below(rng, 12)]);
}

struct model_list {
    char text[64];
    uint64_t series;
};

static int by_model_text(const void *a, const void *b)
{
    return strcmp(((const struct model_list *)a)->text, ((const struct model_list *)b)->text);
}

/* The values of KEY, by walking all names: those with a series that fits, each with the number of all series. */
static size_t model_values(const struct world *w, const char *key, const struct tag_expr *exprs, size_t count,
                           struct model_list *out)
{
    static struct model_list all[SERIES_MAX_HERE];
    size_t n = 0, kept = 0;

    for (uint32_t id = 0; id < w->count; id++) {
        if (w->name[id] == NULL)
            continue;
        struct span value = tag_value_in(span_str(w->name[id]), span_str(key));
        if (value.len == 0)
            continue;
        sprintf(all[n].text, "%.*s", SPAN_ARG(value));
        all[n++].series = tag_exprs_match(exprs, count, span_str(w->name[id]));
    }
    qsort(all, n, sizeof all[0], by_model_text);
    for (size_t i = 0, j; i < n; i = j) {
        bool fits = false;
        for (j = i; j < n && strcmp(all[i].text, all[j].text) == 0; j++)
            fits |= all[j].series != 0;
        if (fits) {
            out[kept] = all[i];
            out[kept++].series = j - i;
        }
    }
    return kept;
}

static void check_find(const struct world *w, const struct asked *a, const char *texts)
{
    static bool fits[SERIES_MAX_HERE];
    struct arena arena;
    struct storage_matches got;
    size_t want = 0;

    arena_init(&arena, 0, NULL);
    for (uint32_t id = 0; id < w->count; id++) {
        fits[id] = w->name[id] != NULL && tag_exprs_match(a->exprs, a->count, span_str(w->name[id]));
        want += fits[id];
    }
    cr_assert_eq(tag_index_find(w->ix, a->exprs, a->count, 0, NULL, &arena, &got, NULL), 0);
    cr_assert_eq(got.count, want, "%s: %zu series, not %zu", texts, got.count, want);
    for (size_t i = 0; i < got.count; i++) {
        cr_assert(fits[got.items[i].series], "%s: %.*s", texts, SPAN_ARG(got.items[i].path));
        fits[got.items[i].series] = false;
    }
    arena_release(&arena);
}

static void check_values(const struct world *w, const struct asked *a, const char *key, size_t limit)
{
    static struct model_list want[SERIES_MAX_HERE];
    struct arena arena;
    struct storage_tag_list got;
    struct storage_tag_query q = {.limit = limit};
    size_t count = model_values(w, key, a->exprs, a->count, want);

    count = limit != 0 && count > limit ? limit : count;
    arena_init(&arena, 0, NULL);
    int rc = tag_index_values(w->ix, span_str(key), a->exprs, a->count, NULL, &q, &arena, &got, NULL);
    cr_assert(rc == 0 || (rc == ERR_MISSING && count == 0));
    if (rc == 0) {
        cr_assert_eq(got.count, count, "%s: %zu values, not %zu", key, got.count, count);
        for (size_t i = 0; i < count; i++) {
            cr_assert(span_eq(got.items[i].text, span_str(want[i].text)));
            cr_assert_eq(got.items[i].series, want[i].series);
        }
    }
    arena_release(&arena);
}

static void check_tags(const struct world *w, const struct asked *a, const char *texts)
{
    static struct model_list values[SERIES_MAX_HERE];
    struct arena arena;
    struct storage_tag_list got;
    size_t at = 0;

    arena_init(&arena, 0, NULL);
    cr_assert_eq(tag_index_tags(w->ix, a->exprs, a->count, NULL, &everything, &arena, &got, NULL), 0);
    static const char *const sorted[] = {"dc", "env", "host", "name", "rack", "x"};
    for (size_t k = 0; k < 6; k++) {
        bool named = false;
        for (size_t i = 0; i < a->count; i++)
            named |= span_eq(a->exprs[i].tag, span_str(sorted[k]));
        if (named || model_values(w, sorted[k], a->exprs, a->count, values) == 0)
            continue;
        cr_assert_lt(at, got.count, "%s: %s is missing", texts, sorted[k]);
        cr_assert(span_eq(got.items[at++].text, span_str(sorted[k])), "%s: %s", texts, sorted[k]);
    }
    cr_assert_eq(at, got.count);
    arena_release(&arena);
}

static void random_question(struct rng *rng, const struct world *w)
{
    char texts[200];
    int n = 0;
    size_t count = 1 + rng_below(rng, 4);
    struct span list[4];
    struct asked a = {.count = count};

    for (size_t i = 0; i < count; i++) {
        int begin = n;
        n += random_expr(rng, texts + n);
        list[i] = span_of(texts + begin, (size_t)(n - begin));
        texts[n++] = ' ';
    }
    texts[n] = '\0';
    arena_init(&a.arena, 0, NULL);
    if (tag_exprs_parse(list, count, &a.arena, &a.exprs, NULL) == 0) {
        check_find(w, &a, texts);
        check_values(w, &a, keys[rng_below(rng, 5)], rng_below(rng, 2) * rng_below(rng, 30));
        check_tags(w, &a, texts);
        tag_exprs_release(a.exprs, count);
    }
    arena_release(&a.arena);
}

Test(tag_index, agrees_with_a_list_of_names, .timeout = 600)
{
    FOR_SEEDS (seed, 12) {
        struct rng rng = rng_from(seed);
        struct world *w = world_new();
        uint32_t series = 10 + (uint32_t)rng_below(&rng, seed % 3 == 0 ? 8000 : 800);
        char name[300];

        tag_index_bulk(w->ix, seed % 2 == 0);
        for (uint32_t i = 0; i < series; i++) {
            random_name(&rng, name);
            add(w, name);
        }
        tag_index_bulk(w->ix, false);
        for (int step = 0; step < 60; step++) {
            random_question(&rng, w);
            for (uint32_t i = 0; i < series / 30; i++) {
                uint32_t id = (uint32_t)rng_below(&rng, w->count);
                if (w->name[id] != NULL)
                    free(take(w, id));
                if (!rng_one_in(&rng, 3) && w->count < SERIES_MAX_HERE) {
                    random_name(&rng, name);
                    add(w, name);
                }
            }
            if (rng_one_in(&rng, 5))
                tag_index_reclaim(w->ix);
        }
        world_free(w);
    }
}

/* ---- reading while it changes ---- */

struct reading {
    struct world *w;
    bool stop; /* atomic */
};

static void *reader_main(void *arg)
{
    struct reading *r = arg;

    grace_thread_begin();
    while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE)) {
        struct asked a;
        struct storage_matches got;
        struct storage_tag_list list;

        ask(&a, "kept=1 x=~[123]$");
        grace_enter();
        cr_assert_eq(tag_index_find(r->w->ix, a.exprs, a.count, 0, NULL, &a.arena, &got, NULL), 0);
        cr_assert_eq(got.count, 30); /* those that nobody touches */
        cr_assert_eq(tag_index_values(r->w->ix, SPAN_LIT("x"), NULL, 0, NULL, &everything, &a.arena, &list, NULL), 0);
        cr_assert_geq(list.count, 100);
        grace_leave();
        asked_release(&a);
    }
    grace_thread_end();
    return NULL;
}

Test(tag_index, can_be_read_while_it_changes)
{
    struct reading r = {.w = world_new()};
    pthread_t thread[2];
    char name[64], *gone[1000];

    for (uint32_t i = 0; i < 1000; i++) {
        sprintf(name, "m;kept=1;x=%u", i % 100 + 1000 * (i % 100 > 3));
        add(r.w, name);
    }
    for (int i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, reader_main, &r);
    for (int round = 0; round < 15; round++) {
        uint32_t first = r.w->count;
        for (uint32_t i = 0; i < 1000; i++) {
            sprintf(name, "m;x=%u;y=%u", i, i % 10);
            add(r.w, name);
        }
        for (uint32_t i = 0; i < 1000; i++)
            gone[i] = take(r.w, first + i);
        tag_index_reclaim(r.w->ix);
        grace_wait();
        for (uint32_t i = 0; i < 1000; i++)
            free(gone[i]);
    }
    __atomic_store_n(&r.stop, true, __ATOMIC_RELEASE);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    world_free(r.w);
}
