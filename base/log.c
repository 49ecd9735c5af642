#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/number.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Longer strings are cut: a line is for reading, and what a peer sent must not fill the disk. */
#define FIELD_MAX 4096

/* Set once at the start, before there are threads; atomic all the same, for tests that set it later. */
static int log_fd = 2;
static int log_format = LOG_FORMAT_TEXT;
static int log_level = LOG_LEVEL_INFO;
static const char *log_version = PLUMBAGO_VERSION;

void log_setup(int fd, enum log_format format, enum log_level level, const char *version)
{
    __atomic_store_n(&log_fd, fd, __ATOMIC_RELAXED);
    __atomic_store_n(&log_format, (int)format, __ATOMIC_RELAXED);
    __atomic_store_n(&log_version, version, __ATOMIC_RELAXED);
    __atomic_store_n(&log_level, (int)level, __ATOMIC_RELEASE);
}

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};
static const char *const format_names[] = {"text", "json"};

static int find_word(const char *const *words, int count, struct span word)
{
    for (int i = 0; i < count; i++)
        if (span_eq(span_str(words[i]), word))
            return i;
    return -1;
}

bool log_level_parse(struct span word, enum log_level *out)
{
    int found = find_word(level_names, LOG_LEVEL_OFF + 1, word);

    if (found >= 0)
        *out = (enum log_level)found;
    return found >= 0;
}

bool log_format_parse(struct span word, enum log_format *out)
{
    int found = find_word(format_names, LOG_FORMAT_JSON + 1, word);

    if (found >= 0)
        *out = (enum log_format)found;
    return found >= 0;
}

bool log_wants(enum log_level level)
{
    return (int)level >= __atomic_load_n(&log_level, __ATOMIC_ACQUIRE);
}

/* RFC 3339 in UTC with DIGITS digits of the second's fraction. */
static void add_time(struct buf *b, int64_t ns, int digits)
{
    int64_t fraction = ns % 1000000000;
    time_t s;
    struct tm tm;
    char text[16];

    if (fraction < 0)
        fraction += 1000000000;
    s = (time_t)((ns - fraction) / 1000000000);
    gmtime_r(&s, &tm);
    snprintf(text, sizeof(text), "%09d", (int)fraction);
    buf_addf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%.*sZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
             tm.tm_min, tm.tm_sec, digits, text);
}

static void add_number(struct buf *b, double v)
{
    char text[NUMBER_MAX];

    buf_add(b, text, number_repr(v, text));
}

/* ---- text ---- */

/* Whether a value reads well without quotes. */
static bool is_word(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7F)
            return false;
    }
    return s.len != 0;
}

static void add_text_field(struct buf *b, const struct log_field *field)
{
    buf_addf(b, " %s=", field->key);
    switch (field->kind) {
    case LOG_KIND_STR:
        if (is_word(field->str))
            buf_add_span(b, span_cut(field->str, 0, FIELD_MAX));
        else
            buf_add_json(b, span_cut(field->str, 0, FIELD_MAX));
        break;
    case LOG_KIND_INT:
        buf_addf(b, "%lld", (long long)field->integer);
        break;
    case LOG_KIND_FLOAT:
        add_number(b, field->real);
        break;
    }
}

static void add_text_line(struct buf *b, enum log_level level, int64_t when_ns, const char *source, const char *message,
                          const struct log_field *fields)
{
    add_time(b, when_ns, 3);
    buf_addf(b, " %s %s: %s", level_names[level], source, message);
    for (; fields->key != NULL; fields++)
        add_text_field(b, fields);
    buf_add_char(b, '\n');
}

/* ---- JSON ---- */

static void add_json_field(struct buf *b, const struct log_field *field)
{
    buf_add_char(b, ',');
    buf_add_json(b, span_str(field->key));
    buf_add_char(b, ':');
    switch (field->kind) {
    case LOG_KIND_STR:
        buf_add_json(b, span_cut(field->str, 0, FIELD_MAX));
        break;
    case LOG_KIND_INT:
        buf_addf(b, "%lld", (long long)field->integer);
        break;
    case LOG_KIND_FLOAT:
        if (isfinite(field->real))
            add_number(b, field->real);
        else
            buf_add_str(b, "null"); /* JSON has no other word for it */
        break;
    }
}

static void add_json_line(struct buf *b, enum log_level level, int64_t when_ns, const char *source, const char *message,
                          const struct log_field *fields)
{
    buf_add_str(b, "{\"time\":\"");
    add_time(b, when_ns, 6);
    buf_add_str(b, "\",\"written\":\"");
    add_time(b, clock_now_ns(), 6);
    buf_addf(b, "\",\"level\":\"%s\",\"source\":", level_names[level]);
    buf_add_json(b, span_str(source));
    buf_add_str(b, ",\"version\":");
    buf_add_json(b, span_str(__atomic_load_n(&log_version, __ATOMIC_RELAXED)));
    buf_add_str(b, ",\"message\":");
    buf_add_json(b, span_str(message));
    for (; fields->key != NULL; fields++)
        add_json_field(b, fields);
    buf_add_str(b, "}\n");
}

/* One write; what remains after a signal or a full pipe follows. A log that cannot be written is no
 * reason to stop serving, so errors are not reported (there is nowhere to report them to). */
static void write_line(struct span line)
{
    int fd = __atomic_load_n(&log_fd, __ATOMIC_RELAXED);

    while (line.len > 0) {
        ssize_t n = write(fd, line.ptr, line.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        line = span_cut(line, (size_t)n, line.len);
    }
}

void log_write(enum log_level level, int64_t when_ns, const char *source, const char *message,
               const struct log_field *fields)
{
    int os_errno = errno; /* a log line must not change what its caller is about to look at */
    struct buf line;

    if (!log_wants(level) || level >= LOG_LEVEL_OFF)
        return;
    buf_init(&line, 0);
    if (when_ns == 0)
        when_ns = clock_now_ns();
    if (__atomic_load_n(&log_format, __ATOMIC_RELAXED) == LOG_FORMAT_JSON)
        add_json_line(&line, level, when_ns, source, message, fields);
    else
        add_text_line(&line, level, when_ns, source, message, fields);
    if (!line.failed)
        write_line(buf_span(&line));
    buf_release(&line);
    errno = os_errno;
}

/* The wall clock counts the periods, so that tests can let one pass; should it jump back, a new
 * period begins rather than an endless silence. */
bool log_limit_pass(struct log_limit *limit, uint32_t burst, int64_t period_ns, uint64_t *held_back)
{
    int64_t now = clock_now_ns();
    int64_t ends = __atomic_load_n(&limit->period_ends_ns, __ATOMIC_RELAXED);

    *held_back = 0;
    if ((now >= ends || now < ends - period_ns) &&
        __atomic_compare_exchange_n(&limit->period_ends_ns, &ends, now + period_ns, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED))
        __atomic_store_n(&limit->passed, 0, __ATOMIC_RELAXED);
    if (__atomic_load_n(&limit->passed, __ATOMIC_RELAXED) >= burst ||
        __atomic_fetch_add(&limit->passed, 1, __ATOMIC_RELAXED) >= burst) {
        __atomic_fetch_add(&limit->held_back, 1, __ATOMIC_RELAXED);
        return false;
    }
    *held_back = __atomic_exchange_n(&limit->held_back, 0, __ATOMIC_RELAXED);
    return true;
}
