/* SPDX-License-Identifier: MIT
 *
 * Epoll instances that several threads wait on: the rules of preload/instance.c.
 */
#ifndef WHYSTALL_PROBE_INSTANCE_H
#define WHYSTALL_PROBE_INSTANCE_H

#include "state.bpf.h"

#define CHANGES 16 /* tries to change a state that others change too */

/* The thread's instance. NULL: it has none, or that was closed. */
INLINE struct probe_instance *instance_of(struct probe_thread *t, struct probe_proc *p)
{
	uint32_t entry = t->loop_entry - 1;
	if (!t->loop_entry || entry >= ARENA_LOOP_FDS)
		return NULL;
	return &p->instance[entry & (ARENA_LOOP_FDS - 1)];
}

OUTLINE void instance_take(struct probe_thread *t, struct probe_proc *p, uint64_t object)
{
	uint32_t found = ARENA_LOOP_FDS;
	for (uint32_t i = 0; i < ARENA_LOOP_FDS && found == ARENA_LOOP_FDS; i++)
		if (p->instance[i].object == object)
			found = i;
	for (uint32_t i = 0; i < ARENA_LOOP_FDS && found == ARENA_LOOP_FDS; i++) {
		uint64_t was = __sync_val_compare_and_swap(&p->instance[i].object, 0, object);
		if (!was || was == object)
			found = i;
	}
	t->loop_entry = 0;
	if (found >= ARENA_LOOP_FDS)
		return;
	t->loop_entry = found + 1;
	t->enrolled = 0;
	t->generation = INSTANCE_GENERATION(p->instance[found].state);
}

INLINE bool instance_gone(struct probe_thread *t, struct probe_proc *p)
{
	struct probe_instance *i = instance_of(t, p);
	return i && (i->object != t->loop_object || INSTANCE_GENERATION(i->state) != t->generation);
}

/* When the tick began that the thread's coming ends, 0: none; *whose: of the thread in that entry + 1. */
OUTLINE uint64_t instance_enter(struct probe_thread *t, uint32_t index, struct probe_proc *p, uint32_t *whose)
{
	struct probe_instance *i = instance_of(t, p);
	uint32_t me = index + 1;
	*whose = 0;
	if (!i)
		return t->tick_start;
	if (t->enrolled)
		return 0;
	for (int k = 0; k < CHANGES; k++) {
		uint64_t was = i->state, start = 0;
		uint32_t waiters = INSTANCE_WAITERS(was), owner = INSTANCE_OWNER(was),
			 turns = INSTANCE_TURNS(was);
		struct probe_thread *other;
		if (INSTANCE_GENERATION(was) != t->generation)
			return 0;
		if (waiters)
			turns = INSTANCE_SHARED;
		else if (owner && owner != me && turns < INSTANCE_SHARED)
			turns++;
		*whose = 0;
		if (!waiters && owner == me) {
			start = t->tick_start;
		} else if (!waiters && turns == INSTANCE_SHARED && owner && (other = thread_at(owner - 1))) {
			start = other->tick_start;
			*whose = start ? owner : 0;
		}
		uint64_t next =
			INSTANCE_STATE(waiters + 1, owner, turns, t->generation, INSTANCE_SERIAL(was) + 1);
		if (__sync_val_compare_and_swap(&i->state, was, next) != was)
			continue;
		t->enrolled = 1;
		return start;
	}
	return 0;
}

/* The thread is no longer among the waiters; `ends`: nor the owner of a tick. Returns how many wait on. */
OUTLINE uint32_t instance_leave(struct probe_thread *t, uint32_t index, struct probe_proc *p, bool ends)
{
	struct probe_instance *i = instance_of(t, p);
	uint32_t me = index + 1;
	if (!i)
		return 0;
	for (int k = 0; k < CHANGES; k++) {
		uint64_t was = i->state;
		uint32_t waiters = INSTANCE_WAITERS(was), owner = INSTANCE_OWNER(was);
		if (INSTANCE_GENERATION(was) != t->generation)
			return 0;
		if (t->enrolled && waiters)
			waiters--;
		if (ends)
			owner = t->enrolled || owner == me ? 0 : owner;
		else if (!waiters)
			owner = me;
		uint64_t next = INSTANCE_STATE(waiters, owner, INSTANCE_TURNS(was), t->generation,
					       INSTANCE_SERIAL(was) + 1);
		if (__sync_val_compare_and_swap(&i->state, was, next) != was)
			continue;
		t->enrolled = 0;
		return waiters;
	}
	return 0;
}

/* A descriptor is closed: whoever waits on that instance has no loop any more. */
OUTLINE void instance_close(struct probe_proc *p, uint64_t object)
{
	for (uint32_t i = 0; i < ARENA_LOOP_FDS; i++) {
		if (p->instance[i].object != object)
			continue;
		uint64_t was = p->instance[i].state;
		p->instance[i].state =
			INSTANCE_STATE(0, 0, 0, INSTANCE_GENERATION(was) + 1, INSTANCE_SERIAL(was) + 1);
		p->instance[i].object = 0;
	}
}

#endif
