#include "tests/help/store_kit.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct store_kit kit_of(const char *dir)
{
    struct store_kit kit = {.options = storage_options_default(NULL)};

    kit.options.manual = true;
    kit.options.free_bytes_min = 0;
    snprintf(kit.dir, sizeof kit.dir, "%s", dir);
    return kit;
}

int kit_try_open(struct store_kit *kit, struct err *err)
{
    kit->options.dir = kit->dir;
    int rc = storage_open(&kit->options, &kit->st, err);
    if (rc < 0)
        return rc;
    kit->hint = (struct store_hint){0};
    rc = store_writer_new(kit->st, &kit->writer, err);
    cr_assert_eq(rc, 0, "%s", err->text);
    return 0;
}

void kit_open(struct store_kit *kit)
{
    struct err err = {0};

    cr_assert_eq(kit_try_open(kit, &err), 0, "%s", err.text);
}

void kit_close(struct store_kit *kit)
{
    if (kit->st == NULL)
        return;
    store_writer_free(kit->writer);
    storage_close(kit->st);
    kit->st = NULL;
}

void kit_put_file(const char *path, const char *text)
{
    struct err err = {0};

    cr_assert_eq(file_put(path, span_str(text), &err), 0, "%s", err.text);
}

enum store_result kit_store(struct store_kit *kit, const char *name, int64_t now_s, int64_t t_s, double v)
{
    storage_enter();
    store_begin(kit->writer, now_s);
    enum store_result result = store_point(kit->writer, &kit->hint, span_str(name), t_s, v);
    storage_leave();
    return result;
}

bool kit_find(struct store_kit *kit, const char *name, uint32_t *series)
{
    storage_enter();
    bool found = storage_lookup(kit->st, span_str(name), series);
    storage_leave();
    return found;
}

struct storage_points kit_fetch(struct store_kit *kit, const char *name, int64_t from_s, int64_t until_s, int64_t now_s)
{
    struct arena arena;
    struct storage_points points;
    struct err err = {0};
    uint32_t series;

    arena_init(&arena, 0, NULL);
    cr_assert(kit_find(kit, name, &series), "there is no series %s", name);
    storage_enter();
    int rc = storage_fetch(kit->st, series, from_s, until_s, now_s, &arena, &points, &err);
    storage_leave();
    cr_assert_eq(rc, 0, "%s", err.text);
    double *values = NULL;
    if (points.count > 0) {
        values = malloc(points.count * sizeof values[0]);
        memcpy(values, points.values, points.count * sizeof values[0]);
    }
    points.values = values;
    arena_release(&arena);
    return points;
}

double kit_value(struct store_kit *kit, const char *name, int64_t t_s, int64_t now_s)
{
    uint32_t series;

    if (!kit_find(kit, name, &series))
        return NAN;
    struct storage_points p = kit_fetch(kit, name, t_s, t_s, now_s);
    free(p.values);
    if (p.count == 0)
        return NAN;
    int64_t slot_s = t_s - t_s % p.step_s;
    p = kit_fetch(kit, name, slot_s - 1, slot_s, now_s); /* the start is exclusive */
    double v = p.count == 1 && p.start_s == slot_s ? p.values[0] : NAN;
    free(p.values);
    return v;
}

struct storage_stats kit_stats(struct store_kit *kit)
{
    struct arena arena;
    struct storage_stats stats;

    arena_init(&arena, 0, NULL);
    storage_enter();
    storage_stats(kit->st, &arena, &stats);
    storage_leave();
    stats.tier = NULL;
    arena_release(&arena);
    return stats;
}

bool kit_same(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}
