/* Evaluating tag expressions.
 *
 * An expression is one of four things, by what it says of one tag:
 *   IN       series with one value            tag=v
 *   IN_SOME  series with a value of a kind    tag=~re, tag!=   (and tag!=~re when the regex takes nothing)
 *   OUT      not the series with one value    tag!=v
 *   OUT_SOME not those with a value of a kind tag=, tag!=~re   (and tag=~re when the regex takes nothing too)
 * There is an IN or an IN_SOME, else the search would be over everything.
 *
 * 1. IN, rarest value first: the ids of one, intersected with those of the next. Without one, the IN_SOME whose
 *    tag has the fewest values: each value is judged once, and the ids of those that fit are united.
 * 2. OUT: subtracted.
 * 3. The rest, tags with few values first. Are there fewer series left than the tag has values, then the
 *    expression waits for 4; else all values are judged, and the union is intersected or subtracted.
 * 4. What waits is judged on the names of the series that are left; there the ids of series that are gone drop
 *    out as well.
 *
 * Bitmaps come from malloc, and an arena that is full jumps: hence arena_guard(). */
#include "base/must.h"
#include "storage/tag_index_int.h"

#include <stdlib.h>

enum term_kind { TERM_IN, TERM_OUT, TERM_IN_SOME, TERM_OUT_SOME, TERM_ALWAYS, TERM_NEVER };

struct term {
    const struct tag_expr *expr;
    enum term_kind kind;
    uint32_t key;
    uint32_t value;  /* of IN and OUT */
    uint64_t weight; /* series of IN and OUT, values of the others */
};

struct search {
    const struct tag_index *ix;
    struct arena *arena;
    struct err *err;
    /* what was asked */
    const struct tag_expr *exprs;
    size_t exprs_count;
    size_t max;
    const struct storage_stop *stop;
    const struct storage_tag_query *query;
    const struct regex *filter;
    uint32_t key; /* whose values are listed, or TAG_NONE */
    /* on the way */
    struct term *terms;
    size_t terms_count;
    const struct tag_expr **waiting; /* to be judged on names */
    size_t waiting_count;
    roaring_bitmap_t *found; /* held */
    roaring_bitmap_t *other; /* held */
    struct tag_union united; /* held */
    unsigned turns;          /* of long loops */
    int rc;                  /* why an iteration ended early */
    /* what came of it */
    struct storage_matches *matches;
    size_t matches_cap;
    struct storage_tag_list *list;
    size_t list_cap;
};

static void search_release(void *ctx)
{
    struct search *s = ctx;

    if (s->found != NULL)
        roaring_bitmap_free(s->found);
    if (s->other != NULL)
        roaring_bitmap_free(s->other);
    tag_union_release(&s->united);
}

/* Why a set could not be made. */
static int out_of_memory(struct search *s)
{
    if (s->rc == ERR_CANCELLED)
        return s->rc;
    return err_set(s->err, ERR_MEMORY, "a set of series");
}

/* Whether to give up; for every turn of a loop that may be long. */
static bool search_stopped(struct search *s)
{
    enum { TURNS = 64 }; /* a regular expression may take milliseconds for one text */

    if (s->stop == NULL || ++s->turns % TURNS != 0 || !s->stop->asked(s->stop->ctx))
        return false;
    s->rc = err_set(s->err, ERR_CANCELLED, "a search by tags was cancelled");
    return true;
}

/* ---- terms ---- */

static void term_one(const struct tag_index *ix, struct term *t, enum term_kind kind, enum term_kind without)
{
    t->value = tag_find_value(ix, t->key, t->expr->value);
    t->kind = t->value == TAG_NONE ? without : kind;
    if (t->value != TAG_NONE)
        t->weight = __atomic_load_n(&tag_value_of(ix, t->value)->live, __ATOMIC_RELAXED);
}

static void term_init(const struct tag_index *ix, const struct tag_expr *e, struct term *t)
{
    bool one = e->regex == NULL && e->value.len > 0;

    *t = (struct term){.expr = e, .key = tag_find_key(ix, e->tag)};
    if (t->key == TAG_NONE) {
        t->kind = e->fits_empty ? TERM_ALWAYS : TERM_NEVER;
        return;
    }
    t->weight = __atomic_load_n(&tag_key_of(ix, t->key)->values, __ATOMIC_RELAXED);
    if (one && !e->fits_empty)
        term_one(ix, t, TERM_IN, TERM_NEVER);
    else if (one)
        term_one(ix, t, TERM_OUT, TERM_ALWAYS);
    else
        t->kind = e->fits_empty ? TERM_OUT_SOME : TERM_IN_SOME;
}

