#include "storage/name_tree.h"

#include "base/grace.h"
#include "storage/name_tree_int.h"
#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct arena arena;
static jmp_buf overflow; /* not expected: the arena has no limit */
static struct name_tree *tree;

static void begin(void)
{
    struct err err = {0};

    grace_thread_begin();
    arena_init(&arena, 0, &overflow);
    cr_assert_eq(name_tree_new(&tree, &err), 0, "%s", err.text);
}

static void end(void)
{
    name_tree_free(tree);
    arena_release(&arena);
    grace_thread_end();
}

TestSuite(name_tree, .init = begin, .fini = end);

static void insert(const char *name, uint32_t series)
{
    struct err err = {0};

    cr_assert_eq(name_tree_insert(tree, span_str(name), series, &err), 0, "%s: %s", name, err.text);
}

static bool lookup(const char *name, uint32_t *series)
{
    grace_enter();
    bool found = name_tree_lookup(tree, span_str(name), series);
    grace_leave();
    return found;
}

static int find_some(const char *text, unsigned flags, size_t max, struct storage_matches *out, struct err *err)
{
    struct pattern *pattern;

    cr_assert_eq(pattern_compile(span_str(text), &arena, &pattern, err), 0);
    grace_enter();
    int rc = name_tree_find(tree, pattern, flags, max, NULL, &arena, out, err);
    grace_leave();
    return rc;
}

/* All matches as text: branches as "path/", leaves as "path=series", blanks between. */
static const char *found(const char *text)
{
    static char all[65536];
    struct storage_matches m;
    struct err err = {0};
    size_t n = 0;

    cr_assert_eq(find_some(text, STORAGE_FIND_LEAVES | STORAGE_FIND_BRANCHES, 0, &m, &err), 0, "%s", err.text);
    all[0] = '\0';
    for (size_t i = 0; i < m.count; i++) {
        n += (size_t)sprintf(all + n, "%s%.*s", i > 0 ? " " : "", SPAN_ARG(m.items[i].path));
        if (m.items[i].leaf)
            n += (size_t)sprintf(all + n, "=%u", m.items[i].series);
        else
            n += (size_t)sprintf(all + n, "/");
    }
    return all;
}

Test(name_tree, is_empty_at_first)
{
    uint32_t series;

    cr_expect_str_eq(found("**"), "");
    cr_expect_str_eq(found("a"), "");
    cr_expect_not(lookup("a", &series));
    cr_expect_not(name_tree_remove(tree, SPAN_LIT("a")));
    cr_expect_eq(name_tree_series(tree), 0);
}

Test(name_tree, finds_what_was_inserted)
{
    insert("servers.web1.cpu.user", 1);
    insert("servers.web1.cpu.system", 2);
    insert("servers.web2.cpu.user", 3);
    insert("carbon.x", 4);
    cr_expect_str_eq(found("*"), "carbon/ servers/");
    cr_expect_str_eq(found("servers.*"), "servers.web1/ servers.web2/");
    cr_expect_str_eq(found("servers.*.cpu.user"), "servers.web1.cpu.user=1 servers.web2.cpu.user=3");
    cr_expect_str_eq(found("servers.web1.cpu.*"), "servers.web1.cpu.system=2 servers.web1.cpu.user=1");
    cr_expect_str_eq(found("servers.web{2,1}.cpu.{user,idle}"), "servers.web1.cpu.user=1 servers.web2.cpu.user=3");
    cr_expect_str_eq(found("servers.w*[2-9].*.*"), "servers.web2.cpu.user=3");
    cr_expect_str_eq(found("carbon.x"), "carbon.x=4");
    cr_expect_str_eq(found("carbon.y"), "");
    cr_expect_str_eq(found("carbon.x.y"), "");
    cr_expect_str_eq(found("**.user"), "servers.web1.cpu.user=1 servers.web2.cpu.user=3");
    cr_expect_str_eq(found("**.x"), "carbon.x=4");
    cr_expect_str_eq(found("servers.web2.**"), "servers.web2.cpu/ servers.web2.cpu.user=3");
    cr_expect_eq(name_tree_series(tree), 4);
}

