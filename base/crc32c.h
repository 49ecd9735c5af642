/* crc32c.h - CRC-32C (Castagnoli polynomial 0x1EDC6F41, reflected; RFC 3720 section B.4).
 *
 * Uses SSE 4.2's instruction where the processor has it, a table elsewhere. */
#ifndef PLUMBAGO_BASE_CRC32C_H
#define PLUMBAGO_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of LEN bytes; "123456789" gives 0xE3069283. */
uint32_t crc32c(const void *bytes, size_t len);

/* Go on from CRC, the checksum of the bytes before: crc32c(ab) == crc32c_more(crc32c(a), b). */
uint32_t crc32c_more(uint32_t crc, const void *bytes, size_t len);

/* The same by the table, also where the processor has the instruction; for tests. */
uint32_t crc32c_more_by_table(uint32_t crc, const void *bytes, size_t len);

#endif
