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
 * A closed connection is freed at the end of the event's callback (http_reap()), so that nobody below has to ask
 * whether it still exists: it is DEAD.
 *
 * Time limits need no precision: once a second all connections are looked at (10,000 of them cost 0.1 ms). */
#include "server/http_conn.h"

#include "base/clock.h"
#include "base/must.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    SEND_BYTES = 4 << 20,  /* written at once before others have their turn */
    RATE_BYTES = 16 << 10, /* a second: the slowest body that is waited for */
    SMALL_BYTES =
        64 << 10, /* requests up to this are taken though the buffers are full: those who fill them are not small */
    LINGER_S = 2,
    LINGER_BYTES = 4 << 20,
};

#define STAT_ADD(http, member, n) __atomic_add_fetch(&(http)->stats.member, (n), __ATOMIC_RELAXED)
#define STAT_SUB(http, member, n) __atomic_sub_fetch(&(http)->stats.member, (n), __ATOMIC_RELAXED)

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

void http_wake(struct http_server *http)
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
        http_wake(http);
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

void conn_close(struct conn *conn)
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
        peers_leave(&http->peers, conn->peer);
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

void http_reap(struct http_server *http)
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
    bool linger = conn->linger || (conn->last && conn->in.len > conn->used);

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
        conn->used = 0;
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
    /* Queries are what fills the buffers with answers; /metrics and admin orders stay possible. */
    if (where == HTTP_QUERY_POOL ? !buffers_full(http) && pool_submit(http->options.query_pool, &x->task)
                                 : pool_submit(http->options.service_pool, &x->task)) {
        conn_account(conn);
        return;
    }
    http->in_pools--;
    STAT_ADD(http, refused, 1);
    reply_text(&x->reply, 503, "too many requests are waiting; try again");
    buf_add_str(&x->reply.headers, "Retry-After: 1\r\n");
    conn_reply(conn);
}

/* What has come and is not yet used. */
static struct span waiting(const struct conn *conn)
{
    return span_cut(buf_span(&conn->in), conn->used, conn->in.len);
}

static bool has_waiting(const struct conn *conn)
{
    return conn->in.len > conn->used;
}

/* Use what waits for the body. */
static void conn_body(struct conn *conn)
{
    struct exchange *x = conn->x;
    size_t used = 0;

    x->body.max = conn->http->options.body_max;
    if (x->request.head.chunked) {
        ssize_t n = http_chunked_feed(&conn->chunked, waiting(conn), &x->body);

        if (n < 0) {
            STAT_ADD(conn->http, bad_requests, 1);
            conn_fail(conn, 400, "bad chunk in the body");
            return;
        }
        used = (size_t)n;
    } else {
        struct span part = span_cut(waiting(conn), 0, (size_t)conn->body_left);

        used = part.len;
        buf_add_span(&x->body, part);
        conn->body_left -= used;
    }
    if (x->body.failed) {
        STAT_ADD(conn->http, bad_requests, 1);
        conn_fail(conn, 413, "the body is longer than http-max-body allows");
        return;
    }
    conn->used += used;
    conn->deadline_ns =
        conn->began_ns + (conn->http->options.receive_s + (int64_t)(x->body.len / RATE_BYTES)) * SECOND_NS;
    if (x->request.head.chunked ? conn->chunked.state == CHUNK_DONE : conn->body_left == 0)
        conn_dispatch(conn);
}

/* A whole head of LEN bytes waits: take it, and say what is wrong with it or go on to the body. */
static void conn_take_head(struct conn *conn, size_t len)
{
    struct http_server *http = conn->http;
    const char *why = "no memory for the request";

    if ((conn->x = exchange_new(conn)) == NULL) {
        conn_close(conn);
        return;
    }
    buf_add_span(&conn->x->head, span_cut(waiting(conn), 0, len));
    conn->used += len;
    conn->seen = 0;
    struct http_head *head = &conn->x->request.head;
    int status = conn->x->head.failed ? 503 : http_head_parse(buf_span(&conn->x->head), head, &why);

    if (status == 0 && head->content_length > http->options.body_max) {
        status = 413;
        why = "the body is longer than http-max-body allows";
    }
    if (status != 0) {
        STAT_ADD(http, bad_requests, 1);
        conn_fail(conn, status, why);
        return;
    }
    conn->body_left = head->content_length;
    conn->chunked = (struct http_chunked){0};
    if (head->expects_continue && (head->chunked || conn->body_left > waiting(conn).len)) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        ssize_t n = send(conn->fd, go_on, sizeof(go_on) - 1, MSG_NOSIGNAL);

        (void)n; /* the client goes on by itself when it hears nothing (RFC 9110, 10.1.1) */
    }
    conn_phase(conn, CONN_BODY, http->options.receive_s);
}

