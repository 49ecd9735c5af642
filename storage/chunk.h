/* chunk.h - one row's points in one segment, as bytes: which slots are present, and their values.
 *
 * Bytes: docs/format.md, "Chunk". A chunk does not say how many slots it spans: its segment does. The
 * encoder takes the codec that gives the fewest bytes (codec.h lists them). Lossless to the bit, but
 * for the payload of a NaN: NaN means "absent". */
#ifndef PLUMBAGO_STORAGE_CHUNK_H
#define PLUMBAGO_STORAGE_CHUNK_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

enum { CHUNK_SLOTS_MAX = 4096 };

/* Scratch space of an encoder (about 300 KiB), and what it learned from the last row; for one thread. */
struct chunk_encoder;

/* *out is the caller's, to be given back with chunk_encoder_free(). ERR_MEMORY. */
int chunk_encoder_new(struct chunk_encoder **out, struct err *err);
void chunk_encoder_free(struct chunk_encoder *enc); /* NULL is fine */

/* The most bytes that a chunk of SLOTS slots can take. */
size_t chunk_bound(uint32_t slots);

/* Encode the SLOTS (1..CHUNK_SLOTS_MAX) values, NaN for absent ones, into TO, which has room for
 * chunk_bound(SLOTS) bytes. Returns the length; 0 when no slot is present (there is no such chunk). */
size_t chunk_encode(struct chunk_encoder *enc, const double *values, uint32_t slots, void *to);

/* Lay the points of CHUNK, which spans SLOTS slots, over OUT: a present slot is written, an absent one
 * leaves OUT as it is; so generations merge by decoding the oldest first. Returns how many were
 * written, or ERR_CORRUPT, and then OUT is unchanged. Takes any bytes: no input crashes it, and its
 * time is bounded by SLOTS. Needs no memory but 100 KiB of stack. Any thread. */
int chunk_decode(struct span chunk, uint32_t slots, double *out);

/* The same for the slots [first, first + count) only; OUT has COUNT places. */
int chunk_decode_range(struct span chunk, uint32_t slots, uint32_t first, uint32_t count, double *out);

/* The name of the codec that CHUNK uses, for statistics and reports; "unknown" for garbage. */
const char *chunk_codec(struct span chunk);

#endif
