/* Hash: 64 shards by the top bits of the hash, each an open-addressing table with linear probing of
 * 8-byte words (low half of the hash, id + 1), at most 5/8 full. A shard that is full doubles by
 * itself: the pause of a growth is a 64th of the whole. Hash halves are kept in the records, so growing
 * does not touch names.
 *
 * A name that goes leaves a mark where it stood, so that readers on their way probe on; the next name that comes
 * by may stand there. Marks before a free slot are of no use and become free at once. */
#include "storage/series.h"

#include "base/must.h"
#include "base/vmem.h"
#include "storage/deferred.h"

#include <stdlib.h>
#include <xxhash.h>

enum { TABLE_SLOTS_MIN = 64 };

struct name_table {
    uint32_t slots;  /* a power of two */
    uint32_t used;   /* slots that are not free */
    uint32_t live;   /* of those, names */
    uint64_t word[]; /* atomic: hash half << 32 | (id + 1); 0: free; WORD_GONE */
};

/* Where a name was: an id of none. */
static const uint64_t WORD_GONE = UINT64_C(0xffffffff) << 32;

static struct name_table *table_new(uint32_t slots)
{
    struct name_table *table = calloc(1, sizeof *table + (size_t)slots * sizeof table->word[0]);

    if (table != NULL)
        table->slots = slots;
    return table;
}

static size_t table_bytes(const struct name_table *table)
{
    return sizeof *table + (size_t)table->slots * sizeof table->word[0];
}

static inline unsigned shard_of(uint64_t hash)
{
    return (unsigned)(hash >> 58);
}

int series_table_init(struct series_table *t, uint64_t limit, struct err *err)
{
    *t = (struct series_table){.limit = limit == 0 || limit > SERIES_MAX ? SERIES_MAX : limit};
    pthread_mutex_init(&t->lock, NULL);
    t->records = vmem_reserve((size_t)SERIES_MAX * sizeof t->records[0]);
    if (t->records == NULL)
        return err_set(err, ERR_MEMORY, "no address space for the series table");
    for (unsigned i = 0; i < SERIES_SHARDS; i++) {
        t->shard[i] = table_new(TABLE_SLOTS_MIN);
        if (t->shard[i] == NULL)
            return err_set(err, ERR_MEMORY, "series table");
        t->table_bytes += table_bytes(t->shard[i]);
    }
    return 0;
}

void series_table_release(struct series_table *t)
{
    vmem_release(t->records, (size_t)SERIES_MAX * sizeof t->records[0]);
    for (unsigned i = 0; i < SERIES_SHARDS; i++)
        free(t->shard[i]);
    pthread_mutex_destroy(&t->lock);
}

uint64_t series_hash(const struct series_table *t, struct span canonical)
{
    return XXH3_64bits_withSeed(canonical.ptr, canonical.len, t->seed);
}

uint32_t series_find(const struct series_table *t, struct span canonical, uint64_t hash)
{
    const struct name_table *table = __atomic_load_n(&t->shard[shard_of(hash)], __ATOMIC_ACQUIRE);
    uint32_t mask = table->slots - 1;
    uint32_t half = (uint32_t)hash;

    for (uint32_t at = half & mask;; at = (at + 1) & mask) {
        uint64_t word = __atomic_load_n(&table->word[at], __ATOMIC_ACQUIRE);
        if (word == 0)
            return SERIES_NONE;
        if ((uint32_t)(word >> 32) != half || word == WORD_GONE)
            continue;
        uint32_t id = (uint32_t)word - 1;
        if (span_eq(series_name(t, series_get(t, id)), canonical))
            return id;
    }
}

void series_prefetch_slot(const struct series_table *t, uint64_t hash)
{
    const struct name_table *table = __atomic_load_n(&t->shard[shard_of(hash)], __ATOMIC_ACQUIRE);

    __builtin_prefetch(&table->word[(uint32_t)hash & (table->slots - 1)]);
}

uint32_t series_prefetch_record(const struct series_table *t, uint64_t hash)
{
    const struct name_table *table = __atomic_load_n(&t->shard[shard_of(hash)], __ATOMIC_ACQUIRE);
    uint32_t mask = table->slots - 1;
    uint32_t half = (uint32_t)hash;

    for (uint32_t at = half & mask;; at = (at + 1) & mask) {
        uint64_t word = __atomic_load_n(&table->word[at], __ATOMIC_ACQUIRE);
        if (word == 0)
            return SERIES_NONE;
        if ((uint32_t)(word >> 32) == half && word != WORD_GONE) {
            __builtin_prefetch(series_get(t, (uint32_t)word - 1));
            return (uint32_t)word - 1;
        }
    }
}