Test(name_tree, a_path_may_be_leaf_and_branch)
{
    insert("both.x", 1);
    insert("both.x.y", 2);
    insert("also.x.y", 3);
    insert("also.x", 4);
    uint32_t series;
    cr_expect_str_eq(found("both.*"), "both.x/ both.x=1");
    cr_expect_str_eq(found("also.*"), "also.x/ also.x=4");
    cr_expect_str_eq(found("*.x.*"), "also.x.y=3 both.x.y=2");
    cr_expect(lookup("both.x", &series) && series == 1);
    cr_expect_not(lookup("both", &series));
    cr_expect(name_tree_remove(tree, SPAN_LIT("both.x")));
    cr_expect_str_eq(found("both.*"), "both.x/");
    cr_expect(name_tree_remove(tree, SPAN_LIT("also.x.y")));
    cr_expect_str_eq(found("also.*"), "also.x=4");
    cr_expect_str_eq(found("also.x.*"), "");
}

Test(name_tree, sorts_paths_by_their_bytes)
{
    insert("a.b", 1);
    insert("a-b.c", 2);
    insert("a", 3);
    insert("a-b", 4);
    insert("ab", 5);
    insert("A", 6);
    insert("a.b.c", 7);
    cr_expect_str_eq(found("**"), "A=6 a/ a=3 a-b/ a-b=4 a-b.c=2 a.b/ a.b=1 a.b.c=7 ab=5");
    cr_expect_str_eq(found("*.*"), "a-b.c=2 a.b/ a.b=1");
}

Test(name_tree, branches_vanish_with_their_last_leaf)
{
    insert("a.b.c.d", 1);
    insert("a.x", 2);
    cr_expect(name_tree_remove(tree, SPAN_LIT("a.b.c.d")));
    cr_expect_str_eq(found("**"), "a/ a.x=2");
    cr_expect_not(name_tree_remove(tree, SPAN_LIT("a.b.c.d")));
    cr_expect_not(name_tree_remove(tree, SPAN_LIT("a.b")));
    cr_expect_not(name_tree_remove(tree, SPAN_LIT("a")));
    cr_expect(name_tree_remove(tree, SPAN_LIT("a.x")));
    cr_expect_str_eq(found("**"), "");
    insert("a.b.c.d", 3);
    cr_expect_str_eq(found("**"), "a/ a.b/ a.b.c/ a.b.c.d=3");
    cr_expect_eq(name_tree_series(tree), 1);
}

Test(name_tree, a_second_insert_changes_the_series)
{
    insert("a.b", 1);
    insert("a.b", 2);
    cr_expect_str_eq(found("a.b"), "a.b=2");
    cr_expect_eq(name_tree_series(tree), 1);
}

Test(name_tree, refuses_what_is_no_canonical_name)
{
    char text[5000];
    struct err err = {0};

    memset(text, 'x', sizeof text);
    cr_expect_eq(name_tree_insert(tree, SPAN_LIT(""), 1, &err), ERR_INPUT);
    cr_expect_eq(name_tree_insert(tree, SPAN_LIT("a..b"), 1, &err), ERR_INPUT);
    cr_expect_eq(name_tree_insert(tree, SPAN_LIT("a."), 1, &err), ERR_INPUT);
    cr_expect_eq(name_tree_insert(tree, span_of(text, 256), 1, &err), ERR_INPUT);
    cr_expect_eq(name_tree_insert(tree, span_of(text, 5000), 1, &err), ERR_INPUT);
    cr_expect_eq(name_tree_insert(tree, span_of(text, 255), 1, &err), 0);
    cr_expect_eq(name_tree_series(tree), 1);
}

