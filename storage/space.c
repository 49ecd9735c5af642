#include "storage/space.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

enum { SPACE_RETRY_NS = 100 * 1000 * 1000 };

int space_ask(struct space *s, uint64_t bytes, struct err *err)
{
    uint64_t free_bytes;

    if (__atomic_load_n(&s->full, __ATOMIC_RELAXED) &&
        clock_mono_ns() < __atomic_load_n(&s->retry_ns, __ATOMIC_RELAXED))
        return err_set(err, ERR_FULL, "%s: the disk is full", s->dir);
    int rc = file_disk_free(s->dir, &free_bytes, err);
    if (rc == 0 && free_bytes < bytes + s->free_min)
        rc = err_set(err, ERR_FULL, "%s: %llu bytes free, %llu needed and %llu to be kept free", s->dir,
                     (unsigned long long)free_bytes, (unsigned long long)bytes, (unsigned long long)s->free_min);
    if (rc < 0)
        space_tell(s, rc);
    return rc;
}

void space_tell(struct space *s, int rc)
{
    bool full = rc == ERR_FULL;

    __atomic_store_n(&s->retry_ns, clock_mono_ns() + SPACE_RETRY_NS, __ATOMIC_RELAXED);
    if (rc != 0 && !full)
        return;
    bool was = __atomic_exchange_n(&s->full, full, __ATOMIC_RELAXED);
    if (full && !was) {
        __atomic_fetch_add(&s->refusals, 1, __ATOMIC_RELAXED);
        log_error("storage", "the disk is full: new windows are refused until there is room", LOG_STR("dir", s->dir),
                  LOG_INT("free_bytes_kept", s->free_min));
    }
    if (!full && was)
        log_info("storage", "there is room on the disk again", LOG_STR("dir", s->dir));
}

bool space_is_full(const struct space *s)
{
    return __atomic_load_n(&s->full, __ATOMIC_RELAXED);
}
