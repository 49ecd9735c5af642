/* tag_index.h - the inverted index of tags: which series have which value of which tag.
 *
 * Of tagged series only. A series without tags has nothing but its name, for which there are the hash table and
 * the tree of names already, so ten million of them cost nothing here (tags.c looks for them).
 *
 * Many readers, one writer at a time. Readers take no lock: they run between grace_enter() and grace_leave()
 * and see a series as soon as its insert has returned. Writers exclude each other by a mutex inside. How it is
 * laid out is told in tag_index.c, how expressions are evaluated in tag_find.c. */
#ifndef PLUMBAGO_STORAGE_TAG_INDEX_H
#define PLUMBAGO_STORAGE_TAG_INDEX_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"
#include "storage/storage.h"
#include "storage/tag_expr.h"

#include <stdint.h>

struct tag_index;

enum { TAG_INDEX_SERIES_MAX = (1u << 31) - 1 }; /* largest series id that an index can hold */

/* Where names are; the index keeps none. */
struct tag_names {
    void *ctx;
    /* The canonical name of series ID; false when it is gone. An id never gets another name. */
    bool (*name)(void *ctx, uint32_t id, struct span *name);
};

/* *out is the caller's, to be given back with tag_index_free(); NULL and ERR_MEMORY on failure. */
int tag_index_new(const struct tag_names *names, struct tag_index **out, struct err *err);

/* Free everything. No thread may still use the index. NULL is fine. */
void tag_index_free(struct tag_index *ix);

/* Add series ID under NAME (canonical, with tags). Fastest when it shares tags with the name inserted before.
 * ERR_MEMORY: nothing changed. */
int tag_index_insert(struct tag_index *ix, struct span name, uint32_t id, struct err *err);

/* Take series ID, inserted under NAME, away; tag_names.name() knows it no more. A value without series goes with it; a
 * tag stays, as in graphite-web. */
void tag_index_remove(struct tag_index *ix, struct span name, uint32_t id);

/* While the index is being built at start no reader exists: between these two calls (true, false) memory that
 * is no longer needed is freed at once instead of waiting for tag_index_reclaim(). */
void tag_index_bulk(struct tag_index *ix, bool on);

/* Free what writers took out of sight: waits for a grace period when there is something. For the background
 * thread, about once a second; one caller at a time, not between grace_enter() and grace_leave(). */
void tag_index_reclaim(struct tag_index *ix);

/* ---- reading: between grace_enter() and grace_leave() ---- */

/* The tagged series that fit all of EXPRS (of tag_exprs_parse()), in no order; paths are borrowed from where
 * the names are. At most MAX (0: no limit): ERR_LIMIT beyond. ERR_CANCELLED when STOP (may be NULL) says so.
 * ERR_MEMORY. The array is in ARENA. */
int tag_index_find(const struct tag_index *ix, const struct tag_expr *exprs, size_t count, size_t max,
                   const struct storage_stop *stop, struct arena *arena, struct storage_matches *out, struct err *err);

/* Tags, sorted. With EXPRS (COUNT > 0): those that a series which fits has, but for the tags of EXPRS themselves. Q
 * says what else; its own expressions are not looked at. FILTER may be NULL. Texts are borrowed until grace_leave(). */
int tag_index_tags(const struct tag_index *ix, const struct tag_expr *exprs, size_t count, const struct regex *filter,
                   const struct storage_tag_query *q, struct arena *arena, struct storage_tag_list *out,
                   struct err *err);

/* Values of TAG, sorted, each with the number of series that have it (of all series, whatever EXPRS says). With EXPRS:
 * those that a series which fits has. ERR_MISSING when there never was such a tag. */
int tag_index_values(const struct tag_index *ix, struct span tag, const struct tag_expr *exprs, size_t count,
                     const struct regex *filter, const struct storage_tag_query *q, struct arena *arena,
                     struct storage_tag_list *out, struct err *err);

/* ---- statistics, any thread ---- */
uint64_t tag_index_bytes(const struct tag_index *ix); /* heap, what waits for a grace period included */

#endif
