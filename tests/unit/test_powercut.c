#include "tests/help/powercut.h"

#include "base/file.h"
#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Every test works in DIR/d and writes states to DIR/1, DIR/2, ... */
static struct tmpdir top;
static char dir[300];
static struct powercut *pc;
static int states;

static void begin(void)
{
    tmpdir_init(&top);
    snprintf(dir, sizeof(dir), "%s/d", top.path);
    cr_assert_eq(mkdir(dir, 0755), 0);
}

static void end(void)
{
    powercut_free(pc);
    tmpdir_release(&top);
}

TestSuite(powercut, .init = begin, .fini = end);

static const char *in(const char *name)
{
    char path[100];

    snprintf(path, sizeof(path), "d/%s", name);
    return tmpdir_file(&top, path);
}

static struct file *opened(const char *name)
{
    struct err err = {0};
    struct file *f;

    cr_assert_eq(file_open(in(name), FILE_READ_WRITE | FILE_CREATE, &f, &err), 0, "%s", err.text);
    return f;
}

static void write_at(struct file *f, const char *text, uint64_t offset)
{
    cr_assert_eq(file_write(f, text, strlen(text), offset, NULL), 0);
}

/* Write the next state and return its directory. */
static const char *state(enum powercut_mode mode, const char *only, struct rng *rng)
{
    char name[16];
    const char *to;

    snprintf(name, sizeof(name), "%d", ++states);
    to = tmpdir_file(&top, name);
    powercut_write(pc, mode, only == NULL ? NULL : in(only), rng, to);
    return to;
}

/* What file NAME of the directory STATE_DIR holds ("(missing)" when it is not there); static. */
static const char *content(const char *state_dir, const char *name)
{
    static char text[4][100000];
    static unsigned next;
    char path[500], *to = text[next++ % 4];
    FILE *f;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", state_dir, name);
    f = fopen(path, "r");
    if (f == NULL)
        return "(missing)";
    n = fread(to, 1, sizeof(text[0]) - 1, f);
    to[n] = '\0';
    fclose(f);
    return to;
}

static void is_lost_and_kept(const char *name, const char *lost, const char *kept)
{
    cr_assert_str_eq(content(state(POWERCUT_LOST, NULL, NULL), name), lost);
    cr_assert_str_eq(content(state(POWERCUT_KEPT, NULL, NULL), name), kept);
}

Test(powercut, what_was_there_is_durable)
{
    cr_assert_eq(file_put(in("a"), SPAN_LIT("old"), NULL), 0);
    cr_assert_eq(file_make_dir(in("sub"), NULL), 0);
    cr_assert_eq(file_put(in("sub/b"), SPAN_LIT("older"), NULL), 0);
    pc = powercut_new(dir);
    is_lost_and_kept("a", "old", "old");
    is_lost_and_kept("sub/b", "older", "older");
}

Test(powercut, data_needs_a_sync)
{
    struct file *f;

    cr_assert_eq(file_put(in("a"), SPAN_LIT("old"), NULL), 0);
    pc = powercut_new(dir);
    f = opened("a");
    write_at(f, "new!", 0);
    is_lost_and_kept("a", "old", "new!");
    cr_assert_eq(file_sync(f, NULL), 0);
    is_lost_and_kept("a", "new!", "new!");
    cr_assert_eq(file_truncate(f, 1, NULL), 0);
    is_lost_and_kept("a", "new!", "n");
    file_close(f);
}

Test(powercut, stores_through_a_mapping_are_data)
{
    struct file *f;
    void *at;

    cr_assert_eq(file_put(in("a"), SPAN_LIT("old"), NULL), 0);
    pc = powercut_new(dir);
    f = opened("a");
    cr_assert_eq(file_map(f, 0, 3, FILE_MAP_WRITE, &at, NULL), 0);
    memcpy(at, "new", 3);
    is_lost_and_kept("a", "old", "new");
    cr_assert_eq(file_sync(f, NULL), 0);
    memcpy(at, "xyz", 3);
    is_lost_and_kept("a", "new", "xyz");
    file_unmap(at, 3);
    file_close(f);
}

Test(powercut, a_name_needs_a_sync_of_its_directory)
{
    struct file *f;

    pc = powercut_new(dir);
    f = opened("a");
    write_at(f, "x", 0);
    cr_assert_eq(file_sync(f, NULL), 0); /* not enough: nobody would find it */
    is_lost_and_kept("a", "(missing)", "x");
    cr_assert_eq(file_sync_dir(dir, NULL), 0);
    is_lost_and_kept("a", "x", "x");
    file_close(f);
}

