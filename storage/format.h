/* format.h - everything that is on disk: magics, versions, fixed structs. The twin of docs/format.md, and
 * changed in the same commit with it.
 *
 * All numbers are little-endian. A struct that goes to disk has no padding and proves its size. */
#ifndef PLUMBAGO_STORAGE_FORMAT_H
#define PLUMBAGO_STORAGE_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Chunk ---- */

/* First byte of a chunk: the codec in the low six bits, how presence is written in the top two. */
enum codec_id {
    CODEC_CONST = 1,
    CODEC_DECIMAL = 2,
    CODEC_GORILLA = 3,
    CODEC_RAW = 4,
};

enum { CHUNK_CODEC_MASK = 0x3f };

enum chunk_presence {
    CHUNK_PRESENCE_ALL = 0x00,    /* every slot; nothing follows */
    CHUNK_PRESENCE_RUNS = 0x40,   /* varints: how many runs, then their lengths, absent and present in turn */
    CHUNK_PRESENCE_BITMAP = 0x80, /* a bit for each slot */
    CHUNK_PRESENCE_MASK = 0xc0,
};

/* First byte of residuals: 0..64 is packed with so many bits a number. */
enum residuals_form {
    RESIDUALS_RANGED = 65,    /* symbols: one usual, all others alike */
    RESIDUALS_BUCKETS = 66,   /* symbols: each with its weight */
    RESIDUALS_PATCHES = 0x80, /* added: a list of patches follows the head */
};

/* First byte of the decimal codec. */
enum decimal_head {
    DECIMAL_SCALE_MASK = 0x1f, /* 0..22 digits behind the point, or one of the next two */
    DECIMAL_WEEK = 23,         /* the integers are divided by the seconds of a week, 604,800 */
    DECIMAL_BITS = 31,         /* the integers are the doubles' own bits, in the doubles' order */
    DECIMAL_ORDER_SHIFT = 5,   /* two bits: 0 plain, 1 differences, 2 differences of differences */
    DECIMAL_MORE = 0x80,       /* a byte of enum decimal_more follows */
};

enum decimal_more {
    DECIMAL_DIVISOR = 1,
    DECIMAL_EXCEPTIONS = 2,
    DECIMAL_MORE_MASK = 3,
};

/* ---- Segment ---- */

enum {
    SEGMENT_MAGIC = 0x47455350,     /* "PSEG", at the start */
    SEGMENT_END_MAGIC = 0x444e4550, /* "PEND", at the end */
    SEGMENT_VERSION = 1,
    SEGMENT_GROUP_SERIES = 4096,   /* rows of a group at most */
    SEGMENT_GROUP_BYTES = 1 << 20, /* a group that has reached this takes no more rows */
    SEGMENT_SUBTOTAL = 64,         /* chunk lengths that one sub-total covers */
};

struct segment_header {
    uint32_t magic;
    uint16_t version;
    uint8_t tier;
    uint8_t columns;
    uint32_t policy;
    uint32_t step_s;
    int64_t start_s;
    uint64_t generation;
    uint32_t slots;
    uint32_t series;
    uint32_t groups;
    uint32_t first_id;
    uint32_t last_id;
    uint32_t reserved[2]; /* zero */
    uint32_t crc;         /* CRC32C of all bytes before it */
};
static_assert(sizeof(struct segment_header) == 64, "no padding goes to disk");

/* How a group lists the ids of its rows. */
enum segment_ids {
    SEGMENT_IDS_RUN = 0,    /* first_id, first_id + 1, ...: nothing is stored */
    SEGMENT_IDS_BITMAP = 1, /* a bit for each id of first_id..last_id, in whole 8-byte words */
    SEGMENT_IDS_LIST = 2,   /* id - first_id as u32 each */
};

struct segment_group {
    uint8_t ids;          /* enum segment_ids */
    uint8_t length_bytes; /* of each chunk length: 1 or 2 */
    uint16_t rows;        /* 1..SEGMENT_GROUP_SERIES */
    uint32_t first_id;
    uint32_t last_id;
    uint32_t reserved; /* zero */
};
static_assert(sizeof(struct segment_group) == 16, "no padding goes to disk");

/* One entry of the directory. */
struct segment_entry {
    uint64_t offset; /* of the group in the file */
    uint32_t length; /* of the whole group */
    uint32_t first_id;
    uint32_t last_id;
    uint32_t crc; /* CRC32C of the group */
};
static_assert(sizeof(struct segment_entry) == 24, "no padding goes to disk");

struct segment_footer {
    uint64_t directory; /* offset of the first entry */
    uint32_t groups;
    uint32_t header_crc;    /* the header's, again: the two ends belong together */
    uint32_t directory_crc; /* CRC32C of all entries */
    uint32_t reserved;      /* zero */
    uint32_t crc;           /* CRC32C of all bytes of the footer before it */
    uint32_t magic;
};
static_assert(sizeof(struct segment_footer) == 32, "no padding goes to disk");

/* ---- Series log: DIR/series.log ---- */

enum {
    SERIES_LOG_MAGIC = 0x53524c50, /* "PLRS" */
    SERIES_LOG_VERSION = 1,
};
#define SERIES_LOG_MAX (16ULL << 30) /* names are addressed by 32 bits, in units of 4 bytes */

struct series_log_header {
    uint32_t magic;
    uint16_t version;
    uint16_t reserved; /* zero */
    uint64_t seed;     /* of the hash over names */
    uint32_t reserved2[3];
    uint32_t crc; /* CRC32C of all bytes before it */
};
static_assert(sizeof(struct series_log_header) == 32, "no padding goes to disk");

