#include "query/value.h"

#include "base/number.h"

#include <inttypes.h>

struct span float_text(struct arena *arena, double v)
{
    char *to = arena_alloc(arena, NUMBER_MAX);

    return span_of(to, number_repr(v, to));
}

struct span value_text(struct arena *arena, const struct value *v)
{
    switch (v->kind) {
    case VALUE_BOOLEAN:
        return v->integer != 0 ? SPAN_LIT("True") : SPAN_LIT("False");
    case VALUE_INTEGER:
        return arena_printf(arena, "%" PRId64, v->integer);
    case VALUE_FLOAT:
        return float_text(arena, v->real);
    case VALUE_STRING:
        return v->text;
    case VALUE_LIST:
    case VALUE_LISTS:
        return SPAN_LIT("[]");
    case VALUE_UNSET:
    case VALUE_NONE:
        break;
    }
    return SPAN_LIT("None");
}
