/* A datagram holds whole lines; the last one may lack its LF. Nothing is carried from one datagram to the next.
 *
 * The thread sleeps in poll() on the socket and on an eventfd that tells it to stop. 64 buffers of 64 KiB stand
 * ready, so a burst costs one recvmmsg() for 64 datagrams. What the kernel had to drop since the socket was
 * opened comes with each datagram (SO_RXQ_OVFL) and is published: a silent loss is the worst kind.
 *
 * Many senders share one socket, but each repeats its own names in its own order. So the prediction of the next
 * name is kept by sender, in a small table by a hash of its address; two senders that meet there cost each other
 * predictions and nothing else. */
#include "server/ingest_udp.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    DATAGRAMS = 64,
    DATAGRAM_MAX = 65536, /* more than any UDP payload */
    SLOT = DATAGRAM_MAX + LINE_PARSE_PAD,
    HINTS = 1024,
    RECEIVE_BUFFER = 64 << 20,
    DRAIN_NS = 1000000000, /* how long stopping may take */
};

struct ingest_udp {
    int fd;
    int stop_fd;
    bool started;
    pthread_t thread;
    struct ingest_sink sink;
    uint32_t drops_seen; /* SO_RXQ_OVFL's running total, which wraps */
    struct store_hint hints[HINTS];
    char *memory; /* DATAGRAMS slots */
    struct sockaddr_storage peers[DATAGRAMS];
    struct iovec vectors[DATAGRAMS];
    struct mmsghdr messages[DATAGRAMS];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(uint32_t))];
    } controls[DATAGRAMS];
};

static struct store_hint *hint_of(struct ingest_udp *udp, const struct sockaddr_storage *peer)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)peer;
    uint32_t mix = in4->sin_port;
    uint32_t words[4];

    if (peer->ss_family == AF_INET6) {
        memcpy(words, &in6->sin6_addr, sizeof(words));
        mix += words[0] ^ words[1] ^ words[2] ^ words[3];
    } else {
        mix += in4->sin_addr.s_addr;
    }
    return &udp->hints[mix * 2654435769u >> 22];
}

/* The kernel's count of dropped datagrams, when the message brings it. */
static void note_drops(struct ingest_udp *udp, struct msghdr *header)
{
    struct cmsghdr *c;
    uint32_t drops;

    for (c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL)
            continue;
        memcpy(&drops, CMSG_DATA(c), sizeof(drops));
        ingest_count(&udp->sink.counts->kernel_drops, drops - udp->drops_seen);
        udp->drops_seen = drops;
    }
}

static void take_datagram(struct ingest_udp *udp, size_t i)
{
    struct mmsghdr *message = &udp->messages[i];
    char *from = udp->vectors[i].iov_base;
    size_t len = message->msg_len;

    note_drops(udp, &message->msg_hdr);
    ingest_count(&udp->sink.counts->datagrams, 1);
    ingest_count(&udp->sink.counts->bytes, len);
    if (len == 0)
        return;
    if (from[len - 1] != '\n')
        from[len++] = '\n';
    ingest_lines(&udp->sink, from, from + len, hint_of(udp, &udp->peers[i]), &udp->peers[i]);
}

/* Take what is there, at most DATAGRAMS. Returns how many. */
static size_t take_some(struct ingest_udp *udp)
{
    int n;

    for (size_t i = 0; i < DATAGRAMS; i++) {
        udp->messages[i].msg_hdr.msg_namelen = sizeof(udp->peers[i]);
        udp->messages[i].msg_hdr.msg_controllen = sizeof(udp->controls[i]);
    }
    n = recvmmsg(udp->fd, udp->messages, DATAGRAMS, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++)
        take_datagram(udp, (size_t)i);
    return n > 0 ? (size_t)n : 0;
}

static void *run(void *arg)
{
    struct ingest_udp *udp = arg;
    struct pollfd polled[2] = {{.fd = udp->fd, .events = POLLIN}, {.fd = udp->stop_fd, .events = POLLIN}};
    int64_t drain_until;

    storage_thread_begin();
    while (polled[1].revents == 0) {
        if (poll(polled, 2, -1) > 0 && polled[0].revents != 0)
            take_some(udp);
    }
    drain_until = clock_mono_ns() + DRAIN_NS;
    while (take_some(udp) > 0 && clock_mono_ns() < drain_until) {
    }
    storage_thread_end();
    return NULL;
}

/* Point the message headers at the memory, once. */
static void lay_out(struct ingest_udp *udp)
{
    for (size_t i = 0; i < DATAGRAMS; i++) {
        udp->vectors[i] = (struct iovec){.iov_base = udp->memory + i * SLOT, .iov_len = DATAGRAM_MAX};
        udp->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &udp->peers[i], .msg_iov = &udp->vectors[i], .msg_iovlen = 1, .msg_control = &udp->controls[i]};
    }
}

int ingest_udp_start(struct storage *st, struct listen_addr *addr, size_t line_max, struct ingest_counts *counts,
                     struct ingest_udp **out, struct err *err)
{
    struct ingest_udp *udp = calloc(1, sizeof(*udp));
    int rc;

    *out = NULL;
    if (udp == NULL)
        return err_set(err, ERR_MEMORY, "no memory for the UDP listener");
    udp->fd = -1;
    udp->stop_fd = -1;
    udp->sink = (struct ingest_sink){.counts = counts, .protocol = INGEST_UDP, .line_max = line_max};
    udp->memory = calloc(DATAGRAMS, SLOT);
    if (udp->memory == NULL) {
        rc = err_set(err, ERR_MEMORY, "no memory for the UDP listener");
        goto failed;
    }
    lay_out(udp);
    rc = store_writer_new(st, &udp->sink.writer, err);
    if (rc == 0)
        rc = listen_udp(addr, RECEIVE_BUFFER, &udp->fd, err);
    if (rc < 0)
        goto failed;
    udp->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (udp->stop_fd < 0) {
        rc = err_errno(err, errno, "starting the UDP listener");
        goto failed;
    }
    rc = pthread_create(&udp->thread, NULL, run, udp);
    if (rc != 0) {
        rc = err_errno(err, rc, "starting the UDP listener");
        goto failed;
    }
    udp->started = true;
    *out = udp;
    return 0;

failed:
    ingest_udp_stop(udp);
    return rc;
}

void ingest_udp_stop(struct ingest_udp *udp)
{
    if (udp == NULL)
        return;
    if (udp->started) {
        MUST(eventfd_write(udp->stop_fd, 1) == 0);
        pthread_join(udp->thread, NULL);
    }
    if (udp->fd >= 0)
        close(udp->fd);
    if (udp->stop_fd >= 0)
        close(udp->stop_fd);
    store_writer_free(udp->sink.writer);
    free(udp->memory);
    free(udp);
}
