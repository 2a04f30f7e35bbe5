/* SPDX-License-Identifier: MIT
 *
 * Which holds belong to which waits: against a plain search, and for as many as a stall may have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/watch_hold.h"

enum { LOOP = 1, LOCK = 7, OTHER = 8 };

static struct obs_wait wait_of(uint32_t lock, uint64_t start, uint64_t end)
{
	return (struct obs_wait){.what = WAIT_LOCK, .lock = lock, .start_ns = start, .end_ns = end};
}

static void test_each_hold_once(void **state)
{
	(void)state;
	const struct watch_hold holds[] = {
		{LOCK, 2, 100, 200},	{LOCK, 3, 210, 300}, {OTHER, 4, 100, 300},
		{LOCK, LOOP, 120, 130}, {LOCK, 5, 400, 500}, {LOCK, 6, 10, 40},
	};
	struct hold_index index;
	holds_t out = {0};
	hold_index_make(&index, holds, LENGTH(holds), 50, 350, LOOP);
	struct obs_wait first = wait_of(LOCK, 110, 150), second = wait_of(LOCK, 160, 305);
	assert_true(hold_index_find(&index, &first, &out));
	assert_int_equal(out.n, 1);
	assert_true(hold_index_find(&index, &second, &out)); /* the first hold reaches into it too */
	assert_int_equal(out.n, 2);
	assert_int_equal(out.at[0].thread, 2);
	assert_int_equal(out.at[1].thread, 3);
	assert_false(out.at[1].at_least);
	struct obs_wait none = wait_of(LOCK, 310, 340);
	assert_false(hold_index_find(&index, &none, &out));
	hold_index_free(&index);
	vec_free(&out);
}

/* A hold of which only the end was seen is the wait's only if nobody else was. */
static void test_holds_without_a_beginning(void **state)
{
	(void)state;
	const struct watch_hold holds[] = {{LOCK, 2, 0, 200}, {LOCK, 3, 0, 300}};
	struct hold_index index;
	holds_t out = {0};
	hold_index_make(&index, holds, LENGTH(holds), 50, 350, LOOP);
	struct obs_wait let = wait_of(LOCK, 110, 205), given_up = wait_of(LOCK, 210, 250);
	assert_true(hold_index_find(&index, &let, &out));
	assert_int_equal(out.n, 1);
	assert_int_equal(out.at[0].thread, 2);
	assert_int_equal(out.at[0].start_ns, 110);
	assert_true(out.at[0].at_least);
	assert_true(hold_index_find(&index, &given_up, &out));
	assert_int_equal(out.n, 2);
	assert_int_equal(out.at[1].thread, 3);
	hold_index_free(&index);
	vec_free(&out);
}

/* As many as are kept of a process and of a loop; a search of all by all would take minutes. */
static void test_as_many_as_there_may_be(void **state)
{
	(void)state;
	enum { MANY = 65536 };
	struct watch_hold *holds = xcalloc(MANY, sizeof *holds);
	struct hold_index index;
	holds_t out = {0};
	for (uint32_t i = 0; i < MANY; i++)
		holds[i] = (struct watch_hold){LOCK, 2 + i % 9, 1000 + 10 * i, 1009 + 10 * i};
	hold_index_make(&index, holds, MANY, 1, 10000000, LOOP);
	for (uint64_t i = 0; i < MANY; i++) {
		struct obs_wait wait = wait_of(LOCK, 1001 + 10 * i, 1010 + 10 * i);
		assert_true(hold_index_find(&index, &wait, &out));
		assert_int_equal(out.n, i + 1);
		assert_int_equal(out.at[i].start_ns, 1000 + 10 * i);
	}
	hold_index_free(&index);
	vec_free(&out);
	free(holds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_hold_once),
		cmocka_unit_test(test_holds_without_a_beginning),
		cmocka_unit_test(test_as_many_as_there_may_be),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
