/* A connection goes round this circle, driven by one thread's event loop:
 *
 *     IDLE -> HEAD -> BODY -> HANDLING -> SENDING -> IDLE ...          or, at the end: SENDING -> LINGER -> closed
 *
 * HANDLING is left when the answer comes back: at once for what is answered here, else from a pool through the
 * list of finished exchanges and an eventfd. What a request and its answer need lives in a struct exchange. It
 * belongs to the connection, but while a pool works on it and the client leaves, it stays behind (.conn is NULL,
 * .control.cancelled is set) and is freed when the pool hands it back. Only the I/O thread looks at .conn.
 *
 * Reading goes on in HANDLING, so that a client that leaves is noticed; what it sends meanwhile is the start of its
 * next request and waits in .in, at most head_max bytes.
 *
 * A closed connection is freed at the end of the event's callback (reap()), so that nobody below has to ask
 * whether it still exists: it is DEAD.
 *
 * Time limits need no precision: once a second all connections are looked at (10,000 of them cost 0.1 ms). */
#include "server/http.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/must.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define SECOND_NS INT64_C(1000000000)

enum {
    CONN_MAGIC = 0x4e4e4f43,
    SCRATCH_BYTES = 256 << 10, /* read at once */
    SEND_BYTES = 4 << 20,      /* written at once before others have their turn */
    RATE_BYTES = 16 << 10,     /* a second: the slowest body that is waited for */
    PEER_BUCKETS = 1024,
    ACCEPT_BATCH = 64,
    LINGER_S = 2,
    LINGER_BYTES = 4 << 20,
    STOP_GRACE_STEP_MS = 20,
};

enum conn_state {
    CONN_IDLE,     /* nothing of a request is here */
    CONN_HEAD,     /* part of a head is */
    CONN_BODY,     /* the head is in ->x, part of the body too */
    CONN_HANDLING, /* ->x is being answered */
    CONN_SENDING,  /* ->x is being sent */
    CONN_LINGER,   /* sent; what the client still sends is thrown away, for a reset would overtake the answer */
    CONN_DEAD,     /* closed, to be freed by reap() */
};

struct conn;

struct exchange {
    struct pool_task task; /* first: the pool hands back its address */
    struct http_server *http;
    struct conn *conn; /* NULL: the client has left */
    struct http_request request;
    struct http_reply reply;
    struct buf head; /* what request.head points into */
    struct buf body;
    struct exchange *next; /* in the list of finished ones */
};

/* How many connections an address has. */
struct peer {
    struct peer *next;
    unsigned count;
    uint8_t address[16];
};

struct conn {
    uint32_t magic;
    enum conn_state state;
    struct http_server *http;
    struct conn *next, *prev;
    struct event readable, writable;
    int fd;
    enum http_door door;
    struct peer *peer; /* NULL on the admin door */
    struct sockaddr_storage address;

    struct buf in; /* received and not yet used */
    size_t seen;   /* of .in, by http_head_length() */
    struct exchange *x;
    uint64_t body_left; /* of a body with a length */
    struct http_chunked chunked;

    struct buf out; /* status line and headers of the answer */
    size_t sent;    /* of .out and the reply's body together */
    bool last;      /* close when the answer is sent */
    bool eof;       /* the client has closed its side */
    bool paused;    /* reading is: .in is full */
    bool linger;    /* there may be something unread when the answer is sent */

    int64_t began_ns;    /* this phase */
    int64_t deadline_ns; /* of this phase; 0: none */
    size_t drained;      /* in LINGER */
    size_t held;         /* its part of .bytes_held */
};

struct listener {
    struct http_server *http;
    int fd; /* -1: none */
    enum http_door door;
    struct event acceptable;
};

struct http_server {
    struct http_options options;
    struct event_base *base;
    pthread_t thread;
    bool started;
    struct listener listeners[2];
    char address[LISTEN_TEXT_MAX];
    int wake_fd;
    struct event woken, tick;
    char *scratch;
    struct conn *conns; /* a list, newest first */
    struct conn *dead;
    struct peer *peers[PEER_BUCKETS];
    uint64_t peer_seed;
    struct log_limit accept_log;
    char date[40]; /* a Date header, of .date_s */
    time_t date_s;
    unsigned in_pools; /* exchanges that a pool has */
    bool stopped;      /* the I/O thread's own: http_stop() has asked, everything is closed */

