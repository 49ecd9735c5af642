#include "base/vmem.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

void *vmem_reserve(size_t len)
{
    void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

void vmem_release(void *at, size_t len)
{
    if (at != NULL)
        munmap(at, len);
}

void vmem_forget(void *at, size_t len)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)at + page - 1) / page * page, end = ((uintptr_t)at + len) / page * page;

    if (begin < end)
        madvise((char *)at + (begin - (uintptr_t)at), end - begin, MADV_DONTNEED);
}
