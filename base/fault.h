/* fault.h - a mapped file that cannot be read is an error, not the end of the process.
 *
 * Reading a mapping whose file was cut, or whose block the device cannot give, raises SIGBUS in the
 * thread that reads. Between FAULT_CAUGHT() and fault_leave() such a fault within the named bytes
 * jumps back to FAULT_CAUGHT(), which is true then:
 *
 *     struct fault fault;
 *
 *     if (FAULT_CAUGHT(&fault, map.ptr, map.len))
 *         return err_corrupt(err, path, (size_t)(fault.at - map.ptr), "cannot be read");
 *     rc = decode(map, ...);
 *     fault_leave(&fault);
 *
 * In between nothing may be taken that must be given back (memory, a lock), and no other jump may leave.
 * A fault anywhere else does what it would do without this file: it ends the process. The guard costs
 * 3 ns: a jump buffer without the signal mask, kept per thread. */
#ifndef PLUMBAGO_BASE_FAULT_H
#define PLUMBAGO_BASE_FAULT_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>

struct fault {
    sigjmp_buf env;
    const char *from; /* the bytes that are watched: [from, to) */
    const char *to;
    const char *at;      /* after a fault: where it was */
    struct fault *outer; /* the one that was entered before, and has not been left */
};

/* From now on SIGBUS goes through this file. Any thread, any number of times. */
void fault_init(void);

/* The innermost guard of this thread. */
extern __thread struct fault *fault_innermost;

/* Begin to watch LEN bytes at PTR; false. A part of FAULT_CAUGHT(). */
static inline bool fault_enter(struct fault *f, const void *ptr, size_t len)
{
    f->from = ptr;
    f->to = len == 0 ? f->from : f->from + len;
    f->outer = fault_innermost;
    fault_innermost = f;
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* the handler sees it before the first byte is read */
    return false;
}

/* The thread sanitizer runs handlers with all signals blocked. */
#if defined(__has_feature)
#define FAULT_TSAN __has_feature(thread_sanitizer)
#elif defined(__SANITIZE_THREAD__)
#define FAULT_TSAN 1
#else
#define FAULT_TSAN 0
#endif

#define FAULT_CAUGHT(f, ptr, len) (sigsetjmp((f)->env, FAULT_TSAN) != 0 || fault_enter((f), (ptr), (len)))

/* Nothing is watched any more. Not after a fault was caught: then this has happened already. */
static inline void fault_leave(struct fault *f)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    fault_innermost = f->outer;
}

#endif
