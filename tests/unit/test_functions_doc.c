/* docs/functions.md is made of the function tables: this test writes the page anew and compares. With WRITE=1 in the
 * environment it stores what it has written (make unit T=functions_doc WRITE=1). */
#include "query/functions.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static const char path[] = "docs/functions.md";

static const char intro[] =
    "# Functions\n"
    "\n"
    "What may stand in a `target` besides paths. A series list is a path, a pattern (`web.*.{cpu,mem}`), or a function "
    "of\n"
    "such; `a|f(2)` is `f(a,2)`. Arguments in order, or by name behind the others: `summarize(web.a, \"1h\", "
    "func=\"max\")`.\n"
    "What has a default may be left out; `*x` may be given any number of times. The same list, for programs, is at\n"
    "`/functions`. Names in *italics* are not graphite-web's: they are carbonapi's. `tests/scripts/` shows each at "
    "work.\n"
    "\n"
    "Written by `make unit T=functions_doc WRITE=1` from the tables in `query/fn_*.c`.\n";

enum { FUNCTIONS_MAX = 512 };

struct list {
    const struct fn_def *defs[FUNCTIONS_MAX];
    size_t count;
};

static int collect(void *ctx, const struct fn_def *def)
{
    struct list *l = ctx;

    cr_assert_lt(l->count, FUNCTIONS_MAX);
    l->defs[l->count++] = def;
    return 0;
}

static int by_group_and_name(const void *a, const void *b)
{
    const struct fn_def *x = *(const struct fn_def *const *)a;
    const struct fn_def *y = *(const struct fn_def *const *)b;
    int order = strcmp(x->group, y->group);

    return order != 0 ? order : strcmp(x->name, y->name);
}

static void add_function(const struct fn_def *def, struct buf *out)
{
    const char *mark = def->extension != NULL ? "*" : "";
    struct buf signature = {0};

    functions_signature(def, &signature);
    buf_addf(out, "| %s`%.*s`%s | %s |\n", mark, SPAN_ARG(buf_span(&signature)), mark, def->brief);
    buf_release(&signature);
}

static void write_page(struct buf *out)
{
    struct list l = {0};

    functions_each(collect, &l);
    qsort(l.defs, l.count, sizeof(*l.defs), by_group_and_name);
    buf_add_str(out, intro);
    for (size_t i = 0; i < l.count; i++) {
        if (i == 0 || strcmp(l.defs[i]->group, l.defs[i - 1]->group) != 0)
            buf_addf(out, "\n## %s\n\n| function | what it gives |\n|---|---|\n", l.defs[i]->group);
        add_function(l.defs[i], out);
    }
}

Test(functions_doc, the_page_is_what_the_tables_say)
{
    struct buf page = {0};
    char *stored = NULL;
    size_t len = 0;

    write_page(&page);
    if (getenv("WRITE") != NULL) {
        FILE *f = fopen(path, "w");

        cr_assert_not_null(f);
        cr_assert_eq(fwrite(page.ptr, 1, page.len, f), page.len);
        cr_assert_eq(fclose(f), 0);
    }
    cr_assert_eq(file_slurp(path, 1 << 20, &stored, &len, NULL), 0, "%s is missing", path);
    cr_expect(span_eq(buf_span(&page), span_of(stored, len)), "%s is old: make unit T=functions_doc WRITE=1", path);
    free(stored);
    buf_release(&page);
}
