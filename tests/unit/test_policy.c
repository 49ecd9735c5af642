#include "storage/policy.h"

#include "tests/help/tmpdir.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct policy_rules *rules_of(const char *schemas, const char *aggregation)
{
    struct policy_rules *rules;
    struct err err = {0};

    cr_assert_eq(policy_rules_parse(span_str(schemas), "storage-schemas.conf", span_str(aggregation),
                                    "storage-aggregation.conf", &rules, &err),
                 0, "%s", err.text);
    return rules;
}

static struct policy_match match_of(const struct policy_rules *rules, const char *name)
{
    struct policy_match m;

    policy_rules_match(rules, span_str(name), &m);
    return m;
}

static const char *debian_schemas = "# Schema definitions for Whisper files.\n"
                                    "[carbon]\npattern = ^carbon\\.\nretentions = 60:90d\n\n"
                                    "[web]\nPATTERN = ^servers\\.(www|web).*\\.cpu$\nretentions = 10s:6h,1m:7d\n\n"
                                    "[also]\npattern = web\nretentions = 1m:7d,10s:6h\n\n"
                                    "[default_1min_for_1day]\npattern = .*\nretentions = 60s:1d\n";

Test(policy, the_first_section_that_matches_wins)
{
    struct policy_rules *rules = rules_of(debian_schemas, "");

    cr_expect_str_eq(match_of(rules, "carbon.agents.a").retention->text, "1m:90d");
    cr_expect_str_eq(match_of(rules, "x.carbon.a").retention->text, "1m:1d");
    cr_expect_str_eq(match_of(rules, "servers.www1.cpu").retention->text, "10s:6h,1m:7d");
    cr_expect_str_eq(match_of(rules, "servers.www1.cpus").retention->text, "1m:1d");
    cr_expect_eq(match_of(rules, "my.web.x").retention, match_of(rules, "servers.www1.cpu").retention);
    struct policy_origin origin = match_of(rules, "my.web.x").schema;
    cr_expect_str_eq(origin.path, "storage-schemas.conf");
    cr_expect(span_eq(origin.section, SPAN_LIT("also")));
    cr_expect_eq(origin.line, 10);
    policy_rules_free(rules);
}

Test(policy, without_files_the_builtin_default_holds)
{
    struct policy_rules *rules;
    struct err err;

    cr_assert_eq(policy_rules_load(NULL, NULL, &rules, &err), 0);
    struct policy_match m = match_of(rules, "a.b");
    cr_expect_str_eq(m.retention->text, "10s:1d,1m:30d,10m:5y");
    cr_expect_eq(m.method, AGG_AVERAGE);
    cr_expect_eq(m.x_files_factor, 0.5);
    cr_expect_null(m.schema.path);
    cr_expect_null(m.aggregation.path);
    policy_rules_free(rules);
}

Test(policy, aggregation_has_its_own_rules)
{
    struct policy_rules *rules =
        rules_of("", "[min]\npattern = \\.lower$\nxFilesFactor = 0.1\naggregationMethod = min\n"
                     "[sum]\npattern = \\.count$\nxFilesFactor = 0\naggregationMethod = sum\n"
                     "[half]\npattern = ^x\naggregationMethod = avg_zero\n"
                     "[all]\npattern = .*\nxFilesFactor = 0.3\n");
    struct policy_match m = match_of(rules, "a.lower");

    cr_expect_eq(m.method, AGG_MIN);
    cr_expect_eq(m.x_files_factor, (double)0.1f);
    cr_expect(span_eq(m.aggregation.section, SPAN_LIT("min")));
    cr_expect_eq(match_of(rules, "a.count").method, AGG_SUM);
    cr_expect_eq(match_of(rules, "a.count").x_files_factor, 0);
    cr_expect_eq(match_of(rules, "x.y").method, AGG_AVG_ZERO);
    cr_expect_eq(match_of(rules, "x.y").x_files_factor, 0.5);
    cr_expect_eq(match_of(rules, "a.b").method, AGG_AVERAGE);
    cr_expect_eq(match_of(rules, "a.b").x_files_factor, (double)0.3f);
    policy_rules_free(rules);
}

Test(policy, simple_patterns_mean_what_the_expression_means)
{
    const struct {
        const char *pattern;
        const char *name;
        bool matches;
    } cases[] = {
        {"^a\\.b", "a.bc", true},  {"^a\\.b", "x.a.b", false}, {"^a\\.b$", "a.b", true},   {"^a\\.b$", "a.bc", false},
        {"a\\.b$", "x.a.b", true}, {"a\\.b$", "a.bx", false},  {"a\\.b", "x.a.b.y", true}, {"a\\.b", "x.a-b.y", false},
        {"a.b", "x.a-b.y", true},  {".*", "x", true},          {"^.*", "x", true},         {"^", "x", true},
        {"^a.*", "abc", true},     {"^a.*", "ba", false},      {"^a.*$", "abc", true},     {"a$.*", "a", true},
        {"^$", "a", false},        {"a%%b", "a%b", true},      {"a|b", "xb", true},        {"(?i)ABC", "xabc", true},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        sprintf(text, "[x]\npattern = %s\nretentions = 7s:7d\n", cases[i].pattern);
        struct policy_rules *rules = rules_of(text, "");
        cr_expect_eq(strcmp(match_of(rules, cases[i].name).retention->text, "7s:7d") == 0, cases[i].matches, "%s on %s",
                     cases[i].pattern, cases[i].name);
        policy_rules_free(rules);
    }
}

