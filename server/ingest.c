/* TCP workers.
 *
 * A worker is a thread with an event loop, a listening socket of its own and a large scratch buffer:
 *
 *     scratch:  [ carry: line_max ][ what recv() brings: 256 KiB ][ LF, padding for the parser ]
 *                          <-rest-|^
 *
 * What a connection has sent is received into the scratch buffer right behind the carry. The unfinished line
 * that the connection left last time is put in front of it, so that whole lines stand in one piece without
 * moving what was received; the new unfinished line is copied to the connection. An idle connection therefore
 * costs a few hundred bytes, and one that never finishes its line at most line_max.
 *
 * The kernel spreads connections over the SO_REUSEPORT listeners by a hash, which with a handful of fat
 * connections often gives all to one worker. So whoever accepts hands the connection to the worker with the
 * fewest, through that worker's inbox (a pipe of descriptors).
 *
 * Accepting pauses for 100 ms at a time while there are too many connections or no descriptors: they wait in
 * the kernel's queue, and nobody spins. Reading needs no pause of its own: storing is what takes the time, and
 * while a worker stores it does not receive, so TCP holds the sender back. */
#include "server/ingest.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "server/ingest_lines.h"
#include "server/ingest_udp.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    READ_MAX = 256 << 10,
    REST_MIN = 256,       /* first size of a connection's unfinished line ... */
    REST_KEPT = 1024,     /* ... and what it may keep when it is finished */
    ACCEPTS_AT_ONCE = 16, /* before the connections that are open get their turn */
    PAUSE_MS = 100,       /* between two tries to accept */
    DRAIN_MS = 2000,      /* how long stopping may go on reading ... */
    QUIET_MS = 50,        /* ... from senders that are never quiet for so long */
    QUIET_LOOK_MS = 10,
    MS_NS = 1000000,
    WORKERS_AUTO_MAX = 4,   /* more than that the store does not need: 10 M series fit one thread */
    CONN_MAGIC = 0x636f6e6e /* "conn" */
};

struct conn {
    uint32_t magic;
    int fd;
    struct worker *worker;
    struct conn *next, *prev; /* of the worker's list */
    struct event *readable;
    struct store_hint hint;
    char *rest; /* the unfinished line; malloc'ed, NULL while there was none */
    size_t rest_len;
    size_t rest_cap;
    bool skipping; /* the line is too long: drop everything up to its LF */
    struct sockaddr_storage peer;
};

struct worker {
    struct ingest *in;
    pthread_t thread;
    bool started;
    int listen_fd;
    int inbox[2]; /* others write descriptors, this worker reads them */
    struct event_base *base;
    struct event *acceptable;
    struct event *retry;
    struct event *mail;
    const struct timeval *idle; /* NULL: connections may be idle for ever */
    struct conn *conns;
    char *scratch;
    struct ingest_sink sink;
    _Atomic unsigned open; /* connections; raised by whoever hands one over */
    _Alignas(INGEST_CACHE_LINE) struct ingest_counts counts;
};

struct ingest {
    struct ingest_options options;
    struct storage *st;
    struct worker *workers;
    unsigned worker_count;
    struct ingest_udp *udp;
    char tcp_text[LISTEN_TEXT_MAX];
    char udp_text[LISTEN_TEXT_MAX];
    _Atomic bool stopping;
    _Alignas(INGEST_CACHE_LINE) _Atomic unsigned open; /* connections of all workers */
    _Atomic unsigned handing;                          /* workers that are just handing one over */
    _Alignas(INGEST_CACHE_LINE) struct ingest_counts udp_counts;
};

/* ---- one connection ---- */

enum conn_state { CONN_MORE, CONN_WAIT, CONN_DONE };

static void conn_close(struct conn *c)
{
    struct worker *w = c->worker;

    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        w->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    if (c->readable != NULL)
        event_free(c->readable);
    close(c->fd);
    free(c->rest);
    c->magic = 0;
    free(c);
    atomic_fetch_sub_explicit(&w->open, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&w->in->open, 1, memory_order_relaxed);
}

/* The place in the scratch buffer that recv() writes to. */
static char *landing(const struct worker *w)
{
    return w->scratch + w->in->options.line_max;
}

/* The unfinished line has been used. A long one's memory is given back. */
static void rest_clear(struct conn *c)
{
    c->rest_len = 0;
    if (c->rest_cap > REST_KEPT) {
        free(c->rest);
        c->rest = NULL;
        c->rest_cap = 0;
    }
}

