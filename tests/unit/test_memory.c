#include "server/memory.h"

#include "base/file.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static struct tmpdir dir;

static void put(const char *path, const char *text)
{
    struct err err = {0};
    char folder[500];

    snprintf(folder, sizeof folder, "%s", tmpdir_file(&dir, path));
    *strrchr(folder, '/') = '\0';
    cr_assert_eq(file_make_dir(folder, &err), 0, "%s", err.text);
    cr_assert_eq(file_put(tmpdir_file(&dir, path), span_str(text), &err), 0, "%s", err.text);
}

static void setup(void)
{
    tmpdir_init(&dir);
}

static void teardown(void)
{
    tmpdir_release(&dir);
}

TestSuite(memory, .init = setup, .fini = teardown);

Test(memory, of_a_machine_without_groups_is_all_of_it)
{
    uint64_t all = memory_available(dir.path);

    cr_assert_gt(all, 16 * MIB);
    put("proc/self/cgroup", "0::/\n");
    cr_assert_eq(memory_available(dir.path), all);
    put("sys/fs/cgroup/memory.max", "max\n");
    cr_assert_eq(memory_available(dir.path), all);
    put("proc/self/cgroup", "garbage\n::\n:\n\n12:memory\n");
    cr_assert_eq(memory_available(dir.path), all);
    cr_assert_leq(memory_available(""), all);
}

Test(memory, of_a_group_is_the_least_limit_above_it)
{
    put("proc/self/cgroup", "0::/system.slice/plumbago.service\n");
    put("sys/fs/cgroup/system.slice/plumbago.service/memory.max", "max\n");
    put("sys/fs/cgroup/system.slice/memory.max", "12582912\n");
    cr_assert_eq(memory_available(dir.path), 12 * MIB);
    put("sys/fs/cgroup/system.slice/plumbago.service/memory.max", "8388608\n");
    cr_assert_eq(memory_available(dir.path), 8 * MIB);
    put("sys/fs/cgroup/memory.max", "4194304"); /* as a container sees its own */
    cr_assert_eq(memory_available(dir.path), 4 * MIB);
}

Test(memory, of_an_old_group_is_its_limit)
{
    put("proc/self/cgroup", "9:name=systemd:/\n4:hugetlb,memory:/docker/abc\n3:cpuset:/docker/abc\n0::/\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "8388608\n");
    cr_assert_eq(memory_available(dir.path), 8 * MIB);
}

static struct memory_plan defaults(void)
{
    return (struct memory_plan){.query_threads = 2,
                                .carbon_connections = 10000,
                                .carbon_line = 16384,
                                .query_memory = 512 * MIB,
                                .query_output = 512 * MIB,
                                .http_buffers = GIB};
}

static uint64_t requests(const struct memory_plan *p)
{
    return p->query_threads * (p->query_memory + p->query_output) + p->http_buffers +
           p->carbon_connections * p->carbon_line;
}

Test(memory, that_is_plenty_lowers_nothing)
{
    struct memory_plan plan = defaults(), wanted = defaults();

    memory_share(32 * GIB, &plan);
    cr_assert_eq(requests(&plan), requests(&wanted));
    cr_assert(plan.index > 24 * GIB && plan.index < 25 * GIB);
}

Test(memory, is_never_given_away_twice)
{
    for (uint64_t limit = MEMORY_LIMIT_MIN; limit < 64 * GIB; limit += limit / 7) {
        struct memory_plan plan = defaults();
        memory_share(limit, &plan);
        cr_assert_leq(requests(&plan), limit / 2);
        cr_assert_lt(requests(&plan) + plan.index + 24 * MIB, limit);
        cr_assert_gt(plan.index, limit / 7, "%llu of %llu", (unsigned long long)plan.index, (unsigned long long)limit);
    }
}
