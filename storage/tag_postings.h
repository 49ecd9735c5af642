/* tag_postings.h - which series have one value of one tag: a set of ids that is read while it grows.
 *
 * One id is kept in the word itself. More are an array; beyond some tens a roaring bitmap (Lemire et al.,
 * "Roaring Bitmaps: Implementation of an Optimized Software Library", 2018), which never changes once it is
 * published, with an array behind it for what came since: the tail. Adding an id is a store into the tail. When that is
 * full, a new bitmap of both replaces the old one, which is freed after a grace period. The tail's room is a
 * share of the bitmap's size, so the copying is amortised and what waits to be freed is bounded by it.
 *
 * One writer at a time; any number of readers between grace_enter() and grace_leave(), who never wait and
 * never make the writer wait. */
#ifndef PLUMBAGO_STORAGE_TAG_POSTINGS_H
#define PLUMBAGO_STORAGE_TAG_POSTINGS_H

#include "storage/tree_heap.h"

#include <roaring/roaring.h>

/* Zeroed is empty. */
struct tag_postings {
    uint64_t word; /* atomic: 0: none; id << 1 | 1; or a pointer to struct tag_ids */
};

/* What the owner's heap.dispose() has to hand to tag_ids_free(). */
enum { TAG_IDS_KIND = 1 };
struct tag_ids;
void tag_ids_free(struct tag_ids *ids, struct tree_heap *heap);

/* ---- writing ---- */

/* Make room, so that the next tag_postings_add() cannot fail. False when memory is short: nothing changed. */
bool tag_postings_reserve(struct tag_postings *p, struct tree_heap *heap);

/* Add ID (below 2^31), for which room was made. An id that is there already may come again. */
void tag_postings_add(struct tag_postings *p, uint32_t id);

/* Keep only ids of which KEEP is true. When memory is short nothing changes. */
void tag_postings_filter(struct tag_postings *p, bool (*keep)(void *ctx, uint32_t id), void *ctx,
                         struct tree_heap *heap);

/* Retire all memory; the set is empty afterwards. */
void tag_postings_release(struct tag_postings *p, struct tree_heap *heap);

/* ---- reading ---- */

/* Many sets into one: init, add each, finish. */
struct tag_union {
    roaring_bitmap_t *set; /* of bitmaps, not yet repaired */
    uint32_t *ids;         /* of tails */
    size_t count, cap;
    bool failed;
};
void tag_union_init(struct tag_union *u);
void tag_union_add(struct tag_union *u, const struct tag_postings *p);

/* The set, the caller's, to be given back with roaring_bitmap_free(); NULL when memory was short. The union is
 * empty afterwards. */
roaring_bitmap_t *tag_union_finish(struct tag_union *u);
void tag_union_release(struct tag_union *u);

/* SET without the ids that are not in P: a new set, the caller's; NULL when memory is short. */
roaring_bitmap_t *tag_postings_and(const struct tag_postings *p, const roaring_bitmap_t *set);

/* Take the ids of P out of SET. */
void tag_postings_subtract(const struct tag_postings *p, roaring_bitmap_t *set);

bool tag_postings_has(const struct tag_postings *p, uint32_t id);

/* Whether both have an id in common. */
bool tag_postings_meet(const struct tag_postings *p, const roaring_bitmap_t *set);

#endif
