#include "storage/tag_expr.h"

bool tag_expr_fits(const struct tag_expr *e, struct span value)
{
    bool fits;

    if (e->regex == NULL)
        fits = span_eq(e->value, value);
    else
        fits = span_starts(value, e->prefix) && regex_match(e->regex, value);
    return fits != e->negated;
}

/* The bytes up to the first one that means something: all texts that PATTERN finds begin with them, and looking at
 * these is ten times faster than asking the regular expression. One that a quantifier may take away does not count, and
 * where there are alternatives nothing is certain. */
static struct span plain_prefix(struct span pattern)
{
    static const char special[] = "\\^$.|?*+()[]{}";
    size_t n = 0;

    if (span_find(pattern, '|') != pattern.len)
        return SPAN_LIT("");
    if (pattern.len > 0 && pattern.ptr[0] == '^')
        pattern = span_cut(pattern, 1, pattern.len);
    while (n < pattern.len && memchr(special, pattern.ptr[n], sizeof special - 1) == NULL &&
           (pattern.ptr[n] & 0x80) == 0)
        n++;
    if (n > 0 && n < pattern.len && memchr("?*{", pattern.ptr[n], 3) != NULL)
        n--;
    return span_cut(pattern, 0, n);
}

static int malformed(struct span text, struct err *err)
{
    return err_set(err, ERR_INPUT, "Invalid tagspec %.*s", SPAN_ARG(span_cut(text, 0, 200)));
}

/* Cut TEXT by ([^;!=]+)(!?=~?)([^;]*). *pattern is set for a regular expression. */
static int expr_cut(struct span text, struct arena *arena, struct tag_expr *e, struct span *pattern, struct err *err)
{
    size_t at = 0;

    while (at < text.len && memchr(";!=", text.ptr[at], 3) == NULL)
        at++;
    *e = (struct tag_expr){.tag = span_cut(text, 0, at)};
    if (at == 0)
        return malformed(text, err);
    if (at < text.len && text.ptr[at] == '!') {
        e->negated = true;
        at++;
    }
    if (at >= text.len || text.ptr[at] != '=')
        return malformed(text, err);
    e->value = span_cut(text, at + 1, text.len);
    if (span_find(e->value, ';') != e->value.len)
        return malformed(text, err);
    if (e->value.len == 0 || e->value.ptr[0] != '~')
        return 0;
    e->value = span_cut(e->value, 1, e->value.len);
    e->prefix = plain_prefix(e->value);
    *pattern = arena_join(arena, SPAN_LIT("(?:"), e->value, SPAN_LIT(")"));
    return 0;
}

/* Nothing is taken from the arena once a regular expression is held: see arena.h. */
static int exprs_compile(struct tag_expr *exprs, const struct span *patterns, size_t count, struct err *err)
{
    bool narrows = false;
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++) {
        if (patterns[i].ptr != NULL)
            rc = regex_compile(patterns[i], NULL, &exprs[i].regex, err);
        if (rc == 0)
            exprs[i].fits_empty = tag_expr_fits(&exprs[i], SPAN_LIT(""));
        narrows |= !exprs[i].fits_empty;
    }
    if (rc == 0 && !narrows)
        rc = err_set(err, ERR_INPUT, "At least one tagspec must require a non-empty value");
    if (rc < 0)
        tag_exprs_release(exprs, count);
    return rc;
}

int tag_exprs_parse(const struct span *texts, size_t count, struct arena *arena, struct tag_expr **out, struct err *err)
{
    struct tag_expr *exprs = ARENA_ARRAY(arena, struct tag_expr, count);
    struct span *patterns = ARENA_ARRAY(arena, struct span, count);
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++)
        rc = expr_cut(texts[i], arena, &exprs[i], &patterns[i], err);
    if (rc == 0)
        rc = exprs_compile(exprs, patterns, count, err);
    *out = rc == 0 ? exprs : NULL;
    return rc;
}

void tag_exprs_release(struct tag_expr *exprs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        regex_free(exprs[i].regex);
        exprs[i].regex = NULL;
    }
}

struct span tag_value_in(struct span name, struct span tag)
{
    size_t at = span_find(name, ';');

    if (span_eq(tag, SPAN_LIT("name")))
        return span_cut(name, 0, at);
    while (at < name.len) {
        struct span segment = span_cut(name, at + 1, name.len);

        segment.len = span_find(segment, ';');
        if (segment.len > tag.len && segment.ptr[tag.len] == '=' && span_starts(segment, tag))
            return span_cut(segment, tag.len + 1, segment.len);
        at += segment.len + 1;
    }
    return SPAN_LIT("");
}

bool tag_exprs_match(const struct tag_expr *exprs, size_t count, struct span name)
{
    for (size_t i = 0; i < count; i++) {
        if (!tag_expr_fits(&exprs[i], tag_value_in(name, exprs[i].tag)))
            return false;
    }
    return true;
}
