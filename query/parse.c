/* The grammar, with blanks (newlines too) free between tokens but not inside of them:
 *
 *     target     = expression                      and the rest is ignored
 *     expression = (template / call / path) ("|" call)*
 *     template   = "template" "(" (call / path) ["," (literal ("," literal)* / kwliteral ("," kwliteral)*)] ")"
 *     call       = word "(" [args ["," kwargs]] ")"
 *     args       = (!kwarg arg) ("," !kwarg arg)*
 *     kwargs     = kwarg ("," kwarg)*
 *     kwarg      = word "=" arg
 *     arg        = boolean / number / "none" / string / "inf" / expression
 *     path       = element ("." element)*          without blanks
 *     element    = (letters / "{" letters ("," letters)* "}")+
 *
 * Choices are ordered and a choice that has matched is not revisited, as in graphite-web's pyparsing
 * grammar. Going back over the same text again and again would take exponential time in nested
 * calls, so the result of each call and each kwarg is kept by position (a packrat parser): the work
 * is linear in the length of the target.
 *
 * For messages the parser remembers the furthest character that no rule could use. */
#include "query/parse.h"

#include "base/number.h"

#include <stdio.h>
#include <stdlib.h>

/* What is known about a rule at a position. */
struct memo {
    enum { MEMO_UNKNOWN, MEMO_FAILED, MEMO_MATCHED } state;
    size_t end;
    void *node;
};

struct parser {
    struct span text;
    struct arena *arena;
    struct memo *calls;
    struct memo *kwargs;
    size_t path_len; /* bytes of the path that is being written */
    size_t furthest; /* the rightmost position at which something was expected and not found */
    int depth;
    bool too_deep;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_letter(c) || is_digit(c) || c == '_';
}

/* The characters that a path may hold only behind a backslash. */
static bool is_symbol(char c)
{
    return c != 0 && strchr("(){},.'\"\\|", c) != NULL;
}

static bool is_path(char c)
{
    unsigned char byte = (unsigned char)c;

    return byte > ' ' && byte != 127 && !is_symbol(c); /* UTF-8, too */
}

static char peek(const struct parser *p, size_t at)
{
    return at < p->text.len ? p->text.ptr[at] : 0;
}

static size_t skip_blanks(const struct parser *p, size_t at)
{
    while (at < p->text.len && is_blank(p->text.ptr[at]))
        at++;
    return at;
}

static bool fail_at(struct parser *p, size_t at)
{
    if (at > p->furthest)
        p->furthest = at;
    return false;
}

/* Blanks, then C. */
static bool take(struct parser *p, size_t *at, char c)
{
    size_t here = skip_blanks(p, *at);

    if (here >= p->text.len || p->text.ptr[here] != c)
        return fail_at(p, here);
    *at = here + 1;
    return true;
}

static struct node *node_new(struct parser *p, enum node_kind kind, size_t at, size_t end)
{
    struct node *node = ARENA_NEW(p->arena, struct node);

    node->kind = kind;
    node->at = at;
    node->text = span_cut(p->text, at, end);
    return node;
}

/* A growing list of pointers or structs; doubles its room in the arena. */
static void *list_room(struct parser *p, void *items, size_t count, size_t size)
{
    if (count == 0)
        return arena_calloc(p->arena, 4, size);
    if (count < 4 || (count & (count - 1)) != 0)
        return items;
    return arena_grow(p->arena, items, count, count * 2, size);
}

/* PART becomes part of NODE. */
static void deepen(struct parser *p, struct node *node, const struct node *part)
{
    if (node->depth < part->depth + 1)
        node->depth = part->depth + 1;
    if (node->depth > PARSE_DEPTH_MAX)
        p->too_deep = true;
}

static void add_arg(struct parser *p, struct node *call, struct node *arg)
{
    deepen(p, call, arg);
    call->args = list_room(p, call->args, call->args_count, sizeof(*call->args));
    call->args[call->args_count++] = arg;
}

