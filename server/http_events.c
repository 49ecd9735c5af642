/* /events: what happened when. A post is taken by its text alone, as JSON, whatever type it claims to be. */
#include "base/clock.h"
#include "base/number.h"
#include "query/time_spec.h"
#include "server/routes.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

enum { EVENT_BODY_MAX = 1 << 20 }; /* bytes of JSON: the longest event with every byte escaped */

/* ---- adding ---- */

/* The member NAME of OBJECT as text in *out, which is released by the caller: a string, or a number as it is
 * written. Nothing when it is not there or null. False for anything else. */
static bool get_text(const json_t *object, const char *name, struct buf *out)
{
    const json_t *value = json_object_get(object, name);
    char *number;

    if (value == NULL || json_is_null(value))
        return true;
    if (json_is_string(value)) {
        buf_add(out, json_string_value(value), json_string_length(value));
        return true;
    }
    if (!json_is_number(value) || (number = json_dumps(value, JSON_ENCODE_ANY)) == NULL)
        return false;
    buf_add_str(out, number);
    free(number);
    return true;
}

/* "tags": a text divided by blanks, or a list of texts. */
static bool get_tags(const json_t *object, struct buf *out)
{
    const json_t *tags = json_object_get(object, "tags");

    if (!json_is_array(tags))
        return tags == NULL || json_is_null(tags) || json_is_string(tags) ? get_text(object, "tags", out) : false;
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const json_t *tag = json_array_get(tags, i);

        if (!json_is_string(tag))
            return false;
        buf_add_char(out, ' ');
        buf_add(out, json_string_value(tag), json_string_length(tag));
    }
    return true;
}

/* "when": seconds, perhaps with a fraction; now when it is not there. */
static bool get_when(const json_t *object, int64_t *out_s)
{
    const json_t *when = json_object_get(object, "when");
    double value;

    *out_s = clock_now_s();
    if (when == NULL)
        return true;
    value = floor(json_number_value(when));
    if (!json_is_number(when) || !(fabs(value) < 0x1p62))
        return false;
    *out_s = (int64_t)value;
    return true;
}

/* The texts of an event while it is read. */
struct reading {
    struct buf what, tags, data;
    int64_t when_s;
};

/* What is wrong with OBJECT; NULL: nothing. */
static const char *read_event(const json_t *object, struct reading *reading)
{
    if (!json_is_object(object))
        return "an event is a JSON object: {\"what\": ..., \"tags\": ..., \"when\": ..., \"data\": ...}";
    if (json_object_get(object, "what") == NULL || json_is_null(json_object_get(object, "what")))
        return "\"what\" is missing";
    if (!get_text(object, "what", &reading->what))
        return "\"what\" must be a text";
    if (!get_text(object, "data", &reading->data))
        return "\"data\" must be a text";
    if (!get_tags(object, &reading->tags))
        return "\"tags\" must be an array or space-separated string";
    if (!get_when(object, &reading->when_s))
        return "\"when\" must be a number of seconds since 1970";
    if (reading->what.failed || reading->data.failed || reading->tags.failed)
        return "no memory for the event";
    return NULL;
}

static void keep_event(struct call *call, const struct reading *reading)
{
    struct storage_event event = {.when_s = reading->when_s,
                                  .what = buf_span(&reading->what),
                                  .tags = buf_span(&reading->tags),
                                  .data = buf_span(&reading->data)};
    struct err err = {0};
    uint32_t id;

    storage_leave(); /* it waits for the disk */
    int rc = storage_event_add(call->routes->st, &event, &id, &err);
    storage_enter();
    if (rc == 0)
        call->reply->status = 200;
    else
        reply_error_json(call,
                         rc == ERR_INPUT   ? 400
                         : rc == ERR_LIMIT ? 422
                         : rc == ERR_FULL  ? 503
                                           : 500,
                         "%s", err.text);
}

static void add_event(struct call *call)
{
    struct span body = call->request->body;
    struct reading reading = {0};
    json_error_t error;
    const char *wrong;

    if (body.len > EVENT_BODY_MAX) {
        reply_error_json(call, 413, "an event is at most %d bytes of JSON, not %zu", EVENT_BODY_MAX, body.len);
        return;
    }
    /* Nothing takes memory of the arena before the tree is freed: running out of it would leave this function. */
    json_t *object = json_loadb(body.len == 0 ? "" : body.ptr, body.len, JSON_DECODE_ANY, &error);
    if (object == NULL) {
        reply_error_json(call, 400, "the body is not JSON: %s at byte %d", error.text, error.position);
        return;
    }
    wrong = read_event(object, &reading);
    json_decref(object);
    if (wrong != NULL)
        reply_error_json(call, 400, "%s", wrong);
    else
        keep_event(call, &reading);
    buf_release(&reading.what);
    buf_release(&reading.tags);
    buf_release(&reading.data);
}

