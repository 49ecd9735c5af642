/* Random rounds are 300,000; NUMBER_ROUNDS=10000000 in the environment runs more by hand. */
#include "base/number.h"

#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool same(double a, double b)
{
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof(a)) == 0;
}

static uint64_t bits(double v)
{
    uint64_t b;

    memcpy(&b, &v, sizeof(b));
    return b;
}

static double from_bits(uint64_t b)
{
    double v;

    memcpy(&v, &b, sizeof(v));
    return v;
}

static uint64_t rounds(void)
{
    const char *text = getenv("NUMBER_ROUNDS");

    return text == NULL ? 300000 : strtoull(text, NULL, 10);
}

/* TEXT reads as V; in a heap block of exactly its size, so that ASan sees a byte too far. */
static void reads_as(const char *text, double v)
{
    size_t len = strlen(text);
    char *copy = malloc(len + 1);
    double got = -12345;

    memcpy(copy, text, len);
    copy = realloc(copy, len == 0 ? 1 : len);
    cr_assert(number_parse(span_of(copy, len), &got), "\"%.60s\" is not read", text);
    cr_assert(same(got, v), "\"%.60s\" reads as %a, not %a", text, got, v);
    free(copy);
}

static void is_no_number(const char *text)
{
    double got = 17.5;

    cr_assert_not(number_parse(span_str(text), &got), "\"%s\" is read as %a", text, got);
    cr_assert(got == 17.5, "out was touched");
}

static void prints_as(double v, const char *text)
{
    char got[NUMBER_MAX + 1];
    size_t len = number_repr(v, got);

    got[len] = '\0';
    cr_assert_str_eq(got, text, "%a prints as %s, not %s", v, got, text);
}

/* ---- reading ---- */

Test(number, reads_what_collectors_send)
{
    reads_as("0", 0.0);
    reads_as("12.34", 12.34);
    reads_as("1234567", 1234567);
    reads_as("748.64164820379181", 748.64164820379181);
    reads_as("-1.5", -1.5);
    reads_as("+7", 7);
    reads_as("00012", 12);
    reads_as("0.000001", 0.000001);
    reads_as("1e5", 1e5);
    reads_as("1.5E-7", 1.5e-7);
    reads_as("2.5e+3", 2500);
    reads_as("18446744073709551615", 18446744073709551615.0);
    reads_as("18446744073709551616", 18446744073709551616.0);
    reads_as("99999999999999999999999999", 1e26);
}

Test(number, reads_as_pythons_float_does)
{
    reads_as("1.", 1);
    reads_as(".5", 0.5);
    reads_as("-.5e1", -5);
    reads_as("1_000", 1000);
    reads_as("1_0.0_5e0_1", 100.5);
    reads_as("-0", -0.0);
    reads_as("-0.0e99999999999999999999", -0.0);
    reads_as("inf", INFINITY);
    reads_as("-Infinity", -INFINITY);
    reads_as("+INF", INFINITY);
    reads_as("NaN", NAN);
    reads_as("-nan", NAN);
    reads_as("1e400", INFINITY);
    reads_as("-1e400", -INFINITY);
    reads_as("1e-400", 0);
    reads_as("1e99999999999999999999999", INFINITY);
    reads_as("1e-99999999999999999999999", 0);
}

