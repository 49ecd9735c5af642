/* pickle and msgpack: one structure, [{name, start, end, step, values, pathExpression, valuesPerPoint,
 * consolidationFunc, xFilesFactor}, ...], in two encodings. It is what cluster front-ends read.
 *
 * Pickle is protocol 2, which every Python since 2.3 reads; a program for its stack machine, of which this
 * needs a dozen instructions (Python's pickletools.py describes them all).
 * Msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md */
#include "query/format.h"

#include "base/utf8.h"

#include <math.h>

/* How the parts of the structure are written. A list of VALUES is one call, as it is the bulk. */
struct encoding {
    void (*list_begin)(struct buf *out, size_t count);
    void (*map_begin)(struct buf *out, size_t pairs);
    void (*text)(struct buf *out, struct span s);
    void (*integer)(struct buf *out, int64_t v);
    void (*real)(struct buf *out, double v);
    void (*none)(struct buf *out);
    void (*map_end)(struct buf *out);
    void (*list_end)(struct buf *out);
    bool counts; /* values that are counts may be integers; carbonapi takes only floats for values */
};

static void put_byte(struct buf *out, unsigned byte)
{
    buf_add_char(out, (char)byte);
}

static void put_big(struct buf *out, uint64_t v, int bytes)
{
    while (bytes-- > 0)
        put_byte(out, (unsigned)(v >> (8 * bytes)) & 0xff);
}

static void put_little(struct buf *out, uint64_t v, int bytes)
{
    for (; bytes > 0; bytes--, v >>= 8)
        put_byte(out, (unsigned)v & 0xff);
}

static uint64_t bits_of(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof(bits));
    return bits;
}

/* ---- pickle ---- */

static void pickle_list_begin(struct buf *out, size_t count)
{
    (void)count;
    buf_add_str(out, "](");
}

static void pickle_map_begin(struct buf *out, size_t pairs)
{
    (void)pairs;
    buf_add_str(out, "}(");
}

static void pickle_text(struct buf *out, struct span s)
{
    put_byte(out, 'X');
    put_little(out, s.len, 4);
    buf_add_span(out, s);
}

static void pickle_integer(struct buf *out, int64_t v)
{
    if (v >= INT32_MIN && v <= INT32_MAX) {
        put_byte(out, 'J');
        put_little(out, (uint64_t)v, 4);
    } else {
        buf_add(out, "\x8a\x08", 2); /* LONG1, of eight bytes */
        put_little(out, (uint64_t)v, 8);
    }
}

static void pickle_real(struct buf *out, double v)
{
    put_byte(out, 'G');
    put_big(out, bits_of(v), 8);
}

static void pickle_none(struct buf *out)
{
    put_byte(out, 'N');
}

static void pickle_map_end(struct buf *out)
{
    put_byte(out, 'u');
}

static void pickle_list_end(struct buf *out)
{
    put_byte(out, 'e');
}

static const struct encoding pickle = {pickle_list_begin, pickle_map_begin, pickle_text,
                                       pickle_integer,    pickle_real,      pickle_none,
                                       pickle_map_end,    pickle_list_end,  true};

/* ---- msgpack ---- */

/* A length: in the first byte when it is below SMALL, else behind one of the three codes (0: there is none). */
static void msgpack_length(struct buf *out, size_t n, unsigned small, unsigned fixed, const unsigned codes[3])
{
    if (n < small) {
        put_byte(out, fixed | (unsigned)n);
    } else if (codes[0] != 0 && n <= UINT8_MAX) {
        put_byte(out, codes[0]);
        put_big(out, n, 1);
    } else if (n <= UINT16_MAX) {
        put_byte(out, codes[1]);
        put_big(out, n, 2);
    } else {
        put_byte(out, codes[2]);
        put_big(out, n, 4);
    }
}

static void msgpack_list_begin(struct buf *out, size_t count)
{
    msgpack_length(out, count, 16, 0x90, (const unsigned[]){0, 0xdc, 0xdd});
}

static void msgpack_map_begin(struct buf *out, size_t pairs)
{
    msgpack_length(out, pairs, 16, 0x80, (const unsigned[]){0, 0xde, 0xdf});
}

static void msgpack_text(struct buf *out, struct span s)
{
    msgpack_length(out, s.len, 32, 0xa0, (const unsigned[]){0xd9, 0xda, 0xdb});
    buf_add_span(out, s);
}