    pthread_mutex_t lock; /* guards .finished */
    struct exchange *finished;

    /* Written by one thread each, read by all: relaxed atomics. */
    int draining;
    int stopping;
    int64_t stop_deadline_ns;
    struct http_stats stats;
};

#define STAT_ADD(http, member, n) __atomic_add_fetch(&(http)->stats.member, (n), __ATOMIC_RELAXED)
#define STAT_SUB(http, member, n) __atomic_sub_fetch(&(http)->stats.member, (n), __ATOMIC_RELAXED)

static void conn_pump(struct conn *conn);

/* ---- exchanges ---- */

static struct exchange *exchange_new(struct conn *conn)
{
    struct exchange *x = calloc(1, sizeof(*x));

    if (x == NULL)
        return NULL;
    x->http = conn->http;
    x->conn = conn;
    x->request.door = conn->door;
    return x;
}

static void exchange_free(struct exchange *x)
{
    if (x == NULL)
        return;
    buf_release(&x->head);
    buf_release(&x->body);
    buf_release(&x->reply.headers);
    buf_release(&x->reply.body);
    free(x);
}

static void reply_text(struct http_reply *reply, int status, const char *text)
{
    reply->status = status;
    reply->content_type = "text/plain; charset=utf-8";
    buf_clear(&reply->body);
    buf_add_str(&reply->body, text);
    buf_add_char(&reply->body, '\n');
}

static void wake(struct http_server *http)
{
    uint64_t one = 1;
    ssize_t n = write(http->wake_fd, &one, sizeof(one));

    (void)n; /* it can only fail when it is readable already */
}

/* In a thread of a pool. */
static void exchange_run(struct pool_task *task)
{
    struct exchange *x = (struct exchange *)task;
    struct http_server *http = x->http;
    struct query_control *control = &x->request.control;
    bool first = false;

    if (__atomic_load_n(&control->cancelled, __ATOMIC_RELAXED) == 0) {
        if (control->deadline_ns != 0 && clock_mono_ns() > control->deadline_ns)
            reply_text(&x->reply, 503, "the request has waited for a thread until its time was over");
        else
            http->options.app.answer(http->options.app.ctx, &x->request, &x->reply);
    }
    pthread_mutex_lock(&http->lock);
    first = http->finished == NULL;
    x->next = http->finished;
    http->finished = x;
    /* Still under the lock: once the list is taken, http_stop() may free all this. */
    if (first)
        wake(http);
    pthread_mutex_unlock(&http->lock);
}

/* ---- connections: accounts and ends ---- */

/* Brings .bytes_held up to date with what CONN holds. */
static void conn_account(struct conn *conn)
{
    size_t now = conn->in.cap + conn->out.cap;

    if (conn->x != NULL && conn->state != CONN_HANDLING)
        now += conn->x->head.cap + conn->x->body.cap + conn->x->reply.body.cap;
    else if (conn->x != NULL)
        now += conn->x->request.body.len;
    STAT_ADD(conn->http, bytes_held, now - conn->held);
    conn->held = now;
}

static bool buffers_full(struct http_server *http)
{
    return __atomic_load_n(&http->stats.bytes_held, __ATOMIC_RELAXED) > http->options.buffers_max;
}

static void peer_forget(struct http_server *http, struct peer *peer)
{
    struct peer **at = &http->peers[XXH3_64bits_withSeed(peer->address, 16, http->peer_seed) % PEER_BUCKETS];

    if (--peer->count != 0)
        return;
    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
    free(peer);
}

/* The peer of ADDRESS with one connection more, or NULL when it has too many or memory is short. */
static struct peer *peer_count(struct http_server *http, const struct sockaddr_storage *address)
{
    uint8_t key[16] = {0};

