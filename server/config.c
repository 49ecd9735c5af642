/* The table of settings, and the two ways to fill it: flags and an INI file.
 *
 * Every value goes through set(), the default as well, so that a default can never be one that the checks would
 * refuse. The file is read before the flags are applied, but which file it is stands in a flag: so the command
 * line is walked twice. */
#include "server/config.h"

#include "base/arena.h"
#include "base/ini.h"
#include "base/must.h"
#include "base/number.h"
#include "server/memory.h"

#include <inttypes.h>
#include <stdlib.h>

enum setting_type {
    TEXT,    /* const char * */
    PATH,    /* const char *, NULL when it was not given */
    ADDRESS, /* struct listen_addr */
    NUMBER,  /* int64_t in min..max */
    BYTES,   /* the same; K, M and G at the end multiply by powers of 1024 */
    WORD,    /* int64_t: the place in a list of words */
};

struct setting {
    const char *name;
    enum setting_type type;
    size_t offset;
    const char *standard; /* the default, as one would write it; NULL: not given */
    int64_t min;
    int64_t max;
    bool off;                 /* "off" may be written for 0 */
    const char *unit;         /* of NUMBER; what --help shows in place of the value */
    const char *const *words; /* of WORD, ends with NULL */
    const char *text;
};

struct config_memory {
    struct config config; /* first, so that one pointer is the other */
    struct arena arena;   /* of the strings */
};

static const char *const format_words[] = {"text", "json", NULL};
static const char *const switch_words[] = {"off", "on", NULL};
static const char *const level_words[] = {"debug", "info", "warn", "error", "off", NULL};

#define AT(member) .offset = offsetof(struct config, member)
#define RANGE(low, high) .min = (low), .max = (high)

