#include "storage/manifest.h"

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "base/must.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MANIFEST_FILE_MAX = 1 << 30, MANIFEST_DEAD_MIN = 1024 };

struct manifest {
    struct file *file;
    uint64_t end; /* where the next record goes */
    struct manifest_record *live;
    size_t live_count, live_cap;
    struct manifest_record *rolled; /* the last MANIFEST_ROLL of each tier, without its number */
    size_t rolled_count, rolled_cap;
    uint64_t *ended; /* numbers of all records, as read at the opening */
    size_t ended_count;
    size_t records; /* in the file */
    uint64_t number_max;
    bool damaged;
};

static uint32_t manifest_record_crc(const struct manifest_record *r)
{
    return crc32c((const char *)r + sizeof r->crc, sizeof *r - sizeof r->crc);
}

static size_t manifest_live_at(const struct manifest *m, uint64_t number)
{
    size_t i = 0;

    while (i < m->live_count && m->live[i].number != number)
        i++;
    return i;
}

static int manifest_reserve_array(struct manifest_record **items, size_t count, size_t *cap, struct err *err)
{
    if (count <= *cap)
        return 0;
    size_t more = *cap * 2 > count ? *cap * 2 : count + 64;
    struct manifest_record *grown = realloc(*items, more * sizeof grown[0]);
    if (grown == NULL)
        return err_set(err, ERR_MEMORY, "manifest");
    *items = grown;
    *cap = more;
    return 0;
}

/* Make room for MORE records, so that applying those that are on disk cannot fail. */
static int manifest_reserve(struct manifest *m, size_t more, struct err *err)
{
    int rc = manifest_reserve_array(&m->live, m->live_count + more, &m->live_cap, err);

    return rc < 0 ? rc : manifest_reserve_array(&m->rolled, m->rolled_count + more, &m->rolled_cap, err);
}

/* R as a change of its own, as it stands in a file that is written anew. */
static struct manifest_record manifest_alone(struct manifest_record r)
{
    r.index = r.last = 0;
    r.crc = manifest_record_crc(&r);
    return r;
}

static void manifest_apply_roll(struct manifest *m, struct manifest_record r)
{
    size_t i = 0;

    while (i < m->rolled_count && (m->rolled[i].policy != r.policy || m->rolled[i].tier != r.tier))
        i++;
    m->rolled_count += i == m->rolled_count;
    r.number = 0;
    m->rolled[i] = manifest_alone(r);
}

static void manifest_apply(struct manifest *m, const struct manifest_record *r)
{
    size_t at = manifest_live_at(m, r->number);

    if (r->number > m->number_max)
        m->number_max = r->number;
    if (r->type == MANIFEST_ROLL)
        manifest_apply_roll(m, *r);
    if (r->type != MANIFEST_DROP && r->number != 0 && at == m->live_count) {
        m->live[at] = manifest_alone(*r);
        m->live[at].type = MANIFEST_SEAL;
        m->live[at].crc = manifest_record_crc(&m->live[at]);
        m->live_count++;
    }
    if (r->type == MANIFEST_DROP && at < m->live_count) {
        memmove(&m->live[at], &m->live[at + 1], (m->live_count - at - 1) * sizeof m->live[0]);
        m->live_count--;
    }
}

static void manifest_header_bytes(struct manifest_header *h)
{
    *h = (struct manifest_header){.magic = MANIFEST_MAGIC, .version = MANIFEST_VERSION};
    h->crc = crc32c(h, offsetof(struct manifest_header, crc));
}

static int manifest_check_header(const char *path, const char *bytes, struct err *err)
{
    struct manifest_header h;

    memcpy(&h, bytes, sizeof h);
    if (h.magic != MANIFEST_MAGIC || h.crc != crc32c(&h, offsetof(struct manifest_header, crc)))
        return err_corrupt(err, path, 0, "manifest header");
    if (h.version > MANIFEST_VERSION)
        return err_set(err, ERR_VERSION, "%s: version %u, this plumbago reads up to %u", path, h.version,
                       MANIFEST_VERSION);
    return 0;
}

static bool manifest_record_valid(const struct manifest_record *r)
{
    return r->crc == manifest_record_crc(r) && r->index <= r->last;
}

/* How many of COUNT records stand before the first damaged one, cut back to whole changes. */
static size_t manifest_whole_changes(const struct manifest_record *r, size_t count)
{
    size_t whole = 0;

    for (size_t i = 0; i < count && manifest_record_valid(&r[i]); i++)
        if (r[i].index == r[i].last)
            whole = i + 1;
    return whole;
}

/* Whether what follows the first WHOLE records is one change that was torn as it was appended: all valid
 * records in it belong to a change that begins right there and reaches the end. Anything else is damage. */
static bool manifest_is_torn(const struct manifest_record *r, size_t whole, size_t count)
{
    for (size_t i = whole; i < count; i++)
        if (manifest_record_valid(&r[i]) && (i - r[i].index != whole || whole + r[i].last + 1 < count))
            return false;
    return count - whole <= MANIFEST_CHANGE_MAX;
}

/* Apply all records of BYTES. A torn change at the end is cut off; when there is damage, each valid record
 * counts for itself. */
