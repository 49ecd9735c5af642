/* time_spec.h - the time grammar of "from" and "until", as graphite-web reads it (attime.py).
 *
 * "-1h", "now-3d", "noon yesterday", "08:50_20150902", "monday", "6pm", "1420070400", "20150102". */
#ifndef PLUMBAGO_QUERY_TIME_SPEC_H
#define PLUMBAGO_QUERY_TIME_SPEC_H

#include "base/err.h"
#include "base/span.h"
#include "query/tz.h"

/* The instant (epoch seconds) that TEXT means for somebody with the clock of TZ at NOW_S.
 * ERR_INPUT says what is wrong with the text. */
int time_spec_parse(struct span text, const struct tz *tz, int64_t now_s, int64_t *out_s, struct err *err);

/* An offset alone: "1d", "-2h", "+1d6h30min"; without a sign it is positive. Letters are not folded
 * and blanks not removed: this is what functions take as intervals. A month is 30 days, a year 365. */
int time_offset_parse(struct span text, int64_t *out_s, struct err *err);

enum time_unit {
    TIME_SECONDS,
    TIME_MINUTES,
    TIME_HOURS,
    TIME_DAYS,
    TIME_WEEKS,
    TIME_MONTHS,
    TIME_YEARS,
};

/* The unit that TEXT begins with: s, min, h, d, w, mon, y, and anything behind. */
int time_unit_parse(struct span text, enum time_unit *out, struct err *err);

#endif
