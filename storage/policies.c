#include "storage/policies.h"

#include "base/file.h"

#include <stdlib.h>

/* The policy with these RETENTIONS, or NULL. */
static struct policy *policies_find(struct policies *p, struct span retentions)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (span_eq(span_str(p->policy[i]->retention.text), retentions))
            return p->policy[i];
    return NULL;
}

/* A tier is made of the finer one's points from the start of the window on in which the policy was first
 * used; no coarser tier begins later than a finer one. Tier 0 is made of nothing. */
static int64_t policies_roll_begin(const struct policy *policy, uint32_t tier, int64_t created_s)
{
    if (tier == 0)
        return INT64_MAX;
    for (uint32_t k = 1; k <= tier; k++)
        created_s = tier_window_start(&policy->retention.tiers[k], created_s);
    return created_s;
}

/* Free a policy of which COUNT tiers are ready. NULL is fine. */
static void policies_free(struct policy *policy, uint32_t count)
{
    for (uint32_t k = 0; policy != NULL && k < count; k++)
        tier_release(&policy->tier[k]);
    free(policy);
}

/* The policy of a rule that is the first to use it, not yet among the others. */
static int policies_make(const struct policies *p, const struct log_rule *rule, struct policy **out, struct err *err)
{
    *out = NULL;
    if (p->count == POLICIES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d different retentions", POLICIES_MAX);
    struct policy *policy = calloc(1, sizeof *policy);
    if (policy == NULL)
        return err_set(err, ERR_MEMORY, "policy");
    policy->number = (uint16_t)p->count;
    int rc = retention_parse(rule->retentions, &policy->retention, err);
    uint32_t made = 0;
    while (rc == 0 && made < policy->retention.count) {
        rc = tier_init(&policy->tier[made], p->dir, policy->number, (uint8_t)made, &policy->retention.tiers[made],
                       policies_roll_begin(policy, made, rule->created_s), err);
        made++;
    }
    if (rc == 0)
        rc = file_sync_dir(p->dir, err); /* the folders are there before any grid in them is */
    if (rc < 0) {
        policies_free(policy, made);
        return rc;
    }
    *out = policy;
    return 0;
}

static void policies_publish(struct policies *p, struct policy *policy)
{
    p->policy[p->count] = policy;
    __atomic_store_n(&p->count, p->count + 1, __ATOMIC_RELEASE);
}

static void policies_put_rule(struct policies *p, const struct log_rule *rule)
{
    p->rule[rule->number] =
        (struct rule){.policy = rule->policy, .method = rule->method, .x_files_factor = rule->x_files_factor};
    __atomic_store_n(&p->rules, rule->number + 1u, __ATOMIC_RELEASE);
}

int policies_restore(struct policies *p, const struct log_rule *rule, struct err *err)
{
    struct policy *policy = policies_find(p, rule->retentions);
    int rc = 0;

    if (rule->number < p->rules)
        return 0; /* the second copy */
    if (rule->number != p->rules || rule->number >= RULES_MAX || rule->method == 0 || rule->method >= AGG_COUNT)
        return err_set(err, ERR_CORRUPT, "rule %u is out of order or has a method that is unknown", rule->number);
    if (policy == NULL) {
        rc = policies_make(p, rule, &policy, err);
        if (rc < 0)
            return rc;
        policies_publish(p, policy);
    }
    if (policy->number != rule->policy)
        return err_set(err, ERR_CORRUPT, "rule %u names policy %u, expected %u", rule->number, rule->policy,
                       policy->number);
    policies_put_rule(p, rule);
    return 0;
}

int policies_rule_for(struct policies *p, struct series_log *log, const struct policy_match *match, int64_t now_s,
                      uint16_t *number, struct err *err)
{
    struct span retentions = span_str(match->retention->text);
    struct policy *policy = policies_find(p, retentions), *made = NULL;
    int rc = 0;

    for (uint32_t i = 0; policy != NULL && i < p->rules; i++) {
        const struct rule *r = &p->rule[i];
        if (r->policy == policy->number && r->method == match->method && r->x_files_factor == match->x_files_factor) {
            *number = (uint16_t)i;
            return 0;
        }
    }
    if (p->rules == RULES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d different rules of retention and aggregation", RULES_MAX);
    struct log_rule rule = {.number = (uint16_t)p->rules,
                            .method = (uint8_t)match->method,
                            .created_s = (uint32_t)now_s,
                            .x_files_factor = match->x_files_factor,
                            .retentions = retentions};
    if (policy == NULL) {
        rc = policies_make(p, &rule, &made, err);
        if (rc < 0)
            return rc;
        policy = made;
    }
    rule.policy = policy->number;
    rc = series_log_append_rule(log, &rule, err);
    if (rc < 0) { /* its number is free for the next one: numbers in the log have no gaps */
        policies_free(made, made == NULL ? 0 : made->retention.count);
        return rc;
    }
    if (made != NULL)
        policies_publish(p, made);
    policies_put_rule(p, &rule);
    *number = rule.number;
    /* A second copy, and both to the device at once: without its rule no series of the log can be read. */
    rc = series_log_append_rule(log, &rule, err);
    return rc < 0 ? rc : series_log_sync(log, err);
}

void policies_release(struct policies *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        policies_free(p->policy[i], p->policy[i]->retention.count);
}

int policies_each_tier(struct policies *p, int (*each)(void *ctx, struct policy *policy, struct tier *tier), void *ctx)
{
    uint32_t count = __atomic_load_n(&p->count, __ATOMIC_ACQUIRE);
    int rc = 0;

    for (uint32_t i = 0; i < count && rc == 0; i++)
        for (uint32_t k = 0; k < p->policy[i]->retention.count && rc == 0; k++)
            rc = each(ctx, p->policy[i], &p->policy[i]->tier[k]);
    return rc;
}