/* ---- finding ---- */

static void put_tags(struct call *call, struct span tags)
{
    struct buf *out = &call->reply->body;

    buf_add_char(out, '[');
    for (size_t at = 0; at < tags.len;) {
        struct span rest = span_cut(tags, at, tags.len);
        struct span word = span_cut(rest, 0, span_find(rest, ' '));

        buf_add_str(out, at == 0 ? "" : ", ");
        reply_json_string(call, word);
        at += word.len + 1;
    }
    buf_add_char(out, ']');
}

static void put_event(struct call *call, const struct storage_event *event)
{
    struct buf *out = &call->reply->body;

    buf_addf(out, "{\"when\": %" PRId64 ", \"what\": ", event->when_s);
    reply_json_string(call, event->what);
    buf_add_str(out, ", \"data\": ");
    reply_json_string(call, event->data);
    buf_add_str(out, ", \"tags\": ");
    put_tags(call, event->tags);
    buf_addf(out, ", \"id\": %" PRIu32 "}", event->id);
}

/* The time in parameter NAME, or FALLBACK. False, with a 400 as the reply, when it is none. */
static bool get_time(struct call *call, const char *name, int64_t fallback, int64_t *out_s)
{
    const struct span *text = params_get(&call->params, name);
    const struct span *zone = params_get(&call->params, "tz");
    const struct tz *tz = zone == NULL ? NULL : tz_find(*zone);
    struct err err = {0};

    *out_s = fallback;
    if (text == NULL || text->len == 0)
        return true;
    if (time_spec_parse(*text, tz == NULL ? tz_utc() : tz, clock_now_s(), out_s, &err) == 0)
        return true;
    reply_invalid(call, "Invalid value %.*s for param %s: %s", SPAN_ARG(span_cut(*text, 0, 200)), name, err.text);
    return false;
}

/* The words of the parameter "tags", when it is given. */
static void get_wanted_tags(struct call *call, struct storage_events_query *query)
{
    const struct span *text = params_get(&call->params, "tags");
    const struct span *set = params_get(&call->params, "set");

    if (text == NULL)
        return;
    struct span *tags = ARENA_ARRAY(call->arena, struct span, text->len / 2 + 1);
    query->tags = tags;
    query->match = set != NULL && span_eq(*set, SPAN_LIT("union")) ? STORAGE_EVENTS_ANY_TAG : STORAGE_EVENTS_ALL_TAGS;
    for (size_t at = 0; at < text->len;) {
        struct span rest = span_cut(*text, at, text->len);
        struct span word = span_cut(rest, 0, span_find(rest, ' '));

        if (word.len != 0)
            tags[query->tags_count++] = word;
        at += word.len + 1;
    }
}

void answer_get_data(struct call *call)
{
    struct storage_events_query query = {0};
    struct storage_event *events;
    size_t count;

    if (!get_time(call, "from", 0, &query.from_s) || !get_time(call, "until", clock_now_s(), &query.until_s))
        return;
    get_wanted_tags(call, &query);
    storage_events_find(call->routes->st, &query, call->arena, &events, &count);
    if (!reply_json_begin(call))
        return;
    buf_add_char(&call->reply->body, '[');
    for (size_t i = 0; i < count && !call->reply->body.failed; i++) {
        buf_add_str(&call->reply->body, i == 0 ? "" : ", ");
        put_event(call, &events[i]);
    }
    buf_add_char(&call->reply->body, ']');
    reply_json_end(call);
}

void answer_events(struct call *call)
{
    if (call->request->head.method == HTTP_POST)
        add_event(call);
    else
        answer_get_data(call);
}

void answer_event(struct call *call)
{
    struct storage_event event;
    int64_t id;

    if (!number_parse_i64(call->rest, &id) || id < 0 || id > UINT32_MAX ||
        !storage_event_get(call->routes->st, (uint32_t)id, call->arena, &event)) {
        reply_error_json(call, 404, "Event matching query does not exist");
        return;
    }
    if (!reply_json_begin(call))
        return;
    put_event(call, &event);
    reply_json_end(call);
}