Test(powercut, a_renamed_file_is_under_one_name)
{
    cr_assert_eq(file_put(in("a"), SPAN_LIT("1"), NULL), 0);
    cr_assert_eq(file_put(in("b"), SPAN_LIT("2"), NULL), 0);
    pc = powercut_new(dir);
    cr_assert_eq(file_rename(in("a"), in("b"), NULL), 0);
    is_lost_and_kept("a", "1", "(missing)");
    is_lost_and_kept("b", "2", "1");
    cr_assert_eq(file_sync_dir(dir, NULL), 0);
    is_lost_and_kept("a", "(missing)", "(missing)");
    is_lost_and_kept("b", "1", "1");
}

Test(powercut, a_removed_file_may_come_back)
{
    struct file *f;

    cr_assert_eq(file_put(in("a"), SPAN_LIT("old"), NULL), 0);
    pc = powercut_new(dir);
    f = opened("a");
    write_at(f, "new", 0);
    cr_assert_eq(file_unlink(in("a"), NULL), 0);
    is_lost_and_kept("a", "old", "(missing)");
    cr_assert_str_eq(content(state(POWERCUT_ONLY, "b", NULL), "a"), "old");
    cr_assert_eq(file_sync_dir(dir, NULL), 0);
    is_lost_and_kept("a", "(missing)", "(missing)");
    file_close(f);
}

Test(powercut, what_is_in_a_lost_directory_is_lost)
{
    pc = powercut_new(dir);
    cr_assert_eq(file_make_dir(in("x//y"), NULL), 0);
    cr_assert_eq(file_put(in("x/y/a"), SPAN_LIT("1"), NULL), 0); /* syncs x/y, but x is not synced */
    is_lost_and_kept("x/y/a", "(missing)", "1");
    cr_assert_eq(file_sync_dir(dir, NULL), 0);
    is_lost_and_kept("x/y/a", "(missing)", "1");
    cr_assert_eq(file_sync_dir(in("x"), NULL), 0);
    is_lost_and_kept("x/y/a", "1", "1");
}

Test(powercut, one_file_alone_may_survive)
{
    struct file *a, *b;

    pc = powercut_new(dir);
    cr_assert_eq(file_make_dir(in("sub"), NULL), 0);
    a = opened("a");
    b = opened("sub/b");
    write_at(a, "1", 0);
    write_at(b, "2", 0);
    cr_assert_str_eq(content(state(POWERCUT_ONLY, "a", NULL), "a"), "1");
    cr_assert_str_eq(content(state(POWERCUT_ONLY, "a", NULL), "sub/b"), "(missing)");
    cr_assert_str_eq(content(state(POWERCUT_ONLY, "sub/b", NULL), "a"), "(missing)");
    cr_assert_str_eq(content(state(POWERCUT_ONLY, "sub/b", NULL), "sub/b"), "2");
    file_close(a);
    file_close(b);
}

/* Of four unsynced sectors some survive and some do not, each whole, in all combinations. */
Test(powercut, sectors_survive_one_by_one)
{
    unsigned seen = 0, lengths = 0;
    char text[2049] = "";
    struct file *f;

    memset(text, 'o', 2048);
    cr_assert_eq(file_put(in("a"), span_of(text, 2048), NULL), 0);
    pc = powercut_new(dir);
    f = opened("a");
    memset(text, 'n', 2048);
    write_at(f, text, 0);
    write_at(f, text, 2048);
    FOR_SEEDS (seed, 500) {
        struct rng rng = rng_from(seed);
        const char *to = state(POWERCUT_RANDOM, NULL, &rng);
        const char *got = content(to, "a");
        unsigned which = 0;

        for (int sector = 0; sector < 4; sector++) {
            const char *at = got + sector * 512;

            cr_assert_eq(memcmp(at, at + 1, 511), 0); /* all bytes are the same */
            which |= (unsigned)(*at == 'n') << sector;
        }
        seen |= 1u << which;
        lengths |= strlen(got) == 4096 ? 1 : strlen(got) == 2048 ? 2 : 4;
        tmpdir_remove_tree(to);
    }
    if (getenv("SEED") == NULL) {
        cr_assert_eq(seen, 0xFFFF);
        cr_assert_eq(lengths, 7); /* the old one, the new one, and between; holes read as zeros */
    }
    file_close(f);
}

