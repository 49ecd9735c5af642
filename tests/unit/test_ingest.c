#include "server/ingest.h"

#include "base/clock.h"
#include "base/log.h"
#include "tests/help/tmpdir.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* A store and its listeners on free ports, at a time that stands still. */
enum { NOW = 1700000005, SLOT = 1700000000 };

static struct tmpdir dir;
static struct storage *st;
static struct ingest *in;

static void start(struct ingest_options options)
{
    struct storage_options store_options;
    struct err err = {0};

    tmpdir_init(&dir);
    clock_fake_ns(NOW * INT64_C(1000000000));
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "test");
    store_options = storage_options_default(dir.path);
    store_options.manual = true;
    cr_assert_eq(storage_open(&store_options, &st, &err), 0, "%s", err.text);
    cr_assert_eq(listen_parse(SPAN_LIT("127.0.0.1:0"), &options.tcp, &err), 0);
    cr_assert_eq(listen_parse(SPAN_LIT("127.0.0.1:0"), &options.udp, &err), 0);
    cr_assert_eq(ingest_start(st, &options, &in, &err), 0, "%s", err.text);
}

static void finish(void)
{
    ingest_stop(in);
    storage_close(st);
    tmpdir_release(&dir);
}

/* A socket that is connected to the listener of PROTOCOL. */
static int connected(enum ingest_protocol protocol)
{
    struct listen_addr addr;
    const char *text = protocol == INGEST_TCP ? ingest_tcp_address(in) : ingest_udp_address(in);
    int fd;

    cr_assert_eq(listen_parse(span_str(text), &addr, NULL), 0);
    fd = socket(AF_INET, protocol == INGEST_TCP ? SOCK_STREAM : SOCK_DGRAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&addr.sa, addr.len), 0);
    return fd;
}

static void send_text(int fd, const char *text)
{
    size_t len = strlen(text);

    cr_assert_eq(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

static struct ingest_protocol_stats stats(enum ingest_protocol protocol)
{
    struct ingest_stats all;

    ingest_stats(in, &all);
    return all.protocol[protocol];
}

/* Wait until the listener has taken LINES lines; the test's time limit ends a wait for ever. */
static struct ingest_protocol_stats stats_after(enum ingest_protocol protocol, uint64_t lines)
{
    while (stats(protocol).lines < lines)
        sched_yield();
    return stats(protocol);
}

static uint64_t rejected(const struct ingest_protocol_stats *s, const char *reason)
{
    for (unsigned i = 0; i < INGEST_REASONS; i++) {
        if (strcmp(ingest_reason_name(i), reason) == 0)
            return s->rejected[i];
    }
    cr_assert(false, "there is no reason %s", reason);
    return 0;
}

static uint64_t rejected_in_all(const struct ingest_protocol_stats *s)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < INGEST_REASONS; i++)
        sum += s->rejected[i];
    return sum;
}

/* The value of NAME in the slot of SLOT; NaN when there is none. */
static double value_of(const char *name)
{
    struct arena arena;
    struct storage_points points;
    struct err err = {0};
    uint32_t series;
    double v = NAN;

    arena_init(&arena, 0, NULL);
    storage_thread_begin();
    storage_enter();
    if (storage_lookup(st, span_str(name), &series)) {
        cr_assert_eq(storage_fetch(st, series, SLOT - 10, SLOT, NOW, &arena, &points, &err), 0, "%s", err.text);
        cr_assert_geq(points.count, 1);
        cr_assert_eq(points.start_s, SLOT);
        v = points.values[0];
    }
    storage_leave();
    storage_thread_end();
    arena_release(&arena);
    return v;
}

#define LINE(name, value) name " " value " 1700000000\n"

TestSuite(ingest, .timeout = 60);

