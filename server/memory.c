#include "server/memory.h"

#include "base/file.h"
#include "base/must.h"
#include "base/number.h"
#include "base/span.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PROGRAM_BYTES (UINT64_C(24) << 20) /* code's data, stacks, sealing, merging: 15 MiB when idle */

enum {
    SLACK_SHARE = 8,      /* one part in so many is for what the allocator adds */
    CONNECTIONS_MIN = 64, /* carbon's, however small the limit */
    LONGEST_FILE = 65536, /* of what is read here */
};

/* ---- how much there is ---- */

/* The number in the file at PATH; UINT64_MAX when there is none ("max", no such file). */
static uint64_t number_in(const char *path)
{
    char *text = NULL;
    size_t len = 0;
    int64_t n = 0;

    if (file_slurp(path, LONGEST_FILE, &text, &len, NULL) < 0)
        return UINT64_MAX;
    while (len > 0 && text[len - 1] == '\n')
        len--;
    bool ok = number_parse_i64(span_of(text, len), &n) && n >= 0;
    free(text);
    return ok ? (uint64_t)n : UINT64_MAX;
}

/* The smallest limit of the group at GROUP and the groups that it is in; FOLDER is where they are mounted. */
static uint64_t group_limit(const char *folder, struct span group, const char *file)
{
    char path[4096];
    uint64_t least = UINT64_MAX;

    while (true) {
        snprintf(path, sizeof path, "%s%.*s/%s", folder, SPAN_ARG(group), file);
        uint64_t n = number_in(path);
        least = n < least ? n : least;
        if (group.len == 0)
            return least;
        while (group.len > 0 && group.ptr[group.len - 1] != '/')
            group.len--;
        group.len -= group.len > 0;
    }
}

/* One line of /proc/self/cgroup: "0::/path" (v2) or "4:memory:/path" (v1, several names with commas). */
static uint64_t line_limit(const char *root, struct span line)
{
    char folder[4096];
    size_t first = span_find(line, ':');
    struct span rest = first < line.len ? span_cut(line, first + 1, line.len) : span_of(line.ptr, 0);
    size_t second = span_find(rest, ':');

    if (second >= rest.len)
        return UINT64_MAX;
    struct span kinds = span_cut(rest, 0, second), group = span_cut(rest, second + 1, rest.len);
    if (span_eq(group, SPAN_LIT("/")))
        group.len = 0;
    if (kinds.len == 0) {
        snprintf(folder, sizeof folder, "%s/sys/fs/cgroup", root);
        return group_limit(folder, group, "memory.max");
    }
    if (memmem(kinds.ptr, kinds.len, "memory", 6) == NULL)
        return UINT64_MAX;
    snprintf(folder, sizeof folder, "%s/sys/fs/cgroup/memory", root);
    return group_limit(folder, group, "memory.limit_in_bytes");
}

uint64_t memory_available(const char *root)
{
    uint64_t least = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    char path[4096];
    char *text = NULL;
    size_t len = 0;

    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (file_slurp(path, LONGEST_FILE, &text, &len, NULL) < 0)
        return least;
    for (struct span rest = span_of(text, len); rest.len > 0;) {
        size_t end = span_find(rest, '\n');
        uint64_t limit = line_limit(root, span_cut(rest, 0, end));
        least = limit < least ? limit : least;
        rest = end < rest.len ? span_cut(rest, end + 1, rest.len) : span_of(rest.ptr, 0);
    }
    free(text);
    return least;
}

/* ---- who gets what ---- */

static uint64_t requests_bytes(const struct memory_plan *p)
{
    return p->query_threads * (p->query_memory + p->query_output) + p->http_buffers +
           p->carbon_connections * p->carbon_line;
}

static uint64_t scaled(uint64_t n, double factor)
{
    return (uint64_t)((double)n * factor);
}

void memory_share(uint64_t limit, struct memory_plan *plan)
{
    uint64_t wanted = requests_bytes(plan);

    MUST(limit >= (uint64_t)MEMORY_LIMIT_MIN);
    if (wanted > limit / 2) {
        double factor = (double)(limit / 2) / (double)wanted;
        plan->query_memory = scaled(plan->query_memory, factor);
        plan->query_output = scaled(plan->query_output, factor);
        plan->http_buffers = scaled(plan->http_buffers, factor);
        plan->carbon_connections = scaled(plan->carbon_connections, factor);
        if (plan->carbon_connections < CONNECTIONS_MIN)
            plan->carbon_connections = CONNECTIONS_MIN;
    }
    uint64_t taken = PROGRAM_BYTES + limit / SLACK_SHARE + requests_bytes(plan);
    plan->index = taken < limit ? limit - taken : 1;
}
