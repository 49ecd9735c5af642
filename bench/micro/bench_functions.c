/* What each function costs: CPU time for each point that it is given, without fetch and format.
 *
 *     bench_functions [NAME...]      default: all of the table
 *
 * 16 series of 8,640 points, one in twenty of them None, are in memory; each function is called on all of them with
 * plain arguments, and what the path alone takes is subtracted. Functions that look at an earlier range are given as
 * many points again for it, which counts. One thread. */
#include "query/eval.h"
#include "query/fn.h"
#include "query/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SERIES = 16, POINTS = 8640, STEP_S = 10, ENOUGH_NS = 60000000, RUNS_MAX = 5000 };
static const int64_t start_s = 1500000000;

static double values[SERIES][POINTS];
static char names[SERIES][16];

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void make_series(void)
{
    uint64_t random = 88172645463325252u;

    for (int i = 0; i < SERIES; i++) {
        snprintf(names[i], sizeof(names[i]), "a.s%02d.cpu", i);
        for (int k = 0; k < POINTS; k++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            values[i][k] = random % 20 == 0 ? NAN : (double)(random >> 40) / 100;
        }
    }
}

/* "a.*" is all series, "a.one" the first. */
static int find(void *ctx, struct span pattern, size_t max, struct arena *arena, struct source_series **out,
                size_t *count, struct err *err)
{
    (void)ctx, (void)max, (void)err;
    *count = span_eq(pattern, SPAN_LIT("a.one")) ? 1 : SERIES;
    *out = ARENA_ARRAY(arena, struct source_series, *count);
    for (size_t i = 0; i < *count; i++)
        (*out)[i] = (struct source_series){span_str(names[i]), (uint32_t)i};
    return 0;
}

static int find_by_tags(void *ctx, const struct span *exprs, size_t exprs_count, size_t max,
                        const struct query_control *control, struct arena *arena, struct source_series **out,
                        size_t *count, struct err *err)
{
    (void)exprs, (void)exprs_count, (void)control;
    return find(ctx, SPAN_LIT("a.*"), max, arena, out, count, err);
}

/* The same values whatever the range; an earlier start has them once more. */
static int fetch(void *ctx, const struct source_series *series, int64_t from_s, int64_t until_s, int64_t now_s,
                 struct arena *arena, struct source_points *out, struct err *err)
{
    (void)ctx, (void)now_s, (void)err;
    out->start_s = from_s - from_s % STEP_S + STEP_S;
    out->step_s = STEP_S;
    out->count = (size_t)((until_s - from_s) / STEP_S);
    out->values = values[series->id];
    if (out->count != POINTS) {
        out->values = arena_alloc(arena, out->count * sizeof(double));
        for (size_t i = 0; i < out->count; i++)
            out->values[i] = values[series->id][i % POINTS];
    }
    return 0;
}

/* Time of one evaluation of TARGET in ns, the least of many; negative when it fails, with the error in TEXT. */
static double evaluate_once(const char *target, char *text, size_t text_size)
{
    struct source source = {.find = find, .find_by_tags = find_by_tags, .fetch = fetch};
    struct query_limits limits = query_limits_default();
    struct params params = {0};
    struct context ctx = {.from_s = start_s, .until_s = start_s + POINTS * STEP_S};
    struct series_list list = {0};
    struct arena arena;
    struct err err = {0};
    jmp_buf overflow;
    struct eval ev = {.arena = &arena,
                      .source = &source,
                      .limits = &limits,
                      .tz = tz_utc(),
                      .now_s = ctx.until_s,
                      .wall_s = ctx.until_s,
                      .template_params = &params,
                      .err = &err};
    int64_t begun = now_ns();
    int rc;

    arena_init(&arena, (size_t)1 << 30, &overflow);
    if (setjmp(overflow) == 0)
        rc = eval_target(&ev, &ctx, span_str(target), EVAL_WHOLE, &list);
    else
        rc = err_set(&err, ERR_LIMIT, "out of memory");
    arena_release(&arena);
    if (rc < 0)
        snprintf(text, text_size, "%.400s", err.text);
    return rc < 0 ? -1 : (double)(now_ns() - begun);
}

