/* Layout.
 *
 *   key_table    hash -> number of a tag          keys[]    its text, the head of the list of its values
 *   value_table  hash -> number of a tag's value  values[]  its text, its postings, links in the list
 *
 * Each text is kept once. An insert finds the value of each tag of the name, first among those of the name
 * before it (senders send the same host's series one after the other), else by hash, and adds the id to its
 * postings: some tens of nanoseconds a tag. All memory is taken before the first change.
 *
 * Deleting. Taking an id out of a large bitmap means to copy the bitmap, and series go by the thousand. So an
 * id stays where it is and is left out of answers because it has no name any more; ids are never given twice.
 * The number of series of a value is counted apart. When more than half of a value's ids are dead, its
 * postings are written anew (not at start, when it is not known yet who will live); when all are, the value goes.
 *
 * Why not a lock for the readers. Judging a regular expression on the 100,000 values of a tag takes tens of
 * milliseconds, and while a reader holds a lock, shared or not, no series can be created. Publishing by
 * pointer costs the writer one copy of a bitmap now and then (tag_postings.h).
 *
 * Measured (bench_tag_index, one core of a shared machine, 6 tags a series, 100 series a host): an insert takes
 * 0.25 us; the longest 64 inserts 0.35 ms at 1 M series; 5.5 bytes a series, texts included. Two "=" and one "=~" over
 * 10,000 values that find 1,000 of 1 M series: 0.9 ms, sorting included.
 */
#include "storage/tag_index_int.h"

#include "base/grace.h"
#include "base/must.h"
#include "base/vmem.h"
#include "storage/name.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include <sys/random.h>

enum { VALUE_ID_KIND = 2, TAGS_MAX = NAME_MAX_BYTES / 3 + 2, PURGE_LEAST = 64 };

/* ---- looking up ---- */

struct value_key {
    uint32_t key;
    struct span text;
};

static uint32_t hash_of(const struct tag_index *ix, uint32_t key, struct span text)
{
    return (uint32_t)XXH3_64bits_withSeed(text.ptr, text.len, ix->seed + (uint64_t)key * 0x9E3779B97F4A7C15);
}

static bool is_key(const void *owner, uint32_t id, const void *key)
{
    const struct span *text = key;

    return span_eq(tag_key_text(tag_key_of(owner, id)), *text);
}

static bool is_value(const void *owner, uint32_t id, const void *key)
{
    const struct tag_value *value = tag_value_of(owner, id);
    const struct value_key *wanted = key;

    return value->key == wanted->key && span_eq(tag_value_text(value), wanted->text);
}

uint32_t tag_find_key(const struct tag_index *ix, struct span text)
{
    uint32_t id;

    return id_table_find(&ix->key_table, hash_of(ix, TAG_NONE, text), is_key, ix, &text, &id) ? id : TAG_NONE;
}

uint32_t tag_find_value(const struct tag_index *ix, uint32_t key, struct span text)
{
    struct value_key wanted = {key, text};
    uint32_t id;

    return id_table_find(&ix->value_table, hash_of(ix, key, text), is_value, ix, &wanted, &id) ? id : TAG_NONE;
}

/* ---- making and dropping keys and values ---- */

static uint32_t key_intern(struct tag_index *ix, struct span text)
{
    uint32_t id = tag_find_key(ix, text);

    if (id != TAG_NONE || ix->key_count == TAG_KEYS_MAX)
        return id;
    struct tag_key *key = tree_heap_alloc(&ix->heap, sizeof *key + text.len);
    if (key == NULL)
        return TAG_NONE;
    *key = (struct tag_key){.first = TAG_NONE, .hash = hash_of(ix, TAG_NONE, text), .len = (uint16_t)text.len};
    memcpy(key->text, text.ptr, text.len);
    id = ix->key_count;
    /* The text first: whoever finds the number in the table must find the text too. */
    __atomic_store_n(&ix->keys[id], key, __ATOMIC_RELEASE);
    if (!id_table_insert(&ix->key_table, key->hash, id, &ix->heap)) {
        __atomic_store_n(&ix->keys[id], NULL, __ATOMIC_RELEASE);
        tree_heap_free(&ix->heap, key);
        return TAG_NONE;
    }
    __atomic_store_n(&ix->key_count, id + 1, __ATOMIC_RELEASE);
    return id;
}