Test(name_tree, takes_the_deepest_name)
{
    char name[4096];
    struct storage_matches m;
    uint32_t series;

    for (size_t i = 0; i < sizeof name; i++)
        name[i] = i % 2 == 0 ? 'a' : '.';
    name[4095] = '\0';
    insert(name, 7);
    cr_expect(lookup(name, &series) && series == 7);
    cr_assert_eq(find_some("**.a.a.a", STORAGE_FIND_LEAVES | STORAGE_FIND_BRANCHES, 0, &m, NULL), 0);
    cr_expect_eq(m.count, 2046);
    cr_expect(name_tree_remove(tree, span_str(name)));
    cr_expect_str_eq(found("**"), "");
}

Test(name_tree, limits_the_matches)
{
    struct storage_matches m;
    struct err err = {0};

    insert("a.b", 1);
    insert("a.c", 2);
    cr_expect_eq(find_some("a.*", STORAGE_FIND_LEAVES, 2, &m, &err), 0);
    cr_expect_eq(m.count, 2);
    cr_expect_eq(find_some("a.*", STORAGE_FIND_LEAVES, 1, &m, &err), ERR_LIMIT);
    cr_expect_str_eq(err.text, "the pattern matches more than 1 names");
    cr_expect_eq(m.count, 0);
    cr_expect_eq(find_some("*", STORAGE_FIND_LEAVES, 1, &m, &err), 0);
    cr_expect_eq(m.count, 0);
    cr_expect_eq(find_some("*", STORAGE_FIND_BRANCHES, 1, &m, &err), 0);
    cr_expect_eq(m.count, 1);
}

static bool at_once(void *asked)
{
    ++*(int *)asked;
    return true;
}

Test(name_tree, stops_when_asked_to)
{
    struct pattern *pattern;
    struct storage_matches m;
    struct err err = {0};
    int asked = 0;
    char name[32];

    for (uint32_t i = 0; i < 20000; i++) {
        sprintf(name, "x%u.y", i);
        insert(name, i);
    }
    cr_assert_eq(pattern_compile(SPAN_LIT("*.*"), &arena, &pattern, &err), 0);
    grace_enter();
    cr_expect_eq(name_tree_find(tree, pattern, STORAGE_FIND_LEAVES, 0,
                                &(struct name_tree_stop){.asked = at_once, .ctx = &asked}, &arena, &m, &err),
                 ERR_CANCELLED);
    grace_leave();
    cr_expect_eq(asked, 1);
}

/* Far more children than are scanned, and a component for each. */
Test(name_tree, takes_many_children)
{
    enum { MANY = 50000 };
    char name[32];
    uint32_t series;
    struct storage_matches m;

    for (uint32_t i = 0; i < MANY; i++) {
        sprintf(name, "flat.%08x", i * 2654435761u);
        insert(name, i);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        sprintf(name, "flat.%08x", i * 2654435761u);
        cr_assert(lookup(name, &series) && series == i);
    }
    cr_assert_eq(find_some("flat.*", STORAGE_FIND_LEAVES, 0, &m, NULL), 0);
    cr_assert_eq(m.count, MANY);
    for (size_t i = 1; i < m.count; i++)
        cr_assert(span_cmp(m.items[i - 1].path, m.items[i].path) < 0);
    uint64_t bytes = name_tree_bytes(tree);
    for (uint32_t i = 0; i < MANY - 1; i++) {
        sprintf(name, "flat.%08x", i * 2654435761u);
        cr_assert(name_tree_remove(tree, span_str(name)));
    }
    sprintf(name, "flat.%08x", (MANY - 1) * 2654435761u);
    cr_expect(lookup(name, &series) && series == MANY - 1);
    name_tree_reclaim(tree);
    name_tree_reclaim(tree);
    cr_expect(name_tree_bytes(tree) < bytes / 2, "%lu of %lu bytes", (unsigned long)name_tree_bytes(tree),
              (unsigned long)bytes);
}

