/* The text is cut up in place: spans point into it, and the pieces of a continued value are moved
 * together (joined, they are never longer than they were apart, with their line ends). */
#include "base/ini.h"

#include "base/file.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define INI_BYTES_MAX ((size_t)16 << 20)

struct parser {
    struct ini *ini;
    const char *path;
    unsigned flags;
    int line;                  /* 1-based */
    size_t indent;             /* of the option or header that a deeper line continues */
    struct ini_option *option; /* what a continuation line belongs to, or NULL */
    int blanks;                /* empty lines since its last piece */
    struct err *err;
};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct span strip(struct span s)
{
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = span_cut(s, 1, s.len);
    return s;
}

/* Make room for one more item at the end of *ITEMS, which has COUNT: capacities are powers of two. */
static bool grow(void **items, size_t count, size_t size)
{
    void *larger;

    if ((count & (count - 1)) != 0)
        return true;
    larger = reallocarray(*items, count == 0 ? 1 : count * 2, size);
    if (larger == NULL)
        return false;
    *items = larger;
    return true;
}

static int no_memory(struct parser *p)
{
    return err_errno(p->err, ENOMEM, "cannot read %s", p->path);
}

static int add_section(struct parser *p, struct span name)
{
    struct ini *ini = p->ini;

    if (!grow((void **)&ini->sections, ini->count, sizeof(*ini->sections)))
        return no_memory(p);
    ini->sections[ini->count++] = (struct ini_section){.name = name, .line = p->line};
    p->option = NULL;
    return 0;
}

static int add_option(struct parser *p, struct span key, struct span value)
{
    struct ini_section *section = &p->ini->sections[p->ini->count - 1];

    if (!grow((void **)&section->options, section->count, sizeof(*section->options)))
        return no_memory(p);
    p->option = &section->options[section->count++];
    *p->option = (struct ini_option){.key = key, .value = value, .line = p->line};
    p->blanks = 0;
    return 0;
}

/* Spans point into ini->text, which is ours to write. */
static char *writable(struct span s)
{
    return (char *)(uintptr_t)s.ptr;
}

static void continue_value(struct parser *p, struct span piece)
{
    struct span *value = &p->option->value;
    char *to = writable(*value) + value->len;

    for (; p->blanks >= 0; p->blanks--)
        *to++ = '\n';
    p->blanks = 0;
    memmove(to, piece.ptr, piece.len);
    value->len = (size_t)(to + piece.len - value->ptr);
}

static void lower_case(struct span key)
{
    for (size_t i = 0; i < key.len; i++)
        if (key.ptr[i] >= 'A' && key.ptr[i] <= 'Z')
            writable(key)[i] |= 0x20;
}

static int parse_header(struct parser *p, struct span text)
{
    size_t end = text.len;

    while (end > 0 && text.ptr[end - 1] != ']') /* what follows the bracket is ignored, as Python does */
        end--;
    if (end <= 2)
        return err_set(p->err, ERR_INPUT, "%s line %d: a section needs a name in brackets", p->path, p->line);
    return add_section(p, span_cut(text, 1, end - 1));
}

static int parse_option(struct parser *p, struct span text)
{
    size_t divide = 0;
    struct span key;
    int rc = 0;

    while (divide < text.len && text.ptr[divide] != '=' && text.ptr[divide] != ':')
        divide++;
    key = strip(span_cut(text, 0, divide));
    if (divide == text.len || key.len == 0)
        return err_set(p->err, ERR_INPUT, "%s line %d: expected \"key = value\" or \"[section]\"", p->path, p->line);
    if (p->ini->count == 0) {
        if ((p->flags & INI_ALLOW_GLOBAL) == 0)
            return err_set(p->err, ERR_INPUT, "%s line %d: an option before the first [section]", p->path, p->line);
        rc = add_section(p, span_cut(text, 0, 0));
    }
    lower_case(key);
    return rc < 0 ? rc : add_option(p, key, strip(span_cut(text, divide + 1, text.len)));
}

static int parse_line(struct parser *p, struct span line)
{
    struct span text = strip(line);
    size_t indent = (size_t)(text.ptr - line.ptr);

    if (text.len == 0) {
        p->blanks++;
        return 0;
    }
    if (text.ptr[0] == '#' || text.ptr[0] == ';')
        return 0;
    if (p->option != NULL && indent > p->indent) {
        continue_value(p, text);
        return 0;
    }
    p->indent = indent;
    if (text.ptr[0] == '[')
        return parse_header(p, text);
    return parse_option(p, text);
}

