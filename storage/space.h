/* space.h - whether there is room on the disk for another grid.
 *
 * A full disk is a state, not an event: when a reservation has failed, the next ones are refused at
 * once for a short while, so that a million points a second do not become a million failing system
 * calls; then it is tried again. */
#ifndef PLUMBAGO_STORAGE_SPACE_H
#define PLUMBAGO_STORAGE_SPACE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct space {
    const char *dir;   /* any path on the file system; borrowed */
    uint64_t free_min; /* bytes that must stay free */
    int64_t retry_ns;  /* atomic: monotonic; no attempt before this */
    bool full;         /* atomic: the last attempt was refused */
    uint64_t refusals; /* atomic: times that the disk went from free to full */
};

/* Ask whether BYTES may be reserved. ERR_FULL when not. Any thread. */
int space_ask(struct space *s, uint64_t bytes, struct err *err);

/* Tell how the reservation went: RC of it. */
void space_tell(struct space *s, int rc);

/* Whether points are being refused for lack of space. */
bool space_is_full(const struct space *s);

#endif
