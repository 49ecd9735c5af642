#include "storage/retention.h"

#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

static const struct {
    const char *text;
    const char *archives; /* "step:points,..." finest first; NULL: refused */
} whisper_says[] = {
    /* whisper 1.1.x: parseRetentionDef and validateArchiveList; archives without points refused */
    {"10s:6h,1m:7d,10m:5y", "10:2160,60:10080,600:262800"},
    {"60:1440", "60:1440"},
    {"10s:1d", "10:8640"},
    {"1m:30d,10s:1d", "10:8640,60:43200"},
    {"10s:65s", "10:6"},
    {"1min:1hour", "60:60"},
    {"5minutes:2w", "300:4032"},
    {"1s:1y", "1:31536000"},
    {"60s:1d,60s:2d", NULL},
    {"10s:1d,15s:2d", NULL},
    {"10s:1d,1m:1d", NULL},
    {"10s:1d,1m:12h", NULL},
    {"10s:30s,1m:1d", NULL},
    {"1s:60s,60s:90d", "1:60,60:129600"},
    {"1m:1m", "60:1"},
    {"1m:30s", NULL},
    {"10:60,60:90", "10:60,60:90"},
    {"x:1d", NULL},
    {"10s", NULL},
    {"10s:", NULL},
    {"10s:1x", NULL},
    {"", NULL},
    {":", NULL},
    {"10s:1d,", NULL},
    {"1M:1d", NULL},
    {"10 s:1d", NULL},
    {"10s: 1d", NULL},
    {" 10s:1d , 1m:30d ", "10:8640,60:43200"},
    {"1.5m:1d", NULL},
    {"-1s:1d", NULL},
    {"0s:1d", NULL},
    {"10s:0", NULL},
    {"1y:5y", "31536000:5"},
    {"1mon:1y", NULL},
    {"1secs:1d", NULL},
    {"10s:1d:2d", NULL},
    {"60:90,300:1000", "60:90,300:1000"},
    {"5s:120s,10s:12000s", "5:24,10:1200"},
    {"5s:230s,300s:2300s", NULL},
    {"60s:2880s,120:48", "60:48,120:48"},
    {"60:46,3600s:27600s,7200:3,43200:6", NULL},
    {"60s:2280s,90s:2280s,135s:4560s", NULL},
    {"5:41", "5:41"},
    {"1:23,5:4,50s:23s,100s:230s", NULL},
    {"1:20,60s:2000s", NULL},
    {"5s:225s,30s:675s,300s:6750s", "5:45,30:22,300:22"},
    {"10s:280s", "10:28"},
    {"10s:10s,60s:10s,90s:20s", NULL},
    {"10s:390s,20s:39000s,40s:117000s", "10:39,20:1950,40:2925"},
    {"5:24,30:400,300s:12000s", NULL},
    {"5:42,25:84,150:42", "5:42,25:84,150:42"},
    {"5:37,10:18,600:1", NULL},
    {"5s:135s,30s:1350s,180:75", "5:27,30:45,180:75"},
    {"1s:31s,3s:62s", "1:31,3:20"},
    {"10s:150s,60:2,90s:15000s", NULL},
    {"1:31", "1:31"},
    {"60:4", "60:4"},
    {"1:23,60:1,360:1,21600s:460s", NULL},
    {"1s:31s,2:15,4s:31s,6:5", NULL},
    {"60s:2520s,360s:7560s,3600s:7560s", NULL},
    {"5:3", "5:3"},
    {"1:40,3:133,9:444,45s:400000s", "1:40,3:133,9:444,45:8888"},
    {"60s:540s,360:150", "60:9,360:150"},
    {"1s:47s,2:2350,10s:47000s,600:78", NULL},
    {"1s:8s", "1:8"},
    {"1:3,3s:3s,180:1", NULL},
    {"60s:1020s,360s:102000s,3600s:10200000s,36000s:20400000s", "60:17,360:283,3600:2833,36000:566"},
    {"5s:210s,25:16,250s:42000s,1250s:84000s", "5:42,25:16,250:168,1250:67"},
    {"5s:225s,50s:22500s,300:75", NULL},
    {"10:16,50s:1600s", "10:16,50:32"},
    {"60s:2820s", "60:47"},
    {"5s:80s,30s:160s,150s:320s,900:1", NULL},
    {"1s:6s", "1:6"},
    {"60:38,360:19,720:19", "60:38,360:19,720:19"},
    {"10:5", "10:5"},
    {"10s:440s", "10:44"},
    {"10s:440s", "10:44"},
    {"10s:440s", "10:44"},
    {"10:42,600s:840s", NULL},
    {"10:42,60:14,300:280,1800:140", "10:42,60:14,300:280,1800:140"},
    {"10s:160s,100:16,200s:3200s,300:10", NULL},
    {"60s:2880s,300s:28800s,1500:1920,9000:960", "60:48,300:96,1500:1920,9000:960"},
    {"10s:360s,600:1,3000s:1080s,4500:1", NULL},
    {"5:34,300s:1700s", NULL},
    {"60:6,3600:1", NULL},
    {"10:23,600s:230s,3600s:460s", NULL},
    {"10:7,50:2,75:1,750:1", NULL},
    {"5s:150s,30s:450s,1800s:4500s,9000:1", NULL},
    {"5:14,50s:7000s", "5:14,50:140"},
    {"60:32,120:160", "60:32,120:160"},
    {"60:3,300:1", NULL},
    {"1s:23s,3s:69s,30:6", "1:23,3:23,30:6"},
    {"10:21,100:2,150:1", NULL},
    {"5:42", "5:42"},
    {"10:43,600s:4300s,3000s:43000s,180000:1", NULL},
    {"5:24,50:24,250s:120000s", "5:24,50:24,250:480"},
    {"1s:30s,3:10", NULL},
    {"60s:1800s", "60:30"},
    {"60s:420s,120s:4200s", "60:7,120:35"},
    {"5s:210s", "5:42"},
    {"10s:140s,600s:1400s", NULL},
    {"5:40,10s:20000s,20:2000,200s:400000s", "5:40,10:2000,20:2000,200:2000"},
    {"60:49", "60:49"},
    {"10s:390s", "10:39"},
    {"60:20", "60:20"},
    {"10s:280s", "10:28"},
    {"1:22,2:33,3s:132s", NULL},
    {"60s:1440s,600:24,36000s:14400s,72000:1", NULL},
    {"60s:180s", "60:3"},
    {"1s:23s,3:23,18:38,90s:6900s", "1:23,3:23,18:38,90:76"},
    {"60:20,3600s:2400s", NULL},
    {"60s:1440s", "60:24"},
    {"1s:9s", "1:9"},
    {"5:50", "5:50"},
    {"60:12", "60:12"},
    {"1:29", "1:29"},
    {"10:22,20s:440s,30s:4400s,180:24", NULL},
    {"60:34,90:45,135:60,810:100", NULL},
    {"5:37,10s:1850s,100:1850", "5:37,10:185,100:1850"},
    {"60s:540s", "60:9"},
};