/* Room for NEED bytes, of at most LINE_MAX. */
static bool rest_grow(struct conn *c, size_t need, size_t line_max)
{
    size_t cap = c->rest_cap * 2 > REST_MIN ? c->rest_cap * 2 : REST_MIN;
    char *rest;

    if (cap < need)
        cap = need;
    if (cap > line_max)
        cap = line_max;
    rest = realloc(c->rest, cap);
    if (rest == NULL)
        return false;
    c->rest = rest;
    c->rest_cap = cap;
    return true;
}

/* Keep TAIL, the beginning of a line (or more of it). False when memory is short. */
static bool rest_add(struct conn *c, struct span tail)
{
    size_t line_max = c->worker->in->options.line_max;
    size_t need = c->rest_len + tail.len;

    if (need > line_max) {
        ingest_line_too_long(&c->worker->sink, c->rest_len > 0 ? span_of(c->rest, c->rest_len) : tail, &c->peer);
        rest_clear(c);
        c->skipping = true;
        return true;
    }
    if (need > c->rest_cap && !rest_grow(c, need, line_max))
        return false;
    if (tail.len > 0)
        memcpy(c->rest + c->rest_len, tail.ptr, tail.len);
    c->rest_len = need;
    return true;
}

/* Put the unfinished line in front of FROM, which is in the landing place with nothing taken from it yet. */
static char *rest_rejoin(struct conn *c, char *from)
{
    if (c->rest_len > 0)
        memcpy(from - c->rest_len, c->rest, c->rest_len);
    from -= c->rest_len;
    rest_clear(c);
    return from;
}

/* LEN bytes have come to the landing place. False when memory is short. */
static bool conn_take(struct conn *c, size_t len)
{
    char *from = landing(c->worker);
    char *end = from + len;
    char *lf;

    if (c->skipping) {
        lf = memchr(from, '\n', len);
        if (lf == NULL)
            return true;
        c->skipping = false;
        from = lf + 1;
    }
    lf = memrchr(from, '\n', (size_t)(end - from));
    if (lf != NULL) {
        ingest_lines(&c->worker->sink, rest_rejoin(c, from), lf + 1, &c->hint, &c->peer);
        from = lf + 1;
    }
    return rest_add(c, span_of(from, (size_t)(end - from)));
}

/* The sender has finished: a last line without LF counts (shells end like that). */
static void conn_finish(struct conn *c)
{
    char *end = landing(c->worker);
    char *from;

    if (c->rest_len == 0)
        return;
    from = rest_rejoin(c, end);
    *end = '\n';
    ingest_lines(&c->worker->sink, from, end + 1, &c->hint, &c->peer);
}

/* One recv() and what follows from it. An error means that the sender is gone and its last line may be cut
 * anywhere: that one is dropped. */
static enum conn_state conn_read(struct conn *c)
{
    ssize_t n = recv(c->fd, landing(c->worker), READ_MAX, 0);

    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? CONN_WAIT : CONN_DONE;
    if (n == 0) {
        conn_finish(c);
        return CONN_DONE;
    }
    ingest_count(&c->worker->counts.bytes, (uint64_t)n);
    return conn_take(c, (size_t)n) ? CONN_MORE : CONN_DONE;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    MUST_BE(c, CONN_MAGIC);
    if ((what & EV_TIMEOUT) != 0 && (what & EV_READ) == 0) {
        ingest_count(&c->worker->counts.connections_idle_closed, 1);
        conn_close(c);
    } else if (conn_read(c) == CONN_DONE) {
        conn_close(c);
    }
}

/* A peer that vanished without a word would hold its place for ever. */
static void keep_alive(int fd)
{
    static const int one = 1, idle_s = 300, interval_s = 60, tries = 5;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
}

/* Take over FD, which is counted as open already. Many clients connect, send and close at once, so the first
 * bytes and the end are looked for before the event loop is troubled. */
