#include "query/tz.h"

#include <criterion/criterion.h>

static int64_t utc(int year, int month, int day, int hour, int minute)
{
    struct civil c = {.year = year, .month = month, .day = day, .hour = hour, .minute = minute};

    return civil_seconds(&c);
}

Test(tz, civil_time_goes_there_and_back)
{
    for (int64_t t = -70000000000; t < 260000000000; t += 7777777777) {
        struct civil c = civil_of(t);

        cr_assert_eq(civil_seconds(&c), t);
    }
    cr_expect_eq(civil_of(0).weekday, 4); /* a Thursday */
    cr_expect_eq(civil_of(951782400).day, 29);
    cr_expect_eq(civil_month_days(1900, 2), 28);
    cr_expect_eq(civil_month_days(2000, 2), 29);
    cr_expect_eq(civil_month_days(2023, 12), 31);
}

Test(tz, knows_winter_and_summer_before_and_after_the_table_ends)
{
    const struct tz *berlin = tz_find(SPAN_LIT("Europe/Berlin"));

    cr_assert_not_null(berlin);
    cr_expect_eq(tz_offset(berlin, utc(2015, 1, 15, 12, 0)), 3600);
    cr_expect_eq(tz_offset(berlin, utc(2015, 7, 15, 12, 0)), 7200);
    cr_expect_eq(tz_offset(berlin, utc(2015, 3, 29, 0, 59)), 3600);
    cr_expect_eq(tz_offset(berlin, utc(2015, 3, 29, 1, 0)), 7200);
    cr_expect_eq(tz_offset(berlin, utc(2015, 10, 25, 0, 59)), 7200);
    cr_expect_eq(tz_offset(berlin, utc(2015, 10, 25, 1, 0)), 3600);
    cr_expect_eq(tz_offset(berlin, utc(2070, 1, 15, 12, 0)), 3600);
    cr_expect_eq(tz_offset(berlin, utc(2070, 7, 15, 12, 0)), 7200);
    /* Summer in the south spans the new year. */
    cr_expect_eq(tz_offset(tz_find(SPAN_LIT("Australia/Sydney")), utc(2070, 1, 15, 12, 0)), 11 * 3600);
    cr_expect_eq(tz_offset(tz_find(SPAN_LIT("Asia/Kolkata")), utc(2015, 1, 1, 0, 0)), 19800);
}

Test(tz, doubled_and_skipped_times_are_standard_time)
{
    const struct tz *berlin = tz_find(SPAN_LIT("Europe/Berlin"));

    cr_expect_eq(tz_from_local(berlin, utc(2015, 7, 1, 12, 0)), utc(2015, 7, 1, 10, 0));
    cr_expect_eq(tz_from_local(berlin, utc(2015, 10, 25, 2, 30)), utc(2015, 10, 25, 1, 30));
    cr_expect_eq(tz_from_local(berlin, utc(2015, 3, 29, 2, 30)), utc(2015, 3, 29, 1, 30));
}

Test(tz, names_are_found_in_any_case_and_nothing_else_is)
{
    cr_expect_eq(tz_find(SPAN_LIT("utc")), tz_utc());
    cr_expect_eq(tz_find(SPAN_LIT("EUROPE/berlin")), tz_find(SPAN_LIT("Europe/Berlin")));
    cr_expect_null(tz_find(SPAN_LIT("Europe/Nowhere")));
    cr_expect_null(tz_find(SPAN_LIT("Europe")));
    cr_expect_null(tz_find(SPAN_LIT("../../etc/passwd")));
    cr_expect_null(tz_find(SPAN_LIT("/etc/localtime")));
    cr_expect_null(tz_find(SPAN_LIT("")));
    cr_expect_null(tz_find(SPAN_LIT("tzdata.zi")));
}
