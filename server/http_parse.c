#include "server/http_parse.h"

#include <strings.h>

enum {
    CHUNK_DIGITS_MAX = 15,    /* so that a length never overflows 64 bits */
    CHUNK_CONTROL_MAX = 65536 /* a sender of nothing but extensions and trailers is stopped */
};

size_t http_blank(struct span text)
{
    size_t n = 0;

    while (n < text.len &&
           (text.ptr[n] == '\n' || (text.ptr[n] == '\r' && n + 1 < text.len && text.ptr[n + 1] == '\n')))
        n++;
    return n;
}

size_t http_head_length(struct span text, size_t *seen)
{
    size_t at = *seen;

    while (at < text.len) {
        const char *lf = memchr(text.ptr + at, '\n', text.len - at);

        if (lf == NULL)
            break;
        size_t next = (size_t)(lf - text.ptr) + 1;

        if (next < text.len && text.ptr[next] == '\n')
            return next + 1;
        if (next + 1 < text.len && text.ptr[next] == '\r' && text.ptr[next + 1] == '\n')
            return next + 2;
        if (next + 1 >= text.len) { /* what decides is not there yet: look at this line end again */
            *seen = next - 1;
            return 0;
        }
        at = next;
    }
    *seen = text.len;
    return 0;
}

/* RFC 9110, 5.6.2: the bytes of a token. */
static bool is_token(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool all_token(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_token((unsigned char)s.ptr[i]))
            return false;
    return s.len != 0;
}

static bool has_control(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (((unsigned char)s.ptr[i] < 0x20 && s.ptr[i] != '\t') || s.ptr[i] == 0x7f)
            return true;
    return false;
}