/* In the order in which they are evaluated; without IN, the first IN_SOME goes to the front. */
static int by_cost(const void *a, const void *b)
{
    const struct term *x = a, *y = b;
    int kind_x = x->kind == TERM_OUT_SOME ? TERM_IN_SOME : (int)x->kind;
    int kind_y = y->kind == TERM_OUT_SOME ? TERM_IN_SOME : (int)y->kind;

    if (kind_x != kind_y)
        return kind_x - kind_y;
    return x->weight < y->weight ? -1 : x->weight > y->weight;
}

/* When the values of a tag are listed, that a series has it needs no judging: what lacks it shows no value. Only
 * when there is no other way to begin. */
static void terms_drop_presence(struct search *s)
{
    size_t narrow = 0, kept = 0;

    for (size_t i = 0; i < s->terms_count; i++)
        narrow += s->terms[i].kind == TERM_IN || s->terms[i].kind == TERM_IN_SOME;
    for (size_t i = 0; i < s->terms_count; i++) {
        const struct term *t = &s->terms[i];
        bool presence = t->key == s->key && t->kind == TERM_IN_SOME && t->expr->regex == NULL;

        if (presence && narrow > 1)
            narrow--;
        else
            s->terms[kept++] = *t;
    }
    s->terms_count = kept;
}

/* Fill and order s->terms. False when nothing can fit. */
static bool terms_init(struct search *s)
{
    s->terms = ARENA_ARRAY(s->arena, struct term, s->exprs_count);
    s->waiting = ARENA_ARRAY(s->arena, const struct tag_expr *, s->exprs_count);
    for (size_t i = 0; i < s->exprs_count; i++) {
        struct term *t = &s->terms[s->terms_count];

        term_init(s->ix, &s->exprs[i], t);
        if (t->kind == TERM_NEVER)
            return false;
        s->terms_count += t->kind != TERM_ALWAYS;
    }
    terms_drop_presence(s);
    qsort(s->terms, s->terms_count, sizeof s->terms[0], by_cost);
    size_t first = 0;
    while (first < s->terms_count && s->terms[first].kind != TERM_IN && s->terms[first].kind != TERM_IN_SOME)
        first++;
    MUST(first < s->terms_count); /* tag_exprs_parse() saw to it */
    if (first > 0 && s->terms[0].kind != TERM_IN) {
        struct term t = s->terms[first];
        memmove(s->terms + 1, s->terms, first * sizeof t);
        s->terms[0] = t;
    }
    return true;
}

/* The series that have a value that T speaks of: those to keep, or those to take away. NULL: no memory, or
 * stopped. */
static roaring_bitmap_t *term_series(struct search *s, const struct term *t)
{
    bool wanted = t->kind == TERM_IN || t->kind == TERM_IN_SOME;

    tag_union_init(&s->united);
    if (t->kind == TERM_IN || t->kind == TERM_OUT) {
        tag_union_add(&s->united, &tag_value_of(s->ix, t->value)->postings);
        return tag_union_finish(&s->united);
    }
    uint32_t id = tag_first_value(tag_key_of(s->ix, t->key));
    while (id != TAG_NONE) {
        const struct tag_value *value = tag_value_of(s->ix, id);
        if (search_stopped(s))
            return NULL;
        if (tag_expr_fits(t->expr, tag_value_text(value)) == wanted)
            tag_union_add(&s->united, &value->postings);
        id = tag_next_value(value);
    }
    return tag_union_finish(&s->united);
}

/* Narrow s->found by T. */
static int term_apply(struct search *s, const struct term *t)
{
    bool some = t->kind == TERM_IN_SOME || t->kind == TERM_OUT_SOME;

    if (t->kind == TERM_OUT) {
        tag_postings_subtract(&tag_value_of(s->ix, t->value)->postings, s->found);
        return 0;
    }
    if (some && roaring_bitmap_get_cardinality(s->found) <= t->weight) {
        s->waiting[s->waiting_count++] = t->expr;
        return 0;
    }
    if (t->kind == TERM_IN)
        s->other = tag_postings_and(&tag_value_of(s->ix, t->value)->postings, s->found);
    else
        s->other = term_series(s, t);
    if (s->other == NULL)
        return out_of_memory(s);
    if (t->kind == TERM_OUT_SOME)
        roaring_bitmap_andnot_inplace(s->found, s->other);
    else
        roaring_bitmap_and_inplace(s->found, s->other);
    roaring_bitmap_free(s->other);
    s->other = NULL;
    return 0;
}

/* Steps 1 to 3. Afterwards s->found holds all series that fit, and others that s->waiting keeps out. */
static int search_sets(struct search *s)
{
    int rc = 0;

    if (!terms_init(s)) {
        s->found = roaring_bitmap_create();
        return s->found == NULL ? out_of_memory(s) : 0;
    }
    s->found = term_series(s, &s->terms[0]);
    if (s->found == NULL)
        return out_of_memory(s);
    for (size_t i = 1; i < s->terms_count && rc == 0 && !roaring_bitmap_is_empty(s->found); i++)
        rc = term_apply(s, &s->terms[i]);
    return rc;
}

