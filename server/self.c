#include "server/self.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/routes.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* jemalloc's; not there in builds for the sanitizers. */
extern int mallctl(const char *name, void *old, size_t *old_len, void *fresh, size_t fresh_len) __attribute__((weak));

enum { HOST_MAX = 128 };

/* What carbon.agents.* reports as counts of an interval. */
struct totals {
    uint64_t received;
    uint64_t committed;
    uint64_t creates;
    uint64_t dropped_creates;
    uint64_t errors;
    uint64_t requests;
    double cpu_s;
};

struct self {
    struct self_sources from;
    struct store_writer *writer;
    struct store_hint hint;
    char prefix[HOST_MAX + 32]; /* "carbon.agents.<host>." */
    struct totals last;         /* self_store()'s */
    int64_t last_ns;
    int64_t started_s;
    uint64_t reloads[2]; /* failed, done; relaxed atomics */
    int reload_ok;       /* the last one was, or there was none */
};

int self_new(struct storage *st, struct self **out, struct err *err)
{
    struct self *self = calloc(1, sizeof(*self));
    char host[HOST_MAX] = "localhost";
    int rc = 0;

    *out = NULL;
    if (self == NULL)
        return err_set(err, ERR_MEMORY, "no memory for the server's own metrics");
    rc = store_writer_new(st, &self->writer, err);
    if (rc < 0) {
        free(self);
        return rc;
    }
    gethostname(host, sizeof(host) - 1);
    for (char *c = host; *c != '\0'; c++) /* one component, as carbon names its agents */
        if (*c == '.')
            *c = '_';
    snprintf(self->prefix, sizeof(self->prefix), "carbon.agents.%s.", host);
    self->started_s = clock_now_s();
    self->last_ns = clock_mono_ns();
    self->reload_ok = 1;
    *out = self;
    return 0;
}

void self_free(struct self *self)
{
    if (self == NULL)
        return;
    store_writer_free(self->writer);
    free(self);
}

void self_watch(struct self *self, const struct self_sources *sources)
{
    self->from = *sources;
}

void self_note_reload(struct self *self, bool ok)
{
    __atomic_add_fetch(&self->reloads[ok], 1, __ATOMIC_RELAXED);
    __atomic_store_n(&self->reload_ok, ok, __ATOMIC_RELAXED);
}

/* ---- the process ---- */

