/* segment_write.c - rows in, groups out.
 *
 * The chunks of a group are collected in memory; ids and lengths beside them. When the group is full its
 * head (ids, sub-totals, lengths) is put in front and both are written. Only the directory's entries stay.
 * The header says how many rows there are, so it is written last, into the place kept for it. */
#include "storage/segment_write.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "base/must.h"
#include "base/reader.h"
#include "storage/chunk.h"
#include "storage/format.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GROUP_CHUNKS = SEGMENT_GROUP_SERIES * SEGMENT_COLUMNS_MAX,
    /* Ids are at most a list; sub-totals and lengths of two bytes. */
    GROUP_HEAD_MAX = sizeof(struct segment_group) + SEGMENT_GROUP_SERIES * 4 + GROUP_CHUNKS / SEGMENT_SUBTOTAL * 4 +
                     GROUP_CHUNKS * 2,
};

struct segment_writer {
    struct segment_info info; /* .series, .groups, .first_id, .last_id, .bytes grow with the file */
    char *path;
    char *path_temporary;
    struct file *file;
    struct chunk_encoder *encoder;
    uint64_t offset; /* where the next group goes */
    bool committed;

    /* the group being filled */
    uint32_t rows;
    uint32_t ids[SEGMENT_GROUP_SERIES];
    uint16_t lengths[GROUP_CHUNKS];
    uint8_t *chunks; /* room for a full group and one row more */
    size_t bytes;    /* of chunks */
    uint8_t head[GROUP_HEAD_MAX];

    struct segment_entry *directory;
    uint32_t directory_room;
};

static size_t row_bound(const struct segment_info *info)
{
    return info->columns * chunk_bound(info->slots);
}

/* PATH with SUFFIX behind it, malloc'ed. */
static char *path_with(const char *path, const char *suffix)
{
    char *joined = NULL;

    return asprintf(&joined, "%s%s", path, suffix) < 0 ? NULL : joined;
}

int segment_writer_new(const char *path, const struct segment_info *info, struct segment_writer **out, struct err *err)
{
    struct segment_writer *w = calloc(1, sizeof(*w));
    int rc = 0;

    MUST(info->slots >= 1 && info->slots <= CHUNK_SLOTS_MAX && info->step_s >= 1);
    MUST(info->columns >= 1 && info->columns <= SEGMENT_COLUMNS_MAX);
    *out = NULL;
    if (w == NULL)
        return err_set(err, ERR_MEMORY, "%s: out of memory", path);
    w->info = *info;
    w->info.series = w->info.groups = w->info.first_id = w->info.last_id = 0;
    w->info.bytes = 0;
    w->offset = sizeof(struct segment_header);
    w->path = path_with(path, "");
    w->path_temporary = path_with(path, ".tmp");
    w->chunks = malloc(SEGMENT_GROUP_BYTES + row_bound(info));
    if (w->path == NULL || w->path_temporary == NULL || w->chunks == NULL)
        rc = err_set(err, ERR_MEMORY, "%s: out of memory", path);
    if (rc == 0)
        rc = chunk_encoder_new(&w->encoder, err);
    if (rc == 0)
        rc = file_open(w->path_temporary, FILE_READ_WRITE | FILE_CREATE | FILE_EMPTY, &w->file, err);
    if (rc < 0) {
        segment_writer_free(w);
        return rc;
    }
    *out = w;
    return 0;
}

/* ---- a group ---- */

/* The ids, in the form that takes the fewest bytes. */
static uint8_t *put_ids(const struct segment_writer *w, uint8_t *to, uint8_t *kind)
{
    uint32_t first = w->ids[0], span = w->ids[w->rows - 1] - first;
    size_t bitmap = ((size_t)span / 64 + 1) * 8;

    *kind = SEGMENT_IDS_RUN;
    if (span == w->rows - 1)
        return to;
    if (bitmap <= (size_t)w->rows * 4) {
        *kind = SEGMENT_IDS_BITMAP;
        memset(to, 0, bitmap);
        for (uint32_t i = 0; i < w->rows; i++)
            to[(w->ids[i] - first) / 8] |= (uint8_t)(1 << (w->ids[i] - first) % 8);
        return to + bitmap;
    }
    *kind = SEGMENT_IDS_LIST;
    for (uint32_t i = 0; i < w->rows; i++)
        to = put_u32(to, w->ids[i] - first);
    return to;
}

