/* value.h - what an expression evaluates to: a series list, or one of the literals. */
#ifndef PLUMBAGO_QUERY_VALUE_H
#define PLUMBAGO_QUERY_VALUE_H

#include "base/arena.h"
#include "base/span.h"
#include "query/series_list.h"

enum value_kind {
    VALUE_UNSET, /* an argument that was not given */
    VALUE_NONE,
    VALUE_BOOLEAN,
    VALUE_INTEGER,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_LIST,
    VALUE_LISTS, /* what mapSeries gives */
};

struct value {
    enum value_kind kind;
    int64_t integer; /* VALUE_INTEGER, VALUE_BOOLEAN */
    double real;     /* VALUE_FLOAT, and VALUE_INTEGER as a double */
    struct span text;
    struct series_list list;
    struct series_list *lists;
    size_t lists_count;
    size_t at; /* where in the target the argument stands */
};

/* As Python's str() shows it; for tags and names. */
struct span value_text(struct arena *arena, const struct value *v);

/* V as Python's str() shows a float: "2.0", "1e-07", "inf". */
struct span float_text(struct arena *arena, double v);

#endif
