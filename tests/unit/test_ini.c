#include "base/ini.h"

#include "base/buf.h"
#include "base/file.h"
#include "tests/help/rng.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <stdio.h>

/* TEXT as "[section] key=value; key=value; [section] ..." with '\n' in values as "~". */
static struct buf shown(struct span text, unsigned flags)
{
    struct buf b = {0};
    struct err err = {0};
    struct ini *ini;

    if (ini_parse(text, "x.conf", flags, &ini, &err) < 0) {
        cr_assert_eq(err.code, ERR_INPUT);
        cr_assert_null(ini);
        buf_add_str(&b, err.text);
    } else {
        for (size_t i = 0; i < ini->count; i++) {
            buf_addf(&b, "%s[%.*s]", i == 0 ? "" : " ", SPAN_ARG(ini->sections[i].name));
            for (size_t k = 0; k < ini->sections[i].count; k++)
                buf_addf(&b, " %.*s=%.*s;", SPAN_ARG(ini->sections[i].options[k].key),
                         SPAN_ARG(ini->sections[i].options[k].value));
        }
        ini_free(ini);
    }
    for (size_t i = 0; i < b.len; i++)
        if (b.ptr[i] == '\n')
            b.ptr[i] = '~';
    return b;
}

static void reads_as(const char *text, const char *want)
{
    struct buf b = shown(span_str(text), INI_STRICT);

    cr_assert(span_eq(buf_span(&b), span_str(want)), "\"%s\" reads as \"%.*s\", not \"%s\"", text,
              SPAN_ARG(buf_span(&b)), want);
    buf_release(&b);
}

Test(ini, reads_sections_in_order)
{
    reads_as("", "");
    reads_as("\n\n# only a comment\n", "");
    reads_as("[b]\nk = 1\n[a]\n[c]\nk=2\nl=3", "[b] k=1; [a] [c] k=2; l=3;");
    reads_as("[with spaces and ]brackets]]\nk=1", "[with spaces and ]brackets]] k=1;");
    reads_as("[a] trailing\nk=1", "[a] k=1;");
    reads_as("  [a]\n  k=1\n  l=2", "[a] k=1; l=2;");
}

Test(ini, the_first_of_the_two_dividers_divides)
{
    reads_as("[a]\nk=1:2\nl:3=4\nm = a = b", "[a] k=1:2; l=3=4; m=a = b;");
    reads_as("[a]\nKey Name = x", "[a] key name=x;");
    reads_as("[a]\nk =", "[a] k=;");
    reads_as("[a]\nk = \t v \t", "[a] k=v;");
}

Test(ini, comments_are_whole_lines_only)
{
    reads_as("# x\n[a]\n; y\nk = 1 # stays\n  # also a comment\nl = ;stays", "[a] k=1 # stays; l=;stays;");
    reads_as("[a]\nk = ^stats\\.[#;]x$", "[a] k=^stats\\.[#;]x$;");
}

Test(ini, indented_lines_continue_a_value)
{
    reads_as("[a]\nk = 1\n  2\n\t3  \nl = 4", "[a] k=1~2~3; l=4;");
    reads_as("[a]\nk =\n  2\n  3", "[a] k=~2~3;");
    reads_as("[a]\nk = 1\n  # comment\n  2", "[a] k=1~2;");
    reads_as("[a]\nk = 1\n\n  2\n\n\nl=3", "[a] k=1~~2; l=3;");
    reads_as("[a]\n k = 1\n  2\n l = 3", "[a] k=1~2; l=3;");
    reads_as("[a]\nk = 1\n  [no section]\n  m = 2", "[a] k=1~[no section]~m = 2;");
    reads_as("[a]\n  k = 1\nl = 2", "[a] k=1; l=2;");
}

