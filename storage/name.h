/* name.h - the canonical form of a series' name: what carbon makes of the spelling that arrived.
 *
 * Untagged names, one rule each:
 *   - '.' divides components; '/' acts as '.' (in carbon an artefact of its file paths);
 *   - empty components vanish: "a..b", ".a", "a." are "a.b", "a", "a"; nothing left is refused;
 *   - '~' before the first other character are dropped (TaggedSeries.parse, through which carbon's cache
 *     sends every name);
 *   - case matters, UTF-8 stays as it is, bytes that are not UTF-8 are refused;
 *   - bytes below 0x20, and 0x7f, are refused;
 *   - a component of more than 255 bytes is refused (it could not be a file name), so is a name of
 *     more than 4,096 bytes as it arrived.
 * Names are no paths here: "..", and glob characters in a name, are harmless and stay.
 *
 * Tagged names ("m;a=1;b=2", or "m{a="1",b="2"}" as OpenMetrics writes it; carbon/util.py:
 * TaggedSeries): the tags are sorted by the bytes of "tag=value"; of a repeated tag the last counts; a
 * tag called "name" is dropped; leading '~' of the metric are dropped. Dots and slashes stay as they
 * are. Carbon logs invalid tags and stores the points under the literal text; here they are refused. */
#ifndef PLUMBAGO_STORAGE_NAME_H
#define PLUMBAGO_STORAGE_NAME_H

#include "base/span.h"

enum {
    NAME_MAX_BYTES = 4096,
    NAME_COMPONENT_MAX_BYTES = 255,
};

/* Why a name is refused. */
enum name_verdict {
    NAME_OK = 0,
    NAME_EMPTY,              /* no component is left */
    NAME_TOO_LONG,           /* over NAME_MAX_BYTES */
    NAME_COMPONENT_TOO_LONG, /* over NAME_COMPONENT_MAX_BYTES */
    NAME_CONTROL_BYTE,
    NAME_NOT_UTF8,
    NAME_TAG_NO_EQUALS, /* ";tag" without '=' */
    NAME_TAG_EMPTY,     /* ";=value" */
    NAME_TAG_BYTE,      /* ; ! ^ or = in a tag's name */
    NAME_VALUE_EMPTY,   /* ";tag=" */
    NAME_VALUE_BYTE,    /* ';' in a value (OpenMetrics form) */
    NAME_VALUE_TILDE,   /* a value that begins with '~' */
    NAME_OPENMETRICS,   /* the part in braces is not tag="value",... */
    NAME_VERDICTS       /* how many there are */
};

/* A short text for logs: "component longer than 255 bytes". */
const char *name_verdict_text(enum name_verdict verdict);

/* Bring RAW to its canonical form. When it has that form already, *out is RAW itself (a few
 * nanoseconds); else the form is written to SCRATCH (NAME_MAX_BYTES bytes, the caller's) and *out
 * points there. *out is unchanged when the name is refused. Pure; any thread. */
enum name_verdict name_canonical(struct span raw, char *scratch, struct span *out);

/* Whether a canonical name has tags. Tagged series do not belong to the name tree. */
static inline bool name_is_tagged(struct span name)
{
    return span_find(name, ';') != name.len;
}

#endif
