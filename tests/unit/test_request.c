#include "query/options.h"
#include "query/request.h"

#include <criterion/criterion.h>

static struct arena arena;
static struct params params;
static struct err err;

static void setup(void)
{
    arena_init(&arena, 0, NULL);
    params = (struct params){.arena = &arena};
}

static void teardown(void)
{
    arena_release(&arena);
}

TestSuite(request, .init = setup, .fini = teardown);

static bool value_is(const char *key, const char *value)
{
    const struct span *found = params_get(&params, key);

    return found != NULL && span_eq(*found, span_str(value));
}

Test(request, undoes_the_url_encoding)
{
    params_add_urlencoded(&params, SPAN_LIT("a=1+2&b=%41%zz%4&c&&=x&d=a=b;e"));
    cr_expect_eq(params.count, 5);
    cr_expect(value_is("a", "1 2"));
    cr_expect(value_is("b", "A%zz%4"));
    cr_expect(value_is("c", ""));
    cr_expect(value_is("", "x"));
    cr_expect(value_is("d", "a=b;e"));
    cr_expect_null(params_get(&params, "nosuch"));
}

Test(request, the_last_value_of_a_key_counts)
{
    params_add_urlencoded(&params, SPAN_LIT("format=raw&x=1"));
    params_add_urlencoded(&params, SPAN_LIT("format=json"));
    cr_expect(value_is("format", "json"));
}

static struct render_options options;

static int parse(const char *query)
{
    params.count = 0;
    params_add_urlencoded(&params, span_str(query));
    return render_options_parse(&params, 1500000000, &arena, &options, &err);
}

Test(request, options_have_defaults)
{
    cr_assert_eq(parse("target=a&target=b"), 0);
    cr_expect_eq(options.targets_count, 2);
    cr_expect_eq(options.now_s, 1500000000);
    cr_expect_eq(options.until_s, 1500000000);
    cr_expect_eq(options.from_s, 1500000000 - 86400);
    cr_expect_eq(options.format.len, 0);
    cr_expect_not(options.has_max_points);
}

Test(request, options_read_what_is_given)
{
    cr_assert_eq(
        parse("target[]=a&now=1400000000&from=-1h&until=-1min&format=json&jsonp=f&maxDataPoints=10&noNullPoints"
              "&pretty=0&xFilesFactor=0.5&template[x]=y&tz=europe/berlin"),
        0);
    cr_expect_eq(options.targets_count, 1);
    cr_expect_eq(options.from_s, 1400000000 - 3600);
    cr_expect_eq(options.until_s, 1400000000 - 60);
    cr_expect(options.has_max_points && options.max_points == 10);
    cr_expect(options.no_null_points && options.pretty);
    cr_expect_eq(options.x_files_factor, 0.5);
    cr_expect(span_eq(options.jsonp, SPAN_LIT("f")));
    cr_expect(span_eq(options.template_params.items[0].key, SPAN_LIT("x")));
    cr_expect_eq(tz_offset(options.tz, 1500000000), 7200);
}

Test(request, options_take_a_reversed_range_and_ignore_odd_words)
{
    cr_assert_eq(parse("from=1000&until=500&maxDataPoints=x&tz=Nowhere"), 0);
    cr_expect(options.from_s == 500 && options.until_s == 1000);
    cr_expect_not(options.has_max_points);
    cr_expect_eq(options.tz, tz_utc());
}

Test(request, options_refuse_what_cannot_be)
{
    static const char *const bad[] = {"from=1&until=1",  "from=nonsense",    "until=-1m",      "now=x",
                                      "maxDataPoints=0", "xFilesFactor=abc", "cacheTimeout=x", "graphType=nosuch"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_expect_eq(parse(bad[i]), ERR_INPUT, "%s", bad[i]);
    parse("from=nonsense");
    cr_expect_str_eq(err.text, "from: Unknown day reference: nonsense");
}
