/* How long one request takes on a keep-alive connection: N times the same GET, one after the other, and the
 * percentiles of the time from the first byte sent to the last byte received. With several connections each has a
 * thread. Prints one line of JSON. */
#include "bench/http_client.h"

#include "base/clock.h"

#include <inttypes.h>
#include <pthread.h>

static const char *address;
static const char *path;
static size_t requests;

struct caller {
    pthread_t thread;
    int64_t *took_ns;
    size_t body;
};

static void *call(void *arg)
{
    struct caller *me = arg;
    struct http_client c;

    http_dial(&c, address);
    http_get(&c, path); /* the first one warms caches and is not counted */
    for (size_t i = 0; i < requests; i++) {
        int64_t begun = clock_mono_ns();

        if (http_get(&c, path) != 200) {
            fprintf(stderr, "%.*s\n", (int)(c.in.len > 500 ? 500 : c.in.len), c.in.ptr);
            exit(1);
        }
        me->took_ns[i] = clock_mono_ns() - begun;
    }
    me->body = c.in.len - c.body;
    http_close(&c);
    return NULL;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    size_t connections = argc > 4 ? strtoul(argv[4], NULL, 10) : 1;
    struct caller *callers;
    int64_t *took;
    size_t all;

    if (argc < 4 || (requests = strtoul(argv[3], NULL, 10)) == 0 || connections == 0) {
        fprintf(stderr, "usage: http_load HOST:PORT PATH REQUESTS [CONNECTIONS]\n");
        return 2;
    }
    address = argv[1];
    path = argv[2];
    all = requests * connections;
    callers = calloc(connections, sizeof(*callers));
    took = calloc(all, sizeof(*took));
    if (callers == NULL || took == NULL)
        die("memory");
    for (size_t i = 0; i < connections; i++) {
        callers[i].took_ns = took + i * requests;
        if (pthread_create(&callers[i].thread, NULL, call, &callers[i]) != 0)
            die("thread");
    }
    for (size_t i = 0; i < connections; i++)
        pthread_join(callers[i].thread, NULL);
    qsort(took, all, sizeof(*took), by_time);
    printf("{\"requests\":%zu,\"body_bytes\":%zu,\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n",
           all, callers[0].body, (double)took[all / 2] / 1e6, (double)took[all * 9 / 10] / 1e6,
           (double)took[all * 99 / 100] / 1e6, (double)took[all - 1] / 1e6);
    free(callers);
    free(took);
    return 0;
}
