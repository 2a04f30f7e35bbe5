/* SPDX-License-Identifier: MIT
 *
 * The record: what is put comes back, whatever ends the writer; readers need not wait for it. (Damage is
 * store_damage_test.c's, places are store_place_test.c's.)
 */
#include "cli/schema.h"
#include "cli/store.h"
#include "tests/unit/record_sample.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char place[512];
static char path[600];
static char why[1024];
static struct observations o;

static int fresh(void **state)
{
	(void)state;
	static int n;

	snprintf(path, sizeof(path), "%s/%d.whystall", place, n++);
	return 0;
}

static struct store *create(void)
{
	struct store *s = NULL;

	assert_int_equal(store_create(&s, path, false, why, sizeof(why)), 0);
	return s;
}

static void load(void)
{
	int err = store_load(&o, path, why, sizeof(why));

	if (err)
		print_error("%s\n", why);
	assert_int_equal(err, 0);
}

static bool beside(const char *suffix)
{
	char name[620];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	return access(name, F_OK) == 0;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Every byte of a struct that has no pointers and no padding that matters is compared by assigning over
 * zeros. */
#define assert_same(a, b) assert_memory_equal(&(a), &(b), sizeof(a))

static void assert_capture(void)
{
	const struct obs_capture *a = &o.capture, *b = &sample_capture;

	assert_true(same(a->run_id, b->run_id) && same(a->host, b->host) && same(a->boot_id, b->boot_id));
	assert_true(same(a->container_id, b->container_id) && same(a->service, b->service));
	assert_true(same(a->version, b->version) && same(a->started, b->started));
	assert_true(a->start_ns == b->start_ns && a->end_ns == b->end_ns &&
		    a->threshold_ns == b->threshold_ns);
	assert_true(a->backend == b->backend && a->lost_events == 3 && a->suppressed_stalls == 4);
	assert_int_equal(a->note_count, 2);
	assert_string_equal(a->notes[1], sample_notes[1]);
}

static void assert_processes_threads_loops(void)
{
	assert_int_equal(o.processes.n, LENGTH(sample_processes));
	for (size_t i = 0; i < o.processes.n; i++) {
		const struct obs_process *a = &o.processes.at[i], *b = &sample_processes[i];
		assert_true(a->id == b->id && a->pid == b->pid && a->ppid == b->ppid &&
			    a->ns_pid == b->ns_pid);
		assert_true(same(a->command, b->command) && same(a->exe, b->exe) &&
			    same(a->runtime, b->runtime));
		assert_true(same(a->runtime_version, b->runtime_version) &&
			    a->free_threaded == b->free_threaded);
		assert_true(a->switch_interval_s == b->switch_interval_s && a->backend == b->backend);
		assert_true(a->start_ns == b->start_ns && a->end_ns == b->end_ns && same(a->note, b->note) &&
			    same(a->role, b->role));
		assert_true(a->quota_s == b->quota_s && a->quota_period_s == b->quota_period_s);
	}
	assert_int_equal(o.threads.n, LENGTH(sample_threads));
	for (size_t i = 0; i < o.threads.n; i++) {
		struct obs_thread a = o.threads.at[i], b = sample_threads[i];
		assert_true(same(a.name, b.name));
		a.name = b.name = NULL;
		assert_same(a, b);
	}
	assert_int_equal(o.loops.n, 1);
	struct obs_loop *a = &o.loops.at[0], *b = sample_loop();
	assert_true(same(a->wait, b->wait) && a->id == 1 && a->thread == 1 && a->threads == 2);
	assert_memory_equal(&a->ticks, &b->ticks,
			    offsetof(struct obs_loop, count) - offsetof(struct obs_loop, ticks));
	assert_true(a->count[0] == 27 && a->count[31] == 3 && a->count[32] == 6 && a->count[200] == 9);
	assert_true(a->count[TICK_BUCKETS - 1] == 12 && a->count[1] == 0);
}

static void assert_stalls(void)
{
	assert_int_equal(o.locks.n, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_true(same(o.locks.at[i].name, sample_locks[i].name) &&
			    o.locks.at[i].kind == sample_locks[i].kind);
		assert_true(o.locks.at[i].address == sample_locks[i].address && o.locks.at[i].process == 1);
	}
	assert_int_equal(o.stalls.n, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct obs_stall *a = &o.stalls.at[i], *b = &sample_stalls[i];
		assert_true(a->id == b->id && a->loop == b->loop && a->thread == b->thread &&
			    a->start_ns == b->start_ns && a->end_ns == b->end_ns);
		assert_true(a->ongoing == b->ongoing && a->began_before == b->began_before &&
			    a->outside == b->outside);
		assert_true(a->ready_after == b->ready_after && a->lost == b->lost);
		assert_true(a->cpu_ns == b->cpu_ns && a->delay_ns == b->delay_ns);
		assert_true(a->faults == b->faults && a->throttled_ns == b->throttled_ns &&
			    a->throttled_periods == b->throttled_periods);
	}
	assert_int_equal(o.waits.n, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct obs_wait *a = &o.waits.at[i], *b = &sample_waits[i];
		assert_true(a->stall == 1 && a->what == b->what && a->start_ns == b->start_ns &&
			    a->end_ns == b->end_ns);
		assert_true(a->lock == b->lock && a->owner == b->owner && a->self_owned == b->self_owned);
		assert_true(same(a->syscall, b->syscall) && same(a->target, b->target));
	}
	assert_int_equal(o.holds.n, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct obs_hold *a = &o.holds.at[i], *b = &sample_holds[i];
		assert_true(a->stall == 1 && a->lock == 1 && a->thread == 2 && a->start_ns == b->start_ns);
		assert_true(a->end_ns == b->end_ns && a->at_least == b->at_least);
	}
}

static void assert_samples(void)
{
	assert_int_equal(o.samples.n, 2);
	const struct obs_sample *a = &o.samples.at[0], b = sample_sample(1);
	assert_true(a->stall == b.stall && a->thread == b.thread && a->time_ns == b.time_ns &&
		    a->run == b.run);
	assert_true(same(a->syscall, b.syscall) && same(a->target, b.target) && a->stack == 1);
	assert_true(a->cpu_ns == b.cpu_ns && a->delay_ns == b.delay_ns);
	assert_true(a->native && a->faults == b.faults && a->collects == b.collects &&
		    a->gc_objects == b.gc_objects);
	a = &o.samples.at[1];
	assert_true(a->run == RUN_STOPPED && !a->native && a->faults == -1 && !a->collects && !a->gc_objects);
	assert_true(a->stack == 0 && a->cpu_ns == -1 && a->delay_ns == -1 && !a->syscall && !a->target);
	assert_int_equal(o.stack_begin.n, 2);
	assert_int_equal(o.stack_begin.at[1], 3);
	assert_true(o.stack_cut.at[0]);
	for (int i = 0; i < 3; i++) {
		const struct frame *f = &o.frames.at[o.stack_frames.at[i] - 1], *g = &sample_stack.at[i];
		assert_true(f->kind == g->kind && f->origin == g->origin && same(f->function, g->function));
		assert_true(same(f->module, g->module) && same(f->file, g->file) && f->line == g->line &&
			    f->entry == g->entry);
	}
}

static void assert_all(void)
{
	assert_capture();
	assert_processes_threads_loops();
	assert_int_equal(o.marks.n, 1);
	assert_string_equal(o.marks.at[0].text, "tests/test_a.py::test_b");
	assert_int_equal(o.marks.at[0].start_ns, 2 * NS);
	assert_stalls();
	assert_samples();
}

static void test_round_trip(void **state)
{
	(void)state;
	struct store *s = create();
	struct stat st;

	assert_int_equal(sample_put(s), 0);
	assert_int_equal(store_commit(s), 0);
	load(); /* by the process that writes it */
	assert_all();
	assert_false(o.capture.complete);
	observations_free(&o);
	assert_int_equal(sample_put(s) & 0, 0); /* again: replaced, only ticks and samples are added */
	assert_null(store_error(s));
	assert_int_equal(store_drop_stall(s, 77), 0);
	assert_int_equal(store_close(s), 0);
	assert_int_equal(store_close(NULL), 0);
	assert_false(beside("-wal") || beside("-shm") || beside("-journal"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	load();
	assert_true(o.capture.complete);
	assert_int_equal(o.loops.at[0].count[0], 54);
	assert_int_equal(o.stack_cut.n, 1);
	o.loops.at[0].count[0] = 27;
	for (int b = 1; b < (int)TICK_BUCKETS; b++)
		o.loops.at[0].count[b] /= 2;
	assert_all();
	assert_false(beside("-wal") || beside("-shm")); /* reading left nothing */
	observations_free(&o);
}

static void test_replace_and_drop(void **state)
{
	(void)state;
	struct store *s = create();
	struct obs_stall stall = sample_stalls[0];

	assert_int_equal(sample_put(s), 0);
	stall.end_ns += 5;
	assert_int_equal(store_put_stall(s, &stall), 0);
	assert_int_equal(store_put_waits(s, 1, sample_waits + 1, 1), 0);
	assert_int_equal(store_put_holds(s, 1, NULL, 0), 0);
	assert_int_equal(store_drop_stall(s, 2), 0);
	assert_int_equal(
		store_put_capture(s, &(struct obs_capture){.run_id = sample_capture.run_id, .backend = 1}),
		0);
	assert_int_equal(store_commit(s), 0);
	load();
	assert_int_equal(o.stalls.n, 1);
	assert_int_equal(o.stalls.at[0].end_ns, stall.end_ns);
	assert_true(o.waits.n == 1 && o.waits.at[0].what == WAIT_CALL && o.holds.n == 0);
	assert_int_equal(o.samples.n, 1);
	assert_int_equal(o.capture.note_count, 0);
	assert_true(o.capture.end_ns > 0 && o.capture.end_ns <= now_ns()); /* stamped by the commit */
	observations_free(&o);
	assert_int_equal(store_close(s), 0);
}

/* What no reader would take is refused alone; what refers to nothing is left out by the reader, and said. */
static void test_bad_rows(void **state)
{
	(void)state;
	struct store *s = create();
	struct obs_stall stall = sample_stalls[0];
	struct obs_sample sample = sample_sample(0);
	struct obs_hold hold = sample_holds[0];

	assert_int_equal(sample_put(s), 0);
	stall.id = 3;
	stall.end_ns = stall.start_ns - 1;
	assert_int_equal(store_put_stall(s, &stall), -EINVAL);
	stall.end_ns = UINT64_MAX;
	assert_int_equal(store_put_stall(s, &stall), -EINVAL);
	sample.run = 0;
	assert_int_equal(store_add_sample(s, &sample), -EINVAL);
	sample = sample_sample(0);
	sample.thread = 99;
	assert_int_equal(store_add_sample(s, &sample), 0);
	sample.thread = 1;
	sample.stack = 99;
	assert_int_equal(store_add_sample(s, &sample), 0);
	sample.stall = 99; /* dropped: nothing to say */
	assert_int_equal(store_add_sample(s, &sample), 0);
	hold.lock = 0;
	assert_int_equal(store_put_holds(s, 2, &hold, 1), -EINVAL);
	assert_null(store_error(s));
	assert_int_equal(store_close(s), 0);
	load();
	assert_int_equal(o.stalls.n, 2);
	assert_int_equal(o.samples.n, 3);
	assert_int_equal(o.capture.note_count, 4);
	assert_string_equal(o.capture.notes[2], "4 observations had impossible values and were not recorded");
	assert_string_equal(o.capture.notes[3],
			    "2 rows of the record refer to what is not in it and were left out");
	observations_free(&o);
}

static void test_text(void **state)
{
	(void)state;
	struct store *s = create();
	struct obs_thread t = sample_threads[0];
	struct obs_process p = sample_processes[0];

	assert_int_equal(sample_put(s), 0);
	t.name = "a\x1b[31m\xff\xc3\xa9\xed\xa0\x80";
	p.command = "no json";
	assert_int_equal(store_put_thread(s, &t), 0);
	assert_int_equal(store_put_process(s, &p), 0);
	assert_int_equal(store_close(s), 0);
	load();
	assert_string_equal(o.threads.at[0].name, "a\\x1b[31m\\xff\xc3\xa9\\xed\\xa0\\x80");
	assert_string_equal(o.processes.at[0].command, "[]");
	observations_free(&o);
}

/* Stacks in common are stored once, also among thousands. */
static void test_stacks(void **state)
{
	(void)state;
	static struct stack stack;
	struct store *s = create();
	char name[32];

	assert_int_equal(sample_put(s), 0);
	assert_int_equal(store_stack(s, &stack), 0);
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < 3000; i++) {
			stack = sample_stack;
			snprintf(name, sizeof(name), "f%u", i);
			stack.at[0].function = intern(name);
			assert_int_equal(store_stack(s, &stack), i + 2);
		}
	}
	stack = sample_stack;
	stack.cut = 0;
	assert_int_equal(store_stack(s, &stack), 3002);
	stack.n = STACK_MAX;
	for (int i = 0; i < STACK_MAX; i++)
		stack.at[i] = sample_stack.at[1];
	assert_int_equal(store_stack(s, &stack), 3003);
	assert_int_equal(store_close(s), 0);
	load();
	assert_int_equal(o.frames.n, 3003);
	assert_int_equal(o.stack_cut.n, 3003);
	assert_int_equal(o.stack_begin.at[3003] - o.stack_begin.at[3002], STACK_MAX);
	observations_free(&o);
}

static void test_create(void **state)
{
	(void)state;
	struct store *s = create(), *other;
	FILE *f;

	assert_int_equal(store_create(&other, path, false, why, sizeof(why)), -EEXIST);
	store_close(s);
	assert_int_equal(store_create(&other, path, false, why, sizeof(why)), -EEXIST);
	assert_non_null(strstr(why, "exists; choose"));
	assert_int_equal(store_create(&other, path, true, why, sizeof(why)), 0);
	store_close(other);
	fresh(NULL);
	f = fopen(path, "w"); /* mktemp's, and a user's own file */
	assert_int_equal(store_create(&other, path, false, why, sizeof(why)), 0);
	store_close(other);
	freopen(path, "w", f);
	fputs("precious", f);
	fclose(f);
	assert_int_equal(store_create(&other, path, true, why, sizeof(why)), -EEXIST);
	assert_non_null(strstr(why, "is no record"));
	assert_int_equal(store_create(&other, "/nowhere/x", true, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "/nowhere/x"));
	assert_int_equal(store_create(&other, place, true, why, sizeof(why)), -EEXIST);
	assert_int_equal(store_create(&other, "/dev/null", true, why, sizeof(why)), -EEXIST);
}

/* A capture with so many stalls, each with its sample, committing after each, telling how far it is through
 * fd. */
static void write_for_ever(int fd)
{
	struct store *s;
	struct obs_stall stall = sample_stalls[0];
	struct obs_sample sample = sample_sample(1);

	if (store_create(&s, path, true, why, sizeof(why)) || sample_put(s))
		_exit(1);
	for (uint32_t i = 3;; i++) {
		stall.id = sample.stall = i;
		if (store_put_stall(s, &stall) || store_add_sample(s, &sample) || store_commit(s) ||
		    write(fd, &i, sizeof(i)) < 0)
			_exit(2);
	}
}

static void test_kill(void **state)
{
	(void)state;
	srand(7);
	for (int round = 0; round < 30; round++) {
		int fd[2], status;
		uint32_t i, last = 0;
		fresh(NULL);
		assert_int_equal(pipe(fd), 0);
		pid_t pid = fork();
		if (pid == 0) {
			close(fd[0]);
			write_for_ever(fd[1]);
		}
		close(fd[1]);
		assert_int_equal(read(fd[0], &last, sizeof(last)), sizeof(last));
		usleep((useconds_t)(rand() % 60000));
		kill(pid, SIGKILL);
		while (read(fd[0], &i, sizeof(i)) == sizeof(i))
			last = i;
		waitpid(pid, &status, 0);
		assert_true(WIFSIGNALED(status));
		close(fd[0]);
		load();
		assert_false(o.capture.complete);
		assert_in_range(o.stalls.n, last, last + 1);
		assert_int_equal(o.samples.n, o.stalls.n);
		observations_free(&o);
	}
}

/* Readers in other processes, while it grows and while it is closed; the writer gets on meanwhile. */
static void test_read_while_growing(void **state)
{
	(void)state;
	struct store *s = create();
	struct obs_stall stall = sample_stalls[0];
	int status;
	pid_t pid[2];

	assert_int_equal(sample_put(s), 0);
	assert_int_equal(store_commit(s), 0);
	for (int r = 0; r < 2; r++) {
		pid[r] = fork();
		if (pid[r] == 0) {
			size_t before = 0, reads = 0;
			do {
				if (store_load(&o, path, why, sizeof(why)) || o.stalls.n < before)
					_exit(1 + (fprintf(stderr, "%s\n", why) > 0));
				before = o.stalls.n;
				reads++;
				observations_free(&o);
			} while (before < 2000);
			_exit(reads < 2 ? 3 : 0);
		}
	}
	for (uint32_t i = 3; i <= 2000; i++) {
		stall.id = i;
		assert_int_equal(store_put_stall(s, &stall), 0);
		if (i % 20 == 0) {
			assert_int_equal(store_commit(s), 0);
			usleep(3000);
		}
	}
	assert_int_equal(store_close(s), 0);
	for (int r = 0; r < 2; r++) {
		waitpid(pid[r], &status, 0);
		assert_int_equal(status, 0);
	}
	load();
	assert_true(o.capture.complete && o.stalls.n == 2000);
	assert_false(beside("-wal"));
	observations_free(&o);
}

/* A reader that never ends: the close gives up waiting, and the record is whole all the same. */
static void test_close_under_reader(void **state)
{
	(void)state;
	struct store *s = create();
	sqlite3 *db;

	assert_int_equal(sample_put(s), 0);
	assert_int_equal(store_commit(s), 0);
	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN; SELECT * FROM stall", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(store_close(s), 0);
	load();
	assert_true(o.capture.complete);
	observations_free(&o);
	sqlite3_close(db);
	load();
	assert_true(o.capture.complete);
	assert_all();
	observations_free(&o);
}

static void test_full_disk(void **state)
{
	(void)state;
	for (rlim_t limit = 100000; limit < 6000000; limit = limit * 3 / 2) {
		int fd[2], status;
		uint32_t i, last = 0;
		fresh(NULL);
		assert_int_equal(pipe(fd), 0);
		pid_t pid = fork();
		if (pid == 0) {
			struct store *s;
			struct obs_stall stall = sample_stalls[0];
			signal(SIGXFSZ, SIG_IGN);
			setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit});
			if (store_create(&s, path, true, why, sizeof(why)))
				_exit(9);
			sample_put(s);
			for (i = 3; !store_error(s) && i < 200000; i++) {
				stall.id = i;
				store_put_stall(s, &stall);
				if (i % 50 == 0 && store_commit(s) == 0 && write(fd[1], &i, sizeof(i)) < 0)
					_exit(8);
			}
			int good = store_error(s) && strstr(store_error(s), "File too large") &&
				   store_put_stall(s, &stall) == -EFBIG && store_commit(s) == -EFBIG;
			_exit(store_close(s) == -EFBIG && good ? 0 : 7);
		}
		close(fd[1]);
		while (read(fd[0], &i, sizeof(i)) == sizeof(i))
			last = i;
		close(fd[0]);
		waitpid(pid, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 9)
			continue; /* no space even for an empty one */
		assert_int_equal(status, 0);
		load();
		assert_false(o.capture.complete);
		assert_true(o.stalls.n >= last);
		observations_free(&o);
	}
}

