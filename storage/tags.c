/* The store's face for tags. The index knows tagged series (tag_index.h). Series without tags are looked for
 * here: only an expression on "name" can ask for one, since by any other tag that must not be empty they do not
 * fit. An exact name is one look-up in the hash; for a regular expression all names are tried in the order in
 * which they stand in the log, most of them by the bytes with which the expression begins. */
#include "storage/internal.h"
#include "storage/name.h"
#include "storage/tag_index.h"

#include <stdlib.h>

/* What is held while the arena may jump. */
struct tags {
    struct storage *st;
    struct arena *arena;
    struct err *err;
    const struct span *texts;
    struct tag_expr *exprs; /* held */
    size_t count;
    struct regex *filter; /* held */
    /* find */
    size_t max;
    const struct storage_stop *stop;
    struct storage_matches *matches;
    size_t cap;
    /* lists */
    struct span tag;
    const struct storage_tag_query *query;
    struct storage_tag_list *list;
};

static void tags_release(void *ctx)
{
    struct tags *t = ctx;

    if (t->exprs != NULL)
        tag_exprs_release(t->exprs, t->count);
    regex_free(t->filter);
}

/* ---- series without tags ---- */

/* Whether a series without tags can fit: each expression that keeps out the empty value is on its name. */
static bool untagged_can_fit(const struct tags *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (!t->exprs[i].fits_empty && !span_eq(t->exprs[i].tag, SPAN_LIT("name")))
            return false;
    return true;
}

static int untagged_try(struct tags *t, uint32_t id)
{
    struct span name = series_name(&t->st->series, series_get(&t->st->series, id));
    struct storage_matches *out = t->matches;

    if (name_is_tagged(name) || !tag_exprs_match(t->exprs, t->count, name))
        return 0;
    if (t->max != 0 && out->count == t->max)
        return err_set(t->err, ERR_LIMIT, "more than %zu series", t->max);
    if (out->count >= t->cap) {
        t->cap = out->count * 2 + 64;
        out->items = arena_grow(t->arena, out->items, out->count, t->cap, sizeof out->items[0]);
    }
    out->items[out->count++] = (struct storage_match){.path = name, .series = id, .leaf = true};
    return 0;
}

/* What every name must begin with. */
static struct span untagged_prefix(const struct tags *t)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct tag_expr *e = &t->exprs[i];
        if (e->regex != NULL && !e->negated && span_eq(e->tag, SPAN_LIT("name")))
            return e->prefix;
    }
    return SPAN_LIT("");
}

static int untagged_scan(struct tags *t)
{
    const struct series_table *table = &t->st->series;
    uint32_t ids = __atomic_load_n(&table->ids, __ATOMIC_ACQUIRE);
    struct span prefix = untagged_prefix(t);
    unsigned tried = 0;
    int rc = 0;

    for (uint32_t id = 0; id < ids && rc == 0; id++) {
        if (!series_has_name(table, id))
            continue;
        struct span name = series_name(table, series_get(table, id));
        if (!span_starts(name, prefix))
            continue;
        if (t->stop != NULL && ++tried % 64 == 0 && t->stop->asked(t->stop->ctx))
            return err_set(t->err, ERR_CANCELLED, "a search by tags was cancelled");
        rc = untagged_try(t, id);
    }
    return rc;
}

static int untagged_find(struct tags *t)
{
    uint32_t id;

    if (!untagged_can_fit(t))
        return 0;
    for (size_t i = 0; i < t->count; i++) {
        const struct tag_expr *e = &t->exprs[i];
        if (e->regex == NULL && !e->negated && e->value.len > 0) /* name=... */
            return storage_lookup(t->st, e->value, &id) ? untagged_try(t, id) : 0;
    }
    return untagged_scan(t);
}

/* ---- find ---- */

static int by_path(const void *a, const void *b)
{
    return span_cmp(((const struct storage_match *)a)->path, ((const struct storage_match *)b)->path);
}

