#include "server/gzip.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <zlib.h>

static void assert_round_trip(struct span text)
{
    struct buf packed = {0};
    z_stream z = {0};
    unsigned char *back = malloc(text.len + 1);

    cr_assert(gzip_bytes(text, 1, &packed));
    cr_assert_eq(inflateInit2(&z, 15 + 16), Z_OK);
    z.next_in = (unsigned char *)packed.ptr;
    z.avail_in = (unsigned)packed.len;
    z.next_out = back;
    z.avail_out = (unsigned)text.len + 1;
    cr_assert_eq(inflate(&z, Z_FINISH), Z_STREAM_END);
    cr_assert_eq(z.total_out, text.len);
    cr_assert_eq(memcmp(back, text.ptr, text.len), 0);
    inflateEnd(&z);
    free(back);
    buf_release(&packed);
}

Test(gzip, is_undone_by_zlib)
{
    enum { BYTES = 3 << 20 };
    char *text = malloc(BYTES);
    unsigned seed = 1;

    for (int i = 0; i < BYTES; i++)
        text[i] = i % 3 == 0 ? (char)rand_r(&seed) : 'x';
    assert_round_trip(span_of(text, BYTES));
    assert_round_trip(span_of(text, 1));
    assert_round_trip(SPAN_LIT(""));
    free(text);
}

Test(gzip, leaves_the_output_alone_when_its_limit_is_passed)
{
    struct buf out = {.max = 16};

    buf_add_str(&out, "before");
    cr_assert_not(gzip_bytes(SPAN_LIT("something that does not fit into ten bytes"), 1, &out));
    cr_assert_eq(out.len, 6);
    buf_release(&out);
}
