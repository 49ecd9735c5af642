/* file.h - the only place that opens, writes, syncs, renames and maps files.
 *
 * Everything else goes through here, so that tests can stand in: a hook sees every operation before
 * it happens and may let it fail, and is told when it has happened (tests/ builds its n-th-failure
 * and its power-cut tests on that). Outside of tests no hook is set.
 *
 * All functions return 0 or a negative err_code, and fill ERR with the path and what was tried. */
#ifndef PLUMBAGO_BASE_FILE_H
#define PLUMBAGO_BASE_FILE_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

enum file_op {
    FILE_OP_OPEN,
    FILE_OP_READ,
    FILE_OP_WRITE,
    FILE_OP_SYNC,
    FILE_OP_RESERVE,
    FILE_OP_TRUNCATE,
    FILE_OP_MAP,
    FILE_OP_RENAME, /* path: the new name */
    FILE_OP_UNLINK,
    FILE_OP_SYNC_DIR,
    FILE_OP_MAKE_DIR,
    FILE_OP_LOCK,
};

struct file_hook {
    /* Called before the operation: 0 lets it happen, an errno value makes it fail with that, without
     * being tried. May be NULL. For FILE_OP_WRITE, *len may be lowered: that much is written before
     * the failure (a torn write) when an errno is returned as well. */
    int (*before)(void *ctx, enum file_op op, const char *path, uint64_t offset, size_t *len);
    /* Called after it succeeded. For FILE_OP_RENAME, FROM is the old name, else NULL. May be NULL. */
    void (*after)(void *ctx, enum file_op op, const char *path, const char *from, uint64_t offset, size_t len);
    void *ctx;
};

/* Stand in for all file operations of this process; NULL takes the hook away. Not while other
 * threads work with files. HOOK is borrowed. */
void file_set_hook(const struct file_hook *hook);

struct file; /* an open file: descriptor and path */

enum file_mode {
    FILE_READ = 1,       /* open for reading */
    FILE_READ_WRITE = 2, /* open for both */
    FILE_CREATE = 4,     /* create when missing */
    FILE_EXCLUSIVE = 8,  /* with FILE_CREATE: fail when it exists */
    FILE_EMPTY = 16,     /* cut to no length */
};

/* Open PATH. *out is the caller's, to be given back with file_close(); NULL on failure.
 * ERR_MISSING when the file does not exist and FILE_CREATE was not given. */
int file_open(const char *path, unsigned mode, struct file **out, struct err *err);
void file_close(struct file *f);             /* NULL is fine */
const char *file_path(const struct file *f); /* borrowed until file_close() */

/* Read exactly LEN bytes at OFFSET; ERR_CORRUPT when the file ends before that. */
int file_read(const struct file *f, void *to, size_t len, uint64_t offset, struct err *err);

/* Write all LEN bytes at OFFSET. */
int file_write(struct file *f, const void *from, size_t len, uint64_t offset, struct err *err);

/* Wait until all data written so far (by file_write or through a mapping) is on the device: fdatasync. */
int file_sync(struct file *f, struct err *err);

/* Allocate the space of [0, len) so that later stores through a mapping cannot find the disk full;
 * the file grows to LEN when it is shorter. ERR_FULL when there is no space (what posix_fallocate had
 * already taken is given back). */
int file_reserve(struct file *f, uint64_t len, struct err *err);

int file_truncate(struct file *f, uint64_t len, struct err *err);
int file_size(const struct file *f, uint64_t *len, struct err *err);

/* Take an exclusive lock on the whole file without waiting; it is dropped at file_close() or when the
 * process dies. ERR_LOCKED when another process holds it. */
int file_lock(struct file *f, struct err *err);

enum file_map_mode { FILE_MAP_READ, FILE_MAP_WRITE };

/* Map LEN bytes from OFFSET (a multiple of the page size), shared. LEN may reach beyond the end of
 * the file: those pages must not be touched before the file has grown. MADV_RANDOM is set: a fault
 * brings in one page only (and a store dirties one page, not a whole large folio).
 * *out is to be given back with file_unmap(). */
int file_map(struct file *f, uint64_t offset, size_t len, enum file_map_mode mode, void **out, struct err *err);
void file_unmap(void *at, size_t len); /* NULL is fine */

/* These bytes of a mapping will be read in a moment: let the kernel fetch them in one go, whatever
 * MADV_RANDOM says. Returns at once; a hint, so it cannot fail. */
void file_map_prefetch(const void *at, size_t len);

/* Mark what is in memory of LEN mapped bytes as changed, without changing it: after a failed sync the kernel takes
 * the pages for written and may forget them; marked again, they stay until a later sync has written them. AT begins
 * a page of a writable mapping, and whoever else stores there does so with atomic 8-byte words. */
void file_map_keep(void *at, size_t len);

/* Map the whole file read-only, without keeping it open. An empty file gives ptr NULL, len 0. */
int file_map_whole(const char *path, struct span *out, struct err *err);

int file_rename(const char *from, const char *to, struct err *err);
int file_unlink(const char *path, struct err *err); /* 0 when it is already gone */
int file_sync_dir(const char *dir, struct err *err);
int file_make_dir(const char *dir, struct err *err); /* with its parents; 0 when it is there already */

/* Read a whole file of at most MAX bytes; *out is malloc'ed with a zero byte behind it (not counted). */
int file_slurp(const char *path, size_t max, char **out, size_t *len, struct err *err);

/* Write a whole file so that it appears at once or not at all: temporary name beside it, sync, rename,
 * sync of the folder. */
int file_put(const char *path, struct span bytes, struct err *err);

/* Names of all entries of DIR but "." and "..", sorted; calls EACH until it returns non-zero.
 * Returns that, or an error. */
int file_list(const char *dir, int (*each)(void *ctx, const char *name), void *ctx, struct err *err);

/* Bytes that an unprivileged process may still write on the file system of PATH. */
int file_disk_free(const char *path, uint64_t *bytes, struct err *err);

#endif