/* Names come and go: memory and numbers are used again. */
Test(name_tree, churn_does_not_grow)
{
    char name[64];
    uint64_t bytes = 0;

    for (uint32_t round = 0; round < 60; round++) {
        for (uint32_t i = 0; i < 500; i++) {
            sprintf(name, "docker.container-%u.cpu%u.user", round * 500 + i, i % 4);
            insert(name, i);
        }
        for (uint32_t i = 0; i < 500; i++) {
            sprintf(name, "docker.container-%u.cpu%u.user", round * 500 + i, i % 4);
            cr_assert(name_tree_remove(tree, span_str(name)));
        }
        name_tree_reclaim(tree);
        if (round == 10)
            bytes = name_tree_bytes(tree);
    }
    cr_expect(name_tree_bytes(tree) < bytes + bytes / 4, "%lu, then %lu bytes", (unsigned long)bytes,
              (unsigned long)name_tree_bytes(tree));
    cr_expect_str_eq(found("**"), "");
}

/* ---- model: a plain list ---- */

enum { MODEL_MAX = 700 };

struct model {
    char names[MODEL_MAX][48];
    uint32_t series[MODEL_MAX];
    size_t count;
};

static void random_name(struct rng *rng, char *to)
{
    static const char *const words[] = {"a",
                                        "b",
                                        "ab",
                                        "a-b",
                                        "abc",
                                        "web1",
                                        "web2",
                                        "cpu",
                                        "x",
                                        "long-component",
                                        "long-componen",
                                        "long-component-2"};
    size_t depth = 1 + rng_below(rng, 4), n = 0;

    for (size_t i = 0; i < depth; i++) {
        if (rng_one_in(rng, 6))
            n += (size_t)sprintf(to + n, "%sr%d", i > 0 ? "." : "", (int)rng_below(rng, 200));
        else
            n += (size_t)sprintf(to + n, "%s%.9s", i > 0 ? "." : "",
                                 words[rng_below(rng, sizeof words / sizeof *words)]);
    }
}

static void random_pattern(struct rng *rng, char *to)
{
    static const char *const parts[] = {
        "*",       "*",  "a*", "*b", "*e*", "[aw]*", "{a,b}",      "{a,ab,cpu,r1,r2,r3}",
        "{a*,*2}", "**", "r*", "?",  "a",   "web1",  "long-comp*", "r1?"};
    size_t depth = 1 + rng_below(rng, 4), n = 0;

    for (size_t i = 0; i < depth; i++)
        n += (size_t)sprintf(to + n, "%s%s", i > 0 ? "." : "", parts[rng_below(rng, sizeof parts / sizeof *parts)]);
}

static size_t model_at(const struct model *m, const char *name)
{
    size_t i = 0;

    while (i < m->count && strcmp(m->names[i], name) != 0)
        i++;
    return i;
}

static void model_insert(struct model *m, const char *name, uint32_t series)
{
    size_t at = model_at(m, name);

    if (at == m->count) {
        if (m->count == MODEL_MAX)
            return;
        strcpy(m->names[m->count++], name);
    }
    m->series[at] = series;
    insert(name, series);
}

static void model_remove(struct model *m, const char *name)
{
    size_t at = model_at(m, name);

    cr_assert_eq(name_tree_remove(tree, span_str(name)), at < m->count, "%s", name);
    if (at < m->count) {
        m->count--;
        memmove(m->names[at], m->names[m->count], sizeof m->names[at]);
        m->series[at] = m->series[m->count];
    }
}

static int match_order(const void *a, const void *b)
{
    const struct storage_match *x = a, *y = b;
    int order = span_cmp(x->path, y->path);

    return order != 0 ? order : (int)x->leaf - (int)y->leaf;
}

