/* SPDX-License-Identifier: MIT
 *
 * Interpreter locks made of a mutex and two condition variables, whose addresses the recorder has put into
 * the process's slot. CPython (Python/ceval_gil.c, FORCE_SWITCHING): take_gil waits on `freed` in slices of
 * the switch interval and signals `taken` once it has the lock; drop_gil signals `freed`, and if it was asked
 * to drop the lock waits on `taken` until another thread has it. All of that happens under the lock's own
 * mutex, so takes and releases are in order.
 */
#include "lock.h"

static uint32_t holder_tid(const struct arena_lock *l)
{
	uint32_t h = relaxed(l->holder);
	return h && h <= ARENA_THREADS ? (uint32_t)relaxed(shim.arena->thread[h - 1].tid) : 0;
}

/* A wait for `freed` is one slice of the wait that lasts until this thread signals `taken`; w->self stays
 * NULL. */
void gil_wait_begin(struct wait *w, int lock, uint64_t cond, enum hook hook, uintptr_t frame)
{
	struct arena_lock *l = &shim.locks[lock];
	struct self *s = self_get();
	w->self = NULL;
	if (!s)
		return;
	uint64_t now = clock_read(), freed = relaxed(l->freed);
	struct arena_thread *t = s->slot;
	if (cond != freed) { /* handing it over: a wait of its own */
		w->self = s;
		w->since = 1;
		w->start = now;
		w->object = freed;
		w->owner = 0;
		w->hook = hook;
		now_begin(s, &w->before, NOW_LOCK, hook, now, freed, 0, frame);
		return;
	}
	if (s->gil && s->gil != lock + 1)
		gil_give_up(s);
	if (!s->gil) {
		s->gil = lock + 1;
		store(t->lock_wait_start, now);
		__atomic_fetch_add(&l->waiters, 1, __ATOMIC_RELAXED);
	}
	s->gil_now = (struct now){t->lock_wait_start, freed, holder_tid(l), NOW_LOCK, (uint16_t)hook, 0};
	now_end(s, &s->gil_now);
}

void gil_wait_end(struct wait *w)
{
	uint64_t now = clock_read();
	now_end(w->self, &w->before);
	if (w->self->loop && now - w->start >= shim.arena->call_ns)
		event_push(w->self, EV_WAIT, w->hook, w->start, now, w->object, w->owner);
}

void gil_give_up(struct self *s)
{
	static const struct now running;
	if (!s->gil)
		return;
	__atomic_fetch_sub(&shim.locks[s->gil - 1].waiters, 1, __ATOMIC_RELAXED);
	s->gil = 0;
	store(s->slot->lock_wait_start, 0);
	now_end(s, &running);
}

static void gil_take(struct self *s, int lock, uint64_t now)
{
	struct arena_lock *l = &shim.locks[lock];
	struct arena_thread *t = s->slot;
	if (s->gil == lock + 1) {
		uint64_t start = t->lock_wait_start;
		uint32_t owner = s->gil_now.owner;
		enum hook hook = s->gil_now.hook; /* of the wait */
		store(t->lock_waits, t->lock_waits + 1);
		store(t->lock_waited_ns, t->lock_waited_ns + (now - start));
		gil_give_up(s);
		if (s->loop && now - start >= shim.arena->call_ns)
			event_push(s, EV_WAIT, hook, start, now, relaxed(l->freed), owner);
	}
	store(t->lock_holds, t->lock_holds + 1);
	store(l->since, now);
	release(l->holder, (uint32_t)(t - shim.arena->thread) + 1);
}

static void gil_free(struct self *s, int lock, uint64_t now, enum hook hook)
{
	struct arena_lock *l = &shim.locks[lock];
	struct arena_thread *t = s->slot;
	uint32_t me = (uint32_t)(t - shim.arena->thread) + 1;
	uint64_t since =
		relaxed(l->holder) == me ? relaxed(l->since) : 0; /* 0: its take was before we watched */
	if (since) {
		uint64_t held = now - since;
		store(t->lock_held_ns, t->lock_held_ns + held);
		if (held > t->lock_longest_ns)
			store(t->lock_longest_ns, held);
	}
	store(l->holder, 0);
	store(l->since, 0);
	if (relaxed(l->waiters))
		event_push(s, EV_HOLD, hook, since, now, relaxed(l->freed), (uint32_t)s->tid);
}

void gil_signal(struct self *s, int lock, uint64_t cond, enum hook hook)
{
	uint64_t now = clock_read();
	exit_unmark(s);
	if (relaxed(shim.locks[lock].freed) == cond)
		gil_free(s, lock, now, hook);
	else
		gil_take(s, lock, now);
}
