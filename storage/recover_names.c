/* Names at start: the series log is read once, by this thread, which checks every record and fills the records of
 * series in memory; behind it, each in a thread of its own and in the order of the log, the hash table, the name
 * tree and the tag index are built.
 *
 *     log --reader--> records, ops --ring of batches--+--> hash
 *                                                     +--> tree
 *                                                     +--> tags
 *
 * An op is four bytes: which series came, or went. The ring is bounded; whoever is slowest decides, which is the
 * tree. A small log is not worth threads: its batches are built where they are read.
 */
#include "storage/internal.h"

#include "base/log.h"
#include "storage/name.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    BATCH_OPS = 4096,
    RING_BATCHES = 32,
    THREADS_FROM = 2 << 20,  /* bytes of a log that is worth threads */
    REWRITE_FROM = 64 << 10, /* bytes of a log that is worth writing anew, when half of it is dead */
};

struct name_batch {
    size_t count;
    uint32_t op[BATCH_OPS];
};

struct feed;

/* Builds something out of the ops. */
struct builder {
    struct feed *feed;
    int (*build)(struct storage *st, const uint32_t *ops, size_t count, struct err *err);
    uint64_t done; /* batches; guarded by the feed's lock */
    int rc;
    struct err err;
    pthread_t thread;
    bool runs;
};

enum { BUILDERS = 3 };

struct feed {
    struct storage *st;
    bool expected; /* the hash was made as large as it will be */
    uint64_t created;
    struct builder builder[BUILDERS];
    pthread_mutex_t lock; /* guards the next two */
    pthread_cond_t moved;
    uint64_t filled; /* batches that builders may take */
    bool ended;
    struct name_batch *batch; /* RING_BATCHES; number .filled modulo that is being filled */
};

static int build_hash(struct storage *st, const uint32_t *ops, size_t count, struct err *err)
{
    return series_restore_names(&st->series, ops, count, err);
}

static int build_tree(struct storage *st, const uint32_t *ops, size_t count, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint32_t id = ops[i] & ~SERIES_OP_GONE, found;
        struct span name = series_name(&st->series, series_get(&st->series, id));
        if (name.len == 0 || name_is_tagged(name))
            continue;
        if (ops[i] == id)
            rc = name_tree_insert(st->tree, name, id, err);
        else if (name_tree_lookup(st->tree, name, &found) && found == id)
            name_tree_remove(st->tree, name);
    }
    return rc;
}

static int build_tags(struct storage *st, const uint32_t *ops, size_t count, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint32_t id = ops[i] & ~SERIES_OP_GONE;
        struct span name = series_name(&st->series, series_get(&st->series, id));
        if (name.len == 0 || !name_is_tagged(name))
            continue;
        if (ops[i] == id)
            rc = tag_index_insert(st->tags, name, id, err);
        else
            tag_index_remove(st->tags, name, id);
    }
    return rc;
}

/* ---- the ring ---- */

static void *builder_main(void *arg)
{
    struct builder *b = arg;
    struct feed *feed = b->feed;

    pthread_mutex_lock(&feed->lock);
    for (;;) {
        while (b->done == feed->filled && !feed->ended)
            pthread_cond_wait(&feed->moved, &feed->lock);
        if (b->done == feed->filled)
            break;
        const struct name_batch *batch = &feed->batch[b->done % RING_BATCHES];
        pthread_mutex_unlock(&feed->lock);
        if (b->rc == 0)
            b->rc = b->build(feed->st, batch->op, batch->count, &b->err);
        pthread_mutex_lock(&feed->lock);
        b->done++;
        pthread_cond_broadcast(&feed->moved);
    }
    pthread_mutex_unlock(&feed->lock);
    return NULL;
}

/* Whether the batch that comes next is still in some builder's hands. The lock is held. */
static bool feed_is_full(const struct feed *feed)
{
    for (unsigned i = 0; i < BUILDERS; i++)
        if (feed->builder[i].runs && feed->filled - feed->builder[i].done >= RING_BATCHES)
            return true;
    return false;
}

/* The first batch tells how long a record is, and so how many there will be. */
static void feed_expect(struct feed *feed, const struct name_batch *batch)
{
    const struct series *last = series_get(&feed->st->series, batch->op[batch->count - 1] & ~SERIES_OP_GONE);
    uint64_t bytes = (uint64_t)last->name_at * 4;

    feed->expected = true;
    if (bytes != 0)
        series_expect(&feed->st->series, series_log_guess(feed->st->log) / (bytes / batch->count + 1));
}

/* Hand the batch over to the builders. */
static void feed_pass(struct feed *feed)
{
    struct name_batch *batch = &feed->batch[feed->filled % RING_BATCHES];

    if (batch->count == 0)
        return;
    if (!feed->expected)
        feed_expect(feed, batch);
    for (unsigned i = 0; i < BUILDERS; i++) {
        struct builder *b = &feed->builder[i];
        if (!b->runs && b->rc == 0)
            b->rc = b->build(feed->st, batch->op, batch->count, &b->err);
    }
    pthread_mutex_lock(&feed->lock);
    feed->filled++;
    pthread_cond_broadcast(&feed->moved);
    while (feed_is_full(feed))
        pthread_cond_wait(&feed->moved, &feed->lock);
    pthread_mutex_unlock(&feed->lock);
    feed->batch[feed->filled % RING_BATCHES].count = 0;
}

static void feed_op(struct feed *feed, uint32_t op)
{
    struct name_batch *batch = &feed->batch[feed->filled % RING_BATCHES];

    batch->op[batch->count++] = op;
    if (batch->count == BATCH_OPS)
        feed_pass(feed);
}

