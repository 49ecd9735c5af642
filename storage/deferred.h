/* deferred.h - memory that was unpublished and may be freed after the next grace period.
 *
 * Whoever replaces a structure that others read without a lock hands the old one in here and goes on;
 * the store's background thread waits for a grace period now and then and frees what had gathered. */
#ifndef PLUMBAGO_STORAGE_DEFERRED_H
#define PLUMBAGO_STORAGE_DEFERRED_H

#include <stdint.h>

/* PTR (from malloc) is no longer reachable for new readers. NULL is fine. Any thread. */
void deferred_free(void *ptr);

/* Bytes that wait to be freed, in all of the process. Any thread. */
uint64_t deferred_bytes(void);

/* Wait for a grace period and free all that was handed in before the call. Not between grace_enter()
 * and grace_leave(). */
void deferred_drain(void);

#endif
