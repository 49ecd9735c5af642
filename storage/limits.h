/* limits.h - whether the store may take one more series, or open one more window.
 *
 * What is limited is what strangers can make grow: names. When a limit bites, points of known series are stored
 * as ever; points of new names are refused with the reason, and the log says so once a minute.
 *
 * Memory is counted, not measured: each part of the index keeps the sum of its allocations. A creation is
 * allowed while
 *     parts + what the known series will need + what the next growth may take  <=  options.memory_max
 * where the known series need a place in the row maps of a few windows and in the list of rows that sealing
 * sorts, and growth is a hash table that doubles. So the limit is met before it is passed, and a known series
 * never finds that there is no memory for its next window. */
#ifndef PLUMBAGO_STORAGE_LIMITS_H
#define PLUMBAGO_STORAGE_LIMITS_H

#include "base/log.h"
#include "storage/storage.h"

struct limits {
    double creates_left; /* guarded by series.lock */
    int64_t creates_ns;  /* guarded by series.lock: when creates_left was true */
    bool memory_full;    /* relaxed atomic: the last new name was refused for lack of memory */
    struct log_limit log[STORE_RESULTS];
};

/* The limits of ST, as its options say. */
void limits_init(struct storage *st);

/* Whether a series may be created: STORE_OK, or why not. The caller holds series.lock. */
enum store_result limits_ask(struct storage *st);

/* A new name was refused for REASON: the log says it once a minute. Any thread. */
void limits_refused(struct storage *st, enum store_result reason);

/* Whether the row map of one more window fits in. */
bool limits_window_fits(const struct storage *st);

/* Bytes that the index takes: records, hash tables, tree, row maps, and what waits to be freed. */
uint64_t limits_index_bytes(const struct storage *st);

#endif
