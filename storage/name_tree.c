/* The tree in memory.
 *
 *     components        "servers" 0   "web-1" 1   "cpu" 2   "idle" 3   "user" 4 ...
 *
 *     branches          kids (component, ref) ...
 *     0 root            (0, branch 1)
 *     1 servers         (1, branch 2)
 *     2 servers.web-1   (2, branch 3)
 *     3 servers.web-1.cpu   (3, series 17) (4, series 18)
 *
 * A leaf is nothing but a pair in its parent's block: 8 bytes. A branch has 16 bytes and one block of
 * children; few names are branches. Up to 126 children are scanned (components side by side: some ten
 * nanoseconds), more are found by a table component -> index and kept in chunks, so that growing never
 * copies much. A path may be leaf and branch at once: then the branch knows the series.
 *
 * What readers rely on:
 *   1. a block's pairs never move and their components never change; new pairs are written before
 *      .count is raised; what does change, refs, kids and series, is a word that is stored at once;
 *   2. a block that must shrink or grow is replaced by a copy; the old one is retired, so whoever still
 *      walks it sees the tree as it was;
 *   3. new branches are built completely before the one store that makes them reachable, and so a name
 *      appears at once with all its branches;
 *   4. a component's number is used again only after a grace period, so within one find it means one text.
 *
 * A removed child stays in its block as REF_GONE, so that (1) holds; blocks are rebuilt when they are
 * full or when more than half is gone.
 *
 * Measured on a busy 2-core EPYC (bench/micro/bench_name_tree.c), the same at 1 M and at 10 M names: an
 * insert takes 80-120 ns of CPU host by host and 180-370 ns metric by metric; a name weighs 11 bytes with
 * 1,000 names a host and 21 with 100, dictionary included. */
#include "storage/name_tree_int.h"

#include "base/clock.h"
#include "base/grace.h"
#include "base/must.h"

#include <stdlib.h>
#include <sys/random.h>

/* ---- branches ---- */

static bool branch_new(struct name_tree *tree, uint32_t *number)
{
    uint32_t n = tree->free_count > 0 ? tree->free_branches[tree->free_count - 1] : tree->branch_count;

    if (n / BRANCH_CHUNK >= BRANCH_CHUNKS)
        return false;
    struct branch **chunk = &tree->branches[n / BRANCH_CHUNK];
    if (*chunk == NULL)
        __atomic_store_n(chunk, tree_heap_calloc(&tree->heap, BRANCH_CHUNK * sizeof **chunk), __ATOMIC_RELEASE);
    if (*chunk == NULL)
        return false;
    if (tree->free_count > 0)
        tree->free_count--;
    else
        tree->branch_count++;
    struct branch *b = branch_of(tree, n);
    __atomic_store_n(&b->kids, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&b->series, NO_SERIES, __ATOMIC_RELAXED);
    *number = n;
    return true;
}

/* Free a branch that no reader can see, with its block. */
static void branch_free(struct name_tree *tree, uint32_t number)
{
    struct branch *b = branch_of(tree, number);

    kids_unref(tree, b->kids, true);
    kids_let_go(tree, b->kids, false);
    b->kids = NULL;
    if (tree->free_count == tree->free_cap) {
        uint32_t cap = tree->free_cap == 0 ? 64 : tree->free_cap * 2;
        uint32_t *numbers = realloc(tree->free_branches, cap * sizeof *numbers);
        if (numbers == NULL)
            return; /* the number is never used again */
        tree->free_branches = numbers;
        tree->free_cap = cap;
    }
    tree->free_branches[tree->free_count++] = number;
}

static void recycle(void *owner, uint32_t kind, uint32_t id)
{
    struct name_tree *tree = owner;

    if (kind == ID_COMPONENT)
        components_recycle(&tree->components, id);
    else
        branch_free(tree, id);
}

/* ---- insert ---- */

