/* How fast the plaintext parser alone reads lines: million lines a second of CPU time, the buffer in the cache,
 * as it is after recv(). Both readings, four kinds of values. */
#include "server/line_parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BYTES = 256 << 10, BATCH = 64 };

typedef const char *(*parse_fn)(const char *, const char *, size_t, int64_t, struct line_batch *);

/* Fill TEXT with whole lines, values below SCALE with so many DECIMALS. Returns their bytes. */
static size_t fill(char *text, int decimals, double scale, size_t *lines)
{
    size_t len = 0;

    for (*lines = 0; len + 256 < BYTES; (*lines)++) {
        len += (size_t)sprintf(text + len, "servers.web-%04zu-eu-west-1a.cpu.cpu%02zu.user ", *lines % 500,
                               *lines / 500 % 8);
        len += (size_t)sprintf(text + len, "%.*f", decimals, scale * (double)random() / RAND_MAX);
        len += (size_t)sprintf(text + len, " %" PRId64 "\n", INT64_C(1700000000) + (int64_t)(*lines / 100 * 10));
    }
    return len;
}

static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static double million_lines_a_second(parse_fn parse, const char *text, size_t len, size_t lines)
{
    static struct line_point points[BATCH];
    struct line_batch batch = {.points = points, .max = BATCH};
    int64_t begun = cpu_ns();
    volatile double sum = 0;
    size_t rounds = 0;

    do {
        for (const char *at = text; at < text + len;) {
            at = parse(at, text + len, LINE_MAX_DEFAULT, 1700000000, &batch);
            sum = points[0].value;
        }
        rounds++;
    } while (cpu_ns() - begun < 500000000);
    (void)sum;
    return (double)(rounds * lines) * 1e3 / (double)(cpu_ns() - begun);
}

int main(void)
{
    static const struct {
        const char *name;
        int decimals;
        double scale;
    } kinds[] = {{"2 decimals", 2, 100}, {"integer", 0, 1e6}, {"constant", 0, 1}, {"16 digits", 13, 900}};
    char *text = calloc(1, BYTES + LINE_PARSE_PAD);

    if (text == NULL)
        return 1;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t lines;
        size_t len = fill(text, kinds[i].decimals, kinds[i].scale, &lines);

        printf("%-12s %3zu bytes a line: %6.1f M lines/s fast, %6.1f plain\n", kinds[i].name, len / lines,
               million_lines_a_second(line_parse, text, len, lines),
               million_lines_a_second(line_parse_plain, text, len, lines));
    }
    free(text);
    return 0;
}
