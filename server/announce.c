#include "server/announce.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void add_member(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, ", \"%s\": ", name);
    if (value == NULL)
        buf_add_str(b, "null");
    else
        buf_add_json(b, span_str(value));
}

int announce_write(const char *path, const struct announcement *a, struct err *err)
{
    struct buf b = {0};
    int rc = 0;

    buf_addf(&b, "{\"pid\": %d", (int)getpid());
    add_member(&b, "carbon", a->carbon);
    add_member(&b, "carbon_udp", a->carbon_udp);
    add_member(&b, "http", a->http);
    add_member(&b, "admin", a->admin);
    buf_add_str(&b, "}\n");
    rc = b.failed ? err_set(err, ERR_MEMORY, "no memory for %s", path) : file_put(path, buf_span(&b), err);
    buf_release(&b);
    return rc;
}

void announce_state(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t n = path == NULL ? 0 : strlen(path);

    if (n < 2 || n >= sizeof(sa.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(sa.sun_path, path, n);
    if (path[0] == '@') /* an abstract name: a zero byte in front, and no end but the length */
        sa.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);

    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sa, len) < 0)
        log_warn("server", "cannot notify the service manager", LOG_STR("error", strerror(errno)),
                 LOG_STR("socket", path));
    if (fd >= 0)
        close(fd);
}