static void conn_open(struct worker *w, int fd)
{
    struct conn *c = calloc(1, sizeof(*c));
    socklen_t len = sizeof(c->peer);
    enum conn_state state;

    if (c == NULL) {
        close(fd);
        atomic_fetch_sub_explicit(&w->open, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&w->in->open, 1, memory_order_relaxed);
        return;
    }
    c->magic = CONN_MAGIC;
    c->fd = fd;
    c->worker = w;
    c->next = w->conns;
    if (c->next != NULL)
        c->next->prev = c;
    w->conns = c;
    getpeername(fd, (struct sockaddr *)&c->peer, &len);
    keep_alive(fd);
    state = conn_read(c);
    if (state == CONN_MORE)
        state = conn_read(c);
    if (state != CONN_DONE)
        c->readable = event_new(w->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    if (c->readable == NULL || event_add(c->readable, w->idle) < 0)
        conn_close(c);
}

/* ---- accepting ---- */

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;

    (void)fd;
    (void)what;
    event_add(w->acceptable, NULL);
}

static void pause_accepting(struct worker *w, const char *why)
{
    static struct log_limit limit;
    static const struct timeval pause = {.tv_usec = PAUSE_MS * 1000};
    uint64_t held_back;

    ingest_count(&w->counts.connections_refused, 1);
    event_del(w->acceptable);
    event_add(w->retry, &pause);
    if (log_limit_pass(&limit, 1, INT64_C(60000000000), &held_back))
        log_warn("ingest", "new connections have to wait", LOG_STR("reason", why), LOG_INT("held_back", held_back),
                 LOG_INT("open", atomic_load_explicit(&w->in->open, memory_order_relaxed)));
}

/* The worker with the fewest connections; W itself when it is one of them. */
static struct worker *least_busy(struct worker *w)
{
    struct ingest *in = w->in;
    struct worker *best = w;
    unsigned fewest = atomic_load_explicit(&w->open, memory_order_relaxed);

    for (unsigned i = 0; i < in->worker_count; i++) {
        unsigned open = atomic_load_explicit(&in->workers[i].open, memory_order_relaxed);

        if (open < fewest) {
            fewest = open;
            best = &in->workers[i];
        }
    }
    return best;
}

/* Put FD into the inbox of TO. False when that is full. */
static bool send_mail(struct worker *to, int fd)
{
    atomic_fetch_add_explicit(&to->open, 1, memory_order_relaxed);
    if (write(to->inbox[1], &fd, sizeof(fd)) == sizeof(fd))
        return true;
    atomic_fetch_sub_explicit(&to->open, 1, memory_order_relaxed);
    return false;
}

/* Give FD to the worker with the fewest connections; when stopping, to oneself: others may have looked into their
 * inboxes for the last time, which they do when `handing` is 0 after `stopping`. */
static void hand_over(struct worker *w, int fd)
{
    struct ingest *in = w->in;
    struct worker *to;
    bool sent;

    atomic_fetch_add(&in->handing, 1);
    to = atomic_load(&in->stopping) ? w : least_busy(w);
    sent = to != w && send_mail(to, fd);
    atomic_fetch_sub(&in->handing, 1);
    if (sent)
        return;
    atomic_fetch_add_explicit(&w->open, 1, memory_order_relaxed);
    conn_open(w, fd);
}

/* Accept one connection. False when there is none, or accepting has to pause. */
static bool accept_one(struct worker *w)
{
    struct ingest *in = w->in;
    int fd;

    if (atomic_fetch_add_explicit(&in->open, 1, memory_order_relaxed) >= in->options.connections_max) {
        atomic_fetch_sub_explicit(&in->open, 1, memory_order_relaxed);
        pause_accepting(w, "connection limit reached");
        return false;
    }
    fd = accept4(w->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        ingest_count(&w->counts.connections_total, 1);
        hand_over(w, fd);
        return true;
    }
    atomic_fetch_sub_explicit(&in->open, 1, memory_order_relaxed);
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        pause_accepting(w, strerror(errno));
    return errno == EINTR || errno == ECONNABORTED;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;

    (void)fd;
    (void)what;
    for (int i = 0; i < ACCEPTS_AT_ONCE && accept_one(w); i++) {
    }
}

/* ---- a worker's life ---- */

static void take_mail(struct worker *w)
{
    int fd;

    while (read(w->inbox[0], &fd, sizeof(fd)) == sizeof(fd)) {
        if (fd >= 0)
            conn_open(w, fd);
    }
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;

    (void)fd;
    (void)what;
    take_mail(w);
    if (atomic_load(&w->in->stopping))
        event_base_loopbreak(w->base);
}

/* Serve the connections until all have been quiet for QUIET_MS. The first EAGAIN is not the end: the kernel keeps
 * what a sender on this machine has written on the sender's side, and moves it over as room is made here. */
