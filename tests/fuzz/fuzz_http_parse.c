/* Any bytes as a request head, a chunked body and a form: nothing outside of the input is read, what is found lies
 * within it, and how the bytes are cut into pieces makes no difference.
 * Build: clang -fsanitize=fuzzer,address,undefined with all of base/, query/ and server/ but main.c. */
#include "server/http_parse.h"

#include "base/must.h"
#include "server/http_form.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(struct span inner, struct span outer)
{
    return inner.len == 0 || (inner.ptr >= outer.ptr && inner.ptr + inner.len <= outer.ptr + outer.len);
}

static void try_head(struct span text, size_t cut)
{
    struct http_head head;
    const char *why = NULL;
    size_t seen = 0;
    size_t whole = http_head_length(text, &seen);

    MUST(whole <= text.len && seen <= text.len && http_blank(text) <= text.len);
    seen = 0;
    size_t first = http_head_length(span_cut(text, 0, cut), &seen);

    MUST(first == 0 || first == whole);
    MUST(first != 0 || http_head_length(text, &seen) == whole);
    if (http_head_parse(span_cut(text, 0, whole == 0 ? text.len : whole), &head, &why) != 0) {
        MUST(why != NULL);
        return;
    }
    MUST(head.count <= HTTP_FIELDS_MAX && !(head.chunked && head.content_length != 0));
    MUST(head.path.len != 0 && within(head.query, text));
    for (size_t i = 0; i < head.count; i++) {
        MUST(head.fields[i].name.len != 0 && within(head.fields[i].name, text) && within(head.fields[i].value, text));
        http_list_has(head.fields[i].value, "gzip");
    }
}

static void try_chunked(struct span text, size_t cut)
{
    struct http_chunked a = {0};
    struct http_chunked b = {0};
    struct buf whole = {0};
    struct buf pieces = {0};
    ssize_t n = http_chunked_feed(&a, text, &whole);
    ssize_t m = http_chunked_feed(&b, span_cut(text, 0, cut), &pieces);

    if (m >= 0 && b.state != CHUNK_DONE) {
        ssize_t more = http_chunked_feed(&b, span_cut(text, cut, text.len), &pieces);

        m = more < 0 ? more : m + more;
    }
    MUST(n == m && n <= (ssize_t)text.len && whole.len <= text.len);
    MUST(n < 0 || (a.state == b.state && span_eq(buf_span(&whole), buf_span(&pieces))));
    buf_release(&whole);
    buf_release(&pieces);
}

static void try_form(struct span text, size_t cut)
{
    struct arena arena;
    struct err err = {0};

    arena_init(&arena, 0, NULL);
    struct params params = {.arena = &arena};

    http_form_add(&params, span_cut(text, 0, cut), span_cut(text, cut, text.len), &err);
    http_form_add(&params, SPAN_LIT("multipart/form-data; boundary=B"), text, &err);
    http_form_add(&params, (struct span){0}, text, &err);
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t len = size - 2;
    size_t cut = len == 0 ? 0 : (data[0] + 256U * data[1]) % (len + 1);
    char *copy = malloc(len == 0 ? 1 : len); /* of its exact length, so that the sanitizer sees a byte too far */

    MUST(copy != NULL);
    memcpy(copy, data + 2, len);
    struct span text = {copy, len};

    try_head(text, cut);
    try_chunked(text, cut);
    try_form(text, cut);
    MUST(http_unescape(copy, len) <= len);
    free(copy);
    return 0;
}
