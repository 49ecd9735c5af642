/* plan.h - which range of time an expression is needed in.
 *
 * Functions that look back (moving windows), elsewhere (timeShift) or at aligned times (smartSummarize)
 * have a .range in their table entry. It is asked here, and the first argument evaluated again. */
#ifndef PLUMBAGO_QUERY_PLAN_H
#define PLUMBAGO_QUERY_PLAN_H

#include "query/fn.h"

/* Fill call->again: the first argument in the range that the function's .range asks for. */
int plan_again(struct fn_call *call);

/* The start of the minute, hour, day, ... of the request's time zone in which T_S lies. For weeks,
 * WEEKDAY (1 Monday .. 7 Sunday) is the day on which they begin. */
int64_t plan_floor_time(const struct tz *tz, int64_t t_s, int unit, int weekday);

#endif
