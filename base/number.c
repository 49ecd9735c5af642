#include "base/number.h"

#include "base/pow10_table.h"

#include <assert.h>
#include <endian.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static_assert(FLT_EVAL_METHOD == 0, "double arithmetic rounds to double, or the exact steps are not");

/* 10^22 = 2^22 * 5^22 and 5^22 < 2^53: the largest power of ten that is a double exactly. */
#define POW10_DOUBLE_MAX 22
#define MANTISSA_MAX ((uint64_t)1 << 53)

static const double pow10_double[POW10_DOUBLE_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                          1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                          1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static double double_of_bits(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof(v));
    return v;
}

static uint64_t bits_of_double(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof(bits));
    return bits;
}

/* ---- reading: digits ---- */

#define DIGITS_MAX 19 /* always fit 64 bits */

/* Eight bytes as a number whose lowest byte is the first. */
static uint64_t load_eight(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

/* Every byte has the high half 3, also after 6 was added: then its low half is at most 9. */
static bool are_digits(uint64_t v)
{
    const uint64_t high = 0xF0F0F0F0F0F0F0F0;

    return ((v & high) | ((v + 0x0606060606060606) & high) >> 4) == 0x3333333333333333;
}

/* Neighbours are joined to pairs, pairs to fours, fours to eight: three multiplications. */
static uint32_t eight_digits(uint64_t v)
{
    const uint64_t pairs = 0x000000FF000000FF;

    v -= 0x3030303030303030;
    v = v * 10 + (v >> 8);
    return (uint32_t)(((v & pairs) * (100 + (1000000ULL << 32)) + ((v >> 16) & pairs) * (1 + (10000ULL << 32))) >> 32);
}

/* Append the digits at P to *MANTISSA (modulo 2^64) and return where they end. */
static inline const char *scan_digits(const char *p, const char *end, uint64_t *mantissa)
{
    uint64_t m = *mantissa;
    unsigned digit;

    for (; end - p >= 8 && are_digits(load_eight(p)); p += 8)
        m = m * 100000000 + eight_digits(load_eight(p));
    for (; p < end && (digit = (unsigned)(unsigned char)*p - '0') <= 9; p++)
        m = m * 10 + digit;
    *mantissa = m;
    return p;
}

/* ---- reading: decimal to double ---- */

/* MANTISSA * 10^EXPONENT rounded to the nearest double, by one or two multiplications with a 128-bit
 * power. False when that is not enough to be sure, and for subnormal, too large and too small results.
 * The structure follows Nigel Tao's description (https://nigeltao.github.io/blog/2020/eisel-lemire.html). */
static bool eisel_lemire(uint64_t mantissa, int exponent, double *out)
{
    int zeros = __builtin_clzll(mantissa);
    const uint64_t *power = pow10_table[exponent - POW10_MIN];
    uint64_t exp2 = (uint64_t)((217706 * exponent >> 16) + 64 + 1023 - zeros);
    unsigned __int128 x;
    uint64_t high, low, result;

    mantissa <<= zeros;
    x = (unsigned __int128)mantissa * power[0];
    high = (uint64_t)(x >> 64);
    low = (uint64_t)x;
    if ((high & 0x1FF) == 0x1FF && low + mantissa < mantissa) {
        /* The bits that were cut off could carry into the result: take the second half too. */
        unsigned __int128 y = (unsigned __int128)mantissa * power[1];
        unsigned __int128 sum = x + (y >> 64);

        high = (uint64_t)(sum >> 64);
        low = (uint64_t)sum;
        if ((high & 0x1FF) == 0x1FF && low + 1 == 0 && (uint64_t)y + mantissa < mantissa)
            return false;
    }
    result = high >> ((high >> 63) + 9); /* 54 bits: one more than wanted, to round by */
    exp2 -= 1 ^ high >> 63;
    if (low == 0 && (high & 0x1FF) == 0 && (result & 3) == 1)
        return false; /* it looks half-way between two doubles, and may be so or not */
    result = (result + (result & 1)) >> 1;
    if (result >> 53 != 0) {
        result >>= 1;
        exp2++;
    }
    if (exp2 - 1 >= 0x7FF - 1)
        return false;
    *out = double_of_bits(exp2 << 52 | (result & (MANTISSA_MAX / 2 - 1)));
    return true;
}

/* The quick ways for MANTISSA * 10^EXPONENT; false when none applies. */
static inline bool quick_double(uint64_t mantissa, int64_t exponent, double *out)
{
    if (mantissa <= MANTISSA_MAX && exponent >= -POW10_DOUBLE_MAX && exponent <= POW10_DOUBLE_MAX) {
        double v = (double)mantissa;

        *out = exponent < 0 ? v / pow10_double[-exponent] : v * pow10_double[exponent];
        return true;
    }
    return mantissa != 0 && exponent >= POW10_MIN && exponent <= 308 && eisel_lemire(mantissa, (int)exponent, out);
}

/* ---- reading: whatever is not simple ---- */

/* No double and no middle between two has more significant digits than 767, so of what follows only
 * "is it all zero" matters. */
#define DECIMAL_MAX 780

struct decimal { /* 0.DIGITS * 10^POINT */
    char digits[DECIMAL_MAX];
    int count;
    bool more;     /* a digit that was cut off is not zero */
    int64_t point; /* saturates far beyond anything that is a double */
};

#define POINT_FAR ((int64_t)1 << 40)

static void decimal_push(struct decimal *d, char digit, bool fraction)
{
    if (d->count == 0 && digit == '0') {
        d->point -= fraction;
        return;
    }
    d->point += !fraction;
    if (d->count < DECIMAL_MAX)
        d->digits[d->count++] = digit;
    else
        d->more |= digit != '0';
}

/* Python's digitpart, digits with single underscores between them: where it ends, or NULL when there
 * is none at P. Of what the digits mean, D (NULL: nothing) is told. */
static const char *scan_part(const char *p, const char *end, struct decimal *d, bool fraction)
{
    const char *start = p;

    while (p < end) {
        const char *digit = p + (p > start && *p == '_');

        if (digit == end || *digit < '0' || *digit > '9')
            break;
        if (d != NULL)
            decimal_push(d, *digit, fraction);
        p = digit + 1;
    }
    return p == start ? NULL : p;
}

/* "e", an optional sign, a digitpart; NULL when that is not at P. */
static const char *scan_exponent(const char *p, const char *end, int64_t *exponent)
{
    bool negative;
    const char *part;

    p++;
    negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    part = p;
    p = scan_part(p, end, NULL, false);
    *exponent = 0;
    for (; p != NULL && part < p; part++)
        if (*part != '_' && *exponent < POINT_FAR)
            *exponent = *exponent * 10 + (*part - '0');
    if (negative)
        *exponent = -*exponent;
    return p;
}

/* Read the whole number into D; false when it is none. */
static bool decimal_scan(struct decimal *d, const char *p, const char *end)
{
    const char *integer = scan_part(p, end, d, false);
    const char *fraction = NULL;

    if (integer != NULL)
        p = integer;
    if (p < end && *p == '.') {
        p++;
        fraction = scan_part(p, end, d, true);
        if (fraction != NULL)
            p = fraction;
    }
    if (integer == NULL && fraction == NULL)
        return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        int64_t exponent;

        p = scan_exponent(p, end, &exponent);
        d->point += exponent;
    }
    return p == end;
}

