/* Rules are tried in the order of the file, so a new name may cost one regular expression for each.
 * Most patterns in real files are no more than "^carbon\." or ".*": those are recognised when they are
 * loaded and become comparisons of bytes. */
#include "storage/policy.h"

#include "base/ini.h"
#include "base/number.h"
#include "base/regex.h"

#include <stdio.h>
#include <stdlib.h>

enum { WARNING_MAX = 320 };

/* ---- aggregation methods ---- */

static const char *const aggregation_names[AGG_COUNT] = {
    [AGG_AVERAGE] = "average", [AGG_SUM] = "sum",           [AGG_LAST] = "last",     [AGG_MAX] = "max",
    [AGG_MIN] = "min",         [AGG_AVG_ZERO] = "avg_zero", [AGG_ABSMAX] = "absmax", [AGG_ABSMIN] = "absmin",
};

const char *aggregation_name(enum aggregation method)
{
    return method >= AGG_AVERAGE && method < AGG_COUNT ? aggregation_names[method] : NULL;
}

bool aggregation_parse(struct span word, enum aggregation *out)
{
    for (int method = AGG_AVERAGE; method < AGG_COUNT; method++) {
        if (span_eq(word, span_str(aggregation_names[method]))) {
            *out = (enum aggregation)method;
            return true;
        }
    }
    if (!span_eq(word, SPAN_LIT("avg")))
        return false;
    *out = AGG_AVERAGE;
    return true;
}

/* ---- matching names ---- */

enum matcher_kind { MATCH_ALL, MATCH_EQUAL, MATCH_PREFIX, MATCH_SUFFIX, MATCH_PART, MATCH_REGEX };

struct matcher {
    enum matcher_kind kind;
    char *text; /* for the kinds that compare bytes; malloc'ed, as long as the pattern */
    size_t len;
    struct regex *regex; /* MATCH_REGEX */
};

static void matcher_release(struct matcher *m)
{
    free(m->text);
    regex_free(m->regex);
}

static bool matcher_test(const struct matcher *m, struct span name)
{
    struct span text = span_of(m->text, m->len);

    switch (m->kind) {
    case MATCH_ALL:
        return true;
    case MATCH_EQUAL:
        return span_eq(name, text);
    case MATCH_PREFIX:
        return span_starts(name, text);
    case MATCH_SUFFIX:
        return name.len >= text.len && span_eq(span_cut(name, name.len - text.len, name.len), text);
    case MATCH_PART:
        return memmem(name.ptr, name.len, text.ptr, text.len) != NULL;
    case MATCH_REGEX:
        return regex_search(m->regex, name);
    }
    return false;
}

