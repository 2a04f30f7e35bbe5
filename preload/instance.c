/* SPDX-License-Identifier: MIT
 *
 * Counts the waiters of each epoll instance. As long as one thread alone waits on it, or one after the other
 * does (a loop that is set up in one thread and runs in another), each thread's ticks are its own; once they
 * take turns or wait at the same time, the instance is the loop.
 */
#include "instance.h"

#include <string.h>

static bool changed(struct arena_instance *i, uint64_t *was, uint64_t next)
{
	return __atomic_compare_exchange_n(&i->state, was, next, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static uint32_t slot_number(const struct self *s)
{
	return (uint32_t)(s->slot - shim.arena->thread) + 1;
}

static void entry_set(struct self *s, uint32_t entry)
{
	s->loop_entry = (int)entry;
	s->generation = INSTANCE_GENERATION(relaxed(shim.proc->instance[entry].state));
	store(s->slot->loop_entry, entry + 1);
}

void instance_take(struct self *s, int32_t fd)
{
	uint32_t high = relaxed(shim.proc->loop_fds_high);
	for (uint32_t i = 0; i < high; i++)
		if (relaxed(shim.proc->loop_fds[i]) == fd) {
			entry_set(s, i);
			return;
		}
	for (uint32_t i = 0; i < ARENA_LOOP_FDS; i++) {
		int32_t there = 0;
		if (!__atomic_compare_exchange_n(&shim.proc->loop_fds[i], &there, fd, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED) &&
		    there != fd)
			continue;
		high = relaxed(shim.proc->loop_fds_high);
		while (high < i + 1 &&
		       !__atomic_compare_exchange_n(&shim.proc->loop_fds_high, &high, i + 1, false,
						    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			;
		entry_set(s, i);
		return;
	}
}

bool instance_gone(const struct self *s)
{
	if (s->loop_entry < 0)
		return false;
	return relaxed(shim.proc->loop_fds[s->loop_entry]) != (int32_t)s->slot->loop_object ||
	       INSTANCE_GENERATION(relaxed(shim.proc->instance[s->loop_entry].state)) != s->generation;
}

/* When the thread in that slot took the last events, if it is still at it. */
static uint64_t tick_of(uint32_t owner)
{
	return owner && owner <= ARENA_THREADS ? acquire(shim.arena->thread[owner - 1].tick_start) : 0;
}

uint64_t instance_enter(struct self *s, uint32_t *whose)
{
	uint32_t me = slot_number(s);
	*whose = 0;
	if (s->loop_entry < 0)
		return s->slot->tick_start;
	if (s->waiting) /* it was thrown out of its last wait (siglongjmp) and never left it */
		return 0;
	struct arena_instance *i = &shim.proc->instance[s->loop_entry];
	uint64_t was = relaxed(i->state), next, start;
	do {
		uint32_t waiters = INSTANCE_WAITERS(was), owner = INSTANCE_OWNER(was),
			 turns = INSTANCE_TURNS(was);
		if (INSTANCE_GENERATION(was) != s->generation)
			return 0;
		if (waiters)
			turns = INSTANCE_SHARED;
		else if (owner && owner != me && turns < INSTANCE_SHARED)
			turns++;
		start = 0;
		*whose = 0;
		if (!waiters && owner == me) {
			start = s->slot->tick_start;
		} else if (!waiters && turns == INSTANCE_SHARED) {
			start = tick_of(owner);
			*whose = start ? (uint32_t)shim.arena->thread[owner - 1].tid : 0;
		}
		next = INSTANCE_STATE(waiters + 1, owner, turns, s->generation, INSTANCE_SERIAL(was) + 1);
	} while (!changed(i, &was, next));
	s->waiting = true;
	return start;
}

/* The thread is no longer among the waiters; `ends`: nor the owner of a tick. Returns how many wait on. */
static uint32_t waiter_remove(struct self *s, bool ends)
{
	uint32_t me = slot_number(s), waiters, owner;
	struct arena_instance *i = &shim.proc->instance[s->loop_entry];
	uint64_t was = relaxed(i->state), next;
	do {
		if (INSTANCE_GENERATION(was) != s->generation)
			return 0;
		waiters = INSTANCE_WAITERS(was);
		owner = INSTANCE_OWNER(was);
		if (s->waiting && waiters)
			waiters--;
		if (ends)
			owner = s->waiting || owner == me ? 0 : owner;
		else if (!waiters)
			owner = me;
		next = INSTANCE_STATE(waiters, owner, INSTANCE_TURNS(was), s->generation,
				      INSTANCE_SERIAL(was) + 1);
	} while (!changed(i, &was, next));
	s->waiting = false;
	return waiters;
}

bool instance_leave(struct self *s)
{
	return s->loop_entry < 0 || waiter_remove(s, false) == 0;
}

void instance_abandon(struct self *s)
{
	if (s->loop_entry >= 0)
		waiter_remove(s, true);
	s->loop_entry = -1; /* the slot's stays: to the end the thread's ticks were that loop's */
	s->waiting = false;
}

void instance_close(uint32_t entry)
{
	struct arena_instance *i = &shim.proc->instance[entry];
	uint64_t was = relaxed(i->state);
	while (!changed(i, &was,
			INSTANCE_STATE(0, 0, 0, INSTANCE_GENERATION(was) + 1, INSTANCE_SERIAL(was) + 1)))
		;
	release(shim.proc->loop_fds[entry], 0);
}

void instances_clear(struct arena_proc *p)
{
	p->loop_fds_high = 0;
	memset(p->loop_fds, 0, sizeof(p->loop_fds));
	memset(p->instance, 0, sizeof(p->instance));
}
