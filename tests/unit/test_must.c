#include "base/must.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>

struct thing {
    uint32_t magic;
};

Test(must, lets_the_truth_pass)
{
    struct thing thing = {.magic = 0x7417};

    MUST(1 + 1 == 2);
    MUST_BE(&thing, 0x7417);
}

Test(must, stops_at_a_lie, .signal = SIGABRT)
{
    MUST(1 + 1 == 3);
}

Test(must, stops_at_a_foreign_object, .signal = SIGABRT)
{
    struct thing thing = {.magic = 1};

    MUST_BE(&thing, 0x7417);
}

Test(must, stops_at_null, .signal = SIGABRT)
{
    MUST_BE((struct thing *)NULL, 0x7417);
}

Test(must, dear_ones_cost_nothing_in_a_release)
{
#ifndef PLUMBAGO_DEBUG
    int evaluated = 0;

    MUST_DEAR(++evaluated == 0);
    cr_assert_eq(evaluated, 0);
#endif
}