/* Find the ends of all components from number DEPTH on, which begins at AT; *depth becomes their number. */
static int split(struct name_tree_path *path, struct span name, size_t at, size_t *depth, struct err *err)
{
    for (; at <= name.len; (*depth)++) {
        size_t len = span_find(span_cut(name, at, name.len), '.');

        if (len == 0 || len > NAME_COMPONENT_MAX_BYTES)
            return err_set(err, ERR_INPUT, "the name has a component of %zu bytes: %.*s", len,
                           (int)(name.len < 100 ? name.len : 100), name.ptr);
        path->ends[*depth] = (uint16_t)(at + len);
        at += len + 1;
    }
    return 0;
}

/* How many of the remembered branches NAME goes through as well. */
static size_t common_depth(const struct name_tree_path *path, struct span name)
{
    size_t n = name.len < path->len ? name.len : path->len, i = 0, depth = path->depth;

    for (; i + 8 <= n && memcmp(path->name + i, name.ptr + i, 8) == 0; i += 8)
        ;
    while (i < n && path->name[i] == name.ptr[i])
        i++;
    while (depth > 0 && path->ends[depth - 1] >= i) /* the dot behind it must be common too */
        depth--;
    return depth;
}

static struct span component_at(const struct name_tree_path *path, struct span name, size_t number)
{
    return span_cut(name, number == 0 ? 0 : path->ends[number - 1] + 1u, path->ends[number]);
}

/* Let a chain go that was built and never reached. */
static void chain_free(struct name_tree *tree, uint32_t ref)
{
    while ((ref & REF_BRANCH) != 0) {
        uint32_t number = ref & ~REF_BRANCH;

        ref = kids_run(branch_of(tree, number)->kids, 0, 1).refs[0];
        branch_free(tree, number);
    }
}

/* Build, out of sight, what lies below component FROM - 1 of NAME: a chain of branches with the leaf of
 * SERIES at its end. *ref is what leads to it. */
static bool chain_build(struct name_tree *tree, struct span name, size_t from, size_t depth, uint32_t series,
                        uint32_t *ref)
{
    *ref = series;
    for (size_t i = depth; i-- > from;) {
        uint32_t component, number;

        if (!components_intern(&tree->components, component_at(&tree->last, name, i), &component)) {
            chain_free(tree, *ref);
            return false;
        }
        if (!branch_new(tree, &number)) {
            component_drop_unused(&tree->components, component, ID_COMPONENT);
            chain_free(tree, *ref);
            return false;
        }
        if (!branch_add(tree, branch_of(tree, number), component, *ref)) {
            component_drop_unused(&tree->components, component, ID_COMPONENT);
            branch_free(tree, number);
            chain_free(tree, *ref);
            return false;
        }
        *ref = REF_BRANCH | number;
        tree->last.branches[i - 1] = number;
    }
    return true;
}

/* NAME goes on below a child of B that is no branch so far: PLACE, where its ref stands. */
static bool turn_into_branch(struct name_tree *tree, struct branch *b, uint32_t *place, struct span name, size_t from,
                             size_t depth, uint32_t series)
{
    uint32_t old = *place, ref;

    if (!chain_build(tree, name, from, depth, series, &ref))
        return false;
    if (old == REF_GONE)
        b->kids->live++;
    else
        __atomic_store_n(&branch_of(tree, ref & ~REF_BRANCH)->series, old, __ATOMIC_RELAXED);
    __atomic_store_n(place, ref, __ATOMIC_RELEASE);
    return true;
}

/* Component I of NAME is no child of B yet. */
static bool add_chain(struct name_tree *tree, struct branch *b, struct span name, size_t i, size_t depth,
                      uint32_t series)
{
    uint32_t component, ref;

    if (!components_intern(&tree->components, component_at(&tree->last, name, i), &component))
        return false;
    /* Held while the chain is built: its failure must not take the component away with it. */
    component_ref(&tree->components, component);
    bool built = chain_build(tree, name, i + 1, depth, series, &ref);
    bool added = built && branch_add(tree, b, component, ref);
    if (built && !added)
        chain_free(tree, ref);
    component_unref(&tree->components, component, ID_COMPONENT);
    return added;
}

/* The last component of NAME is a child of B already: give it the series. Returns how many leaves more
 * there are. */
