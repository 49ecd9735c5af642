/* A load generator for carbon's plaintext protocol.
 *
 * It makes names and values like those of a monitored fleet, renders all lines to memory first, and then only
 * sends: what is measured is the server. Names are servers.ROLE-NNNN[-ZONE].METRIC, 50 metrics a server, so
 * that neighbours share long prefixes; with --tagged METRIC;host=...;role=...;zone=...; values have the shapes of
 * tests/help/shapes.h, "mixed" is 35 % gauges with 2 decimals, 25 % integer counters, 25 % constant or rarely changing
 * integers, 15 % noisy values with 13 decimals. Each connection sends the points of its own part of the series.
 *
 * When the server's process id and HTTP address are given, it waits until the server has counted everything and
 * reports its CPU seconds from the first byte until a second later (so that flushing is in), its peak memory,
 * and how many points are missing. --sink measures the generator alone, into a reader that only counts lines. */
#include "bench/http_client.h"

#include "base/clock.h"
#include "base/must.h"
#include "tests/help/shapes.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { CONNECTIONS_MAX = 256, NAME_MAX_LEN = 128, SLICE = 256 << 10, DATAGRAM = 1400, METRICS = 50 };

enum order { ORDER_TIME, ORDER_SERIES, ORDER_RANDOM };

static struct {
    const char *target; /* HOST:PORT */
    bool udp;
    bool sink;
    bool long_names;
    bool tagged;
    bool wait;     /* for a byte on standard input, when all is rendered */
    bool victoria; /* the server is victoria-metrics: its counter has another name */
    uint64_t series;
    uint64_t first_series;
    uint64_t points;
    int64_t start_s; /* 0: so that the last tick is now */
    int64_t step_s;
    uint64_t rate; /* points a second of all connections; 0: as fast as they are taken */
    unsigned connections;
    enum order order;
    const char *shape;
    const char *prefix;
    uint64_t seed;
    int pid;
    const char *http;
    const char *print_name; /* number of a series */
} opt = {
    .series = 10000, .points = 100, .step_s = 10, .connections = 4, .shape = "mixed", .prefix = "servers", .seed = 1};

/* ---- names and values ---- */

static const char *const roles[] = {"web", "db", "app", "cache", "queue", "proxy"};
static const char *const zones[] = {"eu-west-1a", "eu-west-1b", "us-east-2c"};
static const char *const metrics[METRICS] = {
    "cpu.cpu00.percent_user",
    "cpu.cpu00.percent_system",
    "cpu.cpu00.percent_iowait",
    "cpu.cpu00.percent_idle",
    "cpu.cpu01.percent_user",
    "cpu.cpu01.percent_system",
    "cpu.cpu01.percent_iowait",
    "cpu.cpu01.percent_idle",
    "cpu.cpu02.percent_user",
    "cpu.cpu02.percent_system",
    "cpu.cpu02.percent_iowait",
    "cpu.cpu02.percent_idle",
    "cpu.cpu03.percent_user",
    "cpu.cpu03.percent_system",
    "cpu.cpu03.percent_iowait",
    "cpu.cpu03.percent_idle",
    "disk.nvme0n1.read.bytes",
    "disk.nvme0n1.read.ops",
    "disk.nvme0n1.read.time",
    "disk.nvme0n1.write.bytes",
    "disk.nvme0n1.write.ops",
    "disk.nvme0n1.write.time",
    "disk.sda.read.bytes",
    "disk.sda.read.ops",
    "disk.sda.write.bytes",
    "disk.sda.write.ops",
    "net.eth0.rx.bytes",
    "net.eth0.rx.packets",
    "net.eth0.rx.errors",
    "net.eth0.rx.dropped",
    "net.eth0.tx.bytes",
    "net.eth0.tx.packets",
    "net.eth0.tx.errors",
    "net.eth0.tx.dropped",
    "memory.used",
    "memory.free",
    "memory.cached",
    "memory.buffered",
    "swap.used",
    "swap.in",
    "load.shortterm",
    "load.midterm",
    "load.longterm",
    "df.root.used",
    "df.root.free",
    "df.var.used",
    "df.var.free",
    "processes.running",
    "processes.blocked",
    "uptime",
};

