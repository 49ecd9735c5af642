#!/usr/bin/env python3
"""Writes base/pow10_table.h: powers of ten, cut to 128 bits, for base/number.c.

Run it as: tools/gen_pow10.py > base/pow10_table.h
"""

MIN, MAX = -342, 324  # 10^-342: the smallest that a 19-digit mantissa needs; 10^324: Schubfach's largest


def top_128_bits(k):
    """floor(10^k / 2^e), with e such that the result has exactly 128 bits."""
    if k >= 0:
        power = 10**k
        shift = power.bit_length() - 128
        return power >> shift if shift >= 0 else power << -shift
    divisor = 10**-k
    shift = divisor.bit_length() + 128
    quotient = (1 << shift) // divisor  # 128 or 129 bits
    return quotient >> (quotient.bit_length() - 128)


print(f"""/* pow10_table.h - the first 128 bits of 10^k for k = {MIN}..{MAX}, rounded down.
 *
 * The high half comes first and has its top bit set. 10^0..10^55 are exact. Included by number.c only;
 * written by tools/gen_pow10.py. */
#ifndef PLUMBAGO_BASE_POW10_TABLE_H
#define PLUMBAGO_BASE_POW10_TABLE_H

#include <stdint.h>

enum {{ POW10_MIN = {MIN}, POW10_MAX = {MAX}, POW10_EXACT_MAX = 55 }};

/* clang-format off */
static const uint64_t pow10_table[POW10_MAX - POW10_MIN + 1][2] = {{""")
for k in range(MIN, MAX + 1):
    v = top_128_bits(k)
    print(f"    {{0x{v >> 64:016x}, 0x{v & (1 << 64) - 1:016x}}}, /* {k} */")
print("""};
/* clang-format on */

#endif""")