    if (address->ss_family == AF_INET6)
        memcpy(key, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
    else
        memcpy(key, &((const struct sockaddr_in *)address)->sin_addr, 4);
    struct peer **bucket = &http->peers[XXH3_64bits_withSeed(key, 16, http->peer_seed) % PEER_BUCKETS];
    struct peer *peer = *bucket;

    while (peer != NULL && memcmp(peer->address, key, 16) != 0)
        peer = peer->next;
    if (peer == NULL) {
        peer = calloc(1, sizeof(*peer));
        if (peer == NULL)
            return NULL;
        memcpy(peer->address, key, 16);
        peer->next = *bucket;
        *bucket = peer;
    }
    if (peer->count >= http->options.connections_per_address_max)
        return NULL;
    peer->count++;
    return peer;
}

static void conn_close(struct conn *conn)
{
    struct http_server *http = conn->http;

    MUST_BE(conn, CONN_MAGIC);
    if (conn->state == CONN_DEAD)
        return;
    event_del(&conn->readable);
    event_del(&conn->writable);
    close(conn->fd);
    if (conn->state == CONN_HANDLING) { /* a pool has it: it stays behind */
        __atomic_store_n(&conn->x->request.control.cancelled, 1, __ATOMIC_RELAXED);
        conn->x->conn = NULL;
        conn->x = NULL;
        STAT_ADD(http, cancelled, 1);
    }
    exchange_free(conn->x);
    conn->x = NULL;
    buf_release(&conn->in);
    buf_release(&conn->out);
    conn->state = CONN_DEAD;
    conn_account(conn);
    if (conn->peer != NULL)
        peer_forget(http, conn->peer);
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        http->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    conn->next = http->dead;
    http->dead = conn;
    STAT_SUB(http, connections_open, 1);
}

/* Free what was closed during this callback; end the loop when all is closed and that is wanted. */
static void reap(struct http_server *http)
{
    while (http->dead != NULL) {
        struct conn *conn = http->dead;

        http->dead = conn->next;
        conn->magic = 0;
        free(conn);
    }
    if (__atomic_load_n(&http->stopping, __ATOMIC_ACQUIRE) && http->conns == NULL && http->in_pools == 0)
        event_base_loopbreak(http->base);
}

static void conn_phase(struct conn *conn, enum conn_state state, int64_t seconds)
{
    conn->state = state;
    conn->began_ns = clock_mono_ns();
    conn->deadline_ns = seconds == 0 ? 0 : conn->began_ns + seconds * SECOND_NS;
}

/* ---- sending ---- */

static void request_done(struct conn *conn)
{
    const struct exchange *x = conn->x;

    if (log_wants(LOG_LEVEL_DEBUG) && x->request.id != 0)
        log_debug("http", "request", LOG_INT("id", x->request.id), LOG_STR("peer", x->request.peer),
                  LOG_SPAN("path", x->request.head.path), LOG_INT("status", x->reply.status),
                  LOG_INT("bytes", conn->sent),
                  LOG_FLOAT("ms", (double)(clock_mono_ns() - x->request.arrived_ns) / 1e6));
}

/* The answer is sent. */
static void conn_finish(struct conn *conn)
{
    struct http_server *http = conn->http;
    bool linger = conn->linger || (conn->last && conn->in.len != 0);

    request_done(conn);
    exchange_free(conn->x);
    conn->x = NULL;
    buf_release(&conn->out);
    conn->sent = 0;
    if (conn->eof || (conn->last && !linger) || (__atomic_load_n(&http->draining, __ATOMIC_RELAXED) && !linger)) {
        conn_close(conn);
        return;
    }
    if (linger) {
        shutdown(conn->fd, SHUT_WR);
        buf_release(&conn->in);
        conn_phase(conn, CONN_LINGER, LINGER_S);
    } else {
        conn_phase(conn, CONN_IDLE, http->options.idle_s);
    }
    if (conn->paused) {
        conn->paused = false;
        event_add(&conn->readable, NULL);
    }
    conn_account(conn);
}

static void conn_send(struct conn *conn)
{
    struct buf *body = &conn->x->reply.body;
    size_t body_len = conn->x->request.head.method == HTTP_HEAD ? 0 : body->len;
    size_t all = conn->out.len + body_len;
    size_t until = conn->sent + SEND_BYTES;

    while (conn->sent < all && conn->sent < until) {
        struct iovec parts[2];
        int count = 0;

        if (conn->sent < conn->out.len)
            parts[count++] = (struct iovec){conn->out.ptr + conn->sent, conn->out.len - conn->sent};
        size_t from = conn->sent < conn->out.len ? 0 : conn->sent - conn->out.len;

        if (from < body_len)
            parts[count++] = (struct iovec){body->ptr + from, body_len - from};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t n = sendmsg(conn->fd, &message, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            conn_close(conn);
            return;
        }
        if (n < 0)
            break;
        conn->sent += (size_t)n;
        STAT_ADD(conn->http, bytes_sent, (uint64_t)n);
    }
    if (conn->sent == all)
        conn_finish(conn);
    else
        event_add(&conn->writable, NULL);
}

static const char *date_header(struct http_server *http)
{
    time_t now = (time_t)clock_now_s();
    struct tm tm;

    if (now != http->date_s) {
        gmtime_r(&now, &tm);
        strftime(http->date, sizeof(http->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        http->date_s = now;
    }
    return http->date;
}

/* ->x->reply is complete: send it. */
static void conn_reply(struct conn *conn)
{
    struct http_reply *reply = &conn->x->reply;
    struct buf *out = &conn->out;

    if (reply->body.failed || reply->headers.failed || reply->status == 0) {
        buf_release(&reply->body);
        buf_release(&reply->headers);
        reply_text(reply, 500, "no memory for the answer");
    }
    if (__atomic_load_n(&conn->http->draining, __ATOMIC_RELAXED))
        conn->last = true;
    buf_addf(out, "HTTP/1.1 %d %s\r\nServer: plumbago\r\nDate: %s\r\n", reply->status, http_reason(reply->status),
             date_header(conn->http));
    if (reply->content_type != NULL)
        buf_addf(out, "Content-Type: %s\r\n", reply->content_type);
    if (reply->status != 204)
        buf_addf(out, "Content-Length: %zu\r\n", reply->body.len);
    buf_add_span(out, buf_span(&reply->headers));
    if (conn->last)
        buf_add_str(out, "Connection: close\r\n");
    else if (conn->x->request.head.minor == 0)
        buf_add_str(out, "Connection: keep-alive\r\n");
    buf_add_str(out, "\r\n");
    if (out->failed) {
        conn_close(conn);
        return;
    }
    conn_phase(conn, CONN_SENDING, conn->http->options.send_s + (int64_t)(reply->body.len / RATE_BYTES));
    conn_account(conn);
    conn_send(conn);
}

/* Answer with an error that the transport itself has found, and close after it. */
static void conn_fail(struct conn *conn, int status, const char *why)
{
    if (conn->x == NULL && (conn->x = exchange_new(conn)) == NULL) {
        conn_close(conn);
        return;
    }
    reply_text(&conn->x->reply, status, why);
    if (status == 503)
        buf_add_str(&conn->x->reply.headers, "Retry-After: 1\r\n");
    conn->last = true;
    conn->linger = true;
    conn_reply(conn);
}

/* ---- receiving ---- */

/* The request is here in full: have it answered. */
static void conn_dispatch(struct conn *conn)
{
    struct http_server *http = conn->http;
    struct exchange *x = conn->x;
    const struct http_app *app = &http->options.app;

    x->request.body = buf_span(&x->body);
    x->request.id = STAT_ADD(http, requests, 1);
    x->request.arrived_ns = clock_mono_ns();
    if (conn->door == HTTP_DOOR_ADMIN) {
        strcpy(x->request.peer, "unix");
    } else {
        struct listen_addr address = {.sa = conn->address, .len = sizeof(conn->address)};

        listen_text(&address, x->request.peer);
    }
    if (http->options.query_timeout_s != 0)
        x->request.control.deadline_ns = x->request.arrived_ns + http->options.query_timeout_s * SECOND_NS;
    conn->last = !x->request.head.keep_alive;
    conn->linger = false;
    enum http_where where = app->where(app->ctx, &x->request);

    if (where == HTTP_HERE) {
        app->answer(app->ctx, &x->request, &x->reply);
        conn_reply(conn);
        return;
    }
    conn_phase(conn, CONN_HANDLING, 0);
    x->task.run = exchange_run;
    http->in_pools++;
    if (!buffers_full(http) &&
        pool_submit(where == HTTP_QUERY_POOL ? http->options.query_pool : http->options.service_pool, &x->task)) {
        conn_account(conn);
        return;
    }
    http->in_pools--;
    STAT_ADD(http, refused, 1);
    reply_text(&x->reply, 503, "too many requests are waiting; try again");
    buf_add_str(&x->reply.headers, "Retry-After: 1\r\n");
    conn_reply(conn);
}

/* Use what is in .in for the body. */
static void conn_body(struct conn *conn)
{
    struct exchange *x = conn->x;
    size_t used = 0;

    x->body.max = conn->http->options.body_max;
    if (x->request.head.chunked) {
        ssize_t n = http_chunked_feed(&conn->chunked, buf_span(&conn->in), &x->body);

        if (n < 0) {
            STAT_ADD(conn->http, bad_requests, 1);
            conn_fail(conn, 400, "bad chunk in the body");
            return;
        }
        used = (size_t)n;
    } else {
        used = conn->in.len < conn->body_left ? conn->in.len : (size_t)conn->body_left;
        buf_add(&x->body, conn->in.ptr, used);
        conn->body_left -= used;
    }
    if (x->body.failed) {
        STAT_ADD(conn->http, bad_requests, 1);
        conn_fail(conn, 413, "the body is longer than http-max-body allows");
        return;
    }
    if (used != 0)
        memmove(conn->in.ptr, conn->in.ptr + used, conn->in.len - used);
    conn->in.len -= used;
    conn->deadline_ns =
        conn->began_ns + (conn->http->options.receive_s + (int64_t)(x->body.len / RATE_BYTES)) * SECOND_NS;
    if (x->request.head.chunked ? conn->chunked.state == CHUNK_DONE : conn->body_left == 0)
        conn_dispatch(conn);
}

/* Look whether .in holds a whole head, and take it. */
static void conn_head(struct conn *conn)
{
    struct http_server *http = conn->http;
    size_t blank = http_blank(buf_span(&conn->in));
    const char *why = NULL;

    if (blank != 0) {
        conn->seen = 0;
        memmove(conn->in.ptr, conn->in.ptr + blank, conn->in.len - blank);
        conn->in.len -= blank;
    }
    if (conn->in.len == 0)
        return;
    size_t len = http_head_length(buf_span(&conn->in), &conn->seen);

    if (len > http->options.head_max || (len == 0 && conn->in.len > http->options.head_max)) {
        STAT_ADD(http, bad_requests, 1);
        conn_fail(conn, 431, "request line and headers are longer than http-max-header allows");
        return;
    }
    if (len == 0) {
        if (conn->state == CONN_IDLE)
            conn_phase(conn, CONN_HEAD, http->options.receive_s);
        return;
    }
    conn->seen = 0;
    if ((conn->x = exchange_new(conn)) == NULL) {
        conn_close(conn);
        return;
    }
    buf_add(&conn->x->head, conn->in.ptr, len);
    memmove(conn->in.ptr, conn->in.ptr + len, conn->in.len - len);
    conn->in.len -= len;
    struct http_head *head = &conn->x->request.head;
    int status = conn->x->head.failed ? 503 : http_head_parse(buf_span(&conn->x->head), head, &why);

    if (status == 0 && head->content_length > http->options.body_max) {
        status = 413;
        why = "the body is longer than http-max-body allows";
    }
    if (status != 0) {
        STAT_ADD(http, bad_requests, 1);
        conn_fail(conn, status, why == NULL ? "no memory" : why);
        return;
    }
    conn->body_left = head->content_length;
    conn->chunked = (struct http_chunked){0};
    if (head->expects_continue && (head->chunked || conn->body_left > conn->in.len)) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        ssize_t n = send(conn->fd, go_on, sizeof(go_on) - 1, MSG_NOSIGNAL);

        (void)n; /* the client goes on by itself when it hears nothing (RFC 9110, 10.1.1) */
    }
    conn_phase(conn, CONN_BODY, http->options.receive_s);
}

/* Go on with what is in .in until more must come or an answer is under way. */
static void conn_pump(struct conn *conn)
{
    enum conn_state before;

    do {
        before = conn->state;
        if (before == CONN_IDLE || before == CONN_HEAD)
            conn_head(conn);
        if (conn->state == CONN_BODY)
            conn_body(conn);
    } while (conn->state == CONN_IDLE && conn->in.len != 0);
    if (conn->state == CONN_IDLE)
        buf_release(&conn->in); /* ten thousand idle connections hold no buffers */
    if (conn->state != CONN_DEAD)
        conn_account(conn);
}

/* The client has closed its side. One that asked for the connection to be closed may wait for its answer all the same
 * (printf ... | nc -N does); any other has left. */
static void conn_eof(struct conn *conn)
{
    bool waits = conn->state == CONN_SENDING || (conn->state == CONN_HANDLING && conn->last);

    if (!waits) {
        conn_close(conn);
        return;
    }
    conn->eof = true;
    event_del(&conn->readable);
}

/* N bytes of scratch have come. */
static void conn_received(struct conn *conn, size_t n)
{
    struct http_server *http = conn->http;

    STAT_ADD(http, bytes_received, n);
    if (conn->state == CONN_LINGER) {
        conn->drained += n;
        if (conn->drained > LINGER_BYTES)
            conn_close(conn);
        return;
    }
    buf_add(&conn->in, http->scratch, n);
    conn_account(conn);
    if (conn->in.failed) {
        conn_close(conn);
    } else if (conn->state == CONN_HANDLING || conn->state == CONN_SENDING) {
        if (conn->in.len >= http->options.head_max) {
            conn->paused = true;
            event_del(&conn->readable);
        }
    } else if (buffers_full(http)) {
        STAT_ADD(http, refused, 1);
        conn_fail(conn, 503, "the server's buffers for requests and answers are full; try again");
    } else {
        conn_pump(conn);
    }
}

static void on_readable(int fd, short what, void *arg)
{
    struct conn *conn = arg;
    struct http_server *http = conn->http;
    /* No more than a head's worth while an answer is under way. */
    size_t room = conn->state == CONN_HANDLING || conn->state == CONN_SENDING ? 16384 : SCRATCH_BYTES;

    (void)what;
    MUST_BE(conn, CONN_MAGIC);
    ssize_t n = recv(fd, http->scratch, room, 0);

    if (n > 0)
        conn_received(conn, (size_t)n);
    else if (n == 0)
        conn_eof(conn);
    else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        conn_close(conn);
    reap(http);
}

static void on_writable(int fd, short what, void *arg)
{
    struct conn *conn = arg;
    struct http_server *http = conn->http;

    (void)fd;
    (void)what;
    MUST_BE(conn, CONN_MAGIC);
    MUST(conn->state == CONN_SENDING);
    conn_send(conn);
    if (conn->state == CONN_IDLE)
        conn_pump(conn);
    reap(http);
}

/* ---- listeners ---- */

static void conn_open(struct listener *listener, int fd, const struct sockaddr_storage *address)
{
    struct http_server *http = listener->http;
    struct peer *peer = NULL;
    uint64_t open = __atomic_load_n(&http->stats.connections_open, __ATOMIC_RELAXED);
    struct conn *conn = NULL;
    int on = 1;

    STAT_ADD(http, connections_total, 1);
    if (listener->door == HTTP_DOOR_PUBLIC &&
        (open >= http->options.connections_max || (peer = peer_count(http, address)) == NULL)) {
        static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n"
                                   "Content-Length: 21\r\nConnection: close\r\n\r\ntoo many connections\n";
        ssize_t n = send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL);

        (void)n;
        STAT_ADD(http, connections_refused, 1);
        close(fd);
        return;
    }
    conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        if (peer != NULL)
            peer_forget(http, peer);
        close(fd);
        return;
    }
    conn->magic = CONN_MAGIC;
    conn->http = http;
    conn->fd = fd;
    conn->door = listener->door;
    conn->peer = peer;
    conn->address = *address;
    if (listener->door == HTTP_DOOR_PUBLIC) {
        unsigned gone_ms = (unsigned)http->options.send_s * 1000;

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &gone_ms, sizeof(gone_ms));
    }
    event_assign(&conn->readable, http->base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->writable, http->base, fd, EV_WRITE, on_writable, conn);
    event_add(&conn->readable, NULL);
    conn->next = http->conns;
    if (http->conns != NULL)
        http->conns->prev = conn;
    http->conns = conn;
    STAT_ADD(http, connections_open, 1);
    conn_phase(conn, CONN_IDLE, http->options.idle_s);
}