static int write_name(char *to, uint64_t i)
{
    uint64_t host = i / METRICS;

    if (opt.tagged)
        return sprintf(to, "%s;host=%s-%04" PRIu64 ";role=%s;zone=%s", metrics[i % METRICS], roles[host % 6], host / 6,
                       roles[host % 6], zones[host / 6 % 3]);
    if (opt.long_names)
        return sprintf(to, "%s.%s-%04" PRIu64 "-%s.%s", opt.prefix, roles[host % 6], host / 6, zones[host % 3],
                       metrics[i % METRICS]);
    return sprintf(to, "%s.%s-%04" PRIu64 ".%s", opt.prefix, roles[host % 6], host / 6, metrics[i % METRICS]);
}

/* Fill the values of one series and return with how many decimals they are written. */
static int fill_values(uint64_t i, double *v)
{
    struct rng rng = rng_from(opt.seed * 1000003 + i);
    double roll = rng_unit(&rng);

    for (size_t s = 0; s < SHAPES_COMPARED; s++) {
        const struct shape *shape = &shapes_compared[s];
        bool mixed = strcmp(opt.shape, "mixed") == 0;

        if (mixed ? roll < shape->weight : strcmp(opt.shape, shape->name) == 0) {
            shape->fill(&rng, v, opt.points);
            return strcmp(shape->name, "gauge") == 0      ? 2
                   : strcmp(shape->name, "noisy") == 0    ? 13
                   : strcmp(shape->name, "random53") == 0 ? 14
                                                          : 0;
        }
        roll -= mixed ? shape->weight : 0;
    }
    fprintf(stderr, "unknown shape %s\n", opt.shape);
    exit(1);
}

/* ---- one connection's text ---- */

struct sender {
    unsigned index;
    uint64_t from, to; /* its series */
    char *names;       /* NAME_MAX_LEN bytes each */
    uint8_t *name_len;
    uint8_t *decimals;
    double *values; /* a row of points for each series */
    struct buf text;
    uint64_t lines;
    pthread_t thread;
};

static size_t write_u64(char *to, uint64_t n)
{
    char reversed[20];
    size_t len = 0;

    do
        reversed[len++] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    for (size_t i = 0; i < len; i++)
        to[i] = reversed[len - 1 - i];
    return len;
}

static size_t write_value(char *to, double v, int decimals)
{
    uint64_t hundredths;
    size_t len;

    if (decimals == 0)
        return write_u64(to, (uint64_t)v);
    if (decimals != 2)
        return (size_t)sprintf(to, "%.*f", decimals, v);
    hundredths = (uint64_t)(v * 100 + 0.5);
    len = write_u64(to, hundredths / 100);
    to[len++] = '.';
    to[len++] = (char)('0' + hundredths / 10 % 10);
    to[len++] = (char)('0' + hundredths % 10);
    return len;
}

static void add_line(struct sender *s, uint64_t series, uint64_t tick)
{
    char line[NAME_MAX_LEN + 64];
    size_t len = s->name_len[series];

    memcpy(line, s->names + series * NAME_MAX_LEN, len);
    line[len++] = ' ';
    len += write_value(line + len, s->values[series * opt.points + tick], s->decimals[series]);
    line[len++] = ' ';
    len += write_u64(line + len, (uint64_t)(opt.start_s + (int64_t)tick * opt.step_s));
    line[len++] = '\n';
    buf_add(&s->text, line, len);
    s->lines++;
}

