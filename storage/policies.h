/* policies.h - the retention policies in use: numbered, each with its tiers; and the rules of series.
 *
 * A *policy* is a retention definition that some series has ("10s:6h,1m:7d"). A *rule* is a policy and
 * the way rollups are made of it (method, xFilesFactor); each series has the number of its rule. Numbers
 * are given once, in order of first use, and written to the series log. Both only grow, so readers need
 * no lock; adding is done under the series table's lock. */
#ifndef PLUMBAGO_STORAGE_POLICIES_H
#define PLUMBAGO_STORAGE_POLICIES_H

#include "storage/series_log.h"
#include "storage/tier.h"

enum { POLICIES_MAX = 1024, RULES_MAX = 16384 };

struct policy {
    uint16_t number;
    struct retention retention;
    struct tier tier[RETENTION_TIERS_MAX]; /* .retention.count of them */
};

struct rule {
    uint16_t policy;
    uint8_t method; /* enum aggregation */
    double x_files_factor;
};

struct policies {
    const char *dir; /* the store's; borrowed */
    struct policy *policy[POLICIES_MAX];
    uint32_t count; /* atomic */
    struct rule rule[RULES_MAX];
    uint32_t rules; /* atomic */
};

/* Put a rule of the log in place, with its policy's tiers. ERR_CORRUPT when its numbers are not the
 * next ones or its retentions do not parse; ERR_IO for the folders. */
int policies_restore(struct policies *p, const struct log_rule *rule, struct err *err);

/* The number of the rule for what MATCH says, written to LOG when it is new at NOW_S. ERR_LIMIT when there
 * are too many; errors of the log and of the folders. */
int policies_rule_for(struct policies *p, struct series_log *log, const struct policy_match *match, int64_t now_s,
                      uint16_t *number, struct err *err);

void policies_release(struct policies *p);

/* Calls EACH for every tier of every policy until it returns non-zero; returns that. */
int policies_each_tier(struct policies *p, int (*each)(void *ctx, struct policy *policy, struct tier *tier), void *ctx);

#endif