Test(number, refuses_what_pythons_float_refuses)
{
    static const char *const bad[] = {
        "",      "-",          "+",
        ".",     "-.",         "e5",
        ".e5",   "1e",         "1e+",
        "1e-",   "1.e",        "1__0",
        "_1",    "1_",         "1_.0",
        "1._0",  "1e_1",       "1e1_",
        "0x10",  "0x1p3",      "nan(1)",
        "in",    "infi",       "infinit",
        "--1",   "+-1",        "1 ",
        " 1",    "1,5",        "1.2.3",
        "1e5.0", "N",          "None",
        "1e5e5", "a",          "12a",
        "1_e5",  "123456789a", "12345678.12345678x",
        "1-",    "١",          "inf_",
        "nan0",  "1\n",        "infinityy",
        "/",     ":",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        is_no_number(bad[i]);
}

Test(number, reads_a_zero_byte_as_no_digit)
{
    double v;

    cr_assert_not(number_parse(span_of("1\0002", 3), &v));
    cr_assert_not(number_parse(span_of("\0", 1), &v));
}

Test(number, reads_the_hard_cases_exactly)
{
    static const char *const hard[] = {
        "5e-324",
        "4.9406564584124654e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "2.2250738585072014e-308",
        "2.2250738585072011e-308",
        "2.225073858507201e-308",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1.797693134862315808e308",
        "9007199254740993",
        "9007199254740992",
        "9007199254740991",
        "9007199254740993.0",
        "9007199254740995",
        "1e22",
        "1e23",
        "9.5e22",
        "8.988465674311581e307",
        "123456789012345678",
        "1234567890123456789012",
        "6.02214076e23",
        "9223372036854775807",
        "9223372036854775808",
        "7.2057594037927933e16",
        "0.500000000000000166533453693773481063544750213623046875", /* half-way, to even */
        "0.500000000000000166533453693773481063544750213623046874",
        "0.500000000000000166533453693773481063544750213623046876",
        "3.5844466002796428e+298",
        "1448997445238699",
        "30078505129381147446200e0",
        "1777820000000000000001",
        "2.98023223876953125e-8",
        "1090544144181609348671888949248",
        "1090544144181609348835077142190",
        "3308e-1",
        "1.00000000000000011102230246251565404236316680908203125",
        "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126",
        "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286"
        "416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571"
        "366959622842914819860834936475292719074168444365510704342711559699508093042880",
        "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286"
        "416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571"
        "366959622842914819860834936475292719074168444365510704342711559699508093042879.999",
    };

    for (size_t i = 0; i < sizeof(hard) / sizeof(hard[0]); i++)
        reads_as(hard[i], strtod(hard[i], NULL));
}

Test(number, reads_800_digits_and_more_exactly)
{
    char text[4000];

    /* The middle between two subnormals has 767 digits; a last digit beyond decides. */
    snprintf(text, sizeof(text), "%.1080f", 0x1p-1074 * 3);
    reads_as(text, 0x1p-1074 * 3);
    FOR_SEEDS (seed, 300) {
        struct rng r = rng_from(seed);
        size_t n = 20 + rng_below(&r, 1500);

        for (size_t i = 0; i < n; i++)
            text[i] = (char)('0' + rng_below(&r, 10));
        text[rng_below(&r, n)] = '.';
        snprintf(text + n, 30, "e%d", (int)rng_between(&r, -1200, 400));
        reads_as(text, strtod(text, NULL));
    }
}

Test(number, reads_the_middle_between_two_doubles_to_even)
{
    char text[1200];

    FOR_SEEDS (seed, 2000) {
        struct rng r = rng_from(seed);
        double low = from_bits(rng_below(&r, 0x7FE0000000000000));
        double high = from_bits(bits(low) + 1);
        long double middle = ((long double)low + (long double)high) / 2;
        int len;

        if (low < 1e-300) /* long double has no room for the middle there */
            continue;
        len = snprintf(text, sizeof(text), "%.800Lf", middle);
        if (low < 1e-100)
            len = snprintf(text, sizeof(text), "%.780Le", middle);
        reads_as(text, (bits(low) & 1) == 0 ? low : high);
        if (text[len - 1] == '0') {
            text[len - 1] = '1';
            reads_as(text, strtod(text, NULL));
        }
    }
}

Test(number, agrees_with_strtod_on_random_decimals)
{
    struct rng r = rng_from(rng_seed_first());
    char text[64];

    for (uint64_t i = 0; i < rounds(); i++) {
        uint64_t digits = rng_u64(&r) >> rng_below(&r, 64);
        int point = (int)rng_below(&r, 21);
        double got, want;
        int len;

        if (rng_one_in(&r, 2)) {
            len = snprintf(text, sizeof(text), "%" PRIu64 "e%d", digits, (int)rng_between(&r, -345, 310));
        } else {
            len = snprintf(text, sizeof(text), "%021" PRIu64, digits);
            memmove(text + point + 1, text + point, (size_t)(len - point) + 1);
            text[point] = '.';
            len++;
        }
        want = strtod(text, NULL);
        cr_assert(number_parse(span_of(text, (size_t)len), &got), "%s", text);
        cr_assert(same(got, want), "%s reads as %a, not %a", text, got, want);
    }
}

Test(number, reads_integers_of_64_bits_and_no_more)
{
    static const struct {
        const char *text;
        int64_t v;
    } good[] = {{"0", 0},
                {"-0", 0},
                {"+5", 5},
                {"007", 7},
                {"1234567890", 1234567890},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN},
                {"00000000000000000000000000000000000042", 42},
                {"-12345678", -12345678}};
    static const char *const bad[] = {"",
                                      "-",
                                      "+",
                                      "1.0",
                                      "1e3",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "1_000",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "99999999999999999999",
                                      "18446744073709551616",
                                      "123456789a"};
    int64_t v;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        cr_assert(number_parse_i64(span_str(good[i].text), &v) && v == good[i].v, "%s", good[i].text);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_not(number_parse_i64(span_str(bad[i]), &v), "%s", bad[i]);
}

/* ---- writing ---- */