enum series_log_type {
    SERIES_LOG_RULE = 1,   /* a way to keep series: retention policy, aggregation method, xFilesFactor */
    SERIES_LOG_CREATE = 2, /* a series gets its id */
    SERIES_LOG_DELETE = 3, /* the series of this id is no more */
};

/* The first bytes of each record; records begin at multiples of 4. */
struct series_log_head {
    uint32_t crc;   /* CRC32C of the rest of the record */
    uint16_t words; /* length of the record in units of 4 bytes, this head included */
    uint8_t type;   /* enum series_log_type; 0: the end of the log */
    uint8_t pad;    /* zero bytes behind the text, 0..3 */
};
static_assert(sizeof(struct series_log_head) == 8, "no padding goes to disk");

struct series_log_create_record {
    struct series_log_head head;
    uint32_t id;
    uint16_t rule;
    uint16_t reserved;  /* zero */
    uint32_t created_s; /* seconds since 1970 */
    /* the name follows */
};
static_assert(sizeof(struct series_log_create_record) == 20, "no padding goes to disk");

struct series_log_delete_record {
    struct series_log_head head;
    uint32_t id;
};
static_assert(sizeof(struct series_log_delete_record) == 12, "no padding goes to disk");

struct series_log_rule_record {
    struct series_log_head head;
    uint16_t rule;
    uint16_t policy;
    uint8_t method;      /* enum aggregation */
    uint8_t reserved[3]; /* zero */
    uint32_t created_s;  /* seconds since 1970; of a policy's first rule: where its rollups begin */
    uint32_t reserved2;  /* zero */
    double x_files_factor;
    /* the retentions follow as text: "10s:1d,1m:30d" */
};
static_assert(sizeof(struct series_log_rule_record) == 32, "no padding goes to disk");

/* ---- Event log: DIR/events.log ---- */

enum {
    EVENT_LOG_MAGIC = 0x56454c50, /* "PLEV" */
    EVENT_LOG_VERSION = 1,
};
#define EVENT_LOG_MAX (8ULL << 30)

struct event_log_header {
    uint32_t magic;
    uint16_t version;
    uint16_t reserved;     /* zero */
    uint32_t id_next;      /* ids below it were given away before the file was made */
    uint32_t reserved2[2]; /* zero */
    uint32_t crc;          /* CRC32C of all bytes before it */
};
static_assert(sizeof(struct event_log_header) == 24, "no padding goes to disk");

/* Records begin at multiples of 8. */
struct event_record {
    uint32_t crc;   /* CRC32C of the rest of the record */
    uint32_t bytes; /* length of the record: this head, the texts, zero bytes up to a multiple of 8 */
    int64_t when_s; /* seconds since 1970 */
    uint32_t id;
    uint32_t data; /* lengths of the texts in bytes */
    uint16_t what;
    uint16_t tags;
    uint32_t reserved; /* zero */
    /* what, tags, data follow */
};
static_assert(sizeof(struct event_record) == 32, "no padding goes to disk");

/* ---- Grid: DIR/pNNNNN-tN/w<start>-n<number>-b<block>.grid ---- */

enum {
    GRID_MAGIC = 0x44524750, /* "PGRD" */
    GRID_VERSION = 1,
    GRID_PAGE = 4096, /* header, row map and cells begin at multiples of this */
    GRID_SLOTS_MAX = 1440,
};

/* Rows are cut into blocks at fixed places: [0, 512), [512, 4096), [4096, 16384), [16384, 65536), then
 * 65,536 each. */
enum { GRID_BLOCK_ROWS = 65536, GRID_SMALL_BLOCKS = 4 };

struct grid_header {
    uint32_t magic;
    uint16_t version;
    uint8_t tier;
    uint8_t reserved;
    uint32_t policy;
    uint32_t step_s;
    int64_t start_s;
    uint64_t generation;
    uint32_t slots;
    uint32_t block;
    uint32_t row_first;
    uint32_t rows;
    uint32_t reserved2[3];
    uint32_t crc; /* CRC32C of all bytes before it */
};
static_assert(sizeof(struct grid_header) == 64, "no padding goes to disk");

/* A cell is the value's bits XOR this: the bits of a signalling NaN, which never arrives as a value, so
 * that a cell of zeros, as the file system makes it, reads as "absent". */
#define GRID_CELL_KEY 0x7ff4504c554d4247ULL

/* ---- Manifest: DIR/MANIFEST ---- */

enum {
    MANIFEST_MAGIC = 0x464e4d50, /* "PMNF" */
    MANIFEST_VERSION = 1,
};

struct manifest_header {
    uint32_t magic;
    uint16_t version;
    uint16_t reserved;
    uint32_t reserved2;
    uint32_t crc; /* CRC32C of all bytes before it */
};
static_assert(sizeof(struct manifest_header) == 16, "no padding goes to disk");

enum manifest_type {
    MANIFEST_SEAL = 1,  /* the segment exists and takes the place of the grids of its number */
    MANIFEST_DROP = 2,  /* the segment, or the grids, of this number are no more */
    MANIFEST_ROLL = 3,  /* the tier is rolled up to the end of this span; with a number: its segment is live */
    MANIFEST_MERGE = 4, /* the segment exists; the drops that follow take away what it was made of */
};

struct manifest_record {
    uint32_t crc; /* CRC32C of the rest of the record */
    uint8_t type; /* enum manifest_type */
    uint8_t tier;
    uint8_t index; /* of this record in its change, and of the last one: all of a change count, or none */
    uint8_t last;
    uint32_t policy;
    uint32_t slots;
    int64_t start_s;
    uint64_t number; /* of a window and its segment: the generation; of a merged segment: its own */
};
static_assert(sizeof(struct manifest_record) == 32, "no padding goes to disk");

#endif
