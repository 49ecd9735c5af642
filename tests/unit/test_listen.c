#include "server/listen.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

static struct listen_addr parsed(const char *text)
{
    struct listen_addr addr;
    struct err err = {0};

    cr_assert_eq(listen_parse(span_str(text), &addr, &err), 0, "%s: %s", text, err.text);
    return addr;
}

static void expect_text(const char *in, const char *out)
{
    char text[LISTEN_TEXT_MAX];
    struct listen_addr addr = parsed(in);

    cr_assert_str_eq(listen_text(&addr, text), out);
}

Test(listen, reads_addresses)
{
    expect_text("127.0.0.1:2003", "127.0.0.1:2003");
    expect_text("localhost:0", "127.0.0.1:0");
    expect_text("*:65535", "0.0.0.0:65535");
    expect_text(":2003", "0.0.0.0:2003");
    expect_text("[::1]:2003", "[::1]:2003");
    expect_text("[::]:1", "[::]:1");
    expect_text("off", "off");
    cr_assert(parsed("off").off);
    cr_assert(!parsed(":1").off);
    cr_assert_eq(listen_port(&(struct listen_addr){.sa = parsed("[::1]:2003").sa}), 2003);
}

Test(listen, refuses_what_is_no_address_and_says_why)
{
    static const char *const bad[] = {"",           "2003",         "127.0.0.1",      "127.0.0.1:",  "127.0.0.1:65536",
                                      "1.2.3:80",   "::1:2003",     "[::1]",          "[::1:2003",   "example.org:2003",
                                      "OFF",        "127.0.0.1:-1", "127.0.0.1:http", "[nope]:2003", "127.0.0.1:2003 ",
                                      "1.2.3.4.5:6"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct listen_addr addr;
        struct err err = {0};

        cr_assert_eq(listen_parse(span_str(bad[i]), &addr, &err), ERR_INPUT, "\"%s\" is taken", bad[i]);
        cr_assert(strstr(err.text, bad[i]) != NULL, "%s", err.text);
    }
}

Test(listen, takes_no_overlong_address)
{
    char text[300];
    struct listen_addr addr;
    struct err err = {0};

    memset(text, '1', sizeof(text));
    memcpy(text + sizeof(text) - 5, ":2003", 5);
    cr_assert_eq(listen_parse(span_of(text, sizeof(text)), &addr, &err), ERR_INPUT);
}

Test(listen, gives_all_tcp_sockets_one_chosen_port)
{
    struct listen_addr addr = parsed("127.0.0.1:0");
    struct err err = {0};
    int fds[3];

    cr_assert_eq(listen_tcp(&addr, fds, 3, &err), 0, "%s", err.text);
    cr_assert_neq(listen_port(&addr), 0);
    for (int i = 0; i < 3; i++) {
        struct sockaddr_in sa;
        socklen_t len = sizeof(sa);

        cr_assert_eq(getsockname(fds[i], (struct sockaddr *)&sa, &len), 0);
        cr_assert_eq(ntohs(sa.sin_port), listen_port(&addr));
        close(fds[i]);
    }
}

Test(listen, shares_its_port_with_no_other_server)
{
    struct listen_addr addr = parsed("127.0.0.1:0");
    struct listen_addr again;
    struct err err = {0};
    char text[LISTEN_TEXT_MAX];
    int fds[2];
    int others[2];

    cr_assert_eq(listen_tcp(&addr, fds, 2, &err), 0, "%s", err.text);
    again = addr;
    cr_assert_eq(listen_tcp(&again, others, 2, &err), ERR_IO);
    cr_assert_eq(err.os_errno, EADDRINUSE);
    cr_assert(strstr(err.text, listen_text(&addr, text)) != NULL, "%s", err.text);
    cr_assert_eq(listen_tcp(&again, others, 1, &err), ERR_IO);
    close(fds[0]);
    close(fds[1]);
    cr_assert_eq(listen_tcp(&again, others, 2, &err), 0, "the port is free again: %s", err.text);
    close(others[0]);
    close(others[1]);
}

Test(listen, opens_udp_alone)
{
    struct listen_addr addr = parsed("127.0.0.1:0");
    struct listen_addr again;
    struct err err = {0};
    int fd;
    int other;

    cr_assert_eq(listen_udp(&addr, 1 << 20, &fd, &err), 0, "%s", err.text);
    cr_assert_neq(listen_port(&addr), 0);
    again = addr;
    cr_assert_eq(listen_udp(&again, 1 << 20, &other, &err), ERR_IO);
    cr_assert_eq(err.os_errno, EADDRINUSE);
    close(fd);
}