static void read_until_quiet(struct worker *w, int64_t until)
{
    static const struct timeval look = {.tv_usec = QUIET_LOOK_MS * 1000};
    int64_t now = clock_mono_ns(), quiet_since = now;
    uint64_t seen = 0;

    while (w->conns != NULL && now < until && now - quiet_since < (int64_t)QUIET_MS * MS_NS) {
        uint64_t bytes;

        event_base_loopexit(w->base, &look);
        event_base_dispatch(w->base);
        now = clock_mono_ns();
        bytes = atomic_load_explicit(&w->counts.bytes, memory_order_relaxed);
        if (bytes != seen)
            quiet_since = now;
        seen = bytes;
    }
}

/* What has been sent is stored, also by connections that the kernel has completed and nobody accepted yet. */
static void drain(struct worker *w)
{
    int64_t until = clock_mono_ns() + (int64_t)DRAIN_MS * MS_NS;

    while (atomic_load(&w->in->handing) != 0)
        sched_yield();
    take_mail(w);
    while (accept_one(w) && clock_mono_ns() < until) {
    }
    read_until_quiet(w, until);
    while (w->conns != NULL)
        conn_close(w->conns);
}

static void *run(void *arg)
{
    struct worker *w = arg;

    storage_thread_begin();
    event_base_dispatch(w->base);
    drain(w);
    storage_thread_end();
    return NULL;
}

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config != NULL && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0)
        base = event_base_new_with_config(config);
    if (config != NULL)
        event_config_free(config);
    return base;
}

