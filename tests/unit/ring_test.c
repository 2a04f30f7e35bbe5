/* SPDX-License-Identifier: MIT
 *
 * The ring between a thread and the recorder: order, loss, hostile heads, and both ends at once (make check
 * runs it under TSan too).
 */
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#include "record/ring.h"

#define EVENTS 300000u

static struct arena_thread *thread_new(void)
{
	void *t = NULL;
	assert_int_equal(posix_memalign(&t, 4096, sizeof(struct arena_thread)), 0);
	__builtin_memset(t, 0, sizeof(struct arena_thread));
	return t;
}

static void test_order_and_loss(void **state)
{
	(void)state;
	struct arena_thread *t = thread_new();
	struct arena_event e = {0};
	assert_false(ring_take(t, &e));
	t->head = t->tail = UINT32_MAX - 100; /* it wraps meanwhile */
	for (uint32_t i = 0; i < ARENA_RING; i++) {
		e.time = i;
		assert_true(ring_push(t, &e));
	}
	assert_false(ring_push(t, &e));
	for (uint32_t i = 0; i < ARENA_RING; i++) {
		assert_true(ring_take(t, &e));
		assert_int_equal(e.time, i);
	}
	assert_false(ring_take(t, &e));
	free(t);
}

static void test_hostile_head(void **state)
{
	(void)state;
	struct arena_thread *t = thread_new();
	struct arena_event e;
	uint32_t n = 0;
	t->head = 0x80000000u;
	while (ring_take(t, &e))
		n++;
	assert_int_equal(n, ARENA_RING);
	free(t);
}

static uint32_t done;

static void *produce(void *arg)
{
	struct arena_thread *t = arg;
	for (uint32_t i = 1; i <= EVENTS; i++) {
		struct arena_event e = {.time = i, .start = i * 3ull, .object = ~(uint64_t)i};
		if (!ring_push(t, &e))
			t->dropped++;
	}
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void test_both_ends_at_once(void **state)
{
	(void)state;
	struct arena_thread *t = thread_new();
	struct arena_event e;
	pthread_t producer;
	uint64_t last = 0, taken = 0;
	assert_int_equal(pthread_create(&producer, NULL, produce, t), 0);
	for (;;) {
		bool ended = __atomic_load_n(&done, __ATOMIC_ACQUIRE);
		if (!ring_take(t, &e)) {
			if (ended)
				break;
			continue;
		}
		assert_true(e.time > last && e.start == e.time * 3 && e.object == ~e.time);
		last = e.time;
		taken++;
	}
	pthread_join(producer, NULL);
	assert_true(taken > 0);
	assert_int_equal(taken + t->dropped, EVENTS);
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_loss),
		cmocka_unit_test(test_hostile_head),
		cmocka_unit_test(test_both_ends_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
