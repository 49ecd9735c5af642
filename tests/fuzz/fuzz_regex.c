/* The bytes up to the first zero are a pattern, up to the second a replacement, the rest a text: with
 * and without the JIT nothing worse happens than that nothing is found. */
#include "base/regex.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/must.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct span take(struct span *rest)
{
    size_t end = span_find(*rest, '\0');
    struct span part = span_cut(*rest, 0, end);

    *rest = span_cut(*rest, end + 1, rest->len);
    return part;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = span_of(data, size > 300 ? 300 : size);
    struct span pattern = take(&text), replacement = take(&text);
    struct regex *jit, *plain;
    struct buf out;
    struct arena arena;

    arena_init(&arena, 0, NULL);
    buf_init(&out, 10000);
    if (regex_compile(pattern, NULL, &jit, NULL) == 0) {
        MUST(regex_compile(pattern, &arena, &plain, NULL) == 0);
        MUST(!regex_match(jit, text) || regex_search(jit, text));
        regex_search(plain, text); /* the limits are counted otherwise: the answers may differ */
        regex_sub(jit, text, replacement, 3, &out, NULL);
        regex_sub(plain, text, replacement, 0, &out, NULL);
        regex_free(jit);
    }
    buf_release(&out);
    arena_release(&arena);
    return 0;
}