static const struct setting settings[] = {
    {"data-dir", TEXT, AT(data_dir), .standard = "./data", .unit = "DIR", .text = "where everything is kept"},

    {"carbon", ADDRESS, AT(carbon), .standard = "127.0.0.1:2003", .text = "plaintext protocol over TCP"},
    {"carbon-udp", ADDRESS, AT(carbon_udp), .standard = "127.0.0.1:2003", .text = "plaintext protocol over UDP"},
    {"carbon-workers", NUMBER, AT(carbon_workers), .standard = "0", RANGE(0, 64), .unit = "THREADS",
     .text = "threads that receive over TCP; 0: one for each core, at most 4"},
    {"carbon-max-line", BYTES, AT(carbon_line_max), .standard = "16K", RANGE(256, 1 << 20), .unit = "BYTES",
     .text = "longest line; a longer one is refused, its connection stays"},
    {"carbon-max-connections", NUMBER, AT(carbon_connections_max), .standard = "10000", RANGE(1, 1000000),
     .unit = "COUNT", .text = "open carbon connections; more wait in the kernel's queue"},
    {"carbon-idle-timeout", NUMBER, AT(carbon_idle_s), .standard = "off", RANGE(0, 31536000), .off = true,
     .unit = "SECONDS", .text = "close a carbon connection on which nothing came for so long"},

    {"http", ADDRESS, AT(http), .standard = "127.0.0.1:8080", .text = "Graphite's HTTP API"},
    {"http-prefix", TEXT, AT(http_prefix), .standard = "", .unit = "PATH",
     .text = "path under which the API is reached besides /, such as /graphite"},
    {"http-allow-origin", TEXT, AT(http_allow_origin), .standard = "*", .unit = "ORIGINS",
     .text = "web pages of which origins may read answers (CORS): *, off, or origins divided by blanks"},
    {"http-threads", NUMBER, AT(http_threads), .standard = "0", RANGE(0, 256), .unit = "THREADS",
     .text = "threads that answer queries; 0: one for each core, at least 2"},
    {"http-max-header", BYTES, AT(http_head_max), .standard = "256K", RANGE(1024, 16 << 20), .unit = "BYTES",
     .text = "longest request line and headers together"},
    {"http-max-body", BYTES, AT(http_body_max), .standard = "16M", RANGE(0, INT64_C(1) << 30), .unit = "BYTES",
     .text = "longest request body"},
    {"http-max-buffers", BYTES, AT(http_buffers_max), .standard = "1G", RANGE(1 << 20, INT64_C(1) << 40),
     .unit = "BYTES", .text = "requests and answers of all connections together"},
    {"http-max-connections", NUMBER, AT(http_connections_max), .standard = "8000", RANGE(1, 1000000), .unit = "COUNT",
     .text = "open HTTP connections"},
    {"http-max-connections-per-address", NUMBER, AT(http_connections_per_address_max), .standard = "6000",
     RANGE(1, 1000000), .unit = "COUNT", .text = "open HTTP connections of one client address"},
    {"http-idle-timeout", NUMBER, AT(http_idle_s), .standard = "120", RANGE(1, 86400), .unit = "SECONDS",
     .text = "close an HTTP connection that sends no further request"},
    {"http-receive-timeout", NUMBER, AT(http_receive_s), .standard = "30", RANGE(1, 86400), .unit = "SECONDS",
     .text = "for a request to arrive in full; bodies get a second more for each 16 KiB"},
    {"http-send-timeout", NUMBER, AT(http_send_s), .standard = "30", RANGE(1, 86400), .unit = "SECONDS",
     .text = "for an answer to be taken; a second more for each 16 KiB"},

    {"query-queue", NUMBER, AT(query_queue), .standard = "1000", RANGE(1, 1000000), .unit = "COUNT",
     .text = "requests that may wait for a thread; more are answered with 503"},
    {"query-timeout", NUMBER, AT(query_timeout_s), .standard = "60", RANGE(0, 86400), .off = true, .unit = "SECONDS",
     .text = "for a query, waiting included"},
    {"query-max-memory", BYTES, AT(query_memory_max), .standard = "512M", RANGE(1 << 20, INT64_C(1) << 40),
     .unit = "BYTES", .text = "working memory of one query"},
    {"query-max-series", NUMBER, AT(query_series_max), .standard = "100000", RANGE(1, INT64_C(1) << 32),
     .unit = "COUNT", .text = "series that one query may fetch, and nodes that one find may return"},
    {"query-max-points", NUMBER, AT(query_points_max), .standard = "50000000", RANGE(1, INT64_C(1) << 40),
     .unit = "COUNT", .text = "points that one query may fetch"},
    {"query-max-targets", NUMBER, AT(query_targets_max), .standard = "1000", RANGE(1, 1000000), .unit = "COUNT",
     .text = "targets of one query"},
    {"query-max-output", BYTES, AT(query_output_max), .standard = "512M", RANGE(1 << 20, INT64_C(1) << 40),
     .unit = "BYTES", .text = "length of one answer"},

    {"schemas", PATH, AT(schemas), .unit = "FILE", .text = "carbon's storage-schemas.conf (10s:1d,1m:30d,10m:5y)"},
    {"aggregation", PATH, AT(aggregation), .unit = "FILE",
     .text = "carbon's storage-aggregation.conf (average, xFilesFactor 0.5)"},
    {"sync-interval", NUMBER, AT(sync_ms), .standard = "1000", RANGE(10, 3600000), .unit = "MILLISECONDS",
     .text = "pause between flushes to the device: what a power cut may cost"},
    {"max-future", NUMBER, AT(future_max_s), .standard = "3600", RANGE(0, 315360000), .unit = "SECONDS",
     .text = "how far ahead of the clock a point may be"},
    {"seal-grace", NUMBER, AT(seal_grace_s), .standard = "60", RANGE(0, 86400), .unit = "SECONDS",
     .text = "how long after its end a window waits for late points before it is compressed"},
    {"max-open-windows", NUMBER, AT(windows_max), .standard = "256", RANGE(4, 65536), .unit = "COUNT",
     .text = "uncompressed windows; the ones idle for longest are compressed beyond that"},
    {"max-series", NUMBER, AT(series_max), .standard = "off", RANGE(0, 1 << 28), .off = true, .unit = "COUNT",
     .text = "series in all; points of further names are refused and counted"},
    {"expire-series", WORD, AT(expire_series), .standard = "on", .words = switch_words,
     .text = "delete series of which no archive has a point any more"},
    {"max-creates-per-minute", NUMBER, AT(creates_per_minute), .standard = "off", RANGE(0, 1000000000), .off = true,
     .unit = "COUNT", .text = "new series; a minute's worth may come at once, points of more new names are refused"},
    {"memory-limit", BYTES, AT(memory_limit), .standard = "0", RANGE(0, INT64_C(1) << 50), .unit = "BYTES",
     .text = "memory that is no mapped file; new names are refused beyond; 0: three quarters of what there is"},
    {"min-free-bytes", BYTES, AT(free_bytes_min), .standard = "64M", RANGE(0, INT64_C(1) << 50), .unit = "BYTES",
     .text = "space of the disk to leave free"},
    {"max-events", NUMBER, AT(events_max), .standard = "100000", RANGE(0, 10000000), .unit = "COUNT",
     .text = "events that are kept, of 2 KiB on average; further ones are refused"},
    {"events-retention", NUMBER, AT(events_retention_days), .standard = "1825", RANGE(0, 36500), .off = true,
     .unit = "DAYS", .text = "how long events are kept"},

    {"scrub-interval", NUMBER, AT(scrub_interval_s), .standard = "86400", RANGE(0, 31536000), .off = true,
     .unit = "SECONDS", .text = "how long a check of all files in the background takes"},

    {"self-metrics", NUMBER, AT(self_metrics_s), .standard = "60", RANGE(1, 86400), .off = true, .unit = "SECONDS",
     .text = "how often to store the server's own state under carbon.agents"},
    {"log-file", PATH, AT(log_file), .unit = "FILE",
     .text = "write the log there, opened again at SIGHUP (standard error)"},
    {"log-format", WORD, AT(log_format), .standard = "text", .words = format_words, .text = "form of the log's lines"},
    {"log-level", WORD, AT(log_level), .standard = "info", .words = level_words, .text = "least level that is written"},
};