static int set_leaf(struct name_tree *tree, struct branch *b, uint32_t *place, uint32_t series)
{
    uint32_t old = *place;

    if ((old & REF_BRANCH) != 0) {
        struct branch *child = branch_of(tree, old & ~REF_BRANCH);
        bool is_new = child->series == NO_SERIES;
        __atomic_store_n(&child->series, series, __ATOMIC_RELEASE);
        return is_new;
    }
    b->kids->live += old == REF_GONE;
    __atomic_store_n(place, series, __ATOMIC_RELEASE);
    return old == REF_GONE;
}

static bool insert(struct name_tree *tree, struct span name, size_t known, size_t depth, uint32_t series)
{
    struct name_tree_path *path = &tree->last;
    struct branch *b = branch_of(tree, known == 0 ? 0 : path->branches[known - 1]);
    int leaves = 1;

    for (size_t i = known; i < depth; i++) {
        uint32_t component;
        uint32_t *place = NULL;

        if (b->kids != NULL && components_find(&tree->components, component_at(path, name, i), &component))
            place = kids_find(b->kids, component);
        if (place == NULL) {
            if (!add_chain(tree, b, name, i, depth, series))
                return false;
            break;
        }
        if (i + 1 == depth) {
            leaves = set_leaf(tree, b, place, series);
            break;
        }
        if ((*place & REF_BRANCH) == 0) {
            if (!turn_into_branch(tree, b, place, name, i + 1, depth, series))
                return false;
            break;
        }
        path->branches[i] = *place & ~REF_BRANCH;
        b = branch_of(tree, path->branches[i]);
    }
    __atomic_fetch_add(&tree->series, (uint64_t)leaves, __ATOMIC_RELAXED);
    return true;
}

int name_tree_insert(struct name_tree *tree, struct span name, uint32_t series, struct err *err)
{
    int rc = 0;

    MUST(series <= NAME_TREE_SERIES_MAX);
    if (name.len == 0 || name.len > NAME_MAX_BYTES)
        return err_set(err, ERR_INPUT, "a name of %zu bytes", name.len);
    pthread_mutex_lock(&tree->lock);
    struct name_tree_path *path = &tree->last;
    size_t known = common_depth(path, name), depth = known;
    rc = split(path, name, known == 0 ? 0 : path->ends[known - 1] + 1u, &depth, err);
    if (rc == 0 && !insert(tree, name, known, depth, series))
        rc = err_set(err, ERR_MEMORY, "no memory for a name in the tree");
    if (rc == 0) {
        memcpy(path->name, name.ptr, name.len);
        path->len = name.len;
        path->depth = depth - 1;
    } else {
        path->depth = 0;
    }
    pthread_mutex_unlock(&tree->lock);
    return rc;
}

/* ---- remove ---- */

/* Walk down to the last component of NAME. For each component i, last.branches[i] becomes the branch that
 * holds it and places[i] where its ref stands. False: there is no such path. */
static bool walk(struct name_tree *tree, struct span name, size_t depth)
{
    uint32_t number = 0, component;

    for (size_t i = 0; i < depth; i++) {
        if (!components_find(&tree->components, component_at(&tree->last, name, i), &component))
            return false;
        uint32_t *place = kids_find(branch_of(tree, number)->kids, component);
        if (place == NULL || *place == REF_GONE || (i + 1 < depth && (*place & REF_BRANCH) == 0))
            return false;
        tree->last.branches[i] = number;
        tree->places[i] = place;
        number = *place & ~REF_BRANCH;
    }
    return true;
}

/* Component I of the path that was walked is to go, and with it every branch above that is then empty. */
static void prune(struct name_tree *tree, size_t i)
{
    for (;; i--) {
        uint32_t number = tree->last.branches[i];
        struct branch *holder = branch_of(tree, number);
        struct kids *kids = holder->kids;

        __atomic_store_n(tree->places[i], REF_GONE, __ATOMIC_RELEASE);
        kids->live--;
        if (kids->live > 0 || i == 0) {
            if (kids->count >= 8 && kids->live * 2 < kids->count)
                kids_rebuild(tree, holder, 0); /* when memory is short it stays as it is */
            return;
        }
        if (holder->series != NO_SERIES) { /* a leaf of the same path remains */
            __atomic_store_n(tree->places[i - 1], holder->series, __ATOMIC_RELEASE);
            tree_heap_retire_id(&tree->heap, ID_BRANCH, number);
            return;
        }
        tree_heap_retire_id(&tree->heap, ID_BRANCH, number);
    }
}

