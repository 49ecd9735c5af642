/* A regex is compiled twice: for bytes, and for UTF-8 when the pattern is valid UTF-8. When pattern and
 * text are ASCII both find the same and the first is faster; for a text with other valid UTF-8 the
 * second is taken, for a text that is not UTF-8 the first. Of the two, one may be missing (a pattern
 * with \u0142 has no form for bytes).
 *
 * Memory. PCRE2 asks the functions given to it: malloc, or the arena. What the JIT writes comes from
 * mmap in any case, so a regex in an arena, which nobody frees, does without the JIT. A match needs a
 * small block for its result: that comes from the caller's stack. */
#include "base/regex.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define PATTERN_MAX ((size_t)64 << 10)
/* Steps of backtracking that a match may take (some 10 ms), and memory of the interpreter. */
#define STEPS_MAX 1000000
#define HEAP_MAX_KB 16384

struct regex {
    struct arena *arena; /* NULL: malloc */
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_code *bytes; /* may be NULL */
    pcre2_code *utf;   /* may be NULL, but not both */
    bool ascii;        /* the pattern is */
};

/* ---- memory ---- */

static void *regex_malloc(size_t n, void *arena)
{
    return arena == NULL ? malloc(n) : arena_alloc(arena, n);
}

static void regex_give_back(void *at, void *arena)
{
    if (arena == NULL)
        free(at);
}

/* Serves PCRE2's few small blocks of a match from the stack, the rest from the heap. */
struct scratch {
    size_t used;
    _Alignas(16) char bytes[1024];
};

static void *scratch_malloc(size_t n, void *ctx)
{
    struct scratch *s = ctx;
    void *got = s->bytes + s->used;

    if (n > sizeof(s->bytes) - s->used)
        return malloc(n);
    s->used += (n + 15) & ~(size_t)15;
    if (s->used > sizeof(s->bytes))
        s->used = sizeof(s->bytes);
    return got;
}

static void scratch_give_back(void *at, void *ctx)
{
    struct scratch *s = ctx;

    if ((uintptr_t)at - (uintptr_t)s->bytes >= sizeof(s->bytes))
        free(at);
}

/* ---- compiling ---- */

static pcre2_code *compile_one(const struct regex *re, struct span pattern, uint32_t options, int *code, size_t *at)
{
    pcre2_compile_context *context = pcre2_compile_context_create(re->memory);
    pcre2_code *got;

    *code = PCRE2_ERROR_HEAP_FAILED;
    if (context == NULL)
        return NULL;
    got = pcre2_compile((PCRE2_SPTR)pattern.ptr, pattern.len, options | PCRE2_NEVER_BACKSLASH_C | PCRE2_ALT_BSUX, code,
                        at, context);
    pcre2_compile_context_free(context);
    if (got != NULL && re->arena == NULL)
        pcre2_jit_compile(got, PCRE2_JIT_COMPLETE); /* failing is fine: it is then interpreted */
    return got;
}

static int compile_error(struct span pattern, int code, size_t at, struct err *err)
{
    PCRE2_UCHAR reason[160];

    if (code == PCRE2_ERROR_HEAP_FAILED)
        return err_errno(err, ENOMEM, "cannot compile a regular expression");
    pcre2_get_error_message(code, reason, sizeof(reason));
    return err_set(err, ERR_INPUT, "regular expression \"%.*s\", at position %zu: %s",
                   SPAN_ARG(span_cut(pattern, 0, 200)), at, (char *)reason);
}

static int compile_both(struct regex *re, struct span pattern, struct err *err)
{
    int code = 0;
    size_t at = 0;

    re->ascii = utf8_is_ascii(pattern);
    if (utf8_valid(pattern)) {
        re->utf = compile_one(re, pattern, PCRE2_UTF | PCRE2_UCP, &code, &at);
        if (re->utf == NULL)
            return compile_error(pattern, code, at, err);
    }
    re->bytes = compile_one(re, pattern, PCRE2_NEVER_UTF | PCRE2_NEVER_UCP, &code, &at);
    return re->bytes == NULL && re->utf == NULL ? compile_error(pattern, code, at, err) : 0;
}

static int regex_new(struct arena *arena, struct regex **out, struct err *err)
{
    struct regex *re = regex_malloc(sizeof(*re), arena);

    if (re == NULL)
        return err_errno(err, ENOMEM, "cannot compile a regular expression");
    *re = (struct regex){.arena = arena};
    re->memory = pcre2_general_context_create(regex_malloc, regex_give_back, arena);
    re->limits = re->memory == NULL ? NULL : pcre2_match_context_create(re->memory);
    if (re->limits == NULL) {
        regex_free(re);
        return err_errno(err, ENOMEM, "cannot compile a regular expression");
    }
    pcre2_set_match_limit(re->limits, STEPS_MAX);
    pcre2_set_depth_limit(re->limits, STEPS_MAX);
    pcre2_set_heap_limit(re->limits, HEAP_MAX_KB);
    *out = re;
    return 0;
}

