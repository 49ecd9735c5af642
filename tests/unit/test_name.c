#include "storage/name.h"

#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static enum name_verdict verdict_of(struct span raw)
{
    char scratch[NAME_MAX_BYTES];
    struct span out;

    return name_canonical(raw, scratch, &out);
}

static void expect_canonical(const char *raw, const char *want)
{
    char scratch[NAME_MAX_BYTES];
    struct span out = {NULL, 0};
    enum name_verdict verdict = name_canonical(span_str(raw), scratch, &out);

    cr_expect_eq(verdict, NAME_OK, "%s: %s", raw, name_verdict_text(verdict));
    cr_expect(span_eq(out, span_str(want)), "%s became %.*s, not %s", raw, SPAN_ARG(out), want);
}

Test(name, canonical_ones_stay_where_they_are)
{
    const char *names[] = {"a",
                           "a.b",
                           "servers.web-0123-eu-west-1a.disk.nvme0n1.write.bytes",
                           "collectd.host.cpu-0.idle",
                           "ab.cd.ef.gh.ij.k",
                           "ab.cd.ef.gh.ij.kl",
                           "ab.cd.ef.gh.ij.klm",
                           "\303\274.\303\266",
                           "m;a=1;b=2",
                           "a=b.c:d",
                           "a b",
                           "x{y"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char scratch[NAME_MAX_BYTES];
        struct span out = {NULL, 0};
        cr_expect_eq(name_canonical(span_str(names[i]), scratch, &out), NAME_OK);
        cr_expect(out.ptr == names[i] && out.len == strlen(names[i]), "%s", names[i]);
    }
}

Test(name, empty_components_vanish)
{
    expect_canonical("a..b", "a.b");
    expect_canonical(".a", "a");
    expect_canonical("a.", "a");
    expect_canonical("...a....b..", "a.b");
    expect_canonical("long.enough.for.two.blocks..of.sixteen.bytes", "long.enough.for.two.blocks.of.sixteen.bytes");
}

Test(name, slashes_divide)
{
    expect_canonical("a/b", "a.b");
    expect_canonical("/a//b/", "a.b");
    expect_canonical("../../etc/passwd", "etc.passwd");
}

Test(name, tildes_in_front_vanish)
{
    expect_canonical("~a.b", "a.b");
    expect_canonical("~~.~a.~b", "a.~b");
    cr_expect_eq(verdict_of(SPAN_LIT("~")), NAME_EMPTY);
}

Test(name, refuses_what_is_no_name)
{
    cr_expect_eq(verdict_of(SPAN_LIT("")), NAME_EMPTY);
    cr_expect_eq(verdict_of(SPAN_LIT("...")), NAME_EMPTY);
    cr_expect_eq(verdict_of(SPAN_LIT("/")), NAME_EMPTY);
    cr_expect_eq(verdict_of(SPAN_LIT("a\0b")), NAME_CONTROL_BYTE);
    cr_expect_eq(verdict_of(SPAN_LIT("a\tb")), NAME_CONTROL_BYTE);
    cr_expect_eq(verdict_of(SPAN_LIT("a\x7f")), NAME_CONTROL_BYTE);
    cr_expect_eq(verdict_of(SPAN_LIT("a\xff")), NAME_NOT_UTF8);
    cr_expect_eq(verdict_of(SPAN_LIT("\xed\xa0\x80")), NAME_NOT_UTF8);
    cr_expect_eq(verdict_of(SPAN_LIT("\xc0\xae")), NAME_NOT_UTF8);
}

