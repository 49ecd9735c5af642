/* A zone is a list of transitions (from this instant on, that offset), and a rule for the time after
 * the last one: the POSIX TZ text at the end of the file ("CET-1CEST,M3.5.0,M10.5.0/3"). Recent tz
 * packages leave all transitions to that rule which it can tell ("slim" files), so it has to be read.
 *
 * The C library could do all this only for one zone at a time and process-wide (setenv and tzset),
 * which is of no use to a server with threads. */
#include "query/tz.h"

#include "base/file.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { ZONE_FILE_MAX = 1 << 20, ZONE_NAME_MAX = 64, TYPES_MAX = 256, DAY_S = 86400 };

struct kind {
    int32_t offset_s;
    bool dst;
};

/* When in the year the clocks change: "M3.5.0/2", "J60", "59". */
struct change {
    enum { CHANGE_WEEKDAY, CHANGE_JULIAN, CHANGE_DAY } form;
    int month, week, day;
    int time_s;
};

struct rule {
    bool present;
    bool has_dst;
    struct kind standard;
    struct kind dst;
    struct change dst_begin;
    struct change dst_end;
};

struct tz {
    char name[ZONE_NAME_MAX]; /* lower case */
    size_t count;
    int64_t *at;      /* instants, ascending */
    uint8_t *kind_of; /* from at[i] on, kinds[kind_of[i]] */
    struct kind kinds[TYPES_MAX];
    struct kind first; /* before at[0] */
    struct rule rule;  /* after the last */
    struct tz *next;
};

static struct tz utc = {.name = "utc"};
static pthread_mutex_t zones_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tz *zones; /* guarded by zones_lock; the zones themselves never change */

const struct tz *tz_utc(void)
{
    return &utc;
}

/* ---- civil time: the proleptic Gregorian calendar in eras of 400 years ---- */