static void value_link(struct tag_index *ix, uint32_t id, struct tag_value *value)
{
    struct tag_key *key = ix->keys[value->key];

    value->next = key->first;
    value->prev = TAG_NONE;
    if (key->first != TAG_NONE)
        ix->values[key->first]->prev = id;
    __atomic_store_n(&key->first, id, __ATOMIC_RELEASE);
    __atomic_store_n(&key->values, key->values + 1, __ATOMIC_RELAXED);
}

/* The record keeps its own link, so that a reader who stands on it finds the way. */
static void value_unlink(struct tag_index *ix, struct tag_value *value)
{
    struct tag_key *key = ix->keys[value->key];

    if (value->next != TAG_NONE)
        ix->values[value->next]->prev = value->prev;
    __atomic_store_n(value->prev == TAG_NONE ? &key->first : &ix->values[value->prev]->next, value->next,
                     __ATOMIC_RELEASE);
    __atomic_store_n(&key->values, key->values - 1, __ATOMIC_RELAXED);
}

static uint32_t value_new(struct tag_index *ix, uint32_t key, struct span text)
{
    uint32_t id = ix->free_count > 0 ? ix->free_ids[ix->free_count - 1] : ix->value_count;
    struct tag_value *value = tree_heap_alloc(&ix->heap, sizeof *value + text.len);

    if (value == NULL || id == TAG_VALUES_MAX) {
        tree_heap_free(&ix->heap, value);
        return TAG_NONE;
    }
    *value = (struct tag_value){.key = key, .hash = hash_of(ix, key, text), .len = (uint16_t)text.len};
    memcpy(value->text, text.ptr, text.len);
    __atomic_store_n(&ix->values[id], value, __ATOMIC_RELEASE);
    if (!id_table_insert(&ix->value_table, value->hash, id, &ix->heap)) {
        __atomic_store_n(&ix->values[id], NULL, __ATOMIC_RELEASE);
        tree_heap_free(&ix->heap, value);
        return TAG_NONE;
    }
    if (ix->free_count > 0)
        ix->free_count--;
    else
        ix->value_count++;
    value_link(ix, id, value);
    return id;
}

static void value_drop(struct tag_index *ix, uint32_t id)
{
    struct tag_value *value = ix->values[id];

    id_table_remove(&ix->value_table, value->hash, id);
    value_unlink(ix, value);
    tag_postings_release(&value->postings, &ix->heap);
    for (int i = 0; i < TAG_RECENT; i++)
        if (ix->recent[i] == id)
            ix->recent[i] = TAG_NONE;
    tree_heap_retire_id(&ix->heap, VALUE_ID_KIND, id);
}

/* The grace period of a dropped value has passed. */
static void value_recycle(void *owner, uint32_t kind, uint32_t id)
{
    struct tag_index *ix = owner;

    MUST(kind == VALUE_ID_KIND);
    tree_heap_free(&ix->heap, ix->values[id]);
    __atomic_store_n(&ix->values[id], NULL, __ATOMIC_RELEASE);
    if (ix->free_count == ix->free_cap) {
        uint32_t cap = ix->free_cap == 0 ? 64 : ix->free_cap * 2;
        uint32_t *ids = realloc(ix->free_ids, cap * sizeof *ids);
        if (ids == NULL)
            return; /* the number is never used again */
        ix->free_ids = ids;
        ix->free_cap = cap;
    }
    ix->free_ids[ix->free_count++] = id;
}

static void ids_dispose(void *owner, uint32_t kind, void *ptr)
{
    struct tag_index *ix = owner;

    MUST(kind == TAG_IDS_KIND);
    tag_ids_free(ptr, &ix->heap);
}

/* ---- life ---- */

/* Hard to guess, so that nobody sends names of one hash. */
static uint64_t random_seed(void)
{
    uint64_t seed = 0;

    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = (uint64_t)(uintptr_t)&seed;
    return seed;
}