static bool same_word(struct span s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

static struct span trim(struct span s)
{
    while (s.len != 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = span_cut(s, 1, s.len);
    while (s.len != 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Takes one line from *text, without its end. */
static struct span next_line(struct span *text)
{
    size_t at = span_find(*text, '\n');
    struct span line = span_cut(*text, 0, at);

    *text = span_cut(*text, at + 1, text->len);
    if (line.len != 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

static enum http_method method_of(struct span word)
{
    static const struct {
        const char *name;
        enum http_method method;
    } known[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},
                 {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (span_eq(word, span_str(known[i].name)))
            return known[i].method;
    return HTTP_OTHER;
}

/* "http://host:port/path?query" -> "/path?query" */
static struct span without_authority(struct span target)
{
    struct span scheme = span_cut(target, 0, span_find(target, ':'));

    if (!same_word(scheme, "http") && !same_word(scheme, "https"))
        return target;
    struct span rest = span_cut(target, scheme.len, target.len);

    if (!span_starts(rest, SPAN_LIT("://")))
        return target;
    rest = span_cut(rest, 3, rest.len);
    size_t slash = span_find(rest, '/');

    return slash == rest.len ? SPAN_LIT("/") : span_cut(rest, slash, rest.len);
}

/* The method ends at the first blank and the version begins after the last one, so a target may hold blanks. */
static int parse_request_line(struct span line, struct http_head *out, const char **why)
{
    size_t first = span_find(line, ' ');
    size_t last = line.len;

    while (last > first && line.ptr[last - 1] != ' ')
        last--;
    struct span method = span_cut(line, 0, first);
    struct span version = span_cut(line, last, line.len);
    struct span target = last > first + 1 ? trim(span_cut(line, first + 1, last - 1)) : (struct span){0};

    *why = "bad request line";
    if (!all_token(method) || target.len == 0 || has_control(target) || memchr(target.ptr, '\t', target.len) != NULL)
        return 400;
    if (!span_starts(version, SPAN_LIT("HTTP/")) || version.len != 8 || version.ptr[6] != '.')
        return 400;
    *why = "only HTTP/1.0 and HTTP/1.1 are spoken here";
    if (version.ptr[5] != '1' || (version.ptr[7] != '0' && version.ptr[7] != '1'))
        return 505;
    out->minor = version.ptr[7] - '0';
    out->method = method_of(method);
    target = without_authority(target);
    *why = "the request target must be a path";
    if (target.ptr[0] != '/' && !span_eq(target, SPAN_LIT("*")))
        return 400;
    size_t query = span_find(target, '?');

    out->path = span_cut(target, 0, query);
    out->query = span_cut(target, query + 1, target.len);
    return 0;
}

static int parse_field(struct span line, struct http_head *out, const char **why)
{
    size_t colon = span_find(line, ':');
    struct http_field field = {.name = span_cut(line, 0, colon), .value = trim(span_cut(line, colon + 1, line.len))};

    *why = "bad header line";
    if (colon == line.len || !all_token(field.name) || has_control(field.value))
        return 400;
    *why = "too many headers";
    if (out->count == HTTP_FIELDS_MAX)
        return 431;
    out->fields[out->count++] = field;
    return 0;
}

/* One or several equal numbers, all digits (RFC 9110, 8.6: repeats may be taken if they agree; we refuse them). */
static int parse_length(struct span value, uint64_t *out)
{
    uint64_t n = 0;

    if (value.len == 0 || value.len > 18)
        return 400;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return 400;
        n = n * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    *out = n;
    return 0;
}

/* What the fields say about the body and the connection. */
static int parse_framing(struct http_head *out, const char **why)
{
    unsigned lengths = 0;
    unsigned encodings = 0;
    unsigned hosts = 0;

    out->keep_alive = out->minor == 1;
    for (size_t i = 0; i < out->count; i++) {
        const struct http_field *f = &out->fields[i];

        if (same_word(f->name, "Content-Length")) {
            *why = "bad Content-Length";
            if (lengths++ != 0 || parse_length(f->value, &out->content_length) != 0)
                return 400;
        } else if (same_word(f->name, "Transfer-Encoding")) {
            *why = "the only transfer coding known here is chunked";
            if (encodings++ != 0 || !same_word(f->value, "chunked"))
                return 501;
            out->chunked = true;
        } else if (same_word(f->name, "Connection")) {
            if (http_list_has(f->value, "close"))
                out->keep_alive = false;
            else if (out->minor == 0 && http_list_has(f->value, "keep-alive"))
                out->keep_alive = true;
        } else if (same_word(f->name, "Expect")) {
            out->expects_continue = same_word(f->value, "100-continue");
        } else if (same_word(f->name, "Host")) {
            hosts++;
        }
    }
    *why = "both Content-Length and Transfer-Encoding";
    if (lengths != 0 && encodings != 0)
        return 400;
    *why = "HTTP/1.0 has no chunked bodies";
    if (out->chunked && out->minor == 0)
        return 400;
    *why = "HTTP/1.1 requires one Host header";
    return hosts > 1 || (hosts == 0 && out->minor == 1) ? 400 : 0;
}

int http_head_parse(struct span text, struct http_head *out, const char **why)
{
    int status = 0;

    memset(out, 0, offsetof(struct http_head, fields));
    out->count = 0;
    status = parse_request_line(next_line(&text), out, why);
    while (status == 0 && text.len != 0) {
        struct span line = next_line(&text);

        if (line.len == 0)
            break;
        status = parse_field(line, out, why);
    }
    return status != 0 ? status : parse_framing(out, why);
}

struct span http_field(const struct http_head *head, const char *name)
{
    for (size_t i = 0; i < head->count; i++)
        if (same_word(head->fields[i].name, name))
            return head->fields[i].value;
    return (struct span){0};
}

/* Whether the parameters of a list element (";q=0.5;...") give it the weight 0. */
static bool weight_is_zero(struct span parameters)
{
    while (parameters.len != 0) {
        parameters = span_cut(parameters, 1, parameters.len);
        size_t end = span_find(parameters, ';');
        struct span p = trim(span_cut(parameters, 0, end));

        if (p.len >= 3 && (p.ptr[0] == 'q' || p.ptr[0] == 'Q') && p.ptr[1] == '=') {
            for (size_t i = 2; i < p.len; i++)
                if (p.ptr[i] >= '1' && p.ptr[i] <= '9')
                    return false;
            return true;
        }
        parameters = span_cut(parameters, end, parameters.len);
    }
    return false;
}

bool http_list_has(struct span value, const char *word)
{
    while (value.len != 0) {
        size_t end = span_find(value, ',');
        struct span element = span_cut(value, 0, end);
        size_t semicolon = span_find(element, ';');

        if (same_word(trim(span_cut(element, 0, semicolon)), word))
            return !weight_is_zero(span_cut(element, semicolon, element.len));
        value = span_cut(value, end + 1, value.len);
    }
    return false;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

/* One byte of a length, an extension or a trailer. Returns false when it may not stand here. */
static bool chunk_control(struct http_chunked *c, char byte)
{
    if (++c->control > CHUNK_CONTROL_MAX)
        return false;
    switch (c->state) {
    case CHUNK_SIZE:
        if (hex(byte) >= 0) {
            c->left = c->left * 16 + (uint64_t)hex(byte);
            return ++c->digits <= CHUNK_DIGITS_MAX;
        }
        if (c->digits == 0 || (byte != ';' && byte != '\r' && byte != '\n' && byte != ' ' && byte != '\t'))
            return false;
        c->state = CHUNK_EXTENSION;
        /* fall through */
    case CHUNK_EXTENSION:
        if (byte == '\n') {
            c->state = c->left != 0 ? CHUNK_DATA : CHUNK_TRAILER;
            c->digits = 0;
        }
        return true;
    case CHUNK_DATA_END:
        if (byte == '\n') {
            c->state = CHUNK_SIZE;
            c->left = 0;
        }
        return byte == '\r' || byte == '\n';
    case CHUNK_TRAILER:
        if (byte == '\n')
            c->state = CHUNK_DONE;
        else if (byte != '\r')
            c->state = CHUNK_TRAILER_LINE;
        return true;
    case CHUNK_TRAILER_LINE:
        if (byte == '\n')
            c->state = CHUNK_TRAILER;
        return true;
    case CHUNK_DATA:
    case CHUNK_DONE:
        break;
    }
    return false;
}

ssize_t http_chunked_feed(struct http_chunked *c, struct span text, struct buf *out)
{
    size_t at = 0;

    while (at < text.len && c->state != CHUNK_DONE) {
        if (c->state == CHUNK_DATA) {
            size_t n = c->left < text.len - at ? (size_t)c->left : text.len - at;

            buf_add(out, text.ptr + at, n);
            at += n;
            c->left -= n;
            if (c->left == 0)
                c->state = CHUNK_DATA_END;
        } else if (!chunk_control(c, text.ptr[at++])) {
            return -1;
        }
    }
    return (ssize_t)at;
}

size_t http_unescape(char *text, size_t len)
{
    size_t to = 0;

    for (size_t from = 0; from < len; to++) {
        bool escaped = text[from] == '%' && len - from > 2 && hex(text[from + 1]) >= 0 && hex(text[from + 2]) >= 0;

        text[to] = escaped ? (char)(hex(text[from + 1]) * 16 + hex(text[from + 2])) : text[from];
        from += escaped ? 3 : 1;
    }
    return to;
}

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } known[] = {
        {200, "OK"},
        {204, "No Content"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].status == status)
            return known[i].reason;
    return status < 400 ? "OK" : "Error";
}
