/* self.h - the server about itself: carbon.agents.* in the store, and the text of /metrics.
 *
 * Every number has one source (ingest_stats(), storage_stats(), ...); nothing is counted here but reloads. */
#ifndef PLUMBAGO_SERVER_SELF_H
#define PLUMBAGO_SERVER_SELF_H

#include "base/arena.h"
#include "base/buf.h"
#include "server/http.h"
#include "server/ingest.h"
#include "server/pool.h"
#include "storage/storage.h"

struct self;

/* What is reported on; all borrowed until self_free(). The last four may be set later, before the first report. */
struct self_sources {
    struct storage *st;
    const struct ingest *ingest;
    const struct http_server *http;
    struct pool *query_pool;
    struct pool *service_pool;
};

/* *out is the caller's, to be given back with self_free() before storage_close(). */
int self_new(struct storage *st, struct self **out, struct err *err);
void self_free(struct self *self); /* NULL is fine */

/* Say what to report on. Before any other thread uses SELF. */
void self_watch(struct self *self, const struct self_sources *sources);

/* A reload has ended. Any thread. */
void self_note_reload(struct self *self, bool ok);

/* Store one point of each of carbon.agents.<host>.*: counts since the call before. One thread, which has begun
 * (storage_thread_begin()) and is not between enter and leave. */
void self_store(struct self *self);

/* Append the state as Prometheus text (version 0.0.4) to OUT. Any thread, between storage_enter() and
 * storage_leave(). */
void self_text(struct self *self, struct arena *arena, struct buf *out);

#endif