/* Step 4: the name of series ID, when it fits. */
static bool search_judge(const struct search *s, uint32_t id, struct span *name)
{
    if (!s->ix->names.name(s->ix->names.ctx, id, name))
        return false;
    for (size_t i = 0; i < s->waiting_count; i++)
        if (!tag_expr_fits(s->waiting[i], tag_value_in(*name, s->waiting[i]->tag)))
            return false;
    return true;
}

/* ---- find ---- */

static bool find_one(uint32_t id, void *ctx)
{
    struct search *s = ctx;
    struct storage_matches *out = s->matches;
    struct span name;

    if (search_stopped(s))
        return false;
    if (!search_judge(s, id, &name))
        return true;
    if (s->max != 0 && out->count == s->max) {
        s->rc = err_set(s->err, ERR_LIMIT, "more than %zu series", s->max);
        return false;
    }
    if (out->count == s->matches_cap) {
        size_t cap = s->matches_cap == 0 ? 256 : s->matches_cap * 2;
        out->items = arena_grow(s->arena, out->items, out->count, cap, sizeof out->items[0]);
        s->matches_cap = cap;
    }
    out->items[out->count++] = (struct storage_match){.path = name, .series = id, .leaf = true};
    return true;
}

static int run_find(void *ctx)
{
    struct search *s = ctx;
    int rc = search_sets(s);

    if (rc < 0)
        return rc;
    return roaring_iterate(s->found, find_one, s) ? 0 : s->rc;
}

int tag_index_find(const struct tag_index *ix, const struct tag_expr *exprs, size_t count, size_t max,
                   const struct storage_stop *stop, struct arena *arena, struct storage_matches *out, struct err *err)
{
    struct search s = {.ix = ix,
                       .arena = arena,
                       .err = err,
                       .exprs = exprs,
                       .exprs_count = count,
                       .max = max,
                       .stop = stop,
                       .key = TAG_NONE,
                       .matches = out};

    *out = (struct storage_matches){0};
    return arena_guard(arena, run_find, search_release, &s);
}

/* ---- lists of tags and values ---- */

static int by_tag_text(const void *a, const void *b)
{
    return span_cmp(((const struct storage_tag *)a)->text, ((const struct storage_tag *)b)->text);
}

static void list_sort(struct search *s)
{
    struct storage_tag_list *out = s->list;

    if (out->count > 0)
        qsort(out->items, out->count, sizeof out->items[0], by_tag_text);
    if (s->query->limit != 0 && out->count > s->query->limit)
        out->count = s->query->limit;
}

/* Add to the list. With a limit it never holds more than twice as many: when it is full the first ones are kept. */
static void list_add(struct search *s, struct span text, uint64_t series, uint32_t number)
{
    struct storage_tag_list *out = s->list;

    if (out->count == s->list_cap && s->query->limit != 0 && out->count >= 2 * s->query->limit)
        list_sort(s);
    if (out->count == s->list_cap) {
        size_t cap = s->list_cap == 0 ? 64 : s->list_cap * 2;
        out->items = arena_grow(s->arena, out->items, out->count, cap, sizeof out->items[0]);
        s->list_cap = cap;
    }
    out->items[out->count++] = (struct storage_tag){text, series, number};
}

static bool list_takes(const struct search *s, struct span text)
{
    return span_starts(text, s->query->prefix) && (s->filter == NULL || regex_match(s->filter, text));
}

static bool keep_one(uint32_t id, void *ctx)
{
    struct search *s = ctx;
    struct span name;

    if (search_judge(s, id, &name))
        roaring_bitmap_add(s->other, id);
    return !search_stopped(s);
}

/* s->found becomes exactly the series that fit. */
static int search_exactly(struct search *s)
{
    int rc = search_sets(s);

    if (rc < 0 || (s->waiting_count == 0 && __atomic_load_n(&s->ix->removed, __ATOMIC_ACQUIRE) == 0))
        return rc;
    s->other = roaring_bitmap_create();
    if (s->other == NULL)
        return out_of_memory(s);
    if (!roaring_iterate(s->found, keep_one, s))
        return s->rc;
    roaring_bitmap_free(s->found);
    s->found = s->other;
    s->other = NULL;
    return 0;
}

static void list_value(struct search *s, uint32_t id)
{
    const struct tag_value *value = tag_value_of(s->ix, id);

    list_add(s, tag_value_text(value), __atomic_load_n(&value->live, __ATOMIC_RELAXED), id + 1);
}

