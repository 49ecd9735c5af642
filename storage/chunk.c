/* chunk.c - presence, and the choice of the codec.
 *
 *     | codec + presence | presence | payload of the codec |
 *
 * The grid has made the times implicit, so what is left of them is which slots are present: nothing when
 * all are (the usual case), else run lengths or a bitmap, whichever is shorter. The values of the present
 * slots, one after the other, are the codec's business.
 *
 * The codecs are tried from the cheapest test to the dearest, each with the bytes of the best so far as its
 * limit, so that a hopeless one gives up early. */
#include "storage/chunk.h"

#include "base/bits.h"
#include "base/must.h"
#include "storage/codec.h"
#include "storage/format.h"

#include <stdlib.h>

/* In the order in which they are tried. */
static const struct codec *const codecs[] = {&codec_const, &codec_decimal, &codec_gorilla, &codec_raw};

enum {
    CODECS = sizeof(codecs) / sizeof(codecs[0]),
    BITMAP_WORDS = CHUNK_SLOTS_MAX / 64,
};

struct chunk_encoder {
    struct codec_scratch scratch;
    double present[CHUNK_SLOTS_MAX];
    uint8_t payload[CHUNK_SLOTS_MAX * sizeof(double)];
};

int chunk_encoder_new(struct chunk_encoder **out, struct err *err)
{
    *out = calloc(1, sizeof(**out));
    return *out == NULL ? err_set(err, ERR_MEMORY, "chunk encoder: out of memory") : 0;
}

void chunk_encoder_free(struct chunk_encoder *enc)
{
    free(enc);
}

size_t chunk_bound(uint32_t slots)
{
    return 1 + (slots + 7) / 8 + (size_t)slots * sizeof(double);
}

/* ---- presence ---- */

static size_t bitmap_bytes(uint32_t slots)
{
    return (slots + 7) / 8;
}

/* Copy the values that are not NaN to PRESENT and set their bits in BITMAP. Returns how many. */
static uint32_t gather(const double *values, uint32_t slots, double *present, uint64_t *bitmap)
{
    uint32_t n = 0;

    for (uint32_t from = 0; from < slots; from += 64) {
        uint32_t count = slots - from < 64 ? slots - from : 64;
        uint64_t word = 0;

        for (uint32_t i = 0; i < count; i++) {
            uint64_t there = values[from + i] == values[from + i];

            present[n] = values[from + i];
            n += (uint32_t)there;
            word |= there << i;
        }
        bitmap[from / 64] = word;
    }
    return n;
}

/* The end of the run of equal bits that begins at FROM. */
static uint32_t run_end(const uint64_t *bitmap, uint32_t slots, uint32_t from)
{
    uint64_t there = 0 - (bitmap[from / 64] >> from % 64 & 1);
    uint64_t changes = (bitmap[from / 64] ^ there) >> from % 64 << from % 64;
    uint32_t word = from / 64, end;

    while (changes == 0 && (word + 1) * 64 < slots)
        changes = bitmap[++word] ^ there;
    end = changes == 0 ? slots : word * 64 + (uint32_t)__builtin_ctzll(changes);
    return end < slots ? end : slots;
}

/* Write the runs, the first one absent (and perhaps empty), as long as they take less than LIMIT bytes.
 * Returns the place behind them, NULL when they do not. */
static uint8_t *put_runs(const uint64_t *bitmap, uint32_t slots, uint8_t *to, size_t limit)
{
    const uint8_t *start = to;

    if (bitmap[0] & 1)
        *to++ = 0;
    for (uint32_t from = 0, end; from < slots; from = end) {
        end = run_end(bitmap, slots, from);
        if ((size_t)(to - start) + varint_size(end - from) >= limit)
            return NULL;
        to = put_varint(to, end - from);
    }
    return to;
}

/* Write presence to TO and its kind to *KIND. Returns the place behind it. */
static uint8_t *put_presence(const uint64_t *bitmap, uint32_t slots, uint32_t present, uint8_t *to, uint8_t *kind)
{
    uint8_t *end;

    *kind = CHUNK_PRESENCE_ALL;
    if (present == slots)
        return to;
    *kind = CHUNK_PRESENCE_RUNS;
    end = put_runs(bitmap, slots, to, bitmap_bytes(slots));
    if (end != NULL)
        return end;
    *kind = CHUNK_PRESENCE_BITMAP;
    memcpy(to, bitmap, bitmap_bytes(slots));
    return to + bitmap_bytes(slots);
}

/* Presence as it was read: which it is, and where its bytes are. */
struct presence {
    uint8_t kind;
    struct span bytes;
    uint32_t present; /* slots that are */
};

/* Read run lengths that cover SLOTS exactly; only the first may be empty. */
static void read_runs(struct reader *in, uint32_t slots, struct presence *p)
{
    size_t start = in->offset;
    uint32_t covered = 0;

    for (uint32_t run = 0; covered < slots && !in->bad; run++) {
        uint64_t length = read_varint(in);

        if (length > slots - covered || (length == 0 && run != 0))
            in->bad = true;
        else
            covered += (uint32_t)length;
        if (run % 2 == 1 && !in->bad)
            p->present += (uint32_t)length;
    }
    p->bytes = span_cut(in->in, start, in->offset);
}

static void read_bitmap(struct reader *in, uint32_t slots, struct presence *p)
{
    p->bytes = read_bytes(in, bitmap_bytes(slots));
    for (size_t at = 0; at < p->bytes.len; at += 8)
        p->present += (uint32_t)__builtin_popcountll(bits_load((const uint8_t *)p->bytes.ptr, p->bytes.len, at));
    /* The bits behind the last slot are zero. */
    if (!in->bad && slots % 8 != 0 && (uint8_t)p->bytes.ptr[p->bytes.len - 1] >> slots % 8 != 0)
        in->bad = true;
}

