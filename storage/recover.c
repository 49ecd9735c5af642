/* Recovery is the normal start: map what is there. Nothing is replayed but names.
 *
 *   series.log   gives rules, policies and series (recover_names.c)
 *   MANIFEST     gives the live segments
 *   folders      files that the manifest has ended are deleted, so are segments that a seal had not yet
 *                named; the other grids are opened as windows again
 *
 * Was the machine down in between, then a grid's row map may have lost entries whose cells survived; a
 * row that looks free may hold points. So such windows take no more stores: they are sealed at once, and
 * a new window is opened over them. After a mere kill everything goes on where it stood.
 *
 * After a power cut a file may name ids that the log does not know: those rows stay without a name, and
 * the ids are never handed out again. A file that cannot be read is set aside (its name gets
 * ".damaged"), reported and counted; the rest is served. */
#include "storage/internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files ---- */

/* Take PATH out of the way and say why. */
static int recover_set_aside(struct storage *st, const char *path, const struct err *why, struct err *err)
{
    char aside[4200];

    snprintf(aside, sizeof aside, "%s.damaged", path);
    st->damaged_chunks++;
    log_error("storage", "a damaged file is set aside", LOG_STR("file", path), LOG_ERR(why));
    return file_rename(path, aside, err);
}

struct recover_tier {
    struct storage *st;
    struct tier *tier;
    const struct manifest_record *live;
    size_t live_count;
    uint32_t id_max;
    struct err *err;
};

/* The window of GENERATION, made when this is its first grid. */
static struct window *recover_window(struct recover_tier *r, const struct grid_header *header)
{
    struct storage *st = r->st;
    const struct tier_view *view = tier_view(r->tier);

    for (uint32_t i = 0; i < view->windows; i++)
        if (view->window[i]->generation == header->generation)
            return view->window[i];
    struct window *w = window_new(header, ++st->window_serial, r->tier->dir, &st->space);
    if (w == NULL || tier_add_window(r->tier, w, r->err) < 0) {
        window_free(w);
        return NULL;
    }
    w->opened_s = w->touched_s = clock_now_s();
    w->closing = !st->same_boot;
    st->windows_open++;
    return w;
}

static void recover_rows_damaged(struct storage *st, const char *path, uint32_t rows)
{
    st->damaged_chunks += rows;
    log_error("storage", "rows of a grid whose series is not known any more are left out", LOG_STR("file", path),
              LOG_INT("rows", rows));
}

/* Whether the file at PATH has nothing but zeros: a process died while it made a grid. */
static bool recover_is_blank(const char *path)
{
    struct span bytes;

    if (file_map_whole(path, &bytes, NULL) < 0)
        return false;
    size_t at = 0;
    while (at < bytes.len && bytes.ptr[at] == 0)
        at++;
    bool blank = at == bytes.len;
    file_unmap((void *)(uintptr_t)bytes.ptr, bytes.len);
    return blank;
}

static int recover_grid(struct recover_tier *r, const char *path)
{
    struct grid_header header;
    struct grid *g;
    struct err why = {0};
    int rc = grid_open(path, &header, &g, &why);

    if (rc == 0 && manifest_has_ended(r->st->manifest, header.generation)) {
        grid_close(g);
        return file_unlink(path, r->err);
    }
    if (rc == 0 && (header.policy != r->tier->policy || header.tier != r->tier->number ||
                    header.step_s != r->tier->shape.step_s)) {
        grid_close(g);
        rc = err_corrupt(&why, path, 0, "grid of another tier");
    }
    if (rc == ERR_CORRUPT && recover_is_blank(path))
        return file_unlink(path, r->err);
    if (rc == ERR_CORRUPT)
        return recover_set_aside(r->st, path, &why, r->err);
    if (rc < 0) {
        *r->err = why;
        return rc;
    }
    struct window *w = recover_window(r, &header);
    if (w == NULL) {
        grid_close(g);
        return err_set(r->err, ERR_MEMORY, "%s", path);
    }
    if (header.generation >= r->st->generation_next)
        r->st->generation_next = header.generation + 1;
    uint32_t rows_damaged = 0;
    rc = window_adopt(w, g, &header, &r->id_max, &rows_damaged, &why);
    if (rows_damaged > 0)
        recover_rows_damaged(r->st, path, rows_damaged);
    if (rc < 0)
        grid_close(g);
    if (rc == ERR_CORRUPT)
        return recover_set_aside(r->st, path, &why, r->err);
    if (rc < 0)
        *r->err = why;
    return rc;
}

