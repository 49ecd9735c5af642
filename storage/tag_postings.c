#include "storage/tag_postings.h"

#include "base/must.h"

#include <stdlib.h>

struct tag_ids {
    roaring_bitmap_t *base; /* NULL: none yet; unchanged as long as readers may see it */
    uint32_t base_bytes;
    uint32_t count; /* atomic: ids in the tail */
    uint32_t cap;
    uint32_t tail[]; /* in no order */
};

enum {
    ARRAY_MAX = 64,   /* more ids than that get a bitmap */
    TAIL_SHARE = 16,  /* the tail has room for an id for each so many bytes of the bitmap, ... */
    TAIL_LEAST = 1024 /* ... or for a share of the ids as long as these are few: runs take next to no bytes */
};

/* ---- the word ---- */

static struct tag_ids *ids_of(uint64_t word)
{
    return (word & 1) != 0 ? NULL : (struct tag_ids *)(uintptr_t)word;
}

static uint64_t word_of(const struct tag_postings *p)
{
    return __atomic_load_n(&p->word, __ATOMIC_ACQUIRE);
}

static void publish(struct tag_postings *p, uint64_t word)
{
    __atomic_store_n(&p->word, word, __ATOMIC_RELEASE);
}

/* What a reader sees of a set: a bitmap or NULL, and a tail. */
struct seen {
    const roaring_bitmap_t *base;
    const uint32_t *tail;
    uint32_t count;
    uint32_t one; /* room for the id of a set of one */
};

static void see(const struct tag_postings *p, struct seen *out)
{
    uint64_t word = word_of(p);
    const struct tag_ids *ids = ids_of(word);

    *out = (struct seen){.one = (uint32_t)(word >> 1)};
    if (ids == NULL) {
        out->tail = &out->one;
        out->count = word != 0;
        return;
    }
    out->base = ids->base;
    out->tail = ids->tail;
    out->count = __atomic_load_n(&ids->count, __ATOMIC_ACQUIRE);
}

/* ---- memory ---- */

/* About what the bitmap takes on the heap: what it would take in a file, and the records of its containers. (The
 * library's statistics know better, but walk over all ids.) */
static uint32_t bitmap_bytes(const roaring_bitmap_t *set)
{
    enum { CONTAINER_BYTES = 40, BITMAP_BYTES = 64 };
    uint64_t bytes = roaring_bitmap_portable_size_in_bytes(set) +
                     (uint64_t)set->high_low_container.size * CONTAINER_BYTES + BITMAP_BYTES;

    return bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
}

static struct tag_ids *ids_new(uint32_t cap, struct tree_heap *heap)
{
    struct tag_ids *ids = tree_heap_alloc(heap, sizeof *ids + cap * sizeof ids->tail[0]);

    if (ids != NULL)
        *ids = (struct tag_ids){.cap = cap};
    return ids;
}

void tag_ids_free(struct tag_ids *ids, struct tree_heap *heap)
{
    if (ids->base != NULL) {
        tree_heap_count(heap, -(int64_t)ids->base_bytes);
        roaring_bitmap_free(ids->base);
    }
    tree_heap_free(heap, ids);
}

/* The values of one tag grow together; so that they do not all need a new bitmap at the same time, CHANCE (0 to 255)
 * takes up to a third of the room away. */
static uint32_t tail_room(uint32_t base_bytes, uint64_t ids, uint32_t chance)
{
    uint64_t few = ids / TAIL_SHARE < TAIL_LEAST ? ids / TAIL_SHARE : TAIL_LEAST;
    uint64_t room = base_bytes / TAIL_SHARE > few ? base_bytes / TAIL_SHARE : few;

    return (uint32_t)(room - room * chance / (3 * 256));
}

/* ids with BASE, which is taken over, and an empty tail. NULL when memory is short. */
static struct tag_ids *ids_over(roaring_bitmap_t *base, struct tree_heap *heap)
{
    roaring_bitmap_run_optimize(base);
    roaring_bitmap_shrink_to_fit(base);
    uint32_t bytes = bitmap_bytes(base);
    uint32_t chance = (uint32_t)((uintptr_t)base * UINT64_C(0x9E3779B97F4A7C15) >> 56);
    struct tag_ids *ids = ids_new(tail_room(bytes, roaring_bitmap_get_cardinality(base), chance), heap);

    if (ids == NULL) {
        roaring_bitmap_free(base);
        return NULL;
    }
    ids->base = base;
    ids->base_bytes = bytes;
    tree_heap_count(heap, bytes);
    return ids;
}

/* ---- writing ---- */

/* An array of twice the room, or, when it is long, a bitmap. */
static struct tag_ids *ids_grown(struct tag_ids *old, struct tree_heap *heap)
{
    if (old->base == NULL && old->cap < ARRAY_MAX) {
        struct tag_ids *ids = ids_new(old->cap * 2, heap);
        if (ids != NULL) {
            memcpy(ids->tail, old->tail, old->count * sizeof ids->tail[0]);
            ids->count = old->count;
        }
        return ids;
    }
    roaring_bitmap_t *base = NULL;
    if (old->base == NULL) {
        base = roaring_bitmap_create();
    } else if (heap->at_once) { /* nobody reads: no need for a copy */
        base = old->base;
        old->base = NULL;
        tree_heap_count(heap, -(int64_t)old->base_bytes);
    } else {
        base = roaring_bitmap_copy(old->base);
    }
    if (base == NULL)
        return NULL;
    roaring_bitmap_add_many(base, old->count, old->tail);
    return ids_over(base, heap);
}