/* Everything in the schema can be prepared, and doc/record.md shows it as it is. */
static void test_schema(void **state)
{
	(void)state;
	char *sql = schema_sql(), *doc = NULL;
	sqlite3 *db;
	sqlite3_stmt *stmt;

	assert_int_equal(sample_record(path), 0);
	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(
		sqlite3_prepare_v2(db, "SELECT name FROM sqlite_master WHERE type = 'view'", -1, &stmt, NULL),
		SQLITE_OK);
	for (int views = 0; sqlite3_step(stmt) == SQLITE_ROW || (assert_int_equal(views, 5), false);
	     views++) {
		char *query = sqlite3_mprintf("SELECT * FROM %s", sqlite3_column_text(stmt, 0));
		sqlite3_stmt *rows;
		assert_int_equal(sqlite3_prepare_v2(db, query, -1, &rows, NULL), SQLITE_OK);
		assert_int_equal(sqlite3_step(rows), SQLITE_ROW);
		sqlite3_finalize(rows);
		sqlite3_free(query);
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	if (file_read("doc/record.md", &doc, 1 << 20) > 0)
		assert_non_null(strstr(doc, sql));
	else
		print_message("doc/record.md is not here: not compared\n");
	free(doc);
	free(sql);
}

static long peak_kb(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return use.ru_maxrss;
}

static void test_performance(void **state)
{
	(void)state;
	enum { STALLS = 100000 };
	struct store *s = create();
	struct obs_wait waits[5];
	struct obs_hold holds[5];
	struct stat st;
	uint64_t t = now_ns();
	char a[32], b[32];

	assert_int_equal(sample_put(s), 0);
	for (uint32_t i = 1; i <= STALLS; i++) {
		struct obs_stall stall = sample_stalls[0];
		stall.id = i;
		stall.start_ns = 11 * NS + i * 20000000ull;
		stall.end_ns = stall.start_ns + 20000000;
		store_put_stall(s, &stall);
		for (uint32_t k = 0; k < 5; k++) {
			waits[k] = sample_waits[k % 2];
			holds[k] = sample_holds[0];
			waits[k].start_ns = holds[k].start_ns = stall.start_ns + k * 4000000ull;
			waits[k].end_ns = holds[k].end_ns = waits[k].start_ns + 3000000;
		}
		store_put_waits(s, i, waits, 5);
		store_put_holds(s, i, holds, 5);
		for (uint32_t k = 0; k < 10; k++) {
			struct obs_sample sample = sample_sample(1);
			sample.stall = i;
			sample.time_ns = stall.start_ns + k;
			store_add_sample(s, &sample);
		}
		if (i % 100 == 0)
			store_commit(s);
	}
	assert_int_equal(store_close(s), 0);
	stat(path, &st);
	uint64_t written = now_ns();
	long before = peak_kb();
	load();
	assert_int_equal(o.samples.n, STALLS * 10 + 2); /* sample_put's own */
	print_message("%d stalls: %ld MB, written in %s, loaded in %s, %ld MB of memory\n", STALLS,
		      (long)st.st_size >> 20, time_format(a, sizeof(a), written - t),
		      time_format(b, sizeof(b), now_ns() - written), (peak_kb() - before) >> 10);
	observations_free(&o);
	unlink(path);
}

static int begin(void **state)
{
	(void)state;
	return sample_place(place, sizeof(place));
}

static int end(void **state)
{
	(void)state;
	char command[620];

	snprintf(command, sizeof(command), "rm -rf %s", place);
	return system(command);
}

/* --schema: what doc/record.md has to show */
int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--schema") == 0)
		return fputs(schema_sql(), stdout) < 0;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_round_trip, fresh),
		cmocka_unit_test_setup(test_replace_and_drop, fresh),
		cmocka_unit_test_setup(test_bad_rows, fresh),
		cmocka_unit_test_setup(test_text, fresh),
		cmocka_unit_test_setup(test_stacks, fresh),
		cmocka_unit_test_setup(test_create, fresh),
		cmocka_unit_test_setup(test_kill, fresh),
		cmocka_unit_test_setup(test_read_while_growing, fresh),
		cmocka_unit_test_setup(test_close_under_reader, fresh),
		cmocka_unit_test_setup(test_full_disk, fresh),
		cmocka_unit_test_setup(test_schema, fresh),
		cmocka_unit_test_setup(test_performance, fresh),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
