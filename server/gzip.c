#include "server/gzip.h"

#include <limits.h>
#include <zlib.h>

enum { GZIP_WINDOW = 15 + 16, GZIP_MEMORY = 8, PIECE_MAX = 1 << 30 };

bool gzip_bytes(struct span in, int level, struct buf *out)
{
    z_stream z = {0};
    size_t before = out->len;
    int rc = Z_OK;

    if (deflateInit2(&z, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    while (rc == Z_OK) {
        size_t piece = in.len < PIECE_MAX ? in.len : PIECE_MAX;
        size_t room = deflateBound(&z, piece) + 64;

        if (!buf_reserve(out, room))
            break;
        room = out->cap - out->len < UINT_MAX ? out->cap - out->len : UINT_MAX;
        z.next_in = (unsigned char *)(uintptr_t)in.ptr;
        z.avail_in = (unsigned)piece;
        z.next_out = (unsigned char *)out->ptr + out->len;
        z.avail_out = (unsigned)room;
        rc = deflate(&z, piece == in.len ? Z_FINISH : Z_NO_FLUSH);
        in = span_cut(in, piece - z.avail_in, in.len);
        out->len += room - z.avail_out;
    }
    deflateEnd(&z);
    if (rc != Z_STREAM_END)
        out->len = before;
    return rc == Z_STREAM_END;
}
