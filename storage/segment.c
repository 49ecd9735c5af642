/* segment.c - reading a sealed file through its mapping.
 *
 *     | header | group | group | ... | directory | footer |
 *
 * Opening reads the two ends only. A look-up is: binary search of the directory for the group, then within
 * it the row's number (arithmetic, a bitmap's rank or a binary search), then its chunk: the nearest
 * sub-total before it plus at most 63 lengths.
 *
 * The first touch of a group checks its CRC32C and all that look-ups rely on: the list of ids, the
 * sub-totals, and that the lengths fill the group exactly. The verdict is kept in a byte per group; two
 * threads may both check, and find the same. After that no look-up in it needs a check.
 *
 * Whatever reads the mapping does so under a guard (base/fault.h): a file that was cut, or a block that the
 * device cannot give, is damage of that group and not the end of the process. */
#include "storage/segment.h"

#include "base/crc32c.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/must.h"
#include "base/reader.h"
#include "storage/chunk.h"
#include "storage/format.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum group_state {
    GROUP_UNKNOWN,
    GROUP_GOOD,
    GROUP_BAD_CRC,
    GROUP_BAD_SHAPE,
};

struct segment {
    char *path;
    struct span map;
    struct segment_info info;
    struct segment_entry *directory; /* a copy: aligned, and checked once */
    _Atomic uint8_t *states;         /* enum group_state of each group; any thread */
};

/* The error of a place in the mapping that FAULT was met at. */
static int unreadable(const struct segment *seg, const struct fault *fault, struct err *err)
{
    return err_corrupt(err, seg->path, (unsigned long long)(fault->at - seg->map.ptr),
                       "cannot be read: the file was cut, or the device fails");
}

/* ---- open ---- */

static int read_header(struct segment *seg, struct segment_header *header, struct err *err)
{
    if (seg->map.len < sizeof(*header) + sizeof(struct segment_footer))
        return err_corrupt(err, seg->path, seg->map.len, "too short for a segment");
    memcpy(header, seg->map.ptr, sizeof(*header));
    if (header->magic != SEGMENT_MAGIC)
        return err_corrupt(err, seg->path, 0, "no segment");
    if (header->crc != crc32c(header, offsetof(struct segment_header, crc)))
        return err_corrupt(err, seg->path, 0, "checksum of the segment header");
    /* Behind the checksum: a damaged file must not pass for a newer one, which stops the whole store. */
    if (header->version > SEGMENT_VERSION)
        return err_set(err, ERR_VERSION, "%s: segment of version %u, this program knows up to %u", seg->path,
                       header->version, SEGMENT_VERSION);
    if (header->version == 0 || header->slots == 0 || header->slots > CHUNK_SLOTS_MAX || header->step_s == 0 ||
        header->columns == 0 || header->columns > SEGMENT_COLUMNS_MAX)
        return err_corrupt(err, seg->path, 0, "segment header");
    seg->info = (struct segment_info){
        .policy = header->policy,
        .tier = header->tier,
        .columns = header->columns,
        .step_s = header->step_s,
        .slots = header->slots,
        .start_s = header->start_s,
        .generation = header->generation,
        .series = header->series,
        .groups = header->groups,
        .first_id = header->first_id,
        .last_id = header->last_id,
        .bytes = seg->map.len,
    };
    return 0;
}

static int read_footer(const struct segment *seg, uint32_t header_crc, struct segment_footer *footer, struct err *err)
{
    uint64_t at = seg->map.len - sizeof(*footer);

    memcpy(footer, seg->map.ptr + at, sizeof(*footer));
    if (footer->magic != SEGMENT_END_MAGIC)
        return err_corrupt(err, seg->path, at, "no end of a segment: the file was cut or is not whole");
    if (footer->crc != crc32c(footer, offsetof(struct segment_footer, crc)))
        return err_corrupt(err, seg->path, at, "checksum of the segment footer");
    if (footer->header_crc != header_crc || footer->groups != seg->info.groups || footer->directory > at ||
        at - footer->directory != footer->groups * sizeof(struct segment_entry))
        return err_corrupt(err, seg->path, at, "segment footer does not fit the header and the file's length");
    return 0;
}