static void msgpack_integer(struct buf *out, int64_t v)
{
    if (v >= 0 && v < 128) {
        put_byte(out, (unsigned)v);
    } else if (v >= 0) {
        put_byte(out, v <= UINT32_MAX ? 0xce : 0xcf);
        put_big(out, (uint64_t)v, v <= UINT32_MAX ? 4 : 8);
    } else {
        put_byte(out, 0xd3);
        put_big(out, (uint64_t)v, 8);
    }
}

static void msgpack_real(struct buf *out, double v)
{
    put_byte(out, 0xcb);
    put_big(out, bits_of(v), 8);
}

static void msgpack_none(struct buf *out)
{
    put_byte(out, 0xc0);
}

static void msgpack_end(struct buf *out)
{
    (void)out;
}

static const struct encoding msgpack = {msgpack_list_begin, msgpack_map_begin, msgpack_text,
                                        msgpack_integer,    msgpack_real,      msgpack_none,
                                        msgpack_end,        msgpack_end,       false};

/* ---- the structure ---- */

/* Both formats hold UTF-8 only: any other byte becomes a question mark. */
static struct span valid_text(struct arena *arena, struct span s)
{
    char *to;

    if (utf8_valid(s))
        return s;
    to = arena_alloc(arena, s.len);
    for (size_t i = 0; i < s.len;) {
        uint32_t code;
        size_t n = utf8_decode(span_cut(s, i, s.len), &code);

        if (n == 0)
            to[i++] = '?';
        for (; n > 0; n--, i++)
            to[i] = s.ptr[i];
    }
    return span_of(to, s.len);
}

static void put_values(const struct encoding *e, const struct series *s, const double *values, size_t count,
                       struct buf *out)
{
    e->list_begin(out, count);
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i]))
            e->none(out);
        else if (s->integers && e->counts && fabs(values[i]) < 9e15)
            e->integer(out, (int64_t)values[i]);
        else
            e->real(out, values[i]);
    }
    e->list_end(out);
}

static void put_integer(const struct encoding *e, const char *key, int64_t v, struct buf *out)
{
    e->text(out, span_str(key));
    e->integer(out, v);
}

static void put_text(const struct encoding *e, const char *key, struct span v, struct buf *out)
{
    e->text(out, span_str(key));
    e->text(out, v);
}

static int put_series(const struct encoding *e, const struct series *s, struct arena *arena, struct buf *out,
                      struct err *err)
{
    const double *values;
    size_t count;
    int rc = series_points(arena, s, &values, &count, err);

    if (rc < 0)
        return rc;
    e->map_begin(out, 9);
    put_text(e, "name", valid_text(arena, s->name), out);
    put_integer(e, "start", s->start_s, out);
    put_integer(e, "end", s->end_s, out);
    put_integer(e, "step", s->step_s, out);
    e->text(out, SPAN_LIT("values"));
    put_values(e, s, values, count, out);
    put_text(e, "pathExpression", valid_text(arena, s->path_expression), out);
    put_integer(e, "valuesPerPoint", s->values_per_point, out);
    put_text(e, "consolidationFunc", valid_text(arena, s->consolidation), out);
    e->text(out, SPAN_LIT("xFilesFactor"));
    e->real(out, s->x_files_factor);
    e->map_end(out);
    return 0;
}

static int put_list(const struct encoding *e, const struct series_list *list, struct arena *arena, struct buf *out,
                    struct err *err)
{
    int rc = 0;

    e->list_begin(out, list->count);
    for (size_t i = 0; rc == 0 && i < list->count; i++)
        rc = put_series(e, list->items[i], arena, out, err);
    e->list_end(out);
    return rc;
}

int format_pickle(const struct render_options *options, const struct series_list *list, struct arena *arena,
                  struct buf *out, struct err *err)
{
    int rc;

    (void)options;
    buf_add(out, "\x80\x02", 2); /* PROTO 2 */
    rc = put_list(&pickle, list, arena, out, err);
    put_byte(out, '.');
    return rc;
}

int format_msgpack(const struct render_options *options, const struct series_list *list, struct arena *arena,
                   struct buf *out, struct err *err)
{
    (void)options;
    return put_list(&msgpack, list, arena, out, err);
}
