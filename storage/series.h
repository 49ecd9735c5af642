/* series.h - all series: name -> id, and what the store needs to know of each on every point.
 *
 * A record of 32 bytes a series, by id, and a hash table name -> id. Both are read without locks:
 * records never move (reserved address space), hash tables are published by pointer and freed after a
 * grace period. Creation takes one lock.
 *
 * Successor prediction: collectors repeat the same names in the same order every interval, so each
 * record remembers the series that followed it last time; the caller compares the next name with that
 * one first (store.c). */
#ifndef PLUMBAGO_STORAGE_SERIES_H
#define PLUMBAGO_STORAGE_SERIES_H

#include "base/err.h"
#include "base/span.h"
#include "storage/series_log.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>

enum { SERIES_NONE = UINT32_MAX, SERIES_MAX = 1 << 28 };

/* What a record stands for. */
enum series_state {
    SERIES_ABSENT = 0, /* no series: deleted, or its record of the log was lost. The name may still be read. */
    SERIES_LIVE,
    SERIES_LEAVING,
};

struct series {
    uint32_t name_at; /* series_log_name() */
    uint16_t name_len;
    uint16_t rule;  /* policies.h */
    uint32_t hash;  /* low half of the name's hash */
    uint32_t next;  /* relaxed atomic: id + 1 of the series that followed last time; 0: unknown */
    uint64_t place; /* atomic: window serial << 32 | row, where its last store went */
    uint32_t created_s;
    uint32_t state; /* atomic: enum series_state; changed under the table's lock */
};
static_assert(sizeof(struct series) == 32, "two records a cache line");

struct name_table; /* one shard's hash table */

enum { SERIES_SHARDS = 64 };

struct series_table {
    struct series *records; /* by id; readable up to .ids */
    uint32_t ids;           /* atomic: ids below this are handed out (some may be gone) */
    uint64_t count;         /* atomic: live series */
    uint64_t limit;         /* the most there may be */
    uint32_t forgotten;     /* atomic: absent ones among them whose records have no memory */
    uint64_t seed;
    struct series_log *log;
    pthread_mutex_t lock;                    /* creation: guards the log's end, .ids, and the shards' growth */
    struct name_table *shard[SERIES_SHARDS]; /* atomic pointers */
    uint64_t table_bytes;                    /* atomic */
};

/* Ready T over no log yet; LIMIT series at the most. */
int series_table_init(struct series_table *t, uint64_t limit, struct err *err);
void series_table_release(struct series_table *t);

/* The record of ID, which must have been handed out. */
static inline struct series *series_get(const struct series_table *t, uint32_t id)
{
    return &t->records[id];
}

static inline enum series_state series_state(const struct series *s)
{
    return (enum series_state)__atomic_load_n(&s->state, __ATOMIC_ACQUIRE);
}

/* Whether ID is that of a series: it may have been deleted; and after a power cut, data may name ids that the log
 * has lost. Any id. */
static inline bool series_has_name(const struct series_table *t, uint32_t id)
{
    return id < __atomic_load_n(&t->ids, __ATOMIC_ACQUIRE) && series_state(&t->records[id]) != SERIES_ABSENT;
}

/* Valid for as long as the log is open, whatever becomes of the series. */
static inline struct span series_name(const struct series_table *t, const struct series *s)
{
    return series_log_name(t->log, s->name_at, s->name_len);
}

uint64_t series_hash(const struct series_table *t, struct span canonical);

/* The id of a canonical name, or SERIES_NONE. Any thread, between grace_enter() and grace_leave(). */
uint32_t series_find(const struct series_table *t, struct span canonical, uint64_t hash);

/* What series_find() will touch for HASH, brought near in steps so that many look-ups wait together: first the
 * slot of the table; then the record that it points at (returns its id, or SERIES_NONE when none has this
 * hash); the caller then fetches the record's name. */
void series_prefetch_slot(const struct series_table *t, uint64_t hash);
uint32_t series_prefetch_record(const struct series_table *t, uint64_t hash);

/* While the store opens, what the log holds is put into the table in two steps, each in the order of the log, which
 * two threads may do, the second behind the first: the records of creations; and the names, which are made
 * findable. An op is the id of a creation, or SERIES_OP_GONE | the id of a deletion. A name that is there already
 * gives up its older id, whose deletion the log has lost. */
#define SERIES_OP_GONE 0x80000000u
int series_restore(struct series_table *t, const struct log_create *create, uint32_t at, struct err *err);
int series_restore_names(struct series_table *t, const uint32_t *ops, size_t count, struct err *err);

/* Room for COUNT names at once in an empty table. A hint. */
void series_expect(struct series_table *t, uint64_t count);

/* Give CANONICAL an id: log record, record, hash. The caller holds t->lock and has found that the name
 * is not there. ERR_FULL: the disk; ERR_LIMIT: the limit; ERR_MEMORY. */
int series_create(struct series_table *t, struct span canonical, uint64_t hash, uint16_t rule, uint32_t created_s,
                  uint32_t *id, struct err *err);

/* Mark a live series as leaving. The caller holds t->lock. */
static inline void series_leave(struct series_table *t, uint32_t id)
{
    if (series_state(series_get(t, id)) == SERIES_LIVE)
        __atomic_store_n(&series_get(t, id)->state, SERIES_LEAVING, __ATOMIC_RELEASE);
}

/* Take the mark of a leaving series away. The caller holds t->lock. */
static inline void series_keep(struct series_table *t, uint32_t id)
{
    if (series_state(series_get(t, id)) == SERIES_LEAVING)
        __atomic_store_n(&series_get(t, id)->state, SERIES_LIVE, __ATOMIC_RELEASE);
}

/* Series ID is no more: a log record, then out of the hash. The caller holds t->lock and has found it live or
 * leaving. ERR_FULL, ERR_IO of the log: nothing changed. */
int series_delete(struct series_table *t, uint32_t id, struct err *err);

/* Give back the memory of records [first, end), all absent for at least a grace period. */
void series_forget(struct series_table *t, uint32_t first, uint32_t end);

/* Ids below ID are never handed out again: somebody's data names them. Only while the store opens. */
void series_reserve_ids(struct series_table *t, uint32_t id);

/* Heap bytes: records and hash tables. */
uint64_t series_table_bytes(const struct series_table *t);

#endif