static locale_t c_locale;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* The C library does it with as many bits as it takes. Its decimal point is the C locale's, whatever
 * the process has set (no point is written here, but a locale may also group digits). */
static double decimal_strtod(const struct decimal *d)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char text[DECIMAL_MAX + 32];
    int len = d->count;

    pthread_once(&once, make_c_locale);
    memcpy(text, d->digits, (size_t)len);
    if (d->more)
        text[len++] = '1';
    snprintf(text + len, sizeof(text) - (size_t)len, "e%d", (int)d->point - len);
    return c_locale == (locale_t)0 ? strtod(text, NULL) : strtod_l(text, NULL, c_locale);
}

static double decimal_double(const struct decimal *d)
{
    uint64_t mantissa = 0;
    double low, high;
    int n = d->count < DIGITS_MAX ? d->count : DIGITS_MAX;

    if (d->count == 0 || d->point < -400)
        return 0;
    if (d->point > 400)
        return INFINITY;
    for (int i = 0; i < n; i++)
        mantissa = mantissa * 10 + (uint64_t)(d->digits[i] - '0');
    /* With digits left out, the number lies between MANTISSA and the next: often both are one double. */
    if (quick_double(mantissa, d->point - n, &low) &&
        (d->count <= DIGITS_MAX || (quick_double(mantissa + 1, d->point - n, &high) && low == high)))
        return low;
    return decimal_strtod(d);
}

static bool is_word(const char *p, const char *end, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(end - p) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((p[i] | 0x20) != word[i])
            return false;
    return true;
}

/* P: behind the sign. */
static __attribute__((noinline)) bool parse_slow(const char *p, const char *end, bool negative, double *out)
{
    struct decimal d;
    double v;

    d.count = 0;
    d.more = false;
    d.point = 0;
    if (is_word(p, end, "nan"))
        v = NAN;
    else if (is_word(p, end, "inf") || is_word(p, end, "infinity"))
        v = INFINITY;
    else if (decimal_scan(&d, p, end))
        v = decimal_double(&d);
    else
        return false;
    *out = negative ? -v : v;
    return true;
}

