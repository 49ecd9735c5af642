#include "query/plan.h"

#include "query/time_spec.h"

int plan_again(struct fn_call *call)
{
    struct context ctx = *call->ctx;
    int rc = call->def->range(call, &ctx);

    if (rc < 0)
        return rc;
    if (ctx.from_s == call->ctx->from_s && ctx.until_s == call->ctx->until_s) {
        call->again = call->args[0].list;
        return 0;
    }
    if (ctx.from_s >= ctx.until_s)
        return fn_fail(call, "nothing is left of the range of time");
    return fn_again(call, &ctx, &call->again);
}

int64_t plan_floor_time(const struct tz *tz, int64_t t_s, int unit, int weekday)
{
    int64_t offset = tz_offset(tz, t_s);
    struct civil c = civil_of(t_s + offset);
    int64_t back_s = 0;

    if (unit > TIME_SECONDS)
        c.second = 0;
    if (unit > TIME_MINUTES)
        c.minute = 0;
    if (unit > TIME_HOURS)
        c.hour = 0;
    if (unit == TIME_WEEKS)
        back_s = (((c.weekday + 6) % 7 + 1 - weekday + 7) % 7) * 86400;
    if (unit > TIME_WEEKS)
        c.day = 1;
    if (unit > TIME_MONTHS)
        c.month = 1;
    return civil_seconds(&c) - back_s - offset;
}