/* Whether the groups lie one behind the other between header and directory, by ascending ids. */
static bool directory_fits(const struct segment *seg, uint64_t end)
{
    uint64_t at = sizeof(struct segment_header);

    for (uint32_t i = 0; i < seg->info.groups && at <= end; i++) {
        const struct segment_entry *entry = &seg->directory[i];

        if (entry->offset != at || entry->length < sizeof(struct segment_group) || entry->length > end - at ||
            entry->first_id > entry->last_id || (i != 0 && entry->first_id <= entry[-1].last_id))
            return false;
        at += entry->length;
    }
    if (seg->info.groups != 0 && (seg->directory[0].first_id != seg->info.first_id ||
                                  seg->directory[seg->info.groups - 1].last_id != seg->info.last_id))
        return false;
    return at == end;
}

static int read_directory(struct segment *seg, const struct segment_footer *footer, struct err *err)
{
    size_t len = seg->info.groups * sizeof(struct segment_entry);

    /* One more of each, so that a segment of no rows is no special case. */
    seg->directory = malloc(len + sizeof(struct segment_entry));
    seg->states = calloc((size_t)seg->info.groups + 1, sizeof(*seg->states));
    if (seg->directory == NULL || seg->states == NULL)
        return err_set(err, ERR_MEMORY, "%s: out of memory", seg->path);
    memcpy(seg->directory, seg->map.ptr + footer->directory, len);
    if (crc32c(seg->directory, len) != footer->directory_crc)
        return err_corrupt(err, seg->path, footer->directory, "checksum of the segment directory");
    if (!directory_fits(seg, footer->directory))
        return err_corrupt(err, seg->path, footer->directory, "segment directory");
    return 0;
}

/* Everything that is not a group, checked. */
static int read_ends(struct segment *seg, struct err *err)
{
    struct segment_header header;
    struct segment_footer footer;
    int rc = read_header(seg, &header, err);

    if (rc == 0)
        rc = read_footer(seg, header.crc, &footer, err);
    return rc == 0 ? read_directory(seg, &footer, err) : rc;
}

static int read_ends_guarded(struct segment *seg, struct err *err)
{
    struct fault fault;

    if (FAULT_CAUGHT(&fault, seg->map.ptr, seg->map.len))
        return unreadable(seg, &fault, err); /* what read_directory() had allocated hangs on SEG */
    int rc = read_ends(seg, err);
    fault_leave(&fault);
    return rc;
}

int segment_open(const char *path, struct segment **out, struct err *err)
{
    struct segment *seg = calloc(1, sizeof(*seg));
    int rc;

    fault_init();

    *out = NULL;
    if (seg == NULL || (seg->path = strdup(path)) == NULL) {
        free(seg);
        return err_set(err, ERR_MEMORY, "%s: out of memory", path);
    }
    rc = file_map_whole(path, &seg->map, err);
    if (rc == 0)
        rc = read_ends_guarded(seg, err);
    if (rc < 0) {
        segment_close(seg);
        return rc;
    }
    *out = seg;
    return 0;
}

void segment_close(struct segment *seg)
{
    if (seg == NULL)
        return;
    file_unmap((void *)(uintptr_t)seg->map.ptr, seg->map.len);
    free((void *)seg->states);
    free(seg->directory);
    free(seg->path);
    free(seg);
}

const struct segment_info *segment_info(const struct segment *seg)
{
    return &seg->info;
}

const char *segment_path(const struct segment *seg)
{
    return seg->path;
}

/* ---- a group ---- */

/* Where everything in a group is; pointers into the mapping. */
struct group {
    struct segment_group head;
    struct span ids;
    struct span subtotals;
    struct span lengths;
    struct span chunks;
    uint32_t count; /* of chunks: rows times columns */
};

