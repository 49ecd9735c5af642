/* bench_store.c - what store_point() costs: names that repeat in order, in random order, and new ones.
 *
 *     bench_store [SERIES] [TICKS] [DIR]
 *
 * Prints nanoseconds a point of one thread. The data directory is made below DIR (default /tmp). */
#include "base/clock.h"
#include "base/log.h"
#include "storage/storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct names {
    char (*text)[64];
    uint8_t *len;
    uint32_t count;
};

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void names_make(struct names *n, uint32_t count)
{
    n->count = count;
    n->text = malloc((size_t)count * sizeof n->text[0]);
    n->len = malloc(count);
    for (uint32_t i = 0; i < count; i++)
        n->len[i] = (uint8_t)snprintf(n->text[i], sizeof n->text[i], "servers.web-%05u-eu-west-1a.disk.nvme%un1.m%02u",
                                      i / 100, i / 10 % 10, i % 100);
}

/* One point of every series at T_S; ORDER gives the order, NULL the natural one. */
static void tick(struct store_writer *w, struct store_hint *hint, const struct names *n, const uint32_t *order,
                 int64_t t_s)
{
    for (uint32_t at = 0; at < n->count;) {
        storage_enter();
        store_begin(w, t_s);
        for (uint32_t end = at + 4096 < n->count ? at + 4096 : n->count; at < end; at++) {
            uint32_t i = order == NULL ? at : order[at];
            if (store_point(w, hint, span_of(n->text[i], n->len[i]), t_s, i * 0.25) != STORE_OK)
                abort();
        }
        storage_leave();
    }
}

static void report(const char *what, double began, uint64_t points)
{
    printf("%-28s %8.1f ns a point\n", what, (cpu_s() - began) * 1e9 / (double)points);
}

int main(int argc, char **argv)
{
    uint32_t count = argc > 1 ? (uint32_t)atoi(argv[1]) : 10000;
    int ticks = argc > 2 ? atoi(argv[2]) : 100;
    char dir[256];
    struct err err;
    struct storage *st;
    struct store_writer *w;
    struct store_hint hint = {0};
    struct names names;

    snprintf(dir, sizeof dir, "%s/bench-store-XXXXXX", argc > 3 ? argv[3] : "/tmp");
    if (mkdtemp(dir) == NULL)
        return 1;
    log_setup(2, LOG_FORMAT_TEXT, LOG_LEVEL_WARN, PLUMBAGO_VERSION);
    struct storage_options options = storage_options_default(dir);
    storage_thread_begin();
    if (storage_open(&options, &st, &err) < 0 || store_writer_new(st, &w, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    names_make(&names, count);
    uint32_t *order = malloc(count * sizeof order[0]);
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(random() % (i + 1)), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }

    int64_t t_s = clock_now_s() / 1200 * 1200 - 2400;
    double began = cpu_s();
    tick(w, &hint, &names, NULL, t_s);
    report("new names", began, count);
    began = cpu_s();
    for (int i = 1; i <= ticks; i++)
        tick(w, &hint, &names, NULL, t_s + 10 * i);
    report("in order, new slots", began, (uint64_t)count * (uint64_t)ticks);
    began = cpu_s();
    for (int i = 1; i <= ticks; i++)
        tick(w, &hint, &names, NULL, t_s + 10 * i);
    report("in order, again", began, (uint64_t)count * (uint64_t)ticks);
    began = cpu_s();
    for (int i = 1; i <= ticks; i++)
        tick(w, &hint, &names, i % 2 == 0 ? order : NULL, t_s + 10 * i);
    report("half of it in random order", began, (uint64_t)count * (uint64_t)ticks);

    store_writer_free(w);
    storage_close(st);
    storage_thread_end();
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}
