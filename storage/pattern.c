/* A pattern is cut at its dots. Each component's braces are taken apart into alternatives, each of
 * which is then put into the fastest class that can stand for it: a literal (which the name tree
 * probes instead of scanning), a comparison at the start, the end or anywhere, or a list of items.
 *
 * Items are matched greedily: after a '*' is passed, what stood before it never needs to be tried
 * again, so only the latest '*' is returned to. That bounds the work to the product of the lengths
 * ("*a*a*a*a*b" included), where a matcher that recurses takes exponential time. */
#include "storage/pattern.h"

#include "base/must.h"
#include "base/utf8.h"

#include <stdlib.h>

enum item_kind { ITEM_BYTES, ITEM_ONE, ITEM_CLASS, ITEM_STAR };

struct class_range {
    uint32_t from, to; /* code points, both included */
};

struct glob_item {
    enum item_kind kind;
    bool negated;                     /* ITEM_CLASS */
    struct span text;                 /* ITEM_BYTES */
    const struct class_range *ranges; /* ITEM_CLASS */
    size_t count;
};

enum {
    EXPANDED_MAX_BYTES = 8 << 20, /* of all texts that taking braces apart makes: bounds memory and time */
};

/* What one compilation needs at hand. */
struct compiler {
    struct arena *arena;
    size_t *open; /* scratch: positions of braces, as many as the pattern has bytes */
    size_t bytes; /* of expanded texts so far */
    struct err *err;
};

struct texts {
    struct span *items;
    size_t count;
    size_t cap;
};

/* ---- braces ---- */

/* The position behind the character, or the escaped pair, at AT. */
static size_t skip_character(struct span s, size_t at)
{
    return at + 1 < s.len && s.ptr[at] == '\\' ? at + 2 : at + 1;
}

/* The first '{' that has a partner, and that partner. False: there is none. */
static bool first_braces(struct compiler *c, struct span s, size_t *open, size_t *close)
{
    size_t depth = 0;

    *open = s.len;
    for (size_t i = 0; i < s.len; i = skip_character(s, i)) {
        if (s.ptr[i] == '{') {
            c->open[depth++] = i;
        } else if (s.ptr[i] == '}' && depth > 0 && c->open[--depth] < *open) {
            *open = c->open[depth];
            *close = i;
        }
    }
    return *open < s.len;
}

/* Length of the alternative at the start of S: up to a comma that stands in no braces of its own. All
 * braces in S are paired. */
static size_t alternative_length(struct span s)
{
    size_t depth = 0, i;

    for (i = 0; i < s.len; i = skip_character(s, i)) {
        if (s.ptr[i] == '{')
            depth++;
        else if (s.ptr[i] == '}')
            depth--;
        else if (s.ptr[i] == ',' && depth == 0)
            break;
    }
    return i;
}

static int texts_add(struct compiler *c, struct texts *list, struct span text)
{
    if (list->count == PATTERN_WORDS_MAX)
        return err_set(c->err, ERR_LIMIT, "braces of one component stand for more than %d alternatives",
                       PATTERN_WORDS_MAX);
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 1 : list->cap * 2;
        list->items = arena_grow(c->arena, list->items, list->count, cap, sizeof *list->items);
        list->cap = cap;
    }
    list->items[list->count++] = text;
    return 0;
}

/* Add to LIST all texts without braces that TEXT stands for. Outer braces go first: {a{b,c},d{e,f}} makes
 * four texts and never more on the way. */
static int expand(struct compiler *c, struct span text, struct texts *list)
{
    size_t open, close = 0;

    if (!first_braces(c, text, &open, &close))
        return texts_add(c, list, text);
    struct span before = span_cut(text, 0, open), after = span_cut(text, close + 1, text.len);
    struct span inner = span_cut(text, open + 1, close);

    for (size_t at = 0; at <= inner.len;) {
        struct span rest = span_cut(inner, at, inner.len);
        struct span alternative = span_cut(rest, 0, alternative_length(rest));

        c->bytes += before.len + alternative.len + after.len + 16;
        if (c->bytes > EXPANDED_MAX_BYTES)
            return err_set(c->err, ERR_LIMIT, "braces of the pattern stand for more than %d bytes of text",
                           EXPANDED_MAX_BYTES);
        int rc = expand(c, arena_join(c->arena, before, alternative, after), list);
        if (rc < 0)
            return rc;
        at += alternative.len + 1;
    }
    return 0;
}

