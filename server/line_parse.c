/* The plaintext parser: a fast reading of the usual line, and a plain one of every other.
 *
 *     servers.web-01.cpu.user 12.75 1700000000\n
 *     |______name___________| |val| |__time__|
 *
 * The usual line has a name of printable ASCII, one blank, a decimal of at most 15 characters, one blank,
 * at most 15 digits, and LF or CRLF. With AVX2 it is read like this:
 *   1. Find the end of the name, 32 bytes at a time: the first byte that is, as a signed number, below '!'.
 *      That is a blank, a control byte or a byte beyond ASCII, so one comparison also tells a line that is
 *      not usual.
 *   2. Load 16 bytes of the value and of the time, find where each ends, and check with bit masks that only
 *      digits, at most one point and a leading minus are in between.
 *   3. One shuffle per field moves the digits to the right end of its register, squeezing the point out and
 *      filling with zeros; three multiply-adds turn both registers' 16 digits into integers at once.
 *   4. value = integer / 10^digits after the point: both are exact in a double (at most 2^53 and 10^15), so
 *      the one division rounds correctly (Clinger, "How to Read Floating Point Numbers Accurately", 1990).
 * A longer value, or one with an exponent, is given to number_parse(), the rest of its line stays fast.
 * No step has a branch that depends on how long a number is: such branches cost more than the work.
 * Whatever is not usual (and every line on a machine without AVX2) takes plain_line(), which knows all the
 * rules; it is also the one that names what is wrong. */
#include "server/line_parse.h"

#include "base/must.h"
#include "base/number.h"
#include "base/utf8.h"

#include <math.h>

const char *line_result_name(enum line_result result)
{
    static const char *const names[LINE_RESULTS] = {
        [LINE_OK] = "ok",     [LINE_FIELDS] = "fields",   [LINE_VALUE] = "value",       [LINE_TIMESTAMP] = "timestamp",
        [LINE_UTF8] = "utf8", [LINE_CONTROL] = "control", [LINE_TOO_LONG] = "too_long",
    };

    MUST((unsigned)result < LINE_RESULTS);
    return names[result];
}

/* ---- the plain reading ---- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Take the next field off *LINE; empty when there is none. */
static struct span next_field(struct span *line)
{
    const char *stop = line->ptr + line->len;
    const char *start = line->ptr;
    const char *end;

    while (start < stop && is_blank(*start))
        start++;
    for (end = start; end < stop && !is_blank(*end);)
        end++;
    *line = span_of(end, (size_t)(stop - end));
    return span_of(start, (size_t)(end - start));
}

static bool has_control(struct span s)
{
    bool found = false;

    for (size_t i = 0; i < s.len; i++)
        found |= (unsigned char)s.ptr[i] < ' ';
    return found;
}

static bool plain_time(struct span field, int64_t now_s, int64_t *out)
{
    double t;

    if (span_eq(field, SPAN_LIT("N"))) {
        *out = now_s;
        return true;
    }
    if (!number_parse(field, &t) || !(fabs(t) < 0x1p63)) /* neither NaN nor an infinity */
        return false;
    *out = (int64_t)t == -1 ? now_s : (int64_t)t;
    return true;
}

/* Read the three fields of LINE, of which FIRST was taken off already. */
static enum line_result plain_fields(struct span first, struct span line, int64_t now_s, struct line_point *point)
{
    struct span value = next_field(&line);
    struct span time = next_field(&line);

    if (time.len == 0 || next_field(&line).len != 0)
        return LINE_FIELDS;
    if (has_control(first))
        return LINE_CONTROL;
    if (!number_parse(value, &point->value))
        return LINE_VALUE;
    if (!plain_time(time, now_s, &point->time_s))
        return LINE_TIMESTAMP;
    point->name = first;
    return LINE_OK;
}

/* Read LINE (without its LF) by all the rules. False when it is empty: nothing at all. */
static bool plain_line(struct span line, size_t line_max, int64_t now_s, struct line_point *point)
{
    struct span rest = line;
    struct span first = next_field(&rest);

    if (first.len == 0 && line.len <= line_max)
        return false;
    point->name = line;
    point->value = 0;
    point->time_s = 0;
    if (line.len > line_max)
        point->result = LINE_TOO_LONG;
    else if (!utf8_valid(line))
        point->result = LINE_UTF8;
    else
        point->result = plain_fields(first, rest, now_s, point);
    return true;
}

