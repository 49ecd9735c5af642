/* http_parse.h - HTTP/1.1 as bytes: the head of a request, and chunked bodies. Pure: no sockets.
 *
 * RFC 9112, strict where leniency lets two servers see different requests (both Content-Length and
 * Transfer-Encoding, repeated or signed lengths, blanks before a colon, folded headers, bare CR and NUL are
 * refused), lenient where Graphite's clients need it: the request target may hold any byte but controls, blanks too
 * (clients send raw targets with {}|^"<> and UTF-8); a line may end with LF alone; empty lines before a request mean
 * nothing. */
#ifndef PLUMBAGO_SERVER_HTTP_PARSE_H
#define PLUMBAGO_SERVER_HTTP_PARSE_H

#include "base/buf.h"
#include "base/span.h"

#include <stdint.h>
#include <sys/types.h>

enum http_method {
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_PUT = 8,
    HTTP_DELETE = 16,
    HTTP_OPTIONS = 32,
    HTTP_OTHER = 64, /* a valid token that is none of these */
};

enum { HTTP_FIELDS_MAX = 64 };

struct http_field {
    struct span name; /* as it came */
    struct span value;
};

/* All spans point into the text that was parsed. */
struct http_head {
    enum http_method method;
    struct span path;  /* still percent-encoded, without query; begins with '/', or is "*" */
    struct span query; /* what follows the first '?'; still encoded */
    int minor;         /* HTTP/1.minor */
    bool keep_alive;   /* the connection may carry another request */
    bool chunked;      /* the body comes in chunks; else it has content_length bytes */
    bool expects_continue;
    uint64_t content_length;
    struct http_field fields[HTTP_FIELDS_MAX];
    size_t count;
};

/* The number of bytes at the start of TEXT that are empty lines (to be skipped before a request). */
size_t http_blank(struct span text);

/* The length of the head at the start of TEXT, its empty line included; 0 when it has not yet arrived in full.
 * *seen is how far the search has come; 0 at first, kept by the caller between calls on a growing text. */
size_t http_head_length(struct span text, size_t *seen);

/* Parse TEXT, a whole head. Returns 0, or the status to answer with (400, 431, 501, 505), and then *why is a short
 * constant text. */
int http_head_parse(struct span text, struct http_head *out, const char **why);

/* The value of the first field NAME (in any case), or ptr NULL. */
struct span http_field(const struct http_head *head, const char *name);

/* Whether VALUE, a list divided by commas, holds WORD (in any case) with a weight (";q=") other than 0. */
bool http_list_has(struct span value, const char *word);

/* A body in chunks, decoded as it arrives. Zeroed is ready. */
struct http_chunked {
    enum {
        CHUNK_SIZE,      /* in the digits of a length */
        CHUNK_EXTENSION, /* behind them, until LF */
        CHUNK_DATA,
        CHUNK_DATA_END, /* at the line end behind the data */
        CHUNK_TRAILER,  /* at the start of a line behind the last chunk */
        CHUNK_TRAILER_LINE,
        CHUNK_DONE,
    } state;
    uint64_t left;    /* of the chunk; in CHUNK_SIZE: the number so far */
    uint32_t digits;  /* of the length */
    uint32_t control; /* bytes of lengths, extensions and trailers so far */
};

/* Decode TEXT, appending the data to OUT. Returns how many bytes of TEXT were used (all of them, until the body has
 * ended: then .state is CHUNK_DONE), or -1 when it is no valid chunked body. OUT may fail: see buf.h. */
ssize_t http_chunked_feed(struct http_chunked *c, struct span text, struct buf *out);

/* Undo percent-encoding in place; a bad sequence stays as it is. Returns the new length. */
size_t http_unescape(char *text, size_t len);

/* "OK", "Not Found", ... */
const char *http_reason(int status);

#endif
