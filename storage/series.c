/* Hash: 64 shards by the top bits of the hash, each an open-addressing table with linear probing of
 * 8-byte words (low half of the hash, id + 1), at most 5/8 full. A shard that is full doubles by
 * itself: the pause of a growth is a 64th of the whole. Hash halves are kept in the records, so growing
 * does not touch names. */
#include "storage/series.h"

#include "base/must.h"
#include "base/vmem.h"
#include "storage/deferred.h"

#include <stdlib.h>
#include <xxhash.h>

enum { TABLE_SLOTS_MIN = 64 };

struct name_table {
    uint32_t slots; /* a power of two */
    uint32_t used;
    uint64_t word[]; /* atomic: hash half << 32 | (id + 1); 0: free */
};

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
        if ((uint32_t)(word >> 32) != half)
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
        if ((uint32_t)(word >> 32) == half) {
            __builtin_prefetch(series_get(t, (uint32_t)word - 1));
            return (uint32_t)word - 1;
        }
    }
}

static void table_put(struct name_table *table, uint32_t half, uint32_t id)
{
    uint32_t mask = table->slots - 1;
    uint32_t at = half & mask;

    while (table->word[at] != 0)
        at = (at + 1) & mask;
    __atomic_store_n(&table->word[at], (uint64_t)half << 32 | (id + 1), __ATOMIC_RELEASE);
    table->used++;
}

/* The shard of HASH, with room for one more name. NULL when memory is short. */
static struct name_table *table_with_room(struct series_table *t, uint64_t hash)
{
    struct name_table **shard = &t->shard[shard_of(hash)];
    struct name_table *old = *shard;

    if ((uint64_t)(old->used + 1) * 8 <= (uint64_t)old->slots * 5)
        return old;
    struct name_table *table = table_new(old->slots * 2);
    if (table == NULL)
        return NULL;
    for (uint32_t i = 0; i < old->slots; i++)
        if (old->word[i] != 0)
            table_put(table, (uint32_t)(old->word[i] >> 32), (uint32_t)old->word[i] - 1);
    __atomic_fetch_add(&t->table_bytes, table_bytes(table) - table_bytes(old), __ATOMIC_RELAXED);
    __atomic_store_n(shard, table, __ATOMIC_RELEASE);
    deferred_free(old);
    return table;
}

/* Fill the record and make the name findable; cannot fail once TABLE has room. */
static void series_publish(struct series_table *t, struct name_table *table, const struct log_create *create,
                           uint32_t at, uint64_t hash)
{
    struct series *s = series_get(t, create->id);

    s->name_at = at;
    s->name_len = (uint16_t)create->name.len;
    s->rule = create->rule;
    s->hash = (uint32_t)hash;
    s->created_s = create->created_s;
    if (create->id >= t->ids)
        __atomic_store_n(&t->ids, create->id + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&t->count, t->count + 1, __ATOMIC_RELAXED);
    table_put(table, (uint32_t)hash, create->id);
}

int series_restore(struct series_table *t, const struct log_create *create, uint32_t at, struct err *err)
{
    uint64_t hash = series_hash(t, create->name);

    if (create->id >= SERIES_MAX)
        return err_set(err, ERR_CORRUPT, "series id %u is out of range", create->id);
    struct name_table *table = table_with_room(t, hash);
    if (table == NULL)
        return err_set(err, ERR_MEMORY, "hash table of names");
    series_publish(t, table, create, at, hash);
    return 0;
}

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
    series_publish(t, table, &create, at, hash);
    *id = create.id;
    return 0;
}

void series_reserve_ids(struct series_table *t, uint32_t id)
{
    if (id > t->ids)
        t->ids = id;
}

uint64_t series_table_bytes(const struct series_table *t)
{
    return __atomic_load_n(&t->ids, __ATOMIC_RELAXED) * sizeof(struct series) +
           __atomic_load_n(&t->table_bytes, __ATOMIC_RELAXED);
}