Test(retention, agrees_with_whisper)
{
    for (size_t i = 0; i < sizeof whisper_says / sizeof *whisper_says; i++) {
        struct retention r;
        struct err err = {0};
        int rc = retention_parse(span_str(whisper_says[i].text), &r, &err);
        char got[256];
        size_t n = 0;

        cr_expect_eq(rc, whisper_says[i].archives == NULL ? ERR_INPUT : 0, "%s: %s", whisper_says[i].text, err.text);
        for (uint32_t k = 0; rc == 0 && k < r.count; k++)
            n += (size_t)sprintf(got + n, "%s%" PRId64 ":%" PRId64, k > 0 ? "," : "", r.tiers[k].step_s,
                                 r.tiers[k].slots);
        if (rc == 0)
            cr_expect_str_eq(got, whisper_says[i].archives, "%s", whisper_says[i].text);
        else
            cr_expect(strlen(err.text) > 5);
    }
}

static struct retention parsed(const char *text)
{
    struct retention r;
    struct err err = {0};

    cr_assert_eq(retention_parse(span_str(text), &r, &err), 0, "%s: %s", text, err.text);
    return r;
}

Test(retention, has_one_text_for_each_definition)
{
    cr_expect_str_eq(parsed("60:1440").text, "1m:1d");
    cr_expect_str_eq(parsed("1m:7d,10s:6h,10m:5y").text, "10s:6h,1m:7d,10m:5y");
    cr_expect_str_eq(parsed("10s:65s").text, "10s:1m");
    cr_expect_str_eq(parsed("10s:2w").text, "10s:14d");
    cr_expect_str_eq(parsed("90s:25h").text, "90s:25h");
    cr_expect_str_eq(parsed(parsed("7:11,21:100").text).text, "7s:77s,21s:35m");
}