static double time_of(const char *target, char *text, size_t text_size)
{
    double least = 1e18, sum = 0;

    for (int i = 0; i < RUNS_MAX && sum < ENOUGH_NS; i++) {
        double took = evaluate_once(target, text, text_size);

        if (took < 0)
            return -1;
        least = took < least ? took : least;
        sum += took;
    }
    return least;
}

/* ---- plain arguments ---- */

/* By the name of the parameter, where the type does not say enough. */
static const char *const by_name[][2] = {
    {"bootstrapInterval", "\"1h\""}, {"consolidationFunc", "\"max\""},
    {"interval", "\"10min\""},       {"intervalUnit", "\"1h\""},
    {"method", "\"above\""},         {"objective", "0.9"},
    {"operator", "\">\""},           {"other", "a.one"},
    {"pattern", "\"s0\""},           {"phaseSeriesList", "a.*"},
    {"resettingSeries", "a.one"},    {"search", "\"s0\""},
    {"seasonality", "\"30min\""},    {"series", "a.one"},
    {"timeShiftEnd", "3"},           {"timeShiftStart", "1"},
    {"windowSize", "100"},           {"points", "100"},
    {"templateFunction", "\"%\""},   {"newName", "\"x\""},
};

static const char *argument_of(const struct fn_param *p)
{
    for (size_t i = 0; i < sizeof(by_name) / sizeof(*by_name); i++) {
        if (strcmp(by_name[i][0], p->name) == 0)
            return by_name[i][1];
    }
    switch (p->type) {
    case FN_TYPE_SERIES_LIST:
        return "a.*";
    case FN_TYPE_SERIES_LISTS:
        return "mapSeries(a.*,1)";
    case FN_TYPE_INTERVAL:
        return "\"10min\"";
    case FN_TYPE_DATE:
        return "\"20170714\"";
    case FN_TYPE_BOOLEAN:
        return "true";
    case FN_TYPE_STRING:
    case FN_TYPE_TAG:
        return "\"name\"";
    case FN_TYPE_AGG_FUNC:
    case FN_TYPE_AGG_OR_SERIES_FUNC:
        return "\"sum\"";
    default:
        return "2";
    }
}

static void make_target(const struct fn_def *def, char *out, size_t size)
{
    size_t len = (size_t)snprintf(out, size, "%s(", def->name);

    for (size_t i = 0; def->params[i].name != NULL; i++) {
        const struct fn_param *p = &def->params[i];
        bool needed = p->required || (p->multiple && i == 0) || strncmp(def->name, "holt", 4) == 0;

        if (!needed)
            break;
        len += (size_t)snprintf(out + len, size - len, "%s%s", i > 0 ? "," : "", argument_of(p));
    }
    snprintf(out + len, size - len, ")");
}

struct run {
    char **names;
    int count;
    double base_ns;
};

static bool is_wanted(const struct run *r, const char *name)
{
    bool wanted = r->count == 0;

    for (int i = 0; i < r->count; i++)
        wanted |= strcmp(r->names[i], name) == 0;
    return wanted;
}

static int measure(void *ctx, const struct fn_def *def)
{
    const struct run *r = ctx;
    char target[400], error[500];
    double took;

    if (!is_wanted(r, def->name))
        return 0;
    make_target(def, target, sizeof(target));
    took = time_of(target, error, sizeof(error));
    if (took < 0)
        printf("| `%s` | - | %.60s |\n", def->name, error);
    else
        printf("| `%s` | %.2f | `%s` |\n", def->name, fmax(took - r->base_ns, 0) / (SERIES * POINTS), target);
    return 0;
}

int main(int argc, char **argv)
{
    struct run r = {.names = argv + 1, .count = argc - 1};
    char error[500];

    make_series();
    r.base_ns = time_of("a.*", error, sizeof(error));
    printf("| function | ns/point | as |\n|---|---:|---|\n");
    return functions_each(measure, &r);
}
