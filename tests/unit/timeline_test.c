/* SPDX-License-Identifier: MIT
 *
 * A stall cut into spans: what was seen exactly stays as it is, what only counts tell is divided by them, and
 * the spans always add up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/timeline.h"

#define MS 1000000ull
#define BEGIN (1000 * NS)

static struct observations o;
static struct judge j;
static spans_t spans;

/* Times are ms since the stall's start. */
static void wait_put(enum wait_what what, uint64_t start, uint64_t end)
{
	*vec_push(&o.waits) = (struct obs_wait){.stall = 1,
						.what = what,
						.start_ns = BEGIN + start * MS,
						.end_ns = BEGIN + end * MS,
						.lock = what == WAIT_LOCK,
						.syscall = what == WAIT_CALL ? "read" : NULL};
}

static struct obs_sample *look_put(uint64_t at, enum thread_run run, int64_t cpu, int64_t delay)
{
	struct obs_sample *s = vec_push(&o.samples);
	*s = (struct obs_sample){.stall = 1,
				 .thread = 1,
				 .time_ns = BEGIN + at * MS,
				 .run = run,
				 .stack = 1,
				 .cpu_ns = cpu * (int64_t)MS,
				 .delay_ns = delay * (int64_t)MS,
				 .faults = 0};
	return s;
}

static int setup(void **unused)
{
	(void)unused;
	memset(&o, 0, sizeof o);
	vec_push(&o.threads)->id = 1;
	*vec_push(&o.locks) = (struct obs_lock){.id = 1, .kind = LOCK_MUTEX};
	*vec_push(&o.stack_begin) = 0;
	*vec_push(&o.stack_begin) = 0; /* one stack, without frames */
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	judge_close(&j);
	vec_free(&spans);
	vec_free(&o.threads);
	vec_free(&o.locks);
	vec_free(&o.stalls);
	vec_free(&o.waits);
	vec_free(&o.samples);
	vec_free(&o.stack_begin);
	return 0;
}

static void cut(uint64_t length)
{
	*vec_push(&o.stalls) = (struct obs_stall){.id = 1,
						  .loop = 1,
						  .start_ns = BEGIN,
						  .end_ns = BEGIN + length * MS,
						  .cpu_ns = -1,
						  .delay_ns = -1,
						  .faults = -1};
	judge_open(&j, &o);
	judge_stall(&j, &o.stalls.at[0], 1);
	timeline_make(&j, &spans);
	uint64_t at = BEGIN;
	for (size_t i = 0; i < spans.n; i++) {
		assert_int_equal(spans.at[i].start_ns, at);
		assert_true(spans.at[i].end_ns > at);
		at = spans.at[i].end_ns;
	}
	assert_int_equal(at, BEGIN + length * MS);
}

/* ms of a kind, rounded */
static unsigned sum(enum span_kind kind)
{
	uint64_t ns = 0;
	for (size_t i = 0; i < spans.n; i++)
		if (spans.at[i].kind == kind)
			ns += spans.at[i].end_ns - spans.at[i].start_ns;
	return (unsigned)((ns + MS / 2) / MS);
}

static void test_stop_within_a_wait(void **unused)
{
	(void)unused;
	wait_put(WAIT_LOCK, 10, 60);
	wait_put(WAIT_STOPPED, 20, 30);
	wait_put(WAIT_CALL, 70, 80);
	wait_put(WAIT_STOPPED, 75, 90); /* and beyond its end */
	look_put(5, RUN_RUNNING, 0, 0);
	look_put(65, RUN_RUNNING, 15, 0);
	look_put(95, RUN_RUNNING, 20, 0);
	cut(100);
	assert_int_equal(sum(SPAN_LOCK), 40);
	assert_int_equal(sum(SPAN_CALL), 5);
	assert_int_equal(sum(SPAN_STOPPED), 25);
	assert_int_equal(sum(SPAN_RUNNING), 30);
	assert_true(spans.at[1].kind == SPAN_LOCK && spans.at[2].kind == SPAN_STOPPED);
	assert_int_equal(spans.at[2].start_ns, BEGIN + 20 * MS);
}