static void add_tick(struct sender *s, uint64_t tick, uint32_t *places, struct rng *rng)
{
    uint64_t count = s->to - s->from;

    for (uint64_t i = 0; i < count; i++) {
        if (opt.order == ORDER_RANDOM) { /* Fisher and Yates, one step a line */
            uint64_t other = i + rng_below(rng, count - i);
            uint32_t swap = places[i];

            places[i] = places[other];
            places[other] = swap;
        }
        add_line(s, places[i], tick);
    }
}

static void *render(void *arg)
{
    struct sender *s = arg;
    uint64_t count = s->to - s->from;
    struct rng rng = rng_from(opt.seed + s->index);
    uint32_t *places = malloc(count * sizeof(*places));

    s->names = malloc(count * NAME_MAX_LEN);
    s->name_len = malloc(count);
    s->decimals = malloc(count);
    s->values = malloc(count * opt.points * sizeof(double));
    if (places == NULL || s->names == NULL || s->name_len == NULL || s->decimals == NULL || s->values == NULL)
        die("memory");
    for (uint64_t i = 0; i < count; i++) {
        places[i] = (uint32_t)i;
        s->name_len[i] = (uint8_t)write_name(s->names + i * NAME_MAX_LEN, s->from + i);
        s->decimals[i] = (uint8_t)fill_values(s->from + i, s->values + i * opt.points);
    }
    buf_reserve(&s->text, count * opt.points * 72);
    if (opt.order == ORDER_SERIES) {
        for (uint64_t i = 0; i < count; i++) {
            for (uint64_t t = 0; t < opt.points; t++)
                add_line(s, i, t);
        }
    } else {
        for (uint64_t t = 0; t < opt.points; t++)
            add_tick(s, t, places, &rng);
    }
    if (s->text.failed)
        die("memory for the text");
    free(places);
    free(s->names);
    free(s->name_len);
    free(s->decimals);
    free(s->values);
    return NULL;
}

/* ---- sending ---- */

static void sleep_until(int64_t mono_ns)
{
    struct timespec at = {.tv_sec = mono_ns / 1000000000, .tv_nsec = mono_ns % 1000000000};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

/* The whole lines at the start of TEXT, at most MAX bytes. */
static size_t whole_lines(struct span text, size_t max)
{
    const char *lf;

    if (text.len <= max)
        return text.len;
    lf = memrchr(text.ptr, '\n', max);
    MUST(lf != NULL);
    return (size_t)(lf - text.ptr) + 1;
}

static void *send_text(void *arg)
{
    struct sender *s = arg;
    int fd = dial(opt.target, opt.udp ? SOCK_DGRAM : SOCK_STREAM);
    struct span left = buf_span(&s->text);
    /* With a rate, slices are such that each connection sends about 200 a second. */
    double bytes_a_second =
        opt.rate == 0 ? 0 : (double)opt.rate / opt.connections * (double)s->text.len / (double)s->lines;
    size_t slice = opt.udp ? DATAGRAM : opt.rate == 0 ? SLICE : (size_t)(bytes_a_second / 200) + 256;
    int64_t begun = clock_mono_ns();

    while (left.len > 0) {
        size_t n = whole_lines(left, slice);

        if (opt.rate != 0)
            sleep_until(begun + (int64_t)((double)(s->text.len - left.len) / bytes_a_second * 1e9));
        send_all(fd, left.ptr, n);
        left = span_cut(left, n, left.len);
    }
    close(fd);
    return NULL;
}

static void for_all(struct sender *senders, void *(*body)(void *))
{
    for (unsigned i = 0; i < opt.connections; i++) {
        if (pthread_create(&senders[i].thread, NULL, body, &senders[i]) != 0)
            die("thread");
    }
    for (unsigned i = 0; i < opt.connections; i++)
        pthread_join(senders[i].thread, NULL);
}

/* ---- a reader that only counts lines ---- */

static _Atomic uint64_t sink_lines;

static void *sink_connection(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char *bytes = malloc(SLICE);
    uint64_t lines = 0;
    ssize_t n;

    while (bytes != NULL && (n = recv(fd, bytes, SLICE, 0)) > 0) {
        for (const char *at = bytes; (at = memchr(at, '\n', (size_t)(bytes + n - at))) != NULL; at++)
            lines++;
    }
    sink_lines += lines;
    free(bytes);
    close(fd);
    return NULL;
}

static void *sink(void *arg)
{
    int fd = (int)(intptr_t)arg;
    pthread_t threads[CONNECTIONS_MAX];

    for (unsigned i = 0; i < opt.connections; i++) {
        int conn = accept(fd, NULL, NULL);

        if (conn < 0 || pthread_create(&threads[i], NULL, sink_connection, (void *)(intptr_t)conn) != 0)
            die("sink");
    }
    for (unsigned i = 0; i < opt.connections; i++)
        pthread_join(threads[i], NULL);
    return NULL;
}

/* Start the sink and make it the target. */
static pthread_t sink_start(void)
{
    static char address[32];
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    pthread_t thread;

    if (bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, CONNECTIONS_MAX) < 0 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) < 0 ||
        pthread_create(&thread, NULL, sink, (void *)(intptr_t)fd) != 0)
        die("sink");
    snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(sa.sin_port));
    opt.target = address;
    return thread;
}

