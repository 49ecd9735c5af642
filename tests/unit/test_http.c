/* The transport alone, over real sockets: the app is a fake that can be held up. */
#include "server/http.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct http_server *http;
static struct pool *query_pool, *service_pool;
static struct err err;

/* How many requests for /slow are being answered, may end, and saw that their client had left. Atomic. */
static int slow_begun, slow_open, slow_cancelled;

static int get(int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void wait_for(int *counter, int value)
{
    while (get(counter) < value)
        sched_yield();
}

static enum http_where where(void *ctx, struct http_request *request)
{
    (void)ctx;
    return span_eq(request->head.path, SPAN_LIT("/here")) ? HTTP_HERE : HTTP_QUERY_POOL;
}

static void answer(void *ctx, struct http_request *request, struct http_reply *reply)
{
    (void)ctx;
    if (span_eq(request->head.path, SPAN_LIT("/slow"))) {
        __atomic_add_fetch(&slow_begun, 1, __ATOMIC_SEQ_CST);
        while (get(&slow_open) == 0 && __atomic_load_n(&request->control.cancelled, __ATOMIC_RELAXED) == 0)
            sched_yield();
        if (get(&slow_open) == 0)
            __atomic_add_fetch(&slow_cancelled, 1, __ATOMIC_SEQ_CST);
    }
    reply->status = 200;
    reply->content_type = "text/plain";
    buf_addf(&reply->body, "%.*s?%.*s#%zu", SPAN_ARG(request->head.path), SPAN_ARG(request->head.query),
             request->body.len);
}

/* A server with one query thread and room for one request that waits. */
static void start(unsigned per_address)
{
    struct pool_options pool = {.name = "test", .threads = 1, .queue_max = 1};
    struct http_options o = {.head_max = 4096,
                             .body_max = 100000,
                             .buffers_max = 1 << 24,
                             .connections_max = 100,
                             .connections_per_address_max = per_address,
                             .idle_s = 60,
                             .receive_s = 60,
                             .send_s = 60,
                             .app = {.where = where, .answer = answer}};

    signal(SIGPIPE, SIG_IGN);
    slow_begun = slow_open = slow_cancelled = 0;
    cr_assert_eq(listen_parse(SPAN_LIT("127.0.0.1:0"), &o.address, &err), 0);
    cr_assert_eq(pool_new(&pool, &query_pool, &err), 0, "%s", err.text);
    cr_assert_eq(pool_new(&pool, &service_pool, &err), 0, "%s", err.text);
    o.query_pool = query_pool;
    o.service_pool = service_pool;
    cr_assert_eq(http_start(&o, &http, &err), 0, "%s", err.text);
}

static void stop(void)
{
    http_stop(http, 60000);
    pool_free(query_pool);
    pool_free(service_pool);
    http = NULL;
    query_pool = service_pool = NULL;
}

static int dial(void)
{
    struct listen_addr to;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cr_assert_eq(listen_parse(span_str(http_address(http)), &to, &err), 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to.sa, to.len), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Read until TEXT has come COUNT times, or the server closes. Returns what has come, to be freed. */
static char *hear(int fd, const char *text, int count)
{
    struct buf got = {0};
    int found = 0;

    while (found < count && buf_reserve(&got, 4096)) {
        ssize_t n = recv(fd, got.ptr + got.len, 4000, 0);

        if (n <= 0)
            break;
        got.len += (size_t)n;
        found = 0;
        for (const char *at = got.ptr; (at = memmem(at, got.len - (size_t)(at - got.ptr), text, strlen(text))) != NULL;
             at++)
            found++;
    }
    buf_add_char(&got, '\0');
    cr_assert_eq(found, count, "\"%s\" came %d times in: %s", text, found, got.ptr);
    return got.ptr;
}

static void hear_end(int fd)
{
    char byte;

    cr_assert_eq(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

#define ENDS "Host: x\r\n\r\n"

Test(http, answers_one_request_after_the_other_on_one_connection)
{
    start(10);
    int fd = dial();

    for (int i = 0; i < 3; i++) {
        say(fd,
            i == 1 ? "POST /there?q HTTP/1.1\r\nContent-Length: 5\r\n" ENDS "12345" : "GET /here HTTP/1.1\r\n" ENDS);
        free(hear(fd, i == 1 ? "/there?q#5" : "/here?#0", 1));
    }
    stop();
    hear_end(fd);
}

Test(http, answers_pipelined_requests_in_order)
{
    enum { REQUESTS = 300 };
    start(10);
    int fd = dial();
    struct buf requests = {0};

    for (int i = 0; i < REQUESTS; i++)
        buf_addf(&requests, "GET /%s?%d HTTP/1.1\r\n" ENDS, i % 3 == 0 ? "there" : "here", i);
    buf_add_char(&requests, '\0');
    say(fd, requests.ptr);
    char *got = hear(fd, "#0", REQUESTS);
    const char *at = got;

    for (int i = 0; i < REQUESTS && at != NULL; i++) {
        char want[32];

        snprintf(want, sizeof(want), "?%d#", i);
        at = strstr(at, want);
        cr_assert_not_null(at, "answer %d is out of order", i);
    }
    free(got);
    buf_release(&requests);
    stop();
    close(fd);
}

Test(http, takes_requests_that_come_byte_by_byte)
{
    static const char request[] = "\r\nPOST /there HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "3\r\nabc\r\n10;x\r\n0123456789abcdef\r\n0\r\n\r\n";

    start(10);
    int fd = dial();

    for (size_t i = 0; i < sizeof(request) - 1; i++)
        cr_assert_eq(send(fd, request + i, 1, 0), 1);
    free(hear(fd, "/there?#19", 1));
    stop();
    close(fd);
}

Test(http, lets_a_client_ask_whether_to_send_its_body)
{
    start(10);
    int fd = dial();

    say(fd, "POST /there HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n" ENDS);
    free(hear(fd, "HTTP/1.1 100 Continue\r\n\r\n", 1));
    say(fd, "abc");
    free(hear(fd, "/there?#3", 1));
    stop();
    close(fd);
}

Test(http, refuses_what_is_too_long_and_says_so_before_it_closes)
{
    char many[8192];

    start(10);
    memset(many, 'a', sizeof(many));
    many[sizeof(many) - 1] = '\0';
    int fd = dial();

    say(fd, "GET /here?");
    say(fd, many);
    free(hear(fd, "HTTP/1.1 431 ", 1));
    close(fd);

    fd = dial();
    say(fd, "POST /here HTTP/1.1\r\nContent-Length: 100001\r\n" ENDS);
    say(fd, many);
    free(hear(fd, "HTTP/1.1 413 ", 1));
    close(fd);

    fd = dial();
    say(fd, "POST /here HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" ENDS);
    for (int i = 0; i < 14; i++) {
        say(fd, "1fff\r\n");
        say(fd, many);
        say(fd, "\r\n");
    }
    free(hear(fd, "HTTP/1.1 413 ", 1));
    close(fd);
    stop();
}

Test(http, cancels_what_nobody_waits_for)
{
    struct http_stats stats;

    start(10);
    int fd = dial();

    say(fd, "GET /slow HTTP/1.1\r\n" ENDS);
    wait_for(&slow_begun, 1);
    say(fd, "GET /here HTTP/1.1\r\n" ENDS); /* pipelined: must not hide the end */
    close(fd);
    wait_for(&slow_cancelled, 1);
    http_stats(http, &stats);
    cr_assert_eq(stats.cancelled, 1);
    stop();
}

Test(http, answers_a_client_that_has_closed_its_own_side)
{
    start(10);
    int fd = dial();

    say(fd, "GET /slow HTTP/1.0\r\n\r\n");
    wait_for(&slow_begun, 1);
    shutdown(fd, SHUT_WR);
    __atomic_store_n(&slow_open, 1, __ATOMIC_SEQ_CST);
    free(hear(fd, "/slow?#0", 1));
    stop();
    hear_end(fd);
}

Test(http, answers_503_when_too_many_wait)
{
    struct pool_stats stats;
    int fds[3];

    start(10);
    for (int i = 0; i < 3; i++) {
        fds[i] = dial();
        say(fds[i], "GET /slow HTTP/1.1\r\n" ENDS);
        if (i == 0)
            wait_for(&slow_begun, 1);
        do
            pool_stats(query_pool, &stats);
        while (i == 1 && stats.queued == 0);
    }
    char *got = hear(fds[2], "try again\n", 1);

    cr_assert_not_null(strstr(got, "HTTP/1.1 503 "));
    cr_assert_not_null(strstr(got, "Retry-After: "));
    free(got);
    say(fds[2], "GET /here HTTP/1.1\r\n" ENDS); /* the connection stays */
    free(hear(fds[2], "/here?#0", 1));
    __atomic_store_n(&slow_open, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++)
        free(hear(fds[i], "/slow?#0", 1));
    stop();
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

Test(http, limits_the_connections_of_an_address)
{
    int fds[3];

    start(2);
    for (int i = 0; i < 3; i++)
        fds[i] = dial();
    free(hear(fds[2], "too many connections\n", 1));
    for (int i = 0; i < 2; i++) {
        say(fds[i], "GET /here HTTP/1.1\r\nConnection: close\r\n" ENDS);
        free(hear(fds[i], "/here?#0", 1));
        hear_end(fds[i]);
    }
    close(fds[2]);
    fds[2] = dial(); /* there is room again */
    say(fds[2], "GET /here HTTP/1.1\r\n" ENDS);
    free(hear(fds[2], "/here?#0", 1));
    stop();
    close(fds[2]);
}

static void *stop_thread(void *arg)
{
    (void)arg;
    http_stop(http, 60000);
    return NULL;
}

Test(http, stops_after_the_requests_under_way_and_not_before)
{
    pthread_t thread;

    start(10);
    int idle = dial();
    int busy = dial();

    say(busy, "GET /slow HTTP/1.1\r\n" ENDS);
    wait_for(&slow_begun, 1);
    pthread_create(&thread, NULL, stop_thread, NULL);
    hear_end(idle); /* so the stop has begun */
    __atomic_store_n(&slow_open, 1, __ATOMIC_SEQ_CST);
    char *got = hear(busy, "/slow?#0", 1);

    cr_assert_not_null(strstr(got, "Connection: close\r\n"));
    free(got);
    pthread_join(thread, NULL);
    hear_end(busy);
    pool_free(query_pool);
    pool_free(service_pool);
}

Test(http, cancels_what_does_not_end_within_the_grace_of_a_stop)
{
    start(10);
    int fd = dial();

    say(fd, "GET /slow HTTP/1.1\r\n" ENDS);
    wait_for(&slow_begun, 1);
    http_stop(http, 0);
    cr_assert_eq(get(&slow_cancelled), 1);
    hear_end(fd);
    pool_free(query_pool);
    pool_free(service_pool);
}

Test(http, holds_no_memory_for_idle_connections)
{
    struct http_stats stats;

    start(200);
    int fds[50];

    for (int i = 0; i < 50; i++) {
        fds[i] = dial();
        say(fds[i], "GET /there HTTP/1.1\r\n" ENDS);
        free(hear(fds[i], "/there?#0", 1));
    }
    do /* the last answer is heard before the server has put its buffers away */
        http_stats(http, &stats);
    while (stats.bytes_held != 0);
    cr_assert_eq(stats.connections_open, 50);
    stop();
    for (int i = 0; i < 50; i++)
        close(fds[i]);
}
