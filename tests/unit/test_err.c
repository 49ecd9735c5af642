#include "base/err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(err, holds_code_and_text)
{
    struct err err;

    cr_assert_eq(err_set(&err, ERR_INPUT, "line %d: %s", 7, "bad"), ERR_INPUT);
    cr_assert_eq(err.code, ERR_INPUT);
    cr_assert_eq(err.os_errno, 0);
    cr_assert_str_eq(err.text, "line 7: bad");
}

Test(err, may_be_null)
{
    cr_assert_eq(err_set(NULL, ERR_LIMIT, "x"), ERR_LIMIT);
    cr_assert_eq(err_errno(NULL, ENOSPC, "x"), ERR_FULL);
    cr_assert_eq(err_corrupt(NULL, "f", 1, "x"), ERR_CORRUPT);
    err_context(NULL, "x");
}

Test(err, errno_tells_the_kind)
{
    struct err err;

    cr_assert_eq(err_errno(&err, ENOSPC, "write %s", "f"), ERR_FULL);
    cr_assert_eq(err.os_errno, ENOSPC);
    cr_assert_str_eq(err.text, "write f: No space left on device");
    cr_assert_eq(err_errno(&err, EDQUOT, "x"), ERR_FULL);
    cr_assert_eq(err_errno(&err, ENOMEM, "x"), ERR_MEMORY);
    cr_assert_eq(err_errno(&err, EIO, "x"), ERR_IO);
    cr_assert_eq(err_errno(&err, ENOENT, "x"), ERR_IO);
}

Test(err, corruption_names_file_and_offset)
{
    struct err err;

    cr_assert_eq(err_corrupt(&err, "a/b.seg", 4096, "checksum"), ERR_CORRUPT);
    cr_assert_str_eq(err.text, "a/b.seg at 4096: checksum");
}

Test(err, context_goes_in_front)
{
    struct err err;

    err_set(&err, ERR_IO, "inner");
    err_context(&err, "middle %d", 2);
    err_context(&err, "outer");
    cr_assert_str_eq(err.text, "outer: middle 2: inner");
    cr_assert_eq(err.code, ERR_IO);
}

Test(err, too_long_a_text_is_cut)
{
    struct err err;
    char text[2 * sizeof(err.text)];

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    err_errno(&err, EIO, "%s", text);
    cr_assert_eq(strlen(err.text), sizeof(err.text) - 1);
    err_context(&err, "outer");
    cr_assert_eq(strlen(err.text), sizeof(err.text) - 1);
    cr_assert_eq(strncmp(err.text, "outer: xxx", 10), 0);
    err_context(&err, "%s", text);
    cr_assert_eq(strlen(err.text), sizeof(err.text) - 1);
}
