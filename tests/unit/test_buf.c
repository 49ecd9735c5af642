#include "base/buf.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static void holds(const struct buf *b, const char *text)
{
    cr_assert(!b->failed);
    cr_assert(span_eq(buf_span(b), span_str(text)), "holds \"%.*s\", not \"%s\"", SPAN_ARG(buf_span(b)), text);
}

Test(buf, a_zeroed_one_is_ready)
{
    struct buf b = {0};

    holds(&b, "");
    buf_add_str(&b, "ab");
    buf_add_char(&b, 'c');
    buf_add(&b, "defg", 2);
    buf_add_span(&b, SPAN_LIT(""));
    buf_add_span(&b, span_of(NULL, 0));
    holds(&b, "abcde");
    buf_release(&b);
    holds(&b, "");
}

Test(buf, grows_as_needed)
{
    struct buf b = {0};

    for (int i = 0; i < 100000; i++)
        buf_add_char(&b, (char)('a' + i % 26));
    cr_assert_eq(b.len, 100000);
    for (int i = 0; i < 100000; i++)
        cr_assert_eq(b.ptr[i], 'a' + i % 26);
    buf_clear(&b);
    cr_assert(b.cap >= 100000 && b.len == 0);
    buf_release(&b);
}

Test(buf, fills_up_to_its_limit_and_fails_beyond)
{
    struct buf b;

    buf_init(&b, 10);
    buf_add_str(&b, "0123456789");
    holds(&b, "0123456789");
    buf_add_char(&b, 'x');
    cr_assert(b.failed);
    cr_assert_eq(b.len, 10);
    buf_add_str(&b, ""); /* nothing to add: no harm */
    buf_clear(&b);
    buf_add_str(&b, "again");
    holds(&b, "again");
    buf_addf(&b, "%s", "56789"); /* printf's zero byte does not count */
    holds(&b, "again56789");
    buf_release(&b);
    cr_assert_eq(b.max, 10);
}

Test(buf, an_error_is_sticky)
{
    struct buf b;

    buf_init(&b, 4);
    buf_add_str(&b, "12345");
    buf_add_str(&b, "1");
    cr_assert(b.failed && b.len == 0);
    cr_assert_not(buf_reserve(&b, 1));
    cr_assert_null(buf_detach(&b, &(size_t){0}));
    buf_release(&b);
}

Test(buf, an_absurd_size_fails)
{
    struct buf b = {0};

    buf_add_char(&b, 'a');
    cr_assert_not(buf_grow(&b, SIZE_MAX));
    cr_assert(b.failed);
    buf_clear(&b);
    cr_assert_not(buf_grow(&b, SIZE_MAX - 1));
    buf_release(&b);
}

Test(buf, prints_short_and_long)
{
    struct buf b = {0};
    char text[5001];

    memset(text, 'x', 5000);
    text[5000] = '\0';
    buf_addf(&b, "%d-%s", 42, "a");
    holds(&b, "42-a");
    buf_addf(&b, "%s", "");
    holds(&b, "42-a");
    buf_clear(&b);
    buf_addf(&b, "%s", text);
    holds(&b, text);
    buf_clear(&b);
    buf_addf(&b, "%.*s", 511, text);
    buf_addf(&b, "%.*s", 512, text);
    cr_assert_eq(b.len, 1023);
    buf_release(&b);
}

Test(buf, hands_its_bytes_over)
{
    struct buf b = {0};
    size_t len = 7;
    char *bytes;

    cr_assert_null(buf_detach(&b, &len));
    cr_assert_eq(len, 0);
    buf_add_str(&b, "mine");
    bytes = buf_detach(&b, &len);
    cr_assert(len == 4 && memcmp(bytes, "mine", 4) == 0);
    cr_assert_null(b.ptr);
    free(bytes);
}

static void json_is(struct span s, const char *utf8, const char *ascii)
{
    struct buf b = {0};

    buf_add_json(&b, s);
    holds(&b, utf8);
    buf_clear(&b);
    buf_add_json_ascii(&b, s);
    holds(&b, ascii);
    buf_release(&b);
}

Test(buf, writes_json_strings)
{
    json_is(SPAN_LIT(""), "\"\"", "\"\"");
    json_is(span_of(NULL, 0), "\"\"", "\"\"");
    json_is(SPAN_LIT("a.b"), "\"a.b\"", "\"a.b\"");
    json_is(SPAN_LIT("\"\\/\b\f\n\r\t"), "\"\\\"\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\"");
    json_is(SPAN_LIT("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\x7f\"", "\"\\u0000\\u0001\\u001f\x7f\"");
    json_is(SPAN_LIT("\u0142\u20ac"), "\"\u0142\u20ac\"", "\"\\u0142\\u20ac\"");
    json_is(SPAN_LIT("\U0001F600!"), "\"\U0001F600!\"", "\"\\ud83d\\ude00!\"");
}

Test(buf, replaces_what_is_not_utf8_in_json)
{
    json_is(SPAN_LIT("a\xff"
                     "b"),
            "\"a\uFFFD"
            "b\"",
            "\"a\\ufffdb\"");
    json_is(SPAN_LIT("\xc3"), "\"\uFFFD\"", "\"\\ufffd\"");
    json_is(SPAN_LIT("\xc0\x80"), "\"\uFFFD\uFFFD\"", "\"\\ufffd\\ufffd\"");
    json_is(SPAN_LIT("\xed\xa0\x80"), "\"\uFFFD\uFFFD\uFFFD\"", "\"\\ufffd\\ufffd\\ufffd\"");
    json_is(SPAN_LIT("\xf4\x90\x80\x80"
                     "z"),
            "\"\uFFFD\uFFFD\uFFFD\uFFFDz\"", "\"\\ufffd\\ufffd\\ufffd\\ufffdz\"");
}