/* ---- the server's side ---- */

/* User and system CPU seconds of the server so far. */
static double server_cpu(void)
{
    char path[64];
    char text[1024];
    unsigned long user, kernel;
    FILE *f;
    size_t n;

    snprintf(path, sizeof(path), "/proc/%d/stat", opt.pid);
    f = fopen(path, "r");
    if (f == NULL)
        die(path);
    n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    if (sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
        die(path);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static double server_peak_mib(void)
{
    char path[64];
    char line[256];
    unsigned long kib = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", opt.pid);
    f = fopen(path, "r");
    if (f == NULL)
        die(path);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "VmHWM: %lu", &kib) == 1)
            break;
    }
    fclose(f);
    return (double)kib / 1024;
}

/* The sum of the samples of /metrics whose names begin with PREFIX. */
static uint64_t sum_of(const char *text, const char *prefix)
{
    double sum = 0;

    for (const char *at = text; at != NULL; at = strchr(at, '\n')) {
        const char *end;
        const char *blank;

        at += *at == '\n';
        if (*at == '\0')
            break;
        end = strchrnul(at, '\n');
        blank = memrchr(at, ' ', (size_t)(end - at));
        if (strncmp(at, prefix, strlen(prefix)) == 0 && blank != NULL)
            sum += strtod(blank, NULL);
    }
    return (uint64_t)sum;
}

struct counted {
    uint64_t stored;
    uint64_t refused;
};

static struct counted server_counted(struct http_client *c)
{
    const char *text;

    if (http_get(c, "/metrics") != 200)
        die("/metrics");
    text = c->in.ptr + c->body;
    if (opt.victoria)
        return (struct counted){sum_of(text, "vm_rows_inserted_total{type=\"graphite\"}"), 0};
    return (struct counted){sum_of(text, "plumbago_points_received_total{"),
                            sum_of(text, "plumbago_points_rejected_total{")};
}

/* Wait until LINES more than before have been counted, or nothing has changed for 10 seconds. */
static struct counted wait_stored(struct http_client *c, struct counted before, uint64_t lines)
{
    struct counted now = before;
    uint64_t seen = 0;
    int64_t changed = clock_mono_ns();

    for (;;) {
        uint64_t done;

        now = server_counted(c);
        done = now.stored - before.stored + now.refused - before.refused;
        if (done >= lines || clock_mono_ns() - changed > INT64_C(10000000000))
            break;
        if (done != seen)
            changed = clock_mono_ns();
        seen = done;
        sleep_until(clock_mono_ns() + 5000000);
    }
    return (struct counted){now.stored - before.stored, now.refused - before.refused};
}

