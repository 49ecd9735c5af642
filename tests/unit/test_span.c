#include "base/span.h"

#include <criterion/criterion.h>

Test(span, knows_what_is_equal)
{
    cr_assert(span_eq(SPAN_LIT("ab"), span_str("ab")));
    cr_assert_not(span_eq(SPAN_LIT("ab"), SPAN_LIT("abc")));
    cr_assert_not(span_eq(SPAN_LIT("ab"), SPAN_LIT("ac")));
    cr_assert(span_eq(span_of(NULL, 0), SPAN_LIT("")));
    cr_assert(span_eq(SPAN_LIT("a\0b"), span_of("a\0b", 3)));
}

Test(span, orders_bytes_and_puts_a_prefix_first)
{
    cr_assert_eq(span_cmp(SPAN_LIT("a"), SPAN_LIT("a")), 0);
    cr_assert_lt(span_cmp(SPAN_LIT("a"), SPAN_LIT("ab")), 0);
    cr_assert_gt(span_cmp(SPAN_LIT("b"), SPAN_LIT("ab")), 0);
    cr_assert_gt(span_cmp(SPAN_LIT("\xff"), SPAN_LIT("z")), 0); /* bytes are unsigned */
    cr_assert_lt(span_cmp(span_of(NULL, 0), SPAN_LIT("a")), 0);
    cr_assert_eq(span_cmp(span_of(NULL, 0), SPAN_LIT("")), 0);
}

Test(span, knows_its_start)
{
    cr_assert(span_starts(SPAN_LIT("carbon.agents"), SPAN_LIT("carbon.")));
    cr_assert(span_starts(SPAN_LIT("a"), span_of(NULL, 0)));
    cr_assert(span_starts(span_of(NULL, 0), span_of(NULL, 0)));
    cr_assert_not(span_starts(SPAN_LIT("a"), SPAN_LIT("ab")));
}

Test(span, a_cut_never_leaves_it)
{
    struct span s = SPAN_LIT("abcd");

    cr_assert(span_eq(span_cut(s, 1, 3), SPAN_LIT("bc")));
    cr_assert(span_eq(span_cut(s, 0, 100), s));
    cr_assert_eq(span_cut(s, 3, 2).len, 0);
    cr_assert_eq(span_cut(s, 100, 200).len, 0);
    cr_assert_eq(span_cut(s, 100, 200).ptr, s.ptr + 4);
}

Test(span, finds_a_byte_or_its_own_end)
{
    cr_assert_eq(span_find(SPAN_LIT("a.b.c"), '.'), 1);
    cr_assert_eq(span_find(SPAN_LIT("abc"), '.'), 3);
    cr_assert_eq(span_find(span_of(NULL, 0), '.'), 0);
    cr_assert_eq(span_find(SPAN_LIT("ab\0c"), '\0'), 2);
}