Test(ingest, stores_what_comes_by_tcp)
{
    struct ingest_protocol_stats s;
    int fd;

    start((struct ingest_options){.workers = 2});
    fd = connected(INGEST_TCP);
    send_text(fd, LINE("a.b", "1.5") "\r\n" LINE("c", "-2"));
    s = stats_after(INGEST_TCP, 2);
    cr_assert_eq(s.points, 2);
    cr_assert_eq(s.bytes, strlen(LINE("a.b", "1.5") "\r\n" LINE("c", "-2")));
    cr_assert_eq(s.connections_open, 1);
    cr_assert_eq(s.connections_total, 1);
    cr_assert_eq(value_of("a.b"), 1.5);
    cr_assert_eq(value_of("c"), -2);
    close(fd);
    finish();
}

Test(ingest, takes_lines_split_at_any_byte)
{
    static const char text[] = LINE("first.name", "1") LINE("second.name", "22") LINE("third.name", "333");
    int one = 1;
    int fd;

    start((struct ingest_options){.workers = 1});
    fd = connected(INGEST_TCP);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        cr_assert_eq(send(fd, text + i, 1, MSG_NOSIGNAL), 1);
        while (stats(INGEST_TCP).bytes < i + 1)
            sched_yield();
    }
    cr_assert_eq(stats_after(INGEST_TCP, 3).points, 3);
    cr_assert_eq(value_of("first.name"), 1);
    cr_assert_eq(value_of("second.name"), 22);
    cr_assert_eq(value_of("third.name"), 333);
    close(fd);
    finish();
}

Test(ingest, counts_a_last_line_without_its_end)
{
    int fd;

    start((struct ingest_options){.workers = 1});
    fd = connected(INGEST_TCP);
    send_text(fd, "a 1 1700000000\nb 2 1700000000");
    close(fd);
    cr_assert_eq(stats_after(INGEST_TCP, 2).points, 2);
    cr_assert_eq(value_of("b"), 2);
    finish();
}

