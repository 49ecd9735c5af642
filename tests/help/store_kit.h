/* store_kit.h - a store in a test's hands: opened by hand, one writer, points in and out by name.
 *
 *     struct store_kit kit = kit_of(tmpdir_file(&dir, "data"));
 *     kit_open(&kit);
 *     cr_assert_eq(kit_store(&kit, "a.b", now_s, now_s, 1.5), STORE_OK);
 *     cr_assert_eq(kit_value(&kit, "a.b", now_s, now_s), 1.5);
 *     kit_close(&kit);
 *
 * The calling thread has called storage_thread_begin(). All functions fail the test when the store does,
 * unless they say otherwise. */
#ifndef PLUMBAGO_TESTS_HELP_STORE_KIT_H
#define PLUMBAGO_TESTS_HELP_STORE_KIT_H

#include "storage/storage.h"

struct store_kit {
    struct storage_options options; /* manual; .dir is set by kit_try_open(), the other paths are borrowed */
    char dir[400];
    struct storage *st; /* NULL: not open */
    struct store_writer *writer;
    struct store_hint hint;
};

/* Defaults over the data directory DIR (copied), without background threads. */
struct store_kit kit_of(const char *dir);

int kit_try_open(struct store_kit *kit, struct err *err); /* leaves .st NULL when it fails */
void kit_open(struct store_kit *kit);
void kit_close(struct store_kit *kit); /* nothing happens when it is not open */

/* Write TEXT to the file at PATH. */
void kit_put_file(const char *path, const char *text);

enum store_result kit_store(struct store_kit *kit, const char *name, int64_t now_s, int64_t t_s, double v);

/* The id of NAME; false when there is no such series. */
bool kit_find(struct store_kit *kit, const char *name, uint32_t *series);

/* What storage_fetch() says for NAME, which exists; .values is malloc'ed (NULL when .count is 0). */
struct storage_points kit_fetch(struct store_kit *kit, const char *name, int64_t from_s, int64_t until_s,
                                int64_t now_s);

/* The value of the slot that T_S lies in, in the archive that a query from there on uses; NaN when there is
 * none, or no such series. T_S is not after NOW_S. */
double kit_value(struct store_kit *kit, const char *name, int64_t t_s, int64_t now_s);

/* A snapshot without the tiers. */
struct storage_stats kit_stats(struct store_kit *kit);

/* Whether two values are the same to the bit, any NaN being as good as another. */
bool kit_same(double a, double b);

#endif