static void on_acceptable(int fd, short what, void *arg)
{
    struct listener *listener = arg;
    struct http_server *http = listener->http;

    (void)what;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof(address);
        int client = accept4(fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        uint64_t held_back = 0;

        if (client >= 0) {
            conn_open(listener, client, &address);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            int why = errno;

            STAT_ADD(http, connections_refused, 1);
            event_del(&listener->acceptable); /* until the next tick */
            if (log_limit_pass(&http->accept_log, 1, 10 * SECOND_NS, &held_back))
                log_warn("http", "cannot accept a connection", LOG_STR("error", strerror(why)),
                         LOG_INT("held_back", held_back));
        }
        break;
    }
    reap(http);
}

/* ---- the loop ---- */

static void on_woken(int fd, short what, void *arg)
{
    struct http_server *http = arg;
    uint64_t times = 0;
    ssize_t n = read(fd, &times, sizeof(times));
    struct exchange *list = NULL;

    (void)what;
    (void)n;
    pthread_mutex_lock(&http->lock);
    list = http->finished;
    http->finished = NULL;
    pthread_mutex_unlock(&http->lock);
    while (list != NULL) {
        struct exchange *x = list;
        struct conn *conn = x->conn;

        list = x->next;
        http->in_pools--;
        if (conn == NULL) {
            exchange_free(x);
            continue;
        }
        MUST_BE(conn, CONN_MAGIC);
        conn_reply(conn);
        if (conn->state == CONN_IDLE)
            conn_pump(conn);
    }
    if (__atomic_load_n(&http->draining, __ATOMIC_RELAXED))
        for (struct conn *conn = http->conns, *next = NULL; conn != NULL; conn = next) {
            next = conn->next;
            if (conn->state == CONN_IDLE)
                conn_close(conn);
        }
    for (int i = 0; i < 2 && __atomic_load_n(&http->draining, __ATOMIC_RELAXED); i++)
        if (http->listeners[i].fd >= 0 && http->listeners[i].door == HTTP_DOOR_PUBLIC) {
            event_del(&http->listeners[i].acceptable);
            close(http->listeners[i].fd);
            http->listeners[i].fd = -1;
        }
    reap(http);
}