static bool recover_is_live(const struct recover_tier *r, int64_t start_s, uint64_t number)
{
    for (size_t i = 0; i < r->live_count; i++)
        if (r->live[i].number == number && r->live[i].start_s == start_s)
            return true;
    return false;
}

/* Give the segment at PATH a record. */
static int recover_adopt(struct recover_tier *r, const char *path, uint64_t number)
{
    struct segment *segment;
    struct err why;
    int rc = segment_open(path, &segment, &why);

    if (rc == 0 &&
        (segment_info(segment)->policy != r->tier->policy || segment_info(segment)->tier != r->tier->number)) {
        segment_close(segment);
        rc = err_corrupt(&why, path, 0, "segment of another tier");
    }
    if (rc == ERR_CORRUPT)
        return recover_set_aside(r->st, path, &why, r->err);
    if (rc < 0) {
        *r->err = why;
        return rc;
    }
    const struct segment_info *info = segment_info(segment);
    struct manifest_record record = {.type = MANIFEST_SEAL,
                                     .tier = info->tier,
                                     .policy = info->policy,
                                     .slots = info->slots,
                                     .start_s = info->start_s,
                                     .number = number};
    segment_close(segment);
    if (number >= r->st->generation_next)
        r->st->generation_next = number + 1;
    log_warn("storage", "a segment that the manifest does not name is taken as live", LOG_STR("file", path));
    rc = manifest_append(r->st->manifest, &record, 1, r->err);
    r->live = manifest_segments(r->st->manifest, &r->live_count);
    return rc;
}

static int is_grid_of(void *ctx, const char *name)
{
    const uint64_t *wanted = ctx;
    int64_t start_s;
    uint64_t number;
    int end = 0;

    return sscanf(name, "w%" SCNd64 "-n%" SCNu64 "-b%*u.grid%n", &start_s, &number, &end) == 2 && end > 0 &&
           number == *wanted;
}

/* A segment file that no record names. It is no more when the manifest says so, and it is not wanted as
 * long as the grids that it was made of are there: then it goes. In all other cases it is kept, since a
 * segment under its final name is whole: either its record is lost, or a merge or a rollup was stopped right
 * before its record, and then it holds nothing but what the segments that it was made of hold, too. */
static int recover_segment_file(struct recover_tier *r, const char *path, const char *name)
{
    int64_t start_s;
    uint64_t number;

    if (sscanf(name, "s%" SCNd64 "-n%" SCNu64 ".seg", &start_s, &number) != 2 || recover_is_live(r, start_s, number))
        return 0;
    if (manifest_has_ended(r->st->manifest, number))
        return file_unlink(path, r->err);
    int rc = file_list(r->tier->dir, is_grid_of, &number, r->err);
    if (rc < 0)
        return rc;
    return rc == 1 ? file_unlink(path, r->err) : recover_adopt(r, path, number);
}

static bool has_ending(const char *name, const char *ending)
{
    size_t n = strlen(name), e = strlen(ending);

    return n >= e && strcmp(name + n - e, ending) == 0;
}

static int recover_file(void *ctx, const char *name)
{
    struct recover_tier *r = ctx;
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", r->tier->dir, name);
    if (has_ending(name, ".grid"))
        return recover_grid(r, path);
    if (has_ending(name, ".seg"))
        return recover_segment_file(r, path, name);
    return has_ending(name, ".tmp") ? file_unlink(path, r->err) : 0;
}

/* Open a segment that the manifest names: 1 when it is there. A missing or damaged one is reported; the
 * store goes on. */
static int recover_segment(struct recover_tier *r, const struct manifest_record *record, struct live_segment *live)
{
    char path[4096];
    struct err why;

    *live = (struct live_segment){.number = record->number,
                                  .start_s = record->start_s,
                                  .end_s = record->start_s + (int64_t)record->slots * r->tier->shape.step_s};
    tier_segment_path(r->tier, record->start_s, record->number, path, sizeof path);
    int rc = segment_open(path, &live->segment, &why);
    if (rc == ERR_CORRUPT || rc == ERR_MISSING) {
        r->st->damaged_chunks++;
        log_error("storage", "a segment is lost", LOG_STR("file", path), LOG_ERR(&why));
        return 0;
    }
    if (rc < 0) {
        *r->err = why;
        return rc;
    }
    const struct segment_info *info = segment_info(live->segment);
    live->generation = info->generation;
    if (info->series != 0 && info->last_id >= r->id_max)
        r->id_max = info->last_id + 1;
    return 1;
}

