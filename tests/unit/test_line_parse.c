#include "server/line_parse.h"

#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NOW = 1700000123, POINTS = 4096 };

typedef const char *(*parse_fn)(const char *, const char *, size_t, int64_t, struct line_batch *);

/* Both readings, which must never differ. */
static const parse_fn readings[] = {line_parse, line_parse_plain};

/* The lines of TEXT, parsed in batches of BATCH, in exactly as much memory as the contract asks for. */
struct parsed {
    struct line_point points[POINTS];
    size_t count;
    char *memory;
};

static struct parsed *parse_all(parse_fn parse, const char *text, size_t len, size_t line_max, size_t batch_max)
{
    struct parsed *all = calloc(1, sizeof(*all));
    const char *at;

    all->memory = malloc(len + LINE_PARSE_PAD);
    memcpy(all->memory, text, len);
    memset(all->memory + len, '7', LINE_PARSE_PAD); /* what stands there must not matter */
    for (at = all->memory; at < all->memory + len;) {
        struct line_batch batch = {.points = all->points + all->count, .max = batch_max};

        cr_assert_leq(all->count + batch_max, POINTS);
        at = parse(at, all->memory + len, line_max, NOW, &batch);
        cr_assert_leq(batch.count, batch_max);
        all->count += batch.count;
    }
    cr_assert_eq(at, all->memory + len);
    return all;
}

static void parsed_free(struct parsed *all)
{
    free(all->memory);
    free(all);
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0 || (isnan(a) && isnan(b));
}

/* LINE gives this point. */
static void expect_point(const char *line, const char *name, double value, int64_t time_s)
{
    for (size_t i = 0; i < 2; i++) {
        struct parsed *all = parse_all(readings[i], line, strlen(line), LINE_MAX_DEFAULT, 8);
        struct line_point *p = &all->points[0];

        cr_assert_eq(all->count, 1, "\"%s\" gives %zu results", line, all->count);
        cr_assert_eq(p->result, LINE_OK, "\"%s\" is refused: %s", line, line_result_name(p->result));
        cr_assert(span_eq(p->name, span_str(name)), "\"%s\": name %.*s", line, SPAN_ARG(p->name));
        cr_assert(same_bits(p->value, value), "\"%s\": value %.17g", line, p->value);
        cr_assert_eq(p->time_s, time_s, "\"%s\": time %ld", line, (long)p->time_s);
        parsed_free(all);
    }
}

static void expect_refused(const char *line, size_t len, enum line_result reason)
{
    for (size_t i = 0; i < 2; i++) {
        struct parsed *all = parse_all(readings[i], line, len, LINE_MAX_DEFAULT, 8);

        cr_assert_eq(all->count, 1);
        cr_assert_eq(all->points[0].result, reason, "\"%s\": %s", line, line_result_name(all->points[0].result));
        cr_assert(span_eq(all->points[0].name, span_of(all->memory, len - 1)), "the excerpt is the whole line");
        parsed_free(all);
    }
}

#define REFUSED(line, reason) expect_refused(line, sizeof(line) - 1, reason)

Test(line_parse, reads_the_usual_line)
{
    expect_point("servers.web-01.cpu.user 12.75 1700000000\n", "servers.web-01.cpu.user", 12.75, 1700000000);
    expect_point("a 1 1\n", "a", 1, 1);
    expect_point("a -17.25 1700000000\n", "a", -17.25, 1700000000);
    expect_point("m;b=2;a=1 5 1700000000\n", "m;b=2;a=1", 5, 1700000000);
}

Test(line_parse, splits_at_any_white_space)
{
    expect_point("a 1 1700000000\r\n", "a", 1, 1700000000);
    expect_point("a\t1\t1700000000\n", "a", 1, 1700000000);
    expect_point("  a   1 \t 1700000000  \r\n", "a", 1, 1700000000);
    expect_point("\va\f1\v1700000000\f\n", "a", 1, 1700000000);
}

