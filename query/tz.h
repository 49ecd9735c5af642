/* tz.h - time zones and civil time, without the process-wide TZ of the C library.
 *
 * Zones come from the system's compiled tz database (TZif files, RFC 8536). A zone is read once and
 * kept for ever (there are some 600), so pointers to zones never end; any thread. */
#ifndef PLUMBAGO_QUERY_TZ_H
#define PLUMBAGO_QUERY_TZ_H

#include "base/span.h"

#include <stdint.h>

struct tz;

/* The zone without offsets; always there. */
const struct tz *tz_utc(void);

/* The zone of this name, in any case ("europe/berlin"); NULL when there is none. */
const struct tz *tz_find(struct span name);

/* Seconds east of UTC at the instant T_S. */
int64_t tz_offset(const struct tz *tz, int64_t t_s);

/* The instant at which the clocks of TZ show LOCAL_S (seconds since 1970-01-01 00:00 of that clock).
 * Of a time that comes twice, and for one that is skipped, the one by standard time, as pytz's
 * localize() decides. */
int64_t tz_from_local(const struct tz *tz, int64_t local_s);

struct civil {
    int64_t year;
    int month; /* 1..12 */
    int day;   /* 1..31 */
    int hour;
    int minute;
    int second;
    int weekday; /* 0: Sunday; only filled by civil_of() */
};

/* Calendar and clock of LOCAL_S, and back. civil_seconds() takes days and hours beyond their range. */
struct civil civil_of(int64_t local_s);
int64_t civil_seconds(const struct civil *c);

/* 28..31 */
int civil_month_days(int64_t year, int month);

#endif
