#include "base/vmem.h"

#include <sys/mman.h>

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
