/* parse.h - target text -> tree.
 *
 * The grammar is graphite-web's (grammar_unsafe.py, a PEG): only the longest valid prefix of a target
 * is parsed. What is left over is reported, so that the caller may refuse the target when the prefix
 * gives no data (docs/compatibility.md, "Targets that do not parse"). */
#ifndef PLUMBAGO_QUERY_PARSE_H
#define PLUMBAGO_QUERY_PARSE_H

#include "base/arena.h"
#include "base/err.h"
#include "query/ast.h"

enum { PARSE_DEPTH_MAX = 128 }; /* calls in calls, and pipes in a row */

struct parse_result {
    struct node *root;
    bool rest;         /* something but blanks follows the part that was parsed */
    struct span wrong; /* when .rest: what is wrong, and at which character (1-based); in the arena */
};

/* Parse TARGET, which may not be blank. ERR_INPUT, naming the character, when not even a prefix is
 * valid or when it is nested too deeply. TARGET must live as long as the tree. */
int parse_target(struct span target, struct arena *arena, struct parse_result *out, struct err *err);

#endif
