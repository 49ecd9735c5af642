/* memory.h - how much memory there is, and who may use which part of it.
 *
 *     memory-limit = program and slack | requests | index
 *
 * Requests (receive buffers of carbon, HTTP buffers, working memory and answers of queries) have limits of their
 * own; when together they could take more than half, each is lowered by the same factor. The index (names, tags,
 * look-up, row maps) gets what is left: storage refuses new names when it is used up. Mapped files do not count, as
 * the kernel takes their pages away when others need them. */
#ifndef PLUMBAGO_SERVER_MEMORY_H
#define PLUMBAGO_SERVER_MEMORY_H

#include <stdint.h>

#define MEMORY_LIMIT_MIN (INT64_C(128) << 20)

/* Bytes that this process may use: the machine's memory, or less when a control group (v1 or v2) says so. ROOT is ""
 * but in tests, where it is a folder with proc/ and sys/ in it. */
uint64_t memory_available(const char *root);

/* What memory is shared among; all but the first two in bytes. */
struct memory_plan {
    uint64_t query_threads;
    uint64_t carbon_connections;
    uint64_t carbon_line;  /* the longest unfinished line of one connection */
    uint64_t query_memory; /* working memory of one query */
    uint64_t query_output; /* one answer while it is made */
    uint64_t http_buffers; /* all connections together */
    uint64_t index;        /* what is left */
};

/* Share LIMIT bytes, at least MEMORY_LIMIT_MIN: lower what PLAN wants where it must be, and fill .index. */
void memory_share(uint64_t limit, struct memory_plan *plan);

#endif
