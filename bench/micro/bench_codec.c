/* bench_codec.c - bytes a point and speed of the chunk codecs, alone and together.
 *
 *     bench_codec [SLOTS [SERIES [POINTS]]]      default: 1440 slots a chunk, 40 series, 8640 points
 *
 * For each shape: bytes a point, encoding and decoding in millions of points a second on one core, of every
 * codec alone (presence not counted) and of the chunk that takes the best of them (all counted). Then the
 * two mixtures. One core; the data of a shape is in the cache when it is read, as it is after a page fault. */
#include "base/clock.h"
#include "storage/chunk.h"
#include "storage/codec.h"
#include "tests/help/shapes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t slots = 1440, series = 40, points = 8640;

struct result {
    double bytes;          /* a point */
    double encode, decode; /* seconds a point */
};

static struct chunk_encoder *encoder;
static struct codec_scratch scratch;
static uint8_t *bytes;
static uint32_t *lengths;

/* Repeat for that long and take the fastest: others use the machine too. */
enum { ROUNDS_NS = 60 * 1000 * 1000 };

static size_t encode_one(const struct codec *codec, const double *values, uint32_t n, uint8_t *to)
{
    size_t len = 0;

    if (codec == NULL)
        return chunk_encode(encoder, values, n, to);
    if (!codec->encode(&scratch, values, n, to, chunk_bound(n) + 1024, &len))
        return 0;
    return len;
}

/* The encoded chunk of that number. */
static uint8_t *chunk_at(size_t number)
{
    return bytes + number * (chunk_bound(slots) + 1024);
}

static void encode_all(const struct codec *codec, const double *values, size_t chunks)
{
    for (size_t c = 0; c < chunks; c++)
        lengths[c] = (uint32_t)encode_one(codec, values + c * slots, slots, chunk_at(c));
}

static void decode_all(const struct codec *codec, const double *values, size_t chunks)
{
    double out[CHUNK_SLOTS_MAX];

    (void)values;
    for (size_t c = 0; c < chunks; c++) {
        struct span chunk = span_of(chunk_at(c), lengths[c]);

        if (lengths[c] == 0)
            continue;
        if (codec == NULL ? chunk_decode(chunk, slots, out) < 0 : !codec->decode(chunk, slots, out))
            abort();
    }
}

/* Seconds of the fastest round. */
static double time_of(void (*work)(const struct codec *codec, const double *values, size_t chunks),
                      const struct codec *codec, const double *values, size_t chunks)
{
    int64_t start = clock_mono_ns(), before = start, best = INT64_MAX, now;

    do {
        work(codec, values, chunks);
        now = clock_mono_ns();
        best = now - before < best ? now - before : best;
        before = now;
    } while (now - start < ROUNDS_NS);
    return (double)best / 1e9;
}

/* All chunks of VALUES, with one codec, or the best for NULL. Chunks that a codec cannot do count 8 bytes a point. */
static struct result measure(const struct codec *codec, const double *values, size_t count)
{
    size_t chunks = count / slots, total = 0, encoded = 0;
    struct result r = {.encode = time_of(encode_all, codec, values, chunks) / (double)(chunks * slots)};

    for (size_t c = 0; c < chunks; c++) {
        total += lengths[c] == 0 ? slots * 8 : lengths[c];
        encoded += lengths[c] != 0;
    }
    r.bytes = (double)total / (double)(chunks * slots);
    r.decode = encoded == 0 ? INFINITY : time_of(decode_all, codec, values, chunks) / (double)(encoded * slots);
    return r;
}

static void print(struct result r)
{
    if (r.decode == INFINITY)
        printf("%24s", "-");
    else
        printf("%8.3f %7.0f %7.0f", r.bytes, 1e-6 / r.encode, 1e-6 / r.decode);
}

static void add(struct result *sum, struct result r, double weight)
{
    sum->bytes += weight * r.bytes;
    sum->encode += weight * r.encode;
    sum->decode += weight * r.decode;
}

static void family(const char *title, const struct shape *shapes, unsigned count)
{
    static const struct codec *const codecs[] = {&codec_gorilla, &codec_decimal};
    struct result mixture = {0};

    printf("\n%-18s%8s%24s%24s%24s   %s\n", title, "entropy", "gorilla", "decimal", "best", "codecs");
    printf("%-18s%8s", "", "B/pt");
    for (int i = 0; i < 3; i++)
        printf("%8s %7s %7s", "B/pt", "enc M/s", "dec M/s");
    printf("\n");
    for (unsigned i = 0; i < count; i++) {
        size_t each = points / slots * slots, n = each * series;
        double *values = malloc(n * sizeof(double));
        bool gaps = false;
        struct result best;

        for (uint32_t k = 0; k < series; k++) {
            struct rng rng = rng_from(k + 1);

            shapes[i].fill(&rng, values + k * each, each);
        }
        for (size_t k = 0; k < n; k++)
            gaps = gaps || values[k] != values[k];
        printf("%-18s%8.3f", shapes[i].name, shapes[i].entropy);
        for (unsigned c = 0; c < 2; c++) {
            if (gaps)
                printf("%24s", "-");
            else
                print(measure(codecs[c], values, n));
        }
        best = measure(NULL, values, n);
        print(best);
        printf("   %s\n", chunk_codec(span_of(bytes, lengths[0])));
        add(&mixture, best, shapes[i].weight);
        free(values);
    }
    printf("%-18s%8s%24s%24s", "mixture", "", "", "");
    print(mixture);
    printf("\n");
}

int main(int argc, char **argv)
{
    size_t chunks;

    if (argc > 1)
        slots = (uint32_t)atoi(argv[1]);
    if (argc > 2)
        series = (uint32_t)atoi(argv[2]);
    if (argc > 3)
        points = (uint32_t)atoi(argv[3]);
    if (slots < 1 || slots > CHUNK_SLOTS_MAX || points < slots || series < 1) {
        fprintf(stderr, "usage: bench_codec [SLOTS [SERIES [POINTS]]]\n");
        return 2;
    }
    chunks = (size_t)points / slots * series;
    bytes = malloc(chunks * (chunk_bound(slots) + 1024));
    lengths = malloc(chunks * sizeof(*lengths));
    if (bytes == NULL || lengths == NULL || chunk_encoder_new(&encoder, NULL) < 0)
        return 1;
    printf("%u slots a chunk, %u series of %u points\n", slots, series, points);
    family("compared", shapes_compared, SHAPES_COMPARED);
    family("collected", shapes_collected, SHAPES_COLLECTED);
    chunk_encoder_free(encoder);
    free(bytes);
    free(lengths);
    return 0;
}
