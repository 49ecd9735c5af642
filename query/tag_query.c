#include "query/tag_query.h"

static bool value_fits(const struct tag_query *e, struct span value)
{
    bool fits = e->regex != NULL ? regex_match(e->regex, value) : span_eq(e->value, value);

    return fits != e->negated;
}

static int expr_parse(struct span text, struct arena *arena, struct tag_query *e, struct err *err)
{
    size_t equal = span_find(text, '=');
    struct span pattern;

    *e = (struct tag_query){.tag = span_cut(text, 0, equal)};
    if (equal < text.len && e->tag.len > 0 && e->tag.ptr[e->tag.len - 1] == '!') {
        e->negated = true;
        e->tag.len--;
    }
    if (equal >= text.len || e->tag.len == 0)
        return err_set(err, ERR_INPUT, "Invalid tagspec %.*s", (int)(text.len < 200 ? text.len : 200), text.ptr);
    e->value = span_cut(text, equal + 1, text.len);
    if (e->value.len == 0 || e->value.ptr[0] != '~')
        return 0;
    pattern = span_cut(e->value, 1, e->value.len);
    return regex_compile(arena_join(arena, SPAN_LIT("(?:"), pattern, SPAN_LIT(")")), arena, &e->regex, err);
}

int tag_query_parse(const struct span *texts, size_t count, struct arena *arena, struct tag_query **out, struct err *err)
{
    struct tag_query *exprs = ARENA_ARRAY(arena, struct tag_query, count);
    bool narrows = false;

    for (size_t i = 0; i < count; i++) {
        int rc = expr_parse(texts[i], arena, &exprs[i], err);

        if (rc < 0)
            return rc;
        narrows |= !value_fits(&exprs[i], SPAN_LIT(""));
    }
    if (!narrows)
        return err_set(err, ERR_INPUT, "At least one tagspec must require a non-empty value");
    *out = exprs;
    return 0;
}

/* The value of TAG in the canonical name; empty when it has none. */
static struct span tag_of(struct span name, struct span tag)
{
    size_t at = span_find(name, ';');

    if (span_eq(tag, SPAN_LIT("name"))) {
        struct span metric = span_cut(name, 0, at);

        while (metric.len > 0 && metric.ptr[0] == '~')
            metric = span_cut(metric, 1, metric.len);
        return metric;
    }
    while (at < name.len) {
        struct span segment = span_cut(name, at + 1, name.len);

        segment.len = span_find(segment, ';');
        if (segment.len > tag.len && segment.ptr[tag.len] == '=' && span_starts(segment, tag))
            return span_cut(segment, tag.len + 1, segment.len);
        at += segment.len + 1;
    }
    return SPAN_LIT("");
}

bool tag_query_match(const struct tag_query *exprs, size_t count, struct span name)
{
    for (size_t i = 0; i < count; i++) {
        if (!value_fits(&exprs[i], tag_of(name, exprs[i].tag)))
            return false;
    }
    return true;
}