/* ---- items ---- */

/* The position of the ']' that ends the class at S[0], or s.len. The first member may be a ']'. */
static size_t class_end(struct span s)
{
    size_t first = s.len > 1 && s.ptr[1] == '!' ? 2 : 1;

    return first < s.len ? first + 1 + span_find(span_cut(s, first + 1, s.len), ']') : s.len;
}

static uint32_t take_code(struct span *s)
{
    uint32_t code = 0;
    size_t n = utf8_decode(*s, &code);

    MUST(n > 0); /* the whole pattern is UTF-8 */
    *s = span_cut(*s, n, s->len);
    return code;
}

/* The members of a class; '-' stands for itself at either end. */
static void read_class(struct compiler *c, struct span members, struct glob_item *item)
{
    struct class_range *ranges;

    item->kind = ITEM_CLASS;
    item->negated = span_starts(members, SPAN_LIT("!"));
    members = span_cut(members, item->negated, members.len);
    item->ranges = ranges = arena_alloc(c->arena, members.len * sizeof *ranges);
    while (members.len > 0) {
        struct class_range range = {.from = take_code(&members)};

        range.to = range.from;
        if (members.len >= 2 && members.ptr[0] == '-') {
            members = span_cut(members, 1, members.len);
            range.to = take_code(&members);
        }
        ranges[item->count++] = range;
    }
}

/* Read the item at the start of *text and move on. */
static void read_item(struct compiler *c, struct span *text, struct glob_item *item)
{
    size_t n = 1;

    *item = (struct glob_item){.kind = ITEM_BYTES};
    if (text->ptr[0] == '*') {
        item->kind = ITEM_STAR;
    } else if (text->ptr[0] == '?') {
        item->kind = ITEM_ONE;
    } else if (text->ptr[0] == '[' && class_end(*text) < text->len) {
        size_t end = class_end(*text);
        read_class(c, span_cut(*text, 1, end), item);
        n = end + 1;
    } else {
        char *bytes = arena_alloc(c->arena, text->len);
        size_t len = 0;

        for (n = 0; n < text->len; n++) {
            struct span rest = span_cut(*text, n, text->len);
            if (rest.ptr[0] == '*' || rest.ptr[0] == '?' || (rest.ptr[0] == '[' && class_end(rest) < rest.len))
                break;
            if (rest.ptr[0] == '\\' && rest.len > 1)
                n++;
            bytes[len++] = text->ptr[n];
        }
        item->text = span_of(bytes, len);
    }
    *text = span_cut(*text, n, text->len);
}

/* The items of TEXT, neighbouring stars as one. */
static struct glob_item *read_items(struct compiler *c, struct span text, size_t *count)
{
    struct glob_item *items = NULL, item;
    size_t cap = 0, n = 0;

    while (text.len > 0) {
        read_item(c, &text, &item);
        if (item.kind == ITEM_STAR && n > 0 && items[n - 1].kind == ITEM_STAR)
            continue;
        if (n == cap) {
            cap = cap == 0 ? 4 : cap * 2;
            items = arena_grow(c->arena, items, n, cap, sizeof *items);
        }
        items[n++] = item;
    }
    *count = n;
    return items;
}

/* The fastest class for a text without braces. */
static struct glob glob_of_text(struct compiler *c, struct span text)
{
    size_t n;
    const struct glob_item *items = read_items(c, text, &n);
    bool star_first = n > 0 && items[0].kind == ITEM_STAR, star_last = n > 0 && items[n - 1].kind == ITEM_STAR;

    if (n == 0)
        return (struct glob){.kind = GLOB_LITERAL, .text = span_cut(text, 0, 0)};
    if (n == 1 && star_first)
        return (struct glob){.kind = GLOB_ANY};
    if (n == 1 && items[0].kind == ITEM_BYTES)
        return (struct glob){.kind = GLOB_LITERAL, .text = items[0].text};
    if (n == 2 && items[0].kind == ITEM_BYTES && star_last)
        return (struct glob){.kind = GLOB_PREFIX, .text = items[0].text};
    if (n == 2 && star_first && items[1].kind == ITEM_BYTES)
        return (struct glob){.kind = GLOB_SUFFIX, .text = items[1].text};
    if (n == 3 && star_first && items[1].kind == ITEM_BYTES && star_last)
        return (struct glob){.kind = GLOB_MIDDLE, .text = items[1].text};
    return (struct glob){.kind = GLOB_GENERAL, .items = items, .count = n};
}