Test(policy, match_all_needs_no_pattern)
{
    struct policy_rules *rules = rules_of("[x]\nmatch-all = false\npattern = ^a\nretentions = 1s:1d\n"
                                          "[y]\nmatch-all = true\nretentions = 2s:1d\n",
                                          "");

    cr_expect_str_eq(match_of(rules, "a").retention->text, "1s:1d");
    cr_expect_str_eq(match_of(rules, "b").retention->text, "2s:1d");
    policy_rules_free(rules);
}

Test(policy, sections_that_carbon_skips_are_skipped_with_a_warning)
{
    struct policy_rules *rules = rules_of(
        "[x]\nretentions = 1s:1d\n[y]\npattern = .*\n[z]\nlist = l\nretentions = 1s:1d\n", "[w]\nxFilesFactor = 0.2\n");

    cr_expect_str_eq(match_of(rules, "a").retention->text, "10s:1d,1m:30d,10m:5y");
    cr_expect_str_eq(policy_rules_warning(rules, 0),
                     "storage-schemas.conf:1: section [x] is left out: it has no pattern");
    cr_expect_str_eq(policy_rules_warning(rules, 1),
                     "storage-schemas.conf:3: section [y] is left out: it has no retentions");
    cr_expect_not_null(strstr(policy_rules_warning(rules, 2), "lists are not supported"));
    cr_expect_str_eq(policy_rules_warning(rules, 3),
                     "storage-aggregation.conf:1: section [w] is left out: it has no pattern");
    cr_expect_null(policy_rules_warning(rules, 4));
    policy_rules_free(rules);
}

Test(policy, mistakes_name_file_line_and_section)
{
    const struct {
        const char *schemas;
        const char *aggregation;
        const char *text;
    } cases[] = {
        {"\n[x]\npattern = a\nretentions = 10s:1d,1m:12h\n", "",
         "storage-schemas.conf:4: [x] retentions: the archive of step 60 s must reach further back"},
        {"[x]\npattern = (\nretentions = 1s:1d\n", "", "storage-schemas.conf:2: [x] pattern: "},
        {"", "[m]\npattern = a\nxFilesFactor = 1.5\n",
         "storage-aggregation.conf:3: [m] xfilesfactor: '1.5' is no number from 0 to 1"},
        {"", "[m]\npattern = a\nxFilesFactor = half\n", "storage-aggregation.conf:3: [m] xfilesfactor: 'half'"},
        {"", "[m]\npattern = a\nxFilesFactor = nan\n", "storage-aggregation.conf:3: [m] xfilesfactor: 'nan'"},
        {"", "[m]\npattern = a\naggregationMethod = median\n",
         "storage-aggregation.conf:3: [m] aggregationmethod: 'median' is none of average,"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy_rules *rules = (struct policy_rules *)1;
        struct err err = {0};
        int rc = policy_rules_parse(span_str(cases[i].schemas), "storage-schemas.conf", span_str(cases[i].aggregation),
                                    "storage-aggregation.conf", &rules, &err);
        cr_expect_eq(rc, ERR_INPUT);
        cr_expect_null(rules);
        cr_expect(strncmp(err.text, cases[i].text, strlen(cases[i].text)) == 0, "%s", err.text);
    }
}

Test(policy, reads_files)
{
    struct tmpdir dir;
    struct policy_rules *rules;
    struct err err = {0};

    tmpdir_init(&dir);
    const char *path = tmpdir_file(&dir, "schemas");
    FILE *f = fopen(path, "w");
    fputs(debian_schemas, f);
    fclose(f);
    cr_assert_eq(policy_rules_load(path, NULL, &rules, &err), 0, "%s", err.text);
    cr_expect_str_eq(match_of(rules, "carbon.x").retention->text, "1m:90d");
    policy_rules_free(rules);
    cr_expect_eq(policy_rules_load(path, tmpdir_file(&dir, "none"), &rules, &err), ERR_MISSING);
    cr_expect_null(rules);
    tmpdir_release(&dir);
}

Test(aggregation, names_go_both_ways)
{
    enum aggregation method;

    for (int m = AGG_AVERAGE; m < AGG_COUNT; m++) {
        cr_assert(aggregation_parse(span_str(aggregation_name((enum aggregation)m)), &method));
        cr_expect_eq((int)method, m);
    }
    cr_expect(aggregation_parse(SPAN_LIT("avg"), &method) && method == AGG_AVERAGE);
    cr_expect_not(aggregation_parse(SPAN_LIT("median"), &method));
    cr_expect_not(aggregation_parse(SPAN_LIT("Average"), &method));
    cr_expect_null(aggregation_name((enum aggregation)0));
    cr_expect_null(aggregation_name(AGG_COUNT));
}