enum { SETTINGS = sizeof(settings) / sizeof(settings[0]) };

static void *place(struct config *config, const struct setting *s)
{
    return (char *)config + s->offset;
}

static const struct setting *setting_named(struct span name)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (span_eq(name, span_str(settings[i].name)))
            return &settings[i];
    return NULL;
}

static int set_string(struct config_memory *m, const struct setting *s, struct span value, struct err *err)
{
    if (memchr(value.ptr, '\n', value.len) != NULL || memchr(value.ptr, '\0', value.len) != NULL)
        return err_set(err, ERR_INPUT, "%s must be one line", s->name);
    if (value.len == 0 && s->standard != NULL && *s->standard != '\0')
        return err_set(err, ERR_INPUT, "%s must not be empty", s->name);
    *(const char **)place(&m->config, s) = value.len == 0 && s->type == PATH ? NULL : arena_span(&m->arena, value).ptr;
    return 0;
}

/* Takes a K, M or G (KiB, ...) from the end of *value. */
static int64_t unit_of(struct span *value)
{
    static const char units[] = "kKmMgG";
    size_t n = value->len;

    if (n > 2 && value->ptr[n - 1] == 'B' && value->ptr[n - 2] == 'i')
        n -= 2;
    for (size_t i = 0; n > 1 && i < sizeof(units) - 1; i++)
        if (value->ptr[n - 1] == units[i]) {
            *value = span_cut(*value, 0, n - 1);
            return INT64_C(1) << (10 * (i / 2 + 1));
        }
    return 1;
}

static int set_number(struct config_memory *m, const struct setting *s, struct span value, struct err *err)
{
    struct span digits = value;
    int64_t unit = s->type == BYTES ? unit_of(&digits) : 1;
    int64_t n = 0;

    if (s->off && span_eq(value, SPAN_LIT("off"))) {
        *(int64_t *)place(&m->config, s) = 0;
        return 0;
    }
    if (!number_parse_i64(digits, &n) || __builtin_mul_overflow(n, unit, &n))
        return err_set(err, ERR_INPUT, "%s must be a whole number%s%s, not \"%.*s\"", s->name,
                       s->type == BYTES ? " of bytes (K, M, G may follow)" : "", s->off ? " or off" : "",
                       SPAN_ARG(span_cut(value, 0, 100)));
    if (n < s->min || n > s->max)
        return err_set(err, ERR_INPUT, "%s must be between %" PRId64 " and %" PRId64 ", not %" PRId64, s->name, s->min,
                       s->max, n);
    *(int64_t *)place(&m->config, s) = n;
    return 0;
}

static int set_word(struct config_memory *m, const struct setting *s, struct span value, struct err *err)
{
    char list[120] = "";

    for (int64_t i = 0; s->words[i] != NULL; i++) {
        if (span_eq(value, span_str(s->words[i]))) {
            *(int64_t *)place(&m->config, s) = i;
            return 0;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%s", i == 0 ? "" : ", ", s->words[i]);
    }
    return err_set(err, ERR_INPUT, "%s must be one of %s, not \"%.*s\"", s->name, list,
                   SPAN_ARG(span_cut(value, 0, 100)));
}

static int set(struct config_memory *m, const struct setting *s, struct span value, struct err *err)
{
    int rc = 0;

    switch (s->type) {
    case TEXT:
    case PATH:
        return set_string(m, s, value, err);
    case ADDRESS:
        rc = listen_parse(value, place(&m->config, s), err);
        if (rc < 0)
            err_context(err, "%s", s->name);
        return rc;
    case NUMBER:
    case BYTES:
        return set_number(m, s, value, err);
    case WORD:
        return set_word(m, s, value, err);
    }
    return rc;
}

static void set_defaults(struct config_memory *m)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        struct err err = {0};
        int rc = settings[i].standard == NULL ? 0 : set(m, &settings[i], span_str(settings[i].standard), &err);

        MUST(rc == 0);
    }
}