static bool remove_leaf(struct name_tree *tree, struct span name)
{
    size_t depth = 0;

    if (split(&tree->last, name, 0, &depth, NULL) < 0 || !walk(tree, name, depth))
        return false;
    uint32_t ref = *tree->places[depth - 1];
    if ((ref & REF_BRANCH) != 0) {
        struct branch *b = branch_of(tree, ref & ~REF_BRANCH);
        if (b->series == NO_SERIES)
            return false;
        __atomic_store_n(&b->series, NO_SERIES, __ATOMIC_RELEASE);
    } else {
        prune(tree, depth - 1);
    }
    __atomic_fetch_sub(&tree->series, 1, __ATOMIC_RELAXED);
    return true;
}

bool name_tree_remove(struct name_tree *tree, struct span name)
{
    if (name.len == 0 || name.len > NAME_MAX_BYTES)
        return false;
    pthread_mutex_lock(&tree->lock);
    tree->last.depth = 0; /* its branches may go */
    bool removed = remove_leaf(tree, name);
    pthread_mutex_unlock(&tree->lock);
    return removed;
}

/* ---- life ---- */

int name_tree_new(struct name_tree **out, struct err *err)
{
    struct name_tree *tree = calloc(1, sizeof *tree);
    uint64_t seed;
    uint32_t root;

    *out = NULL;
    if (tree == NULL)
        return err_set(err, ERR_MEMORY, "no memory for the name tree");
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint64_t)clock_mono_ns();
    pthread_mutex_init(&tree->lock, NULL);
    tree->heap.recycle = recycle;
    tree->heap.owner = tree;
    components_init(&tree->components, &tree->heap, seed);
    if (!branch_new(tree, &root)) {
        name_tree_free(tree);
        return err_set(err, ERR_MEMORY, "no memory for the name tree");
    }
    MUST(root == 0);
    *out = tree;
    return 0;
}

void name_tree_free(struct name_tree *tree)
{
    struct tree_heap_item *items;

    if (tree == NULL)
        return;
    size_t count = tree_heap_take(&tree->heap, &items);
    tree->heap.at_once = true;
    tree_heap_free_items(&tree->heap, items, count);
    free(items);
    for (uint32_t n = 0; n < tree->branch_count; n++)
        kids_let_go(tree, branch_of(tree, n)->kids, false);
    for (size_t i = 0; i < BRANCH_CHUNKS && tree->branches[i] != NULL; i++)
        tree_heap_free(&tree->heap, tree->branches[i]);
    components_release(&tree->components);
    free(tree->free_branches);
    pthread_mutex_destroy(&tree->lock);
    free(tree);
}

void name_tree_bulk(struct name_tree *tree, bool on)
{
    pthread_mutex_lock(&tree->lock);
    tree->heap.at_once = on;
    pthread_mutex_unlock(&tree->lock);
}

void name_tree_reclaim(struct name_tree *tree)
{
    struct tree_heap_item *items;
    enum { SLICE = 1024 }; /* creations wait for no more than that many frees */

    pthread_mutex_lock(&tree->lock);
    size_t count = tree_heap_take(&tree->heap, &items);
    pthread_mutex_unlock(&tree->lock);
    if (count > 0)
        grace_wait();
    for (size_t at = 0; at < count; at += SLICE) {
        pthread_mutex_lock(&tree->lock);
        tree_heap_free_items(&tree->heap, items + at, count - at < SLICE ? count - at : SLICE);
        pthread_mutex_unlock(&tree->lock);
    }
    free(items);
}

uint64_t name_tree_series(const struct name_tree *tree)
{
    return __atomic_load_n(&tree->series, __ATOMIC_RELAXED);
}

uint64_t name_tree_bytes(const struct name_tree *tree)
{
    return __atomic_load_n(&tree->heap.bytes, __ATOMIC_RELAXED) + sizeof *tree;
}
