/* SPDX-License-Identifier: MIT
 *
 * Between store_load.c (the file: opening it, what it is, what is left of it) and store_read.c (its rows).
 */
#ifndef WHYSTALL_STORE_READ_H
#define WHYSTALL_STORE_READ_H

#include <sqlite3.h>

#include "observe.h"
#include "schema.h"
#include "ticks.h"
#include "store.h"

struct load {
	struct observations *out;
	const char *path;
	sqlite3 *db;
	bool wal;	   /* there is a -wal: it grows, or was never closed */
	bool wal_missing;  /* there was one once, and no close */
	int64_t steps;	   /* of SQLite's machine, in thousands, that a file of this size may take */
	uint64_t left_out; /* rows */
	VEC(const char *) notes;
	char *why;
	size_t why_size;
	struct store_follow *follow; /* only what it has not had; NULL: all */
	tick_visitor *visit;	     /* gets the ticks; NULL: they are summed in the loops */
	void *closure;
};

/* Reads all rows of a table, refers to nothing in tables read later. 0, or -errno having said why. */
int load_table(struct load *, enum table_id);

/* Opens the file, checks that it is a record, has `read` read it in one snapshot, and closes it. 0, or -errno
 * having said why. */
int load_file(struct load *, int (*read)(struct load *));
/* load_table of each. */
int load_all(struct load *);
/* What observe.h promises, whatever the record holds. */
void load_finish(struct load *);
/* A query's one number. 0, or -errno having said why. */
int load_number(struct load *, const char *sql, int64_t *out);

/* store_follow.c: what of a table is to be read, malloced SQL; and ticks that were. */
char *follow_rows(const struct store_follow *, enum table_id);
void follow_ticks(struct store_follow *, uint32_t loop, uint64_t second, uint32_t bucket, uint64_t count);

/* Say why: "PATH is damaged ..."; return err, or what the SQLite result means. */
int load_refuse(struct load *, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
int load_refuse_rc(struct load *, int rc);

#endif
