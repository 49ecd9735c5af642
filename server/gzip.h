/* gzip.h - a whole body compressed at once (RFC 1952), by zlib. */
#ifndef PLUMBAGO_SERVER_GZIP_H
#define PLUMBAGO_SERVER_GZIP_H

#include "base/buf.h"

/* Compress IN, appending to OUT. LEVEL 1 (fast) to 9. False when memory is short or OUT's limit is passed; OUT is then
 * as before. */
bool gzip_bytes(struct span in, int level, struct buf *out);

#endif
