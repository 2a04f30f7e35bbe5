/* SPDX-License-Identifier: MIT
 *
 * Read-write locks and spin locks. Whether one is taken and wanted is read from the lock itself, as glibc's
 * sysdeps/x86/nptl/bits/struct_rwlock.h (layout, since 2.25) and nptl/pthread_rwlock_common.c (states) have
 * it: a writer's tid is in the lock, readers and spinners are in nobody's books, so each thread's slot lists
 * the few that it has now.
 */
#include <errno.h>

#include "lock.h"

/* nptl/pthread_rwlock_common.c: the low bits of __readers; the rest counts readers, waiting ones in a write
 * phase. */
enum { WRITE_PHASE = 1, WRITE_LOCKED = 2, READERS_WAIT = 4 };

static bool rwlock_written(const pthread_rwlock_t *l)
{
	return (rwlock_word(l) & (WRITE_PHASE | WRITE_LOCKED)) == (WRITE_PHASE | WRITE_LOCKED);
}

static bool rwlock_has_waiters(const pthread_rwlock_t *l)
{
	uint32_t word = rwlock_word(l);
	if (rwlock_written(l))
		return word >> RWLOCK_READER_SHIFT || rwlock_writers(l);
	return word & (WRITE_LOCKED | READERS_WAIT);
}

void held_add(uintptr_t lock)
{
	struct self *s = self_get();
	if (!s)
		return;
	for (uint32_t i = 0; i < ARENA_HELD; i++)
		if (!relaxed(s->slot->held[i])) {
			store(s->slot->held[i], lock);
			s->held++;
			return;
		}
	__atomic_fetch_add(&shim.proc->held_lost, 1, __ATOMIC_RELAXED);
}

static void held_remove(struct self *s, uintptr_t lock)
{
	for (uint32_t i = 0; s->held && i < ARENA_HELD; i++)
		if (relaxed(s->slot->held[i]) == lock) {
			store(s->slot->held[i], 0);
			s->held--;
			return;
		}
}

static void wait_begin(struct wait *w, struct self *s, uintptr_t lock, uint32_t owner, enum hook hook,
		       uintptr_t frame)
{
	w->start = clock_read();
	w->object = lock;
	w->owner = owner;
	w->hook = hook;
	w->self = s;
	now_begin(s, &w->before, NOW_LOCK, hook, w->start, lock, owner, frame);
}

void rwlock_wait_begin(struct wait *w, pthread_rwlock_t *l, enum hook hook, uintptr_t frame)
{
	struct self *s = self_get();
	w->self = NULL;
	if (!s)
		return;
	uint32_t owner = rwlock_written(l) ? (uint32_t)relaxed(l->__data.__cur_writer) : 0;
	if (owner != (uint32_t)s->tid) /* else it is refused: EDEADLK */
		wait_begin(w, s, (uintptr_t)l, owner, hook, frame);
}

void rwlock_wait_end(struct wait *w, pthread_rwlock_t *l, int result, bool reads)
{
	if (w->self) {
		uint64_t now = clock_read();
		now_end(w->self, &w->before);
		if (result == 0 && !reads && rwlock_wanted(l)) {
			taken_forget(w->self, (uintptr_t)l);
			taken_remember(w->self, (uintptr_t)l, now);
			held_add((uintptr_t)l); /* so that its release is looked at, and forgets it again */
		}
		wait_report(w, now);
	}
	if (result == 0 && reads)
		held_add((uintptr_t)l);
}

void rwlock_free_begin(struct wait *w, pthread_rwlock_t *l, enum hook hook)
{
	struct self *s = self_get();
	w->self = NULL;
	if (!s)
		return;
	held_remove(s, (uintptr_t)l);
	w->since = taken_forget(s, (uintptr_t)l);
	if (!rwlock_has_waiters(l))
		return;
	w->start = clock_read();
	w->object = (uintptr_t)l;
	w->hook = hook;
	w->self = s;
}

/* A spin lock is 1 when free, 0 when taken, and less the more have tried since
 * (sysdeps/x86_64/nptl/pthread_spin_lock.S). */
void spin_wait_begin(struct wait *w, pthread_spinlock_t *l, enum hook hook, uintptr_t frame)
{
	struct self *s = self_get();
	w->self = NULL;
	if (s)
		wait_begin(w, s, (uintptr_t)l, 0, hook, frame);
}

void spin_wait_end(struct wait *w, pthread_spinlock_t *l, int result)
{
	if (w->self) {
		uint64_t now = clock_read();
		now_end(w->self, &w->before);
		wait_report(w, now);
	}
	if (result == 0)
		held_add((uintptr_t)l);
}

void spin_free_begin(struct wait *w, pthread_spinlock_t *l, enum hook hook)
{
	struct self *s = self_get();
	w->self = NULL;
	if (!s)
		return;
	held_remove(s, (uintptr_t)l);
	if (relaxed(*l) >= 0)
		return;
	w->since = 0;
	w->start = clock_read();
	w->object = (uintptr_t)l;
	w->hook = hook;
	w->self = s;
}

/* Waits for which nothing that we see is released: a futex, the end of a thread, a barrier. Only a loop's are
 * of interest. */
void futex_wait_begin(struct wait *w, uint64_t word, enum hook hook, uintptr_t frame)
{
	struct self *s = self_get();
	w->self = NULL;
	if (s)
		wait_begin(w, s, word, 0, hook, frame);
}

void barrier_wait_begin(struct wait *w, pthread_barrier_t *b, enum hook hook, uintptr_t frame)
{
	futex_wait_begin(w, (uintptr_t)b, hook, frame);
}

/* The tid is where join itself looks for it first; 0: it has ended. */
void join_wait_begin(struct wait *w, pthread_t t, enum hook hook, uintptr_t frame)
{
	struct self *s = self_get();
	w->self = NULL;
	if (!s)
		return;
	int32_t tid = tid_field() == s->tid ? tid_field_of(t) : -1;
	if (tid && tid != s->tid)
		wait_begin(w, s, t, tid < 0 ? 0 : (uint32_t)tid, hook, frame);
}

void idle_wait_end(struct wait *w)
{
	if (!w->self)
		return;
	uint64_t now = clock_read();
	now_end(w->self, &w->before);
	wait_report(w, now);
}
