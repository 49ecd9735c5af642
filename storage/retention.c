#include "storage/retention.h"

#include "base/must.h"
#include "base/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    STEP_MAX_S = 366 * 86400,
    COUNT_MAX = 1000000000, /* largest number that may stand before a unit */
};

static const int64_t SLOTS_MAX = UINT32_MAX; /* whisper's header has 32 bits for it too */

/* ---- reading ---- */

static struct span stripped(struct span s)
{
    while (s.len > 0 && strchr(" \t\r\n\f\v", s.ptr[0]) != NULL && s.ptr[0] != '\0')
        s = span_cut(s, 1, s.len);
    while (s.len > 0 && strchr(" \t\r\n\f\v", s.ptr[s.len - 1]) != NULL && s.ptr[s.len - 1] != '\0')
        s.len--;
    return s;
}

/* Seconds of a unit: any beginning of one of whisper's words. 0 when there is no such unit. */
static int64_t unit_seconds(struct span unit)
{
    static const struct {
        const char *word;
        int64_t seconds;
    } units[] = {{"seconds", 1},  {"minutes", 60},      {"hours", 3600},
                 {"days", 86400}, {"weeks", 7 * 86400}, {"years", 365 * 86400}};

    for (size_t i = 0; unit.len > 0 && i < sizeof units / sizeof *units; i++) {
        if (span_starts(span_str(units[i].word), unit))
            return units[i].seconds;
    }
    return 0;
}

/* "60" gives 60 and *unit_s 0; "6h" gives 6 and 3600. False for anything else. */
static bool parse_amount(struct span text, int64_t *count, int64_t *unit_s)
{
    size_t digits = 0;

    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
        digits++;
    if (digits == 0 || !number_parse_i64(span_cut(text, 0, digits), count) || *count > COUNT_MAX)
        return false;
    *unit_s = digits == text.len ? 0 : unit_seconds(span_cut(text, digits, text.len));
    return digits == text.len || *unit_s != 0;
}

/* One archive, "10s:6h" or "60:1440". */
static int parse_tier(struct span text, struct retention_tier *out, struct err *err)
{
    struct span def = stripped(text);
    size_t colon = span_find(def, ':');
    struct span first = span_cut(def, 0, colon), second = span_cut(def, colon + 1, def.len);
    int64_t count, unit_s;

    if (colon == def.len)
        return err_set(err, ERR_INPUT, "retention '%.*s': want step:retention, like 10s:6h", SPAN_ARG(def));
    if (!parse_amount(first, &count, &unit_s))
        return err_set(err, ERR_INPUT, "retention '%.*s': '%.*s' is no step", SPAN_ARG(def), SPAN_ARG(first));
    if (unit_s == 0)
        unit_s = 1;
    if (count == 0 || count > STEP_MAX_S / unit_s)
        return err_set(err, ERR_INPUT, "retention '%.*s': the step must be from 1 second to 366 days", SPAN_ARG(def));
    out->step_s = count * unit_s;

    if (!parse_amount(second, &count, &unit_s))
        return err_set(err, ERR_INPUT, "retention '%.*s': '%.*s' is no retention", SPAN_ARG(def), SPAN_ARG(second));
    out->slots = unit_s == 0 ? count : count * unit_s / out->step_s;
    if (out->slots == 0)
        return err_set(err, ERR_INPUT, "retention '%.*s' holds no point", SPAN_ARG(def));
    if (out->slots > SLOTS_MAX)
        return err_set(err, ERR_INPUT, "retention '%.*s' holds more than %" PRId64 " points", SPAN_ARG(def), SLOTS_MAX);
    out->retention_s = out->step_s * out->slots;
    return 0;
}

static int tier_order(const void *a, const void *b)
{
    const struct retention_tier *x = a, *y = b;

    return x->step_s < y->step_s ? -1 : x->step_s > y->step_s;
}

/* Whisper's rules for two neighbours (whisper.py: validateArchiveList). */
static int check_pair(const struct retention_tier *fine, const struct retention_tier *coarse, struct err *err)
{
    if (fine->step_s == coarse->step_s)
        return err_set(err, ERR_INPUT, "two archives have the step %" PRId64 " s", fine->step_s);
    if (coarse->step_s % fine->step_s != 0)
        return err_set(err, ERR_INPUT, "the step %" PRId64 " s does not divide the next step, %" PRId64 " s",
                       fine->step_s, coarse->step_s);
    if (coarse->retention_s <= fine->retention_s)
        return err_set(err, ERR_INPUT,
                       "the archive of step %" PRId64 " s must reach further back than that of step %" PRId64
                       " s: it keeps %" PRId64 " s, that one %" PRId64 " s",
                       coarse->step_s, fine->step_s, coarse->retention_s, fine->retention_s);
    if (fine->retention_s < coarse->step_s)
        return err_set(err, ERR_INPUT,
                       "the archive of step %" PRId64 " s keeps only %" PRId64
                       " s, less than one step of the next, %" PRId64 " s",
                       fine->step_s, fine->retention_s, coarse->step_s);
    return 0;
}

