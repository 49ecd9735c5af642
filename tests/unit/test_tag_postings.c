#include "storage/tag_postings.h"

#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { IDS = 300000 };

static void dispose(void *owner, uint32_t kind, void *ptr)
{
    cr_assert_eq(kind, TAG_IDS_KIND);
    tag_ids_free(ptr, owner);
}

static void heap_init(struct tree_heap *heap)
{
    *heap = (struct tree_heap){.dispose = dispose, .owner = heap};
}

static void heap_drain(struct tree_heap *heap)
{
    struct tree_heap_item *items;
    size_t count = tree_heap_take(heap, &items);

    tree_heap_free_items(heap, items, count);
    free(items);
}

static void add(struct tag_postings *p, uint32_t id, struct tree_heap *heap)
{
    cr_assert(tag_postings_reserve(p, heap));
    tag_postings_add(p, id);
}

static roaring_bitmap_t *all_of(const struct tag_postings *p)
{
    struct tag_union u;

    tag_union_init(&u);
    tag_union_add(&u, p);
    return tag_union_finish(&u);
}

static void release(struct tag_postings *p, struct tree_heap *heap)
{
    tag_postings_release(p, heap);
    heap_drain(heap);
    cr_expect_eq(heap->bytes, 0, "%llu bytes are left", (unsigned long long)heap->bytes);
}

Test(tag_postings, one_id_takes_no_memory)
{
    struct tree_heap heap;
    struct tag_postings p = {0};

    heap_init(&heap);
    cr_expect_not(tag_postings_has(&p, 0));
    add(&p, 0, &heap);
    cr_expect(tag_postings_has(&p, 0));
    cr_expect_not(tag_postings_has(&p, 1));
    cr_expect_eq(heap.bytes, 0);
    release(&p, &heap);
}

/* Sets of many sizes and densities, in order of arrival and mixed up, against an array of flags. */
Test(tag_postings, agree_with_flags)
{
    static bool flag[IDS];

    FOR_SEEDS (seed, 30) {
        struct rng rng = rng_from(seed);
        struct tree_heap heap;
        struct tag_postings p = {0};
        uint64_t sparse = 1 + rng_below(&rng, rng_one_in(&rng, 2) ? 4 : 4000);
        bool mixed = rng_one_in(&rng, 4);

        heap_init(&heap);
        heap.at_once = rng_one_in(&rng, 3);
        memset(flag, 0, sizeof flag);
        for (uint32_t i = 0; i < IDS; i++) {
            uint32_t id = mixed ? (uint32_t)rng_below(&rng, IDS) : i;
            if (rng_one_in(&rng, sparse)) {
                add(&p, id, &heap);
                flag[id] = true;
            }
            if (rng_one_in(&rng, 50000))
                heap_drain(&heap);
        }
        roaring_bitmap_t *set = all_of(&p), *odd = roaring_bitmap_from_range(1, IDS, 2);
        roaring_bitmap_t *both = tag_postings_and(&p, odd), *rest = roaring_bitmap_copy(odd);
        tag_postings_subtract(&p, rest);
        for (uint32_t id = 0; id < IDS; id++) {
            cr_assert_eq(roaring_bitmap_contains(set, id), flag[id], "id %u", id);
            cr_assert_eq(roaring_bitmap_contains(both, id), flag[id] && id % 2 == 1, "id %u", id);
            cr_assert_eq(roaring_bitmap_contains(rest, id), !flag[id] && id % 2 == 1, "id %u", id);
        }
        cr_assert_eq(tag_postings_meet(&p, odd), !roaring_bitmap_is_empty(both));
        for (int i = 0; i < 1000; i++) {
            uint32_t id = (uint32_t)rng_below(&rng, IDS);
            cr_assert_eq(tag_postings_has(&p, id), flag[id]);
        }
        roaring_bitmap_free(set);
        roaring_bitmap_free(odd);
        roaring_bitmap_free(both);
        roaring_bitmap_free(rest);
        release(&p, &heap);
    }
}

static bool is_odd(void *ctx, uint32_t id)
{
    (void)ctx;
    return id % 2 == 1;
}

Test(tag_postings, a_filter_keeps_what_it_should)
{
    for (uint32_t count = 1; count < 1000; count = count * 3 + 1) {
        struct tree_heap heap;
        struct tag_postings p = {0};

        heap_init(&heap);
        for (uint32_t i = 0; i < count; i++)
            add(&p, i, &heap);
        tag_postings_filter(&p, is_odd, NULL, &heap);
        for (uint32_t i = 0; i < count; i++)
            cr_expect_eq(tag_postings_has(&p, i), count == 1 || i % 2 == 1, "%u of %u", i, count);
        for (uint32_t i = 0; i < count; i++)
            add(&p, count + i, &heap); /* and it goes on */
        cr_expect(tag_postings_has(&p, 2 * count - 1));
        release(&p, &heap);
    }
}

Test(tag_postings, are_small)
{
    struct tree_heap heap;
    struct tag_postings sixth = {0}, block = {0};

    heap_init(&heap);
    heap.at_once = true;
    for (uint32_t i = 0; i < 6000000; i += 6)
        add(&sixth, i, &heap);
    cr_expect_lt(heap.bytes, 1400000, "%llu bytes for 1 M ids, every sixth", (unsigned long long)heap.bytes);
    tag_postings_release(&sixth, &heap);
    cr_expect_eq(heap.bytes, 0);
    for (uint32_t i = 0; i < 1000000; i++)
        add(&block, i, &heap);
    cr_expect_lt(heap.bytes, 16000, "%llu bytes for 1 M ids in a row", (unsigned long long)heap.bytes);
    release(&block, &heap);
}

Test(tag_postings, short_memory_changes_nothing)
{
    struct tree_heap heap;
    struct tag_postings p = {0};
    uint32_t id = 0;

    heap_init(&heap);
    for (int failures = 0; failures < 10;) {
        heap.fail_at = 1;
        if (tag_postings_reserve(&p, &heap)) {
            tag_postings_add(&p, id++);
            continue;
        }
        failures++;
        for (uint32_t i = 0; i < id; i++)
            cr_assert(tag_postings_has(&p, i));
        heap.fail_at = 0;
        add(&p, id++, &heap);
    }
    heap.fail_at = 0;
    release(&p, &heap);
}
