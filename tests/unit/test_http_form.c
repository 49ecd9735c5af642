#include "server/http_form.h"

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

TestSuite(http_form, .init = setup, .fini = teardown);

static int add(const char *type, const char *body)
{
    return http_form_add(&params, type == NULL ? (struct span){0} : span_str(type), span_str(body), &err);
}

static void assert_pair(size_t i, const char *key, const char *value)
{
    cr_assert_lt(i, params.count);
    cr_assert(span_eq(params.items[i].key, span_str(key)), "key is %.*s", SPAN_ARG(params.items[i].key));
    cr_assert(span_eq(params.items[i].value, span_str(value)), "value is %.*s", SPAN_ARG(params.items[i].value));
}

Test(http_form, reads_urlencoded_bodies_with_and_without_a_type)
{
    cr_assert_eq(add("application/x-www-form-urlencoded; charset=UTF-8", "target=a.b&from=-1h"), 0);
    cr_assert_eq(add(NULL, "query=servers.{a,b}.*"), 0);
    cr_assert_eq(params.count, 3);
    assert_pair(0, "target", "a.b");
    assert_pair(2, "query", "servers.{a,b}.*");
}

Test(http_form, finds_no_parameters_in_other_bodies)
{
    cr_assert_eq(add("application/json", "{\"target\": \"a=b\"}"), 0);
    cr_assert_eq(add("text/plain", "target=a"), 0);
    cr_assert_eq(params.count, 0);
}

Test(http_form, reads_multipart_bodies)
{
    cr_assert_eq(add("multipart/form-data; boundary=B",
                     "--B\r\nContent-Disposition: form-data; name=\"target\"\r\n\r\na.b\r\n"
                     "--B\r\nContent-Type: text/plain\r\ncontent-disposition: form-data; name=format\r\n\r\njson\r\n"
                     "--B\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--B--\r\n"),
                 0, "%s", err.text);
    cr_assert_eq(params.count, 3);
    assert_pair(0, "target", "a.b");
    assert_pair(1, "format", "json");
    assert_pair(2, "empty", "");
}

Test(http_form, refuses_multipart_bodies_that_end_too_early)
{
    static const char *const bad[] = {
        "",
        "--B",
        "--B\r\n",
        "--B\r\nContent-Disposition: form-data; name=\"target\"\r\n\r\na.b",
        "--B\r\nContent-Disposition: form-data; name=\"target\"\r\n",
        "no boundary at all",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(add("multipart/form-data; boundary=\"B\"", bad[i]), ERR_INPUT, "taken: %s", bad[i]);
    cr_assert_eq(add("multipart/form-data", "--B--"), ERR_INPUT);
    cr_assert_eq(add("multipart/form-data; boundary=", "--B--"), ERR_INPUT);
}
