/* /tags: what tags there are, which series have them, and series by order. Errors are JSON. */
#include "base/clock.h"
#include "server/routes.h"

#include <stdlib.h>

enum { COMPLETIONS = 100, LIMIT_MAX = 1 << 30 };

/* ---- parameters ---- */

/* "limit": at most so many. None, and 0 (Grafana's "not set"), is FALLBACK. False, and a 400, for no number. */
static bool get_limit(struct call *call, size_t fallback, size_t *out)
{
    const struct span *text = params_get(&call->params, "limit");
    char digits[24] = "";
    char *end = digits;
    long long limit = 0;

    *out = fallback;
    if (text == NULL)
        return true;
    if (text->len < sizeof(digits)) {
        memcpy(digits, text->ptr, text->len);
        limit = strtoll(digits, &end, 10);
    }
    if (end == digits || *end != '\0') {
        reply_error_json(call, 400, "Invalid int value \"%.*s\" for param limit", SPAN_ARG(span_cut(*text, 0, 200)));
        return false;
    }
    if (limit > 0)
        *out = limit < LIMIT_MAX ? (size_t)limit : LIMIT_MAX;
    return true;
}

/* All values of NAME and NAME[], in order. False, and an error, when there are too many. */
static bool get_list(struct call *call, const char *name, struct span **out, size_t *count)
{
    const struct params *params = &call->params;
    struct span key = span_str(name);
    size_t max = call->routes->limits.targets_max;

    *count = 0;
    *out = ARENA_ARRAY(call->arena, struct span, params->count);
    for (size_t i = 0; i < params->count; i++) {
        struct span got = params->items[i].key;

        if (span_starts(got, key) && (got.len == key.len || span_eq(span_cut(got, key.len, got.len), SPAN_LIT("[]"))))
            (*out)[(*count)++] = params->items[i].value;
    }
    if (*count <= max)
        return true;
    reply_error_json(call, 422, "more than %zu of %s; query-max-targets is the limit", max, name);
    return false;
}

static struct span get_text(struct call *call, const char *name)
{
    const struct span *text = params_get(&call->params, name);

    return text == NULL ? SPAN_LIT("") : *text;
}

static bool is_over(void *control)
{
    return query_is_over(control);
}

static struct storage_stop stop_of(struct call *call)
{
    return (struct storage_stop){is_over, &call->request->control};
}

/* ---- answers ---- */

static void answer_failed(struct call *call, const struct err *err)
{
    int status = err->code == ERR_INPUT ? 400 : err->code == ERR_LIMIT ? 422 : 500;

    if (err->code == ERR_CANCELLED)
        reply_error_json(call, 503, "the request took longer than query-timeout allows");
    else
        reply_error_json(call, status, "%s", err->text);
}

/* The texts of LIST as a JSON list of strings. */
static void answer_texts(struct call *call, const struct storage_tag_list *list)
{
    if (!reply_json_begin(call))
        return;
    buf_add_char(&call->reply->body, '[');
    for (size_t i = 0; i < list->count; i++) {
        buf_add_str(&call->reply->body, i == 0 ? "" : ", ");
        reply_json_string(call, list->items[i].text);
    }
    buf_add_char(&call->reply->body, ']');
    reply_json_end(call);
}