/* ---- components ---- */

static int span_order(const void *a, const void *b)
{
    return span_cmp(*(const struct span *)a, *(const struct span *)b);
}

static struct glob glob_of_words(struct compiler *c, const struct glob *globs, size_t count)
{
    struct span *words = arena_alloc(c->arena, count * sizeof *words);
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        words[i] = globs[i].text;
    qsort(words, count, sizeof *words, span_order);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || !span_eq(words[kept - 1], words[i]))
            words[kept++] = words[i];
    }
    if (kept == 1)
        return (struct glob){.kind = GLOB_LITERAL, .text = words[0]};
    return (struct glob){.kind = GLOB_WORDS, .words = words, .count = kept};
}

static int compile_component(struct compiler *c, struct span text, struct glob *out)
{
    struct texts texts = {.count = 0};
    size_t literals = 0;
    int rc;

    if (span_eq(text, SPAN_LIT("**"))) {
        *out = (struct glob){.kind = GLOB_DEEP};
        return 0;
    }
    rc = expand(c, text, &texts);
    if (rc < 0)
        return rc;
    struct glob *globs = arena_alloc(c->arena, texts.count * sizeof *globs);
    for (size_t i = 0; i < texts.count; i++) {
        globs[i] = glob_of_text(c, texts.items[i]);
        literals += globs[i].kind == GLOB_LITERAL;
        if (literals <= i && i >= PATTERN_GLOBS_MAX)
            return err_set(c->err, ERR_LIMIT,
                           "braces of one component stand for more than %d alternatives with wildcards",
                           PATTERN_GLOBS_MAX);
    }
    if (literals == texts.count)
        *out = glob_of_words(c, globs, texts.count);
    else if (texts.count == 1)
        *out = globs[0];
    else
        *out = (struct glob){.kind = GLOB_EITHER, .globs = globs, .count = texts.count};
    return 0;
}

/* Length of the component at the start of S: up to a dot that is not escaped. */
static size_t component_length(struct span s)
{
    size_t i = 0;

    while (i < s.len && s.ptr[i] != '.')
        i = skip_character(s, i);
    return i < s.len ? i : s.len;
}

static size_t count_components(struct span text)
{
    size_t n = 1;

    for (size_t at = component_length(text); at < text.len; n++)
        at += 1 + component_length(span_cut(text, at + 1, text.len));
    return n;
}

static int compile_all(struct compiler *c, struct span text, struct pattern *p)
{
    for (size_t at = 0; at <= text.len;) {
        struct span rest = span_cut(text, at, text.len), part = span_cut(rest, 0, component_length(rest));

        if (part.len == 0) { /* an empty component: no name has one */
            p->count = 0;
            return 0;
        }
        int rc = compile_component(c, part, &p->parts[p->count]);
        if (rc < 0)
            return rc;
        bool deep = p->parts[p->count].kind == GLOB_DEEP;
        p->has_deep |= deep;
        if (!deep || p->count == 0 || p->parts[p->count - 1].kind != GLOB_DEEP)
            p->count++; /* ** beside ** adds nothing */
        at += part.len + 1;
    }
    if (p->parts[p->count - 1].kind == GLOB_DEEP) /* at the end: at least one component */
        p->parts[p->count++] = (struct glob){.kind = GLOB_ANY};
    if (p->has_deep && p->count > PATTERN_DEEP_MAX)
        return err_set(c->err, ERR_LIMIT, "a pattern with ** has more than %d components", PATTERN_DEEP_MAX);
    return 0;
}

int pattern_compile(struct span text, struct arena *arena, struct pattern **out, struct err *err)
{
    struct compiler c = {.arena = arena, .err = err};
    struct pattern *p = ARENA_NEW(arena, struct pattern);

    *out = p;
    if (text.len > PATTERN_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "the pattern has more than %d bytes", PATTERN_MAX_BYTES);
    if (text.len == 0 || !utf8_valid(text))
        return 0;
    c.open = arena_alloc(arena, text.len * sizeof *c.open);
    p->parts = ARENA_ARRAY(arena, struct glob, count_components(text) + 1);
    int rc = compile_all(&c, text, p);
    if (rc < 0)
        p->count = 0;
    return rc;
}