/* A line ends with "\n", "\r\n" or "\r". */
static int parse_lines(struct parser *p, struct span text)
{
    int rc = 0;

    while (rc == 0 && text.len != 0) {
        size_t end = 0;

        while (end < text.len && text.ptr[end] != '\n' && text.ptr[end] != '\r')
            end++;
        p->line++;
        rc = parse_line(p, span_cut(text, 0, end));
        if (end + 1 < text.len && text.ptr[end] == '\r' && text.ptr[end + 1] == '\n')
            end++;
        text = span_cut(text, end + 1, text.len);
    }
    return rc;
}

/* ---- repetitions ---- */

struct named {
    struct span name;
    int line;
};

static int compare_named(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = span_cmp(x->name, y->name);

    return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

/* Sorts ITEMS and complains about the first name that is there twice. */
static int refuse_repeated(struct parser *p, struct named *items, size_t count, const char *what)
{
    if (count > 1)
        qsort(items, count, sizeof(*items), compare_named);
    for (size_t i = 1; i < count; i++)
        if (span_eq(items[i - 1].name, items[i].name))
            return err_set(p->err, ERR_INPUT, "%s line %d: %s \"%.*s\" is there already, in line %d", p->path,
                           items[i].line, what, SPAN_ARG(span_cut(items[i].name, 0, 200)), items[i - 1].line);
    return 0;
}

static size_t most_items(const struct ini *ini)
{
    size_t most = ini->count;

    for (size_t i = 0; i < ini->count; i++)
        most = ini->sections[i].count > most ? ini->sections[i].count : most;
    return most;
}

static int check_repeated(struct parser *p)
{
    const struct ini *ini = p->ini;
    struct named *items = calloc(most_items(ini) + 1, sizeof(*items));
    int rc;

    if (items == NULL)
        return no_memory(p);
    for (size_t i = 0; i < ini->count; i++)
        items[i] = (struct named){ini->sections[i].name, ini->sections[i].line};
    rc = refuse_repeated(p, items, ini->count, "section");
    for (size_t i = 0; rc == 0 && i < ini->count; i++) {
        const struct ini_section *section = &ini->sections[i];

        for (size_t k = 0; k < section->count; k++)
            items[k] = (struct named){section->options[k].key, section->options[k].line};
        rc = refuse_repeated(p, items, section->count, "option");
    }
    free(items);
    return rc;
}

/* ---- the face ---- */

/* Takes TEXT over, which is malloc'ed. */
static int parse_owned(char *text, size_t len, const char *path, unsigned flags, struct ini **out, struct err *err)
{
    struct ini *ini = calloc(1, sizeof(*ini));
    struct parser p = {.ini = ini, .path = path, .flags = flags, .err = err};
    int rc;

    *out = NULL;
    if (ini == NULL) {
        free(text);
        return no_memory(&p);
    }
    ini->text = text;
    ini->path = strdup(path);
    rc = ini->path == NULL ? no_memory(&p) : parse_lines(&p, span_of(text, len));
    if (rc == 0)
        rc = check_repeated(&p);
    if (rc < 0)
        ini_free(ini);
    else
        *out = ini;
    return rc;
}

int ini_load(const char *path, unsigned flags, struct ini **out, struct err *err)
{
    char *text;
    size_t len;
    int rc = file_slurp(path, INI_BYTES_MAX, &text, &len, err);

    *out = NULL;
    return rc < 0 ? rc : parse_owned(text, len, path, flags, out, err);
}

int ini_parse(struct span text, const char *path, unsigned flags, struct ini **out, struct err *err)
{
    char *copy = malloc(text.len + 1);

    *out = NULL;
    if (copy == NULL)
        return err_errno(err, ENOMEM, "cannot read %s", path);
    if (text.len != 0)
        memcpy(copy, text.ptr, text.len);
    return parse_owned(copy, text.len, path, flags, out, err);
}

void ini_free(struct ini *ini)
{
    if (ini == NULL)
        return;
    for (size_t i = 0; i < ini->count; i++)
        free(ini->sections[i].options);
    free(ini->sections);
    free(ini->text);
    free(ini->path);
    free(ini);
}

const struct ini_option *ini_get(const struct ini_section *section, const char *key)
{
    for (size_t i = 0; i < section->count; i++)
        if (span_eq(section->options[i].key, span_str(key)))
            return &section->options[i];
    return NULL;
}
