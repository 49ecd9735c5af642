/* find_format.h - the forms in which /metrics/find answers, one table entry each. */
#ifndef PLUMBAGO_SERVER_FIND_FORMAT_H
#define PLUMBAGO_SERVER_FIND_FORMAT_H

#include "server/routes.h"

/* One match, with its last component. */
struct node {
    struct span path;
    struct span name;
    bool leaf;
};

struct nodes {
    struct node *items;
    size_t count;
};

/* What has been found, and what of the request the forms must know. */
struct find {
    struct call *call;
    struct span query;
    struct nodes nodes; /* by path; a form may sort them anew */
    int64_t position;   /* of nodelist: which component, -1 for the last */
    int64_t wildcards;  /* not 0: an entry for '*' is wanted when there are several */
    int64_t now_s;
};

struct find_format {
    const char *name;
    const char *content_type;       /* NULL: JSON's, and a script may ask for a call around it */
    bool completer;                 /* an empty query is fine, and stars are put into it */
    void (*add)(struct find *find); /* appends to the body of the reply */
};

/* The format of this name, or NULL; the default for ptr NULL. */
const struct find_format *find_format_named(struct span name);

/* What follows the last dot of PATH. */
struct span find_last_part(struct span path);

#endif