Test(line_parse, reads_numbers_as_python_does)
{
    expect_point("a +4.5 1700000000\n", "a", 4.5, 1700000000);
    expect_point("a .5 1700000000\n", "a", 0.5, 1700000000);
    expect_point("a 5. 1700000000\n", "a", 5, 1700000000);
    expect_point("a 1e3 1700000000\n", "a", 1000, 1700000000);
    expect_point("a 1.0E10 1700000000\n", "a", 1e10, 1700000000);
    expect_point("a 1_000 1700000000\n", "a", 1000, 1700000000);
    expect_point("a -0 1700000000\n", "a", -0.0, 1700000000);
    expect_point("a 007 1700000000\n", "a", 7, 1700000000);
    expect_point("a inf 1700000000\n", "a", INFINITY, 1700000000);
    expect_point("a -Infinity 1700000000\n", "a", -INFINITY, 1700000000);
    expect_point("a 1e400 1700000000\n", "a", INFINITY, 1700000000);
    expect_point("a nan 1700000000\n", "a", NAN, 1700000000);
    expect_point("a 748.64164820379181 1700000000\n", "a", 748.64164820379181, 1700000000);
    expect_point("a 9007199254740993 1700000000\n", "a", 9007199254740992, 1700000000);
    expect_point("a 18446744073709551616 1700000000\n", "a", 18446744073709551616.0, 1700000000);
    expect_point("a 0.1 1700000000\n", "a", 0.1, 1700000000);
    expect_point("a 0.0000000000001 1700000000\n", "a", 1e-13, 1700000000);
    expect_point("a 999999999999999 1700000000\n", "a", 999999999999999, 1700000000);
    expect_point("a 99.9999999999999 1700000000\n", "a", 99.9999999999999, 1700000000);
}

Test(line_parse, reads_timestamps_as_carbon_does)
{
    expect_point("a 1 1700000000.9\n", "a", 1, 1700000000);
    expect_point("a 1 1.7e9\n", "a", 1, 1700000000);
    expect_point("a 1 -1\n", "a", 1, NOW);
    expect_point("a 1 -1.5\n", "a", 1, NOW);
    expect_point("a 1 N\n", "a", 1, NOW);
    expect_point("a 1 -0.5\n", "a", 1, 0);
    expect_point("a 1 0\n", "a", 1, 0);
    expect_point("a 1 -2\n", "a", 1, -2);
    expect_point("a 1 999999999999999\n", "a", 1, 999999999999999);
    expect_point("a 1 -9e18\n", "a", 1, -9000000000000000000);
}

Test(line_parse, refuses_with_a_reason)
{
    REFUSED("a\n", LINE_FIELDS);
    REFUSED("a 1\n", LINE_FIELDS);
    REFUSED("a 1 1700000000 x\n", LINE_FIELDS);
    REFUSED("a b 1 1700000000\n", LINE_FIELDS);
    REFUSED("a x 1700000000\n", LINE_VALUE);
    REFUSED("a 0x10 1700000000\n", LINE_VALUE);
    REFUSED("a U 1700000000\n", LINE_VALUE);
    REFUSED("a . 1700000000\n", LINE_VALUE);
    REFUSED("a - 1700000000\n", LINE_VALUE);
    REFUSED("a 1.2.3 1700000000\n", LINE_VALUE);
    REFUSED("a 1-2 1700000000\n", LINE_VALUE);
    REFUSED("a 1__0 1700000000\n", LINE_VALUE);
    REFUSED("a 1\0 1700000000\n", LINE_VALUE);
    REFUSED("a 1 x\n", LINE_TIMESTAMP);
    REFUSED("a 1 nan\n", LINE_TIMESTAMP);
    REFUSED("a 1 inf\n", LINE_TIMESTAMP);
    REFUSED("a 1 1e19\n", LINE_TIMESTAMP);
    REFUSED("a 1 0x1\n", LINE_TIMESTAMP);
    REFUSED("a\001b 1 1700000000\n", LINE_CONTROL);
    REFUSED("a\0b 1 1700000000\n", LINE_CONTROL);
}

Test(line_parse, takes_utf8_and_refuses_what_is_not)
{
    expect_point("caf\xC3\xA9.t\xE2\x82\xAC.\xF0\x9F\x98\x80 1 1700000000\n",
                 "caf\xC3\xA9.t\xE2\x82\xAC.\xF0\x9F\x98\x80", 1, 1700000000);
    REFUSED("a\xFF 1 1700000000\n", LINE_UTF8);
    REFUSED("a\x80 1 1700000000\n", LINE_UTF8);
    REFUSED("a\xC0\xAF 1 1700000000\n", LINE_UTF8);
    REFUSED("a\xE0\x80\x80 1 1700000000\n", LINE_UTF8);
    REFUSED("a\xED\xA0\x80 1 1700000000\n", LINE_UTF8);
    REFUSED("a\xF4\x90\x80\x80 1 1700000000\n", LINE_UTF8);
    REFUSED("a 1 1700000000 \xE2\x82\n", LINE_UTF8);
}

