/* policy.h - which series is kept how long and rolled up how: carbon's two files, and window arithmetic.
 *
 * storage-schemas.conf gives a name its retention ("10s:6h,1m:7d"), storage-aggregation.conf the way
 * its rollups are made. Both are read as carbon reads them (python3-carbon: carbon/storage.py) with
 * whisper's checks (whisper.py: validateArchiveList): in each file the first section that matches
 * wins, in the order of the file.
 *
 *     [name]                        [name]
 *     pattern = regular expression  pattern = regular expression
 *     retentions = 10s:6h,1m:7d     xFilesFactor = 0..1
 *                                   aggregationMethod = average
 *
 * `match-all = true` may stand for a pattern (carbon 0.9 had it). A section without a pattern (also
 * the lists of carbon 0.9) or without retentions is left out with a warning, as carbon does. All else
 * that is wrong is an error which names file, section and line, and nothing is loaded: carbon goes on
 * with other sections in a few of these cases, which gives names a retention that nobody asked for. */
#ifndef PLUMBAGO_STORAGE_POLICY_H
#define PLUMBAGO_STORAGE_POLICY_H

#include "base/err.h"
#include "base/span.h"
#include "storage/retention.h"
#include "storage/storage.h"

/* The loaded rules; immutable, so any thread may match. */
struct policy_rules;

/* Which section of which file decided; for check-retention and for logs. */
struct policy_origin {
    const char *path; /* NULL: no section matched (or no file was given), the built-in default holds */
    struct span section;
    int line; /* of the section's head */
};

/* All spans and pointers are borrowed from the rules. */
struct policy_match {
    const struct retention *retention; /* one pointer for all equal definitions of a set of rules */
    enum aggregation method;
    double x_files_factor;            /* rounded to a float, as whisper stores it: 3 of 10 points do not reach 0.3 */
    struct policy_origin schema;      /* where the retention comes from */
    struct policy_origin aggregation; /* where method and factor come from */
};

/* Read both files; either path may be NULL: then the built-in default (10s:1d,1m:30d,10m:5y; average,
 * 0.5) holds for all names. A name that no section matches gets the built-in default too. (Carbon's
 * own default for those is 60s:7d.) *out is the caller's, to be given back with policy_rules_free();
 * NULL on failure. ERR_INPUT for a mistake; ERR_MISSING or ERR_IO when a file cannot be read. */
int policy_rules_load(const char *schemas_path, const char *aggregation_path, struct policy_rules **out,
                      struct err *err);

/* The same from memory, for tests; the paths are only for messages and origins. A span without bytes
 * stands for no file. */
int policy_rules_parse(struct span schemas, const char *schemas_path, struct span aggregation,
                       const char *aggregation_path, struct policy_rules **out, struct err *err);
void policy_rules_free(struct policy_rules *rules); /* NULL is fine */

/* What holds for NAME (canonical). Always finds something. */
void policy_rules_match(const struct policy_rules *rules, struct span name, struct policy_match *out);

/* Texts on sections that were left out, "FILE:LINE: ..."; NULL for an I beyond the last. */
const char *policy_rules_warning(const struct policy_rules *rules, size_t i);

/* policy.c also defines aggregation_name() and aggregation_parse() of storage/storage.h. */

#endif
