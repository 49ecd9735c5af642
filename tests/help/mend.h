/* mend.h - right checksums for a segment whose bytes were changed: so that tests and fuzzers get behind them. */
#ifndef PLUMBAGO_TESTS_HELP_MEND_H
#define PLUMBAGO_TESTS_HELP_MEND_H

#include "base/crc32c.h"
#include "storage/format.h"

#include <string.h>

/* Set all checksums of the LEN bytes of a segment, as far as the footer says truly where things are. */
static inline void mend_segment(char *bytes, size_t len)
{
    struct segment_header header;
    struct segment_footer footer;

    if (len < sizeof(header) + sizeof(footer))
        return;
    memcpy(&header, bytes, sizeof(header));
    memcpy(&footer, bytes + len - sizeof(footer), sizeof(footer));
    header.crc = crc32c(&header, offsetof(struct segment_header, crc));
    memcpy(bytes, &header, sizeof(header));
    footer.header_crc = header.crc;
    if (footer.directory <= len && footer.groups <= (len - footer.directory) / sizeof(struct segment_entry)) {
        for (uint32_t i = 0; i < footer.groups; i++) {
            char *at = bytes + footer.directory + i * sizeof(struct segment_entry);
            struct segment_entry entry;

            memcpy(&entry, at, sizeof(entry));
            if (entry.offset < len && entry.length <= len - entry.offset)
                entry.crc = crc32c(bytes + entry.offset, entry.length);
            memcpy(at, &entry, sizeof(entry));
        }
        footer.directory_crc = crc32c(bytes + footer.directory, footer.groups * sizeof(struct segment_entry));
    }
    footer.crc = crc32c(&footer, offsetof(struct segment_footer, crc));
    memcpy(bytes + len - sizeof(footer), &footer, sizeof(footer));
}

#endif
