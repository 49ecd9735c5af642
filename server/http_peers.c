#include "server/http_peers.h"

#include "base/clock.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

void peers_init(struct peers *peers)
{
    memset(peers, 0, sizeof(*peers));
    if (getrandom(&peers->seed, sizeof(peers->seed), GRND_NONBLOCK) < 0)
        peers->seed = (uint64_t)clock_now_ns();
}

static struct peer **bucket_of(struct peers *peers, const uint8_t address[16])
{
    return &peers->buckets[XXH3_64bits_withSeed(address, 16, peers->seed) % PEER_BUCKETS];
}

struct peer *peers_enter(struct peers *peers, const struct sockaddr_storage *address, unsigned max)
{
    uint8_t key[16] = {0};

    if (address->ss_family == AF_INET6)
        memcpy(key, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
    else
        memcpy(key, &((const struct sockaddr_in *)address)->sin_addr, 4);
    struct peer **bucket = bucket_of(peers, key);
    struct peer *peer = *bucket;

    while (peer != NULL && memcmp(peer->address, key, 16) != 0)
        peer = peer->next;
    if (peer == NULL && max > 0 && (peer = calloc(1, sizeof(*peer))) != NULL) {
        memcpy(peer->address, key, 16);
        peer->next = *bucket;
        *bucket = peer;
    }
    if (peer == NULL || peer->count >= max)
        return NULL;
    peer->count++;
    return peer;
}

void peers_leave(struct peers *peers, struct peer *peer)
{
    struct peer **at = bucket_of(peers, peer->address);

    if (--peer->count != 0)
        return;
    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
    free(peer);
}
