/* request.h - the parameters of a request, as the HTTP layer hands them in.
 *
 * Query string and body are merged: lists are appended (query string first), for a single value the
 * last one counts, so the body wins (graphite-web: views.py, parseOptions). */
#ifndef PLUMBAGO_QUERY_REQUEST_H
#define PLUMBAGO_QUERY_REQUEST_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

struct param {
    struct span key; /* decoded */
    struct span value;
};

struct params {
    struct param *items;
    size_t count;
    size_t cap;
    struct arena *arena; /* of the items and of the decoded text */
};

/* Append all pairs of an application/x-www-form-urlencoded text (a query string or a body): '+' is a
 * blank, %XX a byte, a bad %-sequence stays as it is; a pair without '=' has an empty value; empty
 * pairs are skipped; ';' does not divide. */
void params_add_urlencoded(struct params *p, struct span text);

/* Append one pair; both spans must live as long as the arena. */
void params_add(struct params *p, struct span key, struct span value);

/* The last value of KEY, or NULL. */
const struct span *params_get(const struct params *p, const char *key);

#endif
