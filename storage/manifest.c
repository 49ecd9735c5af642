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
    struct manifest_record *rolled; /* the last MANIFEST_ROLL of each tier, without its generation */
    size_t rolled_count, rolled_cap;
    uint64_t *ended; /* generations of all records, as read at the opening */
    size_t ended_count;
    size_t records; /* in the file */
    uint64_t generation_max;
};

static uint32_t manifest_record_crc(const struct manifest_record *r)
{
    return crc32c((const char *)r + sizeof r->crc, sizeof *r - sizeof r->crc);
}

static size_t manifest_live_at(const struct manifest *m, uint64_t generation)
{
    size_t i = 0;

    while (i < m->live_count && m->live[i].generation != generation)
        i++;
    return i;
}

static int manifest_reserve_array(struct manifest_record **items, size_t count, size_t *cap, struct err *err)
{
    if (count < *cap)
        return 0;
    size_t more = *cap == 0 ? 64 : *cap * 2;
    struct manifest_record *grown = realloc(*items, more * sizeof grown[0]);
    if (grown == NULL)
        return err_set(err, ERR_MEMORY, "manifest");
    *items = grown;
    *cap = more;
    return 0;
}

/* Make room for one more record, so that applying one that is on disk cannot fail. */
static int manifest_reserve(struct manifest *m, struct err *err)
{
    int rc = manifest_reserve_array(&m->live, m->live_count, &m->live_cap, err);

    return rc < 0 ? rc : manifest_reserve_array(&m->rolled, m->rolled_count, &m->rolled_cap, err);
}

static void manifest_apply_roll(struct manifest *m, struct manifest_record r)
{
    size_t i = 0;

    while (i < m->rolled_count && (m->rolled[i].policy != r.policy || m->rolled[i].tier != r.tier))
        i++;
    m->rolled_count += i == m->rolled_count;
    r.generation = 0;
    r.crc = manifest_record_crc(&r);
    m->rolled[i] = r;
}

static void manifest_apply(struct manifest *m, const struct manifest_record *r)
{
    size_t at = manifest_live_at(m, r->generation);

    if (r->generation > m->generation_max)
        m->generation_max = r->generation;
    if (r->type == MANIFEST_ROLL)
        manifest_apply_roll(m, *r);
    if (r->type != MANIFEST_DROP && r->generation != 0 && at == m->live_count) {
        m->live[at] = *r;
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

/* Apply all records of BYTES. A bad record is a torn append when nothing valid follows it. */
static int manifest_replay(struct manifest *m, const char *path, const char *bytes, size_t len, struct err *err)
{
    size_t count = (len - sizeof(struct manifest_header)) / sizeof(struct manifest_record);
    size_t bad = SIZE_MAX;
    int rc = 0;

    m->ended = calloc(count + 1, sizeof m->ended[0]);
    if (m->ended == NULL)
        return err_set(err, ERR_MEMORY, "%s", path);
    for (size_t i = 0; i < count && rc == 0; i++) {
        struct manifest_record r;
        memcpy(&r, bytes + sizeof(struct manifest_header) + i * sizeof r, sizeof r);
        if (r.crc != manifest_record_crc(&r)) {
            bad = bad == SIZE_MAX ? i : bad;
            continue;
        }
        if (bad != SIZE_MAX)
            return err_corrupt(err, path, sizeof(struct manifest_header) + bad * sizeof r, "manifest record");
        rc = manifest_reserve(m, err);
        if (rc == 0)
            manifest_apply(m, &r);
        m->ended[m->ended_count++] = r.generation;
        m->records++;
    }
    m->end = sizeof(struct manifest_header) + m->records * sizeof(struct manifest_record);
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

bool manifest_has_ended(const struct manifest *m, uint64_t generation)
{
    for (size_t i = 0; i < m->ended_count; i++)
        if (m->ended[i] == generation)
            return true;
    return false;
}

uint64_t manifest_generation_max(const struct manifest *m)
{
    return m->generation_max;
}

int manifest_append(struct manifest *m, struct manifest_record record, struct err *err)
{
    int rc = manifest_reserve(m, err);

    record.crc = manifest_record_crc(&record);
    if (rc == 0)
        rc = file_write(m->file, &record, sizeof record, m->end, err);
    if (rc == 0)
        rc = file_sync(m->file, err);
    if (rc < 0)
        return rc; /* the next append overwrites what may be there */
    m->end += sizeof record;
    m->records++;
    manifest_apply(m, &record);
    return 0;
}

int manifest_compact(struct manifest *m, struct err *err)
{
    struct file *file = NULL;
    char path[4096];

    if (m->records < (m->live_count + m->rolled_count) * 2 + MANIFEST_DEAD_MIN)
        return 0;
    snprintf(path, sizeof path, "%s", file_path(m->file));
    int rc = manifest_put(m, path, err);
    if (rc == 0)
        rc = file_open(path, FILE_READ_WRITE, &file, err);
    if (rc == 0) {
        file_close(m->file);
        m->file = file;
    }
    return rc;
}