static void test_counts(void **unused)
{
	(void)unused;
	look_put(0, RUN_RUNNING, 100, 50)->stack = 0;
	look_put(40, RUN_RUNNING, 110, 80);
	look_put(80, RUN_RUNNING, 130, 100);
	look_put(100, RUN_RUNNING, 150, 100)->stack = 0;
	cut(100);
	assert_int_equal(sum(SPAN_RUNNING), 50);
	assert_int_equal(sum(SPAN_RUNNABLE), 50);
}

static void test_collection(void **unused)
{
	(void)unused;
	for (unsigned at = 0; at <= 100; at += 10)
		look_put(at, RUN_RUNNING, at, 0)->collects =
			at >= 30 && at <= 60 ? COLLECTS_FULL : COLLECTS_NOT;
	cut(100);
	assert_int_equal(sum(SPAN_COLLECTING), 40);
	assert_int_equal(sum(SPAN_RUNNING), 60);
	assert_int_equal(spans.at[1].start_ns, BEGIN + 25 * MS);
}

static void test_faults_by_counts(void **unused)
{
	(void)unused;
	for (int at = 0; at <= 100; at += 10)
		look_put((uint64_t)at, at % 20 ? RUN_FAULTING : RUN_RUNNING, at / 5, 0)->faults = at;
	cut(100);
	assert_int_equal(sum(SPAN_RUNNING), 20);
	assert_int_equal(sum(SPAN_FAULT), 80);
	assert_int_equal(spans.at[spans.n - 1].faults, 100);
}

/* The rest is not guessed. */
static void test_unknown(void **unused)
{
	(void)unused;
	look_put(0, RUN_RUNNING, 0, 0);
	look_put(100, RUN_RUNNING, 30, 20);
	cut(100);
	assert_int_equal(sum(SPAN_RUNNING), 30);
	assert_int_equal(sum(SPAN_RUNNABLE), 20);
	assert_int_equal(sum(SPAN_UNKNOWN), 50);
}

static void test_exact(void **unused)
{
	(void)unused;
	wait_put(WAIT_RUNQUEUE, 0, 20);
	wait_put(WAIT_FAULT, 50, 60);
	look_put(0, RUN_RUNNING, 0, 0)->stack = 0;
	look_put(30, RUN_RUNNING, 10, 20);
	look_put(70, RUN_RUNNING, 40, 20)->faults = 1;
	look_put(100, RUN_RUNNING, 70, 20)->faults = 1;
	cut(100);
	assert_true(spans.at[0].kind == SPAN_RUNNABLE && spans.at[0].end_ns == BEGIN + 20 * MS);
	assert_int_equal(sum(SPAN_RUNNABLE), 20);
	assert_int_equal(sum(SPAN_FAULT), 10);
	assert_int_equal(sum(SPAN_RUNNING), 70);
}

/* Whatever a record says: an end, and a sum. */
static void test_noise(void **unused)
{
	(void)unused;
	srand(1);
	for (int round = 0; round < 3000; round++) {
		setup(NULL);
		for (int i = rand() % 12; i > 0; i--) {
			uint64_t start = (uint64_t)(rand() % 120);
			wait_put(1 + rand() % 5, start, start + (uint64_t)(rand() % 40));
		}
		uint64_t at = 0;
		for (int i = rand() % 12; i > 0; i--) {
			struct obs_sample *s = look_put(at += (uint64_t)(rand() % 20), 1 + rand() % 5,
							rand() % 200 - 1, rand() % 200 - 1);
			s->faults = rand() % 5 - 1;
			s->stack = (uint32_t)(rand() % 2);
			s->collects = (enum collects)(rand() % 6);
			s->syscall = rand() % 2 ? "read" : NULL;
		}
		cut(100);
		teardown(NULL);
		memset(&j, 0, sizeof j);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stop_within_a_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_collection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_faults_by_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exact, setup, teardown),
		cmocka_unit_test(test_noise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
