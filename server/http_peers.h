/* http_peers.h - how many connections each address has, so that none takes them all. One thread's. */
#ifndef PLUMBAGO_SERVER_HTTP_PEERS_H
#define PLUMBAGO_SERVER_HTTP_PEERS_H

#include <stdint.h>
#include <sys/socket.h>

enum { PEER_BUCKETS = 1024 };

struct peer {
    struct peer *next;
    unsigned count;
    uint8_t address[16];
};

/* All addresses that have a connection; as many peers as connections at most. */
struct peers {
    struct peer *buckets[PEER_BUCKETS];
    uint64_t seed; /* so that nobody can choose addresses that share a bucket */
};

void peers_init(struct peers *peers);

/* The peer of ADDRESS (IPv4 or IPv6), with one connection more; NULL when it has MAX already, or memory is short. To be
 * given back with peers_leave(). */
struct peer *peers_enter(struct peers *peers, const struct sockaddr_storage *address, unsigned max);

/* One connection less; the last one frees PEER. */
void peers_leave(struct peers *peers, struct peer *peer);

#endif
