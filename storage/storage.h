/* storage.h - the face of the store: names and points in, names and points out.
 *
 * Words: docs/format.md and storage/README.md. The server and the query engine include this header
 * and no other of storage/.
 *
 * Threads. Any number of ingest threads (each with a struct store_writer), readers and one background
 * thread of the store's own. Each thread but the background one calls storage_thread_begin() once,
 * and brackets its use by storage_enter() ... storage_leave(): in between, ids and names stay valid;
 * a thread that blocks (poll, a lock) must be outside. No call of ingest takes a lock that a reader
 * holds. */
#ifndef PLUMBAGO_STORAGE_STORAGE_H
#define PLUMBAGO_STORAGE_STORAGE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

struct storage;

struct storage_options {
    const char *dir;              /* data directory; created when missing */
    const char *schemas_path;     /* storage-schemas.conf; NULL: the built-in default */
    const char *aggregation_path; /* storage-aggregation.conf; NULL: the built-in default */
    int64_t sync_ms;              /* pause between flushes; what a power cut may cost; default 1000 */
    int64_t future_max_s;         /* how far ahead of the clock a point may be; default 3600 */
    int64_t seal_grace_s;         /* how long after its end a window stays open; default 60 */
    uint32_t windows_max; /* open windows of all policies; the longest idle ones beyond that are sealed; default 256 */
    uint64_t series_max;  /* 0: no limit but the format's (2^28) */
    uint64_t free_bytes_min;    /* keep that much of the disk free: refuse new grids below; default 64 MiB */
    uint64_t events_max;        /* further events are refused, as are bytes beyond 2 KiB for each; default 100,000 */
    int64_t events_retention_s; /* older events are dropped; 0: never; default five years */
    bool expire_series;         /* delete series of which no point is left; default true */
    uint64_t memory_max; /* bytes that the index may take (limits.h); new names are refused beyond; 0: no limit */
    uint32_t creates_per_minute; /* new names; a minute's worth may come at once; 0: no limit */
    int64_t scrub_interval_s;    /* how long a check of all files takes in the background; default a day; 0: never */
    bool manual;                 /* no background thread: tests call storage_tick(), storage_flush(), ... themselves */
};

/* The defaults named above, for DIR. */
struct storage_options storage_options_default(const char *dir);

/* Open or create the store; recovers whatever a crash left. *out is the caller's, to be given back
 * with storage_close(). ERR_LOCKED when another process has it; ERR_INPUT for a mistake in the two
 * carbon files (names file and line); ERR_VERSION; ERR_CORRUPT only when nothing can be served. */
int storage_open(const struct storage_options *options, struct storage **out, struct err *err);

/* Flush and close. All other threads must have left. NULL is fine. */
void storage_close(struct storage *st);

/* Read the two carbon files again; applies to series created from now on. On a mistake nothing
 * changes and ERR names file and line. */
int storage_reload(struct storage *st, struct err *err);

/* Check the two files only (either path may be NULL). */
int storage_check_config(const char *schemas_path, const char *aggregation_path, struct err *err);

/* ---- threads ---- */
void storage_thread_begin(void);
void storage_thread_end(void);
void storage_enter(void);
void storage_leave(void);

/* ---- ingest ---- */

/* What became of a point. Everything but STORE_OK is counted by the caller under its reason. */
enum store_result {
    STORE_OK,
    STORE_BAD_NAME,     /* empty, a component too long, control bytes, invalid tags, ... */
    STORE_TOO_OLD,      /* older than the last archive; the series is created all the same, as carbon does */
    STORE_FUTURE,       /* further ahead than future_max_s; the series is not created */
    STORE_NAN,          /* carbon drops these in silence; the series is not created */
    STORE_DISK_FULL,    /* no space for the window's grid; tried again when there is room */
    STORE_SERIES_LIMIT, /* a new name beyond series_max */
    STORE_MEMORY_LIMIT, /* a new name beyond memory_max */
    STORE_CREATE_LIMIT, /* a new name beyond creates_per_minute */
    STORE_ERROR,        /* the disk failed; logged by the store */
    STORE_RESULTS       /* how many there are */
};

/* The words used in metrics and logs: "ok", "bad_name", ... */
const char *store_result_name(enum store_result result);

struct store_writer; /* one for each ingest thread */

