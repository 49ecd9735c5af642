#include "base/regex.h"

#include "base/arena.h"
#include "base/buf.h"

#include <criterion/criterion.h>
#include <setjmp.h>

/* Both kinds, with the JIT (heap) and without (arena), must say WANT. */
static void searches(const char *pattern, struct span text, bool want)
{
    struct arena arena;
    struct regex *heap, *local;
    struct err err = {0};

    arena_init(&arena, 0, NULL);
    cr_assert_eq(regex_compile(span_str(pattern), NULL, &heap, &err), 0, "%s: %s", pattern, err.text);
    cr_assert_eq(regex_compile(span_str(pattern), &arena, &local, &err), 0, "%s", err.text);
    cr_assert_eq(regex_search(heap, text), want, "%s on \"%.*s\"", pattern, SPAN_ARG(span_cut(text, 0, 100)));
    cr_assert_eq(regex_search(local, text), want, "%s on \"%.*s\", no JIT", pattern, SPAN_ARG(span_cut(text, 0, 100)));
    regex_free(heap);
    arena_release(&arena);
}

Test(regex, searches_anywhere)
{
    searches("b+", SPAN_LIT("abbc"), true);
    searches("^carbon\\.", SPAN_LIT("carbon.agents"), true);
    searches("^carbon\\.", SPAN_LIT("x.carbon.agents"), false);
    searches("", SPAN_LIT(""), true);
    searches("", span_of(NULL, 0), true);
    searches("a", span_of(NULL, 0), false);
    searches(".*", SPAN_LIT("x"), true);
    searches("(?i)CPU", SPAN_LIT("servers.cpu"), true);
    searches("(?P<name>a)(?P=name)", SPAN_LIT("baa"), true);
    searches("a\\Z", SPAN_LIT("ba"), true);
}

Test(regex, matches_at_the_start_only)
{
    struct regex *re;

    cr_assert_eq(regex_compile(SPAN_LIT("a+b?"), NULL, &re, NULL), 0);
    cr_assert(regex_match(re, SPAN_LIT("aac")));
    cr_assert_not(regex_match(re, SPAN_LIT("caa")));
    cr_assert_not(regex_match(re, SPAN_LIT("")));
    regex_free(re);
    cr_assert_eq(regex_compile(SPAN_LIT("b|ab"), NULL, &re, NULL), 0);
    cr_assert(regex_match(re, SPAN_LIT("ab")));
    regex_free(re);
    regex_free(NULL);
}

Test(regex, sees_characters_in_utf8_and_bytes_in_anything_else)
{
    searches("^.$", SPAN_LIT("\xc5\x82"), true);  /* one character */
    searches("^..$", SPAN_LIT("\xc5\xff"), true); /* not UTF-8: two bytes */
    searches("^.$", SPAN_LIT("\xc5\xff"), false);
    searches("^\xc5\x82+$", SPAN_LIT("\xc5\x82\xc5\x82"), true);
    searches("\xff", SPAN_LIT("a\xff"), true); /* the pattern is not UTF-8: bytes */
    searches("\xff", SPAN_LIT("a\xc3\xbf"), false);
    searches("\\w", SPAN_LIT("\xc5\x82"), true);   /* Unicode's idea of a letter, as Python */
    searches("^\\d$", SPAN_LIT("\xd9\xa3"), true); /* ARABIC-INDIC DIGIT THREE */
    searches("\\u0142", SPAN_LIT("\xc5\x82"), true);
    searches("\\u0142", SPAN_LIT("\xff"), false); /* has no form for bytes: no match */
    searches("(?i)\xc5\x81", SPAN_LIT("\xc5\x82"), true);
}

static void refuses(const char *pattern, const char *part)
{
    struct regex *re = (struct regex *)1;
    struct err err = {0};

    cr_assert_eq(regex_compile(span_str(pattern), NULL, &re, &err), ERR_INPUT, "%s", pattern);
    cr_assert_null(re);
    cr_assert_not_null(strstr(err.text, part), "%s: %s", pattern, err.text);
}

Test(regex, mistakes_tell_the_position)
{
    refuses("a(b", "at position 3: missing closing parenthesis");
    refuses("*a", "at position 0");
    refuses("[a", "at position 2");
    refuses("(?P<x>a)(?P<x>b)", "position");
    refuses("(*LIMIT_MATCH=999999999)a", "position 0");
    refuses("(*UTF)a", "position 0");
    refuses("a\\Cb", "position");
}

Test(regex, too_long_a_pattern_is_refused)
{
    static char pattern[70000];
    struct regex *re;
    struct err err;

    memset(pattern, 'a', sizeof(pattern));
    cr_assert_eq(regex_compile(span_of(pattern, sizeof(pattern)), NULL, &re, &err), ERR_INPUT);
    cr_assert_eq(regex_compile(SPAN_LIT("(((((a{200}){200}){200}){200}){200})"), NULL, &re, &err), ERR_INPUT);
}

