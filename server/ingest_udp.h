/* ingest_udp.h - the UDP listener: one thread that takes up to 64 datagrams with one system call.
 *
 * Only ingest.c includes this. */
#ifndef PLUMBAGO_SERVER_INGEST_UDP_H
#define PLUMBAGO_SERVER_INGEST_UDP_H

#include "server/ingest_lines.h"

struct ingest_udp;

/* Open the socket and start the thread. ADDR is updated when its port was 0; COUNTS is borrowed until
 * ingest_udp_stop(). *out is the caller's, to be given back with it. */
int ingest_udp_start(struct storage *st, struct listen_addr *addr, size_t line_max, struct ingest_counts *counts,
                     struct ingest_udp **out, struct err *err);

/* Store what the kernel holds already (for at most a second), then close, join and free. NULL is fine. */
void ingest_udp_stop(struct ingest_udp *udp);

#endif