bool number_parse(struct span s, double *out)
{
    const char *p = s.ptr;
    const char *end = s.ptr + s.len;
    const char *digits;
    bool negative = false;
    uint64_t mantissa = 0;
    int64_t count, exponent = 0;
    double v;

    if (p < end && (*p == '-' || *p == '+'))
        negative = *p++ == '-';
    digits = p;
    p = scan_digits(p, end, &mantissa);
    count = p - digits;
    if (p < end && *p == '.') {
        const char *fraction = ++p;

        p = scan_digits(p, end, &mantissa);
        exponent = fraction - p;
        count -= exponent;
    }
    if (p != end || count == 0 || count > DIGITS_MAX || !quick_double(mantissa, exponent, &v))
        return parse_slow(digits, end, negative, out);
    *out = negative ? -v : v;
    return true;
}

bool number_parse_i64(struct span s, int64_t *out)
{
    const char *p = s.ptr;
    const char *end = s.ptr + s.len;
    const char *digits;
    bool negative = false;
    uint64_t v = 0;

    if (p < end && (*p == '-' || *p == '+'))
        negative = *p++ == '-';
    while (p < end - 1 && *p == '0')
        p++;
    digits = p;
    p = scan_digits(p, end, &v);
    if (p != end || p == digits || p - digits > DIGITS_MAX || v > (uint64_t)INT64_MAX + negative)
        return false;
    *out = (int64_t)(negative ? 0 - v : v);
    return true;
}

/* ---- writing: shortest digits ---- */

struct shortest { /* DIGITS * 10^EXPONENT */
    uint64_t digits;
    int exponent;
};

/* G * CP / 2^128, whose last bit also says whether anything was cut off ("round to odd"). */
static uint64_t round_to_odd(uint64_t g_high, uint64_t g_low, uint64_t cp)
{
    unsigned __int128 x = (unsigned __int128)g_low * cp;
    unsigned __int128 y = (unsigned __int128)g_high * cp + (uint64_t)(x >> 64);

    return (uint64_t)(y >> 64) | ((uint64_t)y > 1);
}

/* Schubfach for V = C * 2^Q, positive and finite. It scales V and the ends of the interval that
 * rounds to V by a power of ten, so that at most one multiple of 10 and two to four integers lie in
 * it, and picks among those. Names as in Giulietti's paper; everything is times 4. */
static struct shortest schubfach(uint64_t c, int q, bool lower_is_closer)
{
    bool odd = (c & 1) != 0; /* ends belong to the interval when V's mantissa is even */
    int k = (q * 1262611 - (lower_is_closer ? 524031 : 0)) >> 22;
    int h = q + ((-k * 1741647) >> 19) + 1;
    const uint64_t *power = pow10_table[-k - POW10_MIN];
    bool exact = -k >= 0 && -k <= POW10_EXACT_MAX;
    uint64_t g_low = power[1] + !exact; /* rounded up; it never ends in 64 ones */
    uint64_t vb = round_to_odd(power[0], g_low, 4 * c << h);
    uint64_t lower = round_to_odd(power[0], g_low, (4 * c - 2 + lower_is_closer) << h) + odd;
    uint64_t upper = round_to_odd(power[0], g_low, (4 * c + 2) << h) - odd;
    uint64_t s = vb / 4;
    uint64_t tens = s / 10;
    bool down, up;

    if (s >= 10) {
        down = lower <= 40 * tens;
        up = 40 * tens + 40 <= upper;
        if (down != up)
            return (struct shortest){tens + up, k + 1};
    }
    down = lower <= 4 * s;
    up = 4 * s + 4 <= upper;
    if (down == up)
        up = vb > 4 * s + 2 || (vb == 4 * s + 2 && (s & 1) != 0);
    return (struct shortest){s + up, k};
}

/* A decimal of at most 15 digits that reads back as V is V's shortest form: no two decimals that short
 * read as one double. Three and six places cover what collectors print ("12.34") at the price of one
 * multiplication and one division each. */
static bool few_digits(double v, struct shortest *out)
{
    static const int places[] = {0, 3, 6};

    for (int i = 0; i < 3; i++) {
        double scaled = v * pow10_double[places[i]];
        uint64_t digits;

        if (scaled >= 1e15)
            return false;
        digits = (uint64_t)(scaled + 0.5);
        if ((double)digits / pow10_double[places[i]] == v) {
            *out = (struct shortest){digits, -places[i]};
            return true;
        }
    }
    return false;
}

static struct shortest shortest_digits(double v)
{
    uint64_t bits = bits_of_double(v);
    uint64_t mantissa = bits & (MANTISSA_MAX / 2 - 1);
    int exponent = (int)(bits >> 52);
    struct shortest s;