Test(powercut, a_change_depends_on_earlier_ones_of_its_name)
{
    unsigned seen = 0;

    pc = powercut_new(dir);
    file_close(opened("tmp"));
    cr_assert_eq(file_rename(in("tmp"), in("a"), NULL), 0);
    FOR_SEEDS (seed, 100) {
        struct rng rng = rng_from(seed);
        const char *to = state(POWERCUT_RANDOM, NULL, &rng);
        bool tmp = strcmp(content(to, "tmp"), "(missing)") != 0;
        bool a = strcmp(content(to, "a"), "(missing)") != 0;

        cr_assert(!(tmp && a));
        seen |= tmp ? 1 : a ? 2 : 4;
    }
    if (getenv("SEED") == NULL)
        cr_assert_eq(seen, 7);
}

Test(powercut, the_power_goes_after_n_changes)
{
    struct file *f;
    struct err err;
    char byte;

    cr_assert_eq(file_put(in("a"), SPAN_LIT("old"), NULL), 0);
    pc = powercut_new(dir);
    cr_assert_eq(powercut_changes(pc), 0);
    f = opened("a");
    cr_assert_eq(powercut_changes(pc), 1);
    powercut_stop_after(pc, 2);
    write_at(f, "1", 0);
    cr_assert_eq(file_read(f, &byte, 1, 0, &err), 0); /* is no change */
    write_at(f, "2", 1);
    cr_assert_not(powercut_stopped(pc));
    cr_assert_eq(file_write(f, "3", 1, 2, &err), ERR_IO);
    cr_assert(powercut_stopped(pc));
    cr_assert_eq(powercut_changes(pc), 3);
    cr_assert_eq(file_read(f, &byte, 1, 0, &err), ERR_IO);
    cr_assert_eq(file_sync(f, &err), ERR_IO);
    is_lost_and_kept("a", "old", "12d");
    file_close(f);
}

Test(powercut, stores_after_the_power_went_are_not_seen)
{
    struct file *f;
    void *at;

    cr_assert_eq(file_put(in("a"), SPAN_LIT("old"), NULL), 0);
    pc = powercut_new(dir);
    f = opened("a");
    cr_assert_eq(file_map(f, 0, 3, FILE_MAP_WRITE, &at, NULL), 0);
    memcpy(at, "new", 3);
    powercut_stop(pc);
    memcpy(at, "xyz", 3);
    is_lost_and_kept("a", "old", "new");
    file_unmap(at, 3);
    file_close(f);
}

Test(powercut, other_directories_go_on)
{
    pc = powercut_new(dir);
    powercut_stop(pc);
    cr_assert_eq(file_put(tmpdir_file(&top, "outside"), SPAN_LIT("x"), NULL), 0);
    cr_assert_eq(file_put(tmpdir_file(&top, "dd"), SPAN_LIT("x"), NULL), 0); /* only begins like ours */
    cr_assert_eq(file_put(in("a"), SPAN_LIT("x"), NULL), ERR_IO);
}

/* ---- it finds what it is for ---- */

/* file_put() says: at once or not at all. Cut after every change, many states for each. */
Test(powercut, a_put_is_all_or_nothing)
{
    FOR_SEEDS (seed, 300) {
        struct rng rng = rng_from(seed);
        const char *to, *got;
        int rc;

        tmpdir_remove_tree(dir);
        cr_assert_eq(mkdir(dir, 0755), 0);
        cr_assert_eq(file_put(in("a"), SPAN_LIT("old"), NULL), 0);
        pc = powercut_new(dir);
        powercut_stop_after(pc, seed % 7);
        rc = file_put(in("a"), SPAN_LIT("new"), NULL);
        to = state(POWERCUT_RANDOM, NULL, &rng);
        got = content(to, "a");
        cr_assert(strcmp(got, "new") == 0 || (rc < 0 && strcmp(got, "old") == 0), "holds \"%s\" after %d", got, rc);
        powercut_free(pc);
        pc = NULL;
        tmpdir_remove_tree(to);
    }
}

/* Without the sync before the rename, a state without the data is found soon. */
Test(powercut, a_missing_sync_is_found)
{
    int empty = 0;

    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct rng rng = rng_from(seed);
        struct file *f;
        const char *to;

        tmpdir_remove_tree(dir);
        cr_assert_eq(mkdir(dir, 0755), 0);
        pc = powercut_new(dir);
        f = opened("tmp");
        write_at(f, "new", 0);
        file_close(f);
        cr_assert_eq(file_rename(in("tmp"), in("a"), NULL), 0);
        cr_assert_eq(file_sync_dir(dir, NULL), 0);
        to = state(POWERCUT_RANDOM, NULL, &rng);
        empty += strcmp(content(to, "a"), "new") != 0;
        powercut_free(pc);
        pc = NULL;
        tmpdir_remove_tree(to);
    }
    cr_assert_gt(empty, 10);
}
