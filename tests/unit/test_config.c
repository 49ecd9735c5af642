#include "server/config.h"

#include "base/buf.h"
#include "base/file.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct config *config;
static enum config_action action;
static struct err err;
static struct tmpdir dir;
static char *path;

static void setup(void)
{
    tmpdir_init(&dir);
    path = strdup(tmpdir_file(&dir, "plumbago.conf"));
}

static void teardown(void)
{
    config_free(config);
    free(path);
    tmpdir_release(&dir);
}

TestSuite(config, .init = setup, .fini = teardown);

/* Loads with up to four words behind the program's name. */
static int load_words(const char *const words[4])
{
    static char name[] = "plumbago";
    char *argv[6] = {name};
    int argc = 1;

    for (; argc <= 4 && words[argc - 1] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    config_free(config);
    config = NULL;
    err = (struct err){0};
    return config_load(argc, argv, &config, &action, &err);
}

#define LOAD(...) load_words((const char *const[4]){__VA_ARGS__})

static void write_file(const char *text)
{
    cr_assert_eq(file_put(path, span_str(text), &err), 0, "%s", err.text);
}

static void assert_address(const struct listen_addr *a, const char *want)
{
    char text[LISTEN_TEXT_MAX];

    cr_assert_str_eq(listen_text(a, text), want);
}

Test(config, has_the_documented_defaults)
{
    cr_assert_eq(LOAD(NULL), 0, "%s", err.text);
    cr_assert_eq(action, CONFIG_RUN);
    cr_assert_str_eq(config->data_dir, "./data");
    assert_address(&config->carbon, "127.0.0.1:2003");
    assert_address(&config->carbon_udp, "127.0.0.1:2003");
    assert_address(&config->http, "127.0.0.1:8080");
    cr_assert_null(config->schemas);
    cr_assert_null(config->log_file);
    cr_assert_eq(config->self_metrics_s, 60);
    cr_assert_eq(config->sync_ms, 1000);
    cr_assert_eq(config->log_format, LOG_FORMAT_TEXT);
    cr_assert_eq(config->log_level, LOG_LEVEL_INFO);
}

Test(config, takes_flags_in_both_spellings_and_the_last_of_several)
{
    cr_assert_eq(LOAD("--http", "127.0.0.1:0", "--self-metrics=off", "--http=off"), 0, "%s", err.text);
    cr_assert(config->http.off);
    cr_assert_eq(config->self_metrics_s, 0);
}

Test(config, lets_a_flag_win_over_the_file_and_the_file_over_the_default)
{
    write_file("# a comment\ndata-dir = /from/file\nlog-level: debug\nquery-max-memory = 2M\n");
    cr_assert_eq(LOAD("--log-level", "warn", "--config", path), 0, "%s", err.text);
    cr_assert_str_eq(config->data_dir, "/from/file");
    cr_assert_eq(config->log_level, LOG_LEVEL_WARN);
    cr_assert_eq(config->query_memory_max, 2 << 20);
    cr_assert_str_eq(config->file, path);
}

static void assert_refused(const char *text, const char *why)
{
    write_file(text);
    cr_assert_eq(LOAD("--config", path), ERR_INPUT, "taken: %s", text);
    cr_assert_not_null(strstr(err.text, why), "\"%s\" is not in \"%s\"", why, err.text);
    cr_assert_null(config);
}

Test(config, names_file_and_line_of_a_mistake)
{
    char want[256];

    snprintf(want, sizeof(want), "%s:2: unknown key \"htpp\"", path);
    assert_refused("data-dir = x\nhtpp = off\n", want);
    snprintf(want, sizeof(want), "%s:1: sync-interval must be a whole number", path);
    assert_refused("sync-interval = 1s\n", want);
    assert_refused("sync-interval = 0\n", "must be between 10 and 3600000, not 0");
    assert_refused("log-format = xml\n", "must be one of text, json");
    assert_refused("http = nonsense\n", "http");
    assert_refused("[server]\nhttp = off\n", "no sections");
    assert_refused("http-prefix = graphite\n", "must begin with /");
    assert_refused("query-max-memory = 9999999999G\n", "whole number of bytes");
    assert_refused("data-dir =\n", "must not be empty");
}

Test(config, names_the_flag_of_a_mistake)
{
    cr_assert_eq(LOAD("--nothing", "x"), ERR_INPUT);
    cr_assert_not_null(strstr(err.text, "unknown flag --nothing"));
    cr_assert_eq(LOAD("--pickle", "127.0.0.1:0"), ERR_INPUT);
    cr_assert_eq(LOAD("--http"), ERR_INPUT);
    cr_assert_not_null(strstr(err.text, "--http needs a value"));
    cr_assert_eq(LOAD("stray"), ERR_INPUT);
    cr_assert_eq(LOAD("--max-future", "-1"), ERR_INPUT);
    cr_assert_not_null(strstr(err.text, "--max-future"));
    cr_assert_eq(LOAD("--config", "/nonexistent/plumbago.conf"), ERR_MISSING, "%s", err.text);
}

Test(config, tells_what_to_do_besides_running)
{
    cr_assert_eq(LOAD("--version"), 0);
    cr_assert_eq(action, CONFIG_VERSION);
    cr_assert_null(config);
    cr_assert_eq(LOAD("--check-config", "--http", "off"), 0);
    cr_assert_eq(action, CONFIG_CHECK);
    cr_assert(config->http.off);
    cr_assert_eq(LOAD("--check-config", "--help"), 0);
    cr_assert_eq(action, CONFIG_HELP);
}

static void add_line(void *ctx, const char *name, const char *value)
{
    buf_addf(ctx, "%s = %s\n", name, value);
}

/* What config_each() prints can be read back, and gives the same. So can the help's defaults. */
Test(config, prints_every_setting_so_that_it_can_be_read_back)
{
    struct buf first = {0};
    struct buf second = {0};

    cr_assert_eq(LOAD("--http", "[::1]:80", "--max-series", "7"), 0, "%s", err.text);
    config_each(config, add_line, &first);
    buf_add_char(&first, '\0');
    write_file(first.ptr);
    cr_assert_eq(LOAD("--config", path), 0, "%s", err.text);
    config_each(config, add_line, &second);
    buf_add_char(&second, '\0');
    cr_assert_str_eq(second.ptr, first.ptr);
    buf_release(&first);
    buf_release(&second);
}
