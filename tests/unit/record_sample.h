/* SPDX-License-Identifier: MIT
 *
 * A small record with a value in every column, for tests that read, damage and fuzz it.
 */
#ifndef WHYSTALL_RECORD_SAMPLE_H
#define WHYSTALL_RECORD_SAMPLE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "cli/store.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* structs grow at their ends */

static const char *const sample_notes[] = {"CPython 3.5 is not supported.", "3 events were lost."};
static const struct obs_capture sample_capture = {
	.run_id = "0e8e7b5c-52a5-4d0f-9f0a-3c1b9a1f7a11",
	.host = "h\xc3\xb6st",
	.boot_id = "b",
	.container_id = "c",
	.service = "shop",
	.version = VERSION,
	.started = "2026-11-22T12:00:00.000Z",
	.start_ns = 1 * NS, /* before any clock of a machine that runs: the store stamps its ends itself */
	.end_ns = 61 * NS,
	.threshold_ns = 20000000,
	.backend = BACKEND_MIXED,
	.complete = true,
	.lost_events = 3,
	.suppressed_stalls = 4,
	.notes = sample_notes,
	.note_count = 2,
};
static const struct obs_process sample_processes[] = {
	{1, 4711, 4700, 7, "[\"uvicorn\", \"app:api\"]", "/usr/bin/python3", "cpython", "3.12.1", 0, 0.005,
	 BACKEND_PRELOAD, 1 * NS, 51 * NS, "a worker", "a note", 0.05, 0.1},
	{4, 4712, 4711, 8, "[]", NULL, NULL, NULL, -1, -1, BACKEND_EBPF, 2 * NS, 0, NULL, NULL, -1, -1},
};
static const struct obs_thread sample_threads[] = {
	{1, 1, 4711, 7, "MainThread", 1 * NS, 51 * NS, 123456789, 1, 10, 11, 12, 13, 14},
	{2, 1, 4730, 9, "ThreadPoolExecutor-0_0", 2 * NS, 0, -1, 2, 1, 2, 3, 4, 5},
	{7, 4, 4712, 8, "", 2 * NS, 0, 0, 0, 0, 0, 0, 0, 0},
};
static const struct obs_lock sample_locks[] = {
	{1, 1, LOCK_GIL, 0x7f0011223344, "GIL"},
	{2, 1, LOCK_SEM, 8, NULL},
};
static const struct obs_stall sample_stalls[] = {
	{1, 1, 2, 11 * NS, 13 * NS, false, false, false, 37, 0, 100, 200, 3, 50, 2},
	{2, 1, 1, 21 * NS, 22 * NS, true, true, true, -1, 9, -1, -1, -1, -1, -1},
};
static const struct obs_wait sample_waits[] = {
	{1, WAIT_LOCK, 11 * NS, 12 * NS, 1, 2, true, NULL, NULL},
	{1, WAIT_CALL, 12 * NS, 13 * NS, 0, 0, false, "recvfrom", "127.0.0.1:5432"},
};
static const struct obs_hold sample_holds[] = {
	{1, 1, 2, 10 * NS, 11 * NS, true},
	{1, 1, 2, 11 * NS, 12 * NS, false},
};
static const struct stack sample_stack = {
	3,
	1,
	{
		{FRAME_NATIVE, ORIGIN_RUNTIME, "long_pow", "python3.12", NULL, 0, 0},
		{FRAME_PYTHON, ORIGIN_USER, "heavy_cpu_work", NULL, "/srv/app.py", 19, 1},
		{FRAME_PYTHON, ORIGIN_RUNTIME, NULL, "threading", "/usr/lib/threading.py", 975, 0},
	},
};

/* Loops are big: only what is stored. */
static inline struct obs_loop *sample_loop(void)
{
	static struct obs_loop l = {.id = 1,
				    .thread = 1,
				    .threads = 2,
				    .wait = "epoll_wait",
				    .ticks = 9812,
				    .tick_ns = 5 * NS,
				    .tick_max_ns = 2 * NS,
				    .wait_ns = 50 * NS,
				    .first_ns = 1 * NS,
				    .last_ns = 60 * NS,
				    .suppressed = 4};
	return &l;
}

static inline struct obs_sample sample_sample(uint32_t stack)
{
	return (struct obs_sample){1, 2, 11 * NS + 5, RUN_BLOCKED, "futex",	  "x", stack,
				   7, 8, true,	      9,	   COLLECTS_FULL, 10};
}

/* Puts all of it; the caller commits and closes. 0 or -errno. */
static inline int sample_put(struct store *s)
{
	uint32_t ticks[TICK_BUCKETS] = {[0] = 9, [31] = 1, [32] = 2, [200] = 3, [TICK_BUCKETS - 1] = 4};
	int err = store_put_capture(s, &sample_capture);

	for (size_t i = 0; i < LENGTH(sample_processes); i++)
		err |= store_put_process(s, &sample_processes[i]);
	err |= store_put_mark(s, &(struct obs_mark){1, 1, 2 * NS, "tests/test_a.py::test_b"});
	for (size_t i = 0; i < LENGTH(sample_threads); i++)
		err |= store_put_thread(s, &sample_threads[i]);
	err |= store_put_loop(s, sample_loop());
	err |= store_add_ticks(s, 1, 0, ticks);
	err |= store_add_ticks(s, 1, 0, ticks);
	err |= store_add_ticks(s, 1, 59, ticks);
	for (size_t i = 0; i < LENGTH(sample_locks); i++)
		err |= store_put_lock(s, &sample_locks[i]);
	for (size_t i = 0; i < LENGTH(sample_stalls); i++)
		err |= store_put_stall(s, &sample_stalls[i]);
	err |= store_put_waits(s, 1, sample_waits, LENGTH(sample_waits));
	err |= store_put_holds(s, 1, sample_holds, LENGTH(sample_holds));
	struct obs_sample sample = sample_sample(store_stack(s, &sample_stack));
	err |= store_add_sample(s, &sample);
	sample = (struct obs_sample){2, 1, 21 * NS, RUN_STOPPED, NULL, NULL, 0, -1, -1, false, -1, 0, 0};
	err |= store_add_sample(s, &sample);
	return err;
}

/* A directory of the test's own. 0 or -1. */
static inline int sample_place(char *buf, size_t size)
{
	const char *base = getenv("TMPDIR");

	snprintf(buf, size, "%s/whystall-test.XXXXXX", base ? base : P_tmpdir);
	return mkdtemp(buf) ? 0 : -1;
}

/* A whole, closed one. */
static inline int sample_record(const char *path)
{
	struct store *s;
	char why[512];
	int err = store_create(&s, path, true, why, sizeof(why));

	if (err)
		return err;
	err = sample_put(s);
	return store_close(s) | err;
}

#endif
