/* regex.h - regular expressions in Python's sense, by PCRE2 with its JIT and with limits set.
 *
 * Immutable once compiled: any thread may match. Patterns are UTF-8 when valid, else bytes. */
#ifndef PLUMBAGO_BASE_REGEX_H
#define PLUMBAGO_BASE_REGEX_H

#include "base/err.h"
#include "base/span.h"

struct arena;
struct buf;
struct regex;

/* Compile. *out is the caller's, to be given back with regex_free(); on failure NULL and ERR_INPUT
 * with the reason and the position in the pattern. With an ARENA all its memory comes from there and
 * regex_free() is not to be called. */
int regex_compile(struct span pattern, struct arena *arena, struct regex **out, struct err *err);
void regex_free(struct regex *re); /* NULL is fine */

/* Python's re.search: anywhere in TEXT. */
bool regex_search(const struct regex *re, struct span text);

/* Python's re.match: at the start of TEXT only. */
bool regex_match(const struct regex *re, struct span text);

/* Python's re.sub with a template that knows \1..\99 and \g<name>: all matches, or the first COUNT
 * when COUNT > 0. Appends to OUT. ERR_INPUT for a group that the pattern does not have. */
int regex_sub(const struct regex *re, struct span text, struct span replacement, int count, struct buf *out,
              struct err *err);

#endif
