/* Nearly every name arrives in its canonical form, and this runs for each name that the prediction
 * missed, so the first thing is one pass over blocks of 16 bytes that asks "is there anything at all to
 * think about?": a byte outside of printable ASCII, one of ; { / ~, or a dot beside a dot. If not, and
 * the name is too short to hold an over-long component, it is canonical. Only the rest is parsed. */
#include "storage/name.h"

#include "base/utf8.h"

#include <stdint.h>
#include <stdlib.h>

const char *name_verdict_text(enum name_verdict verdict)
{
    static const char *const texts[NAME_VERDICTS] = {
        [NAME_OK] = "ok",
        [NAME_EMPTY] = "empty name",
        [NAME_TOO_LONG] = "name longer than 4096 bytes",
        [NAME_COMPONENT_TOO_LONG] = "component longer than 255 bytes",
        [NAME_CONTROL_BYTE] = "control byte in the name",
        [NAME_NOT_UTF8] = "name is not UTF-8",
        [NAME_TAG_NO_EQUALS] = "tag without '='",
        [NAME_TAG_EMPTY] = "empty tag name",
        [NAME_TAG_BYTE] = "one of ; ! ^ = in a tag name",
        [NAME_VALUE_EMPTY] = "empty tag value",
        [NAME_VALUE_BYTE] = "';' in a tag value",
        [NAME_VALUE_TILDE] = "tag value begins with '~'",
        [NAME_OPENMETRICS] = "braces do not hold tag=\"value\",...",
    };

    return verdict >= NAME_OK && verdict < NAME_VERDICTS ? texts[verdict] : "unknown";
}

/* ---- the fast path ---- */

typedef int8_t block __attribute__((vector_size(16))); /* SSE2, NEON, or what the compiler makes of it */

static inline block block_load(const char *at)
{
    block b;

    memcpy(&b, at, sizeof b);
    return b;
}

/* Non-zero lanes where the byte at AT needs thought, or it and its successor are dots. Signed: bytes
 * from 0x80 are below 0x20 too; ';' and '{' differ in one bit; '~' and 0x7f are the last two. */
static inline block block_odd(const char *at)
{
    block b = block_load(at), next = block_load(at + 1);

    return (b < 0x20) | (b >= '~') | ((b | 0x40) == '{') | (b == '/') | ((b == '.') & (next == '.'));
}

/* The same for one byte that is no dot. */
static inline bool byte_is_odd(char c)
{
    signed char b = (signed char)c;

    return b < 0x20 || b >= '~' || (b | 0x40) == '{' || b == '/';
}

static inline bool block_any(block b)
{
    uint64_t halves[2];

    memcpy(halves, &b, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

/* Whether NAME is surely canonical. False: it may be or not. */
static bool surely_canonical(struct span name)
{
    size_t n = name.len, i = 0;

    if (n == 0 || n > NAME_COMPONENT_MAX_BYTES || name.ptr[0] == '.' || name.ptr[n - 1] == '.' ||
        byte_is_odd(name.ptr[n - 1]))
        return false;
    if (n < 17) {
        bool odd = false;
        for (; i + 1 < n; i++)
            odd |= byte_is_odd(name.ptr[i]) || (name.ptr[i] == '.' && name.ptr[i + 1] == '.');
        return !odd;
    }
    block odd = block_odd(name.ptr + n - 17); /* its successors end with the last byte */
    for (; i + 17 < n; i += 16)
        odd |= block_odd(name.ptr + i);
    return !block_any(odd);
}

/* ---- bytes ---- */

static enum name_verdict check_bytes(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return NAME_CONTROL_BYTE;
    }
    return utf8_valid(s) ? NAME_OK : NAME_NOT_UTF8;
}

static struct span without_tildes(struct span s)
{
    while (s.len > 0 && s.ptr[0] == '~')
        s = span_cut(s, 1, s.len);
    return s;
}

/* ---- untagged names ---- */

static enum name_verdict canonical_path(struct span raw, char *scratch, struct span *out)
{
    size_t n = 0, component = 0; /* bytes written, and of the component at hand */

    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];

        if (c == '.' || c == '/') {
            component = 0;
        } else if (n > 0 || c != '~') {
            if (component++ == 0 && n > 0)
                scratch[n++] = '.';
            scratch[n++] = c;
        }
        if (component > NAME_COMPONENT_MAX_BYTES)
            return NAME_COMPONENT_TOO_LONG;
    }
    if (n == 0)
        return NAME_EMPTY;
    *out = span_eq(span_of(scratch, n), raw) ? raw : span_of(scratch, n);
    return NAME_OK;
}

