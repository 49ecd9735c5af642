/* tag_index_int.h - what tag_index.c and tag_find.c share. */
#ifndef PLUMBAGO_STORAGE_TAG_INDEX_INT_H
#define PLUMBAGO_STORAGE_TAG_INDEX_INT_H

#include "storage/id_table.h"
#include "storage/tag_index.h"
#include "storage/tag_postings.h"

#include <pthread.h>

enum {
    TAG_KEYS_MAX = 1 << 24,
    TAG_VALUES_MAX = 1 << 28,
    TAG_RECENT = 16, /* of the name inserted last */
    TAG_NONE = UINT32_MAX
};

struct tag_key {
    uint32_t first;  /* atomic: head of the list of its values */
    uint32_t values; /* atomic: how many there are */
    uint32_t hash;
    uint16_t len;
    char text[];
};

struct tag_value {
    struct tag_postings postings;
    uint32_t live; /* atomic: series that have it */
    uint32_t dead; /* ids in the postings whose series are gone (writer only) */
    uint32_t next; /* atomic: another value of the same key; TAG_NONE ends */
    uint32_t prev; /* TAG_NONE: the first (writer only) */
    uint32_t key;
    uint32_t hash;
    uint16_t len;
    char text[];
};

struct tag_index {
    struct tag_names names;
    pthread_mutex_t lock; /* of the writers: guards what is not said to be atomic */
    struct tree_heap heap;
    uint64_t seed;
    struct id_table key_table;
    struct id_table value_table;
    struct tag_key **keys;     /* atomic pointers, by number */
    struct tag_value **values; /* atomic pointers, by number */
    uint32_t key_count;        /* atomic */
    uint32_t value_count;      /* numbers ever given out are below (writer only) */
    uint32_t *free_ids;        /* numbers of values to be used again */
    uint32_t free_count, free_cap;
    uint64_t removed;            /* atomic: series ever taken away; 0: postings hold no dead ids */
    uint32_t recent[TAG_RECENT]; /* the values at the first places of the last name */
};

static inline const struct tag_key *tag_key_of(const struct tag_index *ix, uint32_t key)
{
    return __atomic_load_n(&ix->keys[key], __ATOMIC_ACQUIRE);
}

static inline const struct tag_value *tag_value_of(const struct tag_index *ix, uint32_t value)
{
    return __atomic_load_n(&ix->values[value], __ATOMIC_ACQUIRE);
}

static inline struct span tag_key_text(const struct tag_key *key)
{
    return span_of(key->text, key->len);
}

static inline struct span tag_value_text(const struct tag_value *value)
{
    return span_of(value->text, value->len);
}

/* The number of the tag TEXT, or TAG_NONE. */
uint32_t tag_find_key(const struct tag_index *ix, struct span text);

/* The number of the value TEXT of KEY, or TAG_NONE. */
uint32_t tag_find_value(const struct tag_index *ix, uint32_t key, struct span text);

/* Walks over all values of a key: the first, and the one after VALUE. TAG_NONE ends. */
static inline uint32_t tag_first_value(const struct tag_key *key)
{
    return __atomic_load_n(&key->first, __ATOMIC_ACQUIRE);
}

static inline uint32_t tag_next_value(const struct tag_value *value)
{
    return __atomic_load_n(&value->next, __ATOMIC_ACQUIRE);
}

#endif