static int manifest_replay(struct manifest *m, const char *path, const char *bytes, size_t len, struct err *err)
{
    size_t count = (len - sizeof(struct manifest_header)) / sizeof(struct manifest_record);
    struct manifest_record *r = malloc((count + 1) * sizeof r[0]);

    m->ended = calloc(count + 1, sizeof m->ended[0]);
    int rc = m->ended == NULL || r == NULL ? err_set(err, ERR_MEMORY, "%s", path) : manifest_reserve(m, count, err);
    if (rc == 0) {
        memcpy(r, bytes + sizeof(struct manifest_header), count * sizeof r[0]);
        m->records = manifest_whole_changes(r, count);
        m->damaged = !manifest_is_torn(r, m->records, count);
        m->records = m->damaged ? count : m->records;
        m->end = sizeof(struct manifest_header) + m->records * sizeof r[0];
    }
    for (size_t i = 0; rc == 0 && i < m->records; i++) {
        if (!manifest_record_valid(&r[i]))
            continue;
        manifest_apply(m, &r[i]);
        m->ended[m->ended_count++] = r[i].number;
    }
    free(r);
    return rc;
}

static int manifest_load(struct manifest *m, const char *path, struct err *err)
{
    char *bytes = NULL;
    size_t len = 0;
    int rc = file_slurp(path, MANIFEST_FILE_MAX, &bytes, &len, err);

    if (rc == 0)
        rc = len < sizeof(struct manifest_header) ? err_corrupt(err, path, len, "manifest header")
                                                  : manifest_check_header(path, bytes, err);
    if (rc == 0)
        rc = manifest_replay(m, path, bytes, len, err);
    free(bytes);
    return rc;
}

/* The file whole, with the live segments only; it appears at once. */
static int manifest_put(struct manifest *m, const char *path, struct err *err)
{
    struct buf b = {0};
    struct manifest_header h;

    manifest_header_bytes(&h);
    buf_add(&b, &h, sizeof h);
    buf_add(&b, m->live, m->live_count * sizeof m->live[0]);
    buf_add(&b, m->rolled, m->rolled_count * sizeof m->rolled[0]);
    int rc = b.failed ? err_set(err, ERR_MEMORY, "%s", path) : file_put(path, buf_span(&b), err);
    if (rc == 0) {
        m->end = b.len;
        m->records = m->live_count + m->rolled_count;
    }
    buf_release(&b);
    return rc;
}

int manifest_open(const char *dir, struct manifest **out, struct err *err)
{
    struct manifest *m = calloc(1, sizeof *m);
    char path[4096];

    *out = NULL;
    if (m == NULL)
        return err_set(err, ERR_MEMORY, "manifest");
    snprintf(path, sizeof path, "%s/MANIFEST", dir);
    int rc = manifest_load(m, path, err);
    if (rc == ERR_MISSING)
        rc = manifest_put(m, path, err);
    if (rc == 0)
        rc = file_open(path, FILE_READ_WRITE, &m->file, err);
    if (rc == 0)
        rc = file_truncate(m->file, m->end, err);
    if (rc < 0) {
        manifest_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

void manifest_close(struct manifest *m)
{
    if (m == NULL)
        return;
    file_close(m->file);
    free(m->live);
    free(m->rolled);
    free(m->ended);
    free(m);
}

const struct manifest_record *manifest_segments(const struct manifest *m, size_t *count)
{
    *count = m->live_count;
    return m->live;
}

bool manifest_rolled(const struct manifest *m, uint32_t policy, uint8_t tier, struct manifest_record *out)
{
    for (size_t i = 0; i < m->rolled_count; i++) {
        if (m->rolled[i].policy == policy && m->rolled[i].tier == tier) {
            *out = m->rolled[i];
            return true;
        }
    }
    return false;
}

bool manifest_has_ended(const struct manifest *m, uint64_t number)
{
    for (size_t i = 0; i < m->ended_count; i++)
        if (m->ended[i] == number)
            return true;
    return false;
}

bool manifest_is_damaged(const struct manifest *m)
{
    return m->damaged;
}

uint64_t manifest_number_max(const struct manifest *m)
{
    return m->number_max;
}

int manifest_append(struct manifest *m, struct manifest_record *records, size_t count, struct err *err)
{
    int rc = 0;

    MUST(count >= 1 && count <= MANIFEST_CHANGE_MAX);
    for (size_t i = 0; i < count; i++) {
        records[i].index = (uint8_t)i;
        records[i].last = (uint8_t)(count - 1);
        records[i].crc = manifest_record_crc(&records[i]);
    }
    rc = manifest_reserve(m, count, err);
    if (rc == 0)
        rc = file_write(m->file, records, count * sizeof records[0], m->end, err);
    if (rc == 0)
        rc = file_sync(m->file, err);
    if (rc < 0)
        return rc; /* the next append overwrites what may be there */
    m->end += count * sizeof records[0];
    m->records += count;
    for (size_t i = 0; i < count; i++)
        manifest_apply(m, &records[i]);
    return 0;
}

int manifest_compact(struct manifest *m, struct err *err)
{
    struct file *file = NULL;
    char path[4096];

    if (!m->damaged && m->records < (m->live_count + m->rolled_count) * 2 + MANIFEST_DEAD_MIN)
        return 0;
    snprintf(path, sizeof path, "%s", file_path(m->file));
    int rc = manifest_put(m, path, err);
    if (rc == 0)
        rc = file_open(path, FILE_READ_WRITE, &file, err);
    if (rc == 0) {
        file_close(m->file);
        m->file = file;
        m->damaged = false;
    }
    return rc;
}
