#include "base/file.h"

#include "base/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct file {
    int fd;
    char path[];
};

/* ---- the hook ---- */

static const struct file_hook *hook;

void file_set_hook(const struct file_hook *new_hook)
{
    __atomic_store_n(&hook, new_hook, __ATOMIC_RELEASE);
}

/* Ask whether OP may happen: 0 or an errno. */
static int ask(enum file_op op, const char *path, uint64_t offset, size_t *len)
{
    const struct file_hook *h = __atomic_load_n(&hook, __ATOMIC_ACQUIRE);

    return h == NULL || h->before == NULL ? 0 : h->before(h->ctx, op, path, offset, len);
}

static int ask_plain(enum file_op op, const char *path)
{
    size_t len = 0;

    return ask(op, path, 0, &len);
}

static void tell(enum file_op op, const char *path, const char *from, uint64_t offset, size_t len)
{
    const struct file_hook *h = __atomic_load_n(&hook, __ATOMIC_ACQUIRE);

    if (h != NULL && h->after != NULL)
        h->after(h->ctx, op, path, from, offset, len);
}

/* Repeat a system call that a signal interrupted. */
#define RETRY(call)                                                                                                    \
    ({                                                                                                                 \
        __typeof__(call) got_;                                                                                         \
        do                                                                                                             \
            got_ = (call);                                                                                             \
        while (got_ == -1 && errno == EINTR);                                                                          \
        got_;                                                                                                          \
    })

/* ---- open files ---- */

static int open_flags(unsigned mode)
{
    return ((mode & FILE_READ_WRITE) != 0 ? O_RDWR : O_RDONLY) | ((mode & FILE_CREATE) != 0 ? O_CREAT : 0) |
           ((mode & FILE_EXCLUSIVE) != 0 ? O_EXCL : 0) | ((mode & FILE_EMPTY) != 0 ? O_TRUNC : 0) | O_CLOEXEC;
}

static int open_error(struct err *err, int os_errno, const char *path, unsigned mode)
{
    if (os_errno == ENOENT && (mode & FILE_CREATE) == 0)
        return err_set(err, ERR_MISSING, "%s does not exist", path);
    return err_errno(err, os_errno, "cannot open %s", path);
}

int file_open(const char *path, unsigned mode, struct file **out, struct err *err)
{
    int os_errno = ask_plain(FILE_OP_OPEN, path);
    size_t size = strlen(path) + 1;
    struct file *f;

    *out = NULL;
    if (os_errno != 0)
        return open_error(err, os_errno, path, mode);
    f = malloc(sizeof(*f) + size);
    if (f == NULL)
        return err_errno(err, ENOMEM, "cannot open %s", path);
    f->fd = RETRY(open(path, open_flags(mode), 0644));
    if (f->fd < 0) {
        os_errno = errno;
        free(f);
        return open_error(err, os_errno, path, mode);
    }
    memcpy(f->path, path, size);
    tell(FILE_OP_OPEN, path, NULL, 0, 0);
    *out = f;
    return 0;
}

void file_close(struct file *f)
{
    if (f == NULL)
        return;
    close(f->fd); /* an error here says nothing about the data: file_sync() does */
    free(f);
}

const char *file_path(const struct file *f)
{
    return f->path;
}

int file_read(const struct file *f, void *to, size_t len, uint64_t offset, struct err *err)
{
    int os_errno = ask(FILE_OP_READ, f->path, offset, &len);
    size_t done = 0;

    if (os_errno != 0)
        return err_errno(err, os_errno, "cannot read %zu bytes at %llu of %s", len, (unsigned long long)offset,
                         f->path);
    while (done < len) {
        ssize_t n = RETRY(pread(f->fd, (char *)to + done, len - done, (off_t)(offset + done)));

        if (n < 0)
            return err_errno(err, errno, "cannot read %zu bytes at %llu of %s", len, (unsigned long long)offset,
                             f->path);
        if (n == 0)
            return err_set(err, ERR_CORRUPT, "%s at %llu: the file ends here, %zu more bytes were expected", f->path,
                           (unsigned long long)(offset + done), len - done);
        done += (size_t)n;
    }
    tell(FILE_OP_READ, f->path, NULL, offset, len);
    return 0;
}