Test(name, knows_its_limits)
{
    char text[NAME_MAX_BYTES + 1];

    memset(text, 'x', sizeof text);
    cr_expect_eq(verdict_of(span_of(text, 255)), NAME_OK);
    cr_expect_eq(verdict_of(span_of(text, 256)), NAME_COMPONENT_TOO_LONG);
    cr_expect_eq(verdict_of(span_of(text, NAME_MAX_BYTES + 1)), NAME_TOO_LONG);
    for (size_t i = 255; i < sizeof text; i += 256)
        text[i] = '.';
    text[NAME_MAX_BYTES - 1] = 'x'; /* makes the last component one byte too long */
    cr_expect_eq(verdict_of(span_of(text, NAME_MAX_BYTES)), NAME_COMPONENT_TOO_LONG);
    text[NAME_MAX_BYTES - 2] = '.';
    cr_expect_eq(verdict_of(span_of(text, NAME_MAX_BYTES)), NAME_OK);
    for (size_t i = 0; i < sizeof text; i += 2)
        text[i] = 'a', text[i + 1 < sizeof text ? i + 1 : i] = '.';
    cr_expect_eq(verdict_of(span_of(text, NAME_MAX_BYTES - 1)), NAME_OK);
}

static const struct {
    const char *raw;
    const char *canonical; /* NULL: refused */
} carbon_says[] = {
    /* carbon 1.1.7, util.TaggedSeries.parse(raw).path */
    {"m;zz=1;aa=2", "m;aa=2;zz=1"},
    {"m;aa=2;zz=1", "m;aa=2;zz=1"},
    {"m;a=1;a=2", "m;a=2"},
    {"m;b=1;a=1;b=3;a=0", "m;a=0;b=3"},
    {"m;name=foo;x=1", "m;x=1"},
    {"m;name=foo", "m"},
    {"m{aa=\"1\",bb=\"two\"}", "m;aa=1;bb=two"},
    {"m{b=\"1\",a=\"2\"}", "m;a=2;b=1"},
    {"m{a=\"x\\\"y\"}", "m;a=x\"y"},
    {"m{a=\"x\\\\y\"}", "m;a=x\\y"},
    {"m{a=\"b=c\"}", "m;a=b=c"},
    {"m;aa=b=c", "m;aa=b=c"},
    {"~t.e;a=1", "t.e;a=1"},
    {"~~t;a=1", "t;a=1"},
    {"~plain.name", "plain.name"},
    {"m;a-b=1;a=1", "m;a-b=1;a=1"},
    {"m;a=1;a-b=1", "m;a-b=1;a=1"},
    {"m;a.b=1;a=2", "m;a.b=1;a=2"},
    {"m;a;b=1", NULL},
    {"m;=1", NULL},
    {"m;a=", NULL},
    {"m;a!b=1", NULL},
    {"m;a^b=1", NULL},
    {"m;a=~x", NULL},
    {"m;", NULL},
    {"m;;a=1", NULL},
    {";a=1", NULL},
    {"m{a=\"1\"", "m{a=\"1\""},
    {"m{a=1}", "m{a=1}"},
    {"m{a=\"1\"b=\"2\"}", NULL},
    {"m{a=\"~x\"}", NULL},
    {"m{a=\"x;y\"}", NULL},
    {"{a=\"1\"}", NULL},
    {"m{a=\"\",b=\"1\"}", NULL},
    {"m{=\"\"}", NULL},
    {"m{a=\"\\x\"}", NULL},
    {"m{}", "m{}"},
    {"m;a=1;name=x;b=2", "m;a=1;b=2"},
    {"\303\274;\303\266=\303\244", "\303\274;\303\266=\303\244"},
    {"m{name=\"z\"}", "m"},
    {"m{a!=\"1\"}", NULL},
    {"a..b;x=1", "a..b;x=1"},
    {"a/b;x=/var", "a/b;x=/var"},
    {"~;a=1", NULL},
    {"m;a=1;", NULL},
    {"m{a=\"1\",}", "m{a=\"1\",}"},
    {"m;b=2;a=1;b=2", "m;a=1;b=2"},
};

/* But for the dots and slashes of untagged names, which carbon's file paths deal with. */
Test(name, agrees_with_carbon_on_tags)
{
    for (size_t i = 0; i < sizeof carbon_says / sizeof *carbon_says; i++) {
        if (carbon_says[i].canonical != NULL)
            expect_canonical(carbon_says[i].raw, carbon_says[i].canonical);
        else
            cr_expect_neq(verdict_of(span_str(carbon_says[i].raw)), NAME_OK, "%s", carbon_says[i].raw);
    }
}