Test(ingest, drops_an_unfinished_line_when_the_connection_is_reset)
{
    struct linger at_once = {.l_onoff = 1};
    int fd;

    start((struct ingest_options){.workers = 1});
    fd = connected(INGEST_TCP);
    send_text(fd, "a 1 1700000000\nb 2 17000000");
    stats_after(INGEST_TCP, 1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
    while (stats(INGEST_TCP).connections_open > 0)
        sched_yield();
    cr_assert_eq(stats(INGEST_TCP).lines, 1);
    finish();
}

Test(ingest, skips_an_overlong_line_alone)
{
    struct ingest_protocol_stats s;
    char *line = malloc(1000001);
    int fd;

    memset(line, 'x', 1000000);
    line[1000000] = '\0';
    start((struct ingest_options){.workers = 1, .line_max = 100});
    fd = connected(INGEST_TCP);
    send_text(fd, LINE("a", "1"));
    send_text(fd, line);
    send_text(fd, line);
    send_text(fd, "\n" LINE("b", "2"));
    s = stats_after(INGEST_TCP, 3);
    cr_assert_eq(s.points, 2);
    cr_assert_eq(rejected(&s, "too_long"), 1);
    cr_assert_eq(value_of("b"), 2);
    close(fd);
    free(line);
    finish();
}

Test(ingest, counts_every_refusal_under_its_reason)
{
    struct ingest_protocol_stats s;
    int fd;

    start((struct ingest_options){.workers = 1});
    fd = connected(INGEST_TCP);
    send_text(fd, "only.name\na x 1700000000\na 1 x\n\xff 1 1700000000\na\001b 1 1700000000\na nan 1700000000\n"
                  "... 1 1700000000\na 1 100\na 1 1800000000\n" LINE("good", "1"));
    s = stats_after(INGEST_TCP, 10);
    cr_assert_eq(rejected(&s, "fields"), 1);
    cr_assert_eq(rejected(&s, "value"), 1);
    cr_assert_eq(rejected(&s, "timestamp"), 1);
    cr_assert_eq(rejected(&s, "utf8"), 1);
    cr_assert_eq(rejected(&s, "control"), 1);
    cr_assert_eq(rejected(&s, "nan"), 1);
    cr_assert_eq(rejected(&s, "bad_name"), 1);
    cr_assert_eq(rejected(&s, "too_old"), 1);
    cr_assert_eq(rejected(&s, "future"), 1);
    cr_assert_eq(s.points, 1);
    cr_assert_eq(s.points + rejected_in_all(&s), s.lines);
    cr_assert_eq(s.connections_open, 1, "a bad line does not close the connection");
    close(fd);
    finish();
}

Test(ingest, takes_minus_one_for_now)
{
    int fd;

    start((struct ingest_options){.workers = 1});
    fd = connected(INGEST_TCP);
    send_text(fd, "a 1 -1\nb 2 N\n");
    cr_assert_eq(stats_after(INGEST_TCP, 2).points, 2);
    cr_assert_eq(value_of("a"), 1);
    cr_assert_eq(value_of("b"), 2);
    close(fd);
    finish();
}

Test(ingest, never_writes_to_a_connection)
{
    char byte;
    int fd;

    start((struct ingest_options){.workers = 1});
    fd = connected(INGEST_TCP);
    send_text(fd, "bad\n" LINE("a", "1"));
    shutdown(fd, SHUT_WR);
    cr_assert_eq(recv(fd, &byte, 1, 0), 0, "nothing but the end");
    cr_assert_eq(stats(INGEST_TCP).lines, 2);
    close(fd);
    finish();
}

Test(ingest, stores_what_has_arrived_before_it_stops)
{
    int fds[8];
    char line[64];

    start((struct ingest_options){.workers = 2});
    for (int i = 0; i < 8; i++) {
        fds[i] = connected(INGEST_TCP);
        for (int n = 0; n < 100; n++) {
            snprintf(line, sizeof(line), "conn%d.line%d %d 1700000000\n", i, n, n);
            send_text(fds[i], line);
        }
    }
    ingest_stop(in);
    in = NULL;
    for (int i = 0; i < 8; i++) {
        for (int n = 0; n < 100; n++) {
            snprintf(line, sizeof(line), "conn%d.line%d", i, n);
            cr_assert_eq(value_of(line), n);
        }
        close(fds[i]);
    }
    finish();
}

Test(ingest, lets_connections_beyond_the_limit_wait)
{
    int fds[3];

    start((struct ingest_options){.workers = 2, .connections_max = 2});
    for (int i = 0; i < 3; i++)
        fds[i] = connected(INGEST_TCP);
    send_text(fds[2], LINE("late", "3"));
    while (stats(INGEST_TCP).connections_refused == 0)
        sched_yield();
    cr_assert_eq(stats(INGEST_TCP).connections_open, 2);
    cr_assert_eq(stats(INGEST_TCP).connections_total, 2);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    cr_assert_eq(stats_after(INGEST_TCP, 1).points, 1);
    cr_assert_eq(value_of("late"), 3);
    finish();
}

Test(ingest, survives_a_lack_of_descriptors)
{
    struct rlimit limit;
    struct rlimit tight;
    int fds[3];

    start((struct ingest_options){.workers = 1});
    for (int i = 0; i < 3; i++)
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
    getrlimit(RLIMIT_NOFILE, &limit);
    tight = limit;
    tight.rlim_cur = (rlim_t)fds[2] + 1; /* the sockets of this test are the last that there may be */
    setrlimit(RLIMIT_NOFILE, &tight);
    for (int i = 0; i < 3; i++) {
        struct listen_addr addr;

        cr_assert_eq(listen_parse(span_str(ingest_tcp_address(in)), &addr, NULL), 0);
        cr_assert_eq(connect(fds[i], (struct sockaddr *)&addr.sa, addr.len), 0);
    }
    while (stats(INGEST_TCP).connections_refused == 0)
        sched_yield();
    setrlimit(RLIMIT_NOFILE, &limit);
    send_text(fds[2], LINE("a", "1"));
    cr_assert_eq(stats_after(INGEST_TCP, 1).points, 1);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    finish();
}

Test(ingest, closes_a_connection_that_is_idle_for_too_long)
{
    char byte;
    int fd;

    start((struct ingest_options){.workers = 1, .idle_s = 1});
    fd = connected(INGEST_TCP);
    cr_assert_eq(recv(fd, &byte, 1, 0), 0);
    cr_assert_eq(stats(INGEST_TCP).connections_idle_closed, 1);
    close(fd);
    finish();
}

Test(ingest, gives_a_handful_of_connections_to_all_workers)
{
    int fds[10];

    start((struct ingest_options){.workers = 4});
    for (int i = 0; i < 10; i++) {
        char line[64];

        fds[i] = connected(INGEST_TCP);
        snprintf(line, sizeof(line), "conn%d %d 1700000000\n", i, i);
        send_text(fds[i], line);
    }
    cr_assert_eq(stats_after(INGEST_TCP, 10).points, 10);
    cr_assert_eq(stats(INGEST_TCP).connections_open, 10);
    for (int i = 0; i < 10; i++)
        close(fds[i]);
    while (stats(INGEST_TCP).connections_open > 0)
        sched_yield();
    finish();
}

Test(ingest, stores_what_comes_by_udp)
{
    struct ingest_protocol_stats s;
    int fd;

    start((struct ingest_options){.workers = 1});
    fd = connected(INGEST_UDP);
    send_text(fd, LINE("a", "1") "b 2 1700000000");
    send_text(fd, "c 3 1700000000");
    send_text(fd, "");
    send_text(fd, "d 4 1700000000\nbad");
    s = stats_after(INGEST_UDP, 5);
    cr_assert_eq(s.points, 4);
    cr_assert_eq(rejected(&s, "fields"), 1);
    cr_assert_eq(s.datagrams, 4);
    cr_assert_eq(value_of("b"), 2);
    cr_assert_eq(value_of("c"), 3);
    cr_assert_eq(value_of("d"), 4);
    close(fd);
    finish();
}

Test(ingest, stores_the_datagrams_that_have_arrived_before_it_stops)
{
    char line[64];
    int fd;

    start((struct ingest_options){.workers = 1});
    fd = connected(INGEST_UDP);
    for (int n = 0; n < 200; n++) {
        snprintf(line, sizeof(line), "udp.line%d %d 1700000000", n, n);
        send_text(fd, line);
    }
    ingest_stop(in);
    in = NULL;
    for (int n = 0; n < 200; n++) {
        snprintf(line, sizeof(line), "udp.line%d", n);
        cr_assert_eq(value_of(line), n);
    }
    close(fd);
    finish();
}

Test(ingest, says_which_address_it_cannot_have)
{
    struct ingest_options options = {.workers = 2};
    struct ingest *second;
    struct err err = {0};

    start(options);
    cr_assert_eq(listen_parse(span_str(ingest_tcp_address(in)), &options.tcp, &err), 0);
    options.udp.off = true;
    cr_assert_eq(ingest_start(st, &options, &second, &err), ERR_IO);
    cr_assert_null(second);
    cr_assert(strstr(err.text, ingest_tcp_address(in)) != NULL, "%s", err.text);
    options.tcp.off = true;
    options.udp.off = false;
    cr_assert_eq(listen_parse(span_str(ingest_udp_address(in)), &options.udp, &err), 0);
    cr_assert_eq(ingest_start(st, &options, &second, &err), ERR_IO);
    options.udp.off = true;
    cr_assert_eq(ingest_start(st, &options, &second, &err), 0, "both may be off");
    cr_assert_null(ingest_tcp_address(second));
    cr_assert_null(ingest_udp_address(second));
    ingest_stop(second);
    finish();
}
