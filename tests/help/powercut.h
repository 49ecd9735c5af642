/* powercut.h - what a disk may hold after the power went, for code that works through base/file.h.
 *
 * A simulator stands at file.h's hook and watches the files below one directory. At any instant it
 * can write down, in another directory, one of the states that a power cut at that instant may leave.
 *
 * The model, a little harsher than ext4 or XFS with a disk that honours flushes:
 *
 *  1. Data. What a file held when its last file_sync() began is durable. Since then (by file_write()
 *     or through a mapping: the present content is read from the file itself), every sector of 512
 *     bytes that differs survives or not, each by itself; a sector is never torn. A sector that has
 *     never reached the disk reads as zeros.
 *  2. Length. A file has its durable length, its present one, or one between; data and length are
 *     independent of each other. Syncing a file makes its length durable.
 *  3. Names. Creations, renames, removals and new directories are durable once the directory of the
 *     name was synced (of a rename: the new name's); syncing a file does not make its name durable.
 *     Before that each survives or not, except that a change is lost when an earlier one of the same
 *     name, or the making of a directory above it, was lost. A rename is atomic. Names and data are
 *     independent: a kept name may lead to a file without its data, and data whose name is lost is gone.
 *  4. What was there when the simulator began is durable.
 *
 * What is not modelled: bit rot, a disk that lies about flushes, hard links, rmdir.
 *
 *     struct powercut *pc = powercut_new(dir);
 *     powercut_stop_after(pc, n);               // the power goes before the (n+1)-th change
 *     run_the_code(dir);                        // unwinds by EIO
 *     powercut_write(pc, POWERCUT_RANDOM, NULL, &rng, other_dir);
 *     powercut_free(pc);
 *     recover(other_dir);
 *
 * Any thread may work on the files; the functions here are called by one. */
#ifndef PLUMBAGO_TESTS_HELP_POWERCUT_H
#define PLUMBAGO_TESTS_HELP_POWERCUT_H

#include "tests/help/rng.h"

struct powercut;

/* Watch DIR, an existing directory, from now on: sets the hook of file.h. At most one at a time. Paths
 * must come to file.h as DIR and what follows it (doubled slashes are fine). To be given back with
 * powercut_free(). Aborts the test when something goes wrong, as all functions here do. */
struct powercut *powercut_new(const char *dir);

/* Take the hook away and forget everything. NULL is fine. */
void powercut_free(struct powercut *pc);

/* How many changes were made so far: opening, writing, syncing, reserving, truncating, renaming,
 * removing, making and syncing directories; each successful call of file.h that does one counts. */
uint64_t powercut_changes(const struct powercut *pc);

/* N more changes happen; before the one after them the power goes: the present content is frozen, and
 * that change and every later operation, of whatever kind, fails with EIO. */
void powercut_stop_after(struct powercut *pc, uint64_t n);

/* The power goes now, in the same way. */
void powercut_stop(struct powercut *pc);

/* Whether it went. */
bool powercut_stopped(const struct powercut *pc);

enum powercut_mode {
    POWERCUT_LOST,   /* nothing survives but what is durable */
    POWERCUT_KEPT,   /* everything survives */
    POWERCUT_RANDOM, /* each thing by chance, with odds that differ from cut to cut and file to file */
    POWERCUT_ONLY,   /* of one file, name and data survive; of all others only what is durable */
};

/* Write one state that the disk may hold (as of now, or as of the stop) into the new directory TO.
 * ONLY: the path of the file that POWERCUT_ONLY keeps; else NULL. RNG may be NULL but for
 * POWERCUT_RANDOM. May be called again and again. */
void powercut_write(struct powercut *pc, enum powercut_mode mode, const char *only, struct rng *rng, const char *to);

#endif
