/* The I/O thread: listeners, the loop that drives all connections (http_conn.c), start and stop. */
#include "server/http_conn.h"

#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    ACCEPT_BATCH = 64,       /* connections, before others have their turn */
    STOP_GRACE_STEP_MS = 20, /* how often to look while somebody waits for the stop */
};

/* ---- listeners ---- */

static void on_acceptable(int fd, short what, void *arg)
{
    struct listener *listener = arg;
    struct http_server *http = listener->http;

    (void)what;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof(address);
        int client = accept4(fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        uint64_t held_back = 0;

        if (client >= 0) {
            conn_open(http, client, listener->door, &address);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            int why = errno;

            __atomic_add_fetch(&http->stats.connections_refused, 1, __ATOMIC_RELAXED);
            event_del(&listener->acceptable); /* until the next tick */
            if (log_limit_pass(&http->accept_log, 1, 10 * SECOND_NS, &held_back))
                log_warn("http", "cannot accept a connection", LOG_STR("error", strerror(why)),
                         LOG_INT("held_back", held_back));
        }
        break;
    }
    http_reap(http);
}

/* ---- the loop ---- */

/* Nobody new, and nobody who waits with nothing to ask. Connections at work close with their answers. */
static void drain(struct http_server *http)
{
    struct listener *public = &http->listeners[0];

    for (struct conn *conn = http->conns, *next = NULL; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->state == CONN_IDLE)
            conn_close(conn);
    }
    if (public->fd >= 0) {
        event_del(&public->acceptable);
        close(public->fd);
        public->fd = -1;
    }
}

static void on_woken(int fd, short what, void *arg)
{
    struct http_server *http = arg;
    uint64_t times = 0;
    ssize_t n = read(fd, &times, sizeof(times));
    struct exchange *list = NULL;

    (void)what;
    (void)n;
    pthread_mutex_lock(&http->lock);
    list = http->finished;
    http->finished = NULL;
    pthread_mutex_unlock(&http->lock);
    while (list != NULL) {
        struct exchange *x = list;

        list = x->next;
        http->in_pools--;
        conn_answered(x);
    }
    if (http_draining(http))
        drain(http);
    http_reap(http);
}

static void on_tick(int fd, short what, void *arg)
{
    struct http_server *http = arg;
    int64_t now_ns = clock_mono_ns();
    bool stopping = __atomic_load_n(&http->stopping, __ATOMIC_ACQUIRE);
    bool all = stopping && now_ns > __atomic_load_n(&http->stop_deadline_ns, __ATOMIC_RELAXED);

    (void)fd;
    (void)what;
    for (struct conn *conn = http->conns, *next = NULL; conn != NULL; conn = next) {
        next = conn->next;
        if (all || (stopping && conn->state == CONN_IDLE))
            conn_close(conn);
        else if (conn->deadline_ns != 0 && now_ns > conn->deadline_ns)
            conn_overdue(conn);
    }
    for (int i = 0; i < 2; i++)
        if (http->listeners[i].fd >= 0 && !event_pending(&http->listeners[i].acceptable, EV_READ, NULL))
            event_add(&http->listeners[i].acceptable, NULL);
    if (stopping) { /* look oftener: somebody waits */
        struct timeval soon = {0, STOP_GRACE_STEP_MS * 1000};

        event_add(&http->tick, &soon);
    }
    http_reap(http);
}

