#include "server/listen.h"

#include "base/must.h"
#include "base/number.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

/* Read HOST, without brackets, into ADDR. */
static bool parse_host(struct span host, bool v6, struct listen_addr *addr)
{
    char text[INET6_ADDRSTRLEN];
    struct sockaddr_in *in4 = (struct sockaddr_in *)&addr->sa;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&addr->sa;

    if (host.len >= sizeof(text))
        return false;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (v6) {
        in6->sin6_family = AF_INET6;
        addr->len = sizeof(*in6);
        return inet_pton(AF_INET6, text, &in6->sin6_addr) == 1;
    }
    in4->sin_family = AF_INET;
    addr->len = sizeof(*in4);
    if (text[0] == '\0' || strcmp(text, "*") == 0)
        in4->sin_addr.s_addr = htonl(INADDR_ANY);
    else if (strcmp(text, "localhost") == 0)
        in4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        return inet_pton(AF_INET, text, &in4->sin_addr) == 1;
    return true;
}

static void set_port(struct listen_addr *addr, uint16_t port)
{
    if (addr->sa.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&addr->sa)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&addr->sa)->sin_port = htons(port);
}

uint16_t listen_port(const struct listen_addr *addr)
{
    if (addr->sa.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&addr->sa)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&addr->sa)->sin_port);
}

int listen_parse(struct span text, struct listen_addr *out, struct err *err)
{
    struct listen_addr addr = {.off = span_eq(text, SPAN_LIT("off"))};
    size_t colon = text.len;
    struct span host;
    int64_t port;
    bool v6;

    if (addr.off) {
        *out = addr;
        return 0;
    }
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return err_set(err, ERR_INPUT, "address \"%.*s\" is not ADDRESS:PORT or off", SPAN_ARG(text));
    host = span_cut(text, 0, colon - 1);
    v6 = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (v6)
        host = span_cut(host, 1, host.len - 1);
    if (!parse_host(host, v6, &addr))
        return err_set(err, ERR_INPUT,
                       "address \"%.*s\": the part before the port is no IPv4 address, no [IPv6 address] and not "
                       "localhost (names are not resolved)",
                       SPAN_ARG(text));
    if (!number_parse_i64(span_cut(text, colon, text.len), &port) || port < 0 || port > 65535)
        return err_set(err, ERR_INPUT, "address \"%.*s\": the port is no number of 0 to 65535", SPAN_ARG(text));
    set_port(&addr, (uint16_t)port);
    *out = addr;
    return 0;
}

const char *listen_text(const struct listen_addr *addr, char text[LISTEN_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (addr->off) {
        snprintf(text, LISTEN_TEXT_MAX, "off");
    } else if (addr->sa.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&addr->sa)->sin6_addr, host, sizeof(host));
        snprintf(text, LISTEN_TEXT_MAX, "[%s]:%u", host, listen_port(addr));
    } else {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)&addr->sa)->sin_addr, host, sizeof(host));
        snprintf(text, LISTEN_TEXT_MAX, "%s:%u", host, listen_port(addr));
    }
    return text;
}

/* Fill in the port that the kernel chose. */
static int learn_port(int fd, struct listen_addr *addr)
{
    socklen_t len = sizeof(addr->sa);

    return listen_port(addr) != 0 ? 0 : getsockname(fd, (struct sockaddr *)&addr->sa, &len);
}

/* Whether other sockets of this process may have the same address. */
enum sharing { ALONE, SHARED };

static bool switch_on(int fd, int level, int option)
{
    int one = 1;

    return setsockopt(fd, level, option, &one, sizeof(one)) == 0;
}

/* Bind FD to ADDR. SO_REUSEADDR lets a restarted server bind over what the old one's connections have left in
 * TIME_WAIT. An IPv6 socket takes IPv6 only: whoever wants both says both. */
static bool bind_socket(int fd, const struct listen_addr *addr, int type, enum sharing sharing)
{
    return (type != SOCK_STREAM || switch_on(fd, SOL_SOCKET, SO_REUSEADDR)) &&
           (sharing == ALONE || switch_on(fd, SOL_SOCKET, SO_REUSEPORT)) &&
           (addr->sa.ss_family != AF_INET6 || switch_on(fd, IPPROTO_IPV6, IPV6_V6ONLY)) &&
           bind(fd, (const struct sockaddr *)&addr->sa, addr->len) == 0;
}

/* A bound socket, listening when it is a stream, or -1 with errno. */
static int open_socket(const struct listen_addr *addr, int type, enum sharing sharing)
{
    int fd = socket(addr->sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int saved;

    if (fd < 0)
        return -1;
    if (bind_socket(fd, addr, type, sharing) && (type != SOCK_STREAM || listen(fd, LISTEN_BACKLOG) == 0))
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* With SO_REUSEPORT the kernel would let a second server of the same user in. A socket without it is
 * refused when anybody listens there. */
static int probe_free(const struct listen_addr *addr)
{
    int fd;

    if (listen_port(addr) == 0)
        return 0;
    fd = open_socket(addr, SOCK_STREAM, ALONE);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

int listen_tcp(struct listen_addr *addr, int *fds, unsigned count, struct err *err)
{
    char text[LISTEN_TEXT_MAX];
    struct listen_addr bound = *addr;
    unsigned n = 0;

    MUST(!addr->off && count > 0);
    if (count > 1 && probe_free(addr) < 0)
        goto failed;
    for (; n < count; n++) {
        fds[n] = open_socket(&bound, SOCK_STREAM, count > 1 ? SHARED : ALONE);
        if (fds[n] < 0)
            goto failed;
        if (learn_port(fds[n], &bound) < 0) {
            n++;
            goto failed;
        }
    }
    *addr = bound;
    return 0;

failed:
    err_errno(err, errno, "listening on TCP %s", listen_text(addr, text));
    while (n > 0)
        close(fds[--n]);
    return ERR_IO;
}

/* SO_RCVBUFFORCE goes beyond net.core.rmem_max, with CAP_NET_ADMIN only. */
static void grow_receive_buffer(int fd, size_t rcvbuf)
{
    int bytes = (int)rcvbuf;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

int listen_udp(struct listen_addr *addr, size_t rcvbuf, int *fd, struct err *err)
{
    char text[LISTEN_TEXT_MAX];

    MUST(!addr->off);
    *fd = open_socket(addr, SOCK_DGRAM, ALONE);
    if (*fd < 0)
        return err_errno(err, errno, "listening on UDP %s", listen_text(addr, text));
    grow_receive_buffer(*fd, rcvbuf);
    switch_on(*fd, SOL_SOCKET, SO_RXQ_OVFL); /* an old kernel just does not count */
    if (learn_port(*fd, addr) < 0) {
        err_errno(err, errno, "listening on UDP %s", listen_text(addr, text));
        close(*fd);
        return ERR_IO;
    }
    return 0;
}