bool tag_postings_reserve(struct tag_postings *p, struct tree_heap *heap)
{
    struct tag_ids *old = ids_of(p->word), *ids;

    if (p->word == 0 || (old != NULL && old->count < old->cap))
        return true;
    if (old == NULL) {
        ids = ids_new(4, heap);
        if (ids != NULL)
            ids->tail[ids->count++] = (uint32_t)(p->word >> 1);
    } else {
        ids = ids_grown(old, heap);
    }
    if (ids == NULL)
        return false;
    publish(p, (uintptr_t)ids);
    if (old != NULL)
        tree_heap_retire_kind(heap, old, TAG_IDS_KIND);
    return true;
}

void tag_postings_add(struct tag_postings *p, uint32_t id)
{
    struct tag_ids *ids = ids_of(p->word);

    if (p->word == 0) {
        publish(p, (uint64_t)id << 1 | 1);
        return;
    }
    MUST(ids != NULL && ids->count < ids->cap);
    ids->tail[ids->count] = id;
    __atomic_store_n(&ids->count, ids->count + 1, __ATOMIC_RELEASE);
}

struct filter {
    bool (*keep)(void *ctx, uint32_t id);
    void *ctx;
    roaring_bitmap_t *kept;
};

static bool filter_one(uint32_t id, void *ctx)
{
    struct filter *f = ctx;

    if (f->keep(f->ctx, id))
        roaring_bitmap_add(f->kept, id);
    return true;
}

void tag_postings_filter(struct tag_postings *p, bool (*keep)(void *ctx, uint32_t id), void *ctx,
                         struct tree_heap *heap)
{
    struct tag_ids *old = ids_of(p->word), *ids;
    struct filter f = {.keep = keep, .ctx = ctx};

    if (old == NULL || (f.kept = roaring_bitmap_create()) == NULL)
        return;
    if (old->base != NULL)
        roaring_iterate(old->base, filter_one, &f);
    for (uint32_t i = 0; i < old->count; i++)
        filter_one(old->tail[i], &f);
    ids = ids_over(f.kept, heap);
    if (ids == NULL)
        return;
    publish(p, (uintptr_t)ids);
    tree_heap_retire_kind(heap, old, TAG_IDS_KIND);
}

void tag_postings_release(struct tag_postings *p, struct tree_heap *heap)
{
    struct tag_ids *old = ids_of(p->word);

    publish(p, 0);
    if (old != NULL)
        tree_heap_retire_kind(heap, old, TAG_IDS_KIND);
}

/* ---- reading ---- */

void tag_union_init(struct tag_union *u)
{
    *u = (struct tag_union){.set = roaring_bitmap_create()};
    u->failed = u->set == NULL;
}

static bool union_room(struct tag_union *u, size_t more)
{
    if (u->failed || u->cap - u->count >= more)
        return !u->failed;
    size_t cap = u->cap * 2 + more + 64;
    uint32_t *ids = realloc(u->ids, cap * sizeof *ids);
    if (ids == NULL) {
        u->failed = true;
        return false;
    }
    u->ids = ids;
    u->cap = cap;
    return true;
}

void tag_union_add(struct tag_union *u, const struct tag_postings *p)
{
    struct seen s;

    see(p, &s);
    if (!union_room(u, s.count))
        return;
    if (s.base != NULL)
        roaring_bitmap_lazy_or_inplace(u->set, s.base, true);
    for (uint32_t i = 0; i < s.count; i++)
        u->ids[u->count++] = s.tail[i];
}

roaring_bitmap_t *tag_union_finish(struct tag_union *u)
{
    roaring_bitmap_t *set = u->failed ? NULL : u->set;

    if (set != NULL) {
        roaring_bitmap_repair_after_lazy(set);
        roaring_bitmap_add_many(set, u->count, u->ids);
        u->set = NULL;
    }
    tag_union_release(u);
    return set;
}

void tag_union_release(struct tag_union *u)
{
    if (u->set != NULL)
        roaring_bitmap_free(u->set);
    free(u->ids);
    *u = (struct tag_union){.set = NULL};
}

roaring_bitmap_t *tag_postings_and(const struct tag_postings *p, const roaring_bitmap_t *set)
{
    struct seen s;

    see(p, &s);
    roaring_bitmap_t *both = s.base == NULL ? roaring_bitmap_create() : roaring_bitmap_and(set, s.base);
    for (uint32_t i = 0; both != NULL && i < s.count; i++)
        if (roaring_bitmap_contains(set, s.tail[i]))
            roaring_bitmap_add(both, s.tail[i]);
    return both;
}

void tag_postings_subtract(const struct tag_postings *p, roaring_bitmap_t *set)
{
    struct seen s;

    see(p, &s);
    if (s.base != NULL)
        roaring_bitmap_andnot_inplace(set, s.base);
    for (uint32_t i = 0; i < s.count; i++)
        roaring_bitmap_remove(set, s.tail[i]);
}

bool tag_postings_has(const struct tag_postings *p, uint32_t id)
{
    struct seen s;

    see(p, &s);
    for (uint32_t i = 0; i < s.count; i++)
        if (s.tail[i] == id)
            return true;
    return s.base != NULL && roaring_bitmap_contains(s.base, id);
}

bool tag_postings_meet(const struct tag_postings *p, const roaring_bitmap_t *set)
{
    struct seen s;

    see(p, &s);
    if (s.base != NULL && roaring_bitmap_intersect(s.base, set))
        return true;
    for (uint32_t i = 0; i < s.count; i++)
        if (roaring_bitmap_contains(set, s.tail[i]))
            return true;
    return false;
}
