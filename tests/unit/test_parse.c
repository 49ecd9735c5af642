#include "query/parse.h"

#include "base/buf.h"
#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <inttypes.h>

static struct arena arena;
static struct parse_result parsed;
static struct err err;

static void setup(void)
{
    arena_init(&arena, 0, NULL);
}

static void teardown(void)
{
    arena_release(&arena);
}

TestSuite(parse, .init = setup, .fini = teardown);

/* The tree as text: paths and words as they are, strings in quotes, calls with all arguments. */
static void print(const struct node *node, struct buf *out)
{
    switch (node->kind) {
    case NODE_PATH:
        buf_addf(out, "<%.*s>", SPAN_ARG(node->text));
        return;
    case NODE_INTEGER:
        buf_addf(out, "%" PRId64, node->integer);
        return;
    case NODE_FLOAT:
        buf_addf(out, "%gf", node->real);
        return;
    case NODE_STRING:
        buf_addf(out, "'%.*s'", SPAN_ARG(node->text));
        return;
    case NODE_BOOLEAN:
        buf_add_str(out, node->integer ? "TRUE" : "FALSE");
        return;
    case NODE_NONE:
        buf_add_str(out, "NONE");
        return;
    case NODE_INFINITY:
        buf_add_str(out, "INF");
        return;
    case NODE_TEMPLATE:
        buf_add_str(out, "template!");
        break;
    case NODE_CALL:
        buf_add_span(out, node->function);
        break;
    }
    buf_add_char(out, '(');
    for (size_t i = 0; i < node->args_count; i++) {
        buf_add_str(out, i > 0 ? "," : "");
        print(node->args[i], out);
    }
    for (size_t i = 0; i < node->kwargs_count; i++) {
        buf_addf(out, ",%.*s=", SPAN_ARG(node->kwargs[i].name));
        print(node->kwargs[i].value, out);
    }
    buf_add_char(out, ')');
}

static void parses(const char *target, const char *tree, bool rest)
{
    struct buf out = {0};

    cr_assert_eq(parse_target(span_str(target), &arena, &parsed, &err), 0, "%s: %s", target, err.text);
    print(parsed.root, &out);
    cr_expect_eq(parsed.rest, rest, "%s", target);
    cr_expect(span_eq(buf_span(&out), span_str(tree)), "%s is %.*s", target, SPAN_ARG(buf_span(&out)));
    buf_release(&out);
}

static void refused(const char *target, const char *text)
{
    cr_expect_eq(parse_target(span_str(target), &arena, &parsed, &err), ERR_INPUT, "%s", target);
    cr_expect_str_eq(err.text, text);
}

Test(parse, reads_paths_with_globs_and_escapes)
{
    parses("a.b.c", "<a.b.c>", false);
    parses("a.{b,c}d.[x-z]*", "<a.{b,c}d.[x-z]*>", false);
    parses("a\\=b", "<a=b>", false);
    parses("a\\(b\\).c", "<a(b).c>", false);
    parses("odd.a=b", "<odd.a=b>", false);
    parses("m;a=1;b=2", "<m;a=1;b=2>", false);
    parses(" a.b ", "<a.b>", false);
}

Test(parse, reads_calls_and_literals)
{
    parses("f()", "f()", false);
    parses("f ( a , 1,-2.5 , 1e3,'x',\"y\" , true,None,INF )", "f(<a>,1,-2.5f,1000f,'x','y',TRUE,NONE,INF)", false);
    parses("f(\n  g(a),\n\t2\n)", "f(g(<a>),2)", false);
    parses("f(a,k=1,l='x')", "f(<a>,k=1,l='x')", false);
    parses("f(a,k = 1)", "f(<a>,k=1)", false);
    parses("f(a=b.c)", "<f>", true);
    parses("f(25.5abc)", "f(<25.5abc>)", false);
    parses("f('a\\'b')", "f('a\\'b')", false);
    parses("f(+2)", "f(<+2>)", false);
    parses("f(truely)", "f(<truely>)", false);
    parses("f(99999999999999999999)", "f(1e+20f)", false);
}

/* Found by fuzzing: the attempt to read the brace wrote behind the memory of the path before it. */
Test(parse, writes_nothing_of_a_brace_that_is_not_closed)
{
    static char target[20000];

    memset(target, 'b', sizeof(target));
    memcpy(target, "a.b{", 4);
    parse_target(span_of(target, sizeof(target)), &arena, &parsed, &err);
    char *canary = arena_alloc(&arena, 8000);
    memset(canary, 'c', 8000);
    parse_target(span_of(target, sizeof(target)), &arena, &parsed, &err);
    for (int i = 0; i < 8000; i++)
        cr_assert_eq(canary[i], 'c');
}

Test(parse, turns_pipes_into_nested_calls)
{
    parses("a|f()", "f(<a>)", false);
    parses("a | f(1) | g(k=2)", "f(<a>,1)", true);
    parses("a|f(1)|g(2)", "g(f(<a>,1),2)", false);
    parses("f(a|g(),b)", "f(g(<a>),<b>)", false);
    parses("a|f", "<a>", true);
}