/* ---- tagged names ---- */

enum { TAGS_MAX = NAME_MAX_BYTES / 3 }; /* ";a=b" is the shortest, '{a="b",' longer */

struct tag {
    struct span text; /* "tag=value" */
    uint16_t tag_len;
    uint16_t number; /* in order of arrival */
};

static enum name_verdict check_tag(struct span tag, struct span value)
{
    if (tag.len == 0)
        return NAME_TAG_EMPTY;
    if (value.len == 0)
        return NAME_VALUE_EMPTY;
    for (size_t i = 0; i < tag.len; i++) {
        if (memchr(";!^=", tag.ptr[i], 4) != NULL)
            return NAME_TAG_BYTE;
    }
    if (span_find(value, ';') != value.len)
        return NAME_VALUE_BYTE;
    return value.ptr[0] == '~' ? NAME_VALUE_TILDE : NAME_OK;
}

static int by_tag_and_number(const void *a, const void *b)
{
    const struct tag *x = a, *y = b;
    int order = span_cmp(span_cut(x->text, 0, x->tag_len), span_cut(y->text, 0, y->tag_len));

    return order != 0 ? order : x->number < y->number ? -1 : x->number > y->number;
}

static int by_text(const void *a, const void *b)
{
    const struct tag *x = a, *y = b;

    return span_cmp(x->text, y->text);
}

/* Keep the last of each tag, drop "name". Returns how many are left. */
static size_t unique_tags(struct tag *tags, size_t count)
{
    size_t kept = 0;

    qsort(tags, count, sizeof *tags, by_tag_and_number);
    for (size_t i = 0; i < count; i++) {
        struct span tag = span_cut(tags[i].text, 0, tags[i].tag_len);
        bool repeated = i + 1 < count && span_eq(tag, span_cut(tags[i + 1].text, 0, tags[i + 1].tag_len));

        if (!repeated && !span_eq(tag, SPAN_LIT("name")))
            tags[kept++] = tags[i];
    }
    return kept;
}

/* Sorted, each tag once, no "name": nothing to do. Texts that begin with the same "tag=" are neighbours
 * when sorted. */
static bool tags_are_canonical(const struct tag *tags, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct span tag = span_cut(tags[i].text, 0, tags[i].tag_len);

        if (span_eq(tag, SPAN_LIT("name")))
            return false;
        if (i > 0 && span_cmp(tags[i - 1].text, tags[i].text) >= 0)
            return false;
        if (i > 0 && span_eq(tag, span_cut(tags[i - 1].text, 0, tags[i - 1].tag_len)))
            return false;
    }
    return true;
}

/* METRIC;tag=value;... in order, to TO, which overlaps with none of them. */
static enum name_verdict write_tagged(struct span metric, struct tag *tags, size_t count, char *to, struct span *out)
{
    size_t n = metric.len;

    count = unique_tags(tags, count);
    if (count == 0) /* only "name" was there: what is left is an untagged name */
        return canonical_path(metric, to, out);
    qsort(tags, count, sizeof *tags, by_text);
    memcpy(to, metric.ptr, metric.len);
    for (size_t i = 0; i < count; i++) {
        to[n++] = ';';
        memcpy(to + n, tags[i].text.ptr, tags[i].text.len);
        n += tags[i].text.len;
    }
    *out = span_of(to, n);
    return NAME_OK;
}

/* "m;a=1;b=2" */
static enum name_verdict canonical_carbon(struct span raw, char *scratch, struct span *out)
{
    struct tag tags[TAGS_MAX];
    size_t count = 0, metric_len = span_find(raw, ';');
    struct span metric = without_tildes(span_cut(raw, 0, metric_len));

