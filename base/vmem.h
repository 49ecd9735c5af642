/* vmem.h - large, lazily filled anonymous memory that never moves.
 *
 * For arrays that other threads read without a lock while they grow: address space is reserved once,
 * pages are taken by the kernel when they are first touched. */
#ifndef PLUMBAGO_BASE_VMEM_H
#define PLUMBAGO_BASE_VMEM_H

#include <stddef.h>

/* LEN bytes of zeros, not counted as used before they are touched. NULL when the address space is
 * not to be had. To be given back with vmem_release(). */
void *vmem_reserve(size_t len);
void vmem_release(void *at, size_t len); /* NULL is fine */

/* Pages that lie wholly in these bytes are given back to the kernel; they read as zeros again. */
void vmem_forget(void *at, size_t len);

#endif