static void table_put(struct name_table *table, uint32_t half, uint32_t id)
{
    uint32_t mask = table->slots - 1;
    uint32_t at = half & mask;

    while (table->word[at] != 0 && table->word[at] != WORD_GONE)
        at = (at + 1) & mask;
    table->used += table->word[at] == 0;
    table->live++;
    __atomic_store_n(&table->word[at], (uint64_t)half << 32 | (id + 1), __ATOMIC_RELEASE);
}

static void table_remove(struct name_table *table, uint32_t half, uint32_t id)
{
    uint32_t mask = table->slots - 1;
    uint32_t at = half & mask;

    while (table->word[at] != ((uint64_t)half << 32 | (id + 1))) {
        MUST(table->word[at] != 0);
        at = (at + 1) & mask;
    }
    __atomic_store_n(&table->word[at], WORD_GONE, __ATOMIC_RELEASE);
    table->live--;
    if (table->word[(at + 1) & mask] != 0)
        return;
    for (; table->word[at] == WORD_GONE; at = (at - 1) & mask) {
        __atomic_store_n(&table->word[at], 0, __ATOMIC_RELEASE);
        table->used--;
    }
}

/* Slots for COUNT names, and for as many more that the table is not full again at once. */
static uint32_t table_slots(uint64_t count)
{
    uint64_t slots = TABLE_SLOTS_MIN;

    while (count * 2 > slots)
        slots *= 2;
    return (uint32_t)slots;
}

/* Put a table of SLOTS in place of SHARD's, with the same names. NULL when memory is short. */
static struct name_table *table_replace(struct series_table *t, struct name_table **shard, uint32_t slots)
{
    struct name_table *old = *shard, *table = table_new(slots);

    if (table == NULL)
        return NULL;
    for (uint32_t i = 0; i < old->slots; i++)
        if (old->word[i] != 0 && old->word[i] != WORD_GONE)
            table_put(table, (uint32_t)(old->word[i] >> 32), (uint32_t)old->word[i] - 1);
    __atomic_fetch_add(&t->table_bytes, table_bytes(table) - table_bytes(old), __ATOMIC_RELAXED);
    __atomic_store_n(shard, table, __ATOMIC_RELEASE);
    deferred_free(old);
    return table;
}

/* The shard of HASH, with room for one more name. NULL when memory is short. */
static struct name_table *table_with_room(struct series_table *t, uint64_t hash)
{
    struct name_table **shard = &t->shard[shard_of(hash)];
    struct name_table *table = *shard;

    if ((uint64_t)(table->used + 1) * 8 <= (uint64_t)table->slots * 5)
        return table;
    return table_replace(t, shard, table_slots((uint64_t)table->live + 1));
}

static void series_fill(struct series_table *t, const struct log_create *create, uint32_t at)
{
    struct series *s = series_get(t, create->id);

    s->name_at = at;
    s->name_len = (uint16_t)create->name.len;
    s->rule = create->rule;
    s->created_s = create->created_s;
    __atomic_store_n(&s->state, SERIES_LIVE, __ATOMIC_RELEASE);
    if (create->id >= t->ids)
        __atomic_store_n(&t->ids, create->id + 1, __ATOMIC_RELEASE);
}

static void series_count(struct series_table *t, uint64_t more)
{
    __atomic_store_n(&t->count, t->count + more, __ATOMIC_RELAXED);
}

int series_restore(struct series_table *t, const struct log_create *create, uint32_t at, struct err *err)
{
    if (create->id >= SERIES_MAX)
        return err_set(err, ERR_CORRUPT, "series id %u is out of range", create->id);
    series_fill(t, create, at);
    return 0;
}

/* ---- names, while the store opens ---- */

/* Where the id of NAME stands among those with HASH, or NULL. */
static uint64_t *table_find(const struct series_table *t, struct name_table *table, struct span name, uint64_t hash)
{
    uint32_t mask = table->slots - 1, half = (uint32_t)hash;

    for (uint32_t at = half & mask; table->word[at] != 0; at = (at + 1) & mask) {
        uint64_t word = table->word[at];
        if ((uint32_t)(word >> 32) == half && word != WORD_GONE &&
            span_eq(series_name(t, series_get(t, (uint32_t)word - 1)), name))
            return &table->word[at];
    }
    return NULL;
}

static int restore_name(struct series_table *t, uint32_t id, uint64_t hash, struct err *err)
{
    struct series *s = series_get(t, id);
    struct name_table *table = table_with_room(t, hash);

    if (table == NULL)
        return err_set(err, ERR_MEMORY, "hash table of names");
    s->hash = (uint32_t)hash;
    uint64_t *word = table_find(t, table, series_name(t, s), hash);
    if (word == NULL) {
        table_put(table, s->hash, id);
        series_count(t, 1);
    } else if ((uint32_t)*word - 1 != id) {
        series_get(t, (uint32_t)*word - 1)->state = SERIES_ABSENT;
        *word = (uint64_t)s->hash << 32 | (id + 1);
    }
    return 0;
}