static void add_kwarg(struct parser *p, struct node *call, const struct node_kwarg *kwarg)
{
    deepen(p, call, kwarg->value);
    call->kwargs = list_room(p, call->kwargs, call->kwargs_count, sizeof(*call->kwargs));
    call->kwargs[call->kwargs_count++] = *kwarg;
}

static bool parse_word(struct parser *p, size_t *at, struct span *word)
{
    size_t from = skip_blanks(p, *at);
    size_t to = from;

    if (!is_letter(peek(p, from)) && peek(p, from) != '_')
        return fail_at(p, from);
    while (is_word(peek(p, to)))
        to++;
    *word = span_cut(p->text, from, to);
    *at = to;
    return true;
}

/* ---- paths ---- */

/* TO has room for the path as it was measured, with TO NULL; what an attempt that fails adds beyond that
 * ("a{b", whose brace is not closed) is not written. */
static void put(const struct parser *p, char *to, size_t *len, char c)
{
    if (to != NULL && *len < p->path_len)
        to[*len] = c;
    *len += 1;
}

/* Letters of a path element into TO, escapes resolved. False when there is none. */
static bool path_letters(struct parser *p, size_t *at, char *to, size_t *len)
{
    size_t from = *at;

    for (;;) {
        char c = peek(p, *at);

        if (is_path(c)) {
            put(p, to, len, c);
            *at += 1;
        } else if (c == '\\' && (is_symbol(peek(p, *at + 1)) || peek(p, *at + 1) == '=')) {
            put(p, to, len, peek(p, *at + 1));
            *at += 2;
        } else {
            return *at > from || fail_at(p, *at);
        }
    }
}

/* "{a,b}" */
static bool path_braces(struct parser *p, size_t *at, char *to, size_t *len)
{
    size_t here = *at;
    size_t used = *len;

    if (peek(p, here) != '{')
        return false;
    do {
        put(p, to, &used, peek(p, here++));
        if (!path_letters(p, &here, to, &used))
            return false;
    } while (peek(p, here) == ',');
    if (peek(p, here) != '}')
        return fail_at(p, here);
    put(p, to, &used, '}');
    *at = here + 1;
    *len = used;
    return true;
}

static bool path_element(struct parser *p, size_t *at, char *to, size_t *len)
{
    size_t from = *at;

    while (path_braces(p, at, to, len) || path_letters(p, at, to, len))
        ;
    return *at > from;
}

/* The end of the path at FROM, or FROM when there is none; its letters go to TO. */
static size_t path_text(struct parser *p, size_t from, char *to, size_t *len)
{
    size_t here = from;

    if (!path_element(p, &here, to, len))
        return from;
    while (peek(p, here) == '.') {
        size_t next = here + 1;
        size_t used = *len;

        put(p, to, &used, '.');
        if (!path_element(p, &next, to, &used))
            break;
        here = next;
        *len = used;
    }
    return here;
}

static struct node *parse_path(struct parser *p, size_t *at)
{
    size_t from = skip_blanks(p, *at);
    size_t len = 0;
    size_t end = path_text(p, from, NULL, &len);
    struct node *node;
    char *to;

    if (end == from)
        return NULL;
    to = arena_alloc(p->arena, len);
    p->path_len = len;
    len = 0;
    path_text(p, from, to, &len);
    node = node_new(p, NODE_PATH, from, end);
    node->text = span_of(to, len);
    *at = end;
    return node;
}

/* ---- literals ---- */

/* A word of its own, in any case: no letter of a word may stand on either side. */
static bool parse_keyword(struct parser *p, size_t *at, const char *word)
{
    size_t from = skip_blanks(p, *at);
    size_t n = strlen(word);
    char after = peek(p, from + n);

    for (size_t i = 0; i < n; i++) {
        if ((peek(p, from + i) | 0x20) != word[i])
            return false;
    }
    if (is_word(after) || after == '$')
        return false;
    *at = from + n;
    return true;
}

