#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 0))) static void text_set(struct err *err, const char *format, va_list args)
{
    if (vsnprintf(err->text, sizeof(err->text), format, args) < 0)
        err->text[0] = '\0';
}

/* Append SUFFIX; what does not fit is cut. */
static void text_append(struct err *err, const char *suffix)
{
    size_t len = strlen(err->text);

    snprintf(err->text + len, sizeof(err->text) - len, "%s", suffix);
}

int err_set(struct err *err, int code, const char *format, ...)
{
    va_list args;

    if (err == NULL)
        return code;
    err->code = code;
    err->os_errno = 0;
    va_start(args, format);
    text_set(err, format, args);
    va_end(args);
    return code;
}

static int code_of_errno(int os_errno)
{
    switch (os_errno) {
    case ENOSPC:
    case EDQUOT:
        return ERR_FULL;
    case ENOMEM:
        return ERR_MEMORY;
    default:
        return ERR_IO;
    }
}

int err_errno(struct err *err, int os_errno, const char *format, ...)
{
    int code = code_of_errno(os_errno);
    char reason[128];
    va_list args;

    if (err == NULL)
        return code;
    err->code = code;
    err->os_errno = os_errno;
    va_start(args, format);
    text_set(err, format, args);
    va_end(args);
    text_append(err, ": ");
    text_append(err, strerror_r(os_errno, reason, sizeof(reason)));
    return code;
}

int err_corrupt(struct err *err, const char *path, unsigned long long offset, const char *what)
{
    return err_set(err, ERR_CORRUPT, "%s at %llu: %s", path, offset, what);
}

void err_context(struct err *err, const char *format, ...)
{
    char old[sizeof(err->text)];
    va_list args;

    if (err == NULL)
        return;
    memcpy(old, err->text, sizeof(old));
    va_start(args, format);
    text_set(err, format, args);
    va_end(args);
    text_append(err, ": ");
    text_append(err, old);
}