/* Notes the number of the value that series ID has of s->key in s->other. */
static bool value_of_one(uint32_t id, void *ctx)
{
    struct search *s = ctx;
    struct span name;

    if (s->ix->names.name(s->ix->names.ctx, id, &name)) {
        struct span text = tag_value_in(name, tag_key_text(tag_key_of(s->ix, s->key)));
        uint32_t value = text.len == 0 ? TAG_NONE : tag_find_value(s->ix, s->key, text);
        if (value != TAG_NONE)
            roaring_bitmap_add(s->other, value);
    }
    return !search_stopped(s);
}

static bool list_value_numbered(uint32_t id, void *ctx)
{
    struct search *s = ctx;
    if (list_takes(s, tag_value_text(tag_value_of(s->ix, id))))
        list_value(s, id);
    return !search_stopped(s);
}

/* Few series fit: their values are read from their names. */
static int values_of_series(struct search *s)
{
    s->other = roaring_bitmap_create();
    if (s->other == NULL)
        return out_of_memory(s);
    if (!roaring_iterate(s->found, value_of_one, s) || !roaring_iterate(s->other, list_value_numbered, s))
        return s->rc;
    return 0;
}

static int run_values(void *ctx)
{
    struct search *s = ctx;
    const struct tag_key *key = tag_key_of(s->ix, s->key);
    int rc = s->exprs_count == 0 ? 0 : search_exactly(s);

    if (rc == 0 && s->exprs_count != 0 &&
        roaring_bitmap_get_cardinality(s->found) < __atomic_load_n(&key->values, __ATOMIC_RELAXED)) {
        rc = values_of_series(s);
        list_sort(s);
        return rc;
    }
    for (uint32_t id = tag_first_value(key); rc == 0 && id != TAG_NONE;) {
        const struct tag_value *value = tag_value_of(s->ix, id);

        if (search_stopped(s))
            return s->rc;
        if (__atomic_load_n(&value->live, __ATOMIC_RELAXED) != 0 && list_takes(s, tag_value_text(value)) &&
            (s->exprs_count == 0 || tag_postings_meet(&value->postings, s->found)))
            list_value(s, id);
        id = tag_next_value(value);
    }
    list_sort(s);
    return rc;
}

int tag_index_values(const struct tag_index *ix, struct span tag, const struct tag_expr *exprs, size_t count,
                     const struct regex *filter, const struct storage_tag_query *q, struct arena *arena,
                     struct storage_tag_list *out, struct err *err)
{
    struct search s = {.ix = ix,
                       .arena = arena,
                       .err = err,
                       .exprs = exprs,
                       .exprs_count = count,
                       .stop = q->stop,
                       .query = q,
                       .filter = filter,
                       .key = tag_find_key(ix, tag),
                       .list = out};

    *out = (struct storage_tag_list){0};
    if (s.key == TAG_NONE)
        return err_set(err, ERR_MISSING, "no series has the tag %.*s", SPAN_ARG(span_cut(tag, 0, 200)));
    out->tag_number = s.key + 1;
    return arena_guard(arena, run_values, search_release, &s);
}

/* Whether a series of s->found has the tag. */
static bool key_is_met(struct search *s, const struct tag_key *key)
{
    for (uint32_t id = tag_first_value(key); id != TAG_NONE && !search_stopped(s);) {
        const struct tag_value *value = tag_value_of(s->ix, id);

        if (tag_postings_meet(&value->postings, s->found))
            return true;
        id = tag_next_value(value);
    }
    return false;
}

static bool is_named(const struct search *s, struct span tag)
{
    for (size_t i = 0; i < s->exprs_count; i++)
        if (span_eq(s->exprs[i].tag, tag))
            return true;
    return false;
}

static int run_tags(void *ctx)
{
    struct search *s = ctx;
    uint32_t keys = __atomic_load_n(&s->ix->key_count, __ATOMIC_ACQUIRE);
    int rc = s->exprs_count == 0 ? 0 : search_exactly(s);

    for (uint32_t id = 0; rc == 0 && id < keys; id++, rc = s->rc) {
        const struct tag_key *key = tag_key_of(s->ix, id);
        struct span text = tag_key_text(key);

        if (list_takes(s, text) && (s->exprs_count == 0 || (!is_named(s, text) && key_is_met(s, key))))
            list_add(s, text, 0, id + 1);
    }
    list_sort(s);
    return rc;
}

int tag_index_tags(const struct tag_index *ix, const struct tag_expr *exprs, size_t count, const struct regex *filter,
                   const struct storage_tag_query *q, struct arena *arena, struct storage_tag_list *out,
                   struct err *err)
{
    struct search s = {.ix = ix,
                       .arena = arena,
                       .err = err,
                       .exprs = exprs,
                       .exprs_count = count,
                       .stop = q->stop,
                       .query = q,
                       .filter = filter,
                       .key = TAG_NONE,
                       .list = out};

    *out = (struct storage_tag_list){0};
    return arena_guard(arena, run_tags, search_release, &s);
}
