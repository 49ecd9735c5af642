#include "query/explain.h"

#include "base/clock.h"

#include <inttypes.h>

void explain_init(struct explain *x)
{
    *x = (struct explain){.root.begun_ns = clock_mono_ns()};
    x->now = &x->root;
}

static bool is_literal(const struct node *node)
{
    return node->kind != NODE_PATH && node->kind != NODE_CALL && node->kind != NODE_TEMPLATE;
}

struct explain_step *explain_begin(struct eval *ev, const struct context *ctx, const struct node *node)
{
    struct explain *x = ev->explain;
    struct explain_step *step;

    if (x == NULL || is_literal(node))
        return NULL;
    step = ARENA_NEW(ev->arena, struct explain_step);
    step->node = node;
    step->from_s = ctx->from_s;
    step->until_s = ctx->until_s;
    step->above = x->now;
    if (x->now->last == NULL)
        x->now->first = step;
    else
        x->now->last->next = step;
    x->now->last = step;
    x->now = step;
    step->begun_ns = clock_mono_ns();
    return step;
}

void explain_end(struct eval *ev, struct explain_step *step, const struct value *value)
{
    if (step == NULL)
        return;
    step->took_ns = clock_mono_ns() - step->begun_ns;
    if (value->kind == VALUE_LIST) {
        step->series = value->list.count;
        for (size_t i = 0; i < value->list.count; i++)
            step->points += value->list.items[i]->count;
    }
    ev->explain->now = step->above;
}

static double milliseconds(int64_t ns)
{
    return (double)ns / 1e6;
}

static void add_step(const struct explain_step *step, struct buf *out)
{
    const struct node *node = step->node;
    int64_t below_ns = 0;

    for (const struct explain_step *s = step->first; s != NULL; s = s->next)
        below_ns += s->took_ns;
    buf_add_str(out, node->kind == NODE_PATH ? "{\"path\":" : "{\"function\":");
    buf_add_json(out, node->kind == NODE_PATH   ? node->text
                      : node->kind == NODE_CALL ? node->function
                                                : SPAN_LIT("template"));
    buf_addf(out,
             ",\"from\":%" PRId64 ",\"until\":%" PRId64
             ",\"series\":%zu,\"points\":%zu,\"ms\":%.3f,\"own_ms\":%.3f,\"reused\":%s,\"arguments\":[",
             step->from_s, step->until_s, step->series, step->points, milliseconds(step->took_ns),
             milliseconds(step->took_ns - below_ns), step->reused ? "true" : "false");
    for (const struct explain_step *s = step->first; s != NULL; s = s->next) {
        if (s != step->first)
            buf_add_char(out, ',');
        add_step(s, out);
    }
    buf_add_str(out, "]}");
}

void explain_json(const struct eval *ev, const struct span *targets, struct buf *out)
{
    const struct explain_step *root = &ev->explain->root;
    size_t i = 0;

    buf_addf(out, "{\"ms\":%.3f,\"fetched\":{\"series\":%zu,\"points\":%zu},\"targets\":[",
             milliseconds(clock_mono_ns() - root->begun_ns), ev->series_fetched, ev->points_fetched);
    for (const struct explain_step *s = root->first; s != NULL; s = s->next, i++) {
        buf_add_str(out, i > 0 ? ",{\"target\":" : "{\"target\":");
        buf_add_json(out, targets[i]);
        buf_add_str(out, ",\"plan\":");
        add_step(s, out);
        buf_add_char(out, '}');
    }
    buf_add_str(out, "]}\n");
}
