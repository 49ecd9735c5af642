/* Any bytes as lines: both readings of the parser agree, stay inside of the input and make progress.
 * Build: clang -fsanitize=fuzzer,address,undefined with base/ and server/line_parse.c. */
#include "server/line_parse.h"

#include "base/must.h"

#include <stdlib.h>

enum { LINE_LIMIT = 200, BATCH = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_batch(const char *from, const char *stop, const struct line_batch *a, const struct line_batch *b)
{
    MUST(a->count == b->count && a->count <= BATCH);
    for (size_t i = 0; i < a->count; i++) {
        const struct line_point *p = &a->points[i];
        const struct line_point *q = &b->points[i];

        MUST(p->result == q->result && p->name.ptr == q->name.ptr && p->name.len == q->name.len);
        MUST(p->name.len > 0 && p->name.ptr >= from && p->name.ptr + p->name.len < stop);
        MUST(p->result != LINE_OK || p->time_s == q->time_s);
        MUST(p->result != LINE_OK || memcmp(&p->value, &q->value, sizeof(p->value)) == 0 || p->value != p->value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1 + LINE_PARSE_PAD);
    const char *end = text + size + 1;

    MUST(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    memset(text + size, '\n', 1 + LINE_PARSE_PAD);
    for (const char *at = text; at < end;) {
        struct line_point fast[BATCH];
        struct line_point plain[BATCH];
        struct line_batch a = {.points = fast, .max = BATCH};
        struct line_batch b = {.points = plain, .max = BATCH};
        const char *stop = line_parse(at, end, LINE_LIMIT, 1700000000, &a);

        MUST(stop == line_parse_plain(at, end, LINE_LIMIT, 1700000000, &b));
        MUST(stop > at && stop <= end);
        check_batch(at, stop, &a, &b);
        at = stop;
    }
    free(text);
    return 0;
}