Test(regex, catastrophic_patterns_end_without_a_match)
{
    char text[5001];

    memset(text, 'a', 5000);
    text[5000] = 'b';
    searches("^(a+)+$", span_of(text, 60), true);
    searches("^(a|aa)+$", span_of(text, 5001), false);
    searches("^(a+)+$", span_of(text, 5001), false);
    searches("(x+x+)+y", SPAN_LIT("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), false);
}

Test(regex, deep_recursion_is_matched_without_the_jits_stack)
{
    static char text[10000];

    memset(text, 'a', sizeof(text));
    searches("^(?:(a)|b)*$", span_of(text, sizeof(text)), true);
}

Test(regex, an_arena_that_is_full_jumps_out)
{
    struct arena arena;
    jmp_buf overflow;
    struct regex *re;
    volatile bool jumped = false;

    arena_init(&arena, 4096, &overflow);
    if (setjmp(overflow) == 0)
        for (;;)
            regex_compile(SPAN_LIT("(a|b){50}c"), &arena, &re, NULL);
    else
        jumped = true;
    cr_assert(jumped);
    arena_release(&arena);
}

/* ---- substituting ---- */

static void sub_is(const char *pattern, const char *replacement, int count, struct span text, const char *want)
{
    struct buf out = {0};
    struct err err = {0};
    struct regex *re;

    cr_assert_eq(regex_compile(span_str(pattern), NULL, &re, &err), 0, "%s", err.text);
    if (regex_sub(re, text, span_str(replacement), count, &out, &err) < 0) {
        cr_assert_eq(err.code, ERR_INPUT);
        buf_add_str(&out, err.text);
    }
    cr_assert(span_eq(buf_span(&out), span_str(want)), "sub %s by %s is \"%.*s\", not \"%s\"", pattern, replacement,
              SPAN_ARG(buf_span(&out)), want);
    buf_release(&out);
    regex_free(re);
}

Test(regex, substitutes_as_python)
{
    sub_is("a", "b", 0, SPAN_LIT("banana"), "bbnbnb");
    sub_is("a", "b", 2, SPAN_LIT("banana"), "bbnbna");
    sub_is("(\\w+)\\.(\\w+)", "\\2.\\1", 0, SPAN_LIT("a.b"), "b.a");
    sub_is("(?P<host>\\w+)", "<\\g<host>-\\g<1>-\\g<0>>", 0, SPAN_LIT("ab"), "<ab-ab-ab>");
    sub_is("(a)|(b)", "[\\1\\2]", 0, SPAN_LIT("ab"), "[a][b]");
    sub_is("x", "y", 0, SPAN_LIT("abc"), "abc");
    sub_is("x", "y", 0, span_of(NULL, 0), "");
    sub_is("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)", "\\11\\1", 0, SPAN_LIT("abcdefghijk"), "ka");
    sub_is("^.*\\.([^.]+)$", "\\1", 0, SPAN_LIT("servers.host.cpu"), "cpu");
}

Test(regex, substitutes_empty_matches_as_python)
{
    sub_is("x*", "-", 0, SPAN_LIT("abxd"), "-a-b--d-");
    sub_is("", "-", 0, SPAN_LIT("ab"), "-a-b-");
    sub_is("", "-", 0, SPAN_LIT("\xc5\x82z"), "-\xc5\x82-z-");
    sub_is("", "-", 0, SPAN_LIT(""), "-");
    sub_is("^", "p.", 0, SPAN_LIT("ab"), "p.ab");
    sub_is("$", ".s", 0, SPAN_LIT("ab"), "ab.s");
    sub_is("b|", "-", 0, SPAN_LIT("abc"), "-a--c-");
}

Test(regex, escapes_in_a_replacement_are_pythons)
{
    sub_is("a", "\\\\ \\n \\t", 0, SPAN_LIT("a"), "\\ \n \t");
    sub_is("a", "\\. \\/ \\-", 0, SPAN_LIT("a"), "\\. \\/ \\-");
    sub_is("a", "\\101\\x41", 0, SPAN_LIT("a"), "bad escape \\x in the replacement");
    sub_is("a", "\\101", 0, SPAN_LIT("a"), "A");
    sub_is("a", "\\07", 0, SPAN_LIT("a"), "\a");
    sub_is("a", "\\", 0, SPAN_LIT("a"), "the replacement ends with a single backslash");
    sub_is("a", "\\400", 0, SPAN_LIT("a"), "octal escape \\400 is outside of \\0..\\377 in the replacement");
}

Test(regex, groups_that_are_not_there_are_mistakes_even_without_a_match)
{
    sub_is("(a)", "\\2", 0, SPAN_LIT("a"), "the pattern has no group \"2\"");
    sub_is("(a)", "\\g<x>", 0, SPAN_LIT("zzz"), "the pattern has no group \"x\"");
    sub_is("(a)", "\\g<7>", 0, SPAN_LIT("zzz"), "the pattern has no group \"7\"");
    sub_is("(a)", "\\g<99999999999999999999>", 0, SPAN_LIT("a"), "the pattern has no group \"99999999999999999999\"");
    sub_is("(a)", "\\g<1", 0, SPAN_LIT("a"), "expected \\g<name> in the replacement");
    sub_is("(a)", "\\g", 0, SPAN_LIT("a"), "expected \\g<name> in the replacement");
    sub_is("(a)", "\\g<>", 0, SPAN_LIT("a"), "expected \\g<name> in the replacement");
    sub_is("(a)", "\\g>", 0, SPAN_LIT("a"), "expected \\g<name> in the replacement");
}

Test(regex, substitution_respects_the_buffers_limit)
{
    struct buf out;
    struct regex *re;

    buf_init(&out, 100);
    cr_assert_eq(regex_compile(SPAN_LIT("a"), NULL, &re, NULL), 0);
    cr_assert_eq(regex_sub(re, SPAN_LIT("aaaaaaaaaaaa"), SPAN_LIT("0123456789"), 0, &out, NULL), 0);
    cr_assert(out.failed);
    buf_release(&out);
    regex_free(re);
}