static void conn_overdue(struct conn *conn)
{
    switch (conn->state) {
    case CONN_HEAD:
    case CONN_BODY:
        STAT_ADD(conn->http, timeouts, 1);
        conn_fail(conn, 408, "the request did not arrive in time");
        break;
    case CONN_SENDING:
        STAT_ADD(conn->http, timeouts, 1);
        conn_close(conn);
        break;
    default:
        conn_close(conn);
        break;
    }
}

static void on_tick(int fd, short what, void *arg)
{
    struct http_server *http = arg;
    int64_t now_ns = clock_mono_ns();
    bool stopping = __atomic_load_n(&http->stopping, __ATOMIC_ACQUIRE);
    bool all = stopping && now_ns > __atomic_load_n(&http->stop_deadline_ns, __ATOMIC_RELAXED);

    (void)fd;
    (void)what;
    for (struct conn *conn = http->conns, *next = NULL; conn != NULL; conn = next) {
        next = conn->next;
        if (all || (stopping && conn->state == CONN_IDLE))
            conn_close(conn);
        else if (conn->deadline_ns != 0 && now_ns > conn->deadline_ns)
            conn_overdue(conn);
    }
    for (int i = 0; i < 2; i++)
        if (http->listeners[i].fd >= 0 && !event_pending(&http->listeners[i].acceptable, EV_READ, NULL))
            event_add(&http->listeners[i].acceptable, NULL);
    if (stopping) { /* look oftener: somebody waits */
        struct timeval soon = {0, STOP_GRACE_STEP_MS * 1000};

        event_add(&http->tick, &soon);
    }
    reap(http);
}

