#include "base/arena.h"

#include "tests/help/rng.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>

Test(arena, aligns_to_16_and_takes_zero_bytes)
{
    struct arena a;

    arena_init(&a, 0, NULL);
    for (size_t n = 0; n < 100; n++) {
        char *got = arena_alloc(&a, n);

        cr_assert_not_null(got);
        cr_assert_eq((uintptr_t)got % 16, 0);
        memset(got, 0xAA, n);
    }
    arena_release(&a);
    cr_assert(a.used == 0 && a.blocks == NULL);
}

Test(arena, keeps_what_it_gave)
{
    struct rng r = rng_from(rng_seed_first());
    struct arena a;
    unsigned char *items[2000];
    size_t sizes[2000];

    arena_init(&a, 0, NULL);
    for (int i = 0; i < 2000; i++) {
        sizes[i] = rng_below(&r, rng_one_in(&r, 50) ? 3000000 : 500);
        items[i] = arena_alloc(&a, sizes[i]);
        memset(items[i], i & 255, sizes[i]);
    }
    for (int i = 0; i < 2000; i++)
        for (size_t k = 0; k < sizes[i]; k += 97)
            cr_assert_eq(items[i][k], i & 255);
    arena_release(&a);
    arena_alloc(&a, 5); /* it may be used again */
    arena_release(&a);
}

Test(arena, jumps_out_when_the_limit_is_passed)
{
    struct arena a;
    jmp_buf overflow;
    volatile size_t got = 0;

    arena_init(&a, 1 << 20, &overflow);
    if (setjmp(overflow) == 0) {
        for (;;) {
            arena_alloc(&a, 1000);
            got += 1000;
        }
    }
    cr_assert(got <= 1 << 20 && got > (1 << 20) * 8 / 10, "%zu", got);
    cr_assert(a.used <= 1 << 20);
    arena_release(&a);
}

Test(arena, jumps_out_of_absurd_sizes)
{
    struct arena a;
    jmp_buf overflow;
    volatile int jumps = 0;

    arena_init(&a, 0, &overflow);
    if (setjmp(overflow) != 0)
        jumps++;
    if (jumps == 0)
        arena_alloc(&a, SIZE_MAX);
    if (jumps == 1)
        arena_calloc(&a, SIZE_MAX / 2, 3);
    if (jumps == 2)
        arena_grow(&a, NULL, 0, SIZE_MAX / 8, 16);
    if (jumps == 3)
        arena_join(&a, (struct span){"", SIZE_MAX - 1}, (struct span){"", 1}, SPAN_LIT(""));
    cr_assert_eq(jumps, 4);
    arena_release(&a);
}

Test(arena, aborts_when_nobody_catches, .signal = SIGABRT)
{
    struct arena a;

    arena_init(&a, 100, NULL);
    arena_alloc(&a, 4000);
}

Test(arena, clears_what_calloc_gives)
{
    struct arena a;
    char *got;

    arena_init(&a, 0, NULL);
    memset(arena_alloc(&a, 100), 0xFF, 100);
    got = arena_calloc(&a, 25, 4);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(got[i], 0);
    arena_release(&a);
}

Test(arena, grows_arrays)
{
    struct arena a;
    int *items, *more;

    arena_init(&a, 0, NULL);
    items = arena_grow(&a, NULL, 0, 4, sizeof(int));
    for (int i = 0; i < 4; i++)
        items[i] = i;
    more = arena_grow(&a, items, 4, 8, sizeof(int));
    for (int i = 0; i < 4; i++)
        cr_assert(more[i] == i && items[i] == i);
    arena_release(&a);
}

Test(arena, copies_joins_and_prints)
{
    struct arena a;
    struct span s;
    char text[1001];

    arena_init(&a, 0, NULL);
    s = arena_span(&a, SPAN_LIT("abc"));
    cr_assert(span_eq(s, SPAN_LIT("abc")) && s.ptr[3] == '\0');
    s = arena_span(&a, span_of(NULL, 0));
    cr_assert(s.len == 0 && s.ptr[0] == '\0');
    s = arena_join(&a, SPAN_LIT("a"), span_of(NULL, 0), SPAN_LIT("cd"));
    cr_assert(span_eq(s, SPAN_LIT("acd")) && s.ptr[3] == '\0');
    s = arena_printf(&a, "%s(%d)", "sum", 7);
    cr_assert(span_eq(s, SPAN_LIT("sum(7)")) && s.ptr[6] == '\0');
    memset(text, 'y', 1000);
    text[1000] = '\0';
    for (int n = 250; n < 260; n++) { /* around the size that is formatted on the stack */
        s = arena_printf(&a, "%.*s", n, text);
        cr_assert(s.len == (size_t)n && memcmp(s.ptr, text, (size_t)n) == 0 && s.ptr[n] == '\0');
    }
    arena_release(&a);
}

/* What a guarded run holds. */
struct held {
    struct arena *arena;
    size_t wanted;
    void *heap;
    int cleaned;
};

static int run_guarded(void *ctx)
{
    struct held *h = ctx;

    h->heap = malloc(10);
    arena_alloc(h->arena, h->wanted);
    return 7;
}

static void clean_guarded(void *ctx)
{
    struct held *h = ctx;

    free(h->heap);
    h->cleaned++;
}

Test(arena, a_guard_cleans_up_in_any_case)
{
    struct arena a;
    jmp_buf overflow;
    static struct held h; /* static: it changes between setjmp() and the jump */

    h = (struct held){.arena = &a, .wanted = 100};
    arena_init(&a, 20000, &overflow);
    if (setjmp(overflow) == 0) {
        cr_expect_eq(arena_guard(&a, run_guarded, clean_guarded, &h), 7);
        cr_expect(h.cleaned == 1 && a.overflow == &overflow);
        h.wanted = 100000;
        arena_guard(&a, run_guarded, clean_guarded, &h);
        cr_expect_fail("the arena was not full");
    }
    cr_expect(h.cleaned == 2 && a.overflow == &overflow);
    arena_release(&a);
}

static int run_twice_guarded(void *ctx)
{
    struct held *h = ctx;
    struct held inner = {.arena = h->arena, .wanted = h->wanted};

    h->heap = malloc(10);
    return arena_guard(h->arena, run_guarded, clean_guarded, &inner);
}

Test(arena, guards_nest)
{
    struct arena a;
    jmp_buf overflow;
    static struct held h; /* static: it changes between setjmp() and the jump */

    h = (struct held){.arena = &a, .wanted = 100000};
    arena_init(&a, 20000, &overflow);
    if (setjmp(overflow) == 0) {
        arena_guard(&a, run_twice_guarded, clean_guarded, &h);
        cr_expect_fail("the arena was not full");
    }
    cr_expect_eq(h.cleaned, 1);
    arena_release(&a);
}
