/* SPDX-License-Identifier: MIT
 *
 * Records that are none, that are cut, damaged or made to mislead: each is refused with its own sentence, or
 * read as what is left of it; never a crash, never a value that the judge could stumble over.
 */
#include "cli/schema.h"
#include "cli/store.h"
#include "tests/unit/record_sample.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char place[512];
static char whole[600], path[600];
static char why[1024];
static struct observations o;
static char *bytes; /* of a whole record */
static size_t size;

static void put_bytes(const char *to, const void *from, size_t n)
{
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0 && write(fd, from, n) == (ssize_t)n);
	close(fd);
}

static void assert_refused(const char *sentence)
{
	assert_true(store_load(&o, path, why, sizeof(why)) < 0);
	if (!strstr(why, sentence))
		print_error("%s\nis not: %s\n", why, sentence);
	assert_non_null(strstr(why, sentence));
	assert_ptr_equal(strstr(why, path), why);
	assert_null(o.stalls.at);
}

static void test_no_record(void **state)
{
	(void)state;
	sqlite3 *db;

	unlink(path);
	assert_refused("does not exist");
	put_bytes(path, "", 0);
	assert_refused("is an empty file");
	put_bytes(path, "hello\n", 6);
	assert_refused("is not a whystall record");
	mkdir(path, 0700) == 0 ? 0 : (unlink(path), mkdir(path, 0700));
	assert_refused("is a directory");
	rmdir(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_refused("is not a plain file");
	unlink(path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_exec(db, "CREATE TABLE stall(x)", NULL, NULL, NULL);
	sqlite3_close(db);
	assert_refused("is an SQLite database, but not a whystall record");
	unlink(path);
	if (geteuid() == 0)
		return;
	put_bytes(path, bytes, size);
	chmod(path, 0);
	assert_refused("Permission denied");
	unlink(path);
}

static void test_versions(void **state)
{
	(void)state;
	char *copy = xcalloc(size, 1);

	memcpy(copy, bytes, size);
	copy[63] = STORE_VERSION + 1; /* user_version */
	put_bytes(path, copy, size);
	assert_refused("was written by a newer whystall (record version 2, this one reads up to 1)");
	copy[63] = 0;
	put_bytes(path, copy, size);
	assert_refused("has no record version");
	free(copy);
}

static void test_cut_short(void **state)
{
	(void)state;
	for (size_t n = size - 1; n > 16; n = n * 9 / 10) {
		put_bytes(path, bytes, n);
		assert_refused("is cut short");
	}
}

/* Whatever is read can be used as observe.h says. */
static void assert_sound(void)
{
	for (size_t i = 0; i < o.waits.n; i++) {
		const struct obs_wait *w = &o.waits.at[i];
		assert_true(w->end_ns >= w->start_ns && w->lock <= 2 && w->what >= WAIT_LOCK &&
			    w->what <= WAIT_CALL);
		assert_true(i == 0 || w[-1].stall != w->stall || w[-1].end_ns <= w->start_ns);
	}
	assert_int_equal(o.stack_begin.n, o.stack_cut.n + 1);
	for (size_t s = 1; s < o.stack_begin.n; s++)
		assert_in_range(o.stack_begin.at[s] - o.stack_begin.at[s - 1], 0, STACK_MAX);
	assert_int_equal(o.stack_begin.at[o.stack_cut.n], o.stack_frames.n);
	for (size_t i = 0; i < o.stack_frames.n; i++)
		assert_in_range(o.stack_frames.at[i], 1, o.frames.n);
	for (size_t i = 0; i < o.samples.n; i++)
		assert_true(o.samples.at[i].stack <= o.stack_cut.n && o.samples.at[i].run >= 1);
}

static void load_anything(void)
{
	if (store_load(&o, path, why, sizeof(why)) == 0)
		assert_sound();
	else
		assert_true(strlen(why) > strlen(path));
	observations_free(&o);
}

static void test_flipped_bytes(void **state)
{
	(void)state;
	char *copy = xcalloc(size, 1);

	srand(1);
	/* every byte that says how the rest is laid out, and many others */
	for (int i = 0; i < 6000; i++) {
		memcpy(copy, bytes, size);
		for (int flips = 1 + i % 3; flips > 0; flips--) {
			size_t page = (size_t)rand() % (size / 4096) * 4096;
			size_t at = i % 2 ? page + (size_t)rand() % 64 : (size_t)rand() % size;
			copy[at] = (char)(i % 5 ? rand() : 0xff);
		}
		put_bytes(path, copy, size);
		load_anything();
	}
	free(copy);
}

/* Pages changed for others of the same file: trees with circles, shared branches. */
static void test_swapped_pages(void **state)
{
	(void)state;
	char *copy = xcalloc(size, 1);

	srand(2);
	for (int i = 0; i < 500; i++) {
		memcpy(copy, bytes, size);
		size_t a = 1 + (size_t)rand() % (size / 4096 - 1), b = 1 + (size_t)rand() % (size / 4096 - 1);
		memcpy(copy + a * 4096, bytes + b * 4096, 4096);
		put_bytes(path, copy, size);
		load_anything();
	}
	free(copy);
}

/* A whole record, changed by SQL. */
static void change(const char *sql)
{
	sqlite3 *db;
	char *error = NULL;

	put_bytes(path, bytes, size);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
	sqlite3_exec(db, sql, NULL, NULL, &error);
	if (error)
		print_error("%s: %s\n", sql, error);
	assert_null(error);
	sqlite3_close(db);
}

static void test_values(void **state)
{
	(void)state;
	static const struct {
		const char *sql, *sentence;
	} rows[] = {
		{"UPDATE stall SET end_ns = start_ns - 1 WHERE id = 1", "stall.end_ns has a value"},
		{"UPDATE stall SET start_ns = -5", "stall.start_ns has a value"},
		{"UPDATE stall SET start_ns = 1e300", "stall.start_ns has a value"},
		{"UPDATE stall SET end_ns = 9223372036854775807", "stall.end_ns has a value"},
		{"UPDATE stall SET ongoing = 2", "stall.ongoing has a value"},
		{"UPDATE stall SET id = -1 WHERE id = 1", "stall.id has a value"},
		{"UPDATE stall SET id = 4294967296 WHERE id = 1", "stall.id has a value"},
		{"UPDATE process SET pid = 'x'", "process.pid has a value"},
		{"UPDATE process SET command = x'00ff'", "process.command has a value"},
		{"UPDATE process SET switch_interval_s = -1", "process.switch_interval_s has a value"},
		{"UPDATE process SET switch_interval_s = 9e999", "process.switch_interval_s has a value"},
		{"UPDATE process SET free_threaded = 7", "process.free_threaded has a value"},
		{"UPDATE lock SET kind = 'spin'", "lock.kind has a value"},
		{"UPDATE sample SET run = '1'", "sample.run has a value"},
		{"UPDATE sample SET cpu_ns = -2", "sample.cpu_ns has a value"},
		{"UPDATE frame SET line = -1", "frame.line has a value"},
		{"UPDATE frame SET line = 4294967297", "frame.line has a value"},
		{"UPDATE frame SET id = id + 1 WHERE id = 3", "a row of its table frame"},
		{"UPDATE stack_frame SET depth = 9 WHERE depth = 1", "a row of its table stack_frame"},
		{"UPDATE ticks SET from_us = 33 WHERE from_us = 32; UPDATE ticks SET from_us = 4097 WHERE "
		 "from_us = 33",
		 "a row of its table ticks"},
		{"UPDATE ticks SET count = 4294967296", "a row of its table ticks"},
		{"INSERT INTO capture SELECT 'other', host, boot_id, container_id, service, version, "
		 "started, start_ns,"
		 "end_ns, threshold_ns, backend, complete, lost_events, suppressed_stalls FROM capture",
		 "more than 1 rows"},
		{"DELETE FROM capture", "is empty: whystall was ended before"},
		{"UPDATE capture SET run_id = x'00'", "capture.run_id has a value"},
		{"DROP TABLE hold", "has no table hold"},
		{"ALTER TABLE stack DROP COLUMN cut", "no such column"},
		{"ALTER TABLE hold RENAME TO h; CREATE VIEW hold AS SELECT * FROM h", "has no table hold"},
		{"DROP TABLE hold; CREATE TABLE hold (stall, n, lock, thread, start_ns, end_ns, at_least AS "
		 "(1))",
		 "has no table hold"},
		{"DROP TABLE hold; CREATE VIRTUAL TABLE hold USING fts5(stall, n, lock, thread, start_ns, "
		 "end_ns)",
		 "has no table hold"},
		{"UPDATE frame SET function = printf('%.2000000c', 'x')", "is damaged"},
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		change(rows[i].sql);
		assert_refused(rows[i].sentence);
	}
}

/* Read all the same: what is not ours to judge. */
static void test_harmless(void **state)
{
	(void)state;
	static const char *const rows[] = {
		"CREATE INDEX mine ON stall(start_ns); CREATE INDEX other ON sample(thread, stall)",
		"CREATE TABLE mine(x); CREATE TRIGGER t AFTER INSERT ON stall BEGIN SELECT 1; END",
		"ALTER TABLE stall ADD COLUMN extra TEXT",
		"VACUUM",
		"PRAGMA journal_mode = WAL",
		"DROP VIEW stall_s",
		"UPDATE thread SET name = CAST(x'ff00fe' AS TEXT)",
		"UPDATE frame SET function = printf('%.9000c', 'x')",
		"DELETE FROM frame WHERE id = 3; DELETE FROM stack_frame WHERE frame = 3",
		"DELETE FROM thread WHERE id = 1", /* and all that was on it */
		"DELETE FROM stack_frame",
		"UPDATE wait SET start_ns = start_ns - 999999999 WHERE n = 1", /* overlaps the one before */
		"UPDATE wait SET n = 9 - n",
	};

	for (size_t i = 0; i < LENGTH(rows); i++) {
		change(rows[i]);
		if (store_load(&o, path, why, sizeof(why)))
			fail_msg("%s: %s", rows[i], why);
		assert_sound();
		observations_free(&o);
	}
	unlink(path);
}

/* Killed, then copied without its -wal; and as it is, but where nothing can be written. */
static void test_unclosed(void **state)
{
	(void)state;
	char wal[620], *main_bytes;
	struct store *s;
	pid_t pid;
	int status;

	unlink(path);
	if ((pid = fork()) == 0)
		_exit(store_create(&s, path, false, why, sizeof(why)) || sample_put(s) || store_commit(s));
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	ssize_t n = file_read(path, &main_bytes, 1 << 20);
	assert_true(n > 0);
	assert_int_equal(store_load(&o, path, why, sizeof(why)), 0);
	assert_true(o.stalls.n == 2 && !o.capture.complete && o.capture.note_count == 2);
	observations_free(&o);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	assert_int_equal(unlink(wal), 0);
	assert_refused("is empty: whystall was ended before it had recorded anything");
	free(main_bytes);
	snprintf(wal, sizeof(wal), "%s-shm", path);
	unlink(wal);
	change("PRAGMA journal_mode = WAL; UPDATE capture SET complete = 0");
	assert_int_equal(store_load(&o, path, why, sizeof(why)), 0);
	assert_int_equal(o.capture.note_count, 3);
	assert_non_null(strstr(o.capture.notes[2], "its -wal file is not beside it"));
	observations_free(&o);
}

static int begin(void **state)
{
	(void)state;
	if (sample_place(place, sizeof(place)))
		return -1;
	snprintf(whole, sizeof(whole), "%s/whole #1?%%.whystall",
		 place); /* a name that means something in a URI */
	snprintf(path, sizeof(path), "%s/x.whystall", place);
	if (sample_record(whole) || store_load(&o, whole, why, sizeof(why)))
		return -1;
	observations_free(&o);
	size = (size_t)file_read(whole, &bytes, 1 << 20);
	return 0;
}

static int end(void **state)
{
	(void)state;
	char command[620];

	free(bytes);
	snprintf(command, sizeof(command), "rm -rf %s", place);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_record),     cmocka_unit_test(test_versions),
		cmocka_unit_test(test_cut_short),     cmocka_unit_test(test_values),
		cmocka_unit_test(test_harmless),      cmocka_unit_test(test_unclosed),
		cmocka_unit_test(test_flipped_bytes), cmocka_unit_test(test_swapped_pages),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
