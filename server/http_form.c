#include "server/http_form.h"

#include <strings.h>

static bool type_is(struct span type, const char *word)
{
    size_t n = strlen(word);

    return type.len >= n && strncasecmp(type.ptr, word, n) == 0 &&
           (type.len == n || type.ptr[n] == ';' || type.ptr[n] == ' ' || type.ptr[n] == '\t');
}

/* Where NEEDLE begins in TEXT, or text.len. */
static size_t find(struct span text, struct span needle)
{
    const char *at = text.len == 0 ? NULL : memmem(text.ptr, text.len, needle.ptr, needle.len);

    return at == NULL ? text.len : (size_t)(at - text.ptr);
}

/* The value of the parameter NAME ("boundary=") in a header value such as
 * form-data; name="target"; filename=x. ptr NULL when it is not there. */
static struct span header_parameter(struct span value, const char *name)
{
    size_t n = strlen(name);

    for (size_t at = span_find(value, ';'); at < value.len; at += span_find(span_cut(value, at, value.len), ';')) {
        at++;
        while (at < value.len && (value.ptr[at] == ' ' || value.ptr[at] == '\t'))
            at++;
        struct span rest = span_cut(value, at, value.len);

        if (rest.len < n || strncasecmp(rest.ptr, name, n) != 0)
            continue;
        rest = span_cut(rest, n, rest.len);
        if (rest.len != 0 && rest.ptr[0] == '"') {
            rest = span_cut(rest, 1, rest.len);
            return span_cut(rest, 0, span_find(rest, '"'));
        }
        rest = span_cut(rest, 0, span_find(rest, ';'));
        return span_cut(rest, 0, span_find(rest, ' '));
    }
    return (struct span){0};
}

/* The name that the header lines of a part give it; ptr NULL: none. */
static struct span part_name(struct span headers)
{
    static const char disposition[] = "Content-Disposition:";

    while (headers.len != 0) {
        size_t end = find(headers, SPAN_LIT("\r\n"));
        struct span line = span_cut(headers, 0, end);

        if (line.len >= sizeof(disposition) - 1 && strncasecmp(line.ptr, disposition, sizeof(disposition) - 1) == 0)
            return header_parameter(line, "name=");
        headers = span_cut(headers, end + 2, headers.len);
    }
    return (struct span){0};
}

/* Parts are divided by CRLF "--" BOUNDARY; behind the last one stands "--". */
static int add_multipart(struct params *p, struct span type, struct span body, struct err *err)
{
    struct span boundary = header_parameter(type, "boundary=");

    if (boundary.len == 0 || boundary.len > 200)
        return err_set(err, ERR_INPUT, "multipart/form-data without a boundary");
    struct span divider = arena_join(p->arena, SPAN_LIT("\r\n--"), boundary, (struct span){0});
    struct span first = span_cut(divider, 2, divider.len);
    size_t at = span_starts(body, first) ? first.len : find(body, divider) + divider.len;

    while (at <= body.len) {
        struct span rest = span_cut(body, at, body.len);

        if (span_starts(rest, SPAN_LIT("--")))
            return 0;
        size_t line = find(rest, SPAN_LIT("\r\n"));
        size_t headers_end = find(rest, SPAN_LIT("\r\n\r\n"));
        struct span value = span_cut(rest, headers_end + 4, rest.len);
        size_t end = find(value, divider);

        if (headers_end == rest.len || end == value.len)
            break;
        struct span name = part_name(span_cut(rest, line + 2, headers_end + 2));

        if (name.ptr != NULL)
            params_add(p, name, span_cut(value, 0, end));
        at += headers_end + 4 + end + divider.len;
    }
    return err_set(err, ERR_INPUT, "the multipart/form-data body ends too early");
}

int http_form_add(struct params *p, struct span type, struct span body, struct err *err)
{
    if (type.len == 0 || type_is(type, "application/x-www-form-urlencoded"))
        params_add_urlencoded(p, body);
    else if (type_is(type, "multipart/form-data"))
        return add_multipart(p, type, body, err);
    return 0;
}