/* A number counts only before ',' or ')' or at the end of a line. */
static bool ends_number(const struct parser *p, size_t at)
{
    while (peek(p, at) == ' ' || peek(p, at) == '\t' || peek(p, at) == '\r')
        at++;
    if (at >= p->text.len || p->text.ptr[at] == '\n')
        return true;
    at = skip_blanks(p, at);
    return peek(p, at) == ',' || peek(p, at) == ')';
}

static size_t digits(const struct parser *p, size_t at)
{
    while (is_digit(peek(p, at)))
        at++;
    return at;
}

/* -?digits, then maybe .digits, then maybe e-?digits; the longest form that is followed properly. */
static struct node *parse_number(struct parser *p, size_t *at)
{
    size_t from = skip_blanks(p, *at);
    size_t first = from + (peek(p, from) == '-');
    size_t integer_end = digits(p, first);
    size_t float_end = integer_end;
    size_t end;
    struct node *node;

    if (integer_end == first)
        return NULL;
    if (peek(p, integer_end) == '.' && is_digit(peek(p, integer_end + 1)))
        float_end = digits(p, integer_end + 1);
    end = float_end;
    if ((peek(p, end) | 0x20) == 'e') {
        size_t exponent = end + 1 + (peek(p, end + 1) == '-');

        if (is_digit(peek(p, exponent)))
            end = digits(p, exponent);
    }
    if (!ends_number(p, end))
        return NULL;
    node = node_new(p, NODE_FLOAT, from, end);
    if (!number_parse(node->text, &node->real))
        return NULL;
    if (end == integer_end && number_parse_i64(node->text, &node->integer))
        node->kind = NODE_INTEGER;
    *at = end;
    return node;
}