int regex_compile(struct span pattern, struct arena *arena, struct regex **out, struct err *err)
{
    struct regex *re = NULL;
    int rc;

    *out = NULL;
    if (pattern.len > PATTERN_MAX)
        return err_set(err, ERR_INPUT, "a regular expression has %zu bytes, at most %zu are allowed", pattern.len,
                       PATTERN_MAX);
    if (span_starts(pattern, SPAN_LIT("(*"))) /* PCRE2's own settings, which Python does not know */
        return err_set(err, ERR_INPUT, "regular expression \"%.*s\", at position 0: nothing to repeat",
                       SPAN_ARG(span_cut(pattern, 0, 200)));
    if (pattern.len == 0)
        pattern = SPAN_LIT("");
    rc = regex_new(arena, &re, err);
    if (rc < 0)
        return rc;
    rc = compile_both(re, pattern, err);
    if (rc == 0)
        *out = re;
    else if (arena == NULL)
        regex_free(re);
    return rc;
}

void regex_free(struct regex *re)
{
    if (re == NULL)
        return;
    pcre2_code_free(re->bytes);
    pcre2_code_free(re->utf);
    pcre2_match_context_free(re->limits);
    pcre2_general_context_free(re->memory);
    regex_give_back(re, re->arena);
}

/* ---- matching ---- */

static const pcre2_code *code_for(const struct regex *re, struct span text)
{
    if (re->utf == NULL)
        return re->bytes;
    if (re->bytes != NULL && re->ascii && utf8_is_ascii(text))
        return re->bytes;
    if (utf8_valid(text))
        return re->utf;
    return re->bytes; /* may be NULL: nothing matches then */
}

/* One match from offset FROM on; false when there is none or a limit was hit. */
static bool match_at(const struct regex *re, const pcre2_code *code, struct span text, size_t from, uint32_t options,
                     pcre2_match_data *result)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)(text.len == 0 ? "" : text.ptr);
    int rc;

    options |= PCRE2_NO_UTF_CHECK; /* code_for() has looked */
    rc = pcre2_match(code, subject, text.len, from, options, result, re->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the JIT's stack is small; the interpreter has the heap */
        rc = pcre2_match(code, subject, text.len, from, options | PCRE2_NO_JIT, result, re->limits);
    return rc >= 0;
}

/* Where the first match starts, or -1. */
static ptrdiff_t find_first(const struct regex *re, struct span text)
{
    struct scratch scratch = {.used = 0};
    const pcre2_code *code = code_for(re, text);
    pcre2_general_context *memory;
    pcre2_match_data *result;
    ptrdiff_t start = -1;

    if (code == NULL)
        return -1;
    memory = pcre2_general_context_create(scratch_malloc, scratch_give_back, &scratch);
    result = memory == NULL ? NULL : pcre2_match_data_create(1, memory);
    if (result != NULL && match_at(re, code, text, 0, 0, result))
        start = (ptrdiff_t)pcre2_get_ovector_pointer(result)[0];
    pcre2_match_data_free(result);
    pcre2_general_context_free(memory);
    return start;
}

bool regex_search(const struct regex *re, struct span text)
{
    return find_first(re, text) >= 0;
}

/* The leftmost match starts at 0 exactly when any does (an anchored match would not use the JIT). */
bool regex_match(const struct regex *re, struct span text)
{
    return find_first(re, text) == 0;
}

/* ---- substituting ---- */

struct substitution {
    const struct regex *re;
    const pcre2_code *code;
    struct span text;
    const size_t *groups; /* pairs of offsets; NULL: only check the template */
    uint32_t group_count; /* with group 0 */
    struct buf *out;
    struct err *err;
};

static int add_group(const struct substitution *sub, int group, struct span reference)
{
    if (group < 0 || (uint32_t)group >= sub->group_count)
        return err_set(sub->err, ERR_INPUT, "the pattern has no group \"%.*s\"", SPAN_ARG(span_cut(reference, 0, 100)));
    if (sub->groups != NULL && sub->groups[2 * group] != PCRE2_UNSET)
        buf_add_span(sub->out, span_cut(sub->text, sub->groups[2 * group], sub->groups[2 * group + 1]));
    return 0;
}

