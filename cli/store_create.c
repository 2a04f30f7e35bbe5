/* SPDX-License-Identifier: MIT
 *
 * Making a record and closing it.
 *  - synchronous=OFF: what is committed is in the kernel's page cache, which survives any death of ours, and
 * no commit ever waits for a disk (the shared memory would overflow meanwhile). A power failure is not
 * covered.
 *  - The database is made in rollback mode and only then switched to WAL, so that the header in the main file
 * (which is how a record is known) is true from the first moment.
 *  - The first failure ends the record, for good: what was committed stays readable.
 */
#include "store_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct store *stores; /* that are open; by one thread, like the rest */

bool store_is_open(const char *path)
{
	struct stat at, open;

	if (stat(path, &at) < 0)
		return false;
	for (struct store *s = stores; s; s = s->next)
		if (stat(s->path, &open) == 0 && at.st_dev == open.st_dev && at.st_ino == open.st_ino)
			return true;
	return false;
}

static int rc_errno(sqlite3 *db, int rc)
{
	int system = sqlite3_system_errno(db);

	switch (rc & 0xff) {
	case SQLITE_FULL:
		return ENOSPC;
	case SQLITE_NOMEM:
		return ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return EBUSY;
	case SQLITE_CANTOPEN:
	case SQLITE_IOERR:
		return system ? system : EIO;
	default:
		return EIO;
	}
}

int store_fail(struct store *s, int number, const char *reason)
{
	if (!s->error) {
		/* the end that the capture gave stands; only one that never gave any gets this one */
		char *sql =
			xprintf("%sUPDATE capture SET complete = 1, end_ns = coalesce(end_ns, %llu); COMMIT",
				sqlite3_get_autocommit(s->db) ? "BEGIN;" : "", (unsigned long long)now_ns());
		store_exec(s, sql);
		free(sql);
	}
	statements_end(s);
	store_leave_wal(s);
	int err = s->error ? -s->error_number : 0;
	store_free(s);
	return err;
}