/* Look whether a whole head waits, and take it. */
static void conn_head(struct conn *conn)
{
    struct http_server *http = conn->http;
    size_t blank = http_blank(waiting(conn));

    if (blank != 0) {
        conn->used += blank;
        conn->seen = 0;
    }
    if (!has_waiting(conn))
        return;
    size_t len = http_head_length(waiting(conn), &conn->seen);

    if (len > http->options.head_max || (len == 0 && waiting(conn).len > http->options.head_max)) {
        STAT_ADD(http, bad_requests, 1);
        conn_fail(conn, 431, "request line and headers are longer than http-max-header allows");
    } else if (len != 0) {
        conn_take_head(conn, len);
    } else if (conn->state == CONN_IDLE) {
        conn_phase(conn, CONN_HEAD, http->options.receive_s);
    }
}

/* Go on with what waits until more must come or an answer is under way. */
static void conn_pump(struct conn *conn)
{
    do {
        if (conn->state == CONN_IDLE || conn->state == CONN_HEAD)
            conn_head(conn);
        if (conn->state == CONN_BODY)
            conn_body(conn);
    } while (conn->state == CONN_IDLE && has_waiting(conn));
    if (conn->state == CONN_DEAD)
        return;
    /* Once for all requests that came together: else a client could make us move its bytes again for each of them. */
    if (has_waiting(conn) && conn->used != 0)
        memmove(conn->in.ptr, conn->in.ptr + conn->used, waiting(conn).len);
    conn->in.len -= conn->used;
    conn->used = 0;
    if (conn->state == CONN_IDLE)
        buf_release(&conn->in); /* ten thousand idle connections hold no buffers */
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
    } else if (conn->held > SMALL_BYTES && buffers_full(http)) {
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
    http_reap(http);
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
    http_reap(http);
}

/* ---- the ends ---- */

void conn_answered(struct exchange *x)
{
    struct conn *conn = x->conn;

    if (conn == NULL) {
        exchange_free(x);
        return;
    }
    MUST_BE(conn, CONN_MAGIC);
    conn_reply(conn);
    if (conn->state == CONN_IDLE)
        conn_pump(conn);
}

void conn_overdue(struct conn *conn)
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

/* Too many connections: say so, without waiting for the request. */
static void refuse(struct http_server *http, int fd)
{
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n"
                               "Content-Length: 21\r\nConnection: close\r\n\r\ntoo many connections\n";
    ssize_t n = send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL);

    (void)n;
    STAT_ADD(http, connections_refused, 1);
    close(fd);
}

/* Small answers go out at once, and a client that takes nothing for long (or is gone without a word) is given up. */
static void set_tcp_options(const struct http_server *http, int fd)
{
    int on = 1;
    unsigned gone_ms = (unsigned)http->options.send_s * 1000;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &gone_ms, sizeof(gone_ms));
}

void conn_open(struct http_server *http, int fd, enum http_door door, const struct sockaddr_storage *address)
{
    uint64_t open = __atomic_load_n(&http->stats.connections_open, __ATOMIC_RELAXED);
    struct conn *conn = calloc(1, sizeof(*conn));

    STAT_ADD(http, connections_total, 1);
    if (conn != NULL && door == HTTP_DOOR_PUBLIC && open < http->options.connections_max)
        conn->peer = peers_enter(&http->peers, address, http->options.connections_per_address_max);
    if (conn == NULL || (door == HTTP_DOOR_PUBLIC && conn->peer == NULL)) {
        free(conn);
        refuse(http, fd);
        return;
    }
    conn->magic = CONN_MAGIC;
    conn->http = http;
    conn->fd = fd;
    conn->door = door;
    conn->address = *address;
    if (door == HTTP_DOOR_PUBLIC)
        set_tcp_options(http, fd);
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
