/* The name tree alone: what an insert costs, what a name weighs, how long finds take.
 *
 *     bench_name_tree [NAMES]      default 1,000,000
 *
 * Two shapes, both with names in the order in which hosts send them, and once in the worst order (the
 * same metric of all hosts, then the next metric):
 *   dc       dc1.servers.web-00042-prod.cpu.inst2.metric_25      1,000 names a host, 25 branches each
 *   servers  servers.web-0123-eu-west-1a.cpu.cpu03.percent_user  100 names a host
 * "mixed up" inserts the hosts in another order, so that nothing is sorted already. All times are CPU time
 * of the one thread, but for the longest pause, which is by the clock on the wall. */
#include "base/grace.h"
#include "storage/name.h"
#include "storage/name_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t cpu_ns(void)
{
    return now_ns(CLOCK_THREAD_CPUTIME_ID);
}

enum { ROUNDS_NS = 200000000 }; /* each pattern is repeated for about that long */

struct shape {
    const char *name;
    uint32_t per_host;
    int (*print)(char *to, uint32_t host, uint32_t metric);
    const char *const *patterns; /* NULL ends */
};

static int print_dc(char *to, uint32_t host, uint32_t metric)
{
    static const char *const groups[] = {"cpu", "disk", "net", "mysql", "jvm"};
    static const char *const starts[] = {"metric", "active", "bytes", "count"};

    return sprintf(to, "dc%u.servers.web-%05u-prod.%s.inst%u.%s_%02u", host % 4 + 1, host, groups[metric / 200],
                   metric / 40 % 5, starts[metric % 40 / 30 * (1 + metric % 3)], metric % 40);
}

static int print_servers(char *to, uint32_t host, uint32_t metric)
{
    static const char *const cpu[] = {"user", "system", "idle", "iowait", "steal", "nice", "softirq"};
    static const char *const disks[] = {"nvme0n1", "nvme1n1", "sda"};
    static const char *const what[] = {"read.bytes", "read.ops", "read.time", "write.bytes", "write.ops", "write.time"};
    int n = sprintf(to, "servers.web-%04u-eu-west-1%c.", host, 'a' + (int)(host % 3));

    if (metric < 56)
        return n + sprintf(to + n, "cpu.cpu%02u.percent_%s", metric / 7, cpu[metric % 7]);
    if (metric < 74)
        return n + sprintf(to + n, "disk.%s.%s", disks[(metric - 56) / 6], what[(metric - 56) % 6]);
    return n + sprintf(to + n, "memory.field_%02u", metric);
}

static const char *const dc_patterns[] = {"dc1.servers.*",
                                          "dc1.servers.*.cpu.*.{a,b}*",
                                          "*.servers.*.mysql.inst2.metric_25",
                                          "*.*.*.{cpu,disk}*.*.*",
                                          "*.servers.*.*.*.metric_07",
                                          "dc2.servers.web-00001-prod.cpu.inst1.metric_07",
                                          "**.inst3.metric_0[0-4]",
                                          NULL};
static const char *const servers_patterns[] = {"servers.*",
                                               "servers.*-00[0-9]7-*.cpu.cpu0*.percent_*",
                                               "servers.*.cpu.cpu03.percent_user",
                                               "servers.web-0000-*.disk.*.read.*",
                                               "servers.web-0007-eu-west-1b.cpu.*",
                                               NULL};

static const struct shape shapes[] = {{"dc", 1000, print_dc, dc_patterns},
                                      {"servers", 100, print_servers, servers_patterns}};

enum order { HOST_BY_HOST, METRIC_BY_METRIC, HOSTS_MIXED_UP };

/* The name with number I of N in ORDER. */
static int print_name(const struct shape *shape, enum order order, uint32_t i, uint32_t n, char *to)
{
    uint32_t hosts = n / shape->per_host;

    if (order == METRIC_BY_METRIC)
        return shape->print(to, i % hosts, i / hosts);
    uint32_t host = i / shape->per_host;
    if (order == HOSTS_MIXED_UP)
        host = (uint32_t)(((uint64_t)host * 7919 + 13) % hosts); /* hosts is no multiple of that prime */
    return shape->print(to, host, i % shape->per_host);
}

struct found {
    double ms;
    size_t hits;
};

