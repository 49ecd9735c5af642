/* pattern.h - globs over dotted names: compiled once, matched component by component.
 *
 *     *        any bytes, none too           [abc] [a-z]  one of these characters, by character code
 *     ?        one character (of UTF-8)      [!abc]       any other one ('^' is an ordinary member)
 *     {a,b}    a or b; nests; may be empty   \x           x itself
 *     **       as a whole component: any number of components, none too; as the last component at
 *              least one: "a.**" is everything below a
 * No wildcard stands for a dot. Braces are taken apart first, so "[a{b,c}]" is "[ab]" or "[ac]". A
 * bracket or brace without its partner is an ordinary character, and as a dot always ends a component,
 * braces around a dot are two without partners. A pattern with an empty component, or with bytes that
 * are not UTF-8, is fine and matches nothing.
 *
 * Matching takes time in proportion to the product of the lengths at worst, whatever the pattern. */
#ifndef PLUMBAGO_STORAGE_PATTERN_H
#define PLUMBAGO_STORAGE_PATTERN_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

enum {
    PATTERN_MAX_BYTES = 1 << 20,
    PATTERN_WORDS_MAX = 1 << 16, /* alternatives of one component when all are without wildcards */
    PATTERN_GLOBS_MAX = 1024,    /* alternatives of one component when some have wildcards */
    PATTERN_DEEP_MAX = 63,       /* components of a pattern that has a ** */
};

enum glob_kind {
    GLOB_LITERAL, /* .text, unescaped */
    GLOB_WORDS,   /* several literals: .words, sorted, no two equal */
    GLOB_ANY,     /* '*' */
    GLOB_PREFIX,  /* .text, then '*' */
    GLOB_SUFFIX,  /* '*', then .text */
    GLOB_MIDDLE,  /* '*', .text, '*' */
    GLOB_GENERAL, /* .items */
    GLOB_EITHER,  /* any of .globs */
    GLOB_DEEP,    /* '**' */
};

struct glob_item; /* one step of a general glob */

/* One component of a pattern. Everything it points at is in the arena. */
struct glob {
    enum glob_kind kind;
    struct span text;
    const struct span *words;
    const struct glob *globs;
    const struct glob_item *items;
    size_t count; /* of words, globs or items */
};

struct pattern {
    struct glob *parts;
    size_t count;  /* 0: it matches nothing */
    bool has_deep; /* there is a ** */
};

/* Compile. *out and all that it holds live in ARENA. ERR_LIMIT when one of the limits above is
 * passed; the text names it. */
int pattern_compile(struct span text, struct arena *arena, struct pattern **out, struct err *err);

/* Whether one COMPONENT (without dots) matches. GLOB_DEEP matches every one. Any thread. */
bool glob_match(const struct glob *glob, struct span component);

/* Whether the whole NAME matches (for lists of names that have no tree). Any thread. */
bool pattern_match(const struct pattern *pattern, struct span name);

/* Whether TEXT has no wildcard, brace or escape, so that it can be looked up as it stands. */
bool pattern_is_plain(struct span text);

#endif
