#include "storage/id_table.h"

#include "base/grace.h"
#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

static void no_ids(void *owner, uint32_t kind, uint32_t id)
{
    (void)owner;
    (void)kind;
    (void)id;
    cr_assert_fail("the table retires no ids");
}

static struct tree_heap heap;

static void begin(void)
{
    heap = (struct tree_heap){.recycle = no_ids};
    grace_thread_begin();
}

static void reclaim(void)
{
    struct tree_heap_item *items;
    size_t count = tree_heap_take(&heap, &items);

    if (count > 0)
        grace_wait();
    tree_heap_free_items(&heap, items, count);
    free(items);
}

static void end(void)
{
    reclaim();
    cr_expect_eq(heap.bytes, 0);
    grace_thread_end();
}

TestSuite(id_table, .init = begin, .fini = end);

/* Ids stand for themselves; a few bits of hash make many collisions. */
static bool is_self(const void *owner, uint32_t id, const void *key)
{
    (void)owner;
    return id == *(const uint32_t *)key;
}

static uint32_t poor_hash(uint32_t id)
{
    return id % 3 == 0 ? id & 0xf0f : id * 2654435761u;
}

static bool has(const struct id_table *t, uint32_t key)
{
    uint32_t id;
    bool found = id_table_find(t, poor_hash(key), is_self, NULL, &key, &id);

    cr_assert(!found || id == key);
    return found;
}

Test(id_table, is_empty_at_first)
{
    struct id_table t = {.slots = NULL};

    cr_expect_not(has(&t, 0));
    id_table_release(&t, &heap);
}

Test(id_table, keeps_the_largest_id_and_any_hash)
{
    struct id_table t = {.slots = NULL};
    uint32_t id, key = UINT32_MAX - 2;

    cr_assert(id_table_insert(&t, UINT32_MAX, key, &heap));
    cr_assert(id_table_insert(&t, 0, 0, &heap));
    cr_expect(id_table_find(&t, UINT32_MAX, is_self, NULL, &key, &id) && id == key);
    key = 0;
    cr_expect(id_table_find(&t, 0, is_self, NULL, &key, &id) && id == 0);
    id_table_release(&t, &heap);
}

Test(id_table, agrees_with_an_array)
{
    enum { IDS = 3000 };
    static bool in[IDS];

    FOR_SEEDS (seed, 40) {
        struct rng rng = rng_from(seed);
        struct id_table t = {.slots = NULL};
        uint64_t mostly_in = 5;
        uint32_t live = 0;

        memset(in, 0, sizeof in);
        for (int i = 0; i < 20000; i++) {
            uint32_t id = (uint32_t)rng_below(&rng, IDS);
            if (rng_one_in(&rng, 2000))
                mostly_in = 1 + rng_below(&rng, 9);
            if (!in[id] && rng_below(&rng, 10) < mostly_in) {
                cr_assert(id_table_insert(&t, poor_hash(id), id, &heap));
                in[id] = true;
                live++;
            } else if (in[id] && rng_below(&rng, 10) >= mostly_in) {
                id_table_remove(&t, poor_hash(id), id);
                in[id] = false;
                live--;
            }
            uint32_t key = (uint32_t)rng_below(&rng, IDS);
            cr_assert_eq(has(&t, key), in[key]);
        }
        for (uint32_t id = 0; id < IDS; id++)
            cr_assert_eq(has(&t, id), in[id]);
        cr_assert_eq(t.live, live);
        id_table_release(&t, &heap);
        reclaim();
    }
}

/* From many to few and back, time and again: the tables follow in both directions. */
Test(id_table, shrinks_when_few_are_left)
{
    struct id_table t = {.slots = NULL};

    for (uint32_t id = 0; id < 100000; id++)
        cr_assert(id_table_insert(&t, poor_hash(id * 3 + 1), id * 3 + 1, &heap));
    uint32_t mask = t.slots->mask;
    for (uint32_t id = 0; id < 100000; id++)
        id_table_remove(&t, poor_hash(id * 3 + 1), id * 3 + 1);
    for (uint32_t id = 0; id < 400000; id++) {
        cr_assert(id_table_insert(&t, poor_hash(id * 3 + 1), id * 3 + 1, &heap));
        id_table_remove(&t, poor_hash(id * 3 + 1), id * 3 + 1);
    }
    cr_expect(t.slots->mask < mask / 100);
    id_table_release(&t, &heap);
}

/* ---- readers beside a growing table ---- */

enum { STABLE = 500 };

static struct id_table shared;
static int running; /* atomic */

static void *read_on(void *arg)
{
    uint32_t i = 0;

    grace_thread_begin();
    while (__atomic_load_n(&running, __ATOMIC_RELAXED)) {
        grace_enter();
        for (int k = 0; k < 200; k++)
            cr_assert(has(&shared, i++ % STABLE));
        grace_leave();
    }
    grace_thread_end();
    return arg;
}

Test(id_table, readers_never_miss_what_stays)
{
    pthread_t readers[2];

    for (uint32_t id = 0; id < STABLE; id++)
        cr_assert(id_table_insert(&shared, poor_hash(id), id, &heap));
    __atomic_store_n(&running, 1, __ATOMIC_RELAXED);
    for (int r = 0; r < 2; r++)
        pthread_create(&readers[r], NULL, read_on, NULL);
    for (uint32_t round = 0; round < 30; round++) {
        for (uint32_t id = STABLE; id < STABLE + 200 * round; id++)
            cr_assert(id_table_insert(&shared, poor_hash(id), id, &heap));
        for (uint32_t id = STABLE; id < STABLE + 200 * round; id++)
            id_table_remove(&shared, poor_hash(id), id);
        reclaim();
    }
    __atomic_store_n(&running, 0, __ATOMIC_RELAXED);
    for (int r = 0; r < 2; r++)
        pthread_join(readers[r], NULL);
    id_table_release(&shared, &heap);
}

Test(id_table, a_failed_growth_changes_nothing)
{
    struct id_table t = {.slots = NULL};
    uint32_t id = 0;

    for (uint64_t n = 1; n < 5; n++) { /* the table doubles ten times in all */
        heap.fail_at = n;
        while (heap.fail_at != 0) {
            bool inserted = id_table_insert(&t, poor_hash(id), id, &heap);
            cr_assert_eq(has(&t, id), inserted);
            id += inserted;
        }
        cr_expect_eq(t.live, id);
        for (uint32_t i = 0; i < id; i++)
            cr_assert(has(&t, i));
    }
    id_table_release(&t, &heap);
}
