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
	/* SQLite forgets it where a commit fails (3.40); errno is still that of the write then */
	int saved = errno, system = sqlite3_system_errno(db) ? sqlite3_system_errno(db) : saved;

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

/* Whatever was not committed is gone with it. */
int store_fail(struct store *s, int number, const char *reason)
{
	bool space = number == ENOSPC || number == EFBIG || number == EDQUOT;

	if (!s->error) {
		s->error_number = number;
		s->error =
			xprintf("the record %s cannot be written any more: %s; what came before is in it. %s",
				s->path, reason,
				space ? "Free some space, or put it elsewhere with -o FILE."
				      : "Put it elsewhere with -o FILE.");
		if (s->db && !sqlite3_get_autocommit(s->db))
			sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	}
	return -number;
}

int store_fail_rc(struct store *s, int rc)
{
	int number = rc_errno(s->db, rc);

	return store_fail(s, number, number == EIO ? sqlite3_errmsg(s->db) : strerror(number));
}

int store_exec(struct store *s, const char *sql)
{
	int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : store_fail_rc(s, rc);
}

static void statements_end(struct store *s)
{
	for (int i = 0; i < TABLE_COUNT; i++) {
		sqlite3_finalize(s->put[i]);
		s->put[i] = NULL;
	}
	for (int i = 0; i < EXTRA_COUNT; i++) {
		sqlite3_finalize(s->extra[i]);
		s->extra[i] = NULL;
	}
}

static void store_free(struct store *s)
{
	for (struct store **at = &stores; *at; at = &(*at)->next) {
		if (*at == s) {
			*at = s->next;
			break;
		}
	}
	statements_end(s);
	sqlite3_close(s->db);
	free(s->frames.at);
	free(s->stacks.at);
	free(s->path);
	free(s->error);
	free(s);
}

/* Only a record may be replaced: a slip of -o must not cost a source file. The application id is at offset 68
 * (sqlite.org/fileformat2.html, 1.3). */
static int place_clear(const char *path, bool replace, int *create, char *why, size_t why_size)
{
	unsigned char head[100] = {0};
	struct stat st;

	*create = O_CREAT | O_EXCL;
	if (stat(path, &st) < 0)
		return 0;
	if (!S_ISREG(st.st_mode)) {
		snprintf(why, why_size, "cannot make the record %s: it exists and is not a plain file", path);
		return -EEXIST;
	}
	if (st.st_size == 0) {
		*create = 0;
		return 0;
	}
	int fd = replace && !store_is_open(path) ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	ssize_t n = fd < 0 ? 0 : read(fd, head, sizeof(head));
	uint32_t id =
		(uint32_t)head[68] << 24 | (uint32_t)head[69] << 16 | (uint32_t)head[70] << 8 | head[71];
	if (fd >= 0)
		close(fd);
	if (n != sizeof(head) || id != STORE_APPLICATION_ID) {
		snprintf(why, why_size,
			 "cannot make the record %s: it exists%s; choose another name with -o FILE", path,
			 replace ? " and is no record" : "");
		return -EEXIST;
	}
	return unlink(path) < 0 ? -errno : 0;
}

/* An empty file with the right mode, and nothing of an older record beside it. Its absolute path, by which
 * nothing
 * (":memory:", "file:...") is special to SQLite. */
static int place_make(const char *path, bool replace, char **absolute, char *why, size_t why_size)
{
	static const char *const beside[] = {"-wal", "-shm", "-journal"};
	int create, err = place_clear(path, replace, &create, why, why_size);

	if (err && why[0])
		return err;
	int fd = err ? -1 : open(path, O_RDWR | create | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd >= 0 && fchmod(fd, 0600) == 0)
		*absolute = realpath(path, NULL);
	if (!*absolute) {
		err = err ? err : -errno;
		snprintf(why, why_size, "cannot make the record %s: %s; choose another place with -o FILE",
			 path, strerror(-err));
	}
	for (size_t i = 0; *absolute && i < LENGTH(beside); i++) {
		char *name = xprintf("%s%s", *absolute, beside[i]);
		unlink(name);
		free(name);
	}
	if (fd >= 0)
		close(fd);
	return err;
}

static int schema_make(struct store *s)
{
	char *tables_sql = schema_sql();
	char *sql = xprintf("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA application_id = %d;"
			    "PRAGMA user_version = %d; BEGIN; %s COMMIT;",
			    STORE_APPLICATION_ID, STORE_VERSION, tables_sql);
	int err = store_exec(s, sql);
	sqlite3_stmt *wal = NULL;

	/* It is no error for SQLite where the file system cannot do it; then a kill could damage the record.
	 */
	if (!err && (sqlite3_prepare_v2(s->db, "PRAGMA journal_mode = WAL", -1, &wal, NULL) != SQLITE_OK ||
		     sqlite3_step(wal) != SQLITE_ROW ||
		     strcmp((const char *)sqlite3_column_text(wal, 0), "wal") != 0))
		err = store_fail(s, EOPNOTSUPP, strerror(EOPNOTSUPP));
	sqlite3_finalize(wal);
	/* The first look makes the -wal and takes the lock that tells others that it grows, until it is
	 * closed. */
	if (!err)
		err = store_exec(s, "SELECT count(*) FROM sqlite_master");
	free(sql);
	free(tables_sql);
	return err;
}

int store_create(struct store **out, const char *path, bool replace, char *why, size_t why_size)
{
	char *absolute = NULL;

	why[0] = '\0';
	int err = place_make(path, replace, &absolute, why, why_size);
	if (err)
		return err;
	struct store *s = xcalloc(1, sizeof(*s));
	s->path = absolute;
	int rc = sqlite3_open_v2(absolute, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	sqlite3_extended_result_codes(s->db, 1);
	sqlite3_busy_timeout(s->db, 1000); /* someone else's recovery or checkpoint */
	err = rc == SQLITE_OK ? schema_make(s) : store_fail_rc(s, rc);
	if (err) {
		snprintf(why, why_size, "cannot make the record %s: %s; choose another place with -o FILE",
			 path, strerror(-err));
		unlink(absolute);
		store_free(s);
		return err;
	}
	s->next = stores;
	stores = s;
	*out = s;
	return 0;
}

/* Out of WAL mode: needs that nobody reads, so readers get two seconds to end. If one stays, the record is
 * file and -wal, which every reader takes together. The same where there is no space to bring the -wal home.
 */
static void store_leave_wal(struct store *s)
{
	for (int i = 0; i < 20; i++) {
		int rc = sqlite3_exec(s->db, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
		if ((rc & 0xff) != SQLITE_BUSY && (rc & 0xff) != SQLITE_LOCKED)
			return;
		usleep(100000);
	}
}

/* The end that the capture gave stands; only one that never gave any gets this one. */
static void capture_end(struct store *s)
{
	char *note =
		s->refused
			? xprintf("INSERT INTO note SELECT coalesce(max(id), 0) + 1, '%llu observations had "
				  "impossible values and were not recorded' FROM note;",
				  (unsigned long long)s->refused)
			: xstrdup("");
	char *sql =
		xprintf("%sUPDATE capture SET complete = 1, end_ns = coalesce(end_ns, %llu); %sCOMMIT",
			sqlite3_get_autocommit(s->db) ? "BEGIN;" : "", (unsigned long long)now_ns(), note);

	store_exec(s, sql);
	free(sql);
	free(note);
}

int store_close(struct store *s)
{
	if (!s)
		return 0;
	if (!s->error)
		capture_end(s);
	statements_end(s);
	store_leave_wal(s);
	int err = s->error ? -s->error_number : 0;
	store_free(s);
	return err;
}
