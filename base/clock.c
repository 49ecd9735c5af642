#include "base/clock.h"

#include <stdbool.h>
#include <time.h>

/* A fake time of 0 is a time too, so a flag of its own says whether the clock is faked. */
static int64_t fake_ns;
static bool faked;

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t clock_now_ns(void)
{
    if (__builtin_expect(__atomic_load_n(&faked, __ATOMIC_ACQUIRE), false))
        return __atomic_load_n(&fake_ns, __ATOMIC_RELAXED);
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_now_s(void)
{
    int64_t ns = clock_now_ns();
    int64_t s = ns / 1000000000;

    return s - (ns % 1000000000 < 0); /* floor, also before 1970 */
}

int64_t clock_mono_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

void clock_fake_ns(int64_t now_ns)
{
    __atomic_store_n(&fake_ns, now_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&faked, true, __ATOMIC_RELEASE);
}

void clock_real(void)
{
    __atomic_store_n(&faked, false, __ATOMIC_RELEASE);
}