Test(retention, says_what_is_wrong)
{
    struct retention r;
    struct err err = {0};

    retention_parse(SPAN_LIT("10s:1d,15s:2d"), &r, &err);
    cr_expect_str_eq(err.text, "the step 10 s does not divide the next step, 15 s");
    retention_parse(SPAN_LIT("10s:1d,1m"), &r, &err);
    cr_expect_str_eq(err.text, "retention '1m': want step:retention, like 10s:6h");
    retention_parse(SPAN_LIT("99999999999999999999s:1d"), &r, &err);
    cr_expect_str_eq(err.text, "retention '99999999999999999999s:1d': '99999999999999999999s' is no step");
    cr_expect_eq(retention_parse(SPAN_LIT("1s:999999999y"), &r, &err), ERR_INPUT);
    cr_expect_eq(retention_parse(SPAN_LIT("2y:10y"), &r, &err), ERR_INPUT);
}

Test(retention, has_at_most_sixteen_archives)
{
    char text[512];
    struct retention r;
    struct err err = {0};
    size_t n = 0;

    for (int k = 0; k < 17; k++)
        n += (size_t)sprintf(text + n, "%s%ds:%dd", k > 0 ? "," : "", 1 << k, 100 + k);
    cr_expect_eq(retention_parse(span_str(text), &r, &err), ERR_INPUT);
    cr_expect_str_eq(err.text, "more than 16 archives");
    *strrchr(text, ',') = '\0';
    cr_expect_eq(retention_parse(span_str(text), &r, &err), 0);
    cr_expect_eq(r.count, 16);
}

Test(retention, the_builtin_default_is_what_its_text_says)
{
    const struct retention *d = policy_default_retention();
    struct retention r = parsed(d->text);

    cr_expect_str_eq(r.text, d->text);
    cr_assert_eq(r.count, d->count);
    for (uint32_t k = 0; k < r.count; k++) {
        cr_expect_eq(r.tiers[k].step_s, d->tiers[k].step_s);
        cr_expect_eq(r.tiers[k].slots, d->tiers[k].slots);
        cr_expect_eq(r.tiers[k].retention_s, d->tiers[k].retention_s);
        cr_expect_eq(r.tiers[k].window_s, d->tiers[k].window_s);
        cr_expect_eq(r.tiers[k].window_slots, d->tiers[k].window_slots);
    }
}

Test(retention, the_first_tier_that_covers_an_age)
{
    struct retention r = parsed("10s:1h,1m:1d");

    cr_expect_eq(retention_tier_of_age(&r, -500), 0);
    cr_expect_eq(retention_tier_of_age(&r, 0), 0);
    cr_expect_eq(retention_tier_of_age(&r, 3600), 0);
    cr_expect_eq(retention_tier_of_age(&r, 3601), 1);
    cr_expect_eq(retention_tier_of_age(&r, 86400), 1);
    cr_expect_eq(retention_tier_of_age(&r, 86401), -1);
}

static void expect_slots(const char *text, const uint32_t *want)
{
    struct retention r = parsed(text);

    for (uint32_t k = 0; k < r.count; k++)
        cr_expect_eq(r.tiers[k].window_slots, want[k], "%s, tier %u: %u slots, not %u", text, k,
                     r.tiers[k].window_slots, want[k]);
}

