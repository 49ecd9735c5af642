/* utf8.h - what is UTF-8 and what is not (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). */
#ifndef PLUMBAGO_BASE_UTF8_H
#define PLUMBAGO_BASE_UTF8_H

#include "base/span.h"

#include <stdint.h>

/* The code point at the start of S and how many bytes it takes; 0 bytes when there is no valid one
 * (then *code is undefined), as for an empty S. */
size_t utf8_decode(struct span s, uint32_t *code);

/* Whether all of S is UTF-8. */
bool utf8_valid(struct span s);

/* Whether all of S is below 0x80. */
bool utf8_is_ascii(struct span s);

#endif