/* Everything but the thread; worker_release() undoes it, also when it was done in part. */
static int worker_init(struct worker *w, struct ingest *in, int listen_fd, struct err *err)
{
    struct timeval idle = {.tv_sec = in->options.idle_s};
    int rc;

    w->in = in;
    w->listen_fd = listen_fd;
    w->sink = (struct ingest_sink){.counts = &w->counts, .protocol = INGEST_TCP, .line_max = in->options.line_max};
    rc = store_writer_new(in->st, &w->sink.writer, err);
    if (rc < 0)
        return rc;
    if (pipe2(w->inbox, O_NONBLOCK | O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting an ingest thread");
    w->scratch = calloc(1, in->options.line_max + READ_MAX + 1 + LINE_PARSE_PAD);
    w->base = new_base();
    if (w->scratch == NULL || w->base == NULL)
        return err_set(err, ERR_MEMORY, "no memory for an ingest thread");
    w->acceptable = event_new(w->base, listen_fd, EV_READ | EV_PERSIST, on_acceptable, w);
    w->mail = event_new(w->base, w->inbox[0], EV_READ | EV_PERSIST, on_mail, w);
    w->retry = evtimer_new(w->base, on_retry, w);
    if (w->acceptable == NULL || w->mail == NULL || w->retry == NULL || event_add(w->acceptable, NULL) < 0 ||
        event_add(w->mail, NULL) < 0)
        return err_set(err, ERR_MEMORY, "no memory for an ingest thread");
    if (in->options.idle_s > 0)
        w->idle = event_base_init_common_timeout(w->base, &idle);
    return 0;
}

static void worker_release(struct worker *w)
{
    if (w->acceptable != NULL)
        event_free(w->acceptable);
    if (w->mail != NULL)
        event_free(w->mail);
    if (w->retry != NULL)
        event_free(w->retry);
    if (w->base != NULL)
        event_base_free(w->base);
    if (w->inbox[0] != w->inbox[1]) {
        for (int fd; read(w->inbox[0], &fd, sizeof(fd)) == sizeof(fd);) {
            if (fd >= 0)
                close(fd);
        }
        close(w->inbox[0]);
        close(w->inbox[1]);
    }
    if (w->listen_fd >= 0)
        close(w->listen_fd);
    store_writer_free(w->sink.writer);
    free(w->scratch);
}

/* ---- all of them ---- */

static unsigned cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

    return n < 1 ? 1 : (unsigned)n;
}

static void fill_defaults(struct ingest_options *o)
{
    if (o->workers == 0)
        o->workers = cores() < WORKERS_AUTO_MAX ? cores() : WORKERS_AUTO_MAX;
    if (o->workers > INGEST_WORKERS_MAX)
        o->workers = INGEST_WORKERS_MAX;
    if (o->line_max == 0)
        o->line_max = LINE_MAX_DEFAULT;
    if (o->line_max > INGEST_LINE_LIMIT)
        o->line_max = INGEST_LINE_LIMIT;
    if (o->connections_max == 0)
        o->connections_max = INGEST_CONNECTIONS_DEFAULT;
}

static int start_tcp(struct ingest *in, struct err *err)
{
    int fds[INGEST_WORKERS_MAX];
    unsigned count = in->options.workers;
    int rc = listen_tcp(&in->options.tcp, fds, count, err);

    if (rc < 0)
        return rc;
    listen_text(&in->options.tcp, in->tcp_text);
    in->workers = aligned_alloc(INGEST_CACHE_LINE, count * sizeof(struct worker));
    if (in->workers == NULL) {
        while (count > 0)
            close(fds[--count]);
        return err_set(err, ERR_MEMORY, "no memory for the ingest threads");
    }
    memset(in->workers, 0, count * sizeof(struct worker));
    in->worker_count = count;
    for (unsigned i = 0; i < count; i++)
        in->workers[i].listen_fd = fds[i];
    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = worker_init(&in->workers[i], in, fds[i], err);
    for (unsigned i = 0; i < count && rc == 0; i++) {
        int failure = pthread_create(&in->workers[i].thread, NULL, run, &in->workers[i]);

        in->workers[i].started = failure == 0;
        rc = failure == 0 ? 0 : err_errno(err, failure, "starting an ingest thread");
    }
    return rc;
}

int ingest_start(struct storage *st, const struct ingest_options *options, struct ingest **out, struct err *err)
{
    struct ingest *in = aligned_alloc(INGEST_CACHE_LINE, sizeof(*in));
    int rc = 0;

    *out = NULL;
    if (in == NULL)
        return err_set(err, ERR_MEMORY, "no memory for the listeners");
    memset(in, 0, sizeof(*in));
    in->st = st;
    in->options = *options;
    fill_defaults(&in->options);
    if (!options->tcp.off)
        rc = start_tcp(in, err);
    if (rc == 0 && !options->udp.off)
        rc = ingest_udp_start(st, &in->options.udp, in->options.line_max, &in->udp_counts, &in->udp, err);
    if (rc < 0) {
        ingest_stop(in);
        return rc;
    }
    listen_text(&in->options.udp, in->udp_text);
    *out = in;
    return 0;
}

void ingest_stop(struct ingest *in)
{
    static const int wake = -1;

    if (in == NULL)
        return;
    atomic_store(&in->stopping, true);
    for (unsigned i = 0; i < in->worker_count; i++) {
        /* A full inbox refuses this, and then the worker wakes for what is in it. */
        if (in->workers[i].started && write(in->workers[i].inbox[1], &wake, sizeof(wake)) < 0)
            continue;
    }
    for (unsigned i = 0; i < in->worker_count; i++) {
        if (in->workers[i].started)
            pthread_join(in->workers[i].thread, NULL);
    }
    for (unsigned i = 0; i < in->worker_count; i++)
        worker_release(&in->workers[i]);
    ingest_udp_stop(in->udp);
    free(in->workers);
    free(in);
}

const char *ingest_tcp_address(const struct ingest *in)
{
    return in->options.tcp.off ? NULL : in->tcp_text;
}

const char *ingest_udp_address(const struct ingest *in)
{
    return in->options.udp.off ? NULL : in->udp_text;
}

static uint64_t read_count(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_acquire);
}

static void add_counts(struct ingest_protocol_stats *to, const struct ingest_counts *from)
{
    to->lines += read_count(&from->lines);
    to->points += read_count(&from->points);
    for (unsigned i = 0; i < INGEST_REASONS; i++)
        to->rejected[i] += read_count(&from->rejected[i]);
    to->bytes += read_count(&from->bytes);
    to->datagrams += read_count(&from->datagrams);
    to->kernel_drops += read_count(&from->kernel_drops);
    to->connections_total += read_count(&from->connections_total);
    to->connections_refused += read_count(&from->connections_refused);
    to->connections_idle_closed += read_count(&from->connections_idle_closed);
}

void ingest_stats(const struct ingest *in, struct ingest_stats *out)
{
    *out = (struct ingest_stats){0};
    for (unsigned i = 0; i < in->worker_count; i++)
        add_counts(&out->protocol[INGEST_TCP], &in->workers[i].counts);
    add_counts(&out->protocol[INGEST_UDP], &in->udp_counts);
    out->protocol[INGEST_TCP].connections_open = atomic_load_explicit(&in->open, memory_order_relaxed);
}