/* *out is the caller's, to be given back with store_writer_free() before storage_close(). */
int store_writer_new(struct storage *st, struct store_writer **out, struct err *err);
void store_writer_free(struct store_writer *w);

/* What a sender's next name will probably be; one for each connection. Zeroed is ready. */
struct store_hint {
    uint32_t last; /* id of the series that it sent last, plus one; 0: none */
};

/* A batch of stores begins: NOW_S is the wall clock. Between enter and leave; every pointer that the
 * writer has cached is forgotten, so call it once after each storage_enter(). */
void store_begin(struct store_writer *w, int64_t now_s);

/* The names of the next points, of which each stands STRIDE bytes behind the one before it. When the names of
 * late came in an order that could not be predicted, what storing them will touch is fetched for all of them
 * at once, so that their cache misses wait together; else this returns at once. Only speed depends on it.
 * At most STORE_EXPECT_MAX names are looked at. Between enter and leave, after store_begin(). */
enum { STORE_EXPECT_MAX = 64 };
void store_expect(struct store_writer *w, const struct span *names, size_t stride, size_t count);

/* Store the value V of NAME (as it came: any spelling that carbon takes; it is normalised) at T_S
 * (seconds; negative times are too old). V may be infinite. Between enter and leave. */
enum store_result store_point(struct store_writer *w, struct store_hint *hint, struct span name, int64_t t_s, double v);

/* The canonical form of NAME as it came, in ARENA. ERR_INPUT: carbon would not take it; the text says why. */
int storage_canonical(struct span name, struct arena *arena, struct span *out, struct err *err);

/* Make the series of this canonical name, without a point, when there is none; *series is its id. STORE_OK, or why
 * not, as of a point; ERR tells of STORE_ERROR and STORE_DISK_FULL. Between enter and leave. */
enum store_result storage_create(struct storage *st, struct span name, int64_t now_s, uint32_t *series,
                                 struct err *err);

/* ---- find ---- */

struct storage_match {
    struct span path; /* full dotted path, in the arena or in the store until storage_leave() */
    uint32_t series;  /* id of the leaf; meaningless for a branch */
    bool leaf;        /* a leaf and a branch of one path are two matches, the branch first */
};

enum storage_find_flags {
    STORAGE_FIND_LEAVES = 1,   /* leaves wanted */
    STORAGE_FIND_BRANCHES = 2, /* branches wanted */
};

struct storage_matches {
    struct storage_match *items; /* sorted by path, bytewise */
    size_t count;
};

/* All nodes of the name tree that PATTERN matches (globs of docs/compatibility.md: * ? [a-z] [!x]
 * {a,b{c,d}} and ** as a whole component), or the one series whose canonical tagged name it is.
 * At most MAX matches (0: no limit): ERR_LIMIT beyond. The arrays are in ARENA. */
int storage_find(struct storage *st, struct span pattern, unsigned flags, size_t max, struct arena *arena,
                 struct storage_matches *out, struct err *err);

/* Asked again and again in searches by tag, which may take long: whether to give up, with ERR_CANCELLED. */
struct storage_stop {
    bool (*asked)(void *ctx);
    void *ctx;
};

/* All series, tagged or not, that fit every one of the COUNT tag expressions "tag=v", "tag!=v", "tag=~regex",
 * "tag!=~regex" (tag_expr.h says how), sorted by name; all are leaves. The tag "name" of a series without tags is its
 * path. At most MAX (0: no limit): ERR_LIMIT beyond. STOP may be NULL. ERR_INPUT for a malformed expression, or when
 * all of them fit a series that has nothing. The array is in ARENA, the names in the store until storage_leave(). */
int storage_find_by_tags(struct storage *st, const struct span *exprs, size_t count, size_t max,
                         const struct storage_stop *stop, struct arena *arena, struct storage_matches *out,
                         struct err *err);

/* What to list of tags or their values; zeroed is everything. */
struct storage_tag_query {
    const struct span *exprs; /* only what series that fit have */
    size_t exprs_count;
    struct span prefix;              /* only texts that begin so */
    struct span filter;              /* only texts that this regular expression finds at their start; empty: all */
    size_t limit;                    /* at most the first so many; 0: all */
    const struct storage_stop *stop; /* NULL: never */
};