Test(ini, all_line_ends_end_lines)
{
    reads_as("[a]\r\nk = 1\r\n  2\r\nl = 3\r\n", "[a] k=1~2; l=3;");
    reads_as("[a]\rk = 1\rl = 3", "[a] k=1; l=3;");
    reads_as("[a]\r\n\r\nk = 1\r\n\r\n  2", "[a] k=1~~2;");
}

Test(ini, mistakes_name_file_and_line)
{
    reads_as("k = 1", "x.conf line 1: an option before the first [section]");
    reads_as("[a]\n\nnonsense", "x.conf line 3: expected \"key = value\" or \"[section]\"");
    reads_as("[a]\n= 1", "x.conf line 2: expected \"key = value\" or \"[section]\"");
    reads_as("[a]\n[]", "x.conf line 2: a section needs a name in brackets");
    reads_as("[a", "x.conf line 1: a section needs a name in brackets");
    reads_as("[a]\n[b]\n[a]", "x.conf line 3: section \"a\" is there already, in line 1");
    reads_as("[a]\nk=1\nl=2\nK=3", "x.conf line 4: option \"k\" is there already, in line 2");
}

Test(ini, options_before_a_section_only_when_allowed)
{
    struct buf b = shown(SPAN_LIT("k = 1\nl=2\n[a]\nk=3"), INI_ALLOW_GLOBAL);

    cr_assert(span_eq(buf_span(&b), SPAN_LIT("[] k=1; l=2; [a] k=3;")), "%.*s", SPAN_ARG(buf_span(&b)));
    buf_release(&b);
}

Test(ini, lines_have_no_limit)
{
    struct buf text = {0}, b;

    buf_add_str(&text, "[a]\npattern = ");
    for (int i = 0; i < 100000; i++)
        buf_add_char(&text, 'x');
    b = shown(buf_span(&text), INI_STRICT);
    cr_assert_eq(b.len, strlen("[a] pattern=;") + 100000);
    buf_release(&b);
    buf_release(&text);
}

Test(ini, knows_its_options_and_lines)
{
    struct ini *ini;

    cr_assert_eq(ini_parse(SPAN_LIT("# c\n[a]\nKey = v\n"), "f", INI_STRICT, &ini, NULL), 0);
    cr_assert_eq(ini->sections[0].line, 2);
    cr_assert_eq(ini_get(&ini->sections[0], "key")->line, 3);
    cr_assert_null(ini_get(&ini->sections[0], "Key"));
    cr_assert_null(ini_get(&ini->sections[0], "ke"));
    cr_assert_str_eq(ini->path, "f");
    ini_free(ini);
    ini_free(NULL);
}

Test(ini, loads_files)
{
    struct tmpdir dir;
    struct err err;
    struct ini *ini;

    tmpdir_init(&dir);
    cr_assert_eq(ini_load(tmpdir_file(&dir, "none.conf"), INI_STRICT, &ini, &err), ERR_MISSING);
    cr_assert_null(ini);
    cr_assert_eq(file_put(tmpdir_file(&dir, "some.conf"), SPAN_LIT("[a]\nk=1"), &err), 0);
    cr_assert_eq(ini_load(tmpdir_file(&dir, "some.conf"), INI_STRICT, &ini, &err), 0);
    cr_assert(span_eq(ini_get(&ini->sections[0], "k")->value, SPAN_LIT("1")));
    ini_free(ini);
    tmpdir_release(&dir);
}

Test(ini, random_text_is_read_or_refused)
{
    static const char letters[] = "ab[]=: \t\n\r#;\\\0x";

    FOR_SEEDS (seed, 3000) {
        struct rng r = rng_from(seed);
        size_t len = rng_below(&r, 200);
        char text[200];
        struct buf b;

        for (size_t i = 0; i < len; i++)
            text[i] = letters[rng_below(&r, sizeof(letters) - 1)];
        b = shown(span_of(text, len), seed % 2 == 0 ? INI_STRICT : INI_ALLOW_GLOBAL);
        buf_release(&b);
    }
}
