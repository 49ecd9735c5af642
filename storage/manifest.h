/* manifest.h - which segments are live: an append-only, checksummed file.
 *
 * Sealing, rolling up and expiry become true with a record here. A segment file that the manifest does not name is
 * deleted at start (its sealing was cut short; the grids are still there), and so is a grid whose
 * generation the manifest has sealed or dropped. Bytes: docs/format.md, "Manifest".
 *
 * One thread at a time (the store's structure lock). */
#ifndef PLUMBAGO_STORAGE_MANIFEST_H
#define PLUMBAGO_STORAGE_MANIFEST_H

#include "base/err.h"
#include "storage/format.h"

#include <stdbool.h>

struct manifest;

/* Open or create DIR/MANIFEST and read it. A torn record at the end is cut off. *out is the caller's:
 * manifest_close(). ERR_CORRUPT when a record before the last is damaged. */
int manifest_open(const char *dir, struct manifest **out, struct err *err);
void manifest_close(struct manifest *m); /* NULL is fine */

/* The live segments, in order of sealing; borrowed until the next change. */
const struct manifest_record *manifest_segments(const struct manifest *m, size_t *count);

/* Up to when TIER of POLICY is rolled, as the last MANIFEST_ROLL says; false when there is none. */
bool manifest_rolled(const struct manifest *m, uint32_t policy, uint8_t tier, struct manifest_record *out);

/* Whether GENERATION was ever sealed or dropped: its grids are obsolete. Only right after opening. */
bool manifest_has_ended(const struct manifest *m, uint64_t generation);

/* The largest generation that any record names; 0 when there is none. */
uint64_t manifest_generation_max(const struct manifest *m);

/* Append a record and wait until it is on the device. The record's crc is filled in here. When this
 * fails, the change has not happened (and may be tried again). */
int manifest_append(struct manifest *m, struct manifest_record record, struct err *err);

/* Write the file anew with the live segments only, if most of it is dead. Once the files of ended
 * generations are gone. */
int manifest_compact(struct manifest *m, struct err *err);

#endif
