/* SPDX-License-Identifier: MIT
 *
 * Stalls of a machine without a CPU to spare, as records have them: the scheduler counts a wait for a CPU
 * only when it is over, so that what a look finds unchanged tells as much as what has grown.
 */
#include "cli/budget.h"
#include "cli/store.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS 1000000ull
#define T0 (1000 * NS)
#define LOOP 1
#define WORKER 2

static struct observations seen;
static struct verdict verdict;

static void scene_begin(uint64_t length, int64_t delay)
{
	memset(&seen, 0, sizeof seen);
	seen.capture = (struct obs_capture){
		.start_ns = T0, .end_ns = T0 + NS, .threshold_ns = 20 * MS, .complete = true};
	*vec_push(&seen.processes) = (struct obs_process){.id = 1,
							  .pid = 1,
							  .command = "[\"app\"]",
							  .runtime = "cpython",
							  .free_threaded = -1,
							  .start_ns = T0};
	*vec_push(&seen.threads) =
		(struct obs_thread){.id = LOOP, .process = 1, .tid = 1, .name = "MainThread", .gil_known = 1};
	*vec_push(&seen.threads) =
		(struct obs_thread){.id = WORKER, .process = 1, .tid = 2, .name = "worker", .gil_known = 1};
	*vec_push(&seen.locks) = (struct obs_lock){.id = 1, .process = 1, .kind = LOCK_GIL, .name = "GIL"};
	*vec_push(&seen.locks) = (struct obs_lock){.id = 2, .process = 1, .kind = LOCK_SEM};
	*vec_push(&seen.loops) = (struct obs_loop){.id = 1,
						   .thread = LOOP,
						   .wait = "epoll_wait",
						   .ticks = 1,
						   .first_ns = T0,
						   .last_ns = T0 + NS};
	*vec_push(&seen.stalls) = (struct obs_stall){.id = 1,
						     .loop = 1,
						     .thread = LOOP,
						     .start_ns = T0,
						     .end_ns = T0 + length,
						     .ready_after = -1,
						     .cpu_ns = delay < 0 ? -1 : 0,
						     .delay_ns = delay,
						     .faults = -1};
	*vec_push(&seen.stack_begin) = 0;
}

static void wait_for(uint32_t lock, uint64_t from, uint64_t to)
{
	*vec_push(&seen.waits) = (struct obs_wait){
		.stall = 1, .what = WAIT_LOCK, .start_ns = T0 + from, .end_ns = T0 + to, .lock = lock};
}

static void hold(uint64_t from, uint64_t to)
{
	*vec_push(&seen.holds) = (struct obs_hold){
		.stall = 1, .lock = 1, .thread = WORKER, .start_ns = T0 + from, .end_ns = T0 + to};
}

static void look(uint32_t thread, uint64_t at, int64_t cpu, int64_t delay)
{
	*vec_push(&seen.samples) = (struct obs_sample){.stall = 1,
						       .thread = thread,
						       .time_ns = T0 + at,
						       .run = RUN_RUNNING,
						       .cpu_ns = cpu,
						       .delay_ns = delay,
						       .faults = -1};
}

/* What of the stall a check counts, and what it does not. */
static uint64_t counted(void)
{
	verdict_make(&verdict, &seen);
	const struct verdict_loop *l = &verdict.processes.at[0].loops.at[0];
	assert_int_equal(l->stalls.n, 1);
	uint64_t sum = 0, ns = stall_counted(&l->stalls.at[0], causes_default());
	for (size_t i = 0; i < l->stalls.at[0].segments.n; i++)
		sum += l->stalls.at[0].segments.at[i].ns;
	assert_int_equal(sum, l->stalls.at[0].ns);
	verdict_free(&verdict);
	observations_free(&seen);
	return ns;
}

/* The worker let go after 6 ms; the loop got no CPU to take it for 150. */
static void test_a_lock_that_nobody_has(void **state)
{
	(void)state;
	scene_begin(156 * MS, 149 * MS);
	wait_for(1, 0, 156 * MS);
	hold(0, 6 * MS);
	hold(155 * MS, 155 * MS + MS / 2);
	assert_in_range(counted(), 0, 10 * MS);
	/* with a CPU all the while it is the hold that somebody missed */
	scene_begin(156 * MS, 0);
	wait_for(1, 0, 156 * MS);
	hold(0, 6 * MS);
	assert_int_equal(counted(), 156 * MS);
	/* and one hold of all of it is the holder's that computed, however long the loop queued for a CPU
	 * meanwhile */
	scene_begin(156 * MS, 149 * MS);
	wait_for(1, 0, 156 * MS);
	hold(0, 156 * MS);
	look(WORKER, 5 * MS, 18 * MS, 400 * MS);
	look(WORKER, 155 * MS, 168 * MS, 400 * MS);
	assert_int_equal(counted(), 156 * MS);
}

/* Nobody looked at the holder, or there is none: as much is in doubt as the loop had no CPU at once, twice.
 */
static void test_who_was_not_looked_at(void **state)
{
	(void)state;
	for (uint32_t lock = 1; lock <= 2; lock++) {
		scene_begin(150 * MS, 40 * MS);
		wait_for(lock, 0, 150 * MS);
		if (lock == 1)
			hold(0, 150 * MS);
		assert_int_equal(counted(), 70 * MS);
		/* a machine with a CPU to spare */
		scene_begin(150 * MS, 0);
		wait_for(lock, 0, 150 * MS);
		if (lock == 1)
			hold(0, 150 * MS);
		assert_int_equal(counted(), 150 * MS);
	}
}