static void *io_main(void *arg)
{
    struct http_server *http = arg;

    event_base_loop(http->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

/* ---- start and stop ---- */

static int open_admin(const char *path, int *fd, struct err *err)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int rc = 0;

    if (strlen(path) >= sizeof(sa.sun_path))
        return err_set(err, ERR_INPUT, "%s: the path of a socket can have %zu bytes", path, sizeof(sa.sun_path) - 1);
    strcpy(sa.sun_path, path);
    rc = file_unlink(path, err); /* what a killed server left; the lock of the data directory is ours */
    if (rc < 0)
        return rc;
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* The mode of an unbound socket becomes that of its file, so it is never open to others, not even shortly. */
    if (*fd < 0 || fchmod(*fd, 0600) < 0 || bind(*fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        listen(*fd, LISTEN_BACKLOG) < 0) {
        rc = err_errno(err, errno, "cannot listen on %s", path);
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
    }
    return rc;
}

static int open_listeners(struct http_server *http, struct err *err)
{
    int rc = 0;

    if (!http->options.address.off) {
        rc = listen_tcp(&http->options.address, &http->listeners[0].fd, 1, err);
        if (rc < 0)
            return rc;
        listen_text(&http->options.address, http->address);
    }
    if (http->options.admin_path != NULL)
        rc = open_admin(http->options.admin_path, &http->listeners[1].fd, err);
    return rc;
}

static int open_loop(struct http_server *http, struct err *err)
{
    struct event_config *config = event_config_new();
    struct timeval second = {1, 0};

    if (config != NULL) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK); /* other threads wake it by the eventfd only */
        http->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    http->scratch = malloc(SCRATCH_BYTES);
    http->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (http->base == NULL || http->scratch == NULL || http->wake_fd < 0)
        return err_set(err, ERR_MEMORY, "no memory for the HTTP server");
    event_assign(&http->woken, http->base, http->wake_fd, EV_READ | EV_PERSIST, on_woken, http);
    event_assign(&http->tick, http->base, -1, EV_PERSIST, on_tick, http);
    event_add(&http->woken, NULL);
    event_add(&http->tick, &second);
    for (int i = 0; i < 2; i++)
        if (http->listeners[i].fd >= 0) {
            event_assign(&http->listeners[i].acceptable, http->base, http->listeners[i].fd, EV_READ | EV_PERSIST,
                         on_acceptable, &http->listeners[i]);
            event_add(&http->listeners[i].acceptable, NULL);
        }
    return 0;
}

static void http_free(struct http_server *http)
{
    for (int i = 0; i < 2; i++)
        if (http->listeners[i].fd >= 0)
            close(http->listeners[i].fd);
    if (http->options.admin_path != NULL)
        file_unlink(http->options.admin_path, NULL);
    if (http->wake_fd >= 0)
        close(http->wake_fd);
    if (http->base != NULL)
        event_base_free(http->base);
    free(http->scratch);
    pthread_mutex_destroy(&http->lock);
    free(http);
}

int http_start(const struct http_options *options, struct http_server **out, struct err *err)
{
    struct http_server *http = calloc(1, sizeof(*http));
    int rc = 0;

    *out = NULL;
    if (http == NULL)
        return err_set(err, ERR_MEMORY, "no memory for the HTTP server");
    http->options = *options;
    http->wake_fd = -1;
    http->listeners[0] = (struct listener){.http = http, .fd = -1, .door = HTTP_DOOR_PUBLIC};
    http->listeners[1] = (struct listener){.http = http, .fd = -1, .door = HTTP_DOOR_ADMIN};
    pthread_mutex_init(&http->lock, NULL);
    peers_init(&http->peers);
    rc = open_listeners(http, err);
    if (rc == 0)
        rc = open_loop(http, err);
    if (rc == 0) {
        int errnum = pthread_create(&http->thread, NULL, io_main, http);

        if (errnum != 0)
            rc = err_errno(err, errnum, "cannot start the HTTP thread");
        else
            pthread_setname_np(http->thread, "http");
    }
    if (rc < 0) {
        http_free(http);
        return rc;
    }
    *out = http;
    return 0;
}

void http_drain(struct http_server *http)
{
    __atomic_store_n(&http->draining, 1, __ATOMIC_RELAXED);
    http_wake(http);
}

bool http_draining(const struct http_server *http)
{
    return __atomic_load_n(&http->draining, __ATOMIC_RELAXED) != 0;
}

void http_stop(struct http_server *http, int64_t grace_ms)
{
    if (http == NULL)
        return;
    __atomic_store_n(&http->stop_deadline_ns, clock_mono_ns() + grace_ms * 1000000, __ATOMIC_RELAXED);
    __atomic_store_n(&http->stopping, 1, __ATOMIC_RELEASE);
    http_drain(http);
    pthread_join(http->thread, NULL);
    http_free(http);
}

const char *http_address(const struct http_server *http)
{
    return http->address[0] == '\0' ? NULL : http->address;
}

void http_stats(const struct http_server *http, struct http_stats *out)
{
    const uint64_t *from = (const uint64_t *)&http->stats;
    uint64_t *to = (uint64_t *)out;

    _Static_assert(sizeof(*out) % sizeof(*to) == 0, "http_stats is made of 64-bit counters");
    for (size_t i = 0; i < sizeof(*out) / sizeof(*to); i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