/* Every matching leaf, and every matching beginning of a name. */
static size_t model_find(const struct model *m, const char *text, struct storage_match *out)
{
    struct pattern *pattern;
    size_t count = 0, kept = 0;

    cr_assert_eq(pattern_compile(span_str(text), &arena, &pattern, NULL), 0);
    for (size_t i = 0; i < m->count; i++) {
        struct span name = span_str(m->names[i]);
        if (pattern_match(pattern, name))
            out[count++] = (struct storage_match){.path = name, .series = m->series[i], .leaf = true};
        for (size_t at = 0; at < name.len; at++) {
            struct span head = span_cut(name, 0, at);
            if (name.ptr[at] == '.' && pattern_match(pattern, head))
                out[count++] = (struct storage_match){.path = head};
        }
    }
    qsort(out, count, sizeof *out, match_order);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || match_order(&out[kept - 1], &out[i]) != 0)
            out[kept++] = out[i];
    }
    return kept;
}

static void compare(const struct model *m, const char *text)
{
    static struct storage_match want[MODEL_MAX * 8];
    size_t count = model_find(m, text, want);
    struct storage_matches got;
    struct err err = {0};

    cr_assert_eq(find_some(text, STORAGE_FIND_LEAVES | STORAGE_FIND_BRANCHES, 0, &got, &err), 0, "%s", err.text);
    cr_assert_eq(got.count, count, "%s: %zu matches, not %zu", text, got.count, count);
    for (size_t i = 0; i < count; i++) {
        cr_assert(span_eq(got.items[i].path, want[i].path) && got.items[i].leaf == want[i].leaf, "%s: %.*s, not %.*s",
                  text, SPAN_ARG(got.items[i].path), SPAN_ARG(want[i].path));
        cr_assert(!want[i].leaf || got.items[i].series == want[i].series);
    }
}

Test(name_tree, agrees_with_a_list)
{
    static struct model model;

    FOR_SEEDS (seed, 60) {
        struct rng rng = rng_from(seed);
        char name[64], text[128];
        uint64_t mostly_in = 1 + rng_below(&rng, 9);

        model.count = 0;
        name_tree_free(tree);
        cr_assert_eq(name_tree_new(&tree, NULL), 0);
        for (int i = 0; i < 1500; i++) {
            arena_release(&arena);
            if (rng_one_in(&rng, 300))
                mostly_in = 1 + rng_below(&rng, 9);
            random_name(&rng, name);
            if (rng_below(&rng, 10) < mostly_in)
                model_insert(&model, name, (uint32_t)rng_below(&rng, 1000));
            else if (model.count > 0 && rng_one_in(&rng, 2))
                model_remove(&model, strcpy(name, model.names[rng_below(&rng, model.count)]));
            else
                model_remove(&model, name);
            if (rng_one_in(&rng, 50))
                name_tree_reclaim(tree);
            if (rng_one_in(&rng, 10)) {
                random_pattern(&rng, text);
                compare(&model, text);
            }
            uint32_t series;
            random_name(&rng, name);
            cr_assert_eq(lookup(name, &series), model_at(&model, name) < model.count, "%s", name);
            cr_assert_eq(name_tree_series(tree), model.count);
        }
        compare(&model, "**");
    }
}

/* ---- the n-th allocation fails ---- */

static void try_insert(struct model *m, const char *name)
{
    struct err err = {0};
    int rc = name_tree_insert(tree, span_str(name), (uint32_t)m->count, &err);

    cr_assert(rc == 0 || rc == ERR_MEMORY);
    if (rc == 0) {
        m->series[m->count] = (uint32_t)m->count;
        strcpy(m->names[m->count++], name);
    }
}

/* Deep chains, leaves that become branches, blocks that grow, become large, shrink and grow again. */
static void do_much(struct model *m)
{
    char name[64];

    try_insert(m, "a.b.c.d.e");
    try_insert(m, "a.b.c.d.e.f.g");
    try_insert(m, "a.b");
    for (int i = 0; i < 270; i++) {
        sprintf(name, "x.y%d", i);
        try_insert(m, name);
    }
    for (int i = 0; i < 230; i++) {
        sprintf(name, "x.y%d", i);
        if (model_at(m, name) < m->count)
            model_remove(m, name);
    }
    for (int i = 0; i < 150; i++) {
        sprintf(name, "x.z%d.a", i);
        try_insert(m, name);
    }
}

