/* Any bytes as a log of events, checksums put right first: opened or refused; what was read once is read again, and
 * the log takes a further event that the next start finds. */
#include "storage/event_log.h"

#include "base/crc32c.h"
#include "base/must.h"
#include "storage/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEEN_MAX = 1000 };

struct seen {
    size_t count;
    uint64_t sum; /* of all texts */
    uint32_t at[SEEN_MAX];
};

static void add_up(void *ctx, const struct storage_event *event)
{
    struct seen *seen = ctx;

    seen->sum += crc32c(event->what.ptr, event->what.len + event->tags.len + event->data.len) + event->id;
}

static int on_event(void *ctx, const struct storage_event *event, uint32_t at, struct err *err)
{
    struct seen *seen = ctx;

    (void)err;
    add_up(seen, event);
    if (seen->count < SEEN_MAX)
        seen->at[seen->count] = at;
    seen->count++;
    return 0;
}

static void on_damage(void *ctx, uint64_t offset, uint64_t len)
{
    (void)ctx, (void)offset;
    MUST(len > 0);
}

/* Right checksums for whatever has the lengths of a record. */
static void mend(char *bytes, size_t size)
{
    struct event_log_header header;
    struct event_record head;

    if (size < sizeof header)
        return;
    memcpy(&header, bytes, sizeof header);
    header.crc = crc32c(&header, offsetof(struct event_log_header, crc));
    memcpy(bytes, &header, sizeof header);
    for (size_t at = sizeof header; at + sizeof head <= size; at += 8) {
        memcpy(&head, bytes + at, sizeof head);
        if (head.bytes < sizeof head || head.bytes > size - at)
            continue;
        head.crc = crc32c(bytes + at + sizeof head.crc, head.bytes - sizeof head.crc);
        memcpy(bytes + at, &head.crc, sizeof head.crc);
    }
}

/* NULL when it is refused. */
static struct event_log *open_log(const char *path, struct seen *seen)
{
    struct event_log *log;
    struct event_log_reader reader = {seen, on_event, on_damage};
    struct err err;
    int rc = event_log_open(path, 1, &log, &err);

    MUST(rc == 0 || rc == ERR_VERSION);
    if (rc < 0)
        return NULL;
    *seen = (struct seen){0};
    MUST(event_log_replay(log, &reader, &err) == 0);
    struct seen again = {0};
    for (size_t i = 0; i < seen->count && i < SEEN_MAX; i++)
        MUST(event_log_read(log, seen->at[i], add_up, &again));
    MUST(again.sum == seen->sum || seen->count > SEEN_MAX);
    return log;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int memory = -1;
    struct storage_event event = {.when_s = 1700000000, .what = SPAN_LIT("new"), .tags = SPAN_LIT("a b")};
    struct seen seen, again;
    char path[64];
    uint32_t at;

    if (memory < 0)
        memory = memfd_create("events", 0);
    char *copy = malloc(size + 1);
    memcpy(copy, data, size);
    mend(copy, size);
    if (ftruncate(memory, 0) != 0 || pwrite(memory, copy, size, 0) != (ssize_t)size)
        abort();
    free(copy);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    struct event_log *log = open_log(path, &seen);
    if (log == NULL)
        return 0;
    event.id = event_log_id_next(log);
    MUST(event_log_append(log, &event, &at, NULL) == 0);
    MUST(event_log_read(log, at, add_up, &seen));
    event_log_close(log);
    log = open_log(path, &again);
    MUST(again.count == seen.count + 1 && again.sum == seen.sum);
    event_log_close(log);
    return 0;
}
