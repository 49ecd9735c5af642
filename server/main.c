/* plumbago: start and stop. The only file that knows every module.
 *
 * Start: settings, log, store (which locks the directory and recovers), pools, listeners, then listening.json, the
 * ready line and systemd. Whatever fails unwinds what was there before it.
 *
 * Stop (SIGTERM, SIGINT): no new HTTP connections, requests under way get their answers; then carbon's listeners,
 * which read and store what has arrived; then the store, which flushes. HTTP goes first because /metrics looks at the
 * listeners. A second signal ends the process at once; the store takes that as it takes a kill.
 *
 * The main thread waits for signals and stores the server's own metrics. All other threads block all signals. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "query/source_storage.h"
#include "server/announce.h"
#include "server/config.h"
#include "server/http.h"
#include "server/ingest.h"
#include "server/memory.h"
#include "server/pool.h"
#include "server/routes.h"
#include "server/self.h"
#include "storage/storage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Read by jemalloc before main(). Memory that a large query has used goes back to the system within a second, by a
 * thread of jemalloc's own, so that no query pays for it. */
extern const char *malloc_conf;
const char *malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

enum {
    EXIT_USAGE = 2,      /* flags, plumbago.conf or carbon's files are wrong */
    SERVICE_THREADS = 2, /* so that /metrics is answered during an /admin/seal */
    SERVICE_QUEUE = 100,
    QUERY_THREADS_MIN = 2,
    DESCRIPTORS_KEPT = 1024, /* for the store and everything that is not a connection */
    STOP_GRACE_MS = 5000,    /* for requests under way */
};

struct server {
    const struct config *config;
    struct storage *st;
    struct ingest *ingest;
    struct http_server *http;
    struct pool *query_pool;
    struct pool *service_pool;
    struct self *self;
    struct routes routes;
    unsigned carbon_connections;
    unsigned http_connections;
    unsigned query_threads;
    struct memory_plan memory;
    char admin_path[4096];
    const char *admin; /* admin_path, or NULL when it is too long for a socket */
    char listening_path[4096];
};

/* ---- log ---- */

/* The log is appended to by several processes at times (rotation), is never synced and must not fail a test's
 * disk-full hook: so this is not base/file's business. */
static int open_log(const char *path, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    return fd < 0 ? err_errno(err, errno, "cannot open the log file %s", path) : fd;
}

static int start_log(const struct config *config, int *fd, struct err *err)
{
    *fd = STDERR_FILENO;
    if (config->log_file != NULL) {
        *fd = open_log(config->log_file, err);
        if (*fd < 0)
            return *fd;
    }
    log_setup(*fd, (enum log_format)config->log_format, (enum log_level)config->log_level, PLUMBAGO_VERSION);
    return 0;
}

/* The new file takes the place of the old one under the same descriptor, so that no writer notices. */
static int reopen_log(const struct config *config, int fd, struct err *err)
{
    int fresh = 0;

    if (config->log_file == NULL)
        return 0;
    fresh = open_log(config->log_file, err);
    if (fresh < 0)
        return fresh;
    int rc = dup3(fresh, fd, O_CLOEXEC) < 0 ? err_errno(err, errno, "cannot use the log file") : 0;

    close(fresh);
    return rc;
}

/* ---- limits and warnings ---- */

/* Raise the limit of descriptors as far as we may; when that is not enough for all connections that the settings allow,
 * allow fewer, so that the store never lacks one. */
static void share_descriptors(struct server *s)
{
    struct rlimit files = {0};

    s->carbon_connections = (unsigned)s->config->carbon_connections_max;
    s->http_connections = (unsigned)s->config->http_connections_max;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        log_warn("server", "cannot raise the limit of open files", LOG_STR("error", strerror(errno)));
    getrlimit(RLIMIT_NOFILE, &files);
    rlim_t kept = files.rlim_cur / 2 < DESCRIPTORS_KEPT ? files.rlim_cur / 2 : DESCRIPTORS_KEPT;
    rlim_t room = files.rlim_cur - kept;
    uint64_t wanted = (uint64_t)s->carbon_connections + s->http_connections;

    if (room >= wanted)
        return;
    s->carbon_connections = (unsigned)((uint64_t)room * s->carbon_connections / wanted) + 1;
    s->http_connections = (unsigned)((uint64_t)room * s->http_connections / wanted) + 1;
    log_info("server", "the limit of open files allows fewer connections than the settings",
             LOG_INT("open_files", files.rlim_cur), LOG_INT("carbon_connections", s->carbon_connections),
             LOG_INT("http_connections", s->http_connections));
}

