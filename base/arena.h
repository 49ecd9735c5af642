/* arena.h - all memory of one request, given back at once.
 *
 * A request never calls free. Running out (of the request's limit, or of memory) does not return
 * NULL: it jumps to where the request began, so that none of the hundreds of allocations in a
 * request needs a check. Therefore nothing that must be given back (a lock, a descriptor, a heap
 * pointer) may be held over an arena_alloc, except by whoever set the jump.
 *
 *     struct arena arena;
 *     jmp_buf overflow;
 *     arena_init(&arena, 64 << 20, &overflow);
 *     if (setjmp(overflow) == 0)
 *         rc = evaluate(&arena, ...);
 *     else
 *         rc = err_set(err, ERR_LIMIT, "...");
 *     arena_release(&arena);
 *
 * Not thread-safe: an arena belongs to one thread at a time. */
#ifndef PLUMBAGO_BASE_ARENA_H
#define PLUMBAGO_BASE_ARENA_H

#include "base/span.h"

#include <setjmp.h>
#include <stdint.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    char *at;                   /* next free byte of the newest block */
    char *end;
    size_t used;       /* bytes of all blocks */
    size_t max;        /* bytes that the blocks may sum up to; 0: no limit */
    jmp_buf *overflow; /* where to go when that is passed; NULL: abort */
};

/* An empty arena; nothing is allocated yet. OVERFLOW is borrowed for the life of the arena. */
void arena_init(struct arena *a, size_t max, jmp_buf *overflow);

/* Give everything back. The arena is empty afterwards and may be used again. */
void arena_release(struct arena *a);

/* N bytes aligned to 16, not cleared. Never NULL; N may be 0. */
void *arena_alloc(struct arena *a, size_t n);

/* COUNT objects of SIZE bytes, cleared. The product may not overflow: if it does, that is an overflow
 * of the arena. */
void *arena_calloc(struct arena *a, size_t count, size_t size);

/* A larger copy of an array of COUNT objects of SIZE bytes, for arrays that grow: the old one stays. */
void *arena_grow(struct arena *a, const void *old, size_t count_old, size_t count_new, size_t size);

/* A copy of S, with a zero byte behind it that is not counted. */
struct span arena_span(struct arena *a, struct span s);

/* printf to the arena. */
struct span arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A and B and C, joined; C may be empty. */
struct span arena_join(struct arena *a, struct span x, struct span y, struct span z);

/* Call RUN(CTX), which allocates from A while it holds things that must be given back; then CLEAN(CTX), also
 * when A is full meanwhile: that jump goes on afterwards. Returns what RUN returned. What CLEAN needs to see must
 * be in *CTX. */
int arena_guard(struct arena *a, int (*run)(void *ctx), void (*clean)(void *ctx), void *ctx);

#define ARENA_NEW(a, type) ((type *)arena_calloc((a), 1, sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_calloc((a), (n), sizeof(type)))

#endif
