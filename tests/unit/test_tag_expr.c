#include "storage/tag_expr.h"

#include <criterion/criterion.h>

static int parse(const char *text, struct tag_expr **out, struct arena *arena, struct err *err)
{
    struct span *span = ARENA_NEW(arena, struct span);

    *span = span_str(text);
    return tag_exprs_parse(span, 1, arena, out, err);
}

/* Whether the series NAME fits the one expression TEXT. */
static bool fits(const char *text, const char *name)
{
    struct arena arena;
    struct tag_expr *expr = NULL;
    struct err err = {0};

    arena_init(&arena, 0, NULL);
    int rc = parse(text, &expr, &arena, &err);
    cr_assert_eq(rc, 0, "%s: %s", text, err.text);
    bool match = tag_exprs_match(expr, 1, span_str(name));
    tag_exprs_release(expr, 1);
    arena_release(&arena);
    return match;
}

static int code_of(const char *text)
{
    struct arena arena;
    struct tag_expr *expr = NULL;
    struct err err = {0};

    arena_init(&arena, 0, NULL);
    int rc = parse(text, &expr, &arena, &err);
    if (rc == 0)
        tag_exprs_release(expr, 1);
    else
        cr_expect(expr == NULL && err.text[0] != '\0');
    arena_release(&arena);
    return rc;
}

Test(tag_expr, compares_the_whole_value)
{
    cr_expect(fits("a=1", "m;a=1;b=2"));
    cr_expect_not(fits("a=1", "m;a=12;b=2"));
    cr_expect_not(fits("a=1", "m;aa=1"));
    cr_expect_not(fits("a=1", "m"));
    cr_expect(fits("a==b", "m;a==b"), "a value may hold '='");
}

Test(tag_expr, anchors_regular_expressions_at_the_start_only)
{
    cr_expect(fits("host=~we", "m;host=web01"));
    cr_expect_not(fits("host=~eb", "m;host=web01"));
    cr_expect(fits("host=~.*1$", "m;host=web01"));
    cr_expect_not(fits("host=~a|b", "m;host=xb"), "alternatives are grouped");
    cr_expect(fits("host=~a|b", "m;host=bx"));
}

/* A plain beginning is looked at first: it must not keep out what the expression takes. */
Test(tag_expr, takes_no_more_for_plain_than_is)
{
    static const char *const taken[] = {"a=~web",  "a=~^web", "a=~web?1", "a=~webx?1", "a=~webx*1", "a=~webx{0}1",
                                        "a=~w+eb", "a=~x|we", "a=~(x|w)", "a=~(?i)WE", "a=~w.b1$",  "a=~we\\w1",
                                        "a=~[w]e", "a=~",     "a=~web1$", "a=~web1",   "a=~\\x77eb", "a!=~web2"};
    static const char *const refused[] = {"a=~web2", "a=~eb", "a=~WEB", "a=~web11"};

    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        struct span texts[] = {span_str(taken[i]), SPAN_LIT("name=m")};
        struct arena arena;
        struct tag_expr *exprs;

        arena_init(&arena, 0, NULL);
        cr_assert_eq(tag_exprs_parse(texts, 2, &arena, &exprs, NULL), 0, "%s", taken[i]);
        cr_expect(tag_exprs_match(exprs, 2, SPAN_LIT("m;a=web1")), "%s", taken[i]);
        tag_exprs_release(exprs, 2);
        arena_release(&arena);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        cr_expect_not(fits(refused[i], "m;a=web1"), "%s", refused[i]);
}

Test(tag_expr, takes_a_missing_tag_for_an_empty_value)
{
    cr_expect(fits("a!=", "m;a=1"));
    cr_expect_not(fits("a!=", "m;b=1"));
    cr_expect_not(fits("a!=~", "m;a=1"), "the empty regular expression finds everything");
}

Test(tag_expr, knows_the_name)
{
    cr_expect(fits("name=m.n", "m.n;a=1"));
    cr_expect(fits("name=m.n", "m.n"));
    cr_expect_not(fits("name=m", "m.n"));
    cr_expect(fits("name=~m", "m.n"));
}

Test(tag_expr, refuses_what_is_malformed)
{
    static const char *const bad[] = {"",         "a",     "=x",   "!=x",   "a!b",  "a~b",  "a;b=c",
                                      "name=a;b", "a!b=c", "a=~(", "a!=~(", "a=~[", "a=x;", "!~x=1"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_eq(code_of(bad[i]), ERR_INPUT, "%s", bad[i]);
}

Test(tag_expr, refuses_a_search_over_everything)
{
    static const char *const bad[] = {"a=", "a!=1", "a=~", "a=~.*", "a!=~x", "name!=x", "a=~^", "a=~x?"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_eq(code_of(bad[i]), ERR_INPUT, "%s", bad[i]);
}

Test(tag_expr, one_that_narrows_is_enough)
{
    struct span texts[] = {SPAN_LIT("b="), SPAN_LIT("a=1"), SPAN_LIT("c!=~x")};
    struct arena arena;
    struct tag_expr *exprs = NULL;

    arena_init(&arena, 0, NULL);
    cr_assert_eq(tag_exprs_parse(texts, 3, &arena, &exprs, NULL), 0);
    cr_expect(tag_exprs_match(exprs, 3, SPAN_LIT("m;a=1")));
    cr_expect_not(tag_exprs_match(exprs, 3, SPAN_LIT("m;a=1;b=1")));
    cr_expect_not(tag_exprs_match(exprs, 3, SPAN_LIT("m;a=1;c=xy")));
    cr_expect(tag_exprs_match(exprs, 3, SPAN_LIT("m;a=1;c=y")));
    tag_exprs_release(exprs, 3);
    arena_release(&arena);
}

Test(tag_expr, a_mistake_after_a_good_one_holds_nothing)
{
    struct span texts[] = {SPAN_LIT("a=~x"), SPAN_LIT("b=~(")};
    struct arena arena;
    struct tag_expr *exprs;

    arena_init(&arena, 0, NULL);
    cr_expect_eq(tag_exprs_parse(texts, 2, &arena, &exprs, NULL), ERR_INPUT);
    cr_expect_null(exprs);
    arena_release(&arena);
}