Test(window, has_about_120_slots)
{
    expect_slots("10s:6h,1m:7d,10m:5y", (uint32_t[]){120, 90, 120}); /* 7200 s would be over a quarter of 6 h */
    expect_slots("10s:1d,1m:30d,10m:5y", (uint32_t[]){120, 120, 120});
    expect_slots("1s:1h,10m:30d", (uint32_t[]){600, 1}); /* the next step is longer than 120 slots */
    expect_slots("1m:1d,7m:30d", (uint32_t[]){119, 51});
    expect_slots("1m:30d", (uint32_t[]){120});
}

Test(window, copes_with_odd_retentions)
{
    expect_slots("1s:60s", (uint32_t[]){15});
    expect_slots("1m:1m", (uint32_t[]){1});
    expect_slots("60s:90d", (uint32_t[]){120});
    expect_slots("1s:60s,60s:90d", (uint32_t[]){15, 1});
    expect_slots("1s:1d,1d:5y", (uint32_t[]){120, 1});           /* a bucket spans 720 windows */
    expect_slots("1m:1d,1h:30d,1d:5y", (uint32_t[]){120, 6, 7}); /* hours: a quarter of 1 d */
    expect_slots("1s:3h,1801s:30d", (uint32_t[]){120, 1});       /* a prime number of steps: no divisor */
}

Test(window, arithmetic_is_aligned_to_1970)
{
    struct retention r = parsed("10s:6h,1m:7d,10m:5y");

    cr_expect_eq(tier_slot_start(&r.tiers[0], 1234567), 1234560);
    cr_expect_eq(tier_window_start(&r.tiers[0], 1234567), 1233600);
    cr_expect_eq(tier_window_slot(&r.tiers[0], 1234567), 96);
    cr_expect_eq(tier_window_start(&r.tiers[1], 5399), 0);
    cr_expect_eq(tier_window_start(&r.tiers[1], 5400), 5400);
    cr_expect_eq(tier_window_slot(&r.tiers[1], 5400), 0);
}

/* The rules of the header, over valid retentions of every kind. */
Test(window, keeps_its_rules)
{
    size_t nested = 0, all = 0;

    FOR_SEEDS (seed, 20000) {
        struct rng rng = rng_from(seed);
        char text[512];
        size_t n = 0, tiers = 1 + rng_below(&rng, 5);
        int64_t step = rng_between(&rng, 1, 100), retention = step * rng_between(&rng, 1, 3000);
        struct retention r;

        for (size_t k = 0; k < tiers; k++) {
            n += (size_t)sprintf(text + n, "%s%" PRId64 "s:%" PRId64 "s", k > 0 ? "," : "", step, retention);
            step *= rng_between(&rng, 2, rng_one_in(&rng, 4) ? 2000 : 20);
            retention = (retention > step ? retention : step) * rng_between(&rng, 2, 50);
        }
        if (retention_parse(span_str(text), &r, NULL) < 0)
            continue; /* not every chain is valid */
        for (uint32_t k = 0; k < r.count; k++) {
            const struct retention_tier *t = &r.tiers[k];
            cr_assert(t->window_slots >= 1 && t->window_slots <= WINDOW_SLOTS_MAX, "%s", text);
            cr_assert_eq(t->window_s, t->step_s * t->window_slots);
            cr_assert(t->window_slots == 1 || t->window_s * 4 <= t->retention_s, "%s", text);
            cr_assert(t->window_slots == 1 || k == 0 || t->window_s * 4 <= t[-1].retention_s, "%s", text);
            cr_assert(k == 0 || t->window_s <= t[-1].retention_s, "%s", text);
            all += k + 1 < r.count;
            nested += k + 1 < r.count && (t->window_s % t[1].step_s == 0 || t[1].step_s % t->window_s == 0);
        }
    }
    cr_expect(nested * 100 >= all * 90, "%zu of %zu nest", nested, all);
}
