/* id_table.h - hash -> id, read without locks and grown without a pause.
 *
 * Open addressing over words of (hash << 32 | id + 2); 0 is an empty slot, 1 a deleted one. The table
 * knows no keys: whoever looks something up compares what an id stands for.
 *
 * Growing. A table that is full gets a successor of the right size, which becomes the one that is
 * searched first; every insert then also moves a few slots over from the old one, which stays as it is
 * until all are moved. A reader looks at the new one, then at the old one if there still was one
 * *before* it began: so it never misses a word that is on its way.
 *
 * One writer at a time; any number of readers between grace_enter() and grace_leave(). */
#ifndef PLUMBAGO_STORAGE_ID_TABLE_H
#define PLUMBAGO_STORAGE_ID_TABLE_H

#include "storage/tree_heap.h"

struct id_slots {
    struct id_slots *old; /* atomic: being moved from; NULL: none */
    uint32_t mask;
    uint32_t used;  /* slots that are not empty (writer only) */
    uint32_t moved; /* slots of .old that were moved (writer only) */
    uint32_t moves; /* how many slots each insert moves */
    uint64_t slot[];
};

/* Zeroed is empty. */
struct id_table {
    struct id_slots *slots; /* atomic */
    uint32_t live;          /* ids in the table (writer only) */
};

/* Whether ID stands for KEY. */
typedef bool id_table_is(const void *owner, uint32_t id, const void *key);

static inline bool id_slots_find(const struct id_slots *slots, uint32_t hash, id_table_is *is, const void *owner,
                                 const void *key, uint32_t *id)
{
    for (uint32_t i = hash & slots->mask;; i = (i + 1) & slots->mask) {
        uint64_t word = __atomic_load_n(&slots->slot[i], __ATOMIC_ACQUIRE);

        if (word == 0)
            return false;
        if (word >> 32 == hash && word != 1 && is(owner, (uint32_t)word - 2, key)) {
            *id = (uint32_t)word - 2;
            return true;
        }
    }
}

/* The id of KEY, whose hash is HASH. */
static inline bool id_table_find(const struct id_table *table, uint32_t hash, id_table_is *is, const void *owner,
                                 const void *key, uint32_t *id)
{
    const struct id_slots *slots = __atomic_load_n(&table->slots, __ATOMIC_ACQUIRE);

    if (slots == NULL)
        return false;
    const struct id_slots *old = __atomic_load_n(&slots->old, __ATOMIC_ACQUIRE);
    return id_slots_find(slots, hash, is, owner, key, id) ||
           (old != NULL && id_slots_find(old, hash, is, owner, key, id));
}

/* Make room for COUNT ids at once in an empty table. False when memory is short. */
bool id_table_reserve(struct id_table *table, uint32_t count, struct tree_heap *heap);

/* Add ID (at most 2^32 - 3), which is not in the table. False when memory is short: nothing changed. */
bool id_table_insert(struct id_table *table, uint32_t hash, uint32_t id, struct tree_heap *heap);

/* Take ID out, which is in the table under HASH. */
void id_table_remove(struct id_table *table, uint32_t hash, uint32_t id);

/* Retire the memory; the table is empty afterwards. */
void id_table_release(struct id_table *table, struct tree_heap *heap);

#endif