Test(line_parse, takes_an_empty_line_for_nothing)
{
    static const char text[] = "\n\r\n \t \n";

    for (size_t i = 0; i < 2; i++) {
        struct parsed *all = parse_all(readings[i], text, sizeof(text) - 1, LINE_MAX_DEFAULT, 8);

        cr_assert_eq(all->count, 0);
        parsed_free(all);
    }
}

Test(line_parse, refuses_one_byte_more_than_the_limit)
{
    static const char text[] = "abcd 1 1700000000\nabc 1 1700000000\n                  \nabcd\t1 1700000000\n";

    for (size_t i = 0; i < 2; i++) {
        struct parsed *all = parse_all(readings[i], text, sizeof(text) - 1, strlen("abc 1 1700000000"), 8);

        cr_assert_eq(all->count, 4);
        cr_assert_eq(all->points[0].result, LINE_TOO_LONG);
        cr_assert_eq(all->points[1].result, LINE_OK);
        cr_assert_eq(all->points[2].result, LINE_TOO_LONG);
        cr_assert_eq(all->points[3].result, LINE_TOO_LONG);
        parsed_free(all);
    }
}

Test(line_parse, never_hurts_the_neighbours_of_a_bad_line)
{
    static const char text[] = "a 1 1\nbad\nb 2 2\n\xFF 1 1\nc 3 3\nd x 4\ne 5 5\n";
    static const char *const names[] = {"a", "bad", "b", "\xFF 1 1", "c", "d x 4", "e"};

    for (size_t i = 0; i < 2; i++) {
        struct parsed *all = parse_all(readings[i], text, sizeof(text) - 1, LINE_MAX_DEFAULT, 8);

        cr_assert_eq(all->count, 7);
        for (size_t n = 0; n < 7; n++) {
            cr_assert(span_eq(all->points[n].name, span_str(names[n])));
            cr_assert_eq(all->points[n].result == LINE_OK, n % 2 == 0);
        }
        parsed_free(all);
    }
}

/* ---- random lines: both readings against one more that is as simple as can be ---- */

static struct rng rng;

static uint32_t roll(uint32_t below)
{
    return (uint32_t)rng_below(&rng, below);
}

/* Python's float() by its grammar, then strtod. S is terminated. */
static bool model_number(const char *s, double *out)
{
    static const char *const words[] = {"nan", "inf", "infinity"};
    const char *p = s + (*s == '+' || *s == '-');
    char plain[600];
    size_t n = 0;
    bool seen[256] = {false};

    for (size_t i = 0; i < 3; i++) {
        if (strcasecmp(p, words[i]) == 0) {
            *out = strtod(s, NULL);
            return true;
        }
    }
    for (const char *c = s; *c != '\0'; c++) {
        bool between = c > s && c[-1] >= '0' && c[-1] <= '9' && c[1] >= '0' && c[1] <= '9';

        if (*c == '_' && between)
            continue;
        if (strchr("0123456789+-.eE", *c) == NULL)
            return false;
        seen[(unsigned char)*c] = true;
        plain[n++] = *c;
    }
    plain[n] = '\0';
    if (n == 0 || seen['e'] + seen['E'] > 2)
        return false;
    char *stop;
    *out = strtod(plain, &stop);
    return stop != plain && *stop == '\0';
}

static enum line_result model_line(const char *line, char *name, double *value, int64_t *time_s)
{
    char fields[4][600];
    char copy[600];
    int n = 0;
    double t;

    strcpy(copy, line);
    for (char *save, *f = strtok_r(copy, " \t\r\v\f", &save); f != NULL && n < 4;
         f = strtok_r(NULL, " \t\r\v\f", &save))
        strcpy(fields[n++], f);
    if (n != 3)
        return LINE_FIELDS;
    for (const char *c = fields[0]; *c != '\0'; c++) {
        if (*c > 0 && *c < ' ')
            return LINE_CONTROL;
    }
    if (!model_number(fields[1], value))
        return LINE_VALUE;
    if (strcmp(fields[2], "N") == 0)
        t = -1;
    else if (!model_number(fields[2], &t) || isnan(t) || fabs(t) >= 9223372036854775808.0)
        return LINE_TIMESTAMP;
    *time_s = (int64_t)t == -1 ? NOW : (int64_t)t;
    strcpy(name, fields[0]);
    return LINE_OK;
}