Test(number, prints_as_pythons_repr)
{
    prints_as(0.0, "0.0");
    prints_as(-0.0, "-0.0");
    prints_as(1, "1.0");
    prints_as(-1.5, "-1.5");
    prints_as(12.34, "12.34");
    prints_as(100, "100.0");
    prints_as(0.1, "0.1");
    prints_as(0.1 + 0.2, "0.30000000000000004");
    prints_as(1.0 / 3, "0.3333333333333333");
    prints_as(0.001, "0.001");
    prints_as(0.0001, "0.0001");
    prints_as(0.00001, "1e-05");
    prints_as(0.000012345, "1.2345e-05");
    prints_as(1e-7, "1e-07");
    prints_as(1e15, "1000000000000000.0");
    prints_as(1e16, "1e+16");
    prints_as(123456789012345680.0, "1.2345678901234568e+17");
    prints_as(9999999999999998.0, "9999999999999998.0");
    prints_as(9007199254740993.0, "9007199254740992.0");
    prints_as(1e22, "1e+22");
    prints_as(1e23, "1e+23");
    prints_as(9.5e22, "9.5e+22");
    prints_as(5e-324, "5e-324");
    prints_as(2.2250738585072014e-308, "2.2250738585072014e-308");
    prints_as(2.225073858507201e-308, "2.225073858507201e-308");
    prints_as(1.7976931348623157e308, "1.7976931348623157e+308");
    prints_as(-1.7976931348623157e-300, "-1.7976931348623157e-300");
    prints_as(9.109383701528e-31, "9.109383701528e-31");
    prints_as(2e-44, "2e-44");
    prints_as(INFINITY, "inf");
    prints_as(-INFINITY, "-inf");
    prints_as(NAN, "nan");
    prints_as(748.64164820379181, "748.6416482037918");
    prints_as(4.35, "4.35");
    prints_as(8.41e21, "8.41e+21");
    prints_as(2.0e-3, "0.002");
}

/* The digits of the shortest decimal that reads back, found by trying 1, 2, ... 17 digits; printf
 * rounds to nearest, so the first that reads back is also the nearest of that length... */
static void shortest_by_trial(double v, char *digits, int *exponent)
{
    char text[64];

    for (int n = 1; n <= 17; n++) {
        snprintf(text, sizeof(text), "%.*e", n - 1, v);
        if (strtod(text, NULL) == v)
            break;
    }
    *exponent = atoi(strchr(text, 'e') + 1);
    digits[0] = text[0];
    digits[1] = '\0';
    if (text[1] == '.') {
        size_t n = strcspn(text + 2, "e");

        memcpy(digits + 1, text + 2, n);
        digits[n + 1] = '\0';
    }
}

/* Digits without leading and trailing zeros and the exponent of the first, of a text that we print. */
static void digits_of(const char *text, char *digits, int *exponent)
{
    int point = 0, n = 0;
    bool seen_point = false;

    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text == '.') {
            seen_point = true;
        } else if (n != 0 || *text != '0') {
            digits[n++] = *text;
            point += !seen_point;
        } else {
            point -= seen_point;
        }
    }
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = '\0';
    *exponent = point - 1 + (*text == 'e' ? atoi(text + 1) : 0);
}

/* V > 0 prints as the shortest digits and reads back. */
static void check_repr(double v)
{
    char text[NUMBER_MAX + 1], got[32], want[32];
    int got_exponent, want_exponent;
    size_t len = number_repr(v, text);
    double back;

    cr_assert(len <= NUMBER_MAX);
    text[len] = '\0';
    cr_assert(number_parse(span_of(text, len), &back) && same(v, back), "%a prints as %s, which reads as %a", v, text,
              back);
    digits_of(text, got, &got_exponent);
    shortest_by_trial(v, want, &want_exponent);
    if (strcmp(got, want) != 0 || got_exponent != want_exponent) {
        /* ...but near a power of two the interval is lopsided: a decimal that is not the nearest of its
         * length may read back where the nearest does not. */
        cr_assert(strtod(text, NULL) == v && strlen(got) < strlen(want), "%a prints as %s, not %se%d", v, text, want,
                  want_exponent);
        cr_assert((bits(v) & 0xFFFFFFFFFFFFF) == 0, "%a prints as %s, not %se%d", v, text, want, want_exponent);
    }
}

Test(number, prints_powers_of_two_and_ten_shortest)
{
    for (int e = -1074; e <= 1023; e++) {
        double v = ldexp(1, e);

        check_repr(v);
        check_repr(from_bits(bits(v) + 1));
        if (bits(v) > 1)
            check_repr(from_bits(bits(v) - 1));
    }
    for (int e = -323; e <= 308; e++) {
        char text[16];
        double v;

        snprintf(text, sizeof(text), "1e%d", e);
        v = strtod(text, NULL);
        check_repr(v);
        check_repr(from_bits(bits(v) + 1));
        check_repr(from_bits(bits(v) - 1));
    }
    check_repr(DBL_MAX);
    for (int e = 1; e <= 100; e++)
        check_repr(from_bits((uint64_t)e)); /* the smallest subnormals */
}

