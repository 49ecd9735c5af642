#include "query/request.h"

#include <stdint.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* TEXT with '+' and %XX undone; TEXT itself when there is nothing to undo. */
static struct span decode(struct arena *arena, struct span text)
{
    char *to;
    size_t len = 0;

    if (span_find(text, '%') == text.len && span_find(text, '+') == text.len)
        return text;
    to = arena_alloc(arena, text.len);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '%' && i + 2 < text.len && hex_value(text.ptr[i + 1]) >= 0 && hex_value(text.ptr[i + 2]) >= 0) {
            c = (char)(hex_value(text.ptr[i + 1]) * 16 + hex_value(text.ptr[i + 2]));
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        to[len++] = c;
    }
    return span_of(to, len);
}

void params_add(struct params *p, struct span key, struct span value)
{
    if (p->count == p->cap) {
        size_t cap = p->cap == 0 ? 16 : p->cap * 2;

        p->items = arena_grow(p->arena, p->items, p->count, cap, sizeof(*p->items));
        p->cap = cap;
    }
    p->items[p->count++] = (struct param){key, value};
}

void params_add_urlencoded(struct params *p, struct span text)
{
    struct span rest = arena_span(p->arena, text);

    while (rest.len > 0) {
        struct span pair = span_cut(rest, 0, span_find(rest, '&'));
        size_t equal = span_find(pair, '=');

        rest = span_cut(rest, pair.len + 1, rest.len);
        if (pair.len > 0)
            params_add(p, decode(p->arena, span_cut(pair, 0, equal)),
                       decode(p->arena, span_cut(pair, equal + 1, pair.len)));
    }
}

const struct span *params_get(const struct params *p, const char *key)
{
    struct span wanted = span_str(key);

    for (size_t i = p->count; i > 0; i--) {
        if (span_eq(p->items[i - 1].key, wanted))
            return &p->items[i - 1].value;
    }
    return NULL;
}