/* Read the line at FROM, whatever it is like, into the batch. Returns where the next begins. */
static const char *plain_step(const char *from, const char *end, size_t line_max, int64_t now_s,
                              struct line_batch *batch)
{
    const char *lf = memchr(from, '\n', (size_t)(end - from));

    MUST(lf != NULL);
    if (plain_line(span_of(from, (size_t)(lf - from)), line_max, now_s, &batch->points[batch->count]))
        batch->count++;
    return lf + 1;
}

const char *line_parse_plain(const char *from, const char *end, size_t line_max, int64_t now_s,
                             struct line_batch *batch)
{
    batch->count = 0;
    while (from < end && batch->count < batch->max)
        from = plain_step(from, end, line_max, now_s, batch);
    return from;
}

/* ---- the fast reading ---- */

#ifdef __x86_64__
#include <immintrin.h>

#define FAST __attribute__((target("avx2,bmi")))
#define FAST_INLINE FAST __attribute__((always_inline)) static inline

/* 16 bytes at FROM as a field: where it ends and what is in it, as masks with one bit a byte. */
struct field {
    __m128i bytes;
    __m128i digits;      /* bytes minus '0' */
    unsigned len;        /* bytes before the end; 16 when there is no end in sight */
    unsigned digit_bits; /* which of the 16 are digits */
};

FAST_INLINE struct field field_at(const char *from)
{
    struct field f;
    __m128i is_digit;

    f.bytes = _mm_loadu_si128((const __m128i *)from);
    f.len = _tzcnt_u32((unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(f.bytes, _mm_set1_epi8('!'))) | 0x10000);
    f.digits = _mm_sub_epi8(f.bytes, _mm_set1_epi8('0'));
    is_digit = _mm_cmpeq_epi8(_mm_min_epu8(f.digits, _mm_set1_epi8(9)), f.digits);
    f.digit_bits = (unsigned)_mm_movemask_epi8(is_digit);
    f.digits = _mm_and_si128(f.digits, is_digit); /* a sign becomes a leading zero */
    return f;
}

/* The field's digits, moved to the right end of the register with zeros before them. The last DECIMALS
 * digits stand behind a point (POINT is -1), which is left out, or there is no point (POINT is 0).
 * Byte i comes from byte i + len - 16, or one before it when it stands left of the point; where that is
 * negative, the shuffle gives zero. */
FAST_INLINE __m128i right_aligned(const struct field *f, unsigned decimals, int point)
{
    const __m128i places = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i from = _mm_add_epi8(places, _mm_set1_epi8((char)(f->len - 16)));
    __m128i left = _mm_cmplt_epi8(places, _mm_set1_epi8((char)(16 - decimals)));

    from = _mm_add_epi8(from, _mm_and_si128(left, _mm_set1_epi8((char)point)));
    return _mm_shuffle_epi8(f->digits, from);
}

struct two_integers {
    uint64_t low;
    uint64_t high;
};

/* The 16 digits of each register as an integer. */
FAST_INLINE struct two_integers integers_of(__m128i low, __m128i high)
{
    const __m256i by_10 = _mm256_set1_epi16(1 << 8 | 10);
    const __m256i by_100 = _mm256_set1_epi32(1 << 16 | 100);
    const __m256i by_10000 = _mm256_set1_epi32(1 << 16 | 10000);
    __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    uint64_t a;
    uint64_t b;

    v = _mm256_maddubs_epi16(v, by_10);
    v = _mm256_madd_epi16(v, by_100);
    v = _mm256_packus_epi32(v, v);
    v = _mm256_madd_epi16(v, by_10000);
    a = (uint64_t)_mm_cvtsi128_si64(_mm256_castsi256_si128(v));
    b = (uint64_t)_mm_cvtsi128_si64(_mm256_extracti128_si256(v, 1));
    return (struct two_integers){(a & 0xFFFFFFFF) * 100000000 + (a >> 32), (b & 0xFFFFFFFF) * 100000000 + (b >> 32)};
}

/* The end of the name that begins at FROM: the first byte that cannot be in a usual one. The input ends with
 * LF, so there is one. */
FAST_INLINE const char *name_end(const char *from)
{
    for (;; from += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)from);
        unsigned stop = (unsigned)_mm256_movemask_epi8(_mm256_cmpgt_epi8(_mm256_set1_epi8('!'), bytes));

        if (stop != 0)
            return from + _tzcnt_u32(stop);
    }
}