/* ---- options and report ---- */

static void report(uint64_t lines, uint64_t bytes, double send_s)
{
    printf("{\"lines\":%" PRIu64 ",\"bytes_per_line\":%.1f,\"send_s\":%.3f,\"lines_per_s\":%.0f", lines,
           (double)bytes / (double)lines, send_s, (double)lines / send_s);
}

static void report_server(uint64_t lines, double stored_s, double cpu_s, struct counted got)
{
    printf(",\"stored_s\":%.3f,\"points_per_s\":%.0f,\"cpu_s\":%.2f,\"cpu_s_per_million\":%.4f,\"peak_rss_mib\":%.0f,"
           "\"stored\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"lost\":%" PRId64,
           stored_s, (double)lines / stored_s, cpu_s, cpu_s * 1e6 / (double)lines, server_peak_mib(), got.stored,
           got.refused, (int64_t)(lines - got.stored - got.refused));
}

static void usage(void)
{
    fprintf(stderr,
            "usage: loadgen (--target HOST:PORT | --sink) [options]\n"
            "  --series N --points N          how much (10000 x 100)\n"
            "  --first-series N               number of the first series\n"
            "  --start EPOCH --step S         times; without --start the last tick is now\n"
            "  --order time|series|random     all series each tick; each series whole; shuffled each tick\n"
            "  --shape mixed|gauge|counter|constant|rare|noisy|random53\n"
            "  --long-names                   names of about 50 bytes, not 38\n"
            "  --tagged                       METRIC;host=H;role=R;zone=Z\n"
            "  --wait                         render, print \"ready\", and send when a line comes on standard input\n"
            "  --prefix P --seed N            first part of the names; random numbers\n"
            "  --connections N --udp --rate N points a second of all connections\n"
            "  --pid PID --http HOST:PORT     the server: wait until all is stored, report CPU and losses\n"
            "  --victoria                     it is victoria-metrics\n"
            "  --print-name N                 print the name of series N and end\n");
    exit(2);
}

static enum order order_of(const char *word)
{
    if (strcmp(word, "time") == 0)
        return ORDER_TIME;
    if (strcmp(word, "series") == 0)
        return ORDER_SERIES;
    if (strcmp(word, "random") != 0)
        usage();
    return ORDER_RANDOM;
}