/* 0 or an errno. */
static int write_all(const struct file *f, const char *from, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t n = RETRY(pwrite(f->fd, from, len, (off_t)offset));

        if (n < 0)
            return errno;
        from += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int file_write(struct file *f, const void *from, size_t len, uint64_t offset, struct err *err)
{
    size_t torn = len;
    int os_errno = ask(FILE_OP_WRITE, f->path, offset, &torn);

    if (os_errno == 0)
        os_errno = write_all(f, from, len, offset);
    else if (torn < len) /* a test wants that much to be written before the failure */
        write_all(f, from, torn, offset);
    if (os_errno != 0)
        return err_errno(err, os_errno, "cannot write %zu bytes at %llu of %s", len, (unsigned long long)offset,
                         f->path);
    tell(FILE_OP_WRITE, f->path, NULL, offset, len);
    return 0;
}

int file_sync(struct file *f, struct err *err)
{
    int os_errno = ask_plain(FILE_OP_SYNC, f->path);

    if (os_errno == 0 && RETRY(fdatasync(f->fd)) != 0)
        os_errno = errno;
    if (os_errno != 0)
        return err_errno(err, os_errno, "cannot sync %s", f->path);
    tell(FILE_OP_SYNC, f->path, NULL, 0, 0);
    return 0;
}

/* 0 or an errno. */
static int allocate(const struct file *f, uint64_t len)
{
    int rc;

    if (RETRY(fallocate(f->fd, 0, 0, (off_t)len)) == 0)
        return 0;
    if (errno != EOPNOTSUPP)
        return errno;
    do /* the C library writes a byte to each block where the file system has no such call */
        rc = posix_fallocate(f->fd, 0, (off_t)len);
    while (rc == EINTR);
    return rc;
}

int file_reserve(struct file *f, uint64_t len, struct err *err)
{
    size_t asked = len;
    int os_errno = ask(FILE_OP_RESERVE, f->path, 0, &asked);
    uint64_t before;
    int rc;

    if (len == 0)
        return 0;
    rc = file_size(f, &before, err);
    if (rc < 0)
        return rc;
    if (os_errno == 0)
        os_errno = allocate(f, len);
    if (os_errno != 0) {
        rc = err_errno(err, os_errno, "cannot reserve %llu bytes for %s", (unsigned long long)len, f->path);
        /* Blocks beyond the old end go back, also when the size had not grown yet. */
        if (ftruncate(f->fd, (off_t)before) != 0)
            err_context(err, "and cannot cut it back");
        return rc;
    }
    tell(FILE_OP_RESERVE, f->path, NULL, 0, len);
    return 0;
}

int file_truncate(struct file *f, uint64_t len, struct err *err)
{
    size_t asked = len;
    int os_errno = ask(FILE_OP_TRUNCATE, f->path, 0, &asked);

    if (os_errno == 0 && RETRY(ftruncate(f->fd, (off_t)len)) != 0)
        os_errno = errno;
    if (os_errno != 0)
        return err_errno(err, os_errno, "cannot set the length of %s to %llu", f->path, (unsigned long long)len);
    tell(FILE_OP_TRUNCATE, f->path, NULL, 0, len);
    return 0;
}

int file_size(const struct file *f, uint64_t *len, struct err *err)
{
    struct stat st;

    if (fstat(f->fd, &st) != 0)
        return err_errno(err, errno, "cannot ask for the size of %s", f->path);
    *len = (uint64_t)st.st_size;
    return 0;
}

int file_lock(struct file *f, struct err *err)
{
    int os_errno = ask_plain(FILE_OP_LOCK, f->path);

    if (os_errno == 0 && RETRY(flock(f->fd, LOCK_EX | LOCK_NB)) != 0)
        os_errno = errno;
    if (os_errno == EWOULDBLOCK)
        return err_set(err, ERR_LOCKED, "%s is locked by another process", f->path);
    if (os_errno != 0)
        return err_errno(err, os_errno, "cannot lock %s", f->path);
    tell(FILE_OP_LOCK, f->path, NULL, 0, 0);
    return 0;
}

/* ---- mappings ---- */

static int map_shared(const struct file *f, uint64_t offset, size_t len, int protection, void **out, struct err *err)
{
    size_t asked = len;
    int os_errno = ask(FILE_OP_MAP, f->path, offset, &asked);
    void *at = NULL;

    if (os_errno == 0) {
        at = mmap(NULL, len, protection, MAP_SHARED, f->fd, (off_t)offset);
        os_errno = at == MAP_FAILED ? errno : 0;
    }
    if (os_errno != 0)
        return err_errno(err, os_errno, "cannot map %zu bytes at %llu of %s", len, (unsigned long long)offset, f->path);
    tell(FILE_OP_MAP, f->path, NULL, offset, len);
    *out = at;
    return 0;
}

int file_map(struct file *f, uint64_t offset, size_t len, enum file_map_mode mode, void **out, struct err *err)
{
    int rc;

    *out = NULL;
    rc = map_shared(f, offset, len, mode == FILE_MAP_WRITE ? PROT_READ | PROT_WRITE : PROT_READ, out, err);
    if (rc == 0 && madvise(*out, len, MADV_RANDOM) != 0) {
        rc = err_errno(err, errno, "cannot set MADV_RANDOM on a mapping of %s", f->path);
        munmap(*out, len);
        *out = NULL;
    }
    return rc;
}

void file_unmap(void *at, size_t len)
{
    if (at != NULL)
        munmap(at, len);
}

/* One word of the page at AT is written with what it holds. */
static void file_keep_page(char *at, size_t len)
{
    struct fault fault;

    if (FAULT_CAUGHT(&fault, at, len))
        return; /* it was not in memory after all, and the device does not give it */
    __atomic_fetch_or((uint64_t *)(void *)at, 0, __ATOMIC_RELAXED);
    fault_leave(&fault);
}

void file_map_keep(void *at, size_t len)
{
    unsigned char resident[1024]; /* of each page; the lowest bit */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    fault_init();
    for (size_t done = 0; done < len; done += page * sizeof resident) {
        size_t pages = (len - done + page - 1) / page;
        pages = pages < sizeof resident ? pages : sizeof resident;
        if (mincore((char *)at + done, pages * page, resident) != 0)
            memset(resident, 1, sizeof resident);
        for (size_t i = 0; i < pages; i++)
            if ((resident[i] & 1) != 0)
                file_keep_page((char *)at + done + i * page, page);
    }
}

void file_map_prefetch(const void *at, size_t len)
{
    size_t within = (uintptr_t)at % (size_t)sysconf(_SC_PAGESIZE);

    madvise((char *)(uintptr_t)at - within, len + within, MADV_WILLNEED);
}

int file_map_whole(const char *path, struct span *out, struct err *err)
{
    struct file *f;
    uint64_t len = 0;
    void *at = NULL;
    int rc;

    *out = span_of(NULL, 0);
    rc = file_open(path, FILE_READ, &f, err);
    if (rc < 0)
        return rc;
    rc = file_size(f, &len, err);
    if (rc == 0 && len != 0)
        rc = map_shared(f, 0, len, PROT_READ, &at, err);
    if (rc == 0)
        *out = span_of(at, len);
    file_close(f);
    return rc;
}

/* ---- names ---- */

int file_rename(const char *from, const char *to, struct err *err)
{
    int os_errno = ask_plain(FILE_OP_RENAME, to);

    if (os_errno == 0 && rename(from, to) != 0)
        os_errno = errno;
    if (os_errno != 0)
        return err_errno(err, os_errno, "cannot rename %s to %s", from, to);
    tell(FILE_OP_RENAME, to, from, 0, 0);
    return 0;
}

int file_unlink(const char *path, struct err *err)
{
    int os_errno = ask_plain(FILE_OP_UNLINK, path);

    if (os_errno == 0 && unlink(path) != 0)
        os_errno = errno;
    if (os_errno == ENOENT)
        return 0;
    if (os_errno != 0)
        return err_errno(err, os_errno, "cannot remove %s", path);
    tell(FILE_OP_UNLINK, path, NULL, 0, 0);
    return 0;
}

/* 0 or an errno. */
static int sync_dir(const char *dir)
{
    int fd = RETRY(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int os_errno;

    if (fd < 0)
        return errno;
    os_errno = RETRY(fsync(fd)) != 0 ? errno : 0;
    close(fd);
    return os_errno;
}

int file_sync_dir(const char *dir, struct err *err)
{
    int os_errno = ask_plain(FILE_OP_SYNC_DIR, dir);

    if (os_errno == 0)
        os_errno = sync_dir(dir);
    if (os_errno != 0)
        return err_errno(err, os_errno, "cannot sync the directory %s", dir);
    tell(FILE_OP_SYNC_DIR, dir, NULL, 0, 0);
    return 0;
}

static bool is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int make_one_dir(const char *dir, struct err *err)
{
    int os_errno;

    if (is_dir(dir))
        return 0;
    os_errno = ask_plain(FILE_OP_MAKE_DIR, dir);
    if (os_errno == 0 && mkdir(dir, 0755) != 0)
        os_errno = errno;
    if (os_errno == EEXIST && is_dir(dir)) /* somebody else was faster */
        return 0;
    if (os_errno != 0)
        return err_errno(err, os_errno, "cannot make the directory %s", dir);
    tell(FILE_OP_MAKE_DIR, dir, NULL, 0, 0);
    return 0;
}

int file_make_dir(const char *dir, struct err *err)
{
    char *path = strdup(dir);
    int rc = 0;

    if (path == NULL)
        return err_errno(err, ENOMEM, "cannot make the directory %s", dir);
    for (char *at = path; rc == 0 && *at != '\0'; at++) {
        if (at == path || *at != '/')
            continue;
        *at = '\0';
        rc = make_one_dir(path, err);
        *at = '/';
    }
    if (rc == 0)
        rc = make_one_dir(path, err);
    free(path);
    return rc;
}

/* ---- whole files ---- */

static int slurp_open(struct file *f, size_t max, char **out, size_t *len, struct err *err)
{
    uint64_t size;
    char *text;
    int rc = file_size(f, &size, err);

    if (rc < 0)
        return rc;
    if (size > max)
        return err_set(err, ERR_LIMIT, "%s has %llu bytes, at most %zu are read", f->path, (unsigned long long)size,
                       max);
    text = malloc(size + 1);
    if (text == NULL)
        return err_errno(err, ENOMEM, "cannot read %s", f->path);
    rc = file_read(f, text, size, 0, err);
    if (rc < 0) {
        free(text);
        return rc;
    }
    text[size] = '\0';
    *out = text;
    *len = size;
    return 0;
}

int file_slurp(const char *path, size_t max, char **out, size_t *len, struct err *err)
{
    struct file *f;
    int rc = file_open(path, FILE_READ, &f, err);

    *out = NULL;
    *len = 0;
    if (rc < 0)
        return rc;
    rc = slurp_open(f, max, out, len, err);
    file_close(f);
    return rc;
}

static int put_temporary(const char *temporary, struct span bytes, struct err *err)
{
    struct file *f;
    int rc = file_open(temporary, FILE_READ_WRITE | FILE_CREATE | FILE_EMPTY, &f, err);

    if (rc < 0)
        return rc;
    rc = file_write(f, bytes.ptr, bytes.len, 0, err);
    if (rc == 0)
        rc = file_sync(f, err);
    file_close(f);
    return rc;
}

/* The folder of PATH, written over PATH. */
static const char *parent_of(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash == NULL)
        return ".";
    slash[slash == path ? 1 : 0] = '\0';
    return path;
}

int file_put(const char *path, struct span bytes, struct err *err)
{
    char *temporary = NULL;
    int rc;

    if (asprintf(&temporary, "%s.tmp", path) < 0)
        return err_errno(err, ENOMEM, "cannot write %s", path);
    rc = put_temporary(temporary, bytes, err);
    if (rc == 0)
        rc = file_rename(temporary, path, err);
    if (rc < 0)
        file_unlink(temporary, NULL);
    else
        rc = file_sync_dir(parent_of(temporary), err);
    free(temporary);
    return rc;
}

/* ---- directories ---- */

struct names {
    char **items;
    size_t count;
    size_t cap;
};

static void names_release(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
}

static bool names_add(struct names *names, const char *name)
{
    if (names->count == names->cap) {
        size_t cap = names->cap == 0 ? 64 : names->cap * 2;
        char **items = reallocarray(names->items, cap, sizeof(*items));

        if (items == NULL)
            return false;
        names->items = items;
        names->cap = cap;
    }
    names->items[names->count] = strdup(name);
    if (names->items[names->count] == NULL)
        return false;
    names->count++;
    return true;
}

/* 0 or an errno. */
static int names_read(struct names *names, DIR *d)
{
    for (;;) {
        const struct dirent *entry;

        errno = 0;
        entry = readdir(d);
        if (entry == NULL)
            return errno;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && !names_add(names, entry->d_name))
            return ENOMEM;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int file_list(const char *dir, int (*each)(void *ctx, const char *name), void *ctx, struct err *err)
{
    struct names names = {0};
    DIR *d = opendir(dir);
    int os_errno = d == NULL ? errno : names_read(&names, d);
    int rc = 0;

    if (d != NULL)
        closedir(d);
    if (os_errno == ENOENT && d == NULL)
        rc = err_set(err, ERR_MISSING, "%s does not exist", dir);
    else if (os_errno != 0)
        rc = err_errno(err, os_errno, "cannot list %s", dir);
    if (rc == 0 && names.count != 0)
        qsort(names.items, names.count, sizeof(*names.items), compare_names);
    for (size_t i = 0; rc == 0 && i < names.count; i++)
        rc = each(ctx, names.items[i]);
    names_release(&names);
    return rc;
}

int file_disk_free(const char *path, uint64_t *bytes, struct err *err)
{
    struct statvfs st;

    if (statvfs(path, &st) != 0)
        return err_errno(err, errno, "cannot ask for the free space of %s", path);
    *bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}
