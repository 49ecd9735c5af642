/* The tag index alone: what an insert costs, what a series weighs, how long searches take.
 *
 *     bench_tag_index [SERIES]      default 1,000,000
 *
 * cpu.user;dc=dc1;env=prod;group=g07;host=web-00042;inst=3   100 series a host (20 metrics x 5 instances), host by
 * host. "live" inserts as ingest does, with what was replaced freed after a grace period now and then; "start" as
 * when the store opens. A search is parsed, evaluated and sorted by name each time; p50 and p99 of many. All times
 * are CPU time of the one thread. */
#include "base/grace.h"
#include "storage/tag_index.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PER_HOST = 100, NAME_ROOM = 80, RUNS_NS = 300000000, RUNS_MAX = 2000, BLOCK = 64 };

struct names {
    char *text;
    uint8_t *len;
};

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static bool name_of(void *ctx, uint32_t id, struct span *name)
{
    const struct names *n = ctx;

    *name = span_of(n->text + (size_t)id * NAME_ROOM, n->len[id]);
    return true;
}

static void make_names(struct names *n, uint32_t count)
{
    static const char *const metrics[] = {"cpu.user",   "cpu.system", "cpu.idle",   "cpu.iowait",  "mem.used",
                                          "mem.free",   "mem.cached", "disk.read",  "disk.write",  "disk.used",
                                          "net.rx",     "net.tx",     "net.errors", "load.1",      "load.5",
                                          "http.count", "http.p50",   "http.p99",   "http.errors", "up"};

    n->text = malloc((size_t)count * NAME_ROOM);
    n->len = malloc(count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t host = i / PER_HOST, of_host = i % PER_HOST;
        n->len[i] = (uint8_t)snprintf(n->text + (size_t)i * NAME_ROOM, NAME_ROOM,
                                      "%s;dc=dc%u;env=%s;group=g%02u;host=web-%05u;inst=%u", metrics[of_host % 20],
                                      host % 4 + 1, host % 8 == 7 ? "test" : "prod", host % 50, host, of_host / 20);
    }
}

static struct tag_index *build(struct names *n, uint32_t count, bool live)
{
    struct tag_index *ix;
    int64_t longest_ns = 0;

    if (tag_index_new(&(struct tag_names){n, name_of}, &ix, NULL) < 0)
        abort();
    tag_index_bulk(ix, !live);
    int64_t begun_ns = now_ns(), last_ns = begun_ns;
    for (uint32_t id = 0; id < count; id++) {
        struct span name;
        name_of(n, id, &name);
        if (tag_index_insert(ix, name, id, NULL) < 0)
            abort();
        if (id % BLOCK == BLOCK - 1) {
            int64_t ns = now_ns();
            longest_ns = ns - last_ns > longest_ns ? ns - last_ns : longest_ns;
            if (live && id / BLOCK % 4096 == 4095)
                tag_index_reclaim(ix);
            last_ns = now_ns();
        }
    }
    printf("%-6s %7.0f ns a series, longest %d took %6.1f us, ", live ? "live" : "start",
           (double)(now_ns() - begun_ns) / count, BLOCK, (double)longest_ns / 1e3);
    tag_index_bulk(ix, false);
    tag_index_reclaim(ix);
    printf("%5.2f bytes a series\n", (double)tag_index_bytes(ix) / count);
    return ix;
}

static int by_path(const void *a, const void *b)
{
    return span_cmp(((const struct storage_match *)a)->path, ((const struct storage_match *)b)->path);
}

static int by_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* EXPRS end with NULL. */
static size_t search(const struct tag_index *ix, const char *const *exprs)
{
    struct arena arena;
    struct span texts[8];
    struct tag_expr *parsed;
    struct storage_matches got;
    size_t count = 0;

    arena_init(&arena, 0, NULL);
    for (; exprs[count] != NULL; count++)
        texts[count] = span_str(exprs[count]);
    if (tag_exprs_parse(texts, count, &arena, &parsed, NULL) < 0 ||
        tag_index_find(ix, parsed, count, 0, NULL, &arena, &got, NULL) < 0)
        abort();
    if (got.count > 0)
        qsort(got.items, got.count, sizeof got.items[0], by_path);
    tag_exprs_release(parsed, count);
    arena_release(&arena);
    return got.count;
}

static size_t values(const struct tag_index *ix, const char *const *exprs)
{
    struct arena arena;
    struct span texts[8];
    struct tag_expr *parsed = NULL;
    struct storage_tag_list got;
    struct storage_tag_query q = {.limit = 100};
    size_t count = 0;

    arena_init(&arena, 0, NULL);
    for (; exprs[count + 1] != NULL; count++)
        texts[count] = span_str(exprs[count + 1]);
    if ((count > 0 && tag_exprs_parse(texts, count, &arena, &parsed, NULL) < 0) ||
        tag_index_values(ix, span_str(exprs[0]), parsed, count, NULL, &q, &arena, &got, NULL) < 0)
        abort();
    tag_exprs_release(parsed, count);
    arena_release(&arena);
    return got.count;
}

static void measure(const struct tag_index *ix, const char *const *exprs,
                    size_t (*run)(const struct tag_index *ix, const char *const *exprs))
{
    static int64_t took_ns[RUNS_MAX];
    size_t runs = 0, found = 0;
    int64_t begun_ns = now_ns(), last_ns = begun_ns;

    while (runs < RUNS_MAX && (runs < 5 || last_ns - begun_ns < RUNS_NS)) {
        found = run(ix, exprs);
        int64_t ns = now_ns();
        took_ns[runs++] = ns - last_ns;
        last_ns = ns;
    }
    qsort(took_ns, runs, sizeof took_ns[0], by_ns);
    printf("%9.3f ms p50 %9.3f ms p99 %8zu found   %s", (double)took_ns[runs / 2] / 1e6,
           (double)took_ns[runs * 99 / 100] / 1e6, found, run == values ? "values of " : "");
    for (size_t i = 0; exprs[i] != NULL; i++)
        printf("%s%s", i == 0 ? "" : ", ", exprs[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    static const char *const searches[][6] = {
        {"name=cpu.user", "dc=dc1", "host=~web-00[0-4].*"},
        {"name=cpu.user", "inst=0", "host=~web-00.*"},
        {"name=cpu.user", "dc=dc1", "group=~g0[02]"},
        {"host=web-00042", "name=cpu.user"},
        {"host=web-00042", "name=~cpu.*"},
        {"name=~cpu\\.(user|system)", "group=g07", "inst!=0"},
        {"host=~web-0004.*", "env!=test"},
        {"host=~.*42$", "name=load.1"},
        {"name=up", "rack=", "env=test"},
        {"name=cpu.user"},
        {"env=prod", "name=~cpu.*"},
    };
    static const char *const lists[][6] = {{"host"}, {"host", "group=g07", "host!="}, {"host", "name=cpu.user"}};
    uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    struct names names;

    grace_thread_begin();
    make_names(&names, count);
    printf("%" PRIu32 " series\n", count);
    tag_index_free(build(&names, count, false));
    struct tag_index *ix = build(&names, count, true);
    grace_enter();
    for (size_t i = 0; i < sizeof searches / sizeof searches[0]; i++)
        measure(ix, searches[i], search);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        measure(ix, lists[i], values);
    grace_leave();
    tag_index_free(ix);
    grace_thread_end();
    free(names.text);
    free(names.len);
    return 0;
}
