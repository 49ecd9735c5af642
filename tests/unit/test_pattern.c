#include "storage/pattern.h"

#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct arena arena;
static jmp_buf overflow; /* not expected: the arena has no limit */

static void begin(void)
{
    arena_init(&arena, 0, &overflow);
}

static void end(void)
{
    arena_release(&arena);
}

TestSuite(pattern, .init = begin, .fini = end);

static struct pattern *compiled(const char *text)
{
    struct pattern *p;
    struct err err = {0};

    cr_assert_eq(pattern_compile(span_str(text), &arena, &p, &err), 0, "%s: %s", text, err.text);
    return p;
}

static bool matches(const char *pattern, const char *name)
{
    return pattern_match(compiled(pattern), span_str(name));
}

/* One component; a component may hold anything but a dot here, the empty text too. */
static bool component_matches(const char *pattern, const char *component)
{
    struct pattern *p = compiled(pattern);

    cr_assert(p->count >= 1, "%s", pattern);
    return glob_match(&p->parts[0], span_str(component));
}

static const struct {
    const char *pattern;
    const char *text;
    bool matches;
} fnmatch_says[] = {
    /* Python 3.11, fnmatch.fnmatchcase() */
    {"*", "", true},
    {"*", "abc", true},
    {"\?", "a", true},
    {"\?", "", false},
    {"\?", "ab", false},
    {"\?", "\303\251", true},
    {"\?\?", "\303\251", false},
    {"[\303\251-\303\274]", "\303\266", true},
    {"[a-c]", "b", true},
    {"[a-c]", "d", false},
    {"[!a-c]", "d", true},
    {"[!a-c]", "b", false},
    {"[^a]", "^", true},
    {"[^a]", "a", true},
    {"[^a]", "b", false},
    {"[]]", "]", true},
    {"[]a]", "a", true},
    {"[!]a]", "]", false},
    {"[!]a]", "b", true},
    {"[a-]", "-", true},
    {"[-a]", "-", true},
    {"[a", "[a", true},
    {"[", "[", true},
    {"[]", "[]", true},
    {"[!]", "[!]", true},
    {"a]", "a]", true},
    {"[z-a]", "m", false},
    {"[!z-a]", "m", true},
    {"[a-c-e]", "d", false},
    {"[a-c-e]", "-", true},
    {"[a-c-e]", "e", true},
    {"[a--b]", "b", true},
    {"[a--b]", "-", false},
    {"[--a]", "5", true},
    {"[!-a]", "-", false},
    {"[!-a]", "b", true},
    {"[*]", "*", true},
    {"[*]", "x", false},
    {"[\?]", "\?", true},
    {"x[*\?]y", "x*y", true},
    {"*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaac", false},
    {"a*b*c", "abbbc", true},
    {"a*b*c", "abbb", false},
    {"*\303\251\?", "x\303\251\303\266", true},
    {"*\?", "\303\251", true},
    {"\?*\?", "\303\251", false},
    {"\?*\?", "\303\251\303\266", true},
    {"[0-9][0-9]", "42", true},
    {"*[0-9]", "web7", true},
    {"*[!0-9]", "web7", false},
    {"**", "abc", true},
    {"a**b", "ab", true},
    {"***a", "ba", true},
    {"b\?!", "", false},
    {"a*]a[", "a", false},
    {"*\?", "!", true},
    {"]", "!b", false},
    {"aa*\?", "aac[c", true},
    {"-\?*", "-bbab", true},
    {"*", "aaab", true},
    {"*\?c-*", "ab", false},
    {"\?", "b[b-]", false},
    {"b", "c", false},
    {"\?*\?b*", "a]", false},
    {"a", "a", true},
    {"*", "ab", true},
    {"a!a", "ab", false},
    {"--!b\?*a", "a", false},
    {"\?", "b", true},
    {"*", "]", true},
    {"a*", "a[c", true},
    {"!bb[c", "", false},
    {"ab\?]a\?a", "cb", false},
    {"*\?!b*\?", "-abb", false},
    {"b**", "ba--", true},
    {"-!c\?a[", "", false},
    {"!\?a*b!", "]b[", false},
    {"-\?*", "-bac!", true},
    {"\?\?", "ab-ab", false},
    {"-\?a*!", "-]][b", false},
    {"*", "", true},
    {"]a[b\?cb", "-", false},
    {"*", "aba-", true},
    {"*ba", "c", false},
    {"!ba*\?!", "bc", false},
    {"a*-]", "--", false},
    {"\?cb", "a", false},
    {"*b[", "a", false},
    {"\?", "a-", false},
    {"c", "!!a", false},
    {"a-", "!a", false},
    {"-abb\?*", "b", false},
    {"\?b*", "[bc!", true},
    {"**", "", true},
    {"]!", "", false},
    {"\?bbacb-", "[", false},
    {"b-", "b-", true},
    {"]", "b", false},
    {"a", "b]ba", false},
    {"a", "ac[ab", false},
    {"*\?[", "b-b[", true},
    {"*\?\?", "", false},
    {"*\?\?", "a]b", true},
    {"*\?", "-c", true},
    {"]a\?*a", "", false},
    {"\?]c!ac[", "-bab", false},
    {"bc*[-**", "-", false},
    {"*", "[ab]a", true},
    {"*[]", "", false},
    {"]\?", "bcc-", false},
    {"\?a", "", false},
    {"--!c\?", "", false},
    {"*", "c]bc", true},
    {"*[b\?a", "cb]-", false},
    {"!cb]*b", "", false},
    {"-\?]", "-!", false},
    {"b!*b\?", "a]a!b", false},
    {"c\?!a", "", false},
    {"]*[a-", "[cb-a", false},
    {"\?*-***", "!!-", true},
    {"]abb", "!aaa", false},
    {"c]*b-b", "cb", false},
    {"*", "!]a", true},
    {"!", "a!c-", false},
    {"*", "ba-a", true},
    {"\?\?*", "![!ab", true},
    {"aa", "cb", false},
    {"b[a", "", false},
    {"!", "cb", false},
    {"b[*", "ba", false},
    {"a", "!-bc", false},
    {"]aa!b**", "[", false},
    {"\?aca\?", "", false},
    {"[-c", "[a", false},
    {"!!]\?\?b-", "-b!", false},
    {"aa!]*c\?", "-c[a", false},
    {"b*", "[bab]", false},
    {"aaa", "b!-", false},
    {"a*", "aa", true},
    {"[a", "!]c", false},
    {"-]-", "bba", false},
    {"!a*\?*\?a", "bc-", false},
    {"-a\?!", "b!b", false},
    {"*\?", "b]!]", true},
    {"**b\?]b]", "]", false},
    {"b\?[a!*", "]-[a", false},
    {"a]aa\?ac", "[", false},
    {"]\?\?-\?", "b", false},
    {"*", "bcb", true},
    {"[-ab\?b", "b-]-a", false},
    {"a*-", "b]ba]", false},
    {"b-", "!baa", false},
    {"\?*\?*[", "bb-!", false},
    {"\?**", "c-", true},
    {"*", "b", true},
    {"**", "b][", true},
    {"][]c", "", false},
    {"b*c][-a", "b", false},
    {"-", "aa]b-", false},
    {"-*", "--b-", true},
    {"*b\?]]*c", "a", false},
    {"!!", "]cb", false},
    {"!-]b!a", "a-ca", false},
    {"[", "", false},
    {"\?", "]b", false},
    {"]", "baac", false},
    {"*b*a\?\?\?", "", false},
    {"a", "a", true},
    {"[", "[", true},
    {"*aa-\?\?*", "!", false},
    {"*", "ba[", true},
    {"!c*[[", "-", false},
    {"*-", "a", false},
    {"**aa", "bc", false},
    {"--!-cc*", "]!c", false},
    {"-", "aacb!", false},
    {"*", "!", true},
    {"***", "]--c", true},
    {"-*]*b", "b![", false},
    {"*\?", "b", true},
    {"][b[", "b", false},
    {"*", "!ac]c", true},
    {"b*", "b", true},
    {"\?b*[a\?\?", "", false},
    {"b-]a\?a", "!", false},
    {"[*!\?\?-", "", false},
    {"a\?[ba]", "b", false},
    {"*!\?a", "[", false},
    {"ba\?", "-ab", false},
    {"ba\?\?bbc", "!a", false},
    {"bb\?]c]*", "", false},
    {"*", "[ac[b", true},
    {"*", "-", true},
    {"*", "-", true},
    {"c-", "b]a", false},
    {"*!", "a[!", true},
    {"b", "aab[", false},
    {"-\?[bbb*", "]ab]]", false},
    {"c\?bb**-", "bbc-", false},
    {"caa]ab", "b", false},
    {"a*\?", "c", false},
    {"\?", "[abb]", false},
    {"\?b!a[b\?", "b!!a", false},
    {"b*\?-", "bb-ac", false},
    {"-*[]", "]", false},
    {"**c[-cb", "", false},
    {"a*ac-*", "b-!-a", false},
    {"\?", "", false},
    {"-ac\?*", "[", false},
    {"[aac[\?", "b]", false},
    {"[c", "![", false},
    {"bb-[b", "cc", false},
    {"\?a", "b-[", false},
    {"*", "aaa[", true},
    {"**", "[--a!", true},
    {"*", "", true},
    {"c\?bb*", "", false},
    {"c!a\?\?", "b[c!", false},
    {"!ab", "ab", false},
    {"*c!\?c[", "[", false},
    {"**", "[c[", true},
    {"*\?", "-", true},
    {"]!!", "-]-", false},
    {"*", "a[-]", true},
    {"**a[*b", "]", false},
    {"*!ab", "b-![b", false},
    {"*\?a\?*c\?", "]", false},
    {"ab", "]]a-", false},
    {"\?", "a", true},
    {"*]a", "a]a", true},
    {"-c\?ba\?", "ba[[b", false},
    {"**", "[bbb[", true},
    {"b-", "b-", true},
    {"]ab", "", false},
    {"*", "!-]!!", true},
    {"\?", "ca", false},
    {"a]a\?[-*", "!", false},
    {"[", "!]", false},
    {"*", "a]", true},
    {"[a", "a[![a", false},
    {"ca[\?ac-", "aac", false},
    {"*", "b![", true},
    {"b*b\?**", "]b", false},
    {"*-*!", "aba!a", false},
    {"*", "b]", true},
    {"*b", "]-b", true},
    {"a\?[c--*", "", false},
    {"*", "b[a", true},
    {"b]\?]bb", "c[a", false},
    {"\?b*", "abb!b", true},
    {"ac]\?", "", false},
    {"\?", "b", true},
    {"a\?\?a", "]b", false},
    {"[", "[]bb", false},
    {"*", "-a!aa", true},
    {"]-", "aa", false},
    {"a!!bbc", "", false},
    {"c!*", "", false},
    {"bc*a", "-[b!b", false},
    {"!*\?\?[", "[aa]", false},
};