static struct presence read_presence(struct reader *in, uint8_t kind, uint32_t slots)
{
    struct presence p = {.kind = kind};

    if (kind == CHUNK_PRESENCE_ALL)
        p.present = slots;
    else if (kind == CHUNK_PRESENCE_RUNS)
        read_runs(in, slots, &p);
    else if (kind == CHUNK_PRESENCE_BITMAP)
        read_bitmap(in, slots, &p);
    if (p.present == 0)
        in->bad = true;
    return p;
}

/* ---- encode ---- */

/* Write the N values to TO with the codec that needs the fewest bytes. */
static size_t encode_payload(struct chunk_encoder *enc, uint32_t n, uint8_t *to, uint8_t *codec)
{
    size_t best = (size_t)n * sizeof(double) + 1;

    for (unsigned i = 0; i < CODECS; i++) {
        size_t len;

        if (!codecs[i]->encode(&enc->scratch, enc->present, n, enc->payload, best - 1, &len))
            continue;
        MUST(len < best);
        best = len;
        *codec = codecs[i]->id;
        memcpy(to, enc->payload, len);
        if (len <= sizeof(double))
            break;
    }
    return best;
}

size_t chunk_encode(struct chunk_encoder *enc, const double *values, uint32_t slots, void *to)
{
    uint64_t bitmap[BITMAP_WORDS];
    uint8_t *head = to;
    uint8_t *at;
    uint32_t n;
    uint8_t kind, codec = 0;

    MUST(slots >= 1 && slots <= CHUNK_SLOTS_MAX);
    n = gather(values, slots, enc->present, bitmap);
    if (n == 0)
        return 0;
    at = put_presence(bitmap, slots, n, head + 1, &kind);
    at += encode_payload(enc, n, at, &codec);
    MUST(codec != 0);
    *head = kind | codec;
    return (size_t)(at - head);
}

/* ---- decode ---- */

static const struct codec *codec_find(uint8_t id)
{
    for (unsigned i = 0; i < CODECS; i++)
        if (codecs[i]->id == id)
            return codecs[i];
    return NULL;
}

/* Copy a run of present values that begins at slot FROM, as far as it lies in [first, first + count). */
static uint32_t scatter_run(const double *values, uint32_t from, uint32_t length, uint32_t first, uint32_t count,
                            double *out)
{
    uint32_t begin = from > first ? from : first;
    uint32_t end = from + length < first + count ? from + length : first + count;

    if (begin >= end)
        return 0;
    memcpy(out + (begin - first), values + (begin - from), (size_t)(end - begin) * sizeof(double));
    return end - begin;
}

static uint32_t scatter_runs(const struct presence *p, const double *values, uint32_t slots, uint32_t first,
                             uint32_t count, double *out)
{
    struct reader in = reader_of(p->bytes);
    uint32_t written = 0;

    for (uint32_t run = 0, slot = 0; slot < slots; run++) {
        uint32_t length = (uint32_t)read_varint(&in);

        if (run % 2 == 1) {
            written += scatter_run(values, slot, length, first, count, out);
            values += length;
        }
        slot += length;
    }
    return written;
}

static uint32_t scatter_bitmap(const struct presence *p, const double *values, uint32_t slots, uint32_t first,
                               uint32_t count, double *out)
{
    const uint8_t *bitmap = (const uint8_t *)p->bytes.ptr;
    uint32_t written = 0;

    for (uint32_t base = 0; base < slots; base += 64) {
        uint64_t word = bits_load(bitmap, p->bytes.len, base / 8);

        for (; word != 0; word &= word - 1) {
            uint32_t slot = base + (uint32_t)__builtin_ctzll(word);

            /* One comparison for both ends: what lies before FIRST wraps around. */
            if (slot - first < count) {
                out[slot - first] = *values;
                written++;
            }
            values++;
        }
    }
    return written;
}

int chunk_decode_range(struct span chunk, uint32_t slots, uint32_t first, uint32_t count, double *out)
{
    double values[CHUNK_SLOTS_MAX];
    struct reader in = reader_of(chunk);
    uint8_t head = read_u8(&in);
    const struct codec *codec = codec_find(head & CHUNK_CODEC_MASK);
    struct presence p;

    MUST(slots >= 1 && slots <= CHUNK_SLOTS_MAX && first <= slots && count <= slots - first);
    p = read_presence(&in, head & CHUNK_PRESENCE_MASK, slots);
    /* All values first, so that OUT is untouched when one of them turns out to be damaged. */
    if (in.bad || codec == NULL || !codec->decode(reader_rest(&in), p.present, values))
        return ERR_CORRUPT;
    if (p.kind == CHUNK_PRESENCE_RUNS)
        return (int)scatter_runs(&p, values, slots, first, count, out);
    if (p.kind == CHUNK_PRESENCE_BITMAP)
        return (int)scatter_bitmap(&p, values, slots, first, count, out);
    return (int)scatter_run(values, 0, slots, first, count, out);
}

int chunk_decode(struct span chunk, uint32_t slots, double *out)
{
    return chunk_decode_range(chunk, slots, 0, slots, out);
}

const char *chunk_codec(struct span chunk)
{
    const struct codec *codec = chunk.len == 0 ? NULL : codec_find((uint8_t)chunk.ptr[0] & CHUNK_CODEC_MASK);

    return codec == NULL ? "unknown" : codec->name;
}
