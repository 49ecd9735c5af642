/* http_form.h - the parameters in a request's body. Pure.
 *
 * application/x-www-form-urlencoded (also when the body says no type), and multipart/form-data (RFC 7578), as
 * graphite-web sends it to its cluster. Bodies of another type hold no parameters. */
#ifndef PLUMBAGO_SERVER_HTTP_FORM_H
#define PLUMBAGO_SERVER_HTTP_FORM_H

#include "base/err.h"
#include "base/span.h"
#include "query/request.h"

/* Append the pairs of BODY, whose Content-Type is TYPE (ptr NULL: none), to P. BODY must live as long as P's arena.
 * ERR_INPUT when it is a multipart body that does not hold together; pairs before the mistake stay. */
int http_form_add(struct params *p, struct span type, struct span body, struct err *err);

#endif
