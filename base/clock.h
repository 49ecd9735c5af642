/* clock.h - the time, which tests may replace.
 *
 * Modules ask here and nowhere else, so that a day passes in a millisecond in a test. */
#ifndef PLUMBAGO_BASE_CLOCK_H
#define PLUMBAGO_BASE_CLOCK_H

#include <stdint.h>

/* Wall clock: nanoseconds, or whole seconds, since 1970-01-01 UTC. */
int64_t clock_now_ns(void);
int64_t clock_now_s(void);

/* Monotonic nanoseconds; for measuring durations and deadlines. Never faked. */
int64_t clock_mono_ns(void);

/* From now on the wall clock stands at NOW_NS until it is set again; clock_real() ends that.
 * For tests; any thread. */
void clock_fake_ns(int64_t now_ns);
void clock_real(void);

#endif
