/* line_parse.h - carbon's plaintext protocol: bytes in, points out. Pure: no sockets, no store, no clock.
 *
 *     name SP value SP timestamp LF
 *
 * The rules are carbon's (docs/compatibility.md, "Plaintext"):
 *   1. A line ends with LF; fields are split at any run of blank, tab, CR, VT or FF, and such bytes before the
 *      first and after the last field mean nothing. So CRLF is fine, and an empty line is nothing at all.
 *   2. Exactly three fields.
 *   3. The value is what Python's float() reads: +4.5 .5 1e3 1_000 inf nan; no hexadecimal.
 *   4. The timestamp is such a number too, cut toward zero; -1 and N mean now.
 *   5. A line that is not UTF-8, or whose name holds a control byte, is refused alone.
 * Names are handed on as they came; the store normalises them. */
#ifndef PLUMBAGO_SERVER_LINE_PARSE_H
#define PLUMBAGO_SERVER_LINE_PARSE_H

#include "base/span.h"

#include <stdint.h>

enum line_result {
    LINE_OK,
    LINE_FIELDS,    /* fewer or more than three fields */
    LINE_VALUE,     /* the second field is no number */
    LINE_TIMESTAMP, /* the third field is no number, or none that fits 64 bits */
    LINE_UTF8,      /* not UTF-8 */
    LINE_CONTROL,   /* the name holds a control byte */
    LINE_TOO_LONG,  /* longer than the caller's limit; given by the reader of lines and by line_parse() */
    LINE_RESULTS    /* how many there are */
};

/* The words used in metrics and logs: "ok", "fields", "value", ... */
const char *line_result_name(enum line_result result);

/* One line that was not empty. */
struct line_point {
    struct span name; /* LINE_OK: the first field. Else the whole line without its end. Borrowed from the input. */
    double value;
    int64_t time_s;
    enum line_result result;
};

enum {
    LINE_PARSE_PAD = 64,      /* bytes behind the end of the input that must be readable; what they hold is no matter */
    LINE_MAX_DEFAULT = 16384, /* bytes of a line without its end; carbon's limit */
};

struct line_batch {
    struct line_point *points; /* room for MAX, the caller's */
    size_t max;
    size_t count; /* filled by line_parse() */
};

/* Parse the lines in [FROM, END), of which the last one ends with LF (END > FROM implies END[-1] is LF), until
 * the batch is full. Returns where it stopped: END, or the start of the first line that found no room.
 * NOW_S stands for the timestamps -1 and N; LINE_MAX is the limit of a line in bytes. */
const char *line_parse(const char *from, const char *end, size_t line_max, int64_t now_s, struct line_batch *batch);

/* The same without SIMD: for machines that have none that is used, and to compare the two. */
const char *line_parse_plain(const char *from, const char *end, size_t line_max, int64_t now_s,
                             struct line_batch *batch);

#endif