Test(name, says_what_is_wrong_with_a_tag)
{
    cr_expect_eq(verdict_of(SPAN_LIT("m;a")), NAME_TAG_NO_EQUALS);
    cr_expect_eq(verdict_of(SPAN_LIT("m;")), NAME_TAG_NO_EQUALS);
    cr_expect_eq(verdict_of(SPAN_LIT("m;=1")), NAME_TAG_EMPTY);
    cr_expect_eq(verdict_of(SPAN_LIT("m;a^=1")), NAME_TAG_BYTE);
    cr_expect_eq(verdict_of(SPAN_LIT("m;a=")), NAME_VALUE_EMPTY);
    cr_expect_eq(verdict_of(SPAN_LIT("m;a=~b")), NAME_VALUE_TILDE);
    cr_expect_eq(verdict_of(SPAN_LIT("m{a=\"b;c\"}")), NAME_VALUE_BYTE);
    cr_expect_eq(verdict_of(SPAN_LIT("m{a=\"b\"c=\"d\"}")), NAME_OPENMETRICS);
    cr_expect_eq(verdict_of(SPAN_LIT("m{\"}")), NAME_OPENMETRICS);
    cr_expect_eq(verdict_of(SPAN_LIT("m;a=1{b=\"2\"}")), NAME_OPENMETRICS);
    cr_expect_eq(verdict_of(SPAN_LIT(";a=1")), NAME_EMPTY);
    for (int v = 0; v < NAME_VERDICTS; v++)
        cr_expect(name_verdict_text((enum name_verdict)v)[0] != '\0');
}

Test(name, takes_as_many_tags_as_fit)
{
    char raw[NAME_MAX_BYTES], scratch[NAME_MAX_BYTES];
    struct span out;
    size_t n = 1;

    raw[0] = 'm';
    for (int i = 0; n + 5 <= sizeof raw; i++, n += 5)
        memcpy(raw + n, (char[]){';', (char)('a' + i % 26), (char)('a' + i / 26 % 26), '=', 'v'}, 5);
    cr_expect_eq(name_canonical(span_of(raw, n), scratch, &out), NAME_OK);
    cr_expect_eq(out.len, 1 + 26 * 26 * 5);
}

Test(name, tagged_or_not)
{
    cr_expect(name_is_tagged(SPAN_LIT("m;a=1")));
    cr_expect_not(name_is_tagged(SPAN_LIT("m.a=1")));
}

/* What comes out is canonical itself, and the fast path agrees with the slow one. */
Test(name, canonical_form_is_stable)
{
    FOR_SEEDS (seed, 20000) {
        struct rng rng = rng_from(seed);
        static const char letters[] = "aab..c/~;=n{\"}\xc3\xa9";
        char raw[80], scratch[NAME_MAX_BYTES], again[NAME_MAX_BYTES];
        size_t n = rng_below(&rng, sizeof raw);
        struct span once, twice;

        for (size_t i = 0; i < n; i++)
            raw[i] = rng_one_in(&rng, 3) ? letters[rng_below(&rng, sizeof letters - 1)] : 'x';
        if (name_canonical(span_of(raw, n), scratch, &once) != NAME_OK || once.ptr[once.len - 1] == '}')
            continue; /* a value with a quote and a brace may look like OpenMetrics the second time */
        cr_assert_eq(name_canonical(once, again, &twice), NAME_OK, "%.*s", SPAN_ARG(once));
        cr_assert(span_eq(once, twice), "%.*s and %.*s", SPAN_ARG(once), SPAN_ARG(twice));
        for (size_t i = 0; i + 1 < once.len && !name_is_tagged(once); i++)
            cr_assert(once.ptr[i] != '.' || once.ptr[i + 1] != '.');
    }
}