Test(pattern, agrees_with_fnmatch)
{
    for (size_t i = 0; i < sizeof fnmatch_says / sizeof *fnmatch_says; i++) {
        cr_expect_eq(component_matches(fnmatch_says[i].pattern, fnmatch_says[i].text), fnmatch_says[i].matches,
                     "%s on '%s'", fnmatch_says[i].pattern, fnmatch_says[i].text);
    }
}

Test(pattern, braces_are_alternatives)
{
    cr_expect(matches("cpu.{user,system}", "cpu.user"));
    cr_expect(matches("cpu.{user,system}", "cpu.system"));
    cr_expect_not(matches("cpu.{user,system}", "cpu.idle"));
    cr_expect(matches("{us,sy}{er,stem}", "system"));
    cr_expect(matches("{us,sy}{er,stem}", "syer"));
    cr_expect_not(matches("{us,sy}{er,stem}", "us"));
    cr_expect(matches("x{a,b{c,d}}y", "xay"));
    cr_expect(matches("x{a,b{c,d}}y", "xbdy"));
    cr_expect_not(matches("x{a,b{c,d}}y", "xby"));
    cr_expect(matches("user{,s}", "user"));
    cr_expect(matches("user{,s}", "users"));
    cr_expect(matches("{a}", "a"));
    cr_expect(matches("a{}", "a"));
    cr_expect(matches("[a{b,c}]x", "bx"));
    cr_expect(matches("{a*,?b}z", "qbz"));
    cr_expect(matches("{a*,?b}z", "a11z"));
}

