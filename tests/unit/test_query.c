#include "query/query.h"

#include "base/clock.h"
#include "query/functions.h"
#include "tests/help/memory_source.h"

#include <criterion/criterion.h>
#include <jansson.h>

static const double ramp[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
static struct memory_series series[] = {
    {"a.x", 60000, 60, ramp, 20},
    {"a.y", 60000, 60, ramp, 20},
    {"b", 60000, 60, (const double[]){0.5, NAN, INFINITY, -0.0, 1e300}, 5},
    {"t;k=v", 60000, 60, ramp, 20},
};
static struct memory_store store = {series, 4, 0};
static struct arena arena;
static struct query_limits limits;
static struct query_control control;
static struct query_reply reply;

static void setup(void)
{
    arena_init(&arena, 0, NULL);
    limits = query_limits_default();
    control = (struct query_control){0};
    store.fetches = 0;
}

static void teardown(void)
{
    buf_release(&reply.body);
    arena_release(&arena);
}

TestSuite(query, .init = setup, .fini = teardown);

/* The range holds the first N points. */
static void render(const char *query, int n)
{
    struct source source = memory_source(&store);
    struct params params = {.arena = &arena};

    buf_release(&reply.body);
    params_add_urlencoded(&params, arena_printf(&arena, "from=%d&until=%d", 59940, 59940 + n * 60));
    params_add_urlencoded(&params, span_str(query));
    query_render(&params, &source, &limits, &control, 100000, &reply);
}

static void answers(int status, const char *body)
{
    cr_expect_eq(reply.status, status, "%d: %.*s", reply.status, SPAN_ARG(buf_span(&reply.body)));
    cr_expect(span_eq(buf_span(&reply.body), span_str(body)), "%.*s", SPAN_ARG(buf_span(&reply.body)));
}

Test(query, json_is_exact_to_the_byte)
{
    render("target=a.x&format=json", 3);
    answers(200,
            "[{\"target\":\"a.x\",\"tags\":{\"name\":\"a.x\"},\"datapoints\":[[1.0,60000],[2.0,60060],[3.0,60120]]}]");
    cr_expect_str_eq(reply.content_type, "application/json");
    render("target=b&format=json", 5);
    answers(200, "[{\"target\":\"b\",\"tags\":{\"name\":\"b\"},\"datapoints\":[[0.5,60000],[null,60060],[1e9999,60120],"
                 "[-0.0,60180],[1e+300,60240]]}]");
    render("target=t;k=v&format=json", 1);
    answers(200, "[{\"target\":\"t;k=v\",\"tags\":{\"k\":\"v\",\"name\":\"t\"},\"datapoints\":[[1.0,60000]]}]");
    render("target=nosuch&format=json", 3);
    answers(200, "[]");
    render("format=json", 3);
    answers(200, "[]");
}

Test(query, other_formats)
{
    render("target=b&format=raw", 5);
    answers(200, "b,60000,60300,60|0.5,None,inf,-0.0,1e+300\n");
    render("target=alias(a.x,%22x,y%22)&format=csv", 2);
    answers(200, "\"x,y\",1970-01-01 16:40:00,1.0\r\n\"x,y\",1970-01-01 16:41:00,2.0\r\n");
    render("target=a.x&target=a.y&format=dygraph", 2);
    answers(200, "{\"labels\":[\"Time\",\"a.x\",\"a.y\"],\"data\":[[60000000,1.0,1.0],[60060000,2.0,2.0]]}");
    render("target=a.x&format=rickshaw", 2);
    answers(200, "[{\"target\":\"a.x\",\"datapoints\":[{\"x\":60000,\"y\":1.0},{\"x\":60060,\"y\":2.0}]}]");
    render("target=a.x&format=json&jsonp=f", 1);
    answers(200, "f([{\"target\":\"a.x\",\"tags\":{\"name\":\"a.x\"},\"datapoints\":[[1.0,60000]]}])");
    cr_expect_str_eq(reply.content_type, "text/javascript");
    render("target=countSeries(a.*)&format=raw", 2);
    answers(200, "countSeries(a.*),60000,60120,60|2,2\n");
}

/* 20 points from 60000, which is a multiple of 600: buckets of 5 steps lie at multiples of 300, and each
 * begins one step early. */
Test(query, max_data_points_are_aligned)
{
    render("target=a.x&format=json&maxDataPoints=4", 20);
    answers(200,
            "[{\"target\":\"a.x\",\"tags\":{\"name\":\"a.x\"},\"datapoints\":[[7.0,60300],[12.0,60600],[17.0,60900],"
            "[20.0,61200]]}]");
    render("target=a.x&format=json&maxDataPoints=1", 20);
    answers(200, "[{\"target\":\"a.x\",\"tags\":{\"name\":\"a.x\"},\"datapoints\":[[10.5,60000]]}]");
    render("target=a.x&format=json&maxDataPoints=20", 2);
    answers(200, "[{\"target\":\"a.x\",\"tags\":{\"name\":\"a.x\"},\"datapoints\":[[1.0,60000],[2.0,60060]]}]");
}

Test(query, no_null_points_drops_empty_series)
{
    render("target=b&format=json&noNullPoints=1", 2);
    answers(200, "[{\"target\":\"b\",\"tags\":{\"name\":\"b\"},\"datapoints\":[[0.5,60000]]}]");
    render("target=removeAboveValue(b,0)&format=json&noNullPoints=1", 1);
    answers(200, "[]");
}

Test(query, a_pattern_is_fetched_once_for_each_range)
{
    render("target=a.*&target=sumSeries(a.*)&target=scale(a.*,2)&format=raw", 3);
    cr_expect_eq(store.fetches, 2);
    render("target=movingAverage(a.x,2)&target=movingSum(a.x,2)&format=raw", 3);
    cr_expect_eq(store.fetches, 4);
}

Test(query, a_series_of_two_patterns_is_fetched_once)
{
    render("target=a.x&target=a.*&target=a.y&target=*.x&format=raw", 3);
    cr_expect_eq(store.fetches, 2);
}

Test(query, equal_expressions_are_evaluated_once)
{
    struct span body;

    render("target=alias(scale(a.x,2),\"u\")&target=scale( a.x, 2 )&target=scale(a.x,3)&format=raw", 1);
    answers(200, "u,60000,60060,60|2.0\n"
                 "scale(a.x,2),60000,60060,60|2.0\n"
                 "scale(a.x,3),60000,60060,60|3.0\n");
    render("target=scale(a.x,2)&target=a.x|scale(2)&target=template(scale(a.$v,2),v=\"y\")&explain=1", 3);
    body = buf_span(&reply.body);
    cr_expect_eq(reply.status, 200);
    cr_expect_not_null(memmem(body.ptr, body.len, "\"reused\":true,\"arguments\":[]", 28));
}

Test(query, what_changes_the_context_is_never_reused)
{
    render("target=stacked(a.x,\"s\")&target=stacked(a.x,\"s\")&format=raw", 1);
    answers(200, "a.x,60000,60060,60|1.0\na.x,60000,60060,60|2.0\n");
}

Test(query, explain_tells_series_and_points_of_each_node)
{
    json_error_t error;
    json_t *json, *plan, *path;

    render("target=&target=movingAverage(sumSeries(a.*),2)&explain=1", 3);
    cr_assert_eq(reply.status, 200);
    cr_expect_str_eq(reply.content_type, "application/json");
    json = json_loadb(reply.body.ptr, reply.body.len, 0, &error);
    cr_assert_not_null(json, "%s", error.text);
    cr_expect_eq(json_integer_value(json_object_get(json_object_get(json, "fetched"), "points")),
                 2 * (3 + 2)); /* the rest is known */
    plan = json_object_get(json_array_get(json_object_get(json, "targets"), 0), "plan");
    cr_expect_str_eq(json_string_value(json_object_get(plan, "function")), "movingAverage");
    cr_expect_eq(json_integer_value(json_object_get(plan, "points")), 3);
    cr_expect_eq(json_array_size(json_object_get(plan, "arguments")), 2); /* once in the range before, too */
    path = json_array_get(json_object_get(json_array_get(json_object_get(plan, "arguments"), 0), "arguments"), 0);
    cr_expect_str_eq(json_string_value(json_object_get(path, "path")), "a.*");
    cr_expect_eq(json_integer_value(json_object_get(path, "series")), 2);
    cr_expect_eq(json_integer_value(json_object_get(path, "points")), 6);
    json_decref(json);
}

static void fails(int status, const char *text)
{
    struct span body = buf_span(&reply.body);

    cr_expect_eq(reply.status, status, "%d: %.*s", reply.status, SPAN_ARG(body));
    cr_expect_not_null(memmem(body.ptr, body.len, text, strlen(text)), "%.*s", SPAN_ARG(body));
}

Test(query, every_limit_says_which_it_was)
{
    limits.series_max = 1;
    render("target=a.*&format=json", 3);
    fails(422, "more series than one request may fetch (1)");
    render("target=a.x&target=b&format=json", 3);
    fails(422, "more than 1 series");
    limits = query_limits_default();
    limits.points_max = 5;
    render("target=a.x&format=json", 20);
    fails(422, "more than 5 points");
    render("target=timeFunction(%22t%22,1)&format=json", 20);
    fails(422, "more than 5 points");
    limits = query_limits_default();
    limits.targets_max = 1;
    render("target=a.x&target=a.x&format=json", 3);
    fails(422, "more than 1 targets");
    limits = query_limits_default();
    limits.output_bytes = 100;
    render("target=a.x&format=raw", 20);
    fails(422, "larger than 100 bytes");
    limits = query_limits_default();
    limits.arena_bytes = 4096;
    render("target=sumSeries(a.*,a.*,a.*)&format=json", 20);
    fails(422, "4096 bytes of memory");
}

Test(query, stops_when_told_to)
{
    control.cancelled = 1;
    render("target=a.x&format=json", 3);
    fails(503, "the client has left");
    control = (struct query_control){.deadline_ns = clock_mono_ns() - 1};
    render("target=a.x&format=json", 3);
    fails(503, "longer than it may");
}

/* Each level evaluates its argument twice: without a bound that would be 2^100 evaluations. */
Test(query, nested_windows_end, .timeout = 60)
{
    struct buf target = {0};

    limits.arena_bytes = 8 << 20;
    buf_add_str(&target, "format=json&target=");
    for (int i = 0; i < 100; i++)
        buf_add_str(&target, "movingAverage(");
    buf_add_str(&target, "a.x");
    for (int i = 0; i < 100; i++)
        buf_add_str(&target, ",1)");
    buf_add_char(&target, 0);
    render(target.ptr, 3);
    fails(422, "bytes of memory");
    buf_release(&target);
}

Test(query, errors_are_one_safe_line)
{
    render("target=nosuch(%3Cscript%3E)&format=json", 3);
    answers(400, "Invalid parameters (Received request for unknown function: nosuch); targets: "
                 "\"nosuch(&lt;script&gt;)\"\n");
    cr_expect_str_eq(reply.content_type, "text/html");
    render("target=a.x&format=nosuch", 3);
    fails(400, "format must be one of json, raw, csv");
    render("target=a.x&format=json&from=nonsense", 3);
    fails(400, "from: Unknown day reference");
    render("target=scale(nosuch,2&format=json", 3);
    fails(400, "unexpected end of the target at character 15");
}

/* ---- the table of functions ---- */

static int check_entry(void *ctx, const struct fn_def *def)
{
    int *count = ctx;
    bool optional = false;

    cr_expect(strlen(def->brief) > 10 && def->brief[strlen(def->brief) - 1] == '.', "%s has no brief", def->name);
    cr_expect_not_null(def->group, "%s", def->name);
    cr_expect_eq(functions_find(span_str(def->name)), def, "%s is there twice", def->name);
    cr_expect((def->kind == FN_PER_SERIES) == (def->each != NULL) && (def->kind == FN_ANY) == (def->run != NULL), "%s",
              def->name);
    for (size_t i = 0; def->params[i].name != NULL; i++) {
        cr_expect(i < FN_PARAMS_MAX, "%s", def->name);
        cr_expect(!optional || !def->params[i].required || def->params[i].multiple,
                  "%s: %s is required behind an optional one", def->name, def->params[i].name);
        optional |= !def->params[i].required;
        cr_expect(!def->params[i].multiple || def->params[i + 1].name == NULL, "%s", def->name);
    }
    ++*count;
    return 0;
}

Test(query, every_function_is_described_once)
{
    int count = 0;

    functions_each(check_entry, &count);
    cr_expect_gt(count, 150);
}

static json_t *listing(enum functions_layout layout)
{
    struct buf out = {0};
    json_error_t error;
    json_t *json;

    functions_json(layout, &out);
    /* Graphite writes infinity as 1e9999, which this reader does not take. */
    for (char *at = out.ptr; (at = memmem(at, out.len - (size_t)(at - out.ptr), "1e9999", 6)) != NULL;)
        memcpy(at, "1e+300", 6);
    json = json_loadb(out.ptr, out.len, 0, &error);
    cr_assert_not_null(json, "%s", error.text);
    buf_release(&out);
    return json;
}

Test(query, functions_list_themselves_as_json)
{
    json_t *flat = listing(FUNCTIONS_FLAT);
    json_t *grouped = listing(FUNCTIONS_GROUPED);
    json_t *scale = json_object_get(flat, "scale");

    cr_expect_gt(json_object_size(flat), 150);
    cr_expect_str_eq(json_string_value(json_object_get(scale, "function")), "scale(seriesList, factor)");
    cr_expect_str_eq(json_string_value(json_object_get(scale, "group")), "Transform");
    cr_expect_eq(json_array_size(json_object_get(scale, "params")), 2);
    cr_expect_not_null(json_object_get(json_object_get(grouped, "Transform"), "scale"));
    json_decref(flat);
    json_decref(grouped);
}
