/* SPDX-License-Identifier: MIT
 *
 * The file of a record: is it one, is all of it there, and then its rows (store_read.c) in one snapshot.
 *  - Nothing but SQLite opens the file: closing a descriptor of our own would drop the locks that this
 * process holds on it if it is the one that writes it (fcntl(2), "Record locking").
 *  - A record with no -wal beside it is at rest and opened as immutable: nothing is written beside it.
 *  - The schema of a foreign file is not trusted to run anything, and the work that a file of a size can make
 * is bounded.
 */
#include "store.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_read.h"

#define TEXT_MAX (1 << 20) /* bytes of any value */

int load_refuse(struct load *l, int err, const char *format, ...)
{
	va_list ap;
	int n = snprintf(l->why, l->why_size, "%s ", *l->path ? l->path : "\"\"");

	va_start(ap, format);
	if (n > 0 && (size_t)n < l->why_size)
		vsnprintf(l->why + n, l->why_size - (size_t)n, format, ap);
	va_end(ap);
	return err;
}

int load_refuse_rc(struct load *l, int rc)
{
	int number = sqlite3_system_errno(l->db);

	switch (rc & 0xff) {
	case SQLITE_NOTADB:
		return load_refuse(l, -EINVAL, "is not a whystall record");
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return load_refuse(l, -EBUSY, "is locked by another program; try again");
	case SQLITE_NOMEM:
		return load_refuse(l, -ENOMEM, "cannot be read: out of memory");
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
		if (l->wal && (number == 0 || number == EACCES || number == EROFS || number == ENOENT ||
			       number == EPERM))
			return load_refuse(l, -EACCES,
					   "cannot be read where it is: it was never closed, and this "
					   "directory cannot be "
					   "written; copy it together with its -wal to one that can");
		return load_refuse(l, number ? -number : -EACCES, "cannot be read: %s",
				   strerror(number ? number : EACCES));
	case SQLITE_IOERR:
		if (rc != SQLITE_IOERR_SHORT_READ && number)
			return load_refuse(l, -number, "cannot be read: %s", strerror(number));
		return load_refuse(l, -EINVAL, "is cut short or damaged");
	default:
		return load_refuse(l, -EINVAL, "is damaged (%s)", sqlite3_errmsg(l->db));
	}
}

/* What no honest file needs: a row has several bytes and takes some tens of steps. */
static int steps_taken(void *arg)
{
	struct load *l = arg;

	return --l->steps < 0;
}

/* sqlite.org/fileformat2.html, 1.3 */
static int header_check(struct load *l)
{
	sqlite3_file *file = NULL;
	sqlite3_int64 size = 0;
	unsigned char h[100] = {0};

	if (sqlite3_file_control(l->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file ||
	    !file->pMethods || file->pMethods->xFileSize(file, &size) != SQLITE_OK)
		return load_refuse(l, -EIO, "cannot be read");
	if (size == 0)
		return load_refuse(l, -EINVAL, "is an empty file, not a whystall record");
	int rc = file->pMethods->xRead(file, h, size < 100 ? (int)size : 100, 0);
	if (rc != SQLITE_OK)
		return load_refuse_rc(l, rc);
	if (memcmp(h, "SQLite format 3", 16) != 0)
		return load_refuse(l, -EINVAL, "is not a whystall record");
	if (size < 100)
		return load_refuse(l, -EINVAL, "is cut short: only %lld bytes of it are there",
				   (long long)size);
#define BE32(at) \
	((uint32_t)h[at] << 24 | (uint32_t)h[(at) + 1] << 16 | (uint32_t)h[(at) + 2] << 8 | h[(at) + 3])
	uint64_t page = (uint64_t)h[16] << 8 | h[17], pages = BE32(28);
	if (BE32(68) != STORE_APPLICATION_ID)
		return load_refuse(l, -EINVAL, "is an SQLite database, but not a whystall record");
	if (BE32(60) > STORE_VERSION)
		return load_refuse(
			l, -EINVAL,
			"was written by a newer whystall (record version %u, this one reads up to %d): "
			"update whystall",
			BE32(60), STORE_VERSION);
	if (BE32(60) < 1)
		return load_refuse(l, -EINVAL, "is damaged: it has no record version");
	page = page == 1 ? 65536 : page;
	/* with a -wal, pages may be there that have not come home */
	if (!l->wal && BE32(24) == BE32(92) && (uint64_t)size < page * pages)
		return load_refuse(l, -EINVAL, "is cut short: %lld of its %llu bytes are there",
				   (long long)size, (unsigned long long)(page * pages));
	l->wal_missing = !l->wal && h[18] == 2;
	l->steps += size / 20;
	return 0;
}

/* A URI, for "immutable" can be said in no other way. */
static char *uri_make(const char *path, bool wal)
{
	char *uri = xcalloc(strlen(path) * 3 + 64, 1), *to = stpcpy(uri, "file:");

	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    strchr("/._-", c))
			*to++ = (char)c;
		else
			to += sprintf(to, "%%%02x", c);
	}
	strcpy(to, wal ? "?mode=ro" : "?mode=ro&immutable=1");
	return uri;
}