Test(pattern, braces_without_partner_are_ordinary)
{
    cr_expect(matches("a{b", "a{b"));
    cr_expect(matches("a}b", "a}b"));
    cr_expect(matches("a{b{c,d}", "a{bd"));
    cr_expect(matches("{a,b}}", "a}"));
    cr_expect(matches("a,b", "a,b"));
}

Test(pattern, braces_around_a_dot_match_nothing)
{
    cr_expect_not(matches("{a.b,c}", "a.b"));
    cr_expect_not(matches("{a.b,c}", "c"));
}

Test(pattern, escapes_stand_for_the_character)
{
    cr_expect(matches("a\\*b", "a*b"));
    cr_expect_not(matches("a\\*b", "axb"));
    cr_expect(matches("a\\{b,c\\}", "a{b,c}"));
    cr_expect(matches("{a\\,b,c}", "a,b"));
    cr_expect(matches("a\\", "a\\"));
    cr_expect_not(matches("a\\.b", "a.b"));
    cr_expect(matches("\\[a]", "[a]"));
}

Test(pattern, no_wildcard_stands_for_a_dot)
{
    cr_expect_not(matches("a*c", "a.c"));
    cr_expect_not(matches("a?c", "a.c"));
    cr_expect_not(matches("*", "a.b"));
    cr_expect_not(matches("a[.]c", "a.c"));
    cr_expect(matches("*.*", "a.b"));
    cr_expect_not(matches("*.*", "a"));
}

