#include "storage/tier.h"

#include "storage/deferred.h"
#include "storage/segment_write.h"
#include "storage/space.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static struct tmpdir dir;
static struct space space;
static struct tier tier;
static struct err err;

static void begin(void)
{
    struct retention retention;

    tmpdir_init(&dir);
    space = (struct space){.dir = dir.path};
    cr_assert_eq(retention_parse(SPAN_LIT("10s:1d,1m:7d"), &retention, &err), 0);
    cr_assert_eq(tier_init(&tier, dir.path, 3, 1, &retention.tiers[1], 600, &err), 0, "%s", err.text);
}

static void end(void)
{
    tier_release(&tier);
    deferred_drain();
    tmpdir_release(&dir);
}

TestSuite(tier, .init = begin, .fini = end);

static struct window *add_window(int64_t start_s, uint64_t generation)
{
    struct grid_header what = {
        .policy = 3, .tier = 1, .step_s = 60, .slots = 10, .start_s = start_s, .generation = generation};
    struct window *w = window_new(&what, (uint32_t)generation, tier.dir, &space);

    cr_assert_eq(tier_add_window(&tier, w, &err), 0);
    return w;
}

static struct live_segment segment_of(int64_t start_s, uint64_t number, uint64_t generation)
{
    struct segment_info info = {
        .policy = 3, .tier = 1, .columns = 1, .step_s = 60, .slots = 10, .start_s = start_s, .generation = generation};
    struct live_segment live = {.number = number, .generation = generation, .start_s = start_s, .end_s = start_s + 600};
    double values[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    struct segment_writer *writer;
    char path[400];

    tier_segment_path(&tier, start_s, number, path, sizeof path);
    cr_assert_eq(segment_writer_new(path, &info, &writer, &err), 0, "%s", err.text);
    cr_assert_eq(segment_writer_add(writer, 0, values, &err), 0);
    cr_assert_eq(segment_writer_commit(writer, &err), 0);
    segment_writer_free(writer);
    cr_assert_eq(segment_open(path, &live.segment, &err), 0, "%s", err.text);
    return live;
}

/* The numbers of the view's segments in its order. */
static const char *segments(void)
{
    static char text[200];
    const struct tier_view *view = tier_view(&tier);
    size_t at = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < view->segments; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%llu ", (unsigned long long)view->segment[i].number);
    return text;
}

Test(tier, begins_empty_with_a_folder)
{
    cr_assert_eq(access(tmpdir_file(&dir, "p00003-t1"), F_OK), 0);
    cr_assert_eq(tier_view(&tier)->windows, 0);
    cr_assert_eq(tier_view(&tier)->segments, 0);
    cr_assert_eq(tier_view(&tier)->rolled_until_s, 600);
    cr_assert_null(tier_view_window(tier_view(&tier), 0));
}

Test(tier, finds_the_window_of_a_time)
{
    struct window *b = add_window(1200, 1), *a = add_window(0, 2);

    cr_assert_eq(tier_view_window(tier_view(&tier), 0), a);
    cr_assert_eq(tier_view_window(tier_view(&tier), 599), a);
    cr_assert_null(tier_view_window(tier_view(&tier), 600));
    cr_assert_eq(tier_view_window(tier_view(&tier), 1200), b);
    cr_assert_null(tier_view_window(tier_view(&tier), 1800));
    cr_assert_null(tier_view_window(tier_view(&tier), -1));
}

Test(tier, a_closing_window_takes_no_stores_and_a_newer_one_does)
{
    struct window *old = add_window(600, 1);

    old->closing = true;
    cr_assert_null(tier_view_window(tier_view(&tier), 700));
    struct window *young = add_window(600, 2);
    cr_assert_eq(tier_view_window(tier_view(&tier), 700), young);
}

Test(tier, older_windows_over_the_same_span_come_first)
{
    struct window *old = add_window(600, 1), *young = add_window(600, 3), *beside = add_window(1200, 2);

    cr_assert(tier_view_older(tier_view(&tier), young));
    cr_assert_not(tier_view_older(tier_view(&tier), old));
    cr_assert_not(tier_view_older(tier_view(&tier), beside));
}

Test(tier, a_sealed_window_gives_way_to_its_segment)
{
    struct window *w = add_window(600, 4);
    struct live_segment live = segment_of(600, 4, 4);

    cr_assert_eq(tier_replace_window(&tier, w, &live, &err), 0);
    window_free(w);
    cr_assert_eq(tier_view(&tier)->windows, 0);
    cr_assert_str_eq(segments(), "4 ");
    w = add_window(600, 5);
    cr_assert_eq(tier_replace_window(&tier, w, NULL, &err), 0, "one without points");
    window_free(w);
    cr_assert_eq(tier_view(&tier)->windows, 0);
    cr_assert_str_eq(segments(), "4 ");
}

Test(tier, segments_lie_by_generation)
{
    struct live_segment some[3] = {segment_of(600, 7, 7), segment_of(1200, 3, 3), segment_of(0, 9, 5)};

    cr_assert_eq(tier_add_segments(&tier, some, 3, &err), 0);
    cr_assert_str_eq(segments(), "3 9 7 ");
    cr_assert_eq(tier_remove_segment(&tier, 9, &err), 0);
    segment_close(some[2].segment);
    cr_assert_str_eq(segments(), "3 7 ");
    cr_assert_eq(tier_remove_segment(&tier, 1000, &err), 0, "none has that number");
    cr_assert_str_eq(segments(), "3 7 ");
}

Test(tier, merged_segments_give_way_at_once)
{
    struct live_segment some[3] = {segment_of(0, 1, 1), segment_of(600, 2, 2), segment_of(1200, 3, 3)};
    struct live_segment merged = segment_of(0, 8, 2);
    uint64_t numbers[2] = {1, 2};

    cr_assert_eq(tier_add_segments(&tier, some, 3, &err), 0);
    cr_assert_eq(tier_merge_segments(&tier, &merged, numbers, 2, &err), 0);
    segment_close(some[0].segment);
    segment_close(some[1].segment);
    cr_assert_str_eq(segments(), "8 3 ");
}

Test(tier, the_mark_of_rollups_moves_with_their_segment)
{
    struct live_segment live = segment_of(600, 4, 4);

    cr_assert_eq(tier_set_rolled(&tier, 1200, &live, &err), 0);
    cr_assert_eq(tier_view(&tier)->rolled_until_s, 1200);
    cr_assert_str_eq(segments(), "4 ");
    cr_assert_eq(tier_set_rolled(&tier, 1800, NULL, &err), 0);
    cr_assert_eq(tier_view(&tier)->rolled_until_s, 1800);
    add_window(1800, 9);
    cr_assert_eq(tier_view(&tier)->rolled_until_s, 1800, "other changes leave it");
}

Test(tier, an_old_view_stays_as_it_was_until_it_is_drained)
{
    const struct tier_view *before = tier_view(&tier);

    add_window(0, 1);
    cr_assert_neq(tier_view(&tier), before);
    cr_assert_eq(before->windows, 0);
    deferred_drain();
    cr_assert_eq(tier_view(&tier)->windows, 1);
}