Test(name_tree, any_allocation_may_fail)
{
    static struct model model;
    bool failed = true;

    for (uint64_t n = 1; failed; n++) {
        arena_release(&arena);
        name_tree_free(tree);
        cr_assert_eq(name_tree_new(&tree, NULL), 0);
        model.count = 0;
        tree->heap.fail_at = n;
        do_much(&model);
        failed = tree->heap.fail_at == 0;
        tree->heap.fail_at = 0;
        compare(&model, "**");
        cr_assert_eq(name_tree_series(tree), model.count);
        name_tree_reclaim(tree);
        insert("x.y1.more", 1); /* and it goes on */
    }
    cr_expect_eq(model.count, 3 + 40 + 150);
}

/* ---- readers beside a writer ---- */

enum { STABLE = 300, READERS = 2 };

static int running; /* atomic */

/* What was there all the time must be found in every find; what comes and goes may or may not, but its
 * path must make sense. */
static void *read_on(void *arg)
{
    struct rng rng = rng_from((uint64_t)(uintptr_t)arg);
    struct arena own;
    jmp_buf own_overflow;

    grace_thread_begin();
    arena_init(&own, 0, &own_overflow);
    while (__atomic_load_n(&running, __ATOMIC_RELAXED)) {
        static const char *const texts[] = {"**.s*", "*.*.s*", "h?.{g0,g1,g2,g3,g4,g5,g6}.s*", "h*.g*.s*"};
        struct pattern *pattern;
        struct storage_matches m;
        size_t stable = 0;
        uint32_t series;

        arena_release(&own);
        cr_assert_eq(pattern_compile(span_str(texts[rng_below(&rng, 4)]), &own, &pattern, NULL), 0);
        grace_enter();
        cr_assert_eq(name_tree_find(tree, pattern, STORAGE_FIND_LEAVES, 0, NULL, &own, &m, NULL), 0);
        cr_assert(name_tree_lookup(tree, SPAN_LIT("h1.g1.s1"), &series));
        for (size_t i = 0; i < m.count; i++) {
            cr_assert_eq(m.items[i].path.ptr[0], 'h');
            stable += m.items[i].series < STABLE;
        }
        grace_leave();
        cr_assert_eq(stable, STABLE);
    }
    arena_release(&own);
    grace_thread_end();
    return NULL;
}

static void *reclaim_on(void *arg)
{
    (void)arg;
    grace_thread_begin();
    while (__atomic_load_n(&running, __ATOMIC_RELAXED))
        name_tree_reclaim(tree);
    grace_thread_end();
    return NULL;
}

Test(name_tree, readers_see_a_whole_tree_beside_a_writer)
{
    pthread_t threads[READERS + 1];
    struct rng rng = rng_from(1);
    char name[64];

    for (uint32_t i = 0; i < STABLE; i++) {
        sprintf(name, "h%u.g%u.s%u", i % 10, i % 7, i);
        insert(name, i);
    }
    __atomic_store_n(&running, 1, __ATOMIC_RELAXED);
    for (uintptr_t t = 0; t < READERS; t++)
        pthread_create(&threads[t], NULL, read_on, (void *)(t + 1));
    pthread_create(&threads[READERS], NULL, reclaim_on, NULL);
    for (int i = 0; i < 40000; i++) {
        uint32_t n = (uint32_t)rng_below(&rng, 600);
        sprintf(name, "h%u.g%u.%c%u%s", n % 10, n % 13, n % 3 == 0 ? 's' : 'd', 1000 + n, n % 5 == 0 ? ".x" : "");
        if (rng_one_in(&rng, 2))
            insert(name, 1000 + n);
        else
            name_tree_remove(tree, span_str(name));
    }
    __atomic_store_n(&running, 0, __ATOMIC_RELAXED);
    for (int t = 0; t <= READERS; t++)
        pthread_join(threads[t], NULL);
}
