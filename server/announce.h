/* announce.h - telling others that the server serves, or stops: DIR/listening.json and systemd. */
#ifndef PLUMBAGO_SERVER_ANNOUNCE_H
#define PLUMBAGO_SERVER_ANNOUNCE_H

#include "base/err.h"

/* The addresses that are really bound; NULL: that listener is off. */
struct announcement {
    const char *carbon;
    const char *carbon_udp;
    const char *http;
    const char *admin; /* path of the admin socket */
};

/* Write PATH: {"pid": ..., "carbon": "127.0.0.1:2003", "carbon_udp": ..., "http": ..., "admin": ...}, null for what is
 * off. It appears whole, so whoever waits for it may read it at once. */
int announce_write(const char *path, const struct announcement *a, struct err *err);

/* Send STATE ("READY=1", "STOPPING=1", ...) to the service manager that $NOTIFY_SOCKET names; nothing when there is
 * none (sd_notify(3); one datagram, so libsystemd is not needed). */
void announce_state(const char *state);

#endif
