/* Blocks are chained; the newest serves. Sizes double from 4 KiB to 1 MiB, so that a small request
 * costs one small block and a large one few mallocs. Something larger than a block gets one of its
 * own size, and what is left of the current block is abandoned (at most half of the memory). */
#include "base/arena.h"

#include "base/must.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define ALIGN 16
#define BLOCK_MIN ((size_t)4 << 10)
#define BLOCK_MAX ((size_t)1 << 20)

struct arena_block {
    struct arena_block *older;
    size_t size; /* with this header */
};

static_assert(sizeof(struct arena_block) % ALIGN == 0, "what follows the header is aligned");

void arena_init(struct arena *a, size_t max, jmp_buf *overflow)
{
    *a = (struct arena){.max = max, .overflow = overflow};
}

void arena_release(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *older = a->blocks->older;

        free(a->blocks);
        a->blocks = older;
    }
    arena_init(a, a->max, a->overflow);
}

static _Noreturn void overflow(struct arena *a)
{
    MUST(a->overflow != NULL);
    longjmp(*a->overflow, 1);
}

/* How large the next block should be so that N bytes fit into it. */
static size_t block_size(const struct arena *a, size_t n)
{
    size_t left = a->max == 0 ? SIZE_MAX : a->max - a->used;
    size_t need = n + sizeof(struct arena_block);
    size_t size = a->blocks == NULL ? BLOCK_MIN : a->blocks->size * 2;

    if (size > BLOCK_MAX)
        size = BLOCK_MAX;
    if (size > left) /* the last piece below the limit is usable too */
        size = left;
    return size < need ? need : size;
}

static void add_block(struct arena *a, size_t n)
{
    struct arena_block *block;
    size_t size;

    if (n > SIZE_MAX / 4)
        overflow(a);
    size = block_size(a, n);
    if (a->max != 0 && size > a->max - a->used)
        overflow(a);
    block = malloc(size);
    if (block == NULL)
        overflow(a);
    block->older = a->blocks;
    block->size = size;
    a->blocks = block;
    a->used += size;
    a->at = (char *)(block + 1);
    a->end = (char *)block + size;
}

void *arena_alloc(struct arena *a, size_t n)
{
    size_t rounded = n > SIZE_MAX / 2 ? n : (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    void *got;

    if (a->blocks == NULL || (size_t)(a->end - a->at) < rounded)
        add_block(a, rounded);
    got = a->at;
    a->at += rounded;
    return got;
}

void *arena_calloc(struct arena *a, size_t count, size_t size)
{
    size_t n;
    void *got;

    if (__builtin_mul_overflow(count, size, &n))
        overflow(a);
    got = arena_alloc(a, n);
    return memset(got, 0, n);
}

void *arena_grow(struct arena *a, const void *old, size_t count_old, size_t count_new, size_t size)
{
    size_t n;
    char *got;

    MUST(count_new >= count_old);
    if (__builtin_mul_overflow(count_new, size, &n))
        overflow(a);
    got = arena_alloc(a, n);
    if (count_old != 0)
        memcpy(got, old, count_old * size);
    return got;
}

struct span arena_span(struct arena *a, struct span s)
{
    return arena_join(a, s, span_of("", 0), span_of("", 0));
}

struct span arena_printf(struct arena *a, const char *format, ...)
{
    char small[256];
    va_list args, again;
    char *got;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    MUST(n >= 0);
    got = arena_alloc(a, (size_t)n + 1);
    if ((size_t)n < sizeof(small))
        memcpy(got, small, (size_t)n + 1);
    else
        vsnprintf(got, (size_t)n + 1, format, again);
    va_end(again);
    return span_of(got, (size_t)n);
}

static char *put(char *to, struct span s)
{
    if (s.len != 0)
        memcpy(to, s.ptr, s.len);
    return to + s.len;
}

struct span arena_join(struct arena *a, struct span x, struct span y, struct span z)
{
    size_t n;
    char *got;

    if (__builtin_add_overflow(x.len, y.len, &n) || __builtin_add_overflow(n, z.len, &n) || n == SIZE_MAX)
        overflow(a);
    got = arena_alloc(a, n + 1);
    *put(put(put(got, x), y), z) = '\0';
    return span_of(got, n);
}

int arena_guard(struct arena *a, int (*run)(void *ctx), void (*clean)(void *ctx), void *ctx)
{
    jmp_buf *outer = a->overflow;
    jmp_buf full;

    a->overflow = &full;
    if (setjmp(full) == 0) {
        int rc = run(ctx);
        a->overflow = outer;
        clean(ctx);
        return rc;
    }
    a->overflow = outer;
    clean(ctx);
    MUST(outer != NULL); /* else nobody catches it, and an allocation must not return */
    longjmp(*outer, 1);
}
