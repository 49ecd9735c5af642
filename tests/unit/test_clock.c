#include "base/clock.h"

#include <criterion/criterion.h>
#include <time.h>

Test(clock, stands_where_a_test_puts_it)
{
    clock_fake_ns(1500000000999999999);
    cr_assert_eq(clock_now_ns(), 1500000000999999999);
    cr_assert_eq(clock_now_s(), 1500000000);
    clock_fake_ns(0);
    cr_assert_eq(clock_now_ns(), 0);
}

Test(clock, seconds_are_floored_before_1970)
{
    clock_fake_ns(-1);
    cr_assert_eq(clock_now_s(), -1);
    clock_fake_ns(-1000000000);
    cr_assert_eq(clock_now_s(), -1);
    clock_fake_ns(-1000000001);
    cr_assert_eq(clock_now_s(), -2);
}

Test(clock, is_the_systems_when_not_faked)
{
    time_t before, after;
    int64_t now;

    clock_fake_ns(1);
    clock_real();
    before = time(NULL) - 1; /* time() may lag behind by a tick */
    now = clock_now_s();
    after = time(NULL) + 1;
    cr_assert(before <= now && now <= after);
}

Test(clock, monotonic_time_is_never_faked_and_never_goes_back)
{
    int64_t last = clock_mono_ns();

    clock_fake_ns(5);
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_mono_ns();

        cr_assert(now >= last);
        last = now;
    }
    cr_assert(last > 1000);
}
