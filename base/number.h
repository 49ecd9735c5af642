/* number.h - decimal <-> double, exact to the bit in both directions, and fast.
 *
 * Reading: Clinger's fast path (a mantissa up to 2^53 and a power of ten up to 10^22: one exact
 * multiplication or division), then Eisel and Lemire's method with a 128-bit power table ("Number
 * Parsing at a Gigabyte per Second", 2021), then strtod.
 * Writing: decimals with few digits by trial of exact powers; everything else by Schubfach
 * (Raffaello Giulietti, "The Schubfach way to render doubles", 2020): the shortest digits that read
 * back as the same double, nearest to it, as Python's repr() gives them. */
#ifndef PLUMBAGO_BASE_NUMBER_H
#define PLUMBAGO_BASE_NUMBER_H

#include "base/span.h"

#include <stdint.h>

/* Read a double as Python's float() does, without surrounding blanks: sign, digits with single
 * underscores between digits, optional fraction and exponent, "inf", "infinity", "nan" in any case
 * with a sign. No hexadecimal. All of S must be used. Overflow gives an infinity.
 * False when S is no number (then *out is unchanged). */
bool number_parse(struct span s, double *out);

/* Read an unsigned or signed decimal integer that uses all of S and fits 64 bits. */
bool number_parse_i64(struct span s, int64_t *out);

enum { NUMBER_MAX = 32 }; /* bytes that any of the writers below may need */

/* Python's repr(): shortest round-trip digits, "1.0", "1e-07", "1e+16", "inf", "-inf", "nan", "-0.0".
 * Returns the number of bytes written to TO (at most NUMBER_MAX; not terminated). */
size_t number_repr(double v, char *to);

/* C's "%g" and "%d" have printf; this one is for the hot path: an integer in decimal. */
size_t number_i64(int64_t v, char *to);

/* Whether V is DIGITS / 10^EXPONENT exactly as strtod would read that decimal, with the smallest
 * exponent of 0..max_exponent (at most 22) and |digits| < 2^53. False for infinities, NaN, -0.0 and
 * everything that has no such form. */
bool number_decimal(double v, int max_exponent, int64_t *digits, int *exponent);

#endif