/* Where each 64th chunk begins, and the length of every one. */
static uint8_t *put_lengths(const struct segment_writer *w, uint8_t *to, uint8_t *length_bytes)
{
    uint32_t count = w->rows * w->info.columns, total = 0;

    *length_bytes = 1;
    for (uint32_t i = 0; i < count; i++) {
        if (i % SEGMENT_SUBTOTAL == 0 && i != 0)
            to = put_u32(to, total);
        total += w->lengths[i];
        if (w->lengths[i] > UINT8_MAX)
            *length_bytes = 2;
    }
    MUST(total == w->bytes);
    for (uint32_t i = 0; i < count; i++)
        to = put_uint(to, w->lengths[i], *length_bytes);
    return to;
}

static int directory_add(struct segment_writer *w, const struct segment_entry *entry, struct err *err)
{
    if (w->info.groups == w->directory_room) {
        uint32_t room = w->directory_room == 0 ? 64 : w->directory_room * 2;
        struct segment_entry *larger = realloc(w->directory, room * sizeof(*larger));

        if (larger == NULL)
            return err_set(err, ERR_MEMORY, "%s: out of memory", w->path);
        w->directory = larger;
        w->directory_room = room;
    }
    w->directory[w->info.groups++] = *entry;
    return 0;
}

static int write_group(struct segment_writer *w, struct err *err)
{
    struct segment_group group = {.rows = (uint16_t)w->rows};
    struct segment_entry entry = {.offset = w->offset};
    uint8_t *at;
    size_t head;
    int rc;

    if (w->rows == 0)
        return 0;
    entry.first_id = group.first_id = w->ids[0];
    entry.last_id = group.last_id = w->ids[w->rows - 1];
    at = put_ids(w, w->head + sizeof(group), &group.ids);
    at = put_lengths(w, at, &group.length_bytes);
    memcpy(w->head, &group, sizeof(group));
    head = (size_t)(at - w->head);
    MUST(head <= GROUP_HEAD_MAX);
    entry.length = (uint32_t)(head + w->bytes);
    entry.crc = crc32c_more(crc32c(w->head, head), w->chunks, w->bytes);

    rc = file_write(w->file, w->head, head, w->offset, err);
    if (rc == 0)
        rc = file_write(w->file, w->chunks, w->bytes, w->offset + head, err);
    if (rc == 0)
        rc = directory_add(w, &entry, err);
    w->offset += entry.length;
    w->rows = 0;
    w->bytes = 0;
    return rc;
}

/* ---- rows ---- */

/* Make room for one more row in the group. */
static int row_begin(struct segment_writer *w, uint32_t id, struct err *err)
{
    MUST(!w->committed);
    MUST(w->info.series == 0 || id > w->info.last_id);
    if (w->rows == SEGMENT_GROUP_SERIES || w->bytes >= SEGMENT_GROUP_BYTES)
        return write_group(w, err);
    return 0;
}

static void row_end(struct segment_writer *w, uint32_t id)
{
    w->ids[w->rows++] = id;
    if (w->info.series++ == 0)
        w->info.first_id = id;
    w->info.last_id = id;
}

int segment_writer_add(struct segment_writer *w, uint32_t id, const double *values, struct err *err)
{
    int rc = row_begin(w, id, err);
    size_t before = w->bytes;

    if (rc < 0)
        return rc;
    for (uint32_t column = 0; column < w->info.columns; column++) {
        size_t len =
            chunk_encode(w->encoder, values + (size_t)column * w->info.slots, w->info.slots, w->chunks + w->bytes);

        w->lengths[w->rows * w->info.columns + column] = (uint16_t)len;
        w->bytes += len;
    }
    if (w->bytes != before)
        row_end(w, id);
    return 0;
}

