/* buf.h - owned, growing bytes with a sticky error.
 *
 * Append as much as you like and ask once at the end: after the limit is passed or memory is short,
 * .failed is set and further appends do nothing. A zeroed struct buf is an empty one without limit. */
#ifndef PLUMBAGO_BASE_BUF_H
#define PLUMBAGO_BASE_BUF_H

#include "base/span.h"

#include <stdint.h>

struct buf {
    char *ptr; /* malloc'ed, NULL while empty */
    size_t len;
    size_t cap;
    size_t max;  /* bytes it may grow to; 0: no limit */
    bool failed; /* sticky: the limit was passed or memory ran out */
};

/* An empty buffer that may grow to MAX bytes (0: any). Nothing is allocated yet. */
static inline void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

/* Free the bytes and leave an empty buffer with the same limit. */
void buf_release(struct buf *b);

/* Keep the memory, forget the bytes and the error. */
static inline void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* Make room for N more bytes. False (and .failed) when that is not possible. */
bool buf_grow(struct buf *b, size_t n);

static inline bool buf_reserve(struct buf *b, size_t n)
{
    return b->cap - b->len >= n && !b->failed ? true : buf_grow(b, n);
}

static inline void buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (n != 0 && buf_reserve(b, n)) {
        memcpy(b->ptr + b->len, bytes, n);
        b->len += n;
    }
}

static inline void buf_add_span(struct buf *b, struct span s)
{
    buf_add(b, s.ptr, s.len);
}

static inline void buf_add_str(struct buf *b, const char *str)
{
    buf_add(b, str, strlen(str));
}

static inline void buf_add_char(struct buf *b, char c)
{
    if (buf_reserve(b, 1))
        b->ptr[b->len++] = c;
}

/* printf into the buffer. */
void buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* S as a JSON string, quotes included. Control bytes are escaped, UTF-8 stays as it is, a byte that
 * is not UTF-8 becomes U+FFFD. */
void buf_add_json(struct buf *b, struct span s);

/* The same, with everything beyond ASCII as \uXXXX (surrogate pairs where needed). */
void buf_add_json_ascii(struct buf *b, struct span s);

static inline struct span buf_span(const struct buf *b)
{
    return (struct span){b->ptr, b->len};
}

/* Hand the bytes over to the caller (to be given to free()); the buffer is empty afterwards.
 * NULL when nothing was written or the buffer failed. */
char *buf_detach(struct buf *b, size_t *len);

#endif
