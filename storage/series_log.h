/* series_log.h - the truth for names on disk: an append-only log of checksummed records.
 *
 * Bytes: docs/format.md, "Series log". The file is mapped; names are read where they lie and are never
 * copied to the heap. A record is complete in the page cache before series_log_append_*() returns, so
 * kill -9 loses none; series_log_sync() brings it to the device.
 *
 * Reading back: a record whose checksum is wrong is reported and stepped over, the records behind it
 * stay valid (after a power cut pages of the tail may be missing in any order). */
#ifndef PLUMBAGO_STORAGE_SERIES_LOG_H
#define PLUMBAGO_STORAGE_SERIES_LOG_H

#include "base/err.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct series_log;

/* How a series is kept: a retention policy and how its rollups are made. Numbered in order of first use. */
struct log_rule {
    uint16_t number;
    uint16_t policy; /* number of the retention policy; several rules may share one */
    uint8_t method;  /* enum aggregation */
    uint32_t created_s;
    double x_files_factor;
    struct span retentions; /* canonical text, "10s:1d,1m:30d" */
};

struct log_create {
    uint32_t id;
    uint16_t rule;
    uint32_t created_s;
    struct span name;
};

/* What series_log_replay() calls for each record, in order. Non-zero stops it with that code.
 * AT is to be given to series_log_name(). */
struct series_log_reader {
    void *ctx;
    int (*rule)(void *ctx, const struct log_rule *rule, struct err *err);
    int (*create)(void *ctx, const struct log_create *create, uint32_t at, struct err *err);
    int (*gone)(void *ctx, uint32_t id, struct err *err); /* series ID was deleted; NULL is fine */
    /* LEN bytes at OFFSET hold no valid record and were stepped over. */
    void (*damaged)(void *ctx, uint64_t offset, uint64_t len);
    /* The machine has not gone down since the log was last written, so no page of it is missing: the first
     * zero word is its end. */
    bool same_boot;
};

/* Open or create the log at PATH. *out is the caller's: series_log_close(). Before anything is appended,
 * series_log_replay() must have read all of it (and found its end). */
int series_log_open(const char *path, struct series_log **out, struct err *err);
int series_log_replay(struct series_log *log, const struct series_log_reader *reader, struct err *err);
void series_log_close(struct series_log *log); /* NULL is fine; does not sync */

/* Append. One thread at a time (the creation lock of series.c). ERR_FULL when the disk is full: nothing
 * was appended. For create, *at is where the name lies. */
int series_log_append_rule(struct series_log *log, const struct log_rule *rule, struct err *err);
int series_log_append_create(struct series_log *log, const struct log_create *create, uint32_t *at, struct err *err);

int series_log_append_delete(struct series_log *log, uint32_t id, struct err *err);

/* The name at AT; valid until series_log_close(). Any thread. */
struct span series_log_name(const struct series_log *log, uint32_t at, uint32_t len);

/* Wait until all that was appended before the call is on the device. Any thread. */
int series_log_sync(struct series_log *log, struct err *err);

/* What of a log is to be kept when it is written anew. */
struct series_log_filter {
    void *ctx;
    bool (*keep)(void *ctx, uint32_t id, uint32_t at);  /* the creation of ID, whose name is at AT, stays */
    void (*moved)(void *ctx, uint32_t id, uint32_t at); /* called in the end: the name is at AT now */
    uint32_t last; /* the log is to say that this id was deleted, so that ids never go back; UINT32_MAX: not */
};

/* Put a log in place of *LOG, which was replayed and lies in DIR: its rules, and the creations that are kept. It is
 * there at once or not at all. On ERR_FULL and ERR_MEMORY nothing has changed; after any other failure the store
 * must be closed. Only while the store opens. */
int series_log_rewrite(struct series_log **log, const char *dir, const struct series_log_filter *filter,
                       struct err *err);

/* Bytes of records, header included. */
uint64_t series_log_bytes(const struct series_log *log);

/* About how many bytes of records there are, before they have been read; a hint. */
uint64_t series_log_guess(const struct series_log *log);

/* A random number drawn when the log was created: the seed of hashes over names that strangers choose. */
uint64_t series_log_seed(const struct series_log *log);

#endif
