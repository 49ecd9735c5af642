#include "storage/id_table.h"

#include "base/must.h"

enum { SLOTS_MIN = 16 };

static const uint64_t DELETED = 1;

static uint64_t word_of(uint32_t hash, uint32_t id)
{
    return (uint64_t)hash << 32 | (id + 2);
}

/* Slots for COUNT ids, at a load of at most one half, and to move those of OLD into. At least a quarter of
 * the slots are then filled by inserts before the table is full again, and so the share of OLD that each
 * insert moves can be chosen such that the move has ended by then; it is never more than 33 slots, as a
 * table shrinks to no less than an eighth at once. */
static struct id_slots *slots_new(uint64_t count, struct id_slots *old, struct tree_heap *heap)
{
    uint64_t n = SLOTS_MIN, old_n = old == NULL ? 0 : (uint64_t)old->mask + 1;

    while (n < count * 2 || n < old_n / 8)
        n *= 2;
    struct id_slots *slots = tree_heap_calloc(heap, sizeof *slots + n * sizeof slots->slot[0]);
    if (slots == NULL)
        return NULL;
    slots->mask = (uint32_t)(n - 1);
    slots->old = old;
    slots->moves = (uint32_t)(old_n / (n / 4) + 1);
    return slots;
}

static void put(struct id_slots *slots, uint64_t word)
{
    uint32_t i = (uint32_t)(word >> 32) & slots->mask;

    while (slots->slot[i] > DELETED)
        i = (i + 1) & slots->mask;
    slots->used += slots->slot[i] == 0;
    __atomic_store_n(&slots->slot[i], word, __ATOMIC_RELEASE);
}

/* Move a few slots of the old table over; let it go when those were the last. */
static void move_some(struct id_slots *slots, struct tree_heap *heap)
{
    struct id_slots *old = slots->old;

    if (old == NULL)
        return;
    for (uint32_t i = 0; i < slots->moves && slots->moved <= old->mask; i++) {
        uint64_t word = old->slot[slots->moved++];
        if (word > DELETED)
            put(slots, word);
    }
    if (slots->moved > old->mask) {
        __atomic_store_n(&slots->old, NULL, __ATOMIC_RELEASE);
        tree_heap_retire(heap, old);
    }
}

bool id_table_reserve(struct id_table *table, uint32_t count, struct tree_heap *heap)
{
    struct id_slots *slots = slots_new(count, NULL, heap);

    MUST(table->slots == NULL);
    __atomic_store_n(&table->slots, slots, __ATOMIC_RELEASE);
    return slots != NULL;
}

static bool has_room(const struct id_slots *slots)
{
    return slots != NULL && (uint64_t)slots->used + 1 <= ((uint64_t)slots->mask + 1) / 4 * 3;
}

bool id_table_insert(struct id_table *table, uint32_t hash, uint32_t id, struct tree_heap *heap)
{
    struct id_slots *slots = table->slots;

    if (slots != NULL)
        move_some(slots, heap);
    if (!has_room(slots)) {
        MUST(slots == NULL || slots->old == NULL);
        slots = slots_new((uint64_t)table->live + 1, slots, heap);
        if (slots == NULL)
            return false;
        __atomic_store_n(&table->slots, slots, __ATOMIC_RELEASE);
    }
    put(slots, word_of(hash, id));
    table->live++;
    return true;
}

static bool forget(struct id_slots *slots, uint64_t word)
{
    for (uint32_t i = (uint32_t)(word >> 32) & slots->mask; slots->slot[i] != 0; i = (i + 1) & slots->mask) {
        if (slots->slot[i] == word) {
            __atomic_store_n(&slots->slot[i], DELETED, __ATOMIC_RELEASE);
            return true;
        }
    }
    return false;
}

void id_table_remove(struct id_table *table, uint32_t hash, uint32_t id)
{
    struct id_slots *slots = table->slots;
    bool found = forget(slots, word_of(hash, id));

    if (slots->old != NULL)
        found |= forget(slots->old, word_of(hash, id));
    MUST(found);
    table->live--;
}

void id_table_release(struct id_table *table, struct tree_heap *heap)
{
    if (table->slots != NULL) {
        tree_heap_retire(heap, table->slots->old);
        tree_heap_retire(heap, table->slots);
    }
    *table = (struct id_table){.slots = NULL};
}
