#include "server/http_peers.h"

#include "server/listen.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct sockaddr_storage address(const char *text)
{
    struct listen_addr a;

    cr_assert_eq(listen_parse(span_str(text), &a, NULL), 0);
    return a.sa;
}

Test(http_peers, counts_addresses_and_not_ports)
{
    struct peers peers;
    struct sockaddr_storage a = address("10.0.0.1:1"), b = address("10.0.0.1:2"), c = address("10.0.0.2:1"),
                            d = address("[::1]:1");

    peers_init(&peers);
    struct peer *p = peers_enter(&peers, &a, 2);

    cr_assert_not_null(p);
    cr_assert_eq(peers_enter(&peers, &b, 2), p);
    cr_assert_null(peers_enter(&peers, &a, 2));
    cr_assert_neq(peers_enter(&peers, &c, 2), p);
    cr_assert_neq(peers_enter(&peers, &d, 2), p);
    peers_leave(&peers, p);
    cr_assert_eq(peers_enter(&peers, &a, 2), p);
}

Test(http_peers, forgets_addresses_that_have_gone)
{
    enum { MANY = 5000 };
    static struct peer *all[MANY];
    struct peers peers;

    peers_init(&peers);
    for (int i = 0; i < MANY; i++) {
        char text[32];

        snprintf(text, sizeof(text), "10.%d.%d.1:1", i >> 8, i & 255);
        struct sockaddr_storage a = address(text);

        all[i] = peers_enter(&peers, &a, 1);
        cr_assert_not_null(all[i]);
    }
    for (int i = 0; i < MANY; i += 2)
        peers_leave(&peers, all[i]);
    for (int i = 1; i < MANY; i += 2)
        peers_leave(&peers, all[i]);
    for (int i = 0; i < PEER_BUCKETS; i++)
        cr_assert_null(peers.buckets[i]);
}
