#include "base/reader.h"

#include <criterion/criterion.h>

Test(reader, reads_little_endian_numbers_in_turn)
{
    static const char bytes[] = "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10";
    struct reader in = reader_of(span_of(bytes, 15));

    cr_assert_eq(read_u8(&in), 0x01);
    cr_assert_eq(read_u16(&in), 0x0302);
    cr_assert_eq(read_u32(&in), 0x07060504);
    cr_assert_eq(read_u64(&in), 0x0f0e0d0c0b0a0908);
    cr_assert_eq(in.offset, 15);
    cr_assert_not(in.bad);
    cr_assert_eq(reader_rest(&in).len, 0);
}

Test(reader, stays_bad_after_the_end)
{
    struct reader in = reader_of(SPAN_LIT("abc"));

    cr_assert_eq(read_u16(&in), 'a' | 'b' << 8);
    cr_assert_eq(read_u32(&in), 0);
    cr_assert(in.bad);
    cr_assert_eq(in.offset, 2, "says where it stopped");
    cr_assert_eq(read_u8(&in), 0, "even though there is one byte left");
    cr_assert_eq(read_bytes(&in, 1).len, 0);
}

Test(reader, lends_bytes)
{
    struct reader in = reader_of(SPAN_LIT("hello world"));

    cr_assert(span_eq(read_bytes(&in, 5), SPAN_LIT("hello")));
    cr_assert(span_eq(reader_rest(&in), SPAN_LIT(" world")));
    cr_assert_eq(read_bytes(&in, 0).len, 0);
    cr_assert_eq(read_bytes(&in, SIZE_MAX).len, 0);
    cr_assert(in.bad);
}

Test(reader, varints_round_trip)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int off = -1; off <= 1; off++) {
            uint64_t v = (UINT64_C(1) << bit) + (uint64_t)off;
            uint8_t bytes[VARINT_MAX];
            size_t len = (size_t)(put_varint(bytes, v) - bytes);
            struct reader in = reader_of(span_of(bytes, len));
            struct reader cut = reader_of(span_of(bytes, len - 1));

            cr_assert_eq(len, varint_size(v));
            cr_assert_eq(read_varint(&in), v);
            cr_assert(!in.bad && in.offset == len);
            read_varint(&cut);
            cr_assert(cut.bad);
        }
    }
}

Test(reader, refuses_varints_beyond_64_bits)
{
    static const char eleven[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    static const char bit_64[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02";
    static const char most[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    struct reader a = reader_of(span_of(eleven, 11)), b = reader_of(span_of(bit_64, 10)),
                  c = reader_of(span_of(most, 10));

    read_varint(&a);
    read_varint(&b);
    cr_assert(a.bad && b.bad);
    cr_assert_eq(read_varint(&c), UINT64_MAX);
    cr_assert_not(c.bad);
}

Test(reader, zigzag_is_small_for_small_numbers_of_both_signs)
{
    const int64_t ends[] = {0, -1, 1, -2, 2, 1000, -1000, INT64_MAX, INT64_MIN};

    cr_assert_eq(zigzag(0), 0);
    cr_assert_eq(zigzag(-1), 1);
    cr_assert_eq(zigzag(1), 2);
    cr_assert_eq(zigzag(-2), 3);
    for (int i = 0; i < 9; i++)
        cr_assert_eq(unzigzag(zigzag(ends[i])), ends[i]);
}

Test(reader, puts_what_it_reads)
{
    uint8_t bytes[32];
    uint8_t *end = put_uint(put_u64(put_u32(put_u16(bytes, 0x1122), 0x33445566), 0x778899aabbccddee), 0xabcdef, 3);
    struct reader in = reader_of(span_of(bytes, (size_t)(end - bytes)));

    cr_assert_eq(read_u16(&in), 0x1122);
    cr_assert_eq(read_u32(&in), 0x33445566);
    cr_assert_eq(read_u64(&in), 0x778899aabbccddee);
    cr_assert_eq(read_uint(&in, 3), 0xabcdef);
    cr_assert(!in.bad && in.offset == 17);
}