static unsigned cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : (unsigned)n;
}

static unsigned query_threads(const struct config *c)
{
    unsigned n = c->http_threads != 0 ? (unsigned)c->http_threads : cores();

    return c->http_threads == 0 && n < QUERY_THREADS_MIN ? QUERY_THREADS_MIN : n;
}

/* Share memory-limit out. */
static void share_memory(struct server *s)
{
    const struct config *c = s->config;
    uint64_t limit = (uint64_t)c->memory_limit;
    struct memory_plan wanted = {.query_threads = s->query_threads,
                                 .carbon_connections = s->carbon_connections,
                                 .carbon_line = (uint64_t)c->carbon_line_max,
                                 .query_memory = (uint64_t)c->query_memory_max,
                                 .query_output = (uint64_t)c->query_output_max,
                                 .http_buffers = (uint64_t)c->http_buffers_max};

    if (limit == 0)
        limit = memory_available("") / 4 * 3;
    limit = limit < (uint64_t)MEMORY_LIMIT_MIN ? (uint64_t)MEMORY_LIMIT_MIN : limit;
    s->memory = wanted;
    memory_share(limit, &s->memory);
    s->carbon_connections = (unsigned)s->memory.carbon_connections;
    log_info("server", "memory is shared out", LOG_INT("limit", limit), LOG_INT("index", s->memory.index),
             LOG_INT("query_memory", s->memory.query_memory), LOG_INT("query_output", s->memory.query_output),
             LOG_INT("http_buffers", s->memory.http_buffers), LOG_INT("carbon_connections", s->carbon_connections));
    if (s->memory.query_memory < wanted.query_memory && c->memory_limit != 0)
        log_warn("server", "memory-limit lowers what requests may use: it is less than twice their own limits");
}

static bool is_loopback(const struct listen_addr *a)
{
    if (a->sa.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&a->sa)->sin6_addr);
    return ntohl(((const struct sockaddr_in *)&a->sa)->sin_addr.s_addr) >> 24 == 127;
}

static void warn_exposed(const char *what, const struct listen_addr *a)
{
    char text[LISTEN_TEXT_MAX];

    if (!a->off && !is_loopback(a))
        log_warn("server", "this address can be reached from other machines, and asks for no password",
                 LOG_STR("listener", what), LOG_STR("address", listen_text(a, text)));
}

/* ---- start ---- */

static struct storage_options storage_options_of(const struct server *s)
{
    const struct config *c = s->config;
    struct storage_options o = storage_options_default(c->data_dir);

    o.schemas_path = c->schemas;
    o.aggregation_path = c->aggregation;
    o.sync_ms = c->sync_ms;
    o.future_max_s = c->future_max_s;
    o.seal_grace_s = c->seal_grace_s;
    o.windows_max = (uint32_t)c->windows_max;
    o.series_max = (uint64_t)c->series_max;
    o.expire_series = c->expire_series != 0;
    o.free_bytes_min = (uint64_t)c->free_bytes_min;
    o.creates_per_minute = (uint32_t)c->creates_per_minute;
    o.memory_max = s->memory.index;
    o.scrub_interval_s = c->scrub_interval_s;
    o.events_max = (uint64_t)c->events_max;
    o.events_retention_s = c->events_retention_days * 86400;
    return o;
}

static struct query_limits query_limits_of(const struct server *s)
{
    const struct config *c = s->config;
    struct query_limits l = query_limits_default();

    l.arena_bytes = (size_t)s->memory.query_memory;
    l.series_max = (size_t)c->query_series_max;
    l.points_max = (size_t)c->query_points_max;
    l.targets_max = (size_t)c->query_targets_max;
    l.output_bytes = (size_t)s->memory.query_output;
    return l;
}