int tag_index_new(const struct tag_names *names, struct tag_index **out, struct err *err)
{
    struct tag_index *ix = calloc(1, sizeof *ix);

    *out = NULL;
    if (ix == NULL)
        return err_set(err, ERR_MEMORY, "tag index");
    ix->names = *names;
    ix->seed = random_seed();
    ix->heap.recycle = value_recycle;
    ix->heap.dispose = ids_dispose;
    ix->heap.owner = ix;
    pthread_mutex_init(&ix->lock, NULL);
    for (int i = 0; i < TAG_RECENT; i++)
        ix->recent[i] = TAG_NONE;
    ix->keys = vmem_reserve((size_t)TAG_KEYS_MAX * sizeof ix->keys[0]);
    ix->values = vmem_reserve((size_t)TAG_VALUES_MAX * sizeof ix->values[0]);
    if (ix->keys == NULL || ix->values == NULL) {
        tag_index_free(ix);
        return err_set(err, ERR_MEMORY, "no address space for the tag index");
    }
    *out = ix;
    return 0;
}

void tag_index_free(struct tag_index *ix)
{
    struct tree_heap_item *items;

    if (ix == NULL)
        return;
    size_t count = tree_heap_take(&ix->heap, &items);
    ix->heap.at_once = true;
    tree_heap_free_items(&ix->heap, items, count);
    free(items);
    for (uint32_t i = 0; i < ix->value_count; i++) {
        if (ix->values[i] != NULL)
            tag_postings_release(&ix->values[i]->postings, &ix->heap);
        tree_heap_free(&ix->heap, ix->values[i]);
    }
    for (uint32_t i = 0; i < ix->key_count; i++)
        tree_heap_free(&ix->heap, ix->keys[i]);
    id_table_release(&ix->key_table, &ix->heap);
    id_table_release(&ix->value_table, &ix->heap);
    vmem_release(ix->keys, (size_t)TAG_KEYS_MAX * sizeof ix->keys[0]);
    vmem_release(ix->values, (size_t)TAG_VALUES_MAX * sizeof ix->values[0]);
    free(ix->free_ids);
    pthread_mutex_destroy(&ix->lock);
    free(ix);
}

void tag_index_bulk(struct tag_index *ix, bool on)
{
    pthread_mutex_lock(&ix->lock);
    ix->heap.at_once = on;
    pthread_mutex_unlock(&ix->lock);
}

void tag_index_reclaim(struct tag_index *ix)
{
    struct tree_heap_item *items;
    enum { SLICE = 256 }; /* creations wait for no more than that many frees */

    pthread_mutex_lock(&ix->lock);
    size_t count = tree_heap_take(&ix->heap, &items);
    pthread_mutex_unlock(&ix->lock);
    if (count > 0)
        grace_wait();
    for (size_t at = 0; at < count; at += SLICE) {
        pthread_mutex_lock(&ix->lock);
        tree_heap_free_items(&ix->heap, items + at, count - at < SLICE ? count - at : SLICE);
        pthread_mutex_unlock(&ix->lock);
    }
    free(items);
}

uint64_t tag_index_bytes(const struct tag_index *ix)
{
    return __atomic_load_n(&ix->heap.bytes, __ATOMIC_RELAXED) + sizeof *ix;
}

/* ---- inserting ---- */

/* The tags of a name, one after the other: "name" first. */
struct tag_walk {
    struct span name;
    size_t at; /* behind what was read */
    struct span tag;
    struct span value;
};

static bool tag_walk_next(struct tag_walk *w)
{
    if (w->tag.ptr == NULL) {
        w->at = span_find(w->name, ';');
        w->tag = SPAN_LIT("name");
        w->value = span_cut(w->name, 0, w->at);
        return true;
    }
    if (w->at >= w->name.len)
        return false;
    struct span text = span_cut(w->name, w->at + 1, w->name.len);
    text.len = span_find(text, ';');
    size_t equal = span_find(text, '=');
    w->tag = span_cut(text, 0, equal);
    w->value = span_cut(text, equal + 1, text.len);
    w->at += 1 + text.len;
    return true;
}

