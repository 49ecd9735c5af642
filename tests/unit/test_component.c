#include "storage/component.h"

#include "base/grace.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct tree_heap heap;
static struct components dictionary;

static void recycle(void *owner, uint32_t kind, uint32_t id)
{
    cr_assert_eq(kind, 7);
    components_recycle(owner, id);
}

static void begin(void)
{
    grace_thread_begin();
    heap = (struct tree_heap){.recycle = recycle, .owner = &dictionary};
    components_init(&dictionary, &heap, 42);
}

static void reclaim(void)
{
    struct tree_heap_item *items;
    size_t count = tree_heap_take(&heap, &items);

    tree_heap_free_items(&heap, items, count);
    free(items);
}

static void end(void)
{
    components_release(&dictionary);
    reclaim();
    cr_expect_eq(heap.bytes, 0);
    grace_thread_end();
}

TestSuite(component, .init = begin, .fini = end);

static uint32_t intern(const char *text)
{
    uint32_t id;

    cr_assert(components_intern(&dictionary, span_str(text), &id));
    return id;
}

Test(component, one_number_for_one_text)
{
    uint32_t a = intern("cpu"), b = intern("cpus"), id;

    cr_expect_neq(a, b);
    cr_expect_eq(intern("cpu"), a);
    cr_expect(components_find(&dictionary, SPAN_LIT("cpus"), &id) && id == b);
    cr_expect_not(components_find(&dictionary, SPAN_LIT("cp"), &id));
    cr_expect(span_eq(component_text(&dictionary, a), SPAN_LIT("cpu")));
}

Test(component, takes_the_longest_text)
{
    char text[256];

    memset(text, 'x', 255);
    text[255] = '\0';
    cr_expect(span_eq(component_text(&dictionary, intern(text)), span_str(text)));
}

Test(component, a_number_is_used_again_only_after_the_grace_period)
{
    uint32_t a = intern("gone"), id;

    component_ref(&dictionary, a);
    component_ref(&dictionary, a);
    component_unref(&dictionary, a, 7);
    cr_expect(components_find(&dictionary, SPAN_LIT("gone"), &id));
    component_unref(&dictionary, a, 7);
    cr_expect_not(components_find(&dictionary, SPAN_LIT("gone"), &id));
    cr_expect(span_eq(component_text(&dictionary, a), SPAN_LIT("gone"))); /* for those who hold the number */
    cr_expect_neq(intern("gone"), a);
    reclaim();
    cr_expect_eq(intern("other"), a);
    cr_expect(span_eq(component_text(&dictionary, a), SPAN_LIT("other")));
}

Test(component, takes_more_than_one_chunk)
{
    char text[16];

    for (uint32_t i = 0; i < COMPONENT_CHUNK * 2 + 10; i++) {
        sprintf(text, "c%u", i);
        cr_assert_eq(intern(text), i);
    }
    cr_expect(span_eq(component_text(&dictionary, COMPONENT_CHUNK), SPAN_LIT("c16384")));
}

Test(component, any_allocation_may_fail)
{
    char text[16];
    uint32_t id, count = 0;

    for (uint64_t n = 1; n < 60; n++) {
        heap.fail_at = n;
        for (int i = 0; i < 20; i++) {
            sprintf(text, "c%u", count);
            bool interned = components_intern(&dictionary, span_str(text), &id);
            cr_assert(interned ? id == count : !components_find(&dictionary, span_str(text), &id));
            count += interned;
        }
        heap.fail_at = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        sprintf(text, "c%u", i);
        cr_assert(components_find(&dictionary, span_str(text), &id) && id == i);
    }
}