static int recover_segments(struct recover_tier *r)
{
    struct live_segment *live = calloc(r->live_count + 1, sizeof live[0]);
    size_t count = 0;
    int rc = live == NULL ? err_set(r->err, ERR_MEMORY, "segments of %s", r->tier->dir) : 0;

    for (size_t i = 0; rc >= 0 && i < r->live_count; i++) {
        if (r->live[i].policy != r->tier->policy || r->live[i].tier != r->tier->number)
            continue;
        rc = recover_segment(r, &r->live[i], &live[count]);
        count += rc == 1;
    }
    if (rc >= 0)
        rc = tier_add_segments(r->tier, live, count, r->err);
    for (size_t i = 0; rc < 0 && i < count; i++)
        segment_close(live[i].segment);
    free(live);
    return rc;
}

static int recover_tier(void *ctx, struct policy *policy, struct tier *tier)
{
    struct recover_tier *r = ctx;
    struct manifest_record rolled;
    int rc = 0;

    (void)policy;
    r->tier = tier;
    if (manifest_rolled(r->st->manifest, tier->policy, tier->number, &rolled))
        rc = tier_set_rolled(tier, rolled.start_s + (int64_t)rolled.slots * tier->shape.step_s, NULL, r->err);
    if (rc == 0)
        rc = file_list(tier->dir, recover_file, r, r->err);
    return rc < 0 ? rc : recover_segments(r);
}

/* ---- what must not be missing ---- */

/* A tier's folder whose policy the log does not know, with data in it. */
struct recover_stranger {
    const struct storage *st;
    const char *folder;
    struct err *err;
};

static int recover_stranger_file(void *ctx, const char *name)
{
    const struct recover_stranger *s = ctx;

    if (!has_ending(name, ".grid") && !has_ending(name, ".seg"))
        return 0;
    return err_set(s->err, ERR_CORRUPT, "%s/series.log has lost the policy of %s/%s", s->st->dir, s->folder, name);
}

static int recover_stranger(void *ctx, const char *name)
{
    struct recover_stranger *s = ctx;
    unsigned policy, tier;
    char path[4096];
    int end = 0;

    if (sscanf(name, "p%5u-t%u%n", &policy, &tier, &end) != 2 || name[end] != 0 || policy < s->st->policies.count)
        return 0;
    s->folder = name;
    snprintf(path, sizeof path, "%s/%s", s->st->dir, name);
    return file_list(path, recover_stranger_file, s, s->err);
}

/* The log is on the device with its first rules, and the manifest at all, before anything else is. When they are
 * gone, going on would give the data of old series to new ones, or delete all segments. */
static int recover_check_present(const struct storage *st, struct err *err)
{
    struct recover_stranger stranger = {.st = st, .err = err};
    struct file *manifest = NULL;
    char path[4096];
    int rc = file_list(st->dir, recover_stranger, &stranger, err);

    if (rc < 0 || st->policies.count == 0)
        return rc;
    snprintf(path, sizeof path, "%s/MANIFEST", st->dir);
    rc = file_open(path, FILE_READ, &manifest, err);
    file_close(manifest);
    return rc == ERR_MISSING ? err_set(err, ERR_CORRUPT, "%s is missing, and series.log is not new", path) : rc;
}

int storage_recover(struct storage *st, struct err *err)
{
    struct recover_tier r = {.st = st, .err = err};
    uint64_t created;
    int rc = storage_recover_names(st, &created, err);

    if (rc == 0)
        rc = recover_check_present(st, err);
    if (rc == 0)
        rc = storage_rewrite_names(st, created, err);
    if (rc == 0)
        rc = manifest_open(st->dir, &st->manifest, err);
    if (rc < 0)
        return rc;
    if (manifest_is_damaged(st->manifest)) {
        st->damaged_chunks++;
        log_error("storage", "the manifest has damaged records; files that they may have named are kept");
    }
    st->generation_next = manifest_number_max(st->manifest) + 1;
    r.live = manifest_segments(st->manifest, &r.live_count);
    rc = policies_each_tier(&st->policies, recover_tier, &r);
    series_reserve_ids(&st->series, r.id_max);
    return rc == 0 ? manifest_compact(st->manifest, err) : rc;
}
