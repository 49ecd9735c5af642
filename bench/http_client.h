/* http_client.h - the smallest HTTP/1.1 client that a measurement needs: one keep-alive connection, GET, a body with
 * Content-Length or chunked. Header only: every file of bench/ is a program of its own. */
#ifndef PLUMBAGO_BENCH_HTTP_CLIENT_H
#define PLUMBAGO_BENCH_HTTP_CLIENT_H

#include "base/buf.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Print "WHAT: reason" and end the program. */
static inline _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno != 0 ? strerror(errno) : "failed");
    exit(1);
}

/* A TCP (SOCK_STREAM) or UDP socket connected to "HOST:PORT"; ends the program when that fails. */
static inline int dial(const char *address, int type)
{
    struct addrinfo hints = {.ai_socktype = type};
    struct addrinfo *found;
    char host[128];
    const char *colon = strrchr(address, ':');
    int one = 1;
    int fd;

    errno = 0;
    if (colon == NULL || (size_t)(colon - address) >= sizeof(host))
        die(address);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        die(address);
    fd = socket(found->ai_family, type, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0)
        die(address);
    freeaddrinfo(found);
    if (type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static inline void send_all(int fd, const char *from, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, from, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            die("send");
        if (n > 0) {
            from += n;
            len -= (size_t)n;
        }
    }
}

struct http_client {
    int fd;
    struct buf in; /* what has been received */
    size_t body;   /* where the body begins in it */
};

static inline void http_dial(struct http_client *c, const char *address)
{
    *c = (struct http_client){.fd = dial(address, SOCK_STREAM)};
}

static inline void http_close(struct http_client *c)
{
    close(c->fd);
    buf_release(&c->in);
}

/* Receive more; the buffer always ends with a zero byte that is not counted. */
static inline void http_more(struct http_client *c)
{
    ssize_t n;

    if (!buf_reserve(&c->in, 256 << 10))
        die("memory");
    n = recv(c->fd, c->in.ptr + c->in.len, c->in.cap - c->in.len - 1, 0);
    if (n <= 0)
        die("the server closed the HTTP connection");
    c->in.len += (size_t)n;
    c->in.ptr[c->in.len] = '\0';
}

/* The end of a chunked body that has been received so far, or 0 when it is not complete. */
static inline size_t http_chunked_end(const struct http_client *c)
{
    size_t at = c->body;

    while (at < c->in.len) {
        char *line_end = strstr(c->in.ptr + at, "\r\n");
        size_t len = strtoul(c->in.ptr + at, NULL, 16);

        if (line_end == NULL)
            return 0;
        at = (size_t)(line_end - c->in.ptr) + 2 + len + 2;
        if (len == 0)
            return at <= c->in.len ? at : 0;
    }
    return 0;
}

/* GET PATH. Returns the status; the body (raw, chunk marks included) is in->ptr + body until the next request. */
static inline int http_get(struct http_client *c, const char *path)
{
    char head[4096];
    int n = snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path);
    const char *end;
    const char *length;
    int status;

    buf_clear(&c->in);
    send_all(c->fd, head, (size_t)n);
    do {
        http_more(c);
        end = strstr(c->in.ptr, "\r\n\r\n");
    } while (end == NULL);
    c->body = (size_t)(end - c->in.ptr) + 4;
    status = atoi(c->in.ptr + strlen("HTTP/1.1 "));
    length = strcasestr(c->in.ptr, "\r\ncontent-length:");
    if (length != NULL && length < end) {
        size_t all = c->body + strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);

        while (c->in.len < all)
            http_more(c);
    } else {
        while (http_chunked_end(c) == 0)
            http_more(c);
    }
    return status;
}

#endif