struct storage_tag_list {
    struct storage_tag {
        struct span text; /* in the store until storage_leave() */
        uint64_t series;  /* how many series have this value; 0 for tags */
        uint32_t number;  /* of the tag, or of the value among all values; the same until the next start */
    } * items;            /* sorted by text, bytewise; in the arena */
    size_t count;
    uint32_t tag_number; /* of the tag whose values these are */
};

/* The tags of all tagged series ("name" among them). With expressions: the tags of those that fit, but for the tags
 * of the expressions. ERR_INPUT as storage_find_by_tags(), and for a bad filter. */
int storage_tags(struct storage *st, const struct storage_tag_query *q, struct arena *arena,
                 struct storage_tag_list *out, struct err *err);

/* The values of TAG. With expressions: those of series that fit (and have the tag, so the expressions may fit
 * everything). Names of series without tags are not listed under "name": find does that. ERR_MISSING when there is
 * no such tag. */
int storage_tag_values(struct storage *st, struct span tag, const struct storage_tag_query *q, struct arena *arena,
                       struct storage_tag_list *out, struct err *err);

/* The series of exactly this canonical name. */
bool storage_lookup(struct storage *st, struct span name, uint32_t *series);

/* Calls EACH with the name and id of every series, tagged ones too, in no order, until it returns
 * non-zero; returns that. */
int storage_each(struct storage *st, int (*each)(void *ctx, uint32_t series, struct span name), void *ctx);

/* ---- delete ---- */

/* Delete the series that PATTERN means, as in storage_find(), or of just this name; *deleted is how many that were.
 * At most MAX of them (0: no limit): ERR_LIMIT beyond, and nothing is deleted. When it returns, this has reached
 * the device, and stores to the old series have ended; the names are free at once: the next point of one makes a
 * new series. Errors of the log: some may have been deleted. Not between storage_enter() and storage_leave(). */
int storage_delete(struct storage *st, struct span pattern, size_t max, uint64_t *deleted, struct err *err);

/* The same for the series of exactly these COUNT canonical names; those that are not there are passed over. */
int storage_delete_names(struct storage *st, const struct span *names, size_t count, uint64_t *deleted,
                         struct err *err);

/* ---- fetch ---- */

/* Aggregation methods of whisper (whisper.py: aggregationMethods). */
enum aggregation {
    AGG_AVERAGE = 1,
    AGG_SUM,
    AGG_LAST,
    AGG_MAX,
    AGG_MIN,
    AGG_AVG_ZERO,
    AGG_ABSMAX,
    AGG_ABSMIN,
    AGG_COUNT /* one past the last */
};

/* "average", "sum", ... as in storage-aggregation.conf ("avg" is read too); NULL / false when unknown. */
const char *aggregation_name(enum aggregation method);
bool aggregation_parse(struct span word, enum aggregation *out);

struct storage_points {
    int64_t start_s; /* time of the first slot */
    int64_t step_s;
    size_t count;            /* slots; 0 when the range lies outside of what the series can have */
    double *values;          /* in the arena; NaN is None */
    enum aggregation method; /* of the series' rollups */
    double x_files_factor;
};

/* The points of SERIES by whisper's rules (whisper.py: file_fetch): the archive is the first whose
 * retention covers now - from; from and until are floored to its step and one step is added to each,
 * so the start is exclusive; an empty range gives one slot; until beyond now is cut to now; from
 * beyond now or until before the oldest archive gives count 0.
 * Of a series that has been deleted: count 0. Damaged chunks are left out, counted, and logged with file and offset. */
int storage_fetch(struct storage *st, uint32_t series, int64_t from_s, int64_t until_s, int64_t now_s,
                  struct arena *arena, struct storage_points *out, struct err *err);

/* ---- events: what happened when (Graphite's annotations) ---- */

enum {
    STORAGE_EVENT_WHAT_MAX = 1024, /* bytes */
    STORAGE_EVENT_TAGS_MAX = 4096,
    STORAGE_EVENT_DATA_MAX = 65536,
};

struct storage_event {
    uint32_t id; /* given by the store, from 1 on, and never again */
    int64_t when_s;
    struct span what, data;
    struct span tags; /* divided by blanks */
};

