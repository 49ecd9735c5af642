/* span.h - a pointer and a length, passed by value: borrowed bytes.
 *
 * A span never owns what it points at and is not terminated by a zero byte. Whoever hands one out
 * says how long the bytes live. */
#ifndef PLUMBAGO_BASE_SPAN_H
#define PLUMBAGO_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
    const char *ptr;
    size_t len;
};

/* A span over a string literal; the length is a constant. */
#define SPAN_LIT(s) ((struct span){"" s, sizeof(s) - 1})
/* For printf's "%.*s". */
#define SPAN_ARG(s) (int)(s).len, (s).ptr

static inline struct span span_of(const void *ptr, size_t len)
{
    return (struct span){(const char *)ptr, len};
}

static inline struct span span_str(const char *str)
{
    return (struct span){str, strlen(str)};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Order of bytes, a shorter prefix first: the order in which Graphite sorts names. */
static inline int span_cmp(struct span a, struct span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);

    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

static inline bool span_starts(struct span s, struct span prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* The bytes [from, to) of S; both are cut to its length. */
static inline struct span span_cut(struct span s, size_t from, size_t to)
{
    if (to > s.len)
        to = s.len;
    if (from > to)
        from = to;
    return (struct span){s.ptr + from, to - from};
}

/* The position of the first C in S, or s.len. */
static inline size_t span_find(struct span s, char c)
{
    const char *at = s.len == 0 ? NULL : memchr(s.ptr, c, s.len);

    return at == NULL ? s.len : (size_t)(at - s.ptr);
}

#endif
