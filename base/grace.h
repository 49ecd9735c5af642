/* grace.h - grace periods: when is it certain that no thread still looks at what was taken away?
 *
 * Threads that read shared structures without locks announce quiescent points, at which they hold no
 * pointer into them. Who has unpublished something waits for a grace period (every announced thread
 * has passed such a point, or was idle) before freeing it. This is liburcu's QSBR flavour
 * (https://liburcu.org; Desnoyers et al., "User-Level Implementations of Read-Copy Update", 2012)
 * behind a few names, with what the thread sanitizer must be told. */
#ifndef PLUMBAGO_BASE_GRACE_H
#define PLUMBAGO_BASE_GRACE_H

/* A thread that will read shared structures: once at its start and end. It begins *idle*. */
void grace_thread_begin(void);
void grace_thread_end(void);

/* From here on this thread may hold pointers into shared structures... */
void grace_enter(void);
/* ...and from here on it holds none: it may block for any time (poll, lock, file). */
void grace_leave(void);

/* Between enter and leave: at this instant it holds none. Cheap; call it between batches. */
void grace_pass(void);

/* Wait until every thread has passed or is idle. Not between enter and leave. */
void grace_wait(void);

#endif