static int set_from_file(struct config_memory *m, const char *path, struct err *err)
{
    struct ini *ini = NULL;
    int rc = ini_load(path, INI_ALLOW_GLOBAL, &ini, err);

    for (size_t i = 0; rc == 0 && i < ini->count; i++) {
        const struct ini_section *section = &ini->sections[i];

        if (section->name.len != 0)
            rc = err_set(err, ERR_INPUT, "%s:%d: [%.*s]: this file has no sections", path, section->line,
                         SPAN_ARG(span_cut(section->name, 0, 100)));
        for (size_t k = 0; rc == 0 && k < section->count; k++) {
            const struct ini_option *option = &section->options[k];
            const struct setting *s = setting_named(option->key);

            if (s == NULL)
                rc = err_set(err, ERR_INPUT, "%s:%d: unknown key \"%.*s\"", path, option->line,
                             SPAN_ARG(span_cut(option->key, 0, 100)));
            else if ((rc = set(m, s, option->value, err)) < 0)
                err_context(err, "%s:%d", path, option->line);
        }
    }
    ini_free(ini);
    return rc;
}

/* One flag of the command line, taken apart. */
struct flag {
    struct span name;  /* without the dashes */
    struct span value; /* ptr NULL: none */
};

/* The flag at argv[*i]; "--name value" takes two words, "--name=value" one. *i moves on. */
static int flag_next(int argc, char *const *argv, int *i, struct flag *out, struct err *err)
{
    const char *word = argv[(*i)++];
    bool alone = strcmp(word, "--help") == 0 || strcmp(word, "--version") == 0 || strcmp(word, "--check-config") == 0;

    if (strncmp(word, "--", 2) != 0 || word[2] == '\0')
        return err_set(err, ERR_INPUT, "unexpected word \"%s\"; see --help", word);
    struct span all = span_str(word + 2);
    size_t at = span_find(all, '=');

    *out = (struct flag){.name = span_cut(all, 0, at)};
    if (at < all.len)
        out->value = span_cut(all, at + 1, all.len);
    else if (!alone && *i < argc)
        out->value = span_str(argv[(*i)++]);
    else if (!alone && (setting_named(out->name) != NULL || span_eq(out->name, SPAN_LIT("config"))))
        return err_set(err, ERR_INPUT, "%s needs a value", word);
    return 0;
}

/* First walk: what to do, and which file. */
static int scan_flags(int argc, char *const *argv, const char **file, enum config_action *action, struct err *err)
{
    struct flag flag;
    int rc = 0;

    for (int i = 1; rc == 0 && i < argc;) {
        rc = flag_next(argc, argv, &i, &flag, err);
        if (rc < 0)
            break;
        bool bare = flag.value.ptr == NULL;

        if (span_eq(flag.name, SPAN_LIT("help")) && bare)
            *action = CONFIG_HELP;
        else if (span_eq(flag.name, SPAN_LIT("version")) && bare)
            *action = CONFIG_VERSION;
        else if (span_eq(flag.name, SPAN_LIT("check-config")) && bare)
            *action = *action == CONFIG_RUN ? CONFIG_CHECK : *action;
        else if (span_eq(flag.name, SPAN_LIT("config")) && !bare)
            *file = flag.value.ptr; /* the end of a word of argv, so it is terminated */
        else if (setting_named(flag.name) == NULL || bare)
            rc = err_set(err, ERR_INPUT, "unknown flag --%.*s; see --help", SPAN_ARG(span_cut(flag.name, 0, 100)));
    }
    return rc;
}

/* Second walk: the settings. */
static int set_from_flags(struct config_memory *m, int argc, char *const *argv, struct err *err)
{
    struct flag flag;
    int rc = 0;

    for (int i = 1; rc == 0 && i < argc;) {
        rc = flag_next(argc, argv, &i, &flag, err);
        const struct setting *s = rc < 0 ? NULL : setting_named(flag.name);

        if (s != NULL && (rc = set(m, s, flag.value, err)) < 0)
            err_context(err, "--%s", s->name);
    }
    return rc;
}

