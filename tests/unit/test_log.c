#include "base/log.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <unistd.h>

#define NOW_NS 1795161600123456789 /* 2026-11-20T08:00:00.123456789Z */

static int pipe_ends[2];

/* All lines from now on go into a pipe. */
static void capture(enum log_format format, enum log_level level)
{
    cr_assert_eq(pipe2(pipe_ends, O_NONBLOCK | O_CLOEXEC), 0);
    log_setup(pipe_ends[1], format, level, "9.8.7");
    clock_fake_ns(NOW_NS);
}

static const char *captured(void)
{
    static char text[65537];
    ssize_t n = read(pipe_ends[0], text, sizeof(text) - 1);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

Test(log, text_lines_are_for_people)
{
    capture(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    log_info("storage", "window sealed", LOG_STR("tier", "10s"), LOG_INT("points", 120000), LOG_FLOAT("s", 0.25));
    cr_assert_str_eq(captured(),
                     "2026-11-20T08:00:00.123Z info storage: window sealed tier=10s points=120000 s=0.25\n");
    log_warn("main", "no fields");
    cr_assert_str_eq(captured(), "2026-11-20T08:00:00.123Z warn main: no fields\n");
}

Test(log, text_values_that_are_no_words_are_quoted)
{
    capture(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    log_info("a", "b", LOG_STR("k", ""), LOG_STR("l", "two words"), LOG_SPAN("m", SPAN_LIT("x\n\xff")),
             LOG_STR("n", "a=b"));
    cr_assert_str_eq(captured(),
                     "2026-11-20T08:00:00.123Z info a: b k=\"\" l=\"two words\" m=\"x\\n\uFFFD\" n=\"a=b\"\n");
}

Test(log, json_lines_have_two_times_and_fields_of_their_own)
{
    capture(LOG_FORMAT_JSON, LOG_LEVEL_DEBUG);
    log_write(LOG_LEVEL_ERROR, NOW_NS - 1500000000, "storage", "flush failed",
              LOG_FIELDS(LOG_STR("path", "a\"b"), LOG_INT("points", -3), LOG_FLOAT("ratio", 1.5), LOG_FLOAT("x", NAN)));
    cr_assert_str_eq(captured(),
                     "{\"time\":\"2026-11-20T07:59:58.623456Z\",\"written\":\"2026-11-20T08:00:00.123456Z\","
                     "\"level\":\"error\",\"source\":\"storage\",\"version\":\"9.8.7\",\"message\":\"flush failed\","
                     "\"path\":\"a\\\"b\",\"points\":-3,\"ratio\":1.5,\"x\":null}\n");
}

Test(log, json_lines_are_json_whatever_is_in_them)
{
    char bytes[256];
    json_t *line;

    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    capture(LOG_FORMAT_JSON, LOG_LEVEL_DEBUG);
    log_info("s", "m", LOG_SPAN("bytes", span_of(bytes, 256)), LOG_INT("min", INT64_MIN), LOG_FLOAT("inf", INFINITY),
             LOG_FLOAT("tiny", 5e-324));
    line = json_loads(captured(), JSON_ALLOW_NUL, NULL);
    cr_assert_not_null(line);
    cr_assert_eq(json_integer_value(json_object_get(line, "min")), INT64_MIN);
    cr_assert_eq(json_real_value(json_object_get(line, "tiny")), 5e-324);
    json_decref(line);
}

Test(log, levels_below_the_wanted_one_are_silent)
{
    capture(LOG_FORMAT_TEXT, LOG_LEVEL_WARN);
    log_debug("a", "b");
    log_info("a", "b");
    cr_assert_str_eq(captured(), "");
    cr_assert(!log_wants(LOG_LEVEL_INFO) && log_wants(LOG_LEVEL_WARN) && log_wants(LOG_LEVEL_ERROR));
    log_setup(pipe_ends[1], LOG_FORMAT_TEXT, LOG_LEVEL_OFF, "1");
    log_error("a", "b");
    log_write(LOG_LEVEL_OFF, 0, "a", "b", LOG_FIELDS());
    cr_assert_str_eq(captured(), "");
}

Test(log, long_values_are_cut)
{
    char text[20000];

    memset(text, 'x', sizeof(text));
    capture(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    log_info("a", "b", LOG_SPAN("k", span_of(text, sizeof(text))));
    cr_assert_lt(strlen(captured()), 4200);
}

Test(log, keeps_errno_and_survives_a_closed_descriptor)
{
    log_setup(-1, LOG_FORMAT_TEXT, LOG_LEVEL_INFO, "1");
    errno = ENOSPC;
    log_info("a", "b");
    cr_assert_eq(errno, ENOSPC);
}

Test(log, reads_its_words)
{
    enum log_level level = LOG_LEVEL_OFF;
    enum log_format format = LOG_FORMAT_TEXT;

    cr_assert(log_level_parse(SPAN_LIT("debug"), &level) && level == LOG_LEVEL_DEBUG);
    cr_assert(log_level_parse(SPAN_LIT("off"), &level) && level == LOG_LEVEL_OFF);
    cr_assert_not(log_level_parse(SPAN_LIT("Info"), &level));
    cr_assert_not(log_level_parse(SPAN_LIT(""), &level));
    cr_assert(log_format_parse(SPAN_LIT("json"), &format) && format == LOG_FORMAT_JSON);
    cr_assert_not(log_format_parse(SPAN_LIT("jso"), &format));
}

/* ---- the limit ---- */

#define SECOND ((int64_t)1000000000)

Test(log, a_limit_lets_a_burst_through_and_counts_the_rest)
{
    struct log_limit limit = {0};
    uint64_t held = 99;

    clock_fake_ns(NOW_NS);
    for (int i = 0; i < 3; i++)
        cr_assert(log_limit_pass(&limit, 3, SECOND, &held) && held == 0);
    for (int i = 0; i < 7; i++)
        cr_assert(!log_limit_pass(&limit, 3, SECOND, &held) && held == 0);
    clock_fake_ns(NOW_NS + SECOND - 1);
    cr_assert_not(log_limit_pass(&limit, 3, SECOND, &held));
    clock_fake_ns(NOW_NS + SECOND);
    cr_assert(log_limit_pass(&limit, 3, SECOND, &held) && held == 8);
    cr_assert(log_limit_pass(&limit, 3, SECOND, &held) && held == 0);
}

Test(log, a_limit_does_not_fall_silent_when_the_clock_jumps_back)
{
    struct log_limit limit = {0};
    uint64_t held;

    clock_fake_ns(NOW_NS);
    cr_assert(log_limit_pass(&limit, 1, SECOND, &held));
    cr_assert_not(log_limit_pass(&limit, 1, SECOND, &held));
    clock_fake_ns(NOW_NS - 3600 * SECOND);
    cr_assert(log_limit_pass(&limit, 1, SECOND, &held));
    cr_assert_eq(held, 1);
}

static void *pass_many(void *arg)
{
    static struct log_limit limit;
    uint64_t *passed = arg;
    uint64_t held;

    for (int i = 0; i < 10000; i++)
        *passed += log_limit_pass(&limit, 100, SECOND, &held);
    return NULL;
}

Test(log, a_limit_holds_for_all_threads_together)
{
    pthread_t threads[4];
    uint64_t passed[4] = {0};

    clock_fake_ns(NOW_NS);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, pass_many, &passed[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    /* The first period may begin for some threads while others have passed already. */
    cr_assert(passed[0] + passed[1] + passed[2] + passed[3] >= 100);
    cr_assert(passed[0] + passed[1] + passed[2] + passed[3] <= 200);
}
