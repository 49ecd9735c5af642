/* Runs tests/scripts/: what functions do, as text that anyone can read and add to. See the README there. */
#include "query/query.h"

#include "base/file.h"
#include "base/number.h"
#include "tests/help/memory_source.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

enum { SERIES_MAX = 64, VALUES_MAX = 512, TEXT_MAX = 1 << 20 };

/* A Monday, 00:00 UTC: all times in scripts count from here. */
static const int64_t origin_s = 1500249600;

struct script {
    const char *path;
    int line;
    struct memory_series series[SERIES_MAX];
    char names[SERIES_MAX][256];
    double values[SERIES_MAX][VALUES_MAX];
    struct memory_store store;
    int64_t step_s; /* of the present load */
    int64_t from_s;
    int64_t until_s;
    char params[256]; /* of the present eval, as a query string */
    char answer[65536];
    char *rest; /* what of the answer was not expected yet */
    bool fails;
    bool evaluated;
};

#define must(s, condition, ...) cr_assert(condition, "%s:%d: %s", (s)->path, (s)->line, format(__VA_ARGS__))

__attribute__((format(printf, 1, 2))) static const char *format(const char *text, ...)
{
    static char line[70000];
    va_list args;

    va_start(args, text);
    vsnprintf(line, sizeof(line), text, args);
    va_end(args);
    return line;
}

/* ---- words ---- */

static char *next_word(char **at)
{
    char *word;

    *at += strspn(*at, " ");
    word = *at;
    *at += strcspn(*at, " ");
    if (**at != 0)
        *(*at)++ = 0;
    return *word == 0 ? NULL : word;
}

/* "_" is None, "5x3" is 5 5 5. */
static size_t read_values(struct script *s, char *text, double *out)
{
    size_t count = 0;
    char *word;

    while ((word = next_word(&text)) != NULL) {
        char *times = strchr(word, 'x');
        long n = times == NULL ? 1 : atol(times + 1);
        double v = NAN;

        if (times != NULL)
            *times = 0;
        must(s, strcmp(word, "_") == 0 || number_parse(span_str(word), &v), "\"%s\" is no value", word);
        for (; n > 0; n--) {
            must(s, count < VALUES_MAX, "too many values");
            out[count++] = v;
        }
    }
    return count;
}

/* ---- load ---- */

static void begin_load(struct script *s, const char *step)
{
    s->step_s = atol(step);
    must(s, s->step_s > 0, "load needs a step in seconds");
}

static void load_series(struct script *s, char *text)
{
    struct memory_series *series = &s->series[s->store.count];
    char *arrow = strstr(text, " = ");

    must(s, arrow != NULL && s->store.count < SERIES_MAX, "a series is loaded by NAME = VALUES");
    *arrow = 0;
    snprintf(s->names[s->store.count], sizeof(s->names[0]), "%s", text);
    series->name = s->names[s->store.count];
    series->values = s->values[s->store.count];
    series->start_s = origin_s + s->step_s;
    series->step_s = s->step_s;
    series->count = read_values(s, arrow + 3, s->values[s->store.count]);
    s->store.count++;
    if (origin_s + s->step_s * (int64_t)series->count > s->until_s)
        s->until_s = origin_s + s->step_s * (int64_t)series->count;
}

/* ---- eval ---- */

static void end_eval(struct script *s)
{
    must(s, !s->evaluated || s->fails || *s->rest == 0, "the answer has more than was expected:\n%s", s->rest);
    s->evaluated = false;
}

static void evaluate(struct script *s, char *target)
{
    jmp_buf overflow;
    struct arena arena;
    struct params params = {.arena = &arena};
    struct query_limits limits = query_limits_default();
    struct source source;
    struct query_reply reply;

    end_eval(s);
    arena_init(&arena, 1 << 20, &overflow);
    if (setjmp(overflow) != 0)
        cr_assert_fail("out of arena");
    params_add(&params, SPAN_LIT("target"), span_str(target));
    params_add(&params, SPAN_LIT("format"), SPAN_LIT("raw"));
    params_add(&params, SPAN_LIT("from"), arena_printf(&arena, "%" PRId64, s->from_s));
    params_add(&params, SPAN_LIT("until"), arena_printf(&arena, "%" PRId64, s->until_s));
    params_add_urlencoded(&params, span_str(s->params));
    source = memory_source(&s->store);
    query_render(&params, &source, &limits, NULL, s->until_s, &reply);
    must(s, (reply.status != 200) == s->fails, "status %d: %.*s", reply.status, SPAN_ARG(buf_span(&reply.body)));
    snprintf(s->answer, sizeof(s->answer), "%.*s", SPAN_ARG(buf_span(&reply.body)));
    s->rest = s->answer;
    s->evaluated = true;
    buf_release(&reply.body);
    arena_release(&arena);
}