void answer_tags(struct call *call)
{
    struct storage_stop stop = stop_of(call);
    struct storage_tag_query query = {.filter = get_text(call, "filter"), .stop = &stop};
    struct storage_tag_list list;
    struct buf *out = &call->reply->body;
    struct err err = {0};

    if (!get_limit(call, 0, &query.limit))
        return;
    if (storage_tags(call->routes->st, &query, call->arena, &list, &err) < 0) {
        answer_failed(call, &err);
        return;
    }
    if (!reply_json_begin(call))
        return;
    buf_add_char(out, '[');
    for (size_t i = 0; i < list.count; i++) {
        buf_addf(out, "%s{\"id\": %u, \"tag\": ", i == 0 ? "" : ", ", list.items[i].number);
        reply_json_string(call, list.items[i].text);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
    reply_json_end(call);
}

static void add_values(struct call *call, const struct storage_tag_list *list)
{
    struct buf *out = &call->reply->body;

    buf_addf(out, "{\"id\": %u, \"tag\": ", list->tag_number);
    reply_json_string(call, call->rest);
    buf_add_str(out, ", \"values\": [");
    for (size_t i = 0; i < list->count; i++) {
        const struct storage_tag *value = &list->items[i];

        buf_addf(out, "%s{\"count\": %llu, \"id\": %u, \"value\": ", i == 0 ? "" : ", ",
                 (unsigned long long)value->series, value->number);
        reply_json_string(call, value->text);
        buf_add_char(out, '}');
    }
    buf_add_str(out, "]}");
}

void answer_tag(struct call *call)
{
    struct storage_stop stop = stop_of(call);
    struct storage_tag_query query = {.filter = get_text(call, "filter"), .stop = &stop};
    struct storage_tag_list list;
    struct err err = {0};

    if (!get_limit(call, 0, &query.limit))
        return;
    int rc = storage_tag_values(call->routes->st, call->rest, &query, call->arena, &list, &err);

    if (rc < 0 && rc != ERR_MISSING) {
        answer_failed(call, &err);
        return;
    }
    if (!reply_json_begin(call))
        return;
    if (rc == ERR_MISSING)
        buf_add_str(&call->reply->body, "null");
    else
        add_values(call, &list);
    reply_json_end(call);
}

void answer_find_series(struct call *call)
{
    struct storage_stop stop = stop_of(call);
    struct storage_matches matches;
    struct span *exprs;
    struct err err = {0};
    size_t count;

    if (!get_list(call, "expr", &exprs, &count))
        return;
    if (count == 0) {
        reply_error_json(call, 400, "no tag expressions specified");
        return;
    }
    if (storage_find_by_tags(call->routes->st, exprs, count, call->routes->limits.series_max, &stop, call->arena,
                             &matches, &err) < 0) {
        answer_failed(call, &err);
        return;
    }
    if (!reply_json_begin(call))
        return;
    buf_add_char(&call->reply->body, '[');
    for (size_t i = 0; i < matches.count; i++) {
        buf_add_str(&call->reply->body, i == 0 ? "" : ", ");
        reply_json_string(call, matches.items[i].path);
    }
    buf_add_char(&call->reply->body, ']');
    reply_json_end(call);
}

/* from and until may hold anything here ("undefined" from Grafana) and choose nothing. */
static bool get_completion(struct call *call, const char *prefix, struct storage_tag_query *query)
{
    struct span *exprs;

    if (!get_limit(call, COMPLETIONS, &query->limit) || !get_list(call, "expr", &exprs, &query->exprs_count))
        return false;
    query->exprs = exprs;
    query->prefix = get_text(call, prefix);
    return true;
}

void answer_complete_tags(struct call *call)
{
    struct storage_stop stop = stop_of(call);
    struct storage_tag_query query = {.stop = &stop};
    struct storage_tag_list list;
    struct err err = {0};

    if (!get_completion(call, "tagPrefix", &query))
        return;
    if (storage_tags(call->routes->st, &query, call->arena, &list, &err) < 0)
        answer_failed(call, &err);
    else
        answer_texts(call, &list);
}

void answer_complete_values(struct call *call)
{
    struct storage_stop stop = stop_of(call);
    struct storage_tag_query query = {.stop = &stop};
    struct storage_tag_list list;
    struct span tag = get_text(call, "tag");
    struct err err = {0};

    if (!get_completion(call, "valuePrefix", &query))
        return;
    if (tag.len == 0) {
        reply_error_json(call, 400, "no tag specified");
        return;
    }
    int rc = storage_tag_values(call->routes->st, tag, &query, call->arena, &list, &err);

    if (rc < 0 && rc != ERR_MISSING)
        answer_failed(call, &err);
    else
        answer_texts(call, &list);
}

/* ---- series by order ---- */

/* The canonical forms of "path" and "path[]". False, and an error, when there is none or one is not valid. */
static bool get_paths(struct call *call, struct span **paths, size_t *count)
{
    struct err err = {0};

    if (!get_list(call, "path", paths, count))
        return false;
    if (*count == 0 || (*paths)[0].len == 0) {
        reply_error_json(call, 400, "no path specified");
        return false;
    }
    for (size_t i = 0; i < *count; i++) {
        struct span raw = (*paths)[i];

        if (storage_canonical(raw, call->arena, &(*paths)[i], &err) < 0) {
            reply_error_json(call, 400, "Invalid path \"%.*s\": %s", SPAN_ARG(span_cut(raw, 0, 200)), err.text);
            return false;
        }
    }
    return true;
}

/* Make series of PATHS. False, and an error, when one cannot be made; those before it are there then. */
static bool make_series(struct call *call, const struct span *paths, size_t count)
{
    int64_t now_s = clock_now_s();
    struct err err = {0};
    enum store_result result = STORE_OK;
    uint32_t id;

    storage_enter();
    for (size_t i = 0; i < count && result == STORE_OK; i++)
        result = storage_create(call->routes->st, paths[i], now_s, &id, &err);
    storage_leave();
    if (result == STORE_OK)
        return true;
    if (result == STORE_ERROR || result == STORE_DISK_FULL)
        reply_error_json(call, 500, "%s: %s", store_result_name(result), err.text);
    else
        reply_error_json(call, 422, "a limit on series is reached: %s", store_result_name(result));
    return false;
}

void answer_tag_series(struct call *call)
{
    struct span *paths;
    size_t count;

    if (!get_paths(call, &paths, &count) || !make_series(call, paths + count - 1, 1) || !reply_json_begin(call))
        return;
    reply_json_string(call, paths[count - 1]);
    reply_json_end(call);
}

void answer_tag_multi_series(struct call *call)
{
    struct span *paths;
    size_t count;

    if (!get_paths(call, &paths, &count) || !make_series(call, paths, count) || !reply_json_begin(call))
        return;
    buf_add_char(&call->reply->body, '[');
    for (size_t i = 0; i < count; i++) {
        buf_add_str(&call->reply->body, i == 0 ? "" : ", ");
        reply_json_string(call, paths[i]);
    }
    buf_add_char(&call->reply->body, ']');
    reply_json_end(call);
}

void answer_delete_series(struct call *call)
{
    struct span *paths;
    size_t count;
    uint64_t deleted;
    struct err err = {0};

    if (!get_paths(call, &paths, &count))
        return;
    if (storage_delete_names(call->routes->st, paths, count, &deleted, &err) < 0) {
        answer_failed(call, &err);
        return;
    }
    if (!reply_json_begin(call))
        return;
    buf_add_str(&call->reply->body, "true");
    reply_json_end(call);
}
