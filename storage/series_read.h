/* series_read.h - the slots of one series in one tier: what is kept there, and what is still to be derived.
 *
 * Kept: the tier's segments and open windows, laid over each other by generation. Derived: a coarse
 * slot is made of the finer tier's slots at the time of reading for as long as those may still change or
 * have not been rolled up (rollup.h):
 *   - slots from the view's rolled_until_s on;
 *   - slots that points of the series in an open window of a finer tier touch.
 * Whatever can be derived there wins over what is kept, as whisper's propagation overwrites. */
#ifndef PLUMBAGO_STORAGE_SERIES_READ_H
#define PLUMBAGO_STORAGE_SERIES_READ_H

#include "storage/policies.h"

/* What one reading works on; on the stack of the caller. */
struct series_reader {
    const struct policy *policy;
    const struct rule *rule;
    uint32_t series;
    /* Called for each chunk that cannot be read; the rest is laid all the same. */
    void (*damaged)(void *ctx, const struct err *err);
    void *ctx;
};

/* Lay the COUNT slots of tier K from START_S (a multiple of its step) over OUT. Between grace_enter()
 * and grace_leave(), or with the maintenance lock held. */
void series_read(const struct series_reader *r, unsigned k, int64_t start_s, size_t count, double *out);

/* The slots that the tier keeps itself only. */
void series_read_kept(const struct series_reader *r, unsigned k, int64_t start_s, size_t count, double *out);

/* Derive the COUNT slots of tier K (at least 1) from START_S and lay those that have a value over OUT. */
void series_derive(const struct series_reader *r, unsigned k, int64_t start_s, size_t count, double *out);

#endif