/* A value that is not simple, by number_parse(); up to the next blank, which is at *AFTER then. */
__attribute__((noinline)) static bool other_value(const char *from, const char *stop, const char **after, double *out)
{
    const char *end = from < stop ? memchr(from, ' ', (size_t)(stop - from)) : NULL;

    *after = end;
    return end != NULL && number_parse(span_of(from, (size_t)(end - from)), out);
}

/* V with the sign that MINUS (0 or 1) gives it. */
FAST_INLINE double with_sign(double v, uint64_t minus)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof(bits));
    bits |= minus << 63;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* The value of the field at FROM, digits with at most one point and a leading minus. False for any other. */
FAST_INLINE bool simple_value(const char *from, const struct field *f, unsigned *decimals, unsigned *minus, int *point)
{
    unsigned all = (1u << f->len) - 1;
    unsigned points = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(f->bytes, _mm_set1_epi8('.'))) & all;
    unsigned digits = f->digit_bits & all;

    *minus = *from == '-';
    *point = -(points != 0);
    *decimals = (f->len - 1 - _tzcnt_u32(points)) & (unsigned)*point;
    return f->len < 16 && (points & (points - 1)) == 0 && digits != 0 && (digits | points | *minus) == all;
}

/* Read the line from FROM to the LF at STOP when it is a usual one.
 * The loads may run past the end of the input, by less than LINE_PARSE_PAD: each field is looked for within 16
 * bytes behind the one before it, and the name ends at the last LF at the latest. */
FAST_INLINE bool fast_line(const char *from, const char *stop, size_t line_max, struct line_point *point)
{
    static const double powers[16] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                      1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const char *name_stop = name_end(from);
    struct field value = field_at(name_stop + 1);
    const char *value_stop = name_stop + 1 + value.len;
    unsigned decimals;
    unsigned minus;
    int shift;
    bool simple = simple_value(name_stop + 1, &value, &decimals, &minus, &shift);
    struct field time;
    const char *time_stop;
    struct two_integers n;

    if (name_stop == from || *name_stop != ' ' || (size_t)(stop - from) > line_max)
        return false;
    if (!simple && !other_value(name_stop + 1, stop, &value_stop, &point->value))
        return false;
    time = field_at(value_stop + 1);
    time_stop = value_stop + 1 + time.len;
    if (*value_stop != ' ' || time.len == 16 || time.len == 0 || (~time.digit_bits & ((1u << time.len) - 1)) != 0)
        return false;
    if (time_stop + (*time_stop == '\r') != stop)
        return false;
    n = integers_of(right_aligned(&value, decimals, shift), right_aligned(&time, 0, 0));
    if (simple)
        point->value = with_sign((double)(int64_t)n.low / powers[decimals], minus);
    point->name = span_of(from, (size_t)(name_stop - from));
    point->time_s = (int64_t)n.high;
    point->result = LINE_OK;
    return true;
}

enum { ENDS = 64 };

/* Where the next lines of the input end: at most MAX positions of LF. */
FAST_INLINE size_t find_ends(const char *from, const char *end, size_t max, const char *ends[ENDS])
{
    const __m256i lf = _mm256_set1_epi8('\n');
    size_t count = 0;

    for (; from < end && count < max; from += 64) {
        __m256i low = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)from), lf);
        __m256i high = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(from + 32)), lf);
        uint64_t bits = (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;

        if (end - from < 64)
            bits &= (UINT64_C(1) << (end - from)) - 1;
        for (; bits != 0 && count < max; bits = _blsr_u64(bits))
            ends[count++] = from + _tzcnt_u64(bits);
    }
    return count;
}

FAST static const char *line_parse_fast(const char *from, const char *end, size_t line_max, int64_t now_s,
                                        struct line_batch *batch)
{
    const char *ends[ENDS];
    size_t count = 0;

    while (from < end && count < batch->max) {
        size_t lines = find_ends(from, end, batch->max - count < ENDS ? batch->max - count : ENDS, ends);

        for (size_t i = 0; i < lines; i++) {
            struct line_point *point = &batch->points[count];

            if (fast_line(from, ends[i], line_max, point) ||
                plain_line(span_of(from, (size_t)(ends[i] - from)), line_max, now_s, point))
                count++;
            from = ends[i] + 1;
        }
    }
    batch->count = count;
    return from;
}
#endif

const char *line_parse(const char *from, const char *end, size_t line_max, int64_t now_s, struct line_batch *batch)
{
    MUST(from == end || end[-1] == '\n');
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
        return line_parse_fast(from, end, line_max, now_s, batch);
#endif
    return line_parse_plain(from, end, line_max, now_s, batch);
}
