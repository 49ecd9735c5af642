/* A time is [reference][offset]; the offset begins at the first '+', or if there is none at the first
 * '-'. A reference is [clock][day]; it is read from left to right, each part taking its text away, and
 * what is left at the end must be a day or nothing. docs/compatibility.md lists the surprises
 * (12pm is midnight, text behind a week day is ignored), all of them graphite-web's. */
#include "query/time_spec.h"

#include "base/number.h"

#include <ctype.h>
#include <stdio.h>

enum { SPEC_MAX = 256 };

/* What Python's datetime can hold: the years 1 to 9999. */
static const int64_t instant_min = -62135596800;
static const int64_t instant_max = 253402300799;

static const char *const months[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                     "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const weekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static bool starts(struct span s, const char *prefix)
{
    return span_starts(s, span_str(prefix));
}

static struct span drop(struct span s, size_t n)
{
    return span_cut(s, n, s.len);
}

static bool all_digits(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!isdigit((unsigned char)s.ptr[i]))
            return false;
    }
    return s.len > 0;
}

/* Digits only, few enough for an int. */
static bool small_int(struct span s, int *out)
{
    *out = 0;
    if (!all_digits(s) || s.len > 8)
        return false;
    for (size_t i = 0; i < s.len; i++)
        *out = *out * 10 + (s.ptr[i] - '0');
    return true;
}

static size_t find_text(struct span s, const char *text)
{
    for (size_t i = 0; i < s.len; i++) {
        if (starts(drop(s, i), text))
            return i;
    }
    return s.len;
}

/* ---- offsets ---- */

int time_unit_parse(struct span text, enum time_unit *out, struct err *err)
{
    static const char *const prefixes[] = {"s", "min", "h", "d", "w", "mon", "y"};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
        if (starts(text, prefixes[i])) {
            *out = (enum time_unit)i;
            return 0;
        }
    }
    return err_set(err, ERR_INPUT, "Invalid offset unit '%.*s'", (int)(text.len < 40 ? text.len : 40), text.ptr);
}

int time_offset_parse(struct span text, int64_t *out_s, struct err *err)
{
    static const int64_t seconds_of[] = {1, 60, 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400};
    struct span rest = text;
    int64_t sign = 1;
    int64_t total = 0;

    if (rest.len > 0 && !isdigit((unsigned char)rest.ptr[0])) {
        if (rest.ptr[0] != '+' && rest.ptr[0] != '-')
            return err_set(err, ERR_INPUT, "Invalid offset: %.*s", (int)(text.len < 60 ? text.len : 60), text.ptr);
        sign = rest.ptr[0] == '-' ? -1 : 1;
        rest = drop(rest, 1);
    }
    while (rest.len > 0) {
        size_t digits = 0;
        size_t letters;
        int64_t number;
        enum time_unit unit;

        while (digits < rest.len && isdigit((unsigned char)rest.ptr[digits]))
            digits++;
        if (!number_parse_i64(span_cut(rest, 0, digits), &number))
            return err_set(err, ERR_INPUT, "Invalid offset: %.*s", (int)(text.len < 60 ? text.len : 60), text.ptr);
        rest = drop(rest, digits);
        letters = 0;
        while (letters < rest.len && isalpha((unsigned char)rest.ptr[letters]))
            letters++;
        if (time_unit_parse(span_cut(rest, 0, letters), &unit, err) < 0)
            return ERR_INPUT;
        rest = drop(rest, letters);
        if (__builtin_mul_overflow(number, seconds_of[unit], &number) ||
            __builtin_add_overflow(total, number, &total) || total > instant_max - instant_min)
            return err_set(err, ERR_INPUT, "Offset too large: %.*s", (int)(text.len < 60 ? text.len : 60), text.ptr);
    }
    *out_s = sign * total;
    return 0;
}

/* ---- references ---- */

struct clock {
    int hour;
    int minute;
};

/* Takes "8:50", "8:50pm", "6am", "6pm", "noon", ... from *REF. False when the numbers are none. */
static bool take_clock(struct span *ref, struct clock *clock)
{
    size_t at = span_find(*ref, ':');

    if (at > 0 && at < 3 && at < ref->len) {
        if (!small_int(span_cut(*ref, 0, at), &clock->hour) ||
            !small_int(span_cut(*ref, at + 1, at + 3), &clock->minute))
            return false;
        *ref = drop(*ref, at + 3);
        if (starts(*ref, "am")) {
            *ref = drop(*ref, 2);
        } else if (starts(*ref, "pm")) {
            clock->hour = (clock->hour + 12) % 24;
            *ref = drop(*ref, 2);
        }
    }
    at = find_text(*ref, "am");
    if (at > 0 && at < 3 && at < ref->len) {
        if (!small_int(span_cut(*ref, 0, at), &clock->hour))
            return false;
        *ref = drop(*ref, at + 2);
    }
    at = find_text(*ref, "pm");
    if (at > 0 && at < 3 && at < ref->len) {
        if (!small_int(span_cut(*ref, 0, at), &clock->hour))
            return false;
        clock->hour = (clock->hour + 12) % 24;
        *ref = drop(*ref, at + 2);
    }
    return true;
}

static void take_clock_word(struct span *ref, struct clock *clock)
{
    static const struct {
        const char *word;
        int hour;
    } words[] = {{"noon", 12}, {"midnight", 0}, {"teatime", 16}};

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (starts(*ref, words[i].word)) {
            *ref = drop(*ref, strlen(words[i].word));
            *clock = (struct clock){words[i].hour, 0};
            return;
        }
    }
}

static int index_of(struct span ref, const char *const *words, int count)
{
    for (int i = 0; i < count; i++) {
        if (starts(ref, words[i]))
            return i;
    }
    return -1;
}