static int run_find(void *ctx)
{
    struct tags *t = ctx;
    int rc = tag_exprs_parse(t->texts, t->count, t->arena, &t->exprs, t->err);

    if (rc == 0)
        rc = tag_index_find(t->st->tags, t->exprs, t->count, t->max, t->stop, t->arena, t->matches, t->err);
    t->cap = t->matches->count;
    if (rc == 0)
        rc = untagged_find(t);
    if (rc == 0 && t->matches->count > 1)
        qsort(t->matches->items, t->matches->count, sizeof t->matches->items[0], by_path);
    return rc;
}

int storage_find_by_tags(struct storage *st, const struct span *exprs, size_t count, size_t max,
                         const struct storage_stop *stop, struct arena *arena, struct storage_matches *out,
                         struct err *err)
{
    struct tags t = {
        .st = st, .arena = arena, .err = err, .texts = exprs, .count = count, .max = max, .stop = stop, .matches = out};

    *out = (struct storage_matches){0};
    return arena_guard(arena, run_find, tags_release, &t);
}

/* ---- lists ---- */

static int filter_compile(struct tags *t)
{
    struct span filter = t->query->filter;

    if (filter.len == 0)
        return 0;
    filter = arena_join(t->arena, SPAN_LIT("(?:"), filter, SPAN_LIT(")"));
    return regex_compile(filter, NULL, &t->filter, t->err);
}

static int run_tags(void *ctx)
{
    struct tags *t = ctx;
    int rc = filter_compile(t);

    if (rc == 0 && t->count > 0)
        rc = tag_exprs_parse(t->texts, t->count, t->arena, &t->exprs, t->err);
    if (rc < 0)
        return rc;
    return tag_index_tags(t->st->tags, t->exprs, t->count, t->filter, t->query, t->arena, t->list, t->err);
}

int storage_tags(struct storage *st, const struct storage_tag_query *q, struct arena *arena,
                 struct storage_tag_list *out, struct err *err)
{
    struct tags t = {
        .st = st, .arena = arena, .err = err, .texts = q->exprs, .count = q->exprs_count, .query = q, .list = out};

    *out = (struct storage_tag_list){0};
    return arena_guard(arena, run_tags, tags_release, &t);
}

static bool is_a_tag(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (memchr(";!=", text.ptr[i], 3) != NULL)
            return false;
    return text.len > 0;
}

/* The expressions, and that the series have the tag. */
static int values_parse(struct tags *t)
{
    struct span *texts = ARENA_ARRAY(t->arena, struct span, t->count + 1);

    for (size_t i = 0; i < t->count; i++)
        texts[i] = t->texts[i];
    texts[t->count++] = arena_join(t->arena, t->tag, SPAN_LIT("!="), SPAN_LIT(""));
    return tag_exprs_parse(texts, t->count, t->arena, &t->exprs, t->err);
}

static int run_values(void *ctx)
{
    struct tags *t = ctx;
    int rc;

    if (!is_a_tag(t->tag))
        return err_set(t->err, ERR_MISSING, "this is no name of a tag");
    rc = filter_compile(t);
    if (rc == 0 && t->count > 0)
        rc = values_parse(t);
    if (rc < 0)
        return rc;
    return tag_index_values(t->st->tags, t->tag, t->exprs, t->count, t->filter, t->query, t->arena, t->list, t->err);
}

int storage_tag_values(struct storage *st, struct span tag, const struct storage_tag_query *q, struct arena *arena,
                       struct storage_tag_list *out, struct err *err)
{
    struct tags t = {.st = st,
                     .arena = arena,
                     .err = err,
                     .texts = q->exprs,
                     .count = q->exprs_count,
                     .tag = tag,
                     .query = q,
                     .list = out};

    *out = (struct storage_tag_list){0};
    return arena_guard(arena, run_values, tags_release, &t);
}