bool pattern_is_plain(struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '\0' && strchr("*?[{\\", text.ptr[i]) != NULL)
            return false;
    }
    return true;
}

/* ---- matching ---- */

static bool class_has(const struct glob_item *item, uint32_t code)
{
    for (size_t i = 0; i < item->count; i++) {
        if (code >= item->ranges[i].from && code <= item->ranges[i].to)
            return !item->negated;
    }
    return item->negated;
}

/* Whether ITEM (no star) matches at the start of S; *n is how many bytes it takes. */
static bool item_match(const struct glob_item *item, struct span s, size_t *n)
{
    uint32_t code;

    if (item->kind == ITEM_BYTES) {
        *n = item->text.len;
        return span_starts(s, item->text);
    }
    *n = utf8_decode(s, &code);
    return *n > 0 && (item->kind == ITEM_ONE || class_has(item, code));
}

/* Where, from AT on, the item behind a star can begin at the earliest; s.len + 1: nowhere. */
static size_t next_place(const struct glob_item *behind, struct span s, size_t at)
{
    if (at > s.len)
        return s.len + 1;
    if (behind->kind == ITEM_BYTES) {
        const char *found = memmem(s.ptr + at, s.len - at, behind->text.ptr, behind->text.len);
        return found == NULL ? s.len + 1 : (size_t)(found - s.ptr);
    }
    while (at < s.len && ((unsigned char)s.ptr[at] & 0xc0) == 0x80)
        at++; /* to the start of a character */
    return at;
}

static bool items_match(const struct glob_item *items, size_t count, struct span s)
{
    size_t i = 0, at = 0, n = 0;
    size_t star = count, star_at = 0; /* the latest star, and where what is behind it was tried */

    for (;;) {
        if (i < count && items[i].kind == ITEM_STAR) {
            star = i++;
            if (i == count)
                return true;
            star_at = at = next_place(&items[i], s, at);
        } else if (i < count && at <= s.len && item_match(&items[i], span_cut(s, at, s.len), &n)) {
            at += n;
            i++;
        } else if (i == count && at == s.len) {
            return true;
        } else {
            if (star == count || star_at >= s.len)
                return false;
            star_at = at = next_place(&items[star + 1], s, star_at + 1);
            i = star + 1;
        }
    }
}

static bool has_word(const struct glob *glob, struct span word)
{
    return bsearch(&word, glob->words, glob->count, sizeof word, span_order) != NULL;
}

bool glob_match(const struct glob *glob, struct span s)
{
    struct span text = glob->text;

    switch (glob->kind) {
    case GLOB_LITERAL:
        return span_eq(s, text);
    case GLOB_WORDS:
        return has_word(glob, s);
    case GLOB_ANY:
    case GLOB_DEEP:
        return true;
    case GLOB_PREFIX:
        return span_starts(s, text);
    case GLOB_SUFFIX:
        return s.len >= text.len && span_eq(span_cut(s, s.len - text.len, s.len), text);
    case GLOB_MIDDLE:
        return memmem(s.ptr, s.len, text.ptr, text.len) != NULL;
    case GLOB_GENERAL:
        return items_match(glob->items, glob->count, s);
    case GLOB_EITHER:
        for (size_t i = 0; i < glob->count; i++) {
            if (glob_match(&glob->globs[i], s))
                return true;
        }
        return false;
    }
    return false;
}

/* The same greedy walk as items_match(), with components for characters and ** for the star. */
bool pattern_match(const struct pattern *p, struct span name)
{
    size_t i = 0, at = 0;
    size_t deep = p->count, deep_at = 0;

    if (p->count == 0 || name.len == 0)
        return false;
    for (;;) { /* AT is the start of a component, or name.len + 1 behind the last */
        struct span rest = span_cut(name, at, name.len), component = span_cut(rest, 0, span_find(rest, '.'));
        bool end = at > name.len;

        if (i < p->count && p->parts[i].kind == GLOB_DEEP) {
            deep = i++;
            deep_at = at;
        } else if (i < p->count && !end && glob_match(&p->parts[i], component)) {
            at += component.len + 1;
            i++;
        } else if (i == p->count && end) {
            return true;
        } else {
            if (deep == p->count || deep_at > name.len)
                return false;
            deep_at += span_find(span_cut(name, deep_at, name.len), '.') + 1;
            at = deep_at;
            i = deep + 1;
        }
    }
}
