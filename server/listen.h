/* listen.h - addresses as people write them, and listening sockets made of them.
 *
 * No name is ever resolved (a server must not wait for DNS to start) but "localhost". */
#ifndef PLUMBAGO_SERVER_LISTEN_H
#define PLUMBAGO_SERVER_LISTEN_H

#include "base/err.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    LISTEN_TEXT_MAX = 64,  /* bytes of an address as text, the zero byte included */
    LISTEN_BACKLOG = 4096, /* connections that may wait for accept(); the kernel cuts it to somaxconn */
};

struct listen_addr {
    bool off; /* no listener is wanted; nothing else counts then */
    struct sockaddr_storage sa;
    socklen_t len;
};

/* Read "off", "IPV4:PORT", "[IPV6]:PORT", "localhost:PORT", "*:PORT" (every IPv4 address) or ":PORT" (the
 * same). Port 0 lets the kernel choose. ERR_INPUT with a text that says what is wrong. */
int listen_parse(struct span text, struct listen_addr *out, struct err *err);

/* ADDR as text, "127.0.0.1:2003", "[::1]:2003" or "off". Returns TEXT. */
const char *listen_text(const struct listen_addr *addr, char text[LISTEN_TEXT_MAX]);

/* The port of ADDR, in host order. */
uint16_t listen_port(const struct listen_addr *addr);

/* Open COUNT listening TCP sockets (non-blocking, close-on-exec) on one address. With COUNT above 1 they
 * share it by SO_REUSEPORT, and the kernel spreads the connections. Port 0 is chosen once for all of them,
 * and *addr is updated to it. An address that any other process listens on is refused, even when both
 * sides have SO_REUSEPORT: two servers would split the points in silence.
 * Fills FDS, the caller's to close; on failure none is left open. ERR_IO names the address. */
int listen_tcp(struct listen_addr *addr, int *fds, unsigned count, struct err *err);

/* Open one UDP socket (non-blocking, close-on-exec) with a receive buffer as large as the kernel allows, at
 * most RCVBUF bytes, and SO_RXQ_OVFL. *addr is updated when its port was 0. *fd is the caller's to close. */
int listen_udp(struct listen_addr *addr, size_t rcvbuf, int *fd, struct err *err);

#endif