    if (v >= 1e-3 && few_digits(v, &s))
        ;
    else if (exponent == 0)
        s = schubfach(mantissa, -1074, false);
    else
        s = schubfach(mantissa | MANTISSA_MAX / 2, exponent - 1075, mantissa == 0 && exponent > 1);
    while (s.digits % 10 == 0) {
        s.digits /= 10;
        s.exponent++;
    }
    return s;
}

/* ---- writing: text ---- */

static const char two_digits[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                 "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                 "8081828384858687888990919293949596979899";

static int count_digits(uint64_t v)
{
    static const uint64_t least[] = {0,
                                     10,
                                     100,
                                     1000,
                                     10000,
                                     100000,
                                     1000000,
                                     10000000,
                                     100000000,
                                     1000000000,
                                     10000000000,
                                     100000000000,
                                     1000000000000,
                                     10000000000000,
                                     100000000000000,
                                     1000000000000000,
                                     10000000000000000,
                                     100000000000000000,
                                     1000000000000000000,
                                     10000000000000000000u};
    int n = (64 - __builtin_clzll(v | 1)) * 1233 >> 12; /* log10(2) = 0.30103: right or one too few */

    return n + (v >= least[n]);
}

/* The decimal digits of V to TO, exactly COUNT of them. */
static void put_digits(char *to, uint64_t v, int count)
{
    while (count >= 2) {
        count -= 2;
        memcpy(to + count, two_digits + v % 100 * 2, 2);
        v /= 100;
    }
    if (count == 1)
        to[0] = (char)('0' + v % 10);
}

/* "e-07", "e+16", "e+308": where it ends. */
static char *put_exponent(char *to, int exponent)
{
    *to++ = 'e';
    *to++ = exponent < 0 ? '-' : '+';
    if (exponent < 0)
        exponent = -exponent;
    if (exponent >= 100)
        *to++ = (char)('0' + exponent / 100);
    memcpy(to, two_digits + exponent % 100 * 2, 2);
    return to + 2;
}

/* N digits whose decimal point stands behind the POINT-th: where the text ends. */
static char *put_shortest(char *to, uint64_t digits, int n, int point)
{
    if (point > 16 || point <= -4) { /* 1e+16, 1.5e-05 */
        put_digits(to + 1, digits, n);
        to[0] = to[1];
        to[1] = '.';
        return put_exponent(to + (n == 1 ? 1 : n + 1), point - 1);
    }
    if (point <= 0) { /* 0.00012 */
        memcpy(to, "0.000", 5);
        put_digits(to + 2 - point, digits, n);
        return to + 2 - point + n;
    }
    if (point >= n) { /* 1200.0 */
        put_digits(to, digits, n);
        memset(to + n, '0', (size_t)(point - n));
        memcpy(to + point, ".0", 2);
        return to + point + 2;
    }
    put_digits(to + 1, digits, n); /* 1.5: make room for the point in front, then move the integer part */
    memmove(to, to + 1, (size_t)point);
    to[point] = '.';
    return to + n + 1;
}

size_t number_repr(double v, char *to)
{
    char *at = to;
    struct shortest s;
    int n;

    if (isnan(v)) {
        memcpy(to, "nan", 3);
        return 3;
    }
    if (signbit(v)) {
        *at++ = '-';
        v = -v;
    }
    if (isinf(v) || v == 0) {
        memcpy(at, isinf(v) ? "inf" : "0.0", 3);
        return (size_t)(at - to) + 3;
    }
    s = shortest_digits(v);
    n = count_digits(s.digits);
    return (size_t)(put_shortest(at, s.digits, n, n + s.exponent) - to);
}

size_t number_i64(int64_t v, char *to)
{
    uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    int n = count_digits(magnitude);

    if (v < 0)
        *to++ = '-';
    put_digits(to, magnitude, n);
    return (size_t)n + (v < 0);
}

/* ---- exact decimals ---- */

bool number_decimal(double v, int max_exponent, int64_t *digits, int *exponent)
{
    const double limit = (double)MANTISSA_MAX;

    if (!isfinite(v) || (v == 0 && signbit(v)))
        return false;
    for (int e = 0; e <= max_exponent; e++) {
        double nearest = rint(v * pow10_double[e]);

        if (fabs(nearest) >= limit + 2)
            return false;
        /* Near 2^53 the product's own rounding may be off by one. */
        for (int delta = 0; delta <= 2; delta++) {
            double candidate = nearest + (delta == 2 ? -1 : delta);

            if (fabs(candidate) < limit && candidate / pow10_double[e] == v) {
                *digits = (int64_t)candidate;
                *exponent = e;
                return true;
            }
            if (fabs(nearest) < limit / 4)
                break;
        }
    }
    return false;
}
