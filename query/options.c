#include "query/options.h"

#include "base/number.h"
#include "query/time_spec.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

static void collect(const struct params *params, const char *key, struct arena *arena, struct render_options *out)
{
    struct span wanted = span_str(key);

    out->targets = ARENA_ARRAY(arena, struct span, params->count);
    out->targets_count = 0;
    for (size_t i = 0; i < params->count; i++) {
        if (span_eq(params->items[i].key, wanted))
            out->targets[out->targets_count++] = params->items[i].value;
    }
}

static void collect_template(const struct params *params, struct arena *arena, struct render_options *out)
{
    struct span prefix = SPAN_LIT("template[");

    out->template_params.arena = arena;
    for (size_t i = 0; i < params->count; i++) {
        struct span key = params->items[i].key;

        if (span_starts(key, prefix) && key.len > prefix.len)
            params_add(&out->template_params, span_cut(key, prefix.len, key.len - 1), params->items[i].value);
    }
}

static bool all_digits(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!isdigit((unsigned char)s.ptr[i]))
            return false;
    }
    return s.len > 0;
}

static void read_format(const struct params *params, struct render_options *out)
{
    const struct span *format = params_get(params, "format");
    const struct span *jsonp = params_get(params, "jsonp");

    if (params_get(params, "pickle") != NULL)
        out->format = SPAN_LIT("pickle");
    if (params_get(params, "rawData") != NULL)
        out->format = SPAN_LIT("raw");
    if (format != NULL) {
        out->format = *format;
        if (jsonp != NULL)
            out->jsonp = *jsonp;
    }
}

static int read_points(const struct params *params, struct render_options *out, struct err *err)
{
    const struct span *max = params_get(params, "maxDataPoints");
    const struct span *pretty = params_get(params, "pretty");
    const struct span *explain = params_get(params, "explain");
    int64_t value = 0;

    out->no_null_points = params_get(params, "noNullPoints") != NULL;
    out->explain = explain != NULL && span_eq(*explain, SPAN_LIT("1"));
    out->pretty = pretty != NULL && pretty->len > 0;
    if (max == NULL || !all_digits(*max))
        return 0;
    out->has_max_points = true;
    out->max_points = number_parse_i64(*max, &value) ? (uint64_t)value : UINT64_MAX;
    if (out->max_points == 0)
        return err_set(err, ERR_INPUT, "maxDataPoints may not be 0");
    return 0;
}

static struct span strip(struct span s)
{
    while (s.len > 0 && isspace((unsigned char)s.ptr[0]))
        s = span_cut(s, 1, s.len);
    while (s.len > 0 && isspace((unsigned char)s.ptr[s.len - 1]))
        s.len--;
    return s;
}

static int read_numbers(const struct params *params, struct render_options *out, struct err *err)
{
    const struct span *xff = params_get(params, "xFilesFactor");
    const struct span *timeout = params_get(params, "cacheTimeout");
    int64_t ignored;

    if (timeout != NULL && !number_parse_i64(strip(*timeout), &ignored))
        return err_set(err, ERR_INPUT, "cacheTimeout is not an integer");
    out->x_files_factor = 0;
    if (xff != NULL && !number_parse(strip(*xff), &out->x_files_factor))
        return err_set(err, ERR_INPUT, "xFilesFactor is not a number");
    return 0;
}

/* One of the parameters now, until, from; unchanged when it is not there. */
static int read_time(const struct params *params, const char *key, const struct tz *tz, int64_t now_s, int64_t *out_s,
                     struct err *err)
{
    const struct span *text = params_get(params, key);
    int rc;

    if (text == NULL)
        return 0;
    rc = time_spec_parse(*text, tz, now_s, out_s, err);
    if (rc < 0)
        err_context(err, "%s", key);
    return rc;
}

static int read_range(const struct params *params, int64_t wall_s, struct render_options *out, struct err *err)
{
    const struct span *zone = params_get(params, "tz");
    const struct tz *found = zone == NULL ? NULL : tz_find(*zone);
    int rc;

    out->tz = found != NULL ? found : tz_utc();
    out->now_s = wall_s;
    rc = read_time(params, "now", out->tz, wall_s, &out->now_s, err);
    out->until_s = out->now_s;
    out->from_s = out->now_s - 86400;
    if (rc == 0)
        rc = read_time(params, "until", out->tz, out->now_s, &out->until_s, err);
    if (rc == 0)
        rc = read_time(params, "from", out->tz, out->now_s, &out->from_s, err);
    if (rc < 0)
        return rc;
    if (out->from_s > out->until_s) {
        int64_t from_s = out->from_s;

        out->from_s = out->until_s;
        out->until_s = from_s;
    }
    return out->from_s == out->until_s ? err_set(err, ERR_INPUT, "Invalid empty time range") : 0;
}

static int check_graph_type(const struct params *params, struct err *err)
{
    const struct span *type = params_get(params, "graphType");

    if (type == NULL || span_eq(*type, SPAN_LIT("line")))
        return 0;
    return err_set(err, ERR_INPUT, "Invalid graphType '%.*s', must be line", (int)(type->len < 60 ? type->len : 60),
                   type->ptr);
}

int render_options_parse(const struct params *params, int64_t wall_s, struct arena *arena, struct render_options *out,
                         struct err *err)
{
    int rc;

    *out = (struct render_options){.format = SPAN_LIT("")};
    collect(params, "target", arena, out);
    if (out->targets_count == 0)
        collect(params, "target[]", arena, out);
    collect_template(params, arena, out);
    read_format(params, out);
    rc = check_graph_type(params, err);
    if (rc == 0)
        rc = read_points(params, out, err);
    if (rc == 0)
        rc = read_numbers(params, out, err);
    return rc < 0 ? rc : read_range(params, wall_s, out, err);
}