Test(pattern, two_stars_are_any_number_of_components)
{
    cr_expect(matches("e.**.m", "e.m"));
    cr_expect(matches("e.**.m", "e.a.b.m"));
    cr_expect_not(matches("e.**.m", "x.e.m"));
    cr_expect_not(matches("e.**.m", "e.m.x"));
    cr_expect(matches("**.m", "m"));
    cr_expect(matches("**.m", "a.b.m"));
    cr_expect(matches("e.**", "e.a"));
    cr_expect(matches("e.**", "e.a.b"));
    cr_expect_not(matches("e.**", "e"));
    cr_expect(matches("**", "a.b.c"));
    cr_expect(matches("**.**", "a"));
    cr_expect(matches("a.**.b.**.c", "a.b.x.b.b.c"));
    cr_expect_not(matches("a.**.b.**.c", "a.x.c"));
    cr_expect(matches("**.a.*.b", "a.a.a.a.b"));
}

Test(pattern, empty_components_match_nothing)
{
    cr_expect_not(matches("a..b", "a.b"));
    cr_expect_not(matches(".a", "a"));
    cr_expect_not(matches("a.", "a"));
    cr_expect_not(matches("", ""));
    cr_expect_not(matches("", "a"));
    cr_expect_not(matches("a.{}", "a"));
}

Test(pattern, bytes_that_are_not_utf8_match_nothing)
{
    cr_expect_not(matches("*\xff*", "a"));
    cr_expect_eq(compiled("\xc3")->count, 0);
}