/* ---- expectations ---- */

static bool same(double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    return a == b || fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b));
}

/* "name @first/step -> values"; "@..." may be missing. */
static void expect_series(struct script *s, char *text)
{
    double wanted[VALUES_MAX];
    char *arrow = strstr(text, " -> ");
    char *line = s->rest;
    char *bar, *field, *values;
    int64_t first_s = INT64_MIN, step_s = 0, have_first_s, have_step_s;
    size_t count, n = 0;

    must(s, arrow != NULL, "a series is expected by NAME -> VALUES");
    must(s, *line != 0, "there is no more series in the answer");
    *arrow = 0;
    if ((field = strstr(text, " @")) != NULL) {
        sscanf(field + 2, "%" SCNd64 "/%" SCNd64, &first_s, &step_s);
        *field = 0;
    }
    s->rest += strcspn(s->rest, "\n");
    *s->rest++ = 0;
    bar = strrchr(line, '|');
    *bar = 0;
    values = bar + 1;
    for (int i = 0; i < 3; i++) { /* name,start,end,step: the name may hold commas */
        field = strrchr(line, ',');
        *field = 0;
        if (i == 0)
            have_step_s = atol(field + 1);
        if (i == 2)
            have_first_s = atol(field + 1);
    }
    must(s, strcmp(line, text) == 0, "the next series is %s -> %s", line, values);
    must(s, first_s == INT64_MIN || (have_first_s - origin_s == first_s && have_step_s == step_s),
         "%s begins at %" PRId64 " with step %" PRId64, line, have_first_s - origin_s, have_step_s);
    count = read_values(s, arrow + 4, wanted);
    for (char *v = strtok(values, ","); v != NULL; v = strtok(NULL, ","), n++) {
        double have = NAN;

        if (strcmp(v, "None") != 0)
            number_parse(span_str(v), &have);
        must(s, n < count && same(wanted[n], have), "%s: value %zu is %s", line, n + 1, v);
    }
    must(s, n == count, "%s has %zu values, not %zu", line, n, count);
}

static void expect(struct script *s, char *text)
{
    if (s->fails)
        must(s, strstr(s->answer, text) != NULL, "the answer is %s", s->answer);
    else
        expect_series(s, text);
}

static void read_range(struct script *s, char *text)
{
    int64_t from_s, until_s;

    must(s, sscanf(text, "%" SCNd64 " %" SCNd64, &from_s, &until_s) == 2, "range needs two numbers of seconds");
    s->from_s = origin_s + from_s;
    s->until_s = origin_s + until_s;
}

static void run_line(struct script *s, char *line)
{
    char *rest = line + strcspn(line, " ");
    bool indented = *line == ' ';

    line[strcspn(line, "\n")] = 0;
    if (*line == 0 || *line == '#')
        return;
    if (indented) {
        line += strspn(line, " ");
        if (s->evaluated)
            expect(s, line);
        else
            load_series(s, line);
        return;
    }
    if (*rest != 0)
        *rest++ = 0;
    if (strcmp(line, "load") == 0) {
        end_eval(s);
        begin_load(s, rest);
    } else if (strcmp(line, "clear") == 0) {
        end_eval(s);
        s->store.count = 0;
        s->from_s = s->until_s = origin_s;
    } else if (strcmp(line, "range") == 0) {
        end_eval(s);
        read_range(s, rest);
    } else if (strcmp(line, "with") == 0) {
        end_eval(s);
        snprintf(s->params, sizeof(s->params), "%s", rest);
    } else if (strcmp(line, "eval") == 0 || strcmp(line, "fails") == 0) {
        end_eval(s);
        s->fails = *line == 'f';
        evaluate(s, rest);
    } else {
        must(s, false, "what is \"%s\"?", line);
    }
}

static int run_script(void *ctx, const char *name)
{
    static struct script s;
    char path[512];
    char *text = NULL;
    size_t len;
    int *scripts = ctx;

    if (strstr(name, ".txt") == NULL)
        return 0;
    snprintf(path, sizeof(path), "tests/scripts/%s", name);
    s = (struct script){.path = path, .from_s = origin_s, .until_s = origin_s};
    s.store.series = s.series;
    cr_assert_eq(file_slurp(path, TEXT_MAX, &text, &len, NULL), 0);
    for (char *at = text; *at != 0;) {
        char *end = at + strcspn(at, "\n");
        char *next = *end == 0 ? end : end + 1;

        *end = 0;
        s.line++;
        run_line(&s, at);
        at = next;
    }
    end_eval(&s);
    free(text);
    ++*scripts;
    return 0;
}

Test(scripts, hold)
{
    int scripts = 0;

    cr_assert_eq(file_list("tests/scripts", run_script, &scripts, NULL), 0);
    cr_assert_gt(scripts, 10);
}