int segment_writer_add_row(struct segment_writer *w, const struct segment_row *row, struct err *err)
{
    int rc = row_begin(w, row->id, err);
    size_t before = w->bytes;

    if (rc < 0)
        return rc;
    for (uint32_t column = 0; column < w->info.columns; column++) {
        struct span chunk = row->chunks[column];

        MUST(chunk.len <= chunk_bound(w->info.slots));
        if (chunk.len != 0)
            memcpy(w->chunks + w->bytes, chunk.ptr, chunk.len);
        w->lengths[w->rows * w->info.columns + column] = (uint16_t)chunk.len;
        w->bytes += chunk.len;
    }
    if (w->bytes != before)
        row_end(w, row->id);
    return 0;
}

uint32_t segment_writer_rows(const struct segment_writer *w)
{
    return w->info.series;
}

/* ---- the end ---- */

static struct segment_header header_of(const struct segment_info *info)
{
    struct segment_header header = {
        .magic = SEGMENT_MAGIC,
        .version = SEGMENT_VERSION,
        .tier = info->tier,
        .columns = info->columns,
        .policy = info->policy,
        .step_s = info->step_s,
        .start_s = info->start_s,
        .generation = info->generation,
        .slots = info->slots,
        .series = info->series,
        .groups = info->groups,
        .first_id = info->first_id,
        .last_id = info->last_id,
    };

    header.crc = crc32c(&header, offsetof(struct segment_header, crc));
    return header;
}

/* Directory and footer behind the groups, the header in front of them. */
static int write_ends(struct segment_writer *w, struct err *err)
{
    size_t directory_len = w->info.groups * sizeof(struct segment_entry);
    struct segment_header header = header_of(&w->info);
    struct segment_footer footer = {
        .directory = w->offset,
        .groups = w->info.groups,
        .header_crc = header.crc,
        .directory_crc = crc32c(w->directory, directory_len),
        .magic = SEGMENT_END_MAGIC,
    };
    int rc = 0;

    footer.crc = crc32c(&footer, offsetof(struct segment_footer, crc));
    if (directory_len != 0)
        rc = file_write(w->file, w->directory, directory_len, w->offset, err);
    if (rc == 0)
        rc = file_write(w->file, &footer, sizeof(footer), w->offset + directory_len, err);
    if (rc == 0)
        rc = file_write(w->file, &header, sizeof(header), 0, err);
    w->info.bytes = w->offset + directory_len + sizeof(footer);
    return rc;
}

static int sync_folder_of(const char *path, struct err *err)
{
    char *copy = path_with(path, "");
    int rc;

    if (copy == NULL)
        return err_set(err, ERR_MEMORY, "%s: out of memory", path);
    rc = file_sync_dir(dirname(copy), err);
    free(copy);
    return rc;
}

int segment_writer_commit(struct segment_writer *w, struct err *err)
{
    int rc = write_group(w, err);

    MUST(!w->committed);
    if (rc == 0)
        rc = write_ends(w, err);
    if (rc == 0)
        rc = file_sync(w->file, err);
    if (rc == 0)
        rc = file_rename(w->path_temporary, w->path, err);
    if (rc < 0)
        return rc;
    w->committed = true;
    return sync_folder_of(w->path, err);
}

uint64_t segment_writer_bytes(const struct segment_writer *w)
{
    return w->committed ? w->info.bytes : 0;
}

void segment_writer_free(struct segment_writer *w)
{
    if (w == NULL)
        return;
    if (w->file != NULL) {
        file_close(w->file);
        /* What cannot be removed now is overwritten or removed at the next start. */
        if (!w->committed)
            file_unlink(w->path_temporary, NULL);
    }
    chunk_encoder_free(w->encoder);
    free(w->directory);
    free(w->chunks);
    free(w->path_temporary);
    free(w->path);
    free(w);
}
