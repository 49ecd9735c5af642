/* tmpdir.h - a directory for one test, gone afterwards (also when the test fails). */
#ifndef PLUMBAGO_TESTS_HELP_TMPDIR_H
#define PLUMBAGO_TESTS_HELP_TMPDIR_H

struct tmpdir {
    char path[256];
};

/* Make a new empty directory below $TMPDIR or /tmp; aborts when that fails. At most 64 at a time. */
void tmpdir_init(struct tmpdir *t);

/* Remove it with everything in it. Those that are left when the process exits go then. */
void tmpdir_release(struct tmpdir *t);

/* "<path>/<name>". Valid until the 16th call from now on the same thread. */
const char *tmpdir_file(const struct tmpdir *t, const char *name);

/* Remove DIR with everything in it; nothing happens when it does not exist. */
void tmpdir_remove_tree(const char *dir);

/* Copy the directory FROM with all its files and directories to the new directory TO; aborts when
 * that fails. Holes stay holes as far as they are whole blocks of 4096 zero bytes. */
void tmpdir_copy_tree(const char *from, const char *to);

#endif