    if (metric.len == 0)
        return NAME_EMPTY;
    for (size_t at = metric_len; at < raw.len;) {
        struct span rest = span_cut(raw, at + 1, raw.len);
        struct span text = span_cut(rest, 0, span_find(rest, ';'));
        size_t tag_len = span_find(text, '=');

        if (tag_len == text.len)
            return NAME_TAG_NO_EQUALS;
        enum name_verdict verdict = check_tag(span_cut(text, 0, tag_len), span_cut(text, tag_len + 1, text.len));
        if (verdict != NAME_OK)
            return verdict;
        tags[count] = (struct tag){.text = text, .tag_len = (uint16_t)tag_len, .number = (uint16_t)count};
        count++;
        at += 1 + text.len;
    }
    if (metric.len == metric_len && tags_are_canonical(tags, count)) {
        *out = raw;
        return NAME_OK;
    }
    return write_tagged(metric, tags, count, scratch, out);
}

/* Read one tag="value" at *at and the comma behind it. The text "tag=value", without escapes, is appended
 * to TEXT at *len. */
static enum name_verdict read_openmetrics(struct span in, size_t *at, char *text, size_t *len, struct tag *out)
{
    struct span rest = span_cut(in, *at, in.len);
    size_t tag_len = span_find(rest, '='), begin = *len, i = tag_len + 2;

    if (tag_len + 1 >= rest.len || rest.ptr[tag_len + 1] != '"')
        return NAME_OPENMETRICS;
    memcpy(text + *len, rest.ptr, tag_len + 1);
    *len += tag_len + 1;
    for (; i < rest.len && rest.ptr[i] != '"'; i++) {
        if (rest.ptr[i] == '\\') {
            i++;
            if (i >= rest.len || (rest.ptr[i] != '"' && rest.ptr[i] != '\\'))
                return NAME_OPENMETRICS;
        }
        text[(*len)++] = rest.ptr[i];
    }
    if (i >= rest.len || (i + 1 < rest.len && rest.ptr[i + 1] != ','))
        return NAME_OPENMETRICS;
    out->text = span_of(text + begin, *len - begin);
    out->tag_len = (uint16_t)tag_len;
    *at += i + 2;
    return check_tag(span_cut(out->text, 0, tag_len), span_cut(out->text, tag_len + 1, out->text.len));
}

/* m{a="1",b="2"} */
static enum name_verdict canonical_openmetrics(struct span raw, char *scratch, struct span *out)
{
    struct tag tags[TAGS_MAX];
    char text[NAME_MAX_BYTES];
    size_t count = 0, len = 0, brace = span_find(raw, '{');
    struct span metric = without_tildes(span_cut(raw, 0, brace));
    struct span in = span_cut(raw, brace + 1, raw.len - 1);

    if (metric.len == 0)
        return NAME_EMPTY;
    if (span_find(metric, ';') != metric.len)
        return NAME_OPENMETRICS;
    for (size_t at = 0; at < in.len;) {
        enum name_verdict verdict = read_openmetrics(in, &at, text, &len, &tags[count]);

        if (verdict != NAME_OK)
            return verdict;
        tags[count].number = (uint16_t)count;
        count++;
    }
    return write_tagged(metric, tags, count, scratch, out);
}

/* ---- all ---- */

enum name_verdict name_canonical(struct span raw, char *scratch, struct span *out)
{
    enum name_verdict verdict;

    if (surely_canonical(raw)) {
        *out = raw;
        return NAME_OK;
    }
    if (raw.len == 0)
        return NAME_EMPTY;
    if (raw.len > NAME_MAX_BYTES)
        return NAME_TOO_LONG;
    verdict = check_bytes(raw);
    if (verdict != NAME_OK)
        return verdict;
    if (raw.ptr[raw.len - 1] == '}' && raw.len >= 2 && raw.ptr[raw.len - 2] == '"' && span_find(raw, '{') != raw.len)
        return canonical_openmetrics(raw, scratch, out);
    if (name_is_tagged(raw))
        return canonical_carbon(raw, scratch, out);
    return canonical_path(raw, scratch, out);
}