static int start_pools(struct server *s, struct err *err)
{
    struct pool_options query = {.name = "query",
                                 .threads = s->query_threads,
                                 .queue_max = (unsigned)s->config->query_queue,
                                 .thread_begin = storage_thread_begin,
                                 .thread_end = storage_thread_end};
    struct pool_options service = query;

    service.name = "service";
    service.threads = SERVICE_THREADS;
    service.queue_max = SERVICE_QUEUE;
    int rc = pool_new(&query, &s->query_pool, err);

    return rc < 0 ? rc : pool_new(&service, &s->service_pool, err);
}

static int start_ingest(struct server *s, struct err *err)
{
    const struct config *c = s->config;
    struct ingest_options o = {.tcp = c->carbon,
                               .udp = c->carbon_udp,
                               .workers = (unsigned)c->carbon_workers,
                               .line_max = (size_t)c->carbon_line_max,
                               .connections_max = s->carbon_connections,
                               .idle_s = c->carbon_idle_s};

    return ingest_start(s->st, &o, &s->ingest, err);
}

static int start_http(struct server *s, struct err *err)
{
    const struct config *c = s->config;
    struct http_options o = {.address = c->http,
                             .admin_path = s->admin,
                             .head_max = (size_t)c->http_head_max,
                             .body_max = (size_t)c->http_body_max,
                             .buffers_max = (size_t)s->memory.http_buffers,
                             .connections_max = s->http_connections,
                             .connections_per_address_max = (unsigned)c->http_connections_per_address_max,
                             .idle_s = c->http_idle_s,
                             .receive_s = c->http_receive_s,
                             .send_s = c->http_send_s,
                             .query_timeout_s = c->query_timeout_s,
                             .query_pool = s->query_pool,
                             .service_pool = s->service_pool};

    s->routes = (struct routes){
        .config = c, .st = s->st, .source = source_storage(s->st), .limits = query_limits_of(s), .self = s->self};
    o.app = routes_app(&s->routes);
    return http_start(&o, &s->http, err);
}

static int server_start(struct server *s, struct err *err)
{
    struct storage_options o = storage_options_of(s);
    int rc = storage_open(&o, &s->st, err);

    if (rc < 0)
        return rc;
    snprintf(s->admin_path, sizeof(s->admin_path), "%s/admin.sock", s->config->data_dir);
    s->admin = strlen(s->admin_path) < sizeof(((struct sockaddr_un *)NULL)->sun_path) ? s->admin_path : NULL;
    if (s->admin == NULL)
        log_warn("server", "no admin socket: the path of the data directory is too long",
                 LOG_STR("path", s->admin_path));
    snprintf(s->listening_path, sizeof(s->listening_path), "%s/listening.json", s->config->data_dir);
    rc = file_unlink(s->listening_path, err); /* what a killed server left must not deceive who waits for ours */
    if (rc == 0)
        rc = self_new(s->st, &s->self, err);
    if (rc == 0)
        rc = start_pools(s, err);
    if (rc == 0)
        rc = start_ingest(s, err);
    if (rc == 0)
        rc = start_http(s, err);
    if (rc == 0)
        self_watch(s->self, &(struct self_sources){.st = s->st,
                                                   .ingest = s->ingest,
                                                   .http = s->http,
                                                   .query_pool = s->query_pool,
                                                   .service_pool = s->service_pool});
    return rc;
}

static const char *or_off(const char *address)
{
    return address == NULL ? "off" : address;
}

static int server_announce(struct server *s, struct err *err)
{
    struct announcement a = {.carbon = ingest_tcp_address(s->ingest),
                             .carbon_udp = ingest_udp_address(s->ingest),
                             .http = http_address(s->http),
                             .admin = s->admin};
    int rc = 0;

    __atomic_store_n(&s->routes.ready, 1, __ATOMIC_RELEASE); /* before anybody can read where to ask */
    rc = announce_write(s->listening_path, &a, err);
    if (rc < 0)
        return rc;
    log_info("server", "ready", LOG_STR("carbon", or_off(a.carbon)), LOG_STR("carbon_udp", or_off(a.carbon_udp)),
             LOG_STR("http", or_off(a.http)), LOG_STR("data_dir", s->config->data_dir), LOG_INT("pid", getpid()));
    announce_state("READY=1");
    return 0;
}

/* ---- run ---- */

