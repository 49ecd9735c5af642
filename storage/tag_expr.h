/* tag_expr.h - tag expressions: "tag=v", "tag!=v", "tag=~regex", "tag!=~regex".
 *
 * As graphite-web has them (tags/base.py): a regular expression is anchored at the start of the value only; a
 * series without the tag has the empty value, so "tag=" means that it lacks the tag and "tag!=" that it has
 * it; "name" is the name of the series itself, which for a series without tags is all there is. */
#ifndef PLUMBAGO_STORAGE_TAG_EXPR_H
#define PLUMBAGO_STORAGE_TAG_EXPR_H

#include "base/arena.h"
#include "base/err.h"
#include "base/regex.h"
#include "base/span.h"

struct tag_expr {
    struct span tag;
    struct span value;   /* what stands behind the operator */
    struct regex *regex; /* NULL: compare VALUE */
    struct span prefix;  /* what every text begins with that REGEX finds */
    bool negated;
    bool fits_empty; /* a series without the tag fits */
};

/* Read COUNT expressions. ERR_INPUT when one is malformed, or when all of them fit a series that has no tags
 * and no name (that would be a search over everything). *out is in the arena; its regular expressions are not
 * (so that they can be compiled to machine code) and are given back by tag_exprs_release(); on failure nothing
 * is held. The texts are borrowed as long as *out. */
int tag_exprs_parse(const struct span *texts, size_t count, struct arena *arena, struct tag_expr **out,
                    struct err *err);
void tag_exprs_release(struct tag_expr *exprs, size_t count);

/* Whether E takes a series whose tag has this value. Any thread. */
bool tag_expr_fits(const struct tag_expr *e, struct span value);

/* The value of TAG in a canonical name ("m;a=1;b=2", or a plain one); empty when it has none. */
struct span tag_value_in(struct span name, struct span tag);

/* Whether the series of this canonical name fits all expressions. */
bool tag_exprs_match(const struct tag_expr *exprs, size_t count, struct span name);

#endif