static int feed_init(struct feed *feed, struct storage *st, struct err *err)
{
    static int (*const builds[BUILDERS])(struct storage *, const uint32_t *, size_t,
                                         struct err *) = {build_hash, build_tree, build_tags};

    *feed = (struct feed){.st = st, .batch = malloc(RING_BATCHES * sizeof feed->batch[0])};
    if (feed->batch == NULL)
        return err_set(err, ERR_MEMORY, "reading names");
    feed->batch[0].count = 0;
    pthread_mutex_init(&feed->lock, NULL);
    pthread_cond_init(&feed->moved, NULL);
    bool threaded = series_log_guess(st->log) >= THREADS_FROM;
    for (unsigned i = 0; i < BUILDERS; i++) {
        struct builder *b = &feed->builder[i];
        b->feed = feed;
        b->build = builds[i];
        b->runs = threaded && pthread_create(&b->thread, NULL, builder_main, b) == 0; /* else by this thread */
    }
    return 0;
}

/* Wait until all is built. RC is what reading ended with. */
static int feed_end(struct feed *feed, int rc, struct err *err)
{
    feed_pass(feed);
    pthread_mutex_lock(&feed->lock);
    feed->ended = true;
    pthread_cond_broadcast(&feed->moved);
    pthread_mutex_unlock(&feed->lock);
    for (unsigned i = 0; i < BUILDERS; i++) {
        struct builder *b = &feed->builder[i];
        if (b->runs)
            pthread_join(b->thread, NULL);
        if (rc == 0 && b->rc < 0) {
            rc = b->rc;
            *err = b->err;
        }
    }
    pthread_mutex_destroy(&feed->lock);
    pthread_cond_destroy(&feed->moved);
    free(feed->batch);
    return rc;
}

/* ---- the records of the log ---- */

static int names_rule(void *ctx, const struct log_rule *rule, struct err *err)
{
    struct feed *feed = ctx;

    return policies_restore(&feed->st->policies, rule, err);
}

static int names_create(void *ctx, const struct log_create *create, uint32_t at, struct err *err)
{
    struct feed *feed = ctx;

    if (create->rule >= feed->st->policies.rules)
        return err_set(err, ERR_CORRUPT, "series %u has the unknown rule %u", create->id, create->rule);
    int rc = series_restore(&feed->st->series, create, at, err);
    if (rc < 0)
        return rc;
    feed->created++;
    feed_op(feed, create->id);
    return 0;
}

static int names_gone(void *ctx, uint32_t id, struct err *err)
{
    struct feed *feed = ctx;

    if (id >= SERIES_MAX)
        return err_set(err, ERR_CORRUPT, "deleted series id %u is out of range", id);
    series_reserve_ids(&feed->st->series, id + 1);
    feed_op(feed, id | SERIES_OP_GONE);
    return 0;
}

static void names_damaged(void *ctx, uint64_t offset, uint64_t len)
{
    struct feed *feed = ctx;

    feed->st->damaged_chunks++;
    log_error("storage", "series.log: bytes that hold no valid record are left out", LOG_INT("offset", offset),
              LOG_INT("bytes", len));
}

/* ---- a log of which much is dead ---- */

static bool names_keep(void *ctx, uint32_t id, uint32_t at)
{
    const struct storage *st = ctx;

    return series_has_name(&st->series, id) && series_get(&st->series, id)->name_at == at;
}

static void names_moved(void *ctx, uint32_t id, uint32_t at)
{
    struct storage *st = ctx;

    series_get(&st->series, id)->name_at = at;
}

int storage_rewrite_names(struct storage *st, uint64_t created, struct err *err)
{
    const struct series_table *t = &st->series;
    uint64_t before = series_log_bytes(st->log);
    struct series_log_filter filter = {.ctx = st, .keep = names_keep, .moved = names_moved, .last = SERIES_NONE};

    if (before < REWRITE_FROM || t->count * 2 >= created)
        return 0;
    if (!series_has_name(t, t->ids - 1))
        filter.last = t->ids - 1;
    int rc = series_log_rewrite(&st->log, st->dir, &filter, err);
    st->series.log = st->log;
    if (rc == ERR_FULL || rc == ERR_MEMORY) {
        log_warn("storage", "series.log cannot be written anew; it goes on as it is", LOG_ERR(err));
        return 0;
    }
    if (rc == 0)
        log_info("storage", "series.log was written anew without the deleted series", LOG_INT("bytes_before", before),
                 LOG_INT("bytes", series_log_bytes(st->log)));
    return rc;
}

int storage_recover_names(struct storage *st, uint64_t *created, struct err *err)
{
    struct feed feed;
    struct series_log_reader reader = {.ctx = &feed,
                                       .rule = names_rule,
                                       .create = names_create,
                                       .gone = names_gone,
                                       .damaged = names_damaged,
                                       .same_boot = st->same_boot};
    char path[4096];

    snprintf(path, sizeof path, "%s/series.log", st->dir);
    int rc = series_log_open(path, &st->log, err);
    if (rc < 0)
        return rc;
    st->series.log = st->log;
    st->series.seed = series_log_seed(st->log);
    rc = feed_init(&feed, st, err);
    if (rc < 0)
        return rc;
    name_tree_bulk(st->tree, true);
    tag_index_bulk(st->tags, true);
    rc = feed_end(&feed, series_log_replay(st->log, &reader, err), err);
    name_tree_bulk(st->tree, false);
    tag_index_bulk(st->tags, false);
    *created = feed.created;
    if (st->series.ids > feed.created) /* no record of theirs was touched */
        st->series.forgotten = st->series.ids - (uint32_t)feed.created;
    return rc;
}