static int file_open(struct load *l, const char *absolute)
{
	char *uri = uri_make(absolute, l->wal);
	int rc = sqlite3_open_v2(uri, &l->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX,
				 NULL);

	free(uri);
	if (rc != SQLITE_OK)
		return load_refuse_rc(l, rc);
	sqlite3_extended_result_codes(l->db, 1);
	sqlite3_busy_timeout(l->db, 2000); /* another reader may be recovering it */
	sqlite3_db_config(l->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(l->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(l->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_limit(l->db, SQLITE_LIMIT_LENGTH, TEXT_MAX);
	sqlite3_limit(l->db, SQLITE_LIMIT_ATTACHED, 0);
	sqlite3_progress_handler(l->db, 1000, steps_taken, l);
	return 0;
}

/* Says what is there instead of a record, and finds the -wal. */
static int path_check(struct load *l, const char *absolute)
{
	struct stat st;

	if (!absolute || stat(absolute, &st) < 0)
		return errno == ENOENT ? load_refuse(l, -ENOENT, "does not exist")
				       : load_refuse(l, -errno, "cannot be read: %s", strerror(errno));
	if (S_ISDIR(st.st_mode))
		return load_refuse(l, -EISDIR, "is a directory, not a whystall record");
	if (!S_ISREG(st.st_mode))
		return load_refuse(l, -EINVAL, "is not a plain file, so not a whystall record");
	if (access(absolute, R_OK) < 0)
		return load_refuse(l, -errno, "cannot be read: %s", strerror(errno));
	char *name = xprintf("%s-wal", absolute);
	l->wal = stat(name, &st) == 0;
	free(name);
	l->steps = 20000 + (l->wal ? st.st_size / 20 : 0);
	return 0;
}

int load_all(struct load *l)
{
	int err = 0;

	/* in their order: what refers to something comes after it */
	for (int i = 0; i < TABLE_COUNT && !err; i++)
		err = load_table(l, (enum table_id)i);
	return err;
}

static int compare(uint32_t a_stall, uint32_t b_stall, uint64_t a, uint64_t b)
{
	return a_stall != b_stall ? (a_stall < b_stall ? -1 : 1) : a < b ? -1 : a > b;
}

static int compare_waits(const void *a, const void *b)
{
	const struct obs_wait *x = a, *y = b;

	return compare(x->stall, y->stall, x->start_ns, y->start_ns);
}

static int compare_holds(const void *a, const void *b)
{
	const struct obs_hold *x = a, *y = b;

	return compare(x->stall, y->stall, x->start_ns, y->start_ns);
}

static int compare_marks(const void *a, const void *b)
{
	const struct obs_mark *x = a, *y = b;

	return compare(x->process, y->process, x->start_ns, y->start_ns);
}

static void observations_finish(struct observations *o)
{
	struct obs_wait *last_of[2] = {NULL}; /* a stop may lie within or around a wait of another kind */

	while (o->stack_begin.n < o->stack_cut.n + 1)
		*vec_push(&o->stack_begin) = (uint32_t)o->stack_frames.n;
	if (o->marks.n)
		qsort(o->marks.at, o->marks.n, sizeof(*o->marks.at), compare_marks);
	if (o->waits.n)
		qsort(o->waits.at, o->waits.n, sizeof(*o->waits.at), compare_waits);
	if (o->holds.n)
		qsort(o->holds.at, o->holds.n, sizeof(*o->holds.at), compare_holds);
	for (size_t i = 0; i < o->waits.n; i++) {
		struct obs_wait *w = &o->waits.at[i], *last = last_of[w->what == WAIT_STOPPED];
		if (last && last->stall == w->stall && w->start_ns < last->end_ns) {
			w->start_ns = last->end_ns;
			w->end_ns = w->end_ns > w->start_ns ? w->end_ns : w->start_ns;
		}
		last_of[w->what == WAIT_STOPPED] = w;
	}
}

static void notes_finish(struct load *l)
{
	if (l->wal_missing && !l->out->capture.complete)
		*vec_push(&l->notes) = intern(
			"the record was never closed and its -wal file is not beside it: the end may be "
			"missing");
	if (l->left_out) {
		char *note = xprintf("%llu rows of the record refer to what is not in it and were left out",
				     (unsigned long long)l->left_out);
		*vec_push(&l->notes) = intern(note);
		free(note);
	}
	l->out->capture.notes = l->notes.at;
	l->out->capture.note_count = (int)l->notes.n;
}

void load_finish(struct load *l)
{
	observations_finish(l->out);
	notes_finish(l);
}

int load_file(struct load *l, int (*read)(struct load *))
{
	char *absolute = realpath(l->path, NULL);

	l->why[0] = '\0';
	int err = path_check(l, absolute);
	err = err ? err : file_open(l, absolute);
	err = err ? err : header_check(l);
	if (!err) {
		int rc = sqlite3_exec(
			l->db, "PRAGMA cell_size_check = ON; BEGIN; SELECT count(*) FROM sqlite_master", NULL,
			NULL, NULL);
		err = rc == SQLITE_OK ? read(l) : load_refuse_rc(l, rc);
	}
	sqlite3_close(l->db);
	free(absolute);
	return err;
}

int store_load(struct observations *out, const char *path, char *why, size_t why_size)
{
	struct load l = {.out = out, .path = path, .why = why, .why_size = why_size};

	memset(out, 0, sizeof(*out));
	int err = load_file(&l, load_all);
	if (err) {
		vec_free(&l.notes);
		observations_free(out);
		return err;
	}
	load_finish(&l);
	return 0;
}

static int ticks_load(struct load *l)
{
	int err = 0;

	for (int i = 0; i <= TABLE_TICKS && !err; i++) /* what they refer to comes before them */
		err = load_table(l, (enum table_id)i);
	return err;
}

int store_ticks(const char *path, tick_visitor *visit, void *closure)
{
	struct observations some = {0};
	char why[256];
	struct load l = {.out = &some,
			 .path = path,
			 .why = why,
			 .why_size = sizeof(why),
			 .visit = visit,
			 .closure = closure};
	int err = load_file(&l, ticks_load);

	vec_free(&l.notes);
	observations_free(&some);
	return err;
}

void observations_free(struct observations *o)
{
	free((void *)o->capture.notes);
	vec_free(&o->processes);
	vec_free(&o->marks);
	vec_free(&o->threads);
	vec_free(&o->loops);
	vec_free(&o->locks);
	vec_free(&o->stalls);
	vec_free(&o->waits);
	vec_free(&o->holds);
	vec_free(&o->samples);
	vec_free(&o->frames);
	vec_free(&o->stack_frames);
	vec_free(&o->stack_begin);
	vec_free(&o->stack_cut);
	memset(o, 0, sizeof(*o));
}