Test(parse, reads_templates)
{
    parses("template(a.$x,x='b')", "template!(<a.$x>,x='b')", false);
    parses("template(f($1),2,'b')", "template!(f(<$1>),2,'b')", false);
    parses("template(a)", "template!(<a>)", false);
    parses("template(a,b)", "template(<a>,<b>)", false);
    parses("templates(a)", "templates(<a>)", false);
}

Test(parse, takes_the_longest_valid_beginning)
{
    parses("a.b,c.d", "<a.b>", true);
    parses("scale(a.b,2)x", "scale(<a.b>,2)", true);
    parses("a.b.", "<a.b>", true);
    parses("a b", "<a>", true);
    parses("scale(a.b,2", "<scale>", true);
    parses("scale(a,.5)", "<scale>", true);
    parses("a.{b,}", "<a>", true);
}

Test(parse, names_the_character_that_does_not_fit)
{
    refused("(a)", "unexpected '(' at character 1");
    refused(".a", "unexpected '.' at character 1");
    refused("|", "unexpected '|' at character 1");
    refused("\x7f", "unexpected byte 0x7f at character 1");
    parses("h\xc3\xa4user.n", "<h\xc3\xa4user.n>", false); /* UTF-8 does */
    parse_target(SPAN_LIT("scale(a.b,,2)"), &arena, &parsed, &err);
    cr_expect(span_eq(parsed.wrong, SPAN_LIT("unexpected ',' at character 11")), "%.*s", SPAN_ARG(parsed.wrong));
    parse_target(SPAN_LIT("scale(a.b,2"), &arena, &parsed, &err);
    cr_expect(span_eq(parsed.wrong, SPAN_LIT("unexpected end of the target at character 12")));
    parse_target(SPAN_LIT("alias(a,'x)"), &arena, &parsed, &err);
    cr_expect(span_eq(parsed.wrong, SPAN_LIT("unexpected end of the target at character 12")), "%.*s",
              SPAN_ARG(parsed.wrong));
}

static struct span repeated(const char *head, const char *middle, const char *tail, int times)
{
    struct buf text = {0};
    struct span copy;

    for (int i = 0; i < times; i++)
        buf_add_str(&text, head);
    buf_add_str(&text, middle);
    for (int i = 0; i < times; i++)
        buf_add_str(&text, tail);
    copy = arena_span(&arena, buf_span(&text));
    buf_release(&text);
    return copy;
}

Test(parse, bounds_the_depth_of_calls_and_pipes)
{
    cr_expect_eq(parse_target(repeated("f(", "a", ")", 120), &arena, &parsed, &err), 0);
    cr_expect_eq(parse_target(repeated("f(", "a", ")", 100000), &arena, &parsed, &err), ERR_INPUT);
    cr_expect_eq(parse_target(repeated("f(", "a", "", 100000), &arena, &parsed, &err), ERR_INPUT);
    cr_expect_eq(parse_target(repeated("", "a", "|f()", 120), &arena, &parsed, &err), 0);
    cr_expect_eq(parse_target(repeated("", "a", "|f()", 100000), &arena, &parsed, &err), ERR_INPUT);
    cr_expect_eq(parse_target(repeated("f(a,k=", "a", ")", 100000), &arena, &parsed, &err), ERR_INPUT);
}

/* Going back over nested text again and again would take 2^100 steps. */
Test(parse, takes_linear_time_whatever_is_nested, .timeout = 20)
{
    cr_expect_eq(parse_target(repeated("f(a,k=", "a", ")", 100), &arena, &parsed, &err), 0);
    cr_expect_eq(parse_target(repeated("f(a,k=", "a", "", 100), &arena, &parsed, &err), 0);
    cr_expect_eq(parse_target(repeated("template(", "a", "", 100), &arena, &parsed, &err), 0);
    cr_expect_eq(parse_target(repeated("template(f(", "a", "", 60), &arena, &parsed, &err), 0);
}

Test(parse, takes_many_arguments_in_bounded_memory)
{
    struct arena small;
    jmp_buf overflow;

    arena_init(&small, 64 << 20, &overflow);
    cr_assert_eq(setjmp(overflow), 0, "100 kB of target need more than 64 MB");
    cr_expect_eq(parse_target(arena_join(&arena, SPAN_LIT("f("), repeated("a.b.c,", "a", "", 16000), SPAN_LIT(")")),
                              &small, &parsed, &err),
                 0);
    cr_expect_eq(parsed.root->args_count, 16001);
    arena_release(&small);
}

/* Whatever bytes come, there is an answer and no crash. */
Test(parse, survives_random_text)
{
    static const char letters[] = "abf1.2({[|,='\"\\) \n$*-etrunoi;";

    FOR_SEEDS (seed, 20000) {
        struct rng rng = rng_from(seed);
        char text[64];
        size_t len = rng_below(&rng, sizeof(text));

        for (size_t k = 0; k < len; k++)
            text[k] = letters[rng_below(&rng, sizeof(letters) - 1)];
        parse_target(span_of(text, len), &arena, &parsed, &err);
        arena_release(&arena);
    }
}
