/* err.h - what went wrong in the world (style: kind 2), as a code and a text that says where.
 *
 * A function that can fail returns 0 or one of the negative codes below, and fills the struct err
 * that its caller gave it (NULL is fine: only the code is wanted). Whoever notices writes what and
 * where; each level above may put its own context in front; only the top logs. */
#ifndef PLUMBAGO_BASE_ERR_H
#define PLUMBAGO_BASE_ERR_H

#include <stddef.h>

enum err_code {
    ERR_IO = -1,      /* the operating system refused; .os_errno tells why. Nothing was changed. */
    ERR_CORRUPT = -2, /* a file does not hold what it should; named with its offset. The rest stays readable. */
    ERR_VERSION = -3, /* written by a newer plumbago. Nothing was touched. */
    ERR_FULL = -4,    /* no space left on the device, or a configured limit. Try again later. */
    ERR_MEMORY = -5,  /* an allocation failed. Nothing was changed. */
    ERR_INPUT = -6,   /* a file or request that a person wrote is wrong; the text names file and line, or position. */
    ERR_LOCKED = -7,  /* another process uses the data directory. */
    ERR_LIMIT = -8,   /* a request is larger than it may be; the text names the limit. */
    ERR_CANCELLED = -9, /* the deadline passed, or the client left. */
    ERR_MISSING = -10,  /* what was asked for does not exist. */
};

struct err {
    int code;     /* 0 or an err_code */
    int os_errno; /* errno for ERR_IO and ERR_FULL, else 0 */
    char text[480];
};

/* Set ERR to CODE with a text, and return CODE. ERR may be NULL. */
int err_set(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Set ERR from errno: "<formatted>: <strerror>". ENOSPC and EDQUOT become ERR_FULL, ENOMEM
 * ERR_MEMORY, anything else ERR_IO. Returns the code. */
int err_errno(struct err *err, int os_errno, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ERR_CORRUPT: "PATH at OFFSET: WHAT". Returns the code. */
int err_corrupt(struct err *err, const char *path, unsigned long long offset, const char *what);

/* Put "<formatted>: " in front of the text. Does nothing when ERR is NULL. */
void err_context(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
