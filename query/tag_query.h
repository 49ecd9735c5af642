/* tag_query.h - tag expressions: "tag=v", "tag!=v", "tag=~regex", "tag!=~regex".
 *
 * A regular expression is anchored at the start of the value only. A series without the tag has the
 * empty value; "name" is the name of the series itself. */
#ifndef PLUMBAGO_QUERY_TAG_QUERY_H
#define PLUMBAGO_QUERY_TAG_QUERY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/regex.h"
#include "base/span.h"

struct tag_query {
    struct span tag;
    bool negated;
    struct span value;
    struct regex *regex; /* NULL: compare VALUE */
};

/* Read COUNT expressions; *out is in the arena. ERR_INPUT when one is malformed, or when none of them
 * keeps out a series that has no tags (that would be a search over everything). */
int tag_query_parse(const struct span *texts, size_t count, struct arena *arena, struct tag_query **out,
                    struct err *err);

/* Whether the series of this canonical name ("m;a=1;b=2", or a plain one) fits all expressions. */
bool tag_query_match(const struct tag_query *exprs, size_t count, struct span name);

#endif
