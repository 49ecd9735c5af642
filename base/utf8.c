#include "base/utf8.h"

size_t utf8_decode(struct span s, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t n;

    if (s.len == 0)
        return 0;
    *code = p[0];
    if (p[0] < 0x80)
        return 1;
    n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4 || s.len < n)
        return 0;
    *code &= 0x7Fu >> n;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        *code = *code << 6 | (p[i] & 0x3F);
    }
    if (*code < least[n] || *code > 0x10FFFF || (*code >= 0xD800 && *code <= 0xDFFF))
        return 0;
    return n;
}

/* How many of the first bytes are ASCII, eight at a time. */
static size_t ascii_prefix(struct span s)
{
    size_t at = 0;
    uint64_t eight;

    for (; s.len - at >= 8; at += 8) {
        memcpy(&eight, s.ptr + at, 8);
        if ((eight & 0x8080808080808080) != 0)
            break;
    }
    while (at < s.len && (unsigned char)s.ptr[at] < 0x80)
        at++;
    return at;
}

bool utf8_valid(struct span s)
{
    uint32_t code;

    for (;;) {
        size_t n = ascii_prefix(s);

        if (n == s.len)
            return true;
        s = span_cut(s, n, s.len);
        n = utf8_decode(s, &code);
        if (n == 0)
            return false;
        s = span_cut(s, n, s.len);
    }
}

bool utf8_is_ascii(struct span s)
{
    return ascii_prefix(s) == s.len;
}