Test(pattern, puts_components_into_the_fastest_class)
{
    const struct {
        const char *text;
        enum glob_kind kind;
    } cases[] = {
        {"abc", GLOB_LITERAL},     {"a\\*", GLOB_LITERAL}, {"{a}", GLOB_LITERAL},   {"{a,a}", GLOB_LITERAL},
        {"{a,b}c", GLOB_WORDS},    {"*", GLOB_ANY},        {"****", GLOB_ANY},      {"**", GLOB_DEEP},
        {"abc*", GLOB_PREFIX},     {"abc**", GLOB_PREFIX}, {"*abc", GLOB_SUFFIX},   {"*abc*", GLOB_MIDDLE},
        {"a*c", GLOB_GENERAL},     {"a?", GLOB_GENERAL},   {"[ab]", GLOB_GENERAL},  {"{a,b*}", GLOB_EITHER},
        {"{{a,b},c}", GLOB_WORDS}, {"[a", GLOB_LITERAL},   {"{a,b}*", GLOB_EITHER},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_eq(compiled(cases[i].text)->parts[0].kind, cases[i].kind, "%s", cases[i].text);
    cr_expect_eq(compiled("{b,a,c,b}")->parts[0].count, 3);
}

Test(pattern, plain_text_is_known)
{
    cr_expect(pattern_is_plain(SPAN_LIT("a.b-c:d;e=f]}")));
    cr_expect_not(pattern_is_plain(SPAN_LIT("a.*")));
    cr_expect_not(pattern_is_plain(SPAN_LIT("a{b")));
    cr_expect_not(pattern_is_plain(SPAN_LIT("a\\b")));
}

/* ---- limits ---- */

static char *repeated(const char *what, size_t times, const char *end_with)
{
    size_t len = strlen(what);
    char *text = malloc(len * times + strlen(end_with) + 1);

    for (size_t i = 0; i < times; i++)
        memcpy(text + i * len, what, len);
    strcpy(text + len * times, end_with);
    return text;
}

static void expect_limit(char *text)
{
    struct pattern *p;
    struct err err = {0};

    cr_expect_eq(pattern_compile(span_str(text), &arena, &p, &err), ERR_LIMIT, "%.60s", text);
    cr_expect(strlen(err.text) > 0);
    cr_expect_eq(p->count, 0);
    free(text);
}

Test(pattern, refuses_what_explodes)
{
    expect_limit(repeated("{a,b}", 40, ""));
    expect_limit(repeated("{a,b}", 11, "*"));
    expect_limit(repeated("{{{{a,b},c},d},{e}}", 4000, ""));
    expect_limit(repeated("{a}", 20000, ""));
    expect_limit(repeated("**.a.", 40, "b"));
    expect_limit(repeated("a", PATTERN_MAX_BYTES + 1, ""));
    char *deep = repeated("{", 100000, "");
    char *both = repeated("}", 100000, "");
    char *nested = malloc(200001);
    sprintf(nested, "%s%s", deep, both);
    expect_limit(nested);
    free(deep);
    free(both);
}

Test(pattern, takes_long_lists_and_long_rubbish)
{
    char *list = repeated("host,", 50000, "x}");
    list[0] = '{';
    cr_expect(matches(list, "x"));
    free(list);
    char *unpaired = repeated("{", 500000, "");
    cr_expect_not(matches(unpaired, "x"));
    free(unpaired);
    char *dots = repeated(".", 500000, "");
    cr_expect_not(matches(dots, "x"));
    free(dots);
    char *components = repeated("*.", 500000, "*");
    cr_expect_not(matches(components, "x"));
    free(components);
}

/* Would take 10^60 steps if it tried every way. */
Test(pattern, hostile_stars_take_no_time)
{
    char *text = repeated("a", 255, "");
    char *stars = repeated("*a", 100, "*b");
    char *marks = repeated("*?", 100, "*[b-c]");

    cr_expect_not(component_matches(stars, text));
    cr_expect_not(component_matches(marks, text));
    free(text);
    free(stars);
    free(marks);
    char *name = repeated("a.", 2000, "a");
    char *deep = repeated("**.a.", 30, "b");
    cr_expect_not(matches(deep, name));
    free(name);
    free(deep);
}

/* ---- model: a matcher that tries everything ---- */

static bool naive(const char *p, const char *s);

/* The pattern with its first pair of braces replaced by one alternative at a time. */
static bool naive_braces(const char *p, const char *s)
{
    const char *open = strchr(p, '{');
    int depth = 0;

    if (open == NULL)
        return naive(p, s);
    const char *from = open + 1;
    char copy[256];
    for (const char *at = open; *at != '\0'; at++) {
        depth += *at == '{';
        depth -= *at == '}';
        if ((*at == ',' && depth == 1) || (*at == '}' && depth == 0)) {
            const char *close = at;
            for (int d = depth; d > 0;) {
                close++;
                d += *close == '{';
                d -= *close == '}';
            }
            snprintf(copy, sizeof copy, "%.*s%.*s%s", (int)(open - p), p, (int)(at - from), from, close + 1);
            if (naive_braces(copy, s))
                return true;
            if (*at == '}')
                return false;
            from = at + 1;
        }
    }
    return false;
}

/* No braces left; '#' stands for **. */
static bool naive(const char *p, const char *s)
{
    if (strncmp(p, "#.", 2) == 0) {
        for (const char *at = s; at != NULL; at = strchr(at, '.')) {
            at += at != s;
            if (naive(p + 2, at))
                return true;
        }
        return false;
    }
    if (*p == '*')
        return naive(p + 1, s) || (*s != '\0' && *s != '.' && naive(p, s + 1));
    if (*p == '\0' || *s == '\0')
        return *p == *s;
    if (*p == '?')
        return *s != '.' && naive(p + 1, s + 1);
    return *p == *s && naive(p + 1, s + 1);
}

static void random_text(struct rng *rng, char *to, size_t n, const char *letters)
{
    for (size_t i = 0; i < n; i++)
        to[i] = letters[rng_below(rng, strlen(letters))];
    to[n] = '\0';
}

/* A pattern of paired braces, not too many. */
static void random_pattern(struct rng *rng, char *to, int depth)
{
    size_t n = 0, parts = 1 + rng_below(rng, depth > 0 ? 2 : 4);

    for (size_t i = 0; i < parts; i++) {
        if (depth < 2 && rng_one_in(rng, 4)) {
            size_t alternatives = 1 + rng_below(rng, 3);
            to[n++] = '{';
            for (size_t a = 0; a < alternatives; a++) {
                if (a > 0)
                    to[n++] = ',';
                random_pattern(rng, to + n, depth + 1);
                n += strlen(to + n);
            }
            to[n++] = '}';
        } else if (depth == 0 && i > 0 && rng_one_in(rng, 2)) {
            n += (size_t)sprintf(to + n, "%s", rng_one_in(rng, 3) ? ".#." : ".");
        } else {
            random_text(rng, to + n, 1 + rng_below(rng, 3), "ab*?");
            n += strlen(to + n);
        }
    }
    to[n] = '\0';
}

Test(pattern, agrees_with_a_naive_matcher)
{
    FOR_SEEDS (seed, 3000) {
        struct rng rng = rng_from(seed);
        char pattern[256], real[512], text[16];
        size_t n = 0;

        arena_release(&arena);
        random_pattern(&rng, pattern, 0);
        if (pattern[strlen(pattern) - 1] == '.' || strstr(pattern, "..") != NULL || strstr(pattern, "**") != NULL)
            continue; /* empty components and ** have tests of their own */
        for (const char *at = pattern; *at != '\0'; at++)
            n += (size_t)sprintf(real + n, *at == '#' ? "**" : "%c", *at);
        for (int i = 0; i < 50; i++) {
            random_text(&rng, text, 1 + rng_below(&rng, 7), "aab.");
            if (strstr(text, "..") != NULL || text[0] == '.' || text[strlen(text) - 1] == '.')
                continue;
            cr_assert_eq(matches(real, text), naive_braces(pattern, text), "%s on %s", real, text);
        }
    }
}

/* Whatever the bytes: no crash, no limit passed in silence. */
Test(pattern, survives_rubbish)
{
    FOR_SEEDS (seed, 3000) {
        struct rng rng = rng_from(seed);
        char pattern[64], text[32];
        struct pattern *p;

        arena_release(&arena);
        random_text(&rng, pattern, rng_below(&rng, sizeof pattern), "ab{{,}}[]!-*?.\\\xc3\xa9");
        random_text(&rng, text, 1 + rng_below(&rng, sizeof text - 1), "ab{},[]!-*.\xc3\xa9");
        if (pattern_compile(span_str(pattern), &arena, &p, NULL) == 0)
            pattern_match(p, span_str(text));
    }
}