static void *io_main(void *arg)
{
    struct http_server *http = arg;

    event_base_loop(http->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

/* ---- start and stop ---- */

static int open_admin(const char *path, int *fd, struct err *err)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int rc = 0;

    if (strlen(path) >= sizeof(sa.sun_path))
        return err_set(err, ERR_INPUT, "%s: the path of a socket can have %zu bytes", path, sizeof(sa.sun_path) - 1);
    strcpy(sa.sun_path, path);
    rc = file_unlink(path, err); /* what a killed server left; the lock of the data directory is ours */
    if (rc < 0)
        return rc;
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* The mode of an unbound socket becomes that of its file, so it is never open to others, not even shortly. */
    if (*fd < 0 || fchmod(*fd, 0600) < 0 || bind(*fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        listen(*fd, LISTEN_BACKLOG) < 0) {
        rc = err_errno(err, errno, "cannot listen on %s", path);
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
    }
    return rc;
}

static int open_listeners(struct http_server *http, struct err *err)
{
    int rc = 0;

    if (!http->options.address.off) {
        rc = listen_tcp(&http->options.address, &http->listeners[0].fd, 1, err);
        if (rc < 0)
            return rc;
        listen_text(&http->options.address, http->address);
    }
    if (http->options.admin_path != NULL)
        rc = open_admin(http->options.admin_path, &http->listeners[1].fd, err);
    return rc;
}

static int open_loop(struct http_server *http, struct err *err)
{
    struct event_config *config = event_config_new();
    struct timeval second = {1, 0};

    if (config != NULL) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK); /* other threads wake it by the eventfd only */
        http->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    http->scratch = malloc(SCRATCH_BYTES);
    http->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (http->base == NULL || http->scratch == NULL || http->wake_fd < 0)
        return err_set(err, ERR_MEMORY, "no memory for the HTTP server");
    event_assign(&http->woken, http->base, http->wake_fd, EV_READ | EV_PERSIST, on_woken, http);
    event_assign(&http->tick, http->base, -1, EV_PERSIST, on_tick, http);
    event_add(&http->woken, NULL);
    event_add(&http->tick, &second);
    for (int i = 0; i < 2; i++)
        if (http->listeners[i].fd >= 0) {
            event_assign(&http->listeners[i].acceptable, http->base, http->listeners[i].fd, EV_READ | EV_PERSIST,
                         on_acceptable, &http->listeners[i]);
            event_add(&http->listeners[i].acceptable, NULL);
        }
    return 0;
}

static void http_free(struct http_server *http)
{
    for (int i = 0; i < 2; i++)
        if (http->listeners[i].fd >= 0)
            close(http->listeners[i].fd);
    if (http->options.admin_path != NULL)
        file_unlink(http->options.admin_path, NULL);
    if (http->wake_fd >= 0)
        close(http->wake_fd);
    if (http->base != NULL)
        event_base_free(http->base);
    free(http->scratch);
    pthread_mutex_destroy(&http->lock);
    free(http);
}

int http_start(const struct http_options *options, struct http_server **out, struct err *err)
{
    struct http_server *http = calloc(1, sizeof(*http));
    int rc = 0;

    *out = NULL;
    if (http == NULL)
        return err_set(err, ERR_MEMORY, "no memory for the HTTP server");
    http->options = *options;
    http->wake_fd = -1;
    http->listeners[0] = (struct listener){.http = http, .fd = -1, .door = HTTP_DOOR_PUBLIC};
    http->listeners[1] = (struct listener){.http = http, .fd = -1, .door = HTTP_DOOR_ADMIN};
    pthread_mutex_init(&http->lock, NULL);
    if (getrandom(&http->peer_seed, sizeof(http->peer_seed), GRND_NONBLOCK) < 0)
        http->peer_seed = (uint64_t)clock_now_ns();
    rc = open_listeners(http, err);
    if (rc == 0)
        rc = open_loop(http, err);
    if (rc == 0) {
        int errnum = pthread_create(&http->thread, NULL, io_main, http);

        if (errnum != 0)
            rc = err_errno(err, errnum, "cannot start the HTTP thread");
        else
            pthread_setname_np(http->thread, "http");
    }
    if (rc < 0) {
        http_free(http);
        return rc;
    }
    *out = http;
    return 0;
}

void http_drain(struct http_server *http)
{
    __atomic_store_n(&http->draining, 1, __ATOMIC_RELAXED);
    wake(http);
}

bool http_draining(const struct http_server *http)
{
    return __atomic_load_n(&http->draining, __ATOMIC_RELAXED) != 0;
}

void http_stop(struct http_server *http, int64_t grace_ms)
{
    if (http == NULL)
        return;
    __atomic_store_n(&http->stop_deadline_ns, clock_mono_ns() + grace_ms * 1000000, __ATOMIC_RELAXED);
    __atomic_store_n(&http->stopping, 1, __ATOMIC_RELEASE);
    http_drain(http);
    pthread_join(http->thread, NULL);
    http_free(http);
}

const char *http_address(const struct http_server *http)
{
    return http->address[0] == '\0' ? NULL : http->address;
}

void http_stats(const struct http_server *http, struct http_stats *out)
{
    const uint64_t *from = (const uint64_t *)&http->stats;
    uint64_t *to = (uint64_t *)out;

    _Static_assert(sizeof(*out) % sizeof(*to) == 0, "http_stats is made of 64-bit counters");
    for (size_t i = 0; i < sizeof(*out) / sizeof(*to); i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