static void read_option(int c)
{
    switch (c) {
    case 't':
        opt.target = optarg;
        break;
    case 'S':
        opt.sink = true;
        break;
    case 'n':
        opt.series = strtoull(optarg, NULL, 10);
        break;
    case 'f':
        opt.first_series = strtoull(optarg, NULL, 10);
        break;
    case 'p':
        opt.points = strtoull(optarg, NULL, 10);
        break;
    case 's':
        opt.start_s = strtoll(optarg, NULL, 10);
        break;
    case 'i':
        opt.step_s = strtoll(optarg, NULL, 10);
        break;
    case 'o':
        opt.order = order_of(optarg);
        break;
    case 'v':
        opt.shape = optarg;
        break;
    case 'l':
        opt.long_names = true;
        break;
    case 'g':
        opt.tagged = true;
        break;
    case 'w':
        opt.wait = true;
        break;
    case 'x':
        opt.prefix = optarg;
        break;
    case 'e':
        opt.seed = strtoull(optarg, NULL, 10);
        break;
    case 'c':
        opt.connections = (unsigned)strtoul(optarg, NULL, 10);
        break;
    case 'u':
        opt.udp = true;
        break;
    case 'r':
        opt.rate = strtoull(optarg, NULL, 10);
        break;
    case 'P':
        opt.pid = atoi(optarg);
        break;
    case 'h':
        opt.http = optarg;
        break;
    case 'V':
        opt.victoria = true;
        break;
    case 'N':
        opt.print_name = optarg;
        break;
    default:
        usage();
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {{"target", required_argument, NULL, 't'},
                                            {"sink", no_argument, NULL, 'S'},
                                            {"series", required_argument, NULL, 'n'},
                                            {"first-series", required_argument, NULL, 'f'},
                                            {"points", required_argument, NULL, 'p'},
                                            {"start", required_argument, NULL, 's'},
                                            {"step", required_argument, NULL, 'i'},
                                            {"order", required_argument, NULL, 'o'},
                                            {"shape", required_argument, NULL, 'v'},
                                            {"long-names", no_argument, NULL, 'l'},
                                            {"tagged", no_argument, NULL, 'g'},
                                            {"wait", no_argument, NULL, 'w'},
                                            {"prefix", required_argument, NULL, 'x'},
                                            {"seed", required_argument, NULL, 'e'},
                                            {"connections", required_argument, NULL, 'c'},
                                            {"udp", no_argument, NULL, 'u'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"pid", required_argument, NULL, 'P'},
                                            {"http", required_argument, NULL, 'h'},
                                            {"victoria", no_argument, NULL, 'V'},
                                            {"print-name", required_argument, NULL, 'N'},
                                            {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        read_option(c);
    if ((opt.target == NULL && opt.print_name == NULL) == !opt.sink || opt.series == 0 || opt.points == 0 ||
        opt.step_s <= 0 || opt.connections == 0 || opt.connections > CONNECTIONS_MAX || opt.connections > opt.series ||
        (opt.pid != 0) != (opt.http != NULL) || strlen(opt.prefix) > 40 || optind != argc)
        usage();
    if (opt.start_s == 0) {
        int64_t now_s = clock_now_s();

        opt.start_s = now_s - now_s % opt.step_s - (int64_t)(opt.points - 1) * opt.step_s;
    }
}

/* Send everything, wait for whoever receives it, and report. */
static void measure(struct sender *senders, uint64_t lines, uint64_t bytes)
{
    pthread_t sink_thread = 0;
    struct http_client http;
    struct counted before = {0};
    struct counted got;
    double cpu = 0;
    int64_t begun;
    int64_t stored;

    if (opt.sink)
        sink_thread = sink_start();
    if (opt.http != NULL) {
        http_dial(&http, opt.http);
        before = server_counted(&http);
        cpu = server_cpu();
    }
    begun = clock_mono_ns();
    for_all(senders, send_text);
    if (opt.sink) {
        pthread_join(sink_thread, NULL);
        MUST(sink_lines == lines);
    }
    report(lines, bytes, (double)(clock_mono_ns() - begun) / 1e9);
    if (opt.http == NULL)
        return;
    got = wait_stored(&http, before, lines);
    stored = clock_mono_ns();
    if (opt.victoria && http_get(&http, "/internal/force_flush") != 200)
        die("/internal/force_flush");
    sleep_until(stored + 1000000000);
    report_server(lines, (double)(stored - begun) / 1e9, server_cpu() - cpu, got);
    http_close(&http);
}

int main(int argc, char **argv)
{
    static struct sender senders[CONNECTIONS_MAX];
    uint64_t lines = 0;
    uint64_t bytes = 0;

    read_options(argc, argv);
    if (opt.print_name != NULL) {
        char name[NAME_MAX_LEN];

        write_name(name, strtoull(opt.print_name, NULL, 10));
        puts(name);
        return 0;
    }
    for (unsigned i = 0; i < opt.connections; i++) {
        senders[i].index = i;
        senders[i].from = opt.first_series + opt.series * i / opt.connections;
        senders[i].to = opt.first_series + opt.series * (i + 1) / opt.connections;
    }
    for_all(senders, render);
    for (unsigned i = 0; i < opt.connections; i++) {
        lines += senders[i].lines;
        bytes += senders[i].text.len;
    }
    if (opt.wait) {
        puts("ready");
        fflush(stdout);
        getchar();
    }
    measure(senders, lines, bytes);
    printf("}\n");
    return 0;
}