static int64_t days_of(int64_t year, int month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

int64_t civil_seconds(const struct civil *c)
{
    return days_of(c->year, c->month, c->day) * DAY_S + c->hour * 3600 + c->minute * 60 + c->second;
}

struct civil civil_of(int64_t local_s)
{
    int64_t days = floor_div(local_s, DAY_S);
    int64_t rest = local_s - days * DAY_S;
    int64_t z = days + 719468;
    int64_t era = floor_div(z, 146097);
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    struct civil c = {.day = (int)(doy - (153 * mp + 2) / 5 + 1), .month = (int)(mp < 10 ? mp + 3 : mp - 9)};

    c.year = yoe + era * 400 + (c.month <= 2);
    c.hour = (int)(rest / 3600);
    c.minute = (int)(rest / 60 % 60);
    c.second = (int)(rest % 60);
    c.weekday = (int)(((days + 4) % 7 + 7) % 7);
    return c;
}

int civil_month_days(int64_t year, int month)
{
    int64_t next = month == 12 ? days_of(year + 1, 1, 1) : days_of(year, month + 1, 1);

    return (int)(next - days_of(year, month, 1));
}

/* ---- the POSIX TZ rule ---- */

struct scan {
    const char *at;
    const char *end;
    bool bad;
};

static char scan_peek(const struct scan *s)
{
    return s->at < s->end ? *s->at : 0;
}

static bool scan_take(struct scan *s, char c)
{
    if (scan_peek(s) != c)
        return false;
    s->at++;
    return true;
}

static int scan_int(struct scan *s)
{
    int value = 0;

    if (!isdigit((unsigned char)scan_peek(s)))
        s->bad = true;
    while (isdigit((unsigned char)scan_peek(s)) && value < 100000)
        value = value * 10 + (*s->at++ - '0');
    return value;
}

/* "CET" or "<-03>" */
static void scan_name(struct scan *s)
{
    if (scan_take(s, '<')) {
        while (scan_peek(s) != 0 && scan_peek(s) != '>')
            s->at++;
        s->bad |= !scan_take(s, '>');
    } else {
        const char *from = s->at;

        while (isalpha((unsigned char)scan_peek(s)))
            s->at++;
        s->bad |= s->at == from;
    }
}

/* "[+-]hh[:mm[:ss]]" */
static int scan_time(struct scan *s)
{
    int sign = scan_take(s, '-') ? -1 : 1;
    int value;

    scan_take(s, '+');
    value = scan_int(s) * 3600;
    if (scan_take(s, ':'))
        value += scan_int(s) * 60;
    if (scan_take(s, ':'))
        value += scan_int(s);
    return sign * value;
}

static struct change scan_change(struct scan *s)
{
    struct change c = {.form = CHANGE_DAY, .time_s = 7200};

    s->bad |= !scan_take(s, ',');
    if (scan_take(s, 'M')) {
        c.form = CHANGE_WEEKDAY;
        c.month = scan_int(s);
        s->bad |= !scan_take(s, '.');
        c.week = scan_int(s);
        s->bad |= !scan_take(s, '.');
        c.day = scan_int(s);
        s->bad |= c.month < 1 || c.month > 12 || c.week < 1 || c.week > 5 || c.day > 6;
    } else {
        if (scan_take(s, 'J'))
            c.form = CHANGE_JULIAN;
        c.day = scan_int(s);
        s->bad |= c.day > 366;
    }
    if (scan_take(s, '/'))
        c.time_s = scan_time(s);
    return c;
}

static struct rule rule_parse(struct span text)
{
    struct scan s = {text.ptr, text.ptr + text.len, false};
    struct rule rule = {.present = true};

    scan_name(&s);
    rule.standard = (struct kind){-scan_time(&s), false};
    if (scan_peek(&s) != 0) {
        rule.has_dst = true;
        scan_name(&s);
        rule.dst = (struct kind){rule.standard.offset_s + 3600, true};
        if (scan_peek(&s) != ',')
            rule.dst.offset_s = -scan_time(&s);
        rule.dst_begin = scan_change(&s);
        rule.dst_end = scan_change(&s);
    }
    if (s.bad)
        rule = (struct rule){0};
    return rule;
}

/* Seconds on the clock (before the change) of CHANGE in YEAR. */
static int64_t change_local(const struct change *c, int64_t year)
{
    bool leap = civil_month_days(year, 2) == 29;
    int64_t day;

    if (c->form == CHANGE_JULIAN) {
        day = days_of(year, 1, 1) + c->day - 1 + (leap && c->day >= 60);
    } else if (c->form == CHANGE_DAY) {
        day = days_of(year, 1, 1) + c->day;
    } else {
        int64_t first = days_of(year, c->month, 1);
        int weekday = (int)(((first + 4) % 7 + 7) % 7);
        int d = (c->day - weekday + 7) % 7 + (c->week - 1) * 7;

        while (d >= civil_month_days(year, c->month))
            d -= 7;
        day = first + d;
    }
    return day * DAY_S + c->time_s;
}

static struct kind rule_kind(const struct rule *rule, int64_t t_s)
{
    int64_t year = civil_of(t_s + rule->standard.offset_s).year;
    int64_t begin, end;
    bool dst;

    if (!rule->has_dst)
        return rule->standard;
    begin = change_local(&rule->dst_begin, year) - rule->standard.offset_s;
    end = change_local(&rule->dst_end, year) - rule->dst.offset_s;
    dst = begin < end ? t_s >= begin && t_s < end : t_s >= begin || t_s < end;
    return dst ? rule->dst : rule->standard;
}

/* ---- TZif files ---- */

struct tzif {
    const unsigned char *at;
    size_t left;
    bool bad;
};

static const unsigned char *tzif_take(struct tzif *in, size_t n)
{
    const unsigned char *at = in->at;

    if (in->bad || in->left < n) {
        in->bad = true;
        return NULL;
    }
    in->at += n;
    in->left -= n;
    return at;
}

static int64_t big_endian(const unsigned char *at, int bytes)
{
    uint64_t v = (at[0] & 0x80) != 0 ? ~UINT64_C(0) : 0;

    for (int i = 0; i < bytes; i++)
        v = v << 8 | at[i];
    return (int64_t)v;
}

struct tzif_counts {
    size_t utc, std, leap, times, types, chars;
    char version;
};

static struct tzif_counts tzif_header(struct tzif *in)
{
    const unsigned char *at = tzif_take(in, 44);
    struct tzif_counts n = {0};

    if (at == NULL || memcmp(at, "TZif", 4) != 0) {
        in->bad = true;
        return n;
    }
    n.version = (char)at[4];
    n.utc = (size_t)big_endian(at + 20, 4);
    n.std = (size_t)big_endian(at + 24, 4);
    n.leap = (size_t)big_endian(at + 28, 4);
    n.times = (size_t)big_endian(at + 32, 4);
    n.types = (size_t)big_endian(at + 36, 4);
    n.chars = (size_t)big_endian(at + 40, 4);
    if (n.utc > TYPES_MAX || n.std > TYPES_MAX || n.leap > 1000 || n.times > 100000 || n.types > TYPES_MAX ||
        n.types == 0 || n.chars > 1000)
        in->bad = true;
    return n;
}

static void tzif_kinds(struct tz *tz, const unsigned char *at, size_t types)
{
    bool found = false;

    for (size_t i = 0; i < types; i++) {
        tz->kinds[i] = (struct kind){(int32_t)big_endian(at + i * 6, 4), at[i * 6 + 4] != 0};
        if (!found && !tz->kinds[i].dst) {
            tz->first = tz->kinds[i];
            found = true;
        }
    }
    if (!found)
        tz->first = tz->kinds[0];
}

/* The second, 64-bit part of the file holds all that is wanted. */
static bool tzif_read(struct tz *tz, const char *bytes, size_t len)
{
    struct tzif in = {(const unsigned char *)bytes, len, false};
    struct tzif_counts n = tzif_header(&in);
    const unsigned char *times, *kinds, *types;

    if (in.bad || n.version < '2')
        return false;
    tzif_take(&in, n.times * 5 + n.types * 6 + n.chars + n.leap * 8 + n.std + n.utc);
    n = tzif_header(&in);
    if (in.bad)
        return false;
    times = tzif_take(&in, n.times * 8);
    kinds = tzif_take(&in, n.times);
    types = tzif_take(&in, n.types * 6);
    tzif_take(&in, n.chars + n.leap * 12 + n.std + n.utc);
    if (in.bad)
        return false;
    tzif_kinds(tz, types, n.types);
    tz->at = malloc(n.times * sizeof(*tz->at) + 1);
    tz->kind_of = malloc(n.times + 1);
    if (tz->at == NULL || tz->kind_of == NULL)
        return false;
    for (size_t i = 0; i < n.times; i++) {
        tz->at[i] = big_endian(times + i * 8, 8);
        tz->kind_of[i] = kinds[i] < n.types ? kinds[i] : 0;
    }
    tz->count = n.times;
    if (in.left > 2 && in.at[0] == '\n' && memchr(in.at + 1, '\n', in.left - 1) != NULL) {
        const char *text = (const char *)in.at + 1;

        tz->rule = rule_parse(span_of(text, span_find(span_of(text, in.left - 1), '\n')));
    }
    return true;
}

/* ---- names ---- */

struct match {
    const char *wanted;
    char *found;
    size_t size;
};

static int match_entry(void *ctx, const char *name)
{
    struct match *m = ctx;

    if (strcasecmp(name, m->wanted) != 0)
        return 0;
    snprintf(m->found, m->size, "%s", name);
    return 1;
}

/* The file of NAME (lower case), found part by part, as letters may be of any case. */
static bool zone_path(const char *name, char *path, size_t size)
{
    char copy[ZONE_NAME_MAX];
    char *rest = copy;
    size_t len = (size_t)snprintf(path, size, "%s", "/usr/share/zoneinfo");

    snprintf(copy, sizeof(copy), "%s", name);
    while (rest != NULL) {
        char *part = strsep(&rest, "/");
        char entry[ZONE_NAME_MAX];
        struct match m = {part, entry, sizeof(entry)};

        if (*part == 0 || file_list(path, match_entry, &m, NULL) != 1)
            return false;
        len += (size_t)snprintf(path + len, size - len, "/%s", entry);
        if (len >= size)
            return false;
    }
    return true;
}

static struct tz *zone_read(const char *name)
{
    char path[512];
    char *bytes = NULL;
    size_t len = 0;
    struct tz *tz = NULL;

    /* These two folders repeat the others with another idea of leap seconds. */
    if (strncmp(name, "right/", 6) == 0 || strncmp(name, "posix/", 6) == 0 || !zone_path(name, path, sizeof(path)) ||
        file_slurp(path, ZONE_FILE_MAX, &bytes, &len, NULL) < 0)
        return NULL;
    tz = calloc(1, sizeof(*tz));
    if (tz != NULL && tzif_read(tz, bytes, len)) {
        snprintf(tz->name, sizeof(tz->name), "%s", name);
    } else if (tz != NULL) {
        free(tz->at);
        free(tz->kind_of);
        free(tz);
        tz = NULL;
    }
    free(bytes);
    return tz;
}

static bool name_is_sane(struct span name)
{
    if (name.len == 0 || name.len >= ZONE_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!isalnum((unsigned char)c) && c != '/' && c != '_' && c != '-' && c != '+')
            return false;
    }
    return true;
}