/* What no single value can get wrong alone. */
static int check_together(const struct config *c, struct err *err)
{
    size_t n = strlen(c->http_prefix);

    if (n != 0 && (c->http_prefix[0] != '/' || c->http_prefix[n - 1] == '/'))
        return err_set(err, ERR_INPUT, "http-prefix must begin with / and not end with it, not \"%s\"", c->http_prefix);
    if (c->memory_limit != 0 && c->memory_limit < MEMORY_LIMIT_MIN)
        return err_set(err, ERR_INPUT, "memory-limit must be 0 or at least %" PRId64 ", not %" PRId64, MEMORY_LIMIT_MIN,
                       c->memory_limit);
    return 0;
}

int config_load(int argc, char *const *argv, struct config **out, enum config_action *action, struct err *err)
{
    const char *file = NULL;

    *out = NULL;
    *action = CONFIG_RUN;
    int rc = scan_flags(argc, argv, &file, action, err);

    if (rc < 0 || *action == CONFIG_HELP || *action == CONFIG_VERSION)
        return rc;

    struct config_memory *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return err_set(err, ERR_MEMORY, "no memory for the configuration");
    arena_init(&m->arena, 0, NULL);
    set_defaults(m);
    if (file != NULL) {
        m->config.file = arena_span(&m->arena, span_str(file)).ptr;
        rc = set_from_file(m, file, err);
    }
    if (rc == 0)
        rc = set_from_flags(m, argc, argv, err);
    if (rc == 0)
        rc = check_together(&m->config, err);
    if (rc < 0) {
        config_free(&m->config);
        return rc;
    }
    *out = &m->config;
    return 0;
}

void config_free(struct config *config)
{
    struct config_memory *m = (struct config_memory *)config;

    if (m == NULL)
        return;
    arena_release(&m->arena);
    free(m);
}

static void help_line(FILE *to, const struct setting *s)
{
    char left[80];
    char choice[60] = "";

    for (int i = 0; s->words != NULL && s->words[i] != NULL; i++) {
        size_t used = strlen(choice);
        snprintf(choice + used, sizeof(choice) - used, "%s%s", i == 0 ? "" : "|", s->words[i]);
    }
    snprintf(left, sizeof(left), "--%s %s%s", s->name,
             s->type == ADDRESS ? "ADDR:PORT|off" : (s->words != NULL ? choice : s->unit), s->off ? "|off" : "");
    fprintf(to, "  %s\n        %s", left, s->text);
    if (s->standard != NULL && *s->standard != '\0')
        fprintf(to, " (%s)", s->standard);
    fputc('\n', to);
}

void config_help(FILE *to)
{
    fputs("plumbago " PLUMBAGO_VERSION ", a Graphite-compatible time-series database server\n\n"
          "usage: plumbago [--FLAG VALUE]...\n\n"
          "  --config FILE\n        read settings from an INI file; each flag below is a key of the same name\n",
          to);
    for (size_t i = 0; i < SETTINGS; i++)
        help_line(to, &settings[i]);
    fputs("  --check-config\n        check settings and the two carbon files, say what is wrong, and end\n"
          "  --version\n        print the version and end\n"
          "  --help\n        print this and end\n\n"
          "Defaults stand in parentheses. Port 0 picks a free port, \"off\" disables a listener.\n"
          "SIGTERM and SIGINT stop the server; SIGHUP reads the carbon files again and opens the log file anew.\n",
          to);
}

static const char *value_text(const struct config *config, const struct setting *s, char text[LISTEN_TEXT_MAX])
{
    const void *at = (const char *)config + s->offset;
    const char *string = NULL;
    int64_t n = 0;

    switch (s->type) {
    case TEXT:
    case PATH:
        string = *(const char *const *)at;
        return string == NULL ? "" : string;
    case ADDRESS:
        return listen_text(at, text);
    case WORD:
        return s->words[*(const int64_t *)at];
    case NUMBER:
    case BYTES:
        n = *(const int64_t *)at;
        if (n == 0 && s->off)
            return "off";
        snprintf(text, LISTEN_TEXT_MAX, "%" PRId64, n);
        return text;
    }
    return "";
}

void config_each(const struct config *config, void (*each)(void *ctx, const char *name, const char *value), void *ctx)
{
    char text[LISTEN_TEXT_MAX];

    for (size_t i = 0; i < SETTINGS; i++)
        each(ctx, settings[i].name, value_text(config, &settings[i], text));
}
