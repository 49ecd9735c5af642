#include "base/buf.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_release(struct buf *b)
{
    free(b->ptr);
    buf_init(b, b->max);
}

/* Capacity doubles, so that appending is cheap on average; it never passes the limit. */
static size_t capacity_for(const struct buf *b, size_t need)
{
    size_t cap = b->cap < 64 ? 64 : b->cap;

    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? SIZE_MAX : cap * 2;
    return b->max != 0 && cap > b->max ? b->max : cap;
}

bool buf_grow(struct buf *b, size_t n)
{
    size_t limit = b->max == 0 ? SIZE_MAX / 2 : b->max;
    size_t cap;
    char *ptr;

    if (b->failed)
        return false;
    if (b->len > limit || n > limit - b->len) {
        b->failed = true;
        return false;
    }
    if (b->cap - b->len >= n)
        return true;
    cap = capacity_for(b, b->len + n);
    ptr = realloc(b->ptr, cap);
    if (ptr == NULL) {
        b->failed = true;
        return false;
    }
    b->ptr = ptr;
    b->cap = cap;
    return true;
}

void buf_addf(struct buf *b, const char *format, ...)
{
    char small[512];
    char *large = NULL;
    va_list args, again;
    int n;

    /* Formatted beside the buffer: printf's zero byte then needs no room within the limit. */
    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (n < 0)
        b->failed = true;
    else if ((size_t)n < sizeof(small))
        buf_add(b, small, (size_t)n);
    else if ((large = malloc((size_t)n + 1)) == NULL)
        b->failed = true;
    else
        buf_add(b, large, (size_t)vsnprintf(large, (size_t)n + 1, format, again));
    free(large);
    va_end(again);
}

/* ---- JSON strings ---- */

static void add_u16_escape(struct buf *b, uint32_t unit)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15]};

    buf_add(b, text, sizeof(text));
}

static void add_code_escape(struct buf *b, uint32_t code)
{
    if (code >= 0x10000) {
        add_u16_escape(b, 0xD800 + ((code - 0x10000) >> 10));
        code = 0xDC00 + ((code - 0x10000) & 0x3FF);
    }
    add_u16_escape(b, code);
}

static void add_ascii_escape(struct buf *b, unsigned char c)
{
    static const char named[] = "\bb\ff\nn\rr\tt\"\"\\\\";

    for (const char *at = named; *at != '\0'; at += 2) {
        if ((unsigned char)*at == c) {
            buf_add_char(b, '\\');
            buf_add_char(b, at[1]);
            return;
        }
    }
    add_u16_escape(b, c);
}

/* What needs no escape in either form: printable ASCII but the quote and the backslash. DEL stays,
 * as in Python's json. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static void add_json(struct buf *b, struct span s, bool ascii)
{
    buf_add_char(b, '"');
    while (s.len != 0) {
        uint32_t code = 0;
        size_t n = 0;

        while (n < s.len && is_plain((unsigned char)s.ptr[n]))
            n++;
        buf_add(b, s.ptr, n);
        s = span_cut(s, n, s.len);
        if (s.len == 0)
            break;
        n = utf8_decode(s, &code);
        if (n == 1)
            add_ascii_escape(b, (unsigned char)code);
        else if (ascii)
            add_code_escape(b, n == 0 ? 0xFFFD : code);
        else if (n == 0)
            buf_add(b, "\xEF\xBF\xBD", 3);
        else
            buf_add(b, s.ptr, n);
        s = span_cut(s, n == 0 ? 1 : n, s.len);
    }
    buf_add_char(b, '"');
}

void buf_add_json(struct buf *b, struct span s)
{
    add_json(b, s, false);
}

void buf_add_json_ascii(struct buf *b, struct span s)
{
    add_json(b, s, true);
}

char *buf_detach(struct buf *b, size_t *len)
{
    char *ptr = b->ptr;

    *len = 0;
    if (b->failed || b->len == 0) {
        buf_release(b);
        return NULL;
    }
    *len = b->len;
    buf_init(b, b->max);
    return ptr;
}
