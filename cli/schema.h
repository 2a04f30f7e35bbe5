/* SPDX-License-Identifier: MIT
 *
 * The record's schema, once: every column of every table with the field it is kept in. The SQL that makes,
 * fills and reads a record, the checks on both sides and the comments a user sees in `.schema` all come from
 * these rows. To add something to records, add a row (and raise STORE_VERSION: it only grows).
 */
#ifndef WHYSTALL_SCHEMA_H
#define WHYSTALL_SCHEMA_H

#include "observe.h"

/* How a field is stored. Not known is NULL; the 0 at the end of a name says that it may be. */
enum column_kind {
	COLUMN_ID,    /* uint32_t from 1 */
	COLUMN_REF,   /* uint32_t: an id in another table */
	COLUMN_REF0,  /* 0: NULL */
	COLUMN_INDEX, /* uint32_t from 0 */
	COLUMN_INT,   /* int from 0 */
	COLUMN_INT0,  /* int from 1, 0: NULL */
	COLUMN_BOOL,
	COLUMN_FLAG,   /* int 0 or 1 */
	COLUMN_FLAG0,  /* int, -1: NULL */
	COLUMN_COUNT,  /* uint64_t: a count, time or address */
	COLUMN_END,    /* uint64_t, not before the row's start_ns */
	COLUMN_END0,   /* 0: NULL */
	COLUMN_COUNT0, /* int64_t, -1: NULL */
	COLUMN_REAL0,  /* double, negative: NULL */
	COLUMN_TEXT,   /* NULL is stored as "" */
	COLUMN_TEXT0,
	COLUMN_ENUM,  /* a name out of a list, from 1 */
	COLUMN_ENUM0, /* 0: NULL */
};

struct column {
	const char *name;
	enum column_kind kind;
	size_t at;		  /* offset in the row */
	const char *const *names; /* ENUM: of 1, 2 ...; ends with NULL */
	int refers;		  /* REF: enum table_id */
	const char *about;
};

/* In the order of reading: what refers to another comes after it. */
enum table_id {
	TABLE_CAPTURE,
	TABLE_NOTE,
	TABLE_PROCESS,
	TABLE_MARK,
	TABLE_THREAD,
	TABLE_LOOP,
	TABLE_TICKS,
	TABLE_LOCK,
	TABLE_STALL,
	TABLE_WAIT,
	TABLE_HOLD,
	TABLE_FRAME,
	TABLE_STACK,
	TABLE_STACK_FRAME,
	TABLE_SAMPLE,
	TABLE_COUNT
};

struct table {
	const char *name, *about;
	size_t size;	/* of a row */
	uint64_t limit; /* rows written, and believed */
	int keys;	/* so many first columns are the key; 0: one row, by its first column */
	const struct column *columns;
	int n;
	size_t start; /* offset of start_ns, where there is a COLUMN_END */
};
extern const struct table tables[TABLE_COUNT];

#define COLUMN_MAX 24 /* of a table */
#define NUMBER_MAX                                                                              \
	(INT64_MAX / 4) /* of any number: 73 years of ns, so that a few add up without overflow \
			 */

/* Rows that observe.h has in another form */
struct row_note {
	uint32_t id;
	const char *text;
};
struct row_ticks {
	uint32_t loop;
	uint64_t second, from_us, count;
};
/* Where a bucket of ticks begins: tick_bucket(1000 * from_us) gives it back. */
static inline uint64_t tick_bucket_from_us(uint32_t bucket)
{
	return bucket < 32 ? bucket : (32ull + bucket % 32u) << (bucket / 32u - 1);
}
struct row_wait {
	struct obs_wait wait;
	uint32_t n;
};
struct row_hold {
	struct obs_hold hold;
	uint32_t n;
};
struct row_frame {
	uint32_t id;
	struct frame frame;
};
struct row_stack {
	uint32_t id;
	bool cut;
};
struct row_stack_frame {
	uint32_t stack, depth, frame;
};

/* All the SQL that makes an empty record, malloced. */
char *schema_sql(void);
/* NULL, or the column whose value no record may have. */
const struct column *row_fault(const struct table *, const void *row);

#endif
