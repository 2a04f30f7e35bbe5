/* SPDX-License-Identifier: MIT
 *
 * Which test a stall belongs to: by most of its time, over processes and their children.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/mark.h"

static struct obs_process processes[] = {
	{.id = 1, .pid = 100, .ppid = 1, .start_ns = 10},
	{.id = 2, .pid = 200, .ppid = 100, .start_ns = 20},  /* a child that says nothing */
	{.id = 3, .pid = 300, .ppid = 200, .start_ns = 30},  /* its child */
	{.id = 4, .pid = 400, .ppid = 100, .start_ns = 40},  /* a worker of a test runner */
	{.id = 5, .pid = 100, .ppid = 1, .start_ns = 1000},  /* the first one's pid again */
	{.id = 6, .pid = 600, .ppid = 6000, .start_ns = 50}, /* nobody's that we know */
	{.id = 7, .pid = 700, .ppid = 700, .start_ns = 60},  /* a record that leads in a circle */
};
static struct obs_mark marks[] = {
	{1, 1, 100, "one"}, {2, 1, 200, "two"}, {3, 1, 300, ""}, {4, 1, 400, "three"}, {5, 4, 150, "worker"},
};
static const struct observations seen = {.processes = {processes, LENGTH(processes), 0},
					 .marks = {marks, LENGTH(marks), 0}};

#define FOUND(process, start, end) mark_find(&seen, &processes[(process)-1], start, end)

static void test_most_of_its_time(void **state)
{
	(void)state;
	assert_null(FOUND(1, 10, 90));
	assert_string_equal(FOUND(1, 10, 110), "one");
	assert_string_equal(FOUND(1, 100, 101), "one");
	assert_string_equal(FOUND(1, 199, 260), "two");
	assert_string_equal(FOUND(1, 101, 210), "one");
	assert_null(FOUND(1, 300, 400));
	assert_string_equal(FOUND(1, 295, 400), "two"); /* none at all is no test */
	assert_string_equal(FOUND(1, 380, 5000), "three");
	assert_null(FOUND(1, 150, 150));
}

static void test_processes(void **state)
{
	(void)state;
	assert_string_equal(FOUND(2, 110, 120), "one");
	assert_string_equal(FOUND(3, 210, 220), "two");
	assert_string_equal(FOUND(4, 210, 220), "worker");
	assert_null(FOUND(4, 110, 120)); /* it speaks for itself */
	assert_null(FOUND(6, 110, 120));
	assert_null(FOUND(7, 110, 120));
	assert_null(mark_find(&(struct observations){0}, &processes[0], 1, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_most_of_its_time),
		cmocka_unit_test(test_processes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