/* A line that is often right and often nearly right. No NUL, no LF, nothing beyond ASCII. */
static void random_line(char *line)
{
    static const int decimals[] = {2, 0, 13, 1, 5};
    static const char junk[] = " \t\r.-+_eEN019x\001;=n~";
    size_t name_len = 1 + roll(roll(4) == 0 ? 90 : 40);
    size_t n;
    double value = (double)roll(1u << 31) / (1 + roll(1u << 20)) * (roll(2) ? 1 : -1);

    for (n = 0; n < name_len; n++)
        line[n] = "abcdefghijk.-_;=0123/"[roll(21)];
    line[n++] = ' ';
    if (roll(3) == 0)
        n += (size_t)sprintf(line + n, "%.*g", 1 + (int)roll(17), value);
    else
        n += (size_t)sprintf(line + n, "%.*f", decimals[roll(5)], value);
    line[n++] = ' ';
    n += (size_t)sprintf(line + n, "%u", roll(3) ? 1700000000 + roll(100000) : roll(1u << (1 + roll(31))));
    for (uint32_t i = roll(2) ? roll(4) : 0; i > 0; i--) {
        size_t at = roll((uint32_t)n + 1);
        char c = junk[roll(sizeof(junk) - 1)];

        if (roll(2) && at < n) {
            line[at] = c;
        } else {
            memmove(line + at + 1, line + at, n - at);
            line[at] = c;
            n++;
        }
    }
    if (roll(8) == 0)
        line[n++] = '\r';
    line[n] = '\0';
}

static bool is_empty(const char *line)
{
    return line[strspn(line, " \t\r\v\f")] == '\0';
}

static void compare_with_model(const char *text, size_t len, char lines[][600], size_t count)
{
    for (size_t r = 0; r < 2; r++) {
        struct parsed *all = parse_all(readings[r], text, len, LINE_MAX_DEFAULT, 1 + roll(130));
        size_t n = 0;

        for (size_t i = 0; i < count; i++) {
            char name[600];
            double value;
            int64_t time_s;
            enum line_result want;

            if (is_empty(lines[i]))
                continue;
            want = model_line(lines[i], name, &value, &time_s);
            cr_assert_lt(n, all->count);
            cr_assert_eq(all->points[n].result, want, "reading %zu \"%s\": %s, not %s", r, lines[i],
                         line_result_name(all->points[n].result), line_result_name(want));
            if (want == LINE_OK) {
                cr_assert(span_eq(all->points[n].name, span_str(name)), "\"%s\"", lines[i]);
                cr_assert(same_bits(all->points[n].value, value), "\"%s\": %.17g, not %.17g", lines[i],
                          all->points[n].value, value);
                cr_assert_eq(all->points[n].time_s, time_s, "\"%s\"", lines[i]);
            }
            n++;
        }
        cr_assert_eq(n, all->count);
        parsed_free(all);
    }
}

Test(line_parse, agrees_with_a_plain_model_on_random_lines)
{
    static char lines[200][600];
    static char text[200 * 600];

    FOR_SEEDS (seed, 300) {
        size_t len = 0;

        rng = rng_from(seed);
        for (size_t i = 0; i < 200; i++) {
            random_line(lines[i]);
            memcpy(text + len, lines[i], strlen(lines[i]));
            len += strlen(lines[i]);
            text[len++] = '\n';
        }
        compare_with_model(text, len, lines, 200);
    }
}

/* Any bytes: both readings give the same, and nothing outside of the input is touched (run under ASan). */
Test(line_parse, reads_any_bytes_alike_both_ways)
{
    static const char alphabet[] = "a.1 \n\n\t\r-+e_N\0\001\x7F\xC3\xA9\xFF;={}\"0123456789";
    char text[3000];

    FOR_SEEDS (seed, 2000) {
        size_t len;
        struct parsed *a, *b;

        rng = rng_from(seed);
        len = 1 + roll(sizeof(text));
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[roll(sizeof(alphabet) - 1)];
        text[len - 1] = '\n';
        a = parse_all(line_parse, text, len, 40, 64);
        b = parse_all(line_parse_plain, text, len, 40, 64);
        cr_assert_eq(a->count, b->count);
        for (size_t i = 0; i < a->count; i++) {
            struct line_point *p = &a->points[i], *q = &b->points[i];

            cr_assert_eq(p->result, q->result);
            cr_assert_eq(p->name.ptr - a->memory, q->name.ptr - b->memory);
            cr_assert_eq(p->name.len, q->name.len);
            cr_assert(p->result != LINE_OK || (same_bits(p->value, q->value) && p->time_s == q->time_s));
        }
        parsed_free(a);
        parsed_free(b);
    }
}
