/* config.h - flags and plumbago.conf -> one const struct.
 *
 * One table (config.c) names every setting once: its flag, which is also its key in the file, its type, range,
 * default, unit and text. Flags, file, --help and the checks are all made from that table. A flag wins over the
 * file, the file over the default; of a repeated flag the last one counts. */
#ifndef PLUMBAGO_SERVER_CONFIG_H
#define PLUMBAGO_SERVER_CONFIG_H

#include "base/err.h"
#include "base/log.h"
#include "base/span.h"
#include "server/listen.h"

#include <stdint.h>
#include <stdio.h>

/* Strings are never NULL unless their comment says so, and live as long as the struct. */
struct config {
    const char *file; /* the configuration file; NULL: none */
    const char *data_dir;

    struct listen_addr carbon;     /* plaintext over TCP */
    struct listen_addr carbon_udp; /* plaintext over UDP */
    int64_t carbon_workers;        /* 0: by the number of cores */
    int64_t carbon_line_max;       /* bytes */
    int64_t carbon_connections_max;
    int64_t carbon_idle_s; /* 0: never */

    struct listen_addr http;
    const char *http_prefix;       /* "" or "/graphite": taken off the front of a path */
    const char *http_allow_origin; /* "*", "off", or origins divided by blanks */
    int64_t http_head_max;         /* bytes of request line and headers */
    int64_t http_body_max;         /* bytes */
    int64_t http_buffers_max;      /* bytes of requests and answers of all connections together */
    int64_t http_connections_max;
    int64_t http_connections_per_address_max;
    int64_t http_idle_s;    /* a connection between two requests */
    int64_t http_receive_s; /* for a whole request to arrive, plus its length at 16 KiB/s */
    int64_t http_send_s;    /* without the client taking anything */
    int64_t http_threads;   /* query threads; 0: by the number of cores */

    int64_t query_queue;     /* requests that may wait for a thread */
    int64_t query_timeout_s; /* 0: none */
    int64_t query_memory_max;
    int64_t query_series_max;
    int64_t query_points_max;
    int64_t query_targets_max;
    int64_t query_output_max;

    const char *schemas;     /* NULL: the built-in default */
    const char *aggregation; /* NULL: the built-in default */
    int64_t sync_ms;
    int64_t future_max_s;
    int64_t seal_grace_s;
    int64_t windows_max;
    int64_t series_max;         /* 0: no limit */
    int64_t expire_series;      /* 0: off */
    int64_t creates_per_minute; /* 0: no limit */
    int64_t memory_limit;       /* bytes; 0: by what there is */
    int64_t free_bytes_min;
    int64_t scrub_interval_s; /* 0: off */
    int64_t events_max;
    int64_t events_retention_days; /* 0: for ever */

    int64_t self_metrics_s; /* 0: off */
    const char *log_file;   /* NULL: standard error */
    int64_t log_format;     /* enum log_format */
    int64_t log_level;      /* enum log_level */
};

enum config_action { CONFIG_RUN, CONFIG_CHECK, CONFIG_VERSION, CONFIG_HELP };

/* Read the command line, and the file that --config names. *out is the caller's, to be given back with
 * config_free(); NULL on failure and for CONFIG_VERSION and CONFIG_HELP. ERR_INPUT says which flag is wrong, or names
 * file and line. */
int config_load(int argc, char *const *argv, struct config **out, enum config_action *action, struct err *err);

void config_free(struct config *config); /* NULL is fine */

/* What --help prints. */
void config_help(FILE *to);

/* Calls EACH for every setting with its name and its value as text ("127.0.0.1:2003", "60", "off", ...), in the
 * order of the table. Both are borrowed for the call. */
void config_each(const struct config *config, void (*each)(void *ctx, const char *name, const char *value), void *ctx);

#endif