/* Keep EVENT (its id is not looked at), on the device when this returns 0. ERR_INPUT when a text is too long or the
 * time is none that is kept, ERR_LIMIT beyond options.events_max, ERR_FULL, ERR_IO, ERR_MEMORY: the text tells.
 * Waits: not between enter and leave. */
int storage_event_add(struct storage *st, const struct storage_event *event, uint32_t *id, struct err *err);

enum storage_events_match {
    STORAGE_EVENTS_EVERY,    /* whatever the tags */
    STORAGE_EVENTS_ALL_TAGS, /* those with each of the tags, of which there is at least one */
    STORAGE_EVENTS_ANY_TAG,
};

struct storage_events_query {
    int64_t from_s, until_s; /* both inclusive */
    enum storage_events_match match;
    const struct span *tags;
    size_t tags_count;
};

/* The events that QUERY is about, by time and id, all in ARENA. Those that cannot be read any more are left out,
 * counted and logged. */
void storage_events_find(struct storage *st, const struct storage_events_query *query, struct arena *arena,
                         struct storage_event **out, size_t *count);

/* The event of this id, if there is one; its texts are in ARENA. */
bool storage_event_get(struct storage *st, uint32_t id, struct arena *arena, struct storage_event *out);

/* ---- housekeeping; the background thread does all this by itself unless options.manual ---- */

/* Write everything stored so far to the device. Returns when it is there. */
int storage_flush(struct storage *st, struct err *err);

/* Seal every open window now, whatever its age. */
int storage_seal_all(struct storage *st, struct err *err);

/* Merge all segments of a span that can be merged, whatever their age. */
int storage_merge_all(struct storage *st, struct err *err);

/* Read every segment and check it, as the background does all the time; DURATION_S, 0 for at once, is how long that
 * shall take. Damage is logged with file and offset, and counted. Returns how many groups of series were found
 * damaged. Not between storage_enter() and storage_leave(); the thread has called storage_thread_begin(). */
size_t storage_scrub(struct storage *st, int64_t duration_s);

/* One round of what is due at NOW_S: seal, roll up, expire, merge, free. */
int storage_tick(struct storage *st, int64_t now_s, struct err *err);

struct storage_tier_stats {
    char policy[64]; /* "10s:1d,1m:30d,10m:5y", cut */
    int64_t step_s;
    int64_t retention_s;
    uint64_t segments;
    uint64_t segment_bytes;
    uint64_t windows_open;
    uint64_t grid_bytes;
};

struct storage_stats {
    uint64_t series;
    uint64_t series_created; /* since start */
    uint64_t series_deleted; /* since start; by order, or because no point was left */
    uint64_t windows_open;
    uint64_t grid_bytes; /* reserved on disk by open windows */
    uint64_t segments;
    uint64_t segment_bytes;
    uint64_t log_bytes;       /* series.log */
    uint64_t index_bytes;     /* memory: series records, hash, tree, row maps of windows */
    uint64_t index_bytes_max; /* 0: no limit */
    bool memory_full;         /* new names are being refused for lack of memory */
    uint64_t flushes;
    int64_t flush_last_ms;    /* how long the last one took */
    int64_t unflushed_age_ms; /* age of the oldest store that is not on the device yet; 0: none */
    uint64_t sealed_windows;  /* since start */
    uint64_t expired_segments;
    uint64_t merges; /* since start */
    uint64_t damaged_chunks;
    uint64_t scrub_rounds;  /* checks of all files that were finished since start */
    uint64_t scrub_bytes;   /* checked since start */
    uint64_t scrub_damaged; /* groups of series that these checks found damaged, each time anew */
    uint64_t io_errors;
    uint64_t events;
    uint64_t event_bytes; /* events.log */
    bool disk_full;       /* points are being refused for lack of space */
    bool io_failed;       /* an fsync failed and could not be repaired: see the log */
    size_t tiers;
    struct storage_tier_stats *tier; /* in the arena */
};

/* What an operator should see to. */
struct storage_health {
    bool disk_full;
    bool io_failed;
    bool memory_full;
};

/* Takes no time. Any thread. */
void storage_health(const struct storage *st, struct storage_health *out);

/* A snapshot. Between storage_enter() and storage_leave(). */
void storage_stats(struct storage *st, struct arena *arena, struct storage_stats *out);

#endif