static struct found time_find(const struct name_tree *tree, const char *text)
{
    struct storage_matches m = {.count = 0};
    int64_t begin = cpu_ns(), rounds = 0;

    do {
        struct arena arena;
        jmp_buf overflow;
        struct pattern *pattern;

        arena_init(&arena, 0, &overflow);
        grace_enter();
        if (pattern_compile(span_str(text), &arena, &pattern, NULL) < 0 ||
            name_tree_find(tree, pattern, STORAGE_FIND_LEAVES | STORAGE_FIND_BRANCHES, 0, NULL, &arena, &m, NULL) < 0)
            abort();
        grace_leave();
        arena_release(&arena);
        rounds++;
    } while (cpu_ns() - begin < ROUNDS_NS);
    return (struct found){(double)(cpu_ns() - begin) / (double)rounds / 1e6, m.count};
}

static void bench(const struct shape *shape, enum order order, uint32_t n, bool finds)
{
    static const char *const orders[] = {"host by host", "metric by metric", "hosts mixed up"};
    struct name_tree *tree;
    char name[128];
    int64_t printing = cpu_ns(), slowest = 0;

    for (uint32_t i = 0; i < n; i++)
        print_name(shape, order, i, n, name);
    printing = cpu_ns() - printing;

    if (name_tree_new(&tree, NULL) < 0)
        abort();
    int64_t begin = cpu_ns(), before = now_ns(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < n; i++) {
        size_t len = (size_t)print_name(shape, order, i, n, name);
        if (name_tree_insert(tree, span_of(name, len), i, NULL) < 0)
            abort();
        if (i % 1000 == 999) {
            int64_t now = now_ns(CLOCK_MONOTONIC);
            slowest = now - before > slowest ? now - before : slowest;
            before = now;
        }
        if (i % 100000 == 99999) { /* in a server another thread does this */
            name_tree_reclaim(tree);
            before = now_ns(CLOCK_MONOTONIC);
        }
    }
    int64_t took = cpu_ns() - begin;
    name_tree_reclaim(tree);
    printf("%s, %s: %" PRIu64
           " names, %.0f ns/insert (%.0f less for printing), slowest 1,000: %.2f ms, %.1f bytes/name\n",
           shape->name, orders[order], name_tree_series(tree), (double)took / n, (double)printing / n,
           (double)slowest / 1e6, (double)name_tree_bytes(tree) / n);
    for (size_t i = 0; finds && shape->patterns[i] != NULL; i++) {
        struct found f = time_find(tree, shape->patterns[i]);
        printf("    %10.4f ms %8zu hits  %s\n", f.ms, f.hits, shape->patterns[i]);
    }
    name_tree_free(tree);
}

static void bench_canonical(void)
{
    static const char *const raw[] = {"servers.web-0123-eu-west-1a.disk.nvme0n1.write.bytes", "a.b.c",
                                      "servers.web-0123-eu-west-1a..disk.nvme0n1.write.bytes",
                                      "disk.used;datacenter=dc1;rack=a1;server=web01"};

    for (size_t k = 0; k < sizeof raw / sizeof *raw; k++) {
        char scratch[NAME_MAX_BYTES];
        struct span out, in = span_str(raw[k]);
        int64_t begin = cpu_ns();
        for (int i = 0; i < 10000000; i++) {
            __asm__ volatile("" : "+r"(in.ptr));
            if (name_canonical(in, scratch, &out) != NAME_OK)
                abort();
        }
        printf("name_canonical: %.1f ns  %s\n", (double)(cpu_ns() - begin) / 1e7, raw[k]);
    }
}

int main(int argc, char **argv)
{
    uint32_t n = argc > 1 ? (uint32_t)atoi(argv[1]) : 1000000;

    if (n < 10000 || n > 100000000) {
        fprintf(stderr, "usage: %s [NAMES], from 10,000 to 100,000,000\n", argv[0]);
        return 2;
    }
    n -= n % 1000;
    grace_thread_begin();
    bench_canonical();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        bench(&shapes[i], HOST_BY_HOST, n, true);
        bench(&shapes[i], METRIC_BY_METRIC, n, false);
        bench(&shapes[i], HOSTS_MIXED_UP, n, true);
    }
    grace_thread_end();
    return 0;
}
