#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void must_fail(const char *condition, const char *file, int line)
{
    /* Straight to stderr and not through the log: the log may be what is broken. */
    fprintf(stderr, "%s:%d: MUST(%s) failed\n", file, line, condition);
    abort();
}
