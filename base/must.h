/* must.h - asserts: what we know to be true, stated; never anything that came from a socket or a disk.
 *
 * MUST     cannot happen; cheap; stays in release builds.
 * MUST_DEAR too dear to check always: only with DEBUG=1.
 * A failed assert prints the condition and its place and aborts. No side effects inside. */
#ifndef PLUMBAGO_BASE_MUST_H
#define PLUMBAGO_BASE_MUST_H

_Noreturn void must_fail(const char *condition, const char *file, int line);

#define MUST(cond) ((cond) ? (void)0 : must_fail(#cond, __FILE__, __LINE__))

#ifdef PLUMBAGO_DEBUG
#define MUST_DEAR(cond) MUST(cond)
#else
#define MUST_DEAR(cond) ((void)sizeof(!(cond)))
#endif

/* Objects that pass through a void * carry a magic number as their first field, checked on arrival. */
#define MUST_BE(object, magic_number) MUST((object) != NULL && (object)->magic == (magic_number))

#endif