static void restore_gone(struct series_table *t, uint32_t id, uint64_t hash)
{
    if (series_state(series_get(t, id)) == SERIES_ABSENT)
        return; /* its creation was lost, or its name has another id by now */
    table_remove(t->shard[shard_of(hash)], (uint32_t)hash, id);
    series_get(t, id)->state = SERIES_ABSENT;
    series_count(t, (uint64_t)-1);
}

int series_restore_names(struct series_table *t, const uint32_t *ops, size_t count, struct err *err)
{
    enum { AHEAD = 64 };
    uint64_t hash[AHEAD];
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < count; at += AHEAD) {
        size_t n = count - at < AHEAD ? count - at : AHEAD;
        for (size_t i = 0; i < n; i++) {
            hash[i] = series_hash(t, series_name(t, series_get(t, ops[at + i] & ~SERIES_OP_GONE)));
            series_prefetch_slot(t, hash[i]);
        }
        for (size_t i = 0; i < n && rc == 0; i++) {
            if ((ops[at + i] & SERIES_OP_GONE) == 0)
                rc = restore_name(t, ops[at + i], hash[i], err);
            else
                restore_gone(t, ops[at + i] & ~SERIES_OP_GONE, hash[i]);
        }
    }
    return rc;
}

void series_expect(struct series_table *t, uint64_t count)
{
    uint32_t slots = table_slots(count / SERIES_SHARDS + 1);

    for (unsigned i = 0; i < SERIES_SHARDS; i++)
        if (t->shard[i]->slots < slots)
            table_replace(t, &t->shard[i], slots);
}

/* ---- creation and deletion ---- */

int series_create(struct series_table *t, struct span canonical, uint64_t hash, uint16_t rule, uint32_t created_s,
                  uint32_t *id, struct err *err)
{
    struct log_create create = {.id = t->ids, .rule = rule, .created_s = created_s, .name = canonical};
    uint32_t at;

    MUST(canonical.len > 0 && canonical.len <= UINT16_MAX);
    if (t->count >= t->limit || t->ids >= SERIES_MAX)
        return err_set(err, ERR_LIMIT, "the limit of %llu series is reached", (unsigned long long)t->limit);
    struct name_table *table = table_with_room(t, hash);
    if (table == NULL)
        return err_set(err, ERR_MEMORY, "hash table of names");
    int rc = series_log_append_create(t->log, &create, &at, err);
    if (rc < 0)
        return rc;
    series_get(t, create.id)->hash = (uint32_t)hash;
    series_fill(t, &create, at);
    series_count(t, 1);
    table_put(table, (uint32_t)hash, create.id);
    *id = create.id;
    return 0;
}

/* When few names are left in the shard of HASH, its table becomes a small one. */
static void table_shrink(struct series_table *t, uint64_t hash)
{
    struct name_table **shard = &t->shard[shard_of(hash)];

    if ((*shard)->slots > TABLE_SLOTS_MIN && (uint64_t)(*shard)->live * 8 < (*shard)->slots)
        table_replace(t, shard, table_slots((uint64_t)(*shard)->live + 1)); /* when memory is short it stays */
}

int series_delete(struct series_table *t, uint32_t id, struct err *err)
{
    struct series *s = series_get(t, id);
    uint64_t hash = series_hash(t, series_name(t, s));
    int rc = series_log_append_delete(t->log, id, err);

    if (rc < 0)
        return rc;
    table_remove(t->shard[shard_of(hash)], (uint32_t)hash, id);
    __atomic_store_n(&s->state, SERIES_ABSENT, __ATOMIC_RELEASE);
    series_count(t, (uint64_t)-1);
    table_shrink(t, hash);
    return 0;
}

void series_forget(struct series_table *t, uint32_t first, uint32_t end)
{
    vmem_forget(series_get(t, first), (size_t)(end - first) * sizeof t->records[0]);
}

void series_reserve_ids(struct series_table *t, uint32_t id)
{
    if (id > t->ids)
        t->ids = id;
}

uint64_t series_table_bytes(const struct series_table *t)
{
    uint64_t records = __atomic_load_n(&t->ids, __ATOMIC_RELAXED) - __atomic_load_n(&t->forgotten, __ATOMIC_RELAXED);

    return records * sizeof(struct series) + __atomic_load_n(&t->table_bytes, __ATOMIC_RELAXED);
}
