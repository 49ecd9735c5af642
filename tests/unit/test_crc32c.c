#include "base/crc32c.h"

#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* Bit by bit, as the definition says. */
static uint32_t by_definition(const unsigned char *p, size_t len)
{
    uint32_t crc = 0xFFFFFFFF;

    for (; len > 0; len--, p++) {
        crc ^= *p;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
    }
    return ~crc;
}

Test(crc32c, gives_the_known_answers)
{
    unsigned char bytes[32];

    cr_assert_eq(crc32c("", 0), 0);
    cr_assert_eq(crc32c(NULL, 0), 0);
    cr_assert_eq(crc32c("123456789", 9), 0xE3069283);
    memset(bytes, 0, 32); /* RFC 3720, B.4 */
    cr_assert_eq(crc32c(bytes, 32), 0x8A9136AA);
    memset(bytes, 0xFF, 32);
    cr_assert_eq(crc32c(bytes, 32), 0x62A8AB43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    cr_assert_eq(crc32c(bytes, 32), 0x46DD794E);
}

Test(crc32c, agrees_with_the_definition_at_every_length_and_alignment)
{
    static const size_t around[] = {0, 8, 64, 768, 1536, 12288, 13056, 24576, 40000};
    struct rng r = rng_from(rng_seed_first());
    unsigned char *bytes = malloc(40100);

    rng_fill(&r, bytes, 40100);
    for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++)
        for (size_t len = around[i] < 20 ? 0 : around[i] - 20; len < around[i] + 20; len++)
            cr_assert_eq(crc32c(bytes + len % 9, len), by_definition(bytes + len % 9, len), "length %zu", len);
    free(bytes);
}

Test(crc32c, goes_on_where_it_stopped)
{
    struct rng r = rng_from(rng_seed_first());
    unsigned char bytes[30000];

    rng_fill(&r, bytes, sizeof(bytes));
    for (int i = 0; i < 200; i++) {
        size_t cut = rng_below(&r, sizeof(bytes));

        cr_assert_eq(crc32c_more(crc32c(bytes, cut), bytes + cut, sizeof(bytes) - cut), crc32c(bytes, sizeof(bytes)));
    }
}

Test(crc32c, the_table_gives_the_same)
{
    struct rng r = rng_from(rng_seed_first());
    unsigned char bytes[1000];

    rng_fill(&r, bytes, sizeof(bytes));
    for (size_t len = 0; len < sizeof(bytes); len++)
        cr_assert_eq(crc32c_more_by_table((uint32_t)len, bytes, len), crc32c_more((uint32_t)len, bytes, len));
}