/* The hold took long because its thread had no CPU: until the last look at it, it had got 18 ms since its
 * birth. */
static void test_a_holder_without_a_cpu(void **state)
{
	(void)state;
	scene_begin(170 * MS, 100 * MS);
	wait_for(1, 0, 170 * MS);
	hold(0, 170 * MS);
	look(WORKER, 120 * MS, 18 * MS, 400 * MS);
	look(WORKER, 160 * MS, 18 * MS, 400 * MS);
	assert_in_range(counted(), 30 * MS, 45 * MS);
	/* it had run before, and between two looks in the hold not at all */
	scene_begin(170 * MS, 100 * MS);
	wait_for(1, 0, 170 * MS);
	hold(0, 170 * MS);
	look(WORKER, 10 * MS, 191 * MS, 400 * MS);
	look(WORKER, 160 * MS, 191 * MS, 400 * MS);
	assert_int_equal(counted(), 20 * MS);
	/* one that computed */
	scene_begin(170 * MS, 100 * MS);
	wait_for(1, 0, 170 * MS);
	hold(0, 170 * MS);
	look(WORKER, 10 * MS, 18 * MS, 400 * MS);
	look(WORKER, 165 * MS, 170 * MS, 400 * MS);
	assert_int_equal(counted(), 170 * MS);
	/* one that was blocked while it had the lock is to blame for that */
	scene_begin(170 * MS, 0);
	wait_for(1, 0, 170 * MS);
	hold(0, 170 * MS);
	look(WORKER, 100 * MS, 18 * MS, 400 * MS);
	seen.samples.at[0].run = RUN_BLOCKED;
	look(WORKER, 160 * MS, 18 * MS, 400 * MS);
	assert_int_equal(counted(), 170 * MS);
}

/* The loop was woken, and then got no CPU: found awake in its wait, its delay told by the look after it. */
static void test_a_sleeper_that_was_woken(void **state)
{
	(void)state;
	scene_begin(56 * MS, -1);
	wait_for(2, 4 * MS, 56 * MS - 1000);
	look(LOOP, 16 * MS, 47 * MS, 472 * MS);
	look(LOOP, 56 * MS, 47 * MS, 514 * MS);
	assert_in_range(counted(), 4 * MS, 16 * MS);
	/* asleep when it was looked at: all of it is a wait, and in doubt, for it had no CPU for most of it
	 */
	scene_begin(56 * MS, -1);
	wait_for(2, 4 * MS, 56 * MS - 1000);
	look(LOOP, 16 * MS, 47 * MS, 472 * MS);
	seen.samples.at[0].run = RUN_BLOCKED;
	look(LOOP, 56 * MS, 47 * MS, 514 * MS);
	assert_in_range(counted(), 0, 5 * MS);
	/* with a CPU whenever it wanted one */
	scene_begin(56 * MS, -1);
	wait_for(2, 4 * MS, 56 * MS - 1000);
	look(LOOP, 16 * MS, 47 * MS, 472 * MS);
	seen.samples.at[0].run = RUN_BLOCKED;
	look(LOOP, 56 * MS, 47 * MS, 472 * MS);
	assert_in_range(counted(), 51 * MS, 56 * MS);
}

/* No wait at all, and two looks between which neither count grew. */
static void test_a_loop_that_is_not_yet_counted(void **state)
{
	(void)state;
	scene_begin(50 * MS, -1);
	look(LOOP, 15 * MS, 49 * MS, 821 * MS);
	look(LOOP, 49 * MS, 49 * MS, 821 * MS);
	assert_in_range(counted(), 0, 5 * MS);
	scene_begin(50 * MS, -1);
	look(LOOP, 15 * MS, 49 * MS, 821 * MS);
	look(LOOP, 49 * MS, 83 * MS, 821 * MS);
	assert_in_range(counted(), 45 * MS, 50 * MS);
}

/* It went on a little, then to sleep twice in a row: what the look there counts was there before. */
static void test_a_look_into_the_second_of_two_waits(void **state)
{
	(void)state;
	scene_begin(60 * MS, -1);
	look(LOOP, 5 * MS, 62 * MS, 305 * MS);
	wait_for(2, 40 * MS, 45 * MS);
	wait_for(2, 45 * MS + 10000, 60 * MS - 1000);
	look(LOOP, 46 * MS, 62 * MS + 140000, 339 * MS);
	seen.samples.at[1].run = RUN_BLOCKED;
	verdict_make(&verdict, &seen);
	const struct verdict_stall *stall = &verdict.processes.at[0].loops.at[0].stalls.at[0];
	uint64_t ran = 0, wanted = 0;
	for (size_t i = 0; i < stall->segments.n; i++) {
		ran += strcmp(stall->segments.at[i].cause, "cpu") ? 0 : stall->segments.at[i].ns;
		wanted += strcmp(stall->segments.at[i].cause, "runqueue") ? 0 : stall->segments.at[i].ns;
	}
	assert_in_range(wanted, 37 * MS, 40 * MS);
	assert_in_range(ran, 0, 2 * MS);
	verdict_free(&verdict);
	observations_free(&seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_lock_that_nobody_has),
		cmocka_unit_test(test_who_was_not_looked_at),
		cmocka_unit_test(test_a_holder_without_a_cpu),
		cmocka_unit_test(test_a_look_into_the_second_of_two_waits),
		cmocka_unit_test(test_a_sleeper_that_was_woken),
		cmocka_unit_test(test_a_loop_that_is_not_yet_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
