#include "base/utf8.h"

#include <criterion/criterion.h>

static void decodes(struct span s, size_t n, uint32_t code)
{
    uint32_t got = 0;

    cr_assert_eq(utf8_decode(s, &got), n);
    if (n != 0)
        cr_assert_eq(got, code);
}

Test(utf8, decodes_the_edges_of_each_length)
{
    decodes(SPAN_LIT("\0"), 1, 0);
    decodes(SPAN_LIT("\x7f"), 1, 0x7F);
    decodes(SPAN_LIT("\xc2\x80"), 2, 0x80);
    decodes(SPAN_LIT("\xdf\xbf"), 2, 0x7FF);
    decodes(SPAN_LIT("\xe0\xa0\x80"), 3, 0x800);
    decodes(SPAN_LIT("\xed\x9f\xbf"), 3, 0xD7FF);
    decodes(SPAN_LIT("\xee\x80\x80"), 3, 0xE000);
    decodes(SPAN_LIT("\xef\xbf\xbf"), 3, 0xFFFF);
    decodes(SPAN_LIT("\xf0\x90\x80\x80"), 4, 0x10000);
    decodes(SPAN_LIT("\xf4\x8f\xbf\xbf"), 4, 0x10FFFF);
}

Test(utf8, refuses_what_is_none)
{
    decodes(SPAN_LIT(""), 0, 0);
    decodes(SPAN_LIT("\x80"), 0, 0);
    decodes(SPAN_LIT("\xc1\xbf"), 0, 0);         /* overlong */
    decodes(SPAN_LIT("\xe0\x9f\xbf"), 0, 0);     /* overlong */
    decodes(SPAN_LIT("\xf0\x8f\xbf\xbf"), 0, 0); /* overlong */
    decodes(SPAN_LIT("\xed\xa0\x80"), 0, 0);     /* surrogate */
    decodes(SPAN_LIT("\xf4\x90\x80\x80"), 0, 0); /* beyond U+10FFFF */
    decodes(SPAN_LIT("\xf5\x80\x80\x80"), 0, 0);
    decodes(SPAN_LIT("\xff"), 0, 0);
    decodes(SPAN_LIT("\xe2\x82"), 0, 0); /* cut off */
    decodes(SPAN_LIT("\xe2\x28\xa1"), 0, 0);
}

Test(utf8, checks_whole_texts)
{
    cr_assert(utf8_valid(SPAN_LIT("")));
    cr_assert(utf8_valid(span_of(NULL, 0)));
    cr_assert(utf8_valid(SPAN_LIT("plain and longer than eight")));
    cr_assert(utf8_valid(SPAN_LIT("12345678\u0142 12345678 \U0001F600")));
    cr_assert_not(utf8_valid(SPAN_LIT("12345678\xff")));
    cr_assert_not(utf8_valid(SPAN_LIT("12345678901\xc3")));
    cr_assert(utf8_is_ascii(SPAN_LIT("")));
    cr_assert(utf8_is_ascii(SPAN_LIT("123456789")));
    cr_assert_not(utf8_is_ascii(SPAN_LIT("12345678\xc5\x82")));
    cr_assert_not(utf8_is_ascii(SPAN_LIT("\xc5\x82 12345678")));
}