static void reload(struct server *s, int log_fd)
{
    struct err err = {0};
    int rc = 0;

    announce_state("RELOADING=1");
    rc = reopen_log(s->config, log_fd, &err);
    if (rc == 0)
        rc = storage_reload(s->st, &err);
    self_note_reload(s->self, rc == 0);
    if (rc < 0)
        log_error("server", "reload failed, the old rules stay", LOG_ERR(&err));
    else
        log_info("server", "reloaded");
    announce_state("READY=1");
}

/* Serve until a signal says stop; returns that signal. */
static int server_run(struct server *s, const sigset_t *signals, int log_fd)
{
    int64_t pause_ns = s->config->self_metrics_s * INT64_C(1000000000);
    int64_t next_ns = clock_mono_ns() + pause_ns;

    while (true) {
        int64_t left_ns = pause_ns == 0 ? INT64_C(3600000000000) : next_ns - clock_mono_ns();
        struct timespec wait = {0};
        int signal = 0;

        if (left_ns > 0)
            wait = (struct timespec){left_ns / 1000000000, left_ns % 1000000000};
        signal = sigtimedwait(signals, NULL, &wait);
        if (signal == SIGHUP)
            reload(s, log_fd);
        else if (signal > 0)
            return signal;
        if (pause_ns != 0 && clock_mono_ns() >= next_ns) {
            self_store(s->self);
            next_ns = clock_mono_ns() + pause_ns;
        }
    }
}

static void end_at_once(int signal)
{
    _exit(128 + signal);
}

/* From here on a signal to stop is not waited for by anybody: it ends the process. */
static void let_signals_end_it(const sigset_t *signals)
{
    struct sigaction action = {.sa_handler = end_at_once};

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGHUP, SIG_IGN);
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
}

/* Also after a start that failed half-way. */
static void server_stop(struct server *s)
{
    __atomic_store_n(&s->routes.ready, 0, __ATOMIC_RELAXED);
    http_stop(s->http, STOP_GRACE_MS);
    pool_free(s->service_pool);
    pool_free(s->query_pool);
    self_free(s->self);
    ingest_stop(s->ingest);
    storage_close(s->st);
}

static int serve(const struct config *config, int log_fd)
{
    static struct server server; /* too large for the stack of a thread, and there is one */
    struct err err = {0};
    sigset_t signals;
    int signal = 0;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* inherited by all threads */
    server.config = config;
    share_descriptors(&server);
    server.query_threads = query_threads(config);
    share_memory(&server);
    warn_exposed("carbon", &config->carbon);
    warn_exposed("carbon-udp", &config->carbon_udp);
    warn_exposed("http", &config->http);
    storage_thread_begin();
    int rc = server_start(&server, &err);

    if (rc == 0)
        rc = server_announce(&server, &err);
    if (rc == 0) {
        signal = server_run(&server, &signals, log_fd);
        log_info("server", "stopping", LOG_STR("signal", sigabbrev_np(signal)));
        announce_state("STOPPING=1");
        file_unlink(server.listening_path, NULL);
    } else {
        log_error("server", "cannot start", LOG_ERR(&err));
    }
    let_signals_end_it(&signals);
    server_stop(&server);
    storage_thread_end();
    if (rc == 0)
        log_info("server", "stopped");
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int check_config(const struct config *config)
{
    struct err err = {0};

    if (storage_check_config(config->schemas, config->aggregation, &err) < 0) {
        fprintf(stderr, "plumbago: %s\n", err.text);
        return EXIT_USAGE;
    }
    puts("configuration is fine");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct config *config = NULL;
    struct err err = {0};
    enum config_action action = CONFIG_RUN;
    int log_fd = STDERR_FILENO;
    int rc = config_load(argc, argv, &config, &action, &err);

    signal(SIGPIPE, SIG_IGN);
    if (rc == 0 && action == CONFIG_RUN)
        rc = start_log(config, &log_fd, &err);
    if (rc < 0) {
        fprintf(stderr, "plumbago: %s\n", err.text);
        config_free(config);
        return EXIT_USAGE;
    }
    switch (action) {
    case CONFIG_VERSION:
        puts("plumbago " PLUMBAGO_VERSION);
        break;
    case CONFIG_HELP:
        config_help(stdout);
        break;
    case CONFIG_CHECK:
        rc = check_config(config);
        break;
    case CONFIG_RUN:
        rc = serve(config, log_fd);
        break;
    }
    config_free(config);
    return rc;
}
