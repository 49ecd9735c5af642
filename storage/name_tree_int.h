/* name_tree_int.h - the name tree's inside, for name_tree.c (writing), name_tree_kids.c (blocks of children)
 * and name_tree_find.c (reading).
 *
 * See name_tree.c for the picture. */
#ifndef PLUMBAGO_STORAGE_NAME_TREE_INT_H
#define PLUMBAGO_STORAGE_NAME_TREE_INT_H

#include "storage/component.h"
#include "storage/name.h"
#include "storage/name_tree.h"

#include <pthread.h>

enum {
    BRANCH_CHUNK = 1 << 14,
    BRANCH_CHUNKS = 1 << 14,
    KIDS_SMALL_MAX = 126, /* up to that many children are scanned, more are hashed */
    KIDS_CHUNK = 128,
    NAME_DEPTH_MAX = NAME_MAX_BYTES / 2,
};

/* What a child is: */
#define REF_BRANCH 0x80000000u /* | number of a branch */
#define REF_GONE 0x7fffffffu   /* nothing any more */
/* else a leaf: the id of its series */

#define NO_SERIES UINT32_MAX

/* The sorts of ids that the tree's heap recycles. */
enum id_kind { ID_COMPONENT, ID_BRANCH };

/* The children of a branch. A pair (component, ref) stays at its index for as long as the block lives; its
 * component never changes, its ref may (atomic). */
struct kids {
    uint32_t count; /* atomic: pairs that readers may look at */
    uint32_t live;  /* of those, not REF_GONE (writer only) */
    uint32_t cap;   /* KIDS_LARGE: a struct kids_large */
};

#define KIDS_LARGE UINT32_MAX

struct kids_small {
    struct kids head;
    uint32_t words[]; /* cap components, then cap refs */
};

struct kids_chunk {
    uint32_t components[KIDS_CHUNK];
    uint32_t refs[KIDS_CHUNK];
};

struct kids_large {
    struct kids head;
    uint32_t chunks_cap;          /* writer only */
    struct kids_chunk **chunks;   /* atomic; a longer copy takes its place when it is full */
    struct id_table by_component; /* -> index */
};

struct branch {
    struct kids *kids; /* atomic; NULL: none yet */
    uint32_t series;   /* atomic: of the leaf with the same path, or NO_SERIES */
    uint32_t reserved;
};

/* Where the name inserted last went: its branches, to begin the next one from. */
struct name_tree_path {
    char name[NAME_MAX_BYTES];
    size_t len;
    size_t depth;                      /* components that are known below */
    uint16_t ends[NAME_DEPTH_MAX];     /* of component i in the name */
    uint32_t branches[NAME_DEPTH_MAX]; /* the branch that it led to */
};

struct name_tree {
    pthread_mutex_t lock; /* of the writer: all but what is marked atomic */
    struct tree_heap heap;
    uint64_t series; /* atomic */
    uint32_t branch_count;
    uint32_t *free_branches;
    uint32_t free_count, free_cap;
    struct name_tree_path last;
    uint32_t *places[NAME_DEPTH_MAX]; /* scratch of remove: where the ref of each component stands */
    struct components components;
    struct branch *branches[BRANCH_CHUNKS]; /* atomic pointers; number 0 is the root */
};

static inline struct branch *branch_of(const struct name_tree *tree, uint32_t number)
{
    struct branch *chunk = __atomic_load_n(&tree->branches[number / BRANCH_CHUNK], __ATOMIC_ACQUIRE);

    return &chunk[number % BRANCH_CHUNK];
}

static inline struct kids *branch_kids(const struct branch *b)
{
    return __atomic_load_n(&b->kids, __ATOMIC_ACQUIRE);
}

static inline uint32_t branch_series(const struct branch *b)
{
    return __atomic_load_n(&b->series, __ATOMIC_ACQUIRE);
}

/* A stretch of children that lie side by side. */
struct kids_run {
    const uint32_t *components;
    uint32_t *refs;
    uint32_t count;
};

/* The children from index AT on, as far as they lie side by side; AT < COUNT <= kids->count. */
static inline struct kids_run kids_run(const struct kids *kids, uint32_t at, uint32_t count)
{
    if (kids->cap != KIDS_LARGE) {
        uint32_t *words = (uint32_t *)((const struct kids_small *)kids)->words;
        return (struct kids_run){words + at, words + kids->cap + at, count - at};
    }
    struct kids_chunk **chunks = __atomic_load_n(&((const struct kids_large *)kids)->chunks, __ATOMIC_ACQUIRE);
    struct kids_chunk *chunk = chunks[at / KIDS_CHUNK];
    uint32_t from = at % KIDS_CHUNK, n = KIDS_CHUNK - from < count - at ? KIDS_CHUNK - from : count - at;
    return (struct kids_run){chunk->components + from, chunk->refs + from, n};
}

static inline uint32_t kids_count(const struct kids *kids)
{
    return kids == NULL ? 0 : __atomic_load_n(&kids->count, __ATOMIC_ACQUIRE);
}

/* Where the ref of the child with COMPONENT stands, or NULL. Any thread. */
uint32_t *kids_find(const struct kids *kids, uint32_t component);

/* ---- name_tree_kids.c; writer ---- */

/* Add a child to B; takes a reference to the component. False when memory is short: nothing changed. */
bool branch_add(struct name_tree *tree, struct branch *b, uint32_t component, uint32_t ref);

/* Replace the block of B by one without gaps and with room for EXTRA more. False when memory is short. */
bool kids_rebuild(struct name_tree *tree, struct branch *b, uint32_t extra);

/* Give up the components of children that are gone (ALL: of every child) in a block that goes away. NULL is
 * fine. */
void kids_unref(struct name_tree *tree, const struct kids *kids, bool all);

/* Free a block that no reader can see, or retire one that some may (SEEN). NULL is fine. */
void kids_let_go(struct name_tree *tree, struct kids *kids, bool seen);

static inline uint32_t ref_load(const uint32_t *ref)
{
    return __atomic_load_n(ref, __ATOMIC_ACQUIRE);
}

#endif