static void add_literal(const struct substitution *sub, struct span s)
{
    if (sub->groups != NULL)
        buf_add_span(sub->out, s);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

/* "\g<name>" or "\g<12>" at the start of *REST. */
static int add_named(const struct substitution *sub, struct span *rest)
{
    size_t close = span_find(*rest, '>');
    struct span name = span_cut(*rest, 3, close);
    char word[64];
    int group = 0;

    if (close == rest->len || rest->len < 3 || rest->ptr[2] != '<' || name.len == 0 || name.len >= sizeof(word))
        return err_set(sub->err, ERR_INPUT, "expected \\g<name> in the replacement");
    *rest = span_cut(*rest, close + 1, rest->len);
    memcpy(word, name.ptr, name.len);
    word[name.len] = '\0';
    if (!is_digit(word[0]))
        return add_group(sub, pcre2_substring_number_from_name(sub->code, (PCRE2_SPTR)word), name);
    for (size_t i = 0; i < name.len && group >= 0; i++)
        group = is_digit(word[i]) && group < 100000 ? group * 10 + (word[i] - '0') : -1;
    return add_group(sub, group, name);
}

/* "\1", "\12", or an octal escape: "\0", "\01", "\101". */
static int add_numbered(const struct substitution *sub, struct span *rest)
{
    size_t n = 2;
    int value = rest->ptr[1] - '0';
    bool octal = value == 0;
    char byte;

    while (n < rest->len && n < (octal ? 4 : 3) && (octal ? is_octal(rest->ptr[n]) : is_digit(rest->ptr[n])))
        value = value * (octal ? 8 : 10) + (rest->ptr[n++] - '0');
    if (n == 3 && rest->len > 3 && is_octal(rest->ptr[1]) && is_octal(rest->ptr[2]) && is_octal(rest->ptr[3])) {
        octal = true;
        value = (rest->ptr[1] - '0') * 64 + (rest->ptr[2] - '0') * 8 + (rest->ptr[3] - '0');
        n = 4;
    }
    byte = (char)value;
    if (octal && value <= 0377) {
        add_literal(sub, span_of(&byte, 1));
    } else if (octal) {
        return err_set(sub->err, ERR_INPUT, "octal escape %.*s is outside of \\0..\\377 in the replacement", (int)n,
                       rest->ptr);
    } else {
        int rc = add_group(sub, value, span_cut(*rest, 1, n));

        if (rc < 0)
            return rc;
    }
    *rest = span_cut(*rest, n, rest->len);
    return 0;
}

/* A backslash stands at the start of *REST: do what Python's templates say, and move on. */
static int add_escape(const struct substitution *sub, struct span *rest)
{
    static const char named[] = "a\ab\bf\fn\nr\rt\tv\v\\\\";
    char c;

    if (rest->len < 2)
        return err_set(sub->err, ERR_INPUT, "the replacement ends with a single backslash");
    c = rest->ptr[1];
    if (c == 'g')
        return add_named(sub, rest);
    if (is_digit(c))
        return add_numbered(sub, rest);
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z' && strchr("abfnrtv", c) == NULL)
        return err_set(sub->err, ERR_INPUT, "bad escape \\%c in the replacement", c);
    for (const char *at = named; *at != '\0'; at += 2) {
        if (*at == c) {
            add_literal(sub, span_of(at + 1, 1));
            *rest = span_cut(*rest, 2, rest->len);
            return 0;
        }
    }
    add_literal(sub, span_cut(*rest, 0, 2)); /* any other escape stays as it is */
    *rest = span_cut(*rest, 2, rest->len);
    return 0;
}

/* The replacement for one match. */
static int add_template(const struct substitution *sub, struct span rest)
{
    int rc = 0;

    while (rc == 0 && rest.len != 0) {
        size_t plain = span_find(rest, '\\');

        add_literal(sub, span_cut(rest, 0, plain));
        rest = span_cut(rest, plain, rest.len);
        if (rest.len != 0)
            rc = add_escape(sub, &rest);
    }
    return rc;
}

/* Python's order of things: after a match that was not empty, an empty one may follow at once; after
 * an empty one, the next must not be empty at the same place. */
static int sub_all(struct substitution *sub, struct span replacement, int count, pcre2_match_data *result)
{
    const size_t *groups = pcre2_get_ovector_pointer(result);
    size_t copied = 0, from = 0;
    uint32_t options = 0;
    int rc = 0;

    for (int done = 0; rc == 0 && (count <= 0 || done < count); done++) {
        if (!match_at(sub->re, sub->code, sub->text, from, options, result))
            break;
        buf_add_span(sub->out, span_cut(sub->text, copied, groups[0]));
        sub->groups = groups;
        rc = add_template(sub, replacement);
        options = groups[1] == groups[0] ? PCRE2_NOTEMPTY_ATSTART : 0;
        copied = from = groups[1];
    }
    buf_add_span(sub->out, span_cut(sub->text, copied, sub->text.len));
    return rc;
}

int regex_sub(const struct regex *re, struct span text, struct span replacement, int count, struct buf *out,
              struct err *err)
{
    struct substitution sub = {.re = re, .code = code_for(re, text), .text = text, .out = out, .err = err};
    pcre2_match_data *result;
    int rc;

    if (sub.code == NULL) {
        buf_add_span(out, text);
        return 0;
    }
    result = pcre2_match_data_create_from_pattern(sub.code, NULL);
    if (result == NULL)
        return err_errno(err, ENOMEM, "cannot match a regular expression");
    sub.group_count = pcre2_get_ovector_count(result);
    rc = add_template(&sub, replacement); /* a mistake is one even when nothing matches */
    if (rc == 0)
        rc = sub_all(&sub, replacement, count, result);
    pcre2_match_data_free(result);
    return rc;
}