/* Cut the group's bytes to its parts. False when they do not fit in. */
static bool group_parts(const struct segment *seg, const struct segment_entry *entry, struct group *group)
{
    struct reader in = reader_of(span_of(seg->map.ptr + entry->offset, entry->length));
    struct span head = read_bytes(&in, sizeof(group->head));
    size_t ids = 0;

    memcpy(&group->head, head.ptr, sizeof(group->head));
    if (group->head.first_id != entry->first_id || group->head.last_id != entry->last_id || group->head.rows == 0 ||
        group->head.rows > SEGMENT_GROUP_SERIES || group->head.length_bytes < 1 || group->head.length_bytes > 2)
        return false;
    if (group->head.ids == SEGMENT_IDS_BITMAP)
        ids = ((size_t)(entry->last_id - entry->first_id) / 64 + 1) * 8;
    else if (group->head.ids == SEGMENT_IDS_LIST)
        ids = (size_t)group->head.rows * 4;
    group->count = (uint32_t)group->head.rows * seg->info.columns;
    group->ids = read_bytes(&in, ids);
    group->subtotals = read_bytes(&in, (group->count - 1) / SEGMENT_SUBTOTAL * 4);
    group->lengths = read_bytes(&in, (size_t)group->count * group->head.length_bytes);
    group->chunks = reader_rest(&in);
    return !in.bad;
}

static uint32_t list_id(const struct group *group, uint32_t index)
{
    return group->head.first_id + get_u32(group->ids.ptr + (size_t)index * 4);
}

static uint32_t chunk_length(const struct group *group, uint32_t index)
{
    const uint8_t *lengths = (const uint8_t *)group->lengths.ptr;

    if (group->head.length_bytes == 1)
        return lengths[index];
    return lengths[2 * index] | (uint32_t)lengths[2 * index + 1] << 8;
}

/* Where the chunk of that number begins. */
static uint32_t chunk_offset(const struct group *group, uint32_t index)
{
    uint32_t at = index / SEGMENT_SUBTOTAL * SEGMENT_SUBTOTAL;
    uint32_t offset = at == 0 ? 0 : get_u32(group->subtotals.ptr + (size_t)(at / SEGMENT_SUBTOTAL - 1) * 4);

    for (; at < index; at++)
        offset += chunk_length(group, at);
    return offset;
}

static bool ids_fit(const struct group *group)
{
    uint32_t span = group->head.last_id - group->head.first_id, rows = 0;

    switch (group->head.ids) {
    case SEGMENT_IDS_RUN:
        return span == (uint32_t)group->head.rows - 1;
    case SEGMENT_IDS_BITMAP:
        for (size_t at = 0; at < group->ids.len; at += 8)
            rows += (uint32_t)__builtin_popcountll(get_u64(group->ids.ptr + at));
        /* The first and the last bit are set, none behind that. */
        return rows == group->head.rows && (group->ids.ptr[0] & 1) != 0 &&
               get_u64(group->ids.ptr + group->ids.len - 8) >> span % 64 == 1;
    case SEGMENT_IDS_LIST:
        for (uint32_t i = 1; i < group->head.rows; i++)
            if (get_u32(group->ids.ptr + (size_t)i * 4) <= get_u32(group->ids.ptr + (size_t)i * 4 - 4))
                return false;
        return get_u32(group->ids.ptr) == 0 && list_id(group, group->head.rows - 1u) == group->head.last_id;
    default:
        return false;
    }
}

static bool lengths_fit(const struct group *group, size_t length_max)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < group->count; i++) {
        if (chunk_length(group, i) > length_max || (i % SEGMENT_SUBTOTAL == 0 && total != chunk_offset(group, i)))
            return false;
        total += chunk_length(group, i);
    }
    return total == group->chunks.len;
}

static enum group_state group_examine(const struct segment *seg, const struct segment_entry *entry)
{
    struct group group;