/* The value at W of the name's tag number PLACE; made when it is new. */
static uint32_t value_intern(struct tag_index *ix, const struct tag_walk *w, size_t place)
{
    uint32_t recent = place < TAG_RECENT ? ix->recent[place] : TAG_NONE;

    if (recent != TAG_NONE) {
        const struct tag_value *value = ix->values[recent];
        if (span_eq(tag_value_text(value), w->value) && span_eq(tag_key_text(ix->keys[value->key]), w->tag))
            return recent;
    }
    uint32_t key = key_intern(ix, w->tag);
    if (key == TAG_NONE)
        return TAG_NONE;
    uint32_t id = tag_find_value(ix, key, w->value);
    if (id == TAG_NONE)
        id = value_new(ix, key, w->value);
    if (place < TAG_RECENT && id != TAG_NONE)
        ix->recent[place] = id;
    return id;
}

/* The values of all tags of NAME, each with room for one more id; false when memory is short. */
static bool values_prepare(struct tag_index *ix, struct span name, uint32_t *values, size_t *count)
{
    struct tag_walk w = {.name = name};

    for (*count = 0; tag_walk_next(&w); ++*count) {
        MUST(*count < TAGS_MAX);
        values[*count] = value_intern(ix, &w, *count);
        if (values[*count] == TAG_NONE)
            return false;
        if (!tag_postings_reserve(&ix->values[values[*count]]->postings, &ix->heap)) {
            ++*count;
            return false;
        }
    }
    return true;
}

int tag_index_insert(struct tag_index *ix, struct span name, uint32_t id, struct err *err)
{
    uint32_t values[TAGS_MAX];
    size_t count;

    MUST(name.len <= NAME_MAX_BYTES && id <= TAG_INDEX_SERIES_MAX);
    pthread_mutex_lock(&ix->lock);
    bool fine = values_prepare(ix, name, values, &count);
    for (size_t i = 0; i < count; i++) {
        struct tag_value *value = ix->values[values[i]];
        if (fine) {
            tag_postings_add(&value->postings, id);
            __atomic_store_n(&value->live, value->live + 1, __ATOMIC_RELAXED);
        } else if (value->live == 0) {
            value_drop(ix, values[i]);
        }
    }
    pthread_mutex_unlock(&ix->lock);
    return fine ? 0 : err_set(err, ERR_MEMORY, "tag index");
}

/* ---- removing ---- */

static bool is_alive(void *ctx, uint32_t id)
{
    const struct tag_index *ix = ctx;
    struct span name;

    return ix->names.name(ix->names.ctx, id, &name);
}

static void value_lose(struct tag_index *ix, uint32_t id)
{
    struct tag_value *value = ix->values[id];

    MUST(value->live > 0);
    __atomic_store_n(&value->live, value->live - 1, __ATOMIC_RELAXED);
    value->dead++;
    if (value->live == 0) {
        value_drop(ix, id);
    } else if (!ix->heap.at_once && value->dead > PURGE_LEAST && value->dead > value->live) {
        tag_postings_filter(&value->postings, is_alive, ix, &ix->heap);
        value->dead = 0;
    }
}

void tag_index_remove(struct tag_index *ix, struct span name, uint32_t id)
{
    struct tag_walk w = {.name = name};
    uint32_t values[TAGS_MAX], rarest = TAG_NONE;
    size_t count = 0;

    pthread_mutex_lock(&ix->lock);
    for (bool known = true; known && tag_walk_next(&w);) {
        uint32_t key = tag_find_key(ix, w.tag);
        uint32_t value = key == TAG_NONE ? TAG_NONE : tag_find_value(ix, key, w.value);

        known = value != TAG_NONE;
        if (known && (count == 0 || ix->values[value]->live < ix->values[rarest]->live))
            rarest = value;
        if (known)
            values[count++] = value;
        else
            count = 0;
    }
    /* It is not there when memory was short as it came. */
    if (count > 0 && tag_postings_has(&ix->values[rarest]->postings, id)) {
        __atomic_store_n(&ix->removed, ix->removed + 1, __ATOMIC_RELEASE);
        for (size_t i = 0; i < count; i++)
            value_lose(ix, values[i]);
    }
    pthread_mutex_unlock(&ix->lock);
}