/* ---- windows (rules in the header) ---- */

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Most slots that rules 1 and 2 allow. */
static int64_t window_slots_cap(const struct retention_tier *tier, const struct retention_tier *finer)
{
    int64_t cap = at_most(WINDOW_SLOTS_MAX, tier->slots / 4);

    if (finer != NULL)
        cap = at_most(cap, finer->retention_s / 4 / tier->step_s);
    return at_least(cap, 1);
}

/* The multiple of UNIT from UNIT to CAP that is nearest to WINDOW_SLOTS_WANTED; needs UNIT <= CAP. */
static int64_t nearest_multiple(int64_t unit, int64_t cap)
{
    int64_t below = at_least(WINDOW_SLOTS_WANTED / unit, 1) * unit, above = below + unit;
    int64_t best = above - WINDOW_SLOTS_WANTED < WINDOW_SLOTS_WANTED - below ? above : below;

    return at_most(best, cap / unit * unit);
}

/* The divisor of N up to CAP that is nearest to WINDOW_SLOTS_WANTED. */
static int64_t nearest_divisor(int64_t n, int64_t cap)
{
    int64_t best = 1;

    for (int64_t d = 2; d <= cap; d++) {
        if (n % d == 0 && llabs(d - WINDOW_SLOTS_WANTED) < llabs(best - WINDOW_SLOTS_WANTED))
            best = d;
    }
    return best;
}

static int64_t choose_window_slots(const struct retention_tier *tier, const struct retention_tier *finer,
                                   const struct retention_tier *coarser)
{
    int64_t cap = window_slots_cap(tier, finer);
    int64_t bucket = coarser == NULL ? 1 : coarser->step_s / tier->step_s;

    if (bucket <= cap)
        return nearest_multiple(bucket, cap);
    int64_t plain = at_most(WINDOW_SLOTS_WANTED, cap), divisor = nearest_divisor(bucket, cap);

    return divisor * 4 >= plain ? divisor : plain;
}

static void set_windows(struct retention *r)
{
    for (uint32_t k = 0; k < r->count; k++) {
        struct retention_tier *tier = &r->tiers[k];
        const struct retention_tier *finer = k > 0 ? tier - 1 : NULL;
        int64_t slots = choose_window_slots(tier, finer, k + 1 < r->count ? tier + 1 : NULL);

        tier->window_slots = (uint32_t)slots;
        tier->window_s = slots * tier->step_s;
        MUST(slots >= 1 && slots <= WINDOW_SLOTS_MAX);
        MUST(slots == 1 || tier->window_s <= tier->retention_s / 4);
        MUST(slots == 1 || finer == NULL || tier->window_s <= finer->retention_s / 4);
        MUST(finer == NULL || tier->window_s <= finer->retention_s);
    }
}

/* ---- canonical text ---- */

/* The largest unit that leaves a whole number; weeks are not used: people write 7d and 14d. */
static size_t print_amount(char *to, size_t size, int64_t seconds)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'y', 365 * 86400}, {'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
    size_t i = 0;

    while (seconds % units[i].seconds != 0)
        i++;
    return (size_t)snprintf(to, size, "%" PRId64 "%c", seconds / units[i].seconds, units[i].letter);
}

static void set_text(struct retention *r)
{
    size_t at = 0;

    for (uint32_t k = 0; k < r->count; k++) {
        if (k > 0)
            r->text[at++] = ',';
        at += print_amount(r->text + at, sizeof r->text - at, r->tiers[k].step_s);
        r->text[at++] = ':';
        at += print_amount(r->text + at, sizeof r->text - at, r->tiers[k].retention_s);
        MUST(at < sizeof r->text - 1);
    }
}

int retention_parse(struct span text, struct retention *out, struct err *err)
{
    struct retention r = {.count = 0};
    int rc;

    for (size_t at = 0; at <= text.len;) {
        struct span rest = span_cut(text, at, text.len), def = span_cut(rest, 0, span_find(rest, ','));

        if (r.count == RETENTION_TIERS_MAX)
            return err_set(err, ERR_INPUT, "more than %d archives", RETENTION_TIERS_MAX);
        rc = parse_tier(def, &r.tiers[r.count], err);
        if (rc < 0)
            return rc;
        r.count++;
        at += def.len + 1;
    }
    qsort(r.tiers, r.count, sizeof *r.tiers, tier_order);
    for (uint32_t k = 0; k + 1 < r.count; k++) {
        rc = check_pair(&r.tiers[k], &r.tiers[k + 1], err);
        if (rc < 0)
            return rc;
    }
    set_windows(&r);
    set_text(&r);
    *out = r;
    return 0;
}

const struct retention *policy_default_retention(void)
{
    /* Written out, so that it needs neither initialisation nor a lock; a test compares it with what
     * retention_parse() makes of its text. */
    static const struct retention builtin = {
        .text = "10s:1d,1m:30d,10m:5y",
        .count = 3,
        .tiers =
            {{.step_s = 10, .slots = 8640, .retention_s = 86400, .window_s = 1200, .window_slots = 120},
             {.step_s = 60, .slots = 43200, .retention_s = 30 * 86400, .window_s = 7200, .window_slots = 120},
             {.step_s = 600, .slots = 262800, .retention_s = 5 * 365 * 86400, .window_s = 72000, .window_slots = 120}},
    };

    return &builtin;
}