static bool is_ordinary(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

/* Whether the pattern is [^]LITERAL[$ or .*] with nothing in LITERAL but letters, digits, '_', '-' and
 * "\."; if so M becomes the comparison that it stands for. */
static bool matcher_simple(struct matcher *m, struct span pattern)
{
    struct span rest = pattern;
    bool from_start = span_starts(rest, SPAN_LIT("^")), to_end = false;

    rest = span_cut(rest, from_start, rest.len);
    m->len = 0;
    while (rest.len > 0) {
        if (is_ordinary(rest.ptr[0])) {
            m->text[m->len++] = rest.ptr[0];
            rest = span_cut(rest, 1, rest.len);
        } else if (span_starts(rest, SPAN_LIT("\\."))) {
            m->text[m->len++] = '.';
            rest = span_cut(rest, 2, rest.len);
        } else {
            break;
        }
    }
    if (span_eq(rest, SPAN_LIT("$")))
        to_end = true;
    else if (rest.len != 0 && !span_eq(rest, SPAN_LIT(".*")))
        return false;
    if (from_start && to_end)
        m->kind = MATCH_EQUAL;
    else if (m->len == 0)
        m->kind = MATCH_ALL;
    else
        m->kind = from_start ? MATCH_PREFIX : to_end ? MATCH_SUFFIX : MATCH_PART;
    return true;
}

/* ConfigParser's interpolation, as far as a working file can contain it in a pattern: "%%" is "%". */
static size_t without_double_percent(struct span in, char *to)
{
    size_t n = 0;

    for (size_t i = 0; i < in.len; i++) {
        to[n++] = in.ptr[i];
        if (in.ptr[i] == '%' && i + 1 < in.len && in.ptr[i + 1] == '%')
            i++;
    }
    return n;
}

static int matcher_init(struct matcher *m, struct span raw, struct err *err)
{
    char *pattern = malloc(raw.len + 1);
    int rc = 0;

    *m = (struct matcher){.kind = MATCH_REGEX, .text = malloc(raw.len + 1)};
    if (pattern == NULL || m->text == NULL) {
        rc = err_set(err, ERR_MEMORY, "no memory for a pattern");
    } else {
        struct span text = span_of(pattern, without_double_percent(raw, pattern));
        if (!matcher_simple(m, text)) {
            m->kind = MATCH_REGEX;
            rc = regex_compile(text, NULL, &m->regex, err);
        }
    }
    free(pattern);
    if (rc < 0) {
        matcher_release(m);
        *m = (struct matcher){.kind = MATCH_ALL};
    }
    return rc;
}

/* ---- rules ---- */

struct rule {
    struct matcher matcher;
    struct policy_origin origin;
    const struct retention *retention; /* schemas */
    enum aggregation method;           /* aggregation */
    double x_files_factor;
};

struct rule_list {
    struct ini *ini; /* NULL: no file */
    struct rule *rules;
    size_t count;
};

struct policy_rules {
    struct rule_list schemas;
    struct rule_list aggregations;
    struct retention **retentions; /* each definition once */
    size_t retention_count;
    char (*warnings)[WARNING_MAX];
    size_t warning_count;
};

static void rule_list_release(struct rule_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        matcher_release(&list->rules[i].matcher);
    free(list->rules);
    ini_free(list->ini);
}

void policy_rules_free(struct policy_rules *rules)
{
    if (rules == NULL)
        return;
    rule_list_release(&rules->schemas);
    rule_list_release(&rules->aggregations);
    for (size_t i = 0; i < rules->retention_count; i++)
        free(rules->retentions[i]);
    free(rules->retentions);
    free(rules->warnings);
    free(rules);
}

/* Put file, line and section in front of ERR's text. Returns RC. */
static int at_option(struct err *err, int rc, const struct ini *ini, const struct ini_section *section,
                     const struct ini_option *option)
{
    err_context(err, "%s:%d: [%.*s] %.*s", ini->path, option->line, SPAN_ARG(section->name), SPAN_ARG(option->key));
    return rc;
}

static void warn_skipped(struct policy_rules *rules, const struct ini *ini, const struct ini_section *section,
                         const char *what)
{
    snprintf(rules->warnings[rules->warning_count++], WARNING_MAX, "%s:%d: section [%.*s] is left out: %s", ini->path,
             section->line, SPAN_ARG(section->name), what);
}

/* The one retention of these rules with the text of R; NULL when memory is short. */
static const struct retention *intern(struct policy_rules *rules, const struct retention *r)
{
    for (size_t i = 0; i < rules->retention_count; i++) {
        if (strcmp(rules->retentions[i]->text, r->text) == 0)
            return rules->retentions[i];
    }
    struct retention *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = *r;
    rules->retentions[rules->retention_count++] = copy;
    return copy;
}

static bool is_false(struct span word)
{
    return word.len == 0 || span_eq(word, SPAN_LIT("false")) || span_eq(word, SPAN_LIT("False")) ||
           span_eq(word, SPAN_LIT("no")) || span_eq(word, SPAN_LIT("off")) || span_eq(word, SPAN_LIT("0"));
}

/* What SECTION matches. 1: it is to be left out (the warning is written), 0: RULE is set. */
static int read_matcher(struct policy_rules *rules, const struct ini *ini, const struct ini_section *section,
                        struct rule *rule, struct err *err)
{
    const struct ini_option *all = ini_get(section, "match-all"), *pattern = ini_get(section, "pattern");

    rule->origin = (struct policy_origin){.path = ini->path, .section = section->name, .line = section->line};
    if (all != NULL && !is_false(all->value)) {
        rule->matcher = (struct matcher){.kind = MATCH_ALL};
        return 0;
    }
    if (pattern == NULL || pattern->value.len == 0) {
        warn_skipped(rules, ini, section,
                     ini_get(section, "list") != NULL ? "lists are not supported (nor by carbon since 0.9)"
                                                      : "it has no pattern");
        return 1;
    }
    int rc = matcher_init(&rule->matcher, pattern->value, err);
    return rc < 0 ? at_option(err, rc, ini, section, pattern) : 0;
}

static int read_schema(struct policy_rules *rules, const struct ini *ini, const struct ini_section *section,
                       struct rule *rule, struct err *err)
{
    const struct ini_option *option = ini_get(section, "retentions");
    struct retention r;

    if (option == NULL) {
        warn_skipped(rules, ini, section, "it has no retentions");
        return 1;
    }
    int rc = retention_parse(option->value, &r, err);
    if (rc < 0)
        return at_option(err, rc, ini, section, option);
    rule->retention = intern(rules, &r);
    return rule->retention == NULL ? err_set(err, ERR_MEMORY, "no memory for the rules of %s", ini->path)
                                   : read_matcher(rules, ini, section, rule, err);
}

static int read_aggregation(struct policy_rules *rules, const struct ini *ini, const struct ini_section *section,
                            struct rule *rule, struct err *err)
{
    const struct ini_option *factor = ini_get(section, "xfilesfactor");
    const struct ini_option *method = ini_get(section, "aggregationmethod");
    double x = 0.5;

    rule->method = AGG_AVERAGE;
    if (factor != NULL && !(number_parse(factor->value, &x) && x >= 0 && x <= 1)) {
        int rc = err_set(err, ERR_INPUT, "'%.*s' is no number from 0 to 1", SPAN_ARG(factor->value));
        return at_option(err, rc, ini, section, factor);
    }
    if (method != NULL && !aggregation_parse(method->value, &rule->method)) {
        int rc = err_set(err, ERR_INPUT, "'%.*s' is none of average, sum, last, max, min, avg_zero, absmax, absmin",
                         SPAN_ARG(method->value));
        return at_option(err, rc, ini, section, method);
    }
    rule->x_files_factor = (double)(float)x;
    return read_matcher(rules, ini, section, rule, err);
}

typedef int read_section(struct policy_rules *rules, const struct ini *ini, const struct ini_section *section,
                         struct rule *rule, struct err *err);

static int read_rules(struct policy_rules *rules, struct rule_list *list, read_section *read, struct err *err)
{
    for (size_t i = 0; list->ini != NULL && i < list->ini->count; i++) {
        struct rule rule = {.retention = NULL};
        int rc = read(rules, list->ini, &list->ini->sections[i], &rule, err);

        if (rc < 0)
            return rc;
        if (rc == 0)
            list->rules[list->count++] = rule;
    }
    return 0;
}

/* All arrays at their largest: no section makes more than one rule, one retention and one warning. */
static int reserve(struct policy_rules *rules, struct err *err)
{
    size_t schemas = rules->schemas.ini == NULL ? 0 : rules->schemas.ini->count;
    size_t aggregations = rules->aggregations.ini == NULL ? 0 : rules->aggregations.ini->count;

    rules->schemas.rules = calloc(schemas + 1, sizeof *rules->schemas.rules);
    rules->aggregations.rules = calloc(aggregations + 1, sizeof *rules->aggregations.rules);
    rules->retentions = calloc(schemas + 1, sizeof *rules->retentions);
    rules->warnings = calloc(schemas + aggregations + 1, sizeof *rules->warnings);
    if (rules->schemas.rules == NULL || rules->aggregations.rules == NULL || rules->retentions == NULL ||
        rules->warnings == NULL)
        return err_set(err, ERR_MEMORY, "no memory for the rules of storage");
    return 0;
}

/* Takes both files over (NULL: none), on failure too. */
static int rules_from(struct ini *schemas, struct ini *aggregation, struct policy_rules **out, struct err *err)
{
    struct policy_rules *rules = calloc(1, sizeof *rules);
    int rc = 0;

    *out = NULL;
    if (rules == NULL) {
        ini_free(schemas);
        ini_free(aggregation);
        return err_set(err, ERR_MEMORY, "no memory for the rules of storage");
    }
    rules->schemas.ini = schemas;
    rules->aggregations.ini = aggregation;
    rc = reserve(rules, err);
    if (rc == 0)
        rc = read_rules(rules, &rules->schemas, read_schema, err);
    if (rc == 0)
        rc = read_rules(rules, &rules->aggregations, read_aggregation, err);
    if (rc < 0)
        policy_rules_free(rules);
    else
        *out = rules;
    return rc;
}

int policy_rules_load(const char *schemas_path, const char *aggregation_path, struct policy_rules **out,
                      struct err *err)
{
    struct ini *schemas = NULL, *aggregation = NULL;
    int rc = 0;

    *out = NULL;
    if (schemas_path != NULL)
        rc = ini_load(schemas_path, INI_STRICT, &schemas, err);
    if (rc == 0 && aggregation_path != NULL)
        rc = ini_load(aggregation_path, INI_STRICT, &aggregation, err);
    if (rc == 0)
        return rules_from(schemas, aggregation, out, err);
    ini_free(schemas);
    return rc;
}

int policy_rules_parse(struct span schemas, const char *schemas_path, struct span aggregation,
                       const char *aggregation_path, struct policy_rules **out, struct err *err)
{
    struct ini *schemas_ini = NULL, *aggregation_ini = NULL;
    int rc = 0;

    *out = NULL;
    if (schemas.len != 0)
        rc = ini_parse(schemas, schemas_path, INI_STRICT, &schemas_ini, err);
    if (rc == 0 && aggregation.len != 0)
        rc = ini_parse(aggregation, aggregation_path, INI_STRICT, &aggregation_ini, err);
    if (rc == 0)
        return rules_from(schemas_ini, aggregation_ini, out, err);
    ini_free(schemas_ini);
    return rc;
}

static const struct rule *first_match(const struct rule_list *list, struct span name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (matcher_test(&list->rules[i].matcher, name))
            return &list->rules[i];
    }
    return NULL;
}

void policy_rules_match(const struct policy_rules *rules, struct span name, struct policy_match *out)
{
    const struct rule *schema = first_match(&rules->schemas, name);
    const struct rule *aggregation = first_match(&rules->aggregations, name);

    *out = (struct policy_match){
        .retention = schema == NULL ? policy_default_retention() : schema->retention,
        .method = aggregation == NULL ? AGG_AVERAGE : aggregation->method,
        .x_files_factor = aggregation == NULL ? 0.5 : aggregation->x_files_factor,
    };
    if (schema != NULL)
        out->schema = schema->origin;
    if (aggregation != NULL)
        out->aggregation = aggregation->origin;
}

const char *policy_rules_warning(const struct policy_rules *rules, size_t i)
{
    return i < rules->warning_count ? rules->warnings[i] : NULL;
}
