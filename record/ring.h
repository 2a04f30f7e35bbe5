/* SPDX-License-Identifier: MIT
 *
 * How a thread appends an event to its ring and how the recorder takes it out: one producer, one consumer, no
 * waiting. The producer owns head, the consumer tail; whoever moves one of them releases what it wrote or
 * read before.
 */
#ifndef WHYSTALL_RING_H
#define WHYSTALL_RING_H

#include <stdbool.h>

#include "arena.h"

/* False: the ring is full (the caller counts it). */
static inline bool ring_push(struct arena_thread *t, const struct arena_event *e)
{
	uint32_t head = __atomic_load_n(&t->head, __ATOMIC_RELAXED);
	if (head - __atomic_load_n(&t->tail, __ATOMIC_ACQUIRE) >= ARENA_RING)
		return false;
	t->ring[head & (ARENA_RING - 1)] = *e;
	__atomic_store_n(&t->head, head + 1, __ATOMIC_RELEASE);
	return true;
}

/* False: nothing more. The producer is not trusted: a head that cannot be skips what it claims to have
 * written. */
static inline bool ring_take(struct arena_thread *t, struct arena_event *e)
{
	uint32_t head = __atomic_load_n(&t->head, __ATOMIC_ACQUIRE),
		 tail = __atomic_load_n(&t->tail, __ATOMIC_RELAXED);
	if (head == tail)
		return false;
	if (head - tail > ARENA_RING)
		tail = head - ARENA_RING;
	*e = t->ring[tail & (ARENA_RING - 1)];
	__atomic_store_n(&t->tail, tail + 1, __ATOMIC_RELEASE);
	return true;
}

#endif
