/* SPDX-License-Identifier: MIT
 *
 * Between store_load.c (the file: opening it, what it is, what is left of it) and store_read.c (its rows).
 */
#ifndef WHYSTALL_STORE_READ_H
#define WHYSTALL_STORE_READ_H

#include <sqlite3.h>

#include "observe.h"
#include "schema.h"

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
};

/* Reads all rows of a table, refers to nothing in tables read later. 0, or -errno having said why. */
int load_table(struct load *, enum table_id);

/* Say why: "PATH is damaged ..."; return err, or what the SQLite result means. */
int load_refuse(struct load *, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
int load_refuse_rc(struct load *, int rc);

#endif