const struct tz *tz_find(struct span name)
{
    char lower[ZONE_NAME_MAX];
    struct tz *tz;

    if (!name_is_sane(name))
        return NULL;
    for (size_t i = 0; i < name.len; i++)
        lower[i] = (char)tolower((unsigned char)name.ptr[i]);
    lower[name.len] = 0;
    if (strcmp(lower, "utc") == 0)
        return &utc;
    pthread_mutex_lock(&zones_lock);
    for (tz = zones; tz != NULL && strcmp(tz->name, lower) != 0; tz = tz->next)
        ;
    if (tz == NULL && (tz = zone_read(lower)) != NULL) {
        tz->next = zones;
        zones = tz;
    }
    pthread_mutex_unlock(&zones_lock);
    return tz;
}

/* ---- instants ---- */

static struct kind kind_at(const struct tz *tz, int64_t t_s)
{
    size_t low = 0;
    size_t high = tz->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (tz->at[middle] <= t_s)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == tz->count && tz->rule.present)
        return rule_kind(&tz->rule, t_s);
    return low == 0 ? tz->first : tz->kinds[tz->kind_of[low - 1]];
}

int64_t tz_offset(const struct tz *tz, int64_t t_s)
{
    return kind_at(tz, t_s).offset_s;
}

int64_t tz_from_local(const struct tz *tz, int64_t local_s)
{
    struct kind before = kind_at(tz, local_s - DAY_S);
    struct kind after = kind_at(tz, local_s + DAY_S);
    int64_t early = local_s - before.offset_s;
    int64_t late = local_s - after.offset_s;
    bool early_fits = kind_at(tz, early).offset_s == before.offset_s;
    bool late_fits = kind_at(tz, late).offset_s == after.offset_s;

    if (early_fits && late_fits && early != late) {
        if (before.dst != after.dst)
            return before.dst ? late : early;
        return early > late ? early : late;
    }
    /* A skipped time is read by the offset that held before the gap. */
    return late_fits && !early_fits ? late : early;
}
