/* manifest.h - which segments are live: an append-only, checksummed file.
 *
 * Sealing, rolling up and expiry become true with a record here. A segment file that the manifest does not name is
 * deleted at start (its sealing was cut short; the grids are still there), and so is a grid whose
 * number the manifest has sealed or dropped. Bytes: docs/format.md, "Manifest".
 *
 * One thread at a time (the store's structure lock). */
#ifndef PLUMBAGO_STORAGE_MANIFEST_H
#define PLUMBAGO_STORAGE_MANIFEST_H

#include "base/err.h"
#include "storage/format.h"

#include <stdbool.h>

struct manifest;

/* Open or create DIR/MANIFEST and read it. A torn change at the end is cut off. *out is the caller's:
 * manifest_close(). ERR_CORRUPT when the header is damaged. */
int manifest_open(const char *dir, struct manifest **out, struct err *err);
void manifest_close(struct manifest *m); /* NULL is fine */

/* The live segments, in order of sealing; borrowed until the next change. */
const struct manifest_record *manifest_segments(const struct manifest *m, size_t *count);

/* Up to when TIER of POLICY is rolled, as the last MANIFEST_ROLL says; false when there is none. */
bool manifest_rolled(const struct manifest *m, uint32_t policy, uint8_t tier, struct manifest_record *out);

/* Whether NUMBER was ever sealed or dropped: its grids are obsolete. Only right after opening. */
bool manifest_has_ended(const struct manifest *m, uint64_t number);

/* Whether records were found damaged (then a file that none names may be live all the same). Ends with
 * manifest_compact(). */
bool manifest_is_damaged(const struct manifest *m);

/* The largest number that any record names; 0 when there is none. */
uint64_t manifest_number_max(const struct manifest *m);

enum { MANIFEST_CHANGE_MAX = 256 }; /* records of one change */

/* Append the COUNT records of one change and wait until they are on the device; .crc and .follow are
 * filled in here. All of them count, or none. When this fails, the change has not happened (and may be
 * tried again). */
int manifest_append(struct manifest *m, struct manifest_record *records, size_t count, struct err *err);

/* Write the file anew with the live segments only, if most of it is dead or some of it is damaged. Once the files of
 * ended numbers are gone. */
int manifest_compact(struct manifest *m, struct err *err);

#endif
