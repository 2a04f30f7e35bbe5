/* SPDX-License-Identifier: MIT
 *
 * Semaphores do not know who took them, so the process's slot keeps a table of the last takers, open
 * addressing by address, at most SEM_PROBE steps. CPython's threading.Lock is one (up to 3.12), and may be
 * released by another thread than took it. The layout is glibc's struct new_sem with 64-bit atomics
 * (sysdeps/nptl/internaltypes.h, since 2.21): the low half of the first word is the value, the high half the
 * number of waiters.
 */
#include "lock.h"

#define SEM_PROBE 8

static uint64_t sem_word(const sem_t *sem)
{
	return __atomic_load_n((const uint64_t *)sem, __ATOMIC_RELAXED);
}

/* Entries of an earlier process in this slot count as empty: `spare` is the serial of the process that wrote
 * one. */
static bool sem_is(const struct arena_sem *e, uint64_t address)
{
	return relaxed(e->address) == address && relaxed(e->spare) == shim.proc->serial;
}

static bool sem_claim(struct arena_sem *e, uint64_t address)
{
	uint64_t old = relaxed(e->address);
	if (old && relaxed(e->spare) == shim.proc->serial)
		return false;
	if (!__atomic_compare_exchange_n(&e->address, &old, address, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return old == address;
	store(e->since, 0);
	release(e->spare, shim.proc->serial);
	return true;
}

static struct arena_sem *sem_find(const sem_t *sem, bool make)
{
	uint64_t address = (uintptr_t)sem;
	uint32_t h = (uint32_t)((address >> 4) * 0x9e3779b97f4a7c15ull >> 32);
	struct arena_sem *table = shim.proc->sem;
	for (uint32_t i = 0; i < SEM_PROBE; i++)
		if (sem_is(&table[(h + i) % ARENA_SEMS], address))
			return &table[(h + i) % ARENA_SEMS];
	for (uint32_t i = 0; make && i < SEM_PROBE; i++)
		if (sem_claim(&table[(h + i) % ARENA_SEMS], address))
			return &table[(h + i) % ARENA_SEMS];
	if (make)
		__atomic_fetch_add(&shim.proc->sems_lost, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void sem_record(struct self *s, sem_t *sem, uint64_t now)
{
	struct arena_sem *e = sem_find(sem, true);
	if (!e)
		return;
	store(e->taker, (uint32_t)s->tid);
	release(e->since, now);
}

void sem_take(sem_t *sem)
{
	struct self *s = self_get();
	if (s)
		sem_record(s, sem, clock_read());
}

void sem_wait_begin(struct wait *w, sem_t *sem, enum hook hook, uintptr_t frame)
{
	struct self *s = self_get();
	w->self = NULL;
	if (!s)
		return;
	w->self = s;
	w->start = 0;
	if ((uint32_t)sem_word(sem)) /* free: only its taker is of interest */
		return;
	struct arena_sem *e = sem_find(sem, false);
	w->owner = e && acquire(e->since) ? relaxed(e->taker) : 0;
	w->object = (uintptr_t)sem;
	w->hook = hook;
	w->start = clock_read();
	now_begin(s, &w->before, NOW_LOCK, hook, w->start, w->object, w->owner, frame);
}

void sem_wait_end(struct wait *w, sem_t *sem, int result)
{
	struct self *s = w->self;
	if (!s)
		return;
	uint64_t now = clock_read();
	if (w->start)
		now_end(s, &w->before);
	if (result == 0)
		sem_record(s, sem, now);
	if (w->start && s->loop && now - w->start >= shim.arena->call_ns)
		event_push(s, EV_WAIT, w->hook, w->start, now, w->object, w->owner);
}

/* Before the post: afterwards another thread may have taken it, or it is gone. */
void sem_free(sem_t *sem, enum hook hook)
{
	bool wanted = sem_word(sem) >> 32;
	struct self *s = self_get();
	struct arena_sem *e = s ? sem_find(sem, false) : NULL;
	uint64_t since = e ? acquire(e->since) : 0;
	uint32_t taker = since ? relaxed(e->taker) : 0;
	if (since)
		store(e->since, 0);
	if (s && wanted)
		event_push(s, EV_HOLD, hook, since, clock_read(), (uintptr_t)sem, taker);
}

void sem_gone(sem_t *sem)
{
	struct arena_sem *e = shim.arena && self_get() ? sem_find(sem, false) : NULL;
	if (!e)
		return;
	store(e->since, 0);
	store(e->taker, 0);
	release(e->address, 0);
}
