#include "query/time_spec.h"

#include <criterion/criterion.h>
#include <inttypes.h>

/* Wednesday 2015-09-02 13:45:10 UTC */
static const int64_t now_s = 1441201510;
static struct err err;

static int64_t at(const char *zone, const char *text)
{
    const struct tz *tz = tz_find(span_str(zone));
    int64_t t = 0;

    cr_assert_not_null(tz, "no zone %s", zone);
    cr_assert_eq(time_spec_parse(span_str(text), tz, now_s, &t, &err), 0, "%s: %s", text, err.text);
    return t;
}

static void means(const char *text, int64_t wanted)
{
    int64_t t = at("UTC", text);

    cr_expect_eq(t, wanted, "%s is %" PRId64 ", %+" PRId64 " s off", text, t, t - wanted);
}

static void refused(const char *text)
{
    int64_t t;

    cr_expect_eq(time_spec_parse(span_str(text), tz_utc(), now_s, &t, &err), ERR_INPUT, "%s", text);
}

static int64_t utc(int year, int month, int day, int hour, int minute)
{
    struct civil c = {.year = year, .month = month, .day = day, .hour = hour, .minute = minute};

    return civil_seconds(&c);
}

Test(time_spec, reads_epochs_and_dates_in_digits)
{
    means("1441000000", 1441000000);
    means("0", 0);
    means("20150901", utc(2015, 9, 1, 0, 0));
    means("20151301", 20151301); /* no month 13: an epoch */
    means("19000101", 19000101);
    refused("99999999999999999999");
    refused("20150230");
}

Test(time_spec, reads_offsets)
{
    means("-1h", now_s - 3600);
    means("now-2min30s", now_s - 150);
    means("now", now_s);
    means("", now_s);
    means("-1mon", now_s - 30 * 86400);
    means("-1y", now_s - 365 * 86400);
    means("-1decade", now_s - 86400);
    means("+1w", now_s + 7 * 86400);
    means(" - 1 H ", now_s - 3600);
    refused("-1m");
    refused("-10");
    refused("-1.5h");
    refused("-1h+30min");
    refused("-1d-1h");
    refused("-99999999999999y");
}

Test(time_spec, reads_clocks_and_days)
{
    means("midnight", utc(2015, 9, 2, 0, 0));
    means("noon yesterday", utc(2015, 9, 1, 12, 0));
    means("teatime", utc(2015, 9, 2, 16, 0));
    means("6pm", utc(2015, 9, 2, 18, 0));
    means("12pm", utc(2015, 9, 2, 0, 0)); /* as graphite-web has it */
    means("08:50_20150901", utc(2015, 9, 1, 8, 50));
    means("8:50pm", utc(2015, 9, 2, 20, 50));
    means("6am tomorrow", utc(2015, 9, 3, 6, 0));
    means("monday", utc(2015, 8, 31, 0, 0));
    means("6pm monday", utc(2015, 8, 31, 18, 0));
    means("wednesday", utc(2015, 9, 2, 0, 0));
    means("sep 3", utc(2015, 9, 3, 0, 0));
    means("october12", utc(2015, 10, 12, 0, 0));
    means("9/2/15", utc(2015, 9, 2, 0, 0));
    means("12/31/1999", utc(1999, 12, 31, 0, 0));
    means("1/1/70", utc(1970, 1, 1, 0, 0));
    means("1/1/69", utc(2069, 1, 1, 0, 0));
    means("midnight+1d", utc(2015, 9, 3, 0, 0));
    refused("24:00");
    refused("13:99");
    refused("nonsense");
    refused("feb30");
    refused("sep");
    refused("20150902 08:50");
    refused("//");
    refused("1/1/99999999999999999999");
}

Test(time_spec, follows_the_zone_of_the_request)
{
    /* Berlin is at +2 in September, New York at -4. */
    cr_expect_eq(at("Europe/Berlin", "midnight"), utc(2015, 9, 1, 22, 0));
    cr_expect_eq(at("europe/berlin", "08:00_20150115"), utc(2015, 1, 15, 7, 0));
    cr_expect_eq(at("America/New_York", "noon"), utc(2015, 9, 2, 16, 0));
    cr_expect_eq(at("Europe/Berlin", "-1d"), now_s - 86400);
}

Test(time_spec, offsets_alone_are_what_functions_take)
{
    int64_t s;

    cr_expect(time_offset_parse(SPAN_LIT("1d6h"), &s, &err) == 0 && s == 30 * 3600);
    cr_expect(time_offset_parse(SPAN_LIT("-2min"), &s, &err) == 0 && s == -120);
    cr_expect(time_offset_parse(SPAN_LIT(""), &s, &err) == 0 && s == 0);
    cr_expect_eq(time_offset_parse(SPAN_LIT("1D"), &s, &err), ERR_INPUT);
    cr_expect_eq(time_offset_parse(SPAN_LIT(" 1d"), &s, &err), ERR_INPUT);
    cr_expect_eq(time_offset_parse(SPAN_LIT("d"), &s, &err), ERR_INPUT);
}