static bool is_hex(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* 'text' or "text": no raw newline; a backslash takes any character with it and stays; the quote
 * itself may stand doubled. */
static struct node *parse_string(struct parser *p, size_t *at)
{
    size_t from = skip_blanks(p, *at);
    size_t here = from + 1;
    char quote = peek(p, from);
    struct node *node;

    if (quote != '\'' && quote != '"')
        return NULL;
    while (here < p->text.len) {
        char c = p->text.ptr[here];

        if (c == quote && peek(p, here + 1) == quote && here + 2 < p->text.len &&
            memchr(p->text.ptr + here + 2, quote, p->text.len - here - 2) != NULL) {
            here += 2;
        } else if (c == quote) {
            node = node_new(p, NODE_STRING, from, here + 1);
            node->text = span_cut(p->text, from + 1, here);
            *at = here + 1;
            return node;
        } else if (c == '\\' && here + 1 < p->text.len && (p->text.ptr[here + 1] != 'x' || is_hex(peek(p, here + 2)))) {
            here += 2;
        } else if (c == '\n' || c == '\r' || c == '\\') {
            break;
        } else {
            here++;
        }
    }
    fail_at(p, here);
    return NULL;
}

/* ---- calls ---- */

static struct node *parse_expression(struct parser *p, size_t *at);
static struct node *parse_call(struct parser *p, size_t *at);

static struct node *parse_arg(struct parser *p, size_t *at)
{
    size_t from = skip_blanks(p, *at);
    struct node *node;

    if (parse_keyword(p, at, "true") || parse_keyword(p, at, "false")) {
        node = node_new(p, NODE_BOOLEAN, from, *at);
        node->integer = node->text.len == 4;
        return node;
    }
    if ((node = parse_number(p, at)) != NULL)
        return node;
    if (parse_keyword(p, at, "none"))
        return node_new(p, NODE_NONE, from, *at);
    if ((node = parse_string(p, at)) != NULL)
        return node;
    if (parse_keyword(p, at, "inf"))
        return node_new(p, NODE_INFINITY, from, *at);
    return parse_expression(p, at);
}

static struct node_kwarg *kwarg_at(struct parser *p, size_t *at)
{
    struct node_kwarg kwarg;
    struct node_kwarg *out;

    if (!parse_word(p, at, &kwarg.name) || !take(p, at, '='))
        return NULL;
    kwarg.value = parse_arg(p, at);
    if (kwarg.value == NULL)
        return NULL;
    out = ARENA_NEW(p->arena, struct node_kwarg);
    *out = kwarg;
    return out;
}

/* RULE at *AT through MEMOS: what was found out once is not tried again. */
static void *remembered(struct parser *p, struct memo *memos, size_t *at, void *(*rule)(struct parser *p, size_t *at))
{
    size_t from = skip_blanks(p, *at);
    struct memo *memo = &memos[from];

    if (memo->state == MEMO_UNKNOWN) {
        memo->end = from;
        memo->node = rule(p, &memo->end);
        memo->state = memo->node != NULL ? MEMO_MATCHED : MEMO_FAILED;
    }
    if (memo->state == MEMO_FAILED)
        return NULL;
    *at = memo->end;
    return memo->node;
}

static void *kwarg_rule(struct parser *p, size_t *at)
{
    return kwarg_at(p, at);
}

static struct node_kwarg *parse_kwarg(struct parser *p, size_t *at)
{
    return remembered(p, p->kwargs, at, kwarg_rule);
}

/* Arguments by position, up to one that is a keyword argument or none at all. */
static void parse_args(struct parser *p, size_t *at, struct node *call)
{
    size_t here = *at;

    for (;;) {
        size_t probe = here;
        struct node *arg;

        if (parse_kwarg(p, &probe) != NULL)
            return;
        arg = parse_arg(p, &here);
        if (arg == NULL)
            return;
        add_arg(p, call, arg);
        *at = here;
        if (!take(p, &here, ','))
            return;
    }
}

static void parse_kwargs(struct parser *p, size_t *at, struct node *call)
{
    size_t here = *at;

    while (take(p, &here, ',')) {
        const struct node_kwarg *kwarg = parse_kwarg(p, &here);

        if (kwarg == NULL)
            return;
        add_kwarg(p, call, kwarg);
        *at = here;
    }
}

static bool deeper(struct parser *p)
{
    if (p->depth >= PARSE_DEPTH_MAX)
        p->too_deep = true;
    else
        p->depth++;
    return !p->too_deep;
}

static void *call_rule(struct parser *p, size_t *at)
{
    size_t from = *at;
    struct node *call = NULL;
    struct span function;
    bool complete;

    if (!parse_word(p, at, &function) || !take(p, at, '(') || !deeper(p))
        return NULL;
    call = node_new(p, NODE_CALL, from, from);
    call->function = function;
    parse_args(p, at, call);
    if (call->args_count > 0)
        parse_kwargs(p, at, call);
    complete = take(p, at, ')');
    p->depth--;
    if (!complete)
        return NULL;
    call->text = span_cut(p->text, from, *at);
    return call;
}

static struct node *parse_call(struct parser *p, size_t *at)
{
    return remembered(p, p->calls, at, call_rule);
}

static struct node *parse_literal(struct parser *p, size_t *at)
{
    struct node *node = parse_number(p, at);

    return node != NULL ? node : parse_string(p, at);
}

static bool literal_kwarg(struct parser *p, size_t *at, struct node_kwarg *out)
{
    return parse_word(p, at, &out->name) && take(p, at, '=') && (out->value = parse_literal(p, at)) != NULL;
}

/* The variables of a template: all by position or all by keyword. */
static void template_variables(struct parser *p, size_t *at, struct node *template)
{
    size_t here = *at;
    struct node_kwarg kwarg;
    struct node *literal;

    if (!take(p, &here, ','))
        return;
    for (size_t probe = here; !literal_kwarg(p, &probe, &kwarg); probe = here) {
        literal = parse_literal(p, &here);
        if (literal == NULL)
            return;
        add_arg(p, template, literal);
        *at = here;
        if (!take(p, &here, ','))
            return;
    }
    if (template->args_count > 1)
        return;
    while (literal_kwarg(p, &here, &kwarg)) {
        add_kwarg(p, template, &kwarg);
        *at = here;
        if (!take(p, &here, ','))
            return;
    }
}

static struct node *parse_template(struct parser *p, size_t *at)
{
    size_t from = skip_blanks(p, *at);
    size_t here = from + strlen("template");
    struct node *template;
    struct node *body;

    if (!span_starts(span_cut(p->text, from, p->text.len), SPAN_LIT("template")) || !take(p, &here, '('))
        return NULL;
    body = parse_call(p, &here);
    if (body == NULL)
        body = parse_path(p, &here);
    if (body == NULL)
        return NULL;
    template = node_new(p, NODE_TEMPLATE, from, from);
    add_arg(p, template, body);
    template_variables(p, &here, template);
    if (!take(p, &here, ')'))
        return NULL;
    template->text = span_cut(p->text, from, here);
    *at = here;
    return template;
}

/* "x|f(a)" becomes f(x,a); the call as parsed stays untouched, as it may be remembered. */
static struct node *pipe_into(struct parser *p, struct node *left, const struct node *call)
{
    struct node *node = ARENA_NEW(p->arena, struct node);

    *node = *call;
    deepen(p, node, left);
    node->args = ARENA_ARRAY(p->arena, struct node *, call->args_count + 1);
    node->args[0] = left;
    if (call->args_count > 0)
        memcpy(node->args + 1, call->args, call->args_count * sizeof(*call->args));
    node->args_count = call->args_count + 1;
    return node;
}

static struct node *parse_pipes(struct parser *p, size_t *at, struct node *left)
{
    size_t here = *at;

    while (!p->too_deep && take(p, &here, '|')) {
        struct node *call = parse_call(p, &here);

        if (call == NULL)
            break;
        left = pipe_into(p, left, call);
        *at = here;
    }
    return left;
}

static struct node *parse_expression(struct parser *p, size_t *at)
{
    struct node *node = parse_template(p, at);

    if (node == NULL)
        node = parse_call(p, at);
    if (node == NULL)
        node = parse_path(p, at);
    return node == NULL ? NULL : parse_pipes(p, at, node);
}

/* "unexpected ')' at character 12" */
static struct span describe(const struct parser *p, size_t at)
{
    unsigned char c;

    if (at >= p->text.len)
        return arena_printf(p->arena, "unexpected end of the target at character %zu", at + 1);
    c = (unsigned char)p->text.ptr[at];
    if (c < ' ' || c >= 127)
        return arena_printf(p->arena, "unexpected byte 0x%02x at character %zu", c, at + 1);
    return arena_printf(p->arena, "unexpected '%c' at character %zu", c, at + 1);
}

int parse_target(struct span target, struct arena *arena, struct parse_result *out, struct err *err)
{
    struct parser p = {.text = target, .arena = arena};
    size_t at = 0;

    p.calls = ARENA_ARRAY(arena, struct memo, target.len + 1);
    p.kwargs = ARENA_ARRAY(arena, struct memo, target.len + 1);
    *out = (struct parse_result){.root = parse_expression(&p, &at)};
    if (p.too_deep)
        return err_set(err, ERR_INPUT, "nested deeper than %d calls", PARSE_DEPTH_MAX);
    if (out->root == NULL)
        return err_set(err, ERR_INPUT, "%.*s", SPAN_ARG(describe(&p, p.furthest)));
    at = skip_blanks(&p, at);
    out->rest = at < target.len;
    if (out->rest)
        out->wrong = describe(&p, p.furthest > at ? p.furthest : at);
    return 0;
}