Test(number, prints_random_doubles_shortest)
{
    struct rng r = rng_from(rng_seed_first());

    for (uint64_t i = 0; i < rounds() / 6; i++)
        check_repr(from_bits(1 + rng_below(&r, 0x7FEFFFFFFFFFFFFF)));
}

Test(number, prints_random_decimals_shortest)
{
    struct rng r = rng_from(rng_seed_first());

    for (uint64_t i = 0; i < rounds() / 6; i++) {
        int64_t digits = 1 + (int64_t)(rng_u64(&r) >> (10 + rng_below(&r, 53)));

        check_repr((double)digits / pow(10, (double)rng_below(&r, 12)));
    }
}

Test(number, what_printf_prints_reads_back)
{
    struct rng r = rng_from(rng_seed_first());
    char text[64];

    for (uint64_t i = 0; i < rounds(); i++) {
        double v = from_bits(rng_u64(&r));
        double got;
        int len;

        if (!isfinite(v))
            continue;
        len = snprintf(text, sizeof(text), "%.17g", v);
        cr_assert(number_parse(span_of(text, (size_t)len), &got) && same(v, got), "%s reads as %a", text, got);
        len = (int)number_repr(v, text);
        cr_assert(number_parse(span_of(text, (size_t)len), &got) && same(v, got), "%a: %.*s", v, len, text);
    }
}

Test(number, prints_integers)
{
    static const int64_t cases[] = {0, 1, -1, 9, 10, 99, 100, 101, 999999999, 1000000000, INT64_MAX, INT64_MIN};
    struct rng r = rng_from(rng_seed_first());
    char got[NUMBER_MAX + 1], want[32];

    for (size_t i = 0; i < 20000; i++) {
        int64_t v = i < sizeof(cases) / sizeof(cases[0]) ? cases[i] : (int64_t)rng_u64(&r) >> rng_below(&r, 64);

        got[number_i64(v, got)] = '\0';
        snprintf(want, sizeof(want), "%" PRId64, v);
        cr_assert_str_eq(got, want);
    }
    for (uint64_t v = 1; v <= 1000000000000000000; v *= 10) { /* the edges between lengths */
        got[number_i64((int64_t)v - 1, got)] = '\0';
        snprintf(want, sizeof(want), "%" PRIu64, v - 1);
        cr_assert_str_eq(got, want);
    }
}

/* ---- exact decimals ---- */

Test(number, knows_exact_decimals)
{
    int64_t digits;
    int exponent;

    cr_assert(number_decimal(12.34, 22, &digits, &exponent) && digits == 1234 && exponent == 2);
    cr_assert(number_decimal(-0.5, 22, &digits, &exponent) && digits == -5 && exponent == 1);
    cr_assert(number_decimal(0, 22, &digits, &exponent) && digits == 0 && exponent == 0);
    cr_assert(number_decimal(100, 22, &digits, &exponent) && digits == 100 && exponent == 0);
    cr_assert(number_decimal(9007199254740991.0, 0, &digits, &exponent) && digits == 9007199254740991);
    cr_assert_not(number_decimal(9007199254740992.0, 22, &digits, &exponent));
    cr_assert_not(number_decimal(12.34, 1, &digits, &exponent));
    cr_assert_not(number_decimal(-0.0, 22, &digits, &exponent));
    cr_assert_not(number_decimal(NAN, 22, &digits, &exponent));
    cr_assert_not(number_decimal(INFINITY, 22, &digits, &exponent));
    cr_assert_not(number_decimal(1e300, 22, &digits, &exponent));
    cr_assert_not(number_decimal(5e-324, 22, &digits, &exponent));
}

Test(number, decimals_read_back_whatever_their_size)
{
    struct rng r = rng_from(rng_seed_first());

    for (uint64_t i = 0; i < rounds() / 3; i++) {
        int64_t want = (int64_t)(rng_u64(&r) >> (11 + rng_below(&r, 53)));
        int places = (int)rng_below(&r, 16), exponent;
        double v = (double)want / pow(10, places);
        int64_t digits;
        char text[64];

        if (rng_one_in(&r, 2))
            want = -want, v = -v;
        if (want == 0)
            continue;
        cr_assert(number_decimal(v, 22, &digits, &exponent), "%" PRId64 " / 10^%d", want, places);
        cr_assert(exponent <= places);
        snprintf(text, sizeof(text), "%" PRId64 "e-%d", digits, exponent);
        cr_assert(strtod(text, NULL) == v, "%s is not %a", text, v);
    }
}
