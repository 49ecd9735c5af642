/* ini.h - INI files as Python's ConfigParser reads them (carbon's files, and plumbago.conf).
 *
 * Sections "[name]", options "key = value" or "key: value" (the first of '=' and ':' divides), lines
 * that begin with '#' or ';' are comments, continuation lines are indented, keys are lower-cased, no
 * inline comments, no limit on the length of a line, sections keep their order. A repeated section
 * or option is an error, as is an option before the first section (unless ALLOW_GLOBAL).
 * Source of the rules: Python's configparser documentation. (inih is not used: Debian's build cuts
 * lines at 200 bytes without saying so.) */
#ifndef PLUMBAGO_BASE_INI_H
#define PLUMBAGO_BASE_INI_H

#include "base/err.h"
#include "base/span.h"

struct ini_option {
    struct span key;   /* lower case */
    struct span value; /* stripped of blanks; continuation lines joined by '\n' */
    int line;          /* 1-based */
};

struct ini_section {
    struct span name; /* empty for options before the first section */
    int line;
    struct ini_option *options;
    size_t count;
};

struct ini {
    char *path;
    char *text; /* what the spans point into */
    struct ini_section *sections;
    size_t count;
};

enum ini_flags { INI_STRICT = 0, INI_ALLOW_GLOBAL = 1 };

/* Read PATH. *out is the caller's, to be given back with ini_free(). ERR_INPUT names file and line. */
int ini_load(const char *path, unsigned flags, struct ini **out, struct err *err);

/* The same from memory; PATH is only for messages. TEXT is copied. */
int ini_parse(struct span text, const char *path, unsigned flags, struct ini **out, struct err *err);
void ini_free(struct ini *ini); /* NULL is fine */

/* The option KEY of SECTION, or NULL. */
const struct ini_option *ini_get(const struct ini_section *section, const char *key);

#endif
