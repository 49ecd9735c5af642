/* Any bytes as render requests: a query string on the first line, and on each line after it a target, which
 * makes a request of its own. Small limits, so that each of them is met; the answer must be one of the known
 * statuses, whatever the target does. */
#include "query/query.h"

#include "base/must.h"
#include "tests/help/memory_source.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { POINTS = 40, HOUR = 3600 };

static double values[4][POINTS];
static struct memory_series series[] = {
    {"web.a.hits", 1500000000, 60, values[0], POINTS},
    {"web.b.hits", 1500000000, 60, values[1], POINTS},
    {"slow", 1500000000, 300, values[2], POINTS},
    {"disk;host=a;rack=1", 1500000000, 10, values[3], POINTS},
};
static struct memory_store store = {series, 4, 0};

static void fill_values(void)
{
    for (size_t k = 0; k < 4; k++) {
        for (size_t i = 0; i < POINTS; i++)
            values[k][i] = (i + k) % 5 == 0 ? NAN : (double)(i * (k + 1)) - 7.5;
    }
    values[0][3] = INFINITY;
    values[1][9] = -0.0;
}

static bool status_is_known(int status)
{
    return status == 200 || status == 400 || status == 422 || status == 500 || status == 503;
}

static void render(struct span query, struct span target)
{
    struct query_limits limits = {
        .arena_bytes = 8 << 20, .series_max = 50, .points_max = 20000, .targets_max = 4, .output_bytes = 1 << 20};
    struct arena arena;
    struct params params = {.arena = &arena};
    struct source source = memory_source(&store);
    struct query_reply reply;

    arena_init(&arena, 0, NULL);
    params_add(&params, SPAN_LIT("format"), SPAN_LIT("json"));
    params_add(&params, SPAN_LIT("from"), SPAN_LIT("1500000600"));
    params_add(&params, SPAN_LIT("until"), SPAN_LIT("1500001800"));
    params_add_urlencoded(&params, query);
    params_add(&params, SPAN_LIT("target"), target);
    query_render(&params, &source, &limits, NULL, 1500000000 + HOUR, &reply);
    MUST(status_is_known(reply.status));
    MUST(reply.content_type != NULL && !reply.body.failed);
    buf_release(&reply.body);
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = span_of(data, size);
    struct span query = span_cut(rest, 0, span_find(rest, '\n'));

    fill_values();
    rest = span_cut(rest, query.len + 1, rest.len);
    do {
        struct span target = span_cut(rest, 0, span_find(rest, '\n'));

        render(query, target);
        rest = span_cut(rest, target.len + 1, rest.len);
    } while (rest.len > 0);
    return 0;
}