static double cpu_seconds(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Resident bytes; from /proc, which is no file on a disk and so not base/file's business. */
static uint64_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    uint64_t pages = 0;

    if (f == NULL)
        return 0;
    if (fscanf(f, "%*u %" SCNu64, &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count < 3 ? 0 : count - 3; /* ".", ".." and the one that reads this */
}

/* ---- carbon.agents.* ---- */

static uint64_t rejected(const struct ingest_stats *stats)
{
    uint64_t sum = 0;

    for (int p = 0; p < INGEST_PROTOCOLS; p++)
        for (unsigned r = 0; r < INGEST_REASONS; r++)
            sum += stats->protocol[p].rejected[r];
    return sum;
}

/* Points refused for REASON, of all protocols. */
static uint64_t rejected_for(const struct ingest_stats *stats, const char *reason)
{
    uint64_t sum = 0;

    for (unsigned r = 0; r < INGEST_REASONS; r++)
        for (int p = 0; p < INGEST_PROTOCOLS && strcmp(ingest_reason_name(r), reason) == 0; p++)
            sum += stats->protocol[p].rejected[r];
    return sum;
}

/* Why a new name may be refused. */
static const enum store_result refusals[] = {STORE_SERIES_LIMIT, STORE_MEMORY_LIMIT, STORE_CREATE_LIMIT};

enum { REFUSALS = sizeof(refusals) / sizeof(refusals[0]) };

static uint64_t names_refused(const struct ingest_stats *stats)
{
    uint64_t sum = 0;

    for (int i = 0; i < REFUSALS; i++)
        sum += rejected_for(stats, store_result_name(refusals[i]));
    return sum;
}

static struct totals totals_now(const struct ingest_stats *ingest, const struct storage_stats *storage,
                                const struct http_stats *http)
{
    struct totals t = {.creates = storage->series_created,
                       .dropped_creates = names_refused(ingest),
                       .errors = rejected(ingest),
                       .requests = http->requests,
                       .cpu_s = cpu_seconds()};

    for (int p = 0; p < INGEST_PROTOCOLS; p++) {
        t.received += ingest->protocol[p].lines;
        t.committed += ingest->protocol[p].points;
    }
    return t;
}

static void store_one(struct self *self, const char *name, int64_t now_s, double value)
{
    char full[sizeof(self->prefix) + 64];
    int n = snprintf(full, sizeof(full), "%s%s", self->prefix, name);
    enum store_result result = store_point(self->writer, &self->hint, span_of(full, (size_t)n), now_s, value);

    if (result != STORE_OK)
        log_debug("self", "own metric not stored", LOG_STR("name", full), LOG_STR("reason", store_result_name(result)));
}

void self_store(struct self *self)
{
    struct ingest_stats ingest;
    struct storage_stats storage;
    struct http_stats http;
    struct arena arena;
    int64_t now_s = clock_now_s();
    int64_t now_ns = clock_mono_ns();

    arena_init(&arena, 0, NULL);
    storage_enter();
    storage_stats(self->from.st, &arena, &storage);
    ingest_stats(self->from.ingest, &ingest);
    http_stats(self->from.http, &http);
    struct totals now = totals_now(&ingest, &storage, &http);
    const struct totals *last = &self->last;
    double seconds = (double)(now_ns - self->last_ns) / 1e9;

    store_begin(self->writer, now_s);
    store_one(self, "metricsReceived", now_s, (double)(now.received - last->received));
    store_one(self, "committedPoints", now_s, (double)(now.committed - last->committed));
    store_one(self, "creates", now_s, (double)(now.creates - last->creates));
    store_one(self, "droppedCreates", now_s, (double)(now.dropped_creates - last->dropped_creates));
    store_one(self, "errors", now_s, (double)(now.errors - last->errors));
    store_one(self, "activeConnections", now_s, (double)ingest.protocol[INGEST_TCP].connections_open);
    store_one(self, "cpuUsage", now_s, seconds > 0 ? 100 * (now.cpu_s - last->cpu_s) / seconds : 0);
    store_one(self, "memUsage", now_s, (double)resident_bytes());
    store_one(self, "httpRequests", now_s, (double)(now.requests - last->requests));
    store_one(self, "series", now_s, (double)storage.series);
    store_one(self, "openWindows", now_s, (double)storage.windows_open);
    store_one(self, "diskBytes", now_s, (double)(storage.grid_bytes + storage.segment_bytes + storage.log_bytes));
    storage_leave();
    self->last = now;
    self->last_ns = now_ns;
    arena_release(&arena);
}

/* ---- /metrics ---- */

static void family(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void simple(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
    family(out, name, type, help);
    buf_addf(out, "%s %" PRIu64 "\n", name, value);
}

static void simple_float(struct buf *out, const char *name, const char *type, const char *help, double value)
{
    family(out, name, type, help);
    buf_addf(out, "%s %.6f\n", name, value);
}

/* TEXT as the value of a label. */
static void label(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, *text == '\n' ? ' ' : *text);
    }
}

#define COUNTER "counter"
#define GAUGE "gauge"

/* One line for each protocol with the 64-bit member at OFFSET. */
static void per_protocol(struct buf *out, const struct ingest_stats *stats, size_t offset, const char *name,
                         const char *help)
{
    family(out, name, COUNTER, help);
    for (int p = 0; p < INGEST_PROTOCOLS; p++)
        buf_addf(out, "%s{protocol=\"%s\"} %" PRIu64 "\n", name, ingest_protocol_name((enum ingest_protocol)p),
                 *(const uint64_t *)((const char *)&stats->protocol[p] + offset));
}

static void text_ingest(const struct ingest *ingest, struct buf *out)
{
    struct ingest_stats stats;
    const struct ingest_protocol_stats *tcp = &stats.protocol[INGEST_TCP];

    ingest_stats(ingest, &stats);
    per_protocol(out, &stats, offsetof(struct ingest_protocol_stats, points), "plumbago_points_received_total",
                 "Points whose cells are stored.");
    per_protocol(out, &stats, offsetof(struct ingest_protocol_stats, lines), "plumbago_lines_total",
                 "Lines that were not empty: stored or rejected.");
    per_protocol(out, &stats, offsetof(struct ingest_protocol_stats, bytes), "plumbago_bytes_received_total",
                 "Bytes received by carbon listeners.");
    family(out, "plumbago_points_rejected_total", COUNTER, "Lines that were not stored, by reason.");
    for (int p = 0; p < INGEST_PROTOCOLS; p++)
        for (unsigned r = 0; r < INGEST_REASONS; r++)
            buf_addf(out, "plumbago_points_rejected_total{protocol=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
                     ingest_protocol_name((enum ingest_protocol)p), ingest_reason_name(r),
                     stats.protocol[p].rejected[r]);
    family(out, "plumbago_series_refused_total", COUNTER, "Points of new names that were refused, by reason.");
    for (int i = 0; i < REFUSALS; i++)
        buf_addf(out, "plumbago_series_refused_total{reason=\"%s\"} %" PRIu64 "\n", store_result_name(refusals[i]),
                 rejected_for(&stats, store_result_name(refusals[i])));
    simple(out, "plumbago_carbon_connections", GAUGE, "Open carbon connections.", tcp->connections_open);
    simple(out, "plumbago_carbon_connections_total", COUNTER, "Carbon connections accepted.", tcp->connections_total);
    simple(out, "plumbago_carbon_connections_paused_total", COUNTER,
           "Times that accepting had to pause: connection limit, or no descriptors.", tcp->connections_refused);
    simple(out, "plumbago_carbon_connections_idle_closed_total", COUNTER, "Connections closed by carbon-idle-timeout.",
           tcp->connections_idle_closed);
    simple(out, "plumbago_udp_datagrams_total", COUNTER, "Datagrams received.", stats.protocol[INGEST_UDP].datagrams);
    simple(out, "plumbago_udp_kernel_drops_total", COUNTER, "Datagrams that the kernel dropped for want of buffer.",
           stats.protocol[INGEST_UDP].kernel_drops);
}

/* One gauge for each tier with the 64-bit member at OFFSET, plus the one at OFFSET2 when that is not the same. */
static void per_tier(struct buf *out, const struct storage_stats *stats, size_t offset, size_t offset2,
                     const char *name, const char *help)
{
    family(out, name, GAUGE, help);
    for (size_t i = 0; i < stats->tiers; i++) {
        const char *tier = (const char *)&stats->tier[i];
        uint64_t value = *(const uint64_t *)(tier + offset);

        if (offset2 != offset)
            value += *(const uint64_t *)(tier + offset2);
        buf_addf(out, "%s{policy=\"", name);
        label(out, stats->tier[i].policy);
        buf_addf(out, "\",tier=\"%" PRId64 "s\"} %" PRIu64 "\n", stats->tier[i].step_s, value);
    }
}

static void text_storage(struct storage *st, struct arena *arena, struct buf *out)
{
    struct storage_stats s;

    storage_stats(st, arena, &s);
    simple(out, "plumbago_series", GAUGE, "Series known.", s.series);
    simple(out, "plumbago_series_created_total", COUNTER, "Series created since start.", s.series_created);
    simple(out, "plumbago_series_deleted_total", COUNTER, "Series deleted since start, on request or without points.",
           s.series_deleted);
    simple(out, "plumbago_open_windows", GAUGE, "Windows that are not sealed.", s.windows_open);
    per_tier(out, &s, offsetof(struct storage_tier_stats, segment_bytes),
             offsetof(struct storage_tier_stats, grid_bytes), "plumbago_bytes_on_disk", "Bytes of segments and grids.");
    per_tier(out, &s, offsetof(struct storage_tier_stats, segments), offsetof(struct storage_tier_stats, segments),
             "plumbago_segments", "Sealed files.");
    simple(out, "plumbago_grid_bytes", GAUGE, "Bytes reserved by open windows.", s.grid_bytes);
    simple(out, "plumbago_segment_bytes", GAUGE, "Bytes of sealed files.", s.segment_bytes);
    simple(out, "plumbago_series_log_bytes", GAUGE, "Bytes of the log of names.", s.log_bytes);
    simple(out, "plumbago_events", GAUGE, "Events that are kept.", s.events);
    simple(out, "plumbago_event_log_bytes", GAUGE, "Bytes of the log of events.", s.event_bytes);
    simple(out, "plumbago_index_bytes", GAUGE, "Memory of names, tags, look-up and row maps.", s.index_bytes);
    simple(out, "plumbago_index_bytes_limit", GAUGE, "What memory-limit leaves for that; 0: no limit.",
           s.index_bytes_max);
    simple(out, "plumbago_index_full", GAUGE, "1 while points of new names are refused for lack of memory.",
           s.memory_full);
    simple(out, "plumbago_flushes_total", COUNTER, "Flushes to the device.", s.flushes);
    simple_float(out, "plumbago_flush_last_seconds", GAUGE, "How long the last flush took.",
                 (double)s.flush_last_ms / 1e3);
    simple_float(out, "plumbago_unflushed_age_seconds", GAUGE, "Age of the oldest point that is not on the device yet.",
                 (double)s.unflushed_age_ms / 1e3);
    simple(out, "plumbago_windows_sealed_total", COUNTER, "Windows sealed since start.", s.sealed_windows);
    simple(out, "plumbago_segments_expired_total", COUNTER, "Segments dropped after their retention.",
           s.expired_segments);
    simple(out, "plumbago_damaged_chunks_total", COUNTER, "Chunks that could not be read; the log names them.",
           s.damaged_chunks);
    simple(out, "plumbago_scrub_bytes_total", COUNTER, "Bytes of sealed files checked in the background.",
           s.scrub_bytes);
    simple(out, "plumbago_scrub_rounds_total", COUNTER, "Checks of all files that were finished.", s.scrub_rounds);
    simple(out, "plumbago_scrub_damage_total", COUNTER,
           "Damage that these checks found, each time anew; the log says where.", s.scrub_damaged);
    simple(out, "plumbago_io_errors_total", COUNTER, "File operations that failed.", s.io_errors);
    simple(out, "plumbago_disk_full", GAUGE, "1 while points are refused for lack of space.", s.disk_full);
    simple(out, "plumbago_io_failed", GAUGE, "1 while the device does not take what is stored; the log says why.",
           s.io_failed);
}

static void text_routes(struct buf *out)
{
    static const char *const classes[ROUTE_STATUS_CLASSES] = {"left", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct route_stats r;

    family(out, "plumbago_http_answers_total", COUNTER, "Requests answered, by path and class of status.");
    for (unsigned i = 0; routes_stats(i, &r); i++)
        for (int k = 0; k < ROUTE_STATUS_CLASSES; k++)
            if (r.requests[k] != 0)
                buf_addf(out, "plumbago_http_answers_total{path=\"%s\",status=\"%s\"} %" PRIu64 "\n", r.path,
                         classes[k], r.requests[k]);
    family(out, "plumbago_http_answer_seconds_total", COUNTER,
           "Time from the arrival of requests to their answers, by path.");
    for (unsigned i = 0; routes_stats(i, &r); i++)
        buf_addf(out, "plumbago_http_answer_seconds_total{path=\"%s\"} %.6f\n", r.path, (double)r.time_ns / 1e9);
}

static void text_http(const struct http_server *http, struct buf *out)
{
    struct http_stats s;

    http_stats(http, &s);
    simple(out, "plumbago_http_connections", GAUGE, "Open HTTP connections.", s.connections_open);
    simple(out, "plumbago_http_connections_total", COUNTER, "HTTP connections accepted.", s.connections_total);
    simple(out, "plumbago_http_connections_refused_total", COUNTER, "HTTP connections over a limit.",
           s.connections_refused);
    simple(out, "plumbago_http_requests_total", COUNTER, "Requests that arrived in full.", s.requests);
    simple(out, "plumbago_http_bad_requests_total", COUNTER, "Requests refused before they arrived in full.",
           s.bad_requests);
    simple(out, "plumbago_http_timeouts_total", COUNTER, "Requests or answers that took too long to pass.", s.timeouts);
    simple(out, "plumbago_http_refused_total", COUNTER, "Requests refused because queue or buffers were full.",
           s.refused);
    simple(out, "plumbago_http_cancelled_total", COUNTER, "Requests whose client left before the answer.", s.cancelled);
    simple(out, "plumbago_http_bytes_received_total", COUNTER, "Bytes received.", s.bytes_received);
    simple(out, "plumbago_http_bytes_sent_total", COUNTER, "Bytes sent.", s.bytes_sent);
    simple(out, "plumbago_http_buffer_bytes", GAUGE, "Bytes of requests and answers held now.", s.bytes_held);
}

static void text_pools(const struct self *self, struct buf *out)
{
    struct pool_stats s[2];
    static const char *const names[2] = {"query", "service"};

    pool_stats(self->from.query_pool, &s[0]);
    pool_stats(self->from.service_pool, &s[1]);
    family(out, "plumbago_pool_running", GAUGE, "Threads at work.");
    for (int i = 0; i < 2; i++)
        buf_addf(out, "plumbago_pool_running{pool=\"%s\"} %u\n", names[i], s[i].running);
    family(out, "plumbago_pool_threads", GAUGE, "Threads.");
    for (int i = 0; i < 2; i++)
        buf_addf(out, "plumbago_pool_threads{pool=\"%s\"} %u\n", names[i], s[i].threads);
    family(out, "plumbago_pool_queued", GAUGE, "Requests that wait for a thread.");
    for (int i = 0; i < 2; i++)
        buf_addf(out, "plumbago_pool_queued{pool=\"%s\"} %u\n", names[i], s[i].queued);
}

static void text_heap(struct buf *out)
{
    static const char *const kinds[] = {"allocated", "active", "resident", "mapped", "retained"};
    uint64_t epoch = 1;
    size_t len = sizeof(epoch);

    if (mallctl == NULL || mallctl("epoch", &epoch, &len, &epoch, len) != 0)
        return;
    family(out, "plumbago_heap_bytes", GAUGE, "The allocator's own view (jemalloc: stats.*).");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char name[32];
        size_t value = 0;

        len = sizeof(value);
        snprintf(name, sizeof(name), "stats.%s", kinds[i]);
        if (mallctl(name, &value, &len, NULL, 0) == 0)
            buf_addf(out, "plumbago_heap_bytes{kind=\"%s\"} %zu\n", kinds[i], value);
    }
}

static void text_process(struct self *self, struct buf *out)
{
    struct rlimit files = {0};

    family(out, "plumbago_build_info", GAUGE, "1, with the version as a label.");
    buf_addf(out, "plumbago_build_info{version=\"%s\"} 1\n", PLUMBAGO_VERSION);
    simple_float(out, "process_cpu_seconds_total", COUNTER, "User and system time.", cpu_seconds());
    simple(out, "process_resident_memory_bytes", GAUGE, "Resident memory, mapped files included.", resident_bytes());
    simple(out, "process_start_time_seconds", GAUGE, "Start of the process, seconds since 1970.",
           (uint64_t)self->started_s);
    simple(out, "process_open_fds", GAUGE, "Open descriptors.", open_descriptors());
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        simple(out, "process_max_fds", GAUGE, "Descriptors that may be open.", files.rlim_cur);
    family(out, "plumbago_reloads_total", COUNTER, "Reloads by SIGHUP, by result.");
    buf_addf(
        out,
        "plumbago_reloads_total{result=\"ok\"} %" PRIu64 "\nplumbago_reloads_total{result=\"failed\"} %" PRIu64 "\n",
        __atomic_load_n(&self->reloads[1], __ATOMIC_RELAXED), __atomic_load_n(&self->reloads[0], __ATOMIC_RELAXED));
    simple(out, "plumbago_reload_successful", GAUGE, "0 when the last reload failed; the log says why.",
           (uint64_t)__atomic_load_n(&self->reload_ok, __ATOMIC_RELAXED));
}

void self_text(struct self *self, struct arena *arena, struct buf *out)
{
    text_process(self, out);
    text_heap(out);
    text_ingest(self->from.ingest, out);
    text_storage(self->from.st, arena, out);
    text_http(self->from.http, out);
    text_pools(self, out);
    text_routes(out);
}
