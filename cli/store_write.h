/* SPDX-License-Identifier: MIT
 *
 * A record being written: between store_create.c, which makes one and ends it, and store_write.c, which fills
 * it.
 */
#ifndef WHYSTALL_STORE_WRITE_H
#define WHYSTALL_STORE_WRITE_H

#include <sqlite3.h>

#include "schema.h"
#include "store.h"

enum extra_statement {
	CLEAR_WAITS,
	CLEAR_HOLDS,
	CLEAR_SAMPLES,
	CLEAR_STALL,
	CLEAR_NOTES,
	STAMP,
	EXTRA_COUNT
};

/* Ids by 128 bits of hash: equal hash is taken for equal. */
struct known {
	uint64_t a, b;
	uint32_t id; /* 0: free */
};
struct known_set {
	struct known *at; /* open addressing, at most half full */
	size_t n, room;
};

struct store {
	sqlite3 *db;
	char *path;	    /* absolute */
	struct store *next; /* of those that are open */
	sqlite3_stmt *put[TABLE_COUNT], *extra[EXTRA_COUNT];
	uint64_t rows[TABLE_COUNT];
	struct known_set frames, stacks;
	uint64_t refused; /* rows that no record may have */
	bool ends_known;  /* the capture said itself when it ended, since the last commit */
	char *error;
	int error_number;
};

/* All return 0 or -errno; the first failure is kept, and whatever was not committed is gone. */
int store_fail(struct store *, int number, const char *reason);
int store_fail_rc(struct store *, int rc);
int store_exec(struct store *, const char *sql);
/* Does this process write the record at path? Then it must not open (and close) it by other means than
 * SQLite. */
bool store_is_open(const char *path);

#endif
