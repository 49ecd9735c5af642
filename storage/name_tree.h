/* name_tree.h - all untagged names as a tree of components, for finds.
 *
 * Many readers, one writer at a time. Readers take no lock: they run between grace_enter() and
 * grace_leave() and see a name as soon as its insert has returned. Writers (insert, remove) exclude each other by
 * a mutex inside. What a writer takes out of sight is freed by name_tree_reclaim(), after a grace
 * period. The layout in memory is told in name_tree.c. */
#ifndef PLUMBAGO_STORAGE_NAME_TREE_H
#define PLUMBAGO_STORAGE_NAME_TREE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"
#include "storage/pattern.h"
#include "storage/storage.h"

#include <stdint.h>

struct name_tree;

enum { NAME_TREE_SERIES_MAX = (1 << 30) - 1 }; /* largest series id that a tree can hold */

/* *out is the caller's, to be given back with name_tree_free(); NULL and ERR_MEMORY on failure. */
int name_tree_new(struct name_tree **out, struct err *err);

/* Free everything. No thread may still use the tree. NULL is fine. */
void name_tree_free(struct name_tree *tree);

/* Add NAME (canonical, untagged) as a leaf of SERIES; a leaf that exists gets the new id. Fastest when
 * the name shares its first components with the name inserted before. ERR_MEMORY: nothing changed. */
int name_tree_insert(struct name_tree *tree, struct span name, uint32_t series, struct err *err);

/* Take the leaf away; branches that have nothing below them any more go with it. False when there is
 * no such leaf (or memory is short: then it stays). */
bool name_tree_remove(struct name_tree *tree, struct span name);

/* While the tree is being built at start no reader exists: between these two calls (true, false)
 * memory that is no longer needed is freed at once instead of waiting for name_tree_reclaim(). */
void name_tree_bulk(struct name_tree *tree, bool on);

/* Free what writers took out of sight: waits for a grace period when there is something. For the
 * background thread, about once a second; one caller at a time, not between grace_enter() and
 * grace_leave(). */
void name_tree_reclaim(struct name_tree *tree);

/* ---- reading: between grace_enter() and grace_leave() ---- */

/* The series whose name is exactly PATH. */
bool name_tree_lookup(const struct name_tree *tree, struct span path, uint32_t *series);

/* Asked every few thousand steps of a find: whether to give up. NULL: never. */
struct name_tree_stop {
    bool (*asked)(void *ctx);
    void *ctx;
};

/* All nodes that PATTERN matches, sorted by path bytewise; a leaf and a branch of one path are two
 * matches, the branch first. FLAGS: enum storage_find_flags. At most MAX matches (0: no limit), beyond
 * that ERR_LIMIT. ERR_CANCELLED when STOP says so. All memory, the paths' too, is in ARENA. */
int name_tree_find(const struct name_tree *tree, const struct pattern *pattern, unsigned flags, size_t max,
                   const struct name_tree_stop *stop, struct arena *arena, struct storage_matches *out,
                   struct err *err);

/* ---- statistics, any thread ---- */
uint64_t name_tree_series(const struct name_tree *tree); /* leaves */
uint64_t name_tree_bytes(const struct name_tree *tree);  /* heap, what waits for a grace period included */

#endif
