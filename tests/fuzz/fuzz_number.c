/* Any bytes as a number: what is read prints and reads back as the same double, and agrees with strtod;
 * any eight bytes as a double print and read back. */
#include "base/number.h"

#include "base/must.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(double a, double b)
{
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof(a)) == 0;
}

static void check_round_trip(double v)
{
    char text[NUMBER_MAX];
    size_t len = number_repr(v, text);
    double back = 0;
    int64_t digits;
    int exponent;

    MUST(len <= NUMBER_MAX);
    MUST(number_parse(span_of(text, len), &back) && same(v, back));
    if (number_decimal(v, 22, &digits, &exponent))
        MUST((double)digits / pow(10, exponent) == v);
}

/* strtod knows no underscores: without them, what we read is what it reads. */
static void check_against_strtod(struct span s, double v)
{
    char text[1024];
    char *end;

    if (s.len >= sizeof(text) || memchr(s.ptr, '_', s.len) != NULL)
        return;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    MUST(same(v, strtod(text, &end)) && *end == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span s = span_of(data, size);
    int64_t integer;
    double v;

    if (number_parse(s, &v)) {
        check_round_trip(v);
        check_against_strtod(s, v);
    }
    if (number_parse_i64(s, &integer))
        MUST(number_parse(s, &v) && v == (double)integer);
    if (size >= sizeof(v)) {
        memcpy(&v, data, sizeof(v));
        check_round_trip(v);
    }
    return 0;
}
