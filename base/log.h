/* log.h - one line for each event, as text or as JSON.
 *
 * Text:  2026-11-20T08:00:00.123Z info storage: window sealed tier=10s points=120000
 * JSON:  {"time":"2026-11-20T08:00:00.123456Z","written":"2026-11-20T08:00:00.123489Z","level":"info",
 *         "source":"storage","version":"0.1.0","message":"window sealed","tier":"10s","points":120000}
 * "time" is when it happened, "written" when the line was written. The message is a constant text;
 * what varies goes into fields, so that lines can be searched by either.
 *
 *     log_info("storage", "window sealed", LOG_STR("tier", "10s"), LOG_INT("points", n));
 *
 * Any thread. A line goes out with one write(2), so lines never mix. */
#ifndef PLUMBAGO_BASE_LOG_H
#define PLUMBAGO_BASE_LOG_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_OFF };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_field {
    const char *key; /* NULL ends the list */
    enum { LOG_KIND_STR, LOG_KIND_INT, LOG_KIND_FLOAT } kind;
    struct span str;
    int64_t integer;
    double real;
};

#define LOG_STR(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_STR, .str = span_str(v)})
#define LOG_SPAN(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_STR, .str = (v)})
#define LOG_INT(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_INT, .integer = (int64_t)(v)})
#define LOG_FLOAT(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_FLOAT, .real = (v)})
#define LOG_ERR(e) LOG_STR("error", (e)->text)

/* Write to descriptor FD (default 2, text, info). VERSION is borrowed for ever. */
void log_setup(int fd, enum log_format format, enum log_level level, const char *version);

/* "debug", "info", "warn", "error", "off"; "text", "json". False for any other word. */
bool log_level_parse(struct span word, enum log_level *out);
bool log_format_parse(struct span word, enum log_format *out);

/* Whether a line of LEVEL would be written. */
bool log_wants(enum log_level level);

/* FIELDS ends with a key of NULL. WHEN_NS: the wall clock when it happened, 0 for now. */
void log_write(enum log_level level, int64_t when_ns, const char *source, const char *message,
               const struct log_field *fields);

#define LOG_FIELDS(...) ((const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.key = NULL}})
#define log_debug(source, message, ...) log_write(LOG_LEVEL_DEBUG, 0, source, message, LOG_FIELDS(__VA_ARGS__))
#define log_info(source, message, ...) log_write(LOG_LEVEL_INFO, 0, source, message, LOG_FIELDS(__VA_ARGS__))
#define log_warn(source, message, ...) log_write(LOG_LEVEL_WARN, 0, source, message, LOG_FIELDS(__VA_ARGS__))
#define log_error(source, message, ...) log_write(LOG_LEVEL_ERROR, 0, source, message, LOG_FIELDS(__VA_ARGS__))

/* Lets at most BURST events through in each PERIOD and counts the rest. Zeroed is ready; any thread. */
struct log_limit {
    int64_t period_ends_ns;
    uint32_t passed;
    uint64_t held_back;
};

/* Whether the event may be logged now. When it may, *held_back is how many were swallowed since the
 * last that passed (to be given as a field). */
bool log_limit_pass(struct log_limit *limit, uint32_t burst, int64_t period_ns, uint64_t *held_back);

#endif