/* "9/2/15", "9/2/2015" */
static bool slashed_date(struct span ref, struct civil *date)
{
    size_t first = span_find(ref, '/');
    size_t second = first + 1 + span_find(drop(ref, first + 1), '/');
    int year;

    if (second >= ref.len || !small_int(span_cut(ref, 0, first), &date->month) ||
        !small_int(span_cut(ref, first + 1, second), &date->day) || !small_int(drop(ref, second + 1), &year))
        return false;
    if (year < 1900)
        year += 1900;
    if (year < 1970)
        year += 100;
    date->year = year;
    return true;
}

static size_t count_char(struct span s, char c)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += s.ptr[i] == c;
    return n;
}

/* "sep2", "september 12": the last two or the last digit. */
static bool month_day(struct span ref, int *day)
{
    struct span two = drop(ref, ref.len - 2);

    return small_int(two, day) || small_int(drop(ref, ref.len - 1), day);
}

/* Apply the day REF to DATE (today); *days is added afterwards. False when REF is no day. */
static bool take_day(struct span ref, struct civil *date, int *days)
{
    int i;

    if (ref.len == 0 || span_eq(ref, SPAN_LIT("today")))
        return true;
    if (span_eq(ref, SPAN_LIT("yesterday")) || span_eq(ref, SPAN_LIT("tomorrow"))) {
        *days = ref.ptr[0] == 'y' ? -1 : 1;
        return true;
    }
    if (count_char(ref, '/') == 2)
        return slashed_date(ref, date);
    if (ref.len == 8 && all_digits(ref)) {
        int year;

        small_int(span_cut(ref, 0, 4), &year);
        date->year = year;
        return small_int(span_cut(ref, 4, 6), &date->month) && small_int(span_cut(ref, 6, 8), &date->day);
    }
    i = index_of(ref, months, 12);
    if (i >= 0) {
        date->month = i + 1;
        return month_day(ref, &date->day);
    }
    i = index_of(ref, weekdays, 7);
    if (i < 0)
        return false;
    *days = -((date->weekday - i + 7) % 7);
    return true;
}

static int reference_parse(struct span text, const struct tz *tz, int64_t now_s, int64_t *out_s, struct err *err)
{
    struct span ref = text;
    struct clock clock = {0, 0};
    struct civil date = civil_of(now_s + tz_offset(tz, now_s));
    int days = 0;

    if (ref.len == 0 || span_eq(ref, SPAN_LIT("now"))) {
        *out_s = now_s;
        return 0;
    }
    if (!take_clock(&ref, &clock))
        return err_set(err, ERR_INPUT, "Unknown time of day: %.*s", SPAN_ARG(text));
    take_clock_word(&ref, &clock);
    if (clock.hour > 23 || clock.minute > 59)
        return err_set(err, ERR_INPUT, "Time of day out of range: %.*s", SPAN_ARG(text));
    if (!take_day(ref, &date, &days))
        return err_set(err, ERR_INPUT, "Unknown day reference: %.*s", SPAN_ARG(text));
    if (date.year < 1 || date.year > 9999 || date.month < 1 || date.month > 12 || date.day < 1 ||
        date.day > civil_month_days(date.year, date.month))
        return err_set(err, ERR_INPUT, "Date out of range: %.*s", SPAN_ARG(text));
    date.hour = clock.hour;
    date.minute = clock.minute;
    date.second = 0;
    *out_s = tz_from_local(tz, civil_seconds(&date) + days * 86400);
    return 0;
}

/* Lower case, without blanks, '_' and ','. */
static bool fold(struct span text, char *to, size_t *len)
{
    *len = 0;
    while (text.len > 0 && isspace((unsigned char)text.ptr[0]))
        text = drop(text, 1);
    while (text.len > 0 && isspace((unsigned char)text.ptr[text.len - 1]))
        text.len--;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == ' ' || c == '_' || c == ',')
            continue;
        if (*len == SPEC_MAX)
            return false;
        to[(*len)++] = (char)tolower((unsigned char)c);
    }
    return true;
}

/* Eight digits that look like YYYYMMDD are a date, any other digits are epoch seconds. */
static bool is_epoch(struct span s)
{
    int year, month, day;

    if (!all_digits(s))
        return false;
    if (s.len != 8)
        return true;
    small_int(span_cut(s, 0, 4), &year);
    small_int(span_cut(s, 4, 6), &month);
    small_int(span_cut(s, 6, 8), &day);
    return year <= 1900 || month > 12 || day > 31;
}

int time_spec_parse(struct span text, const struct tz *tz, int64_t now_s, int64_t *out_s, struct err *err)
{
    char folded[SPEC_MAX];
    struct span s = {folded, 0};
    int64_t offset_s = 0;
    size_t cut;
    int rc = 0;

    if (!fold(text, folded, &s.len))
        return err_set(err, ERR_INPUT, "Time longer than %d characters", SPEC_MAX);
    if (is_epoch(s)) {
        if (!number_parse_i64(s, out_s) || *out_s > instant_max)
            return err_set(err, ERR_INPUT, "Time out of range: %.*s", SPAN_ARG(s));
        return 0;
    }
    cut = span_find(s, '+');
    if (cut == s.len)
        cut = span_find(s, '-');
    rc = reference_parse(span_cut(s, 0, cut), tz, now_s, out_s, err);
    if (rc == 0 && cut < s.len)
        rc = time_offset_parse(drop(s, cut), &offset_s, err);
    if (rc == 0) {
        *out_s += offset_s;
        if (*out_s < instant_min || *out_s > instant_max)
            rc = err_set(err, ERR_INPUT, "Time out of range: %.*s", SPAN_ARG(s));
    }
    return rc;
}