    file_map_prefetch(seg->map.ptr + entry->offset, entry->length);
    if (crc32c(seg->map.ptr + entry->offset, entry->length) != entry->crc)
        return GROUP_BAD_CRC;
    if (group_parts(seg, entry, &group) && ids_fit(&group) && lengths_fit(&group, chunk_bound(seg->info.slots)))
        return GROUP_GOOD;
    return GROUP_BAD_SHAPE;
}

/* The group of that number, examined. */
static int group_get(struct segment *seg, uint32_t number, struct group *group, struct err *err)
{
    const struct segment_entry *entry = &seg->directory[number];
    uint8_t state = atomic_load_explicit(&seg->states[number], memory_order_relaxed);

    if (state == GROUP_UNKNOWN) {
        state = (uint8_t)group_examine(seg, entry);
        atomic_store_explicit(&seg->states[number], state, memory_order_relaxed);
    }
    if (state == GROUP_GOOD && group_parts(seg, entry, group))
        return 0;
    return err_corrupt(err, seg->path, entry->offset,
                       state == GROUP_BAD_CRC ? "checksum of a group of series" : "group of series");
}

/* ---- rows ---- */

/* The first group that ends at ID or behind it; their number when there is none. */
static uint32_t find_group(const struct segment *seg, uint32_t id)
{
    uint32_t low = 0, high = seg->info.groups;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (seg->directory[middle].last_id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool bitmap_index(const struct group *group, uint32_t id, uint32_t *index)
{
    uint32_t bit = id - group->head.first_id;
    uint64_t word = get_u64(group->ids.ptr + bit / 64 * 8);

    if ((word >> bit % 64 & 1) == 0)
        return false;
    *index = (uint32_t)__builtin_popcountll(word & ((UINT64_C(1) << bit % 64) - 1));
    for (uint32_t i = 0; i < bit / 64; i++)
        *index += (uint32_t)__builtin_popcountll(get_u64(group->ids.ptr + i * 8));
    return true;
}

static bool list_index(const struct group *group, uint32_t id, uint32_t *index)
{
    uint32_t low = 0, high = group->head.rows;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (list_id(group, middle) < id)
            low = middle + 1;
        else
            high = middle;
    }
    *index = low;
    return low < group->head.rows && list_id(group, low) == id;
}

/* The number of series ID in the group, which it is within the ids of. */
static bool row_index(const struct group *group, uint32_t id, uint32_t *index)
{
    if (group->head.ids == SEGMENT_IDS_BITMAP)
        return bitmap_index(group, id, index);
    if (group->head.ids == SEGMENT_IDS_LIST)
        return list_index(group, id, index);
    *index = id - group->head.first_id;
    return true;
}

/* The chunks of the row of that number, the first of which begins at OFFSET. Returns where the next row's do. */
static uint32_t row_chunks(const struct segment *seg, const struct group *group, uint32_t index, uint32_t offset,
                           struct segment_row *row)
{
    for (uint32_t column = 0; column < SEGMENT_COLUMNS_MAX; column++) {
        uint32_t length = 0;

        if (column < seg->info.columns)
            length = chunk_length(group, index * seg->info.columns + column);
        row->chunks[column] = span_of(group->chunks.ptr + offset, length);
        offset += length;
    }
    return offset;
}

/* Look series ID up. ROW may be NULL. */
static int find_row(struct segment *seg, uint32_t id, struct segment_row *row, struct err *err)
{
    uint32_t number = find_group(seg, id), index;
    struct group group;
    int rc;

    if (number == seg->info.groups || id < seg->directory[number].first_id)
        return 0;
    rc = group_get(seg, number, &group, err);
    if (rc < 0)
        return rc;
    if (!row_index(&group, id, &index))
        return 0;
    if (row != NULL) {
        row->id = id;
        row_chunks(seg, &group, index, chunk_offset(&group, index * seg->info.columns), row);
    }
    return 1;
}

int segment_row(struct segment *seg, uint32_t id, struct segment_row *row, struct err *err)
{
    struct fault fault;

    if (FAULT_CAUGHT(&fault, seg->map.ptr, seg->map.len))
        return unreadable(seg, &fault, err);
    int rc = find_row(seg, id, row, err);
    fault_leave(&fault);
    return rc;
}

int segment_has(struct segment *seg, uint32_t id, struct err *err)
{
    return segment_row(seg, id, NULL, err);
}

/* The error of a chunk that does not decode. */
static int bad_chunk(const struct segment *seg, uint32_t id, struct span chunk, struct err *err)
{
    err_corrupt(err, seg->path, (unsigned long long)(chunk.ptr - seg->map.ptr), "chunk does not decode");
    err_context(err, "series %" PRIu32, id);
    return ERR_CORRUPT;
}

/* Decode one chunk of ROW; out of line, as a frame with a jump buffer must not share its registers. */
__attribute__((noinline)) static int decode_column(const struct segment *seg, const struct segment_row *row,
                                                   uint8_t column, uint32_t first_slot, uint32_t slots, double *out,
                                                   struct err *err)
{
    struct span chunk = row->chunks[column];
    int points = chunk.len == 0 ? 0 : chunk_decode_range(chunk, seg->info.slots, first_slot, slots, out);

    return points < 0 ? bad_chunk(seg, row->id, chunk, err) : points;
}

int segment_decode(const struct segment *seg, const struct segment_row *row, uint8_t column, double *out,
                   struct err *err)
{
    struct fault fault;

    MUST(column < seg->info.columns);
    if (FAULT_CAUGHT(&fault, seg->map.ptr, seg->map.len))
        return unreadable(seg, &fault, err);
    int points = decode_column(seg, row, column, 0, seg->info.slots, out, err);
    fault_leave(&fault);
    return points;
}

__attribute__((noinline)) static int find_and_decode(struct segment *seg, uint32_t id, uint8_t column,
                                                     uint32_t first_slot, uint32_t slots, double *out, struct err *err)
{
    struct segment_row row;
    int rc = find_row(seg, id, &row, err);

    if (rc <= 0)
        return rc;
    rc = decode_column(seg, &row, column, first_slot, slots, out, err);
    return rc < 0 ? rc : 1;
}

int segment_read_column(struct segment *seg, uint32_t id, uint8_t column, uint32_t first_slot, uint32_t slots,
                        double *out, struct err *err)
{
    struct fault fault;

    MUST(column < seg->info.columns);
    MUST(first_slot <= seg->info.slots && slots <= seg->info.slots - first_slot);
    if (FAULT_CAUGHT(&fault, seg->map.ptr, seg->map.len))
        return unreadable(seg, &fault, err);
    int rc = find_and_decode(seg, id, column, first_slot, slots, out, err);
    fault_leave(&fault);
    return rc;
}

int segment_read(struct segment *seg, uint32_t id, uint32_t first_slot, uint32_t slots, double *out, struct err *err)
{
    return segment_read_column(seg, id, 0, first_slot, slots, out, err);
}

/* ---- all rows ---- */

struct segment_cursor segment_cursor(struct segment *seg)
{
    return (struct segment_cursor){.seg = seg};
}

/* The id of the row of that number; LAST is the id of the row before it. */
static uint32_t row_id(const struct group *group, uint32_t index, uint32_t last)
{
    uint32_t bit;
    uint64_t word;

    if (group->head.ids == SEGMENT_IDS_LIST)
        return list_id(group, index);
    if (group->head.ids == SEGMENT_IDS_RUN || index == 0)
        return group->head.first_id + index;
    /* The next bit that is set; there is one, as there are as many as rows. */
    bit = last - group->head.first_id + 1;
    word = get_u64(group->ids.ptr + bit / 64 * 8) >> bit % 64 << bit % 64;
    for (bit = bit / 64; word == 0; word = get_u64(group->ids.ptr + bit * 8))
        bit++;
    return group->head.first_id + bit * 64 + (uint32_t)__builtin_ctzll(word);
}

/* The row in GROUP at the cursor, which moves on. */
static void cursor_take(struct segment_cursor *cursor, const struct group *group, struct segment_row *row)
{
    cursor->id = row->id = row_id(group, cursor->index, cursor->id);
    cursor->at = row_chunks(cursor->seg, group, cursor->index, cursor->at, row);
    if (++cursor->index == group->head.rows) {
        cursor->group++;
        cursor->index = 0;
        cursor->at = 0;
    }
}

__attribute__((noinline)) static int cursor_advance(struct segment_cursor *cursor, struct segment_row *row,
                                                    struct err *err)
{
    struct group group;
    int rc = group_get(cursor->seg, cursor->group, &group, err);

    if (rc == 0)
        cursor_take(cursor, &group, row);
    return rc < 0 ? rc : 1;
}

/* Leave the rest of a damaged group out. */
static void cursor_skip_group(struct segment_cursor *cursor)
{
    cursor->group++;
    cursor->index = 0;
    cursor->at = 0;
}

int segment_cursor_next(struct segment_cursor *cursor, struct segment_row *row, struct err *err)
{
    const struct segment *seg = cursor->seg;
    struct fault fault;

    if (cursor->group == seg->info.groups)
        return 0;
    if (FAULT_CAUGHT(&fault, seg->map.ptr, seg->map.len)) {
        cursor_skip_group(cursor);
        return unreadable(seg, &fault, err);
    }
    int rc = cursor_advance(cursor, row, err);
    fault_leave(&fault);
    if (rc < 0)
        cursor_skip_group(cursor);
    return rc;
}

/* ---- check ---- */

int segment_check_group(struct segment *seg, uint32_t number, uint64_t *bytes, struct err *err)
{
    struct group group;
    struct fault fault;

    MUST(number < seg->info.groups);
    *bytes = seg->directory[number].length;
    if (FAULT_CAUGHT(&fault, seg->map.ptr, seg->map.len))
        return unreadable(seg, &fault, err);
    /* As if it had never been touched; a reader beside us may look again, too, and will find the same. */
    atomic_store_explicit(&seg->states[number], GROUP_UNKNOWN, memory_order_relaxed);
    int rc = group_get(seg, number, &group, err);
    fault_leave(&fault);
    return rc;
}

struct check {
    struct segment_check *result;
    void (*each)(void *ctx, const struct err *damage);
    void *ctx;
    struct err *first; /* where the first damage goes */
    int rc;            /* its code */
};

static void check_damage(struct check *check, const struct err *damage)
{
    check->result->damaged++;
    if (check->rc == 0) {
        check->rc = damage->code;
        if (check->first != NULL)
            *check->first = *damage;
    }
    if (check->each != NULL)
        check->each(check->ctx, damage);
}

static void check_row(const struct segment *seg, const struct segment_row *row, struct check *check)
{
    double values[CHUNK_SLOTS_MAX];
    struct err err;

    check->result->rows++;
    for (uint32_t column = 0; column < seg->info.columns; column++) {
        int points = segment_decode(seg, row, (uint8_t)column, values, &err);

        if (points >= 0)
            check->result->points += (uint32_t)points;
        else
            check_damage(check, &err);
    }
}

int segment_check(const char *path, void (*each)(void *ctx, const struct err *damage), void *ctx,
                  struct segment_check *result, struct err *err)
{
    struct check check = {.result = result, .each = each, .ctx = ctx, .first = err};
    struct segment_cursor cursor;
    struct segment *seg;
    struct segment_row row;
    struct err damage;
    int rc = segment_open(path, &seg, &damage);

    *result = (struct segment_check){0};
    if (rc < 0) {
        check_damage(&check, &damage);
        return rc;
    }
    cursor = segment_cursor(seg);
    while ((rc = segment_cursor_next(&cursor, &row, &damage)) != 0) {
        if (rc < 0)
            check_damage(&check, &damage);
        else
            check_row(seg, &row, &check);
    }
    if (check.rc == 0 && result->rows != seg->info.series) {
        err_corrupt(&damage, path, 0, "segment header: number of series");
        check_damage(&check, &damage);
    }
    segment_close(seg);
    return check.rc;
}
