/* liburcu's functions are called, not inlined: their bodies are then not instrumented, and the thread
 * sanitizer sees exactly the edges that are announced here. */
#include "base/grace.h"

#include "base/must.h"

#include <urcu/urcu-qsbr.h>

#if defined(__SANITIZE_THREAD__)
#define GRACE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GRACE_TSAN 1
#endif
#endif

#ifdef GRACE_TSAN
/* All that a reader did before it passed happened before the wait ends. */
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
static char passed;
#define READER_PASSED() __tsan_release(&passed)
#define WAIT_ENDED() __tsan_acquire(&passed)
#else
#define READER_PASSED() ((void)0)
#define WAIT_ENDED() ((void)0)
#endif

void grace_thread_begin(void)
{
    urcu_qsbr_register_thread();
    urcu_qsbr_thread_offline();
}

void grace_thread_end(void)
{
    READER_PASSED();
    urcu_qsbr_unregister_thread();
}

void grace_enter(void)
{
    urcu_qsbr_thread_online();
}

void grace_leave(void)
{
    READER_PASSED();
    urcu_qsbr_thread_offline();
}

void grace_pass(void)
{
    READER_PASSED();
    urcu_qsbr_quiescent_state();
}

void grace_wait(void)
{
    MUST(!urcu_qsbr_read_ongoing()); /* it would wait for itself */
    urcu_qsbr_synchronize_rcu();
    WAIT_ENDED();
}
