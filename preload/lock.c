/* SPDX-License-Identifier: MIT
 *
 * Mutexes and ordinary condition variables. Whether a mutex is taken, wanted and by whom is read from the
 * mutex itself: glibc's sysdeps/x86/nptl/bits/struct_mutex.h (layout) and nptl/pthreadP.h,
 * nptl/pthread_mutex_lock.c (the word is 0 free, 1 taken, 2 taken and wanted; the owner's tid, FUTEX_WAITERS
 * and FUTEX_OWNER_DIED in robust and priority-inheriting ones; a ceiling in priority-protected ones). Both
 * have been the same since glibc 2.4.
 */
#include <errno.h>
#include <linux/futex.h>

#include "lock.h"

/* nptl/pthreadP.h */
enum {
	KIND_MASK = 3, /* normal, recursive, error-checking, adaptive */
	KIND_RECURSIVE = 1,
	KIND_ERRORCHECK = 2,
	KIND_ROBUST = 16,
	KIND_INHERIT = 32,
	KIND_PROTECT = 64,
};

static uint32_t mutex_owner(const pthread_mutex_t *m)
{
	if (m->__data.__kind & (KIND_ROBUST | KIND_INHERIT))
		return (uint32_t)m->__data.__lock & FUTEX_TID_MASK;
	return (uint32_t)m->__data.__owner;
}

static bool mutex_has_waiters(const pthread_mutex_t *m)
{
	uint32_t word = (uint32_t)__atomic_load_n(&m->__data.__lock, __ATOMIC_RELAXED);
	if (m->__data.__kind & KIND_PROTECT)
		return false;
	if (m->__data.__kind & (KIND_ROBUST | KIND_INHERIT))
		return word & FUTEX_WAITERS;
	return word == 2;
}

void taken_remember(struct self *s, uintptr_t lock, uint64_t time)
{
	uint32_t i = s->taken_next++ % TAKEN;
	s->taken[i].lock = lock;
	s->taken[i].time = time;
}

uint64_t taken_forget(struct self *s, uintptr_t lock)
{
	uint64_t time = 0;
	for (uint32_t i = 0; i < TAKEN; i++)
		if (s->taken[i].lock == lock) {
			time = s->taken[i].time;
			s->taken[i].lock = 0;
		}
	return time;
}

void mutex_wait_begin(struct wait *w, pthread_mutex_t *m, enum hook hook, uintptr_t frame)
{
	w->self = NULL;
	int kind = m->__data.__kind;
	struct self *s = self_get();
	if (!s || (kind & KIND_PROTECT))
		return;
	uint32_t owner = mutex_owner(m);
	/* taken again by its owner: counted, or refused; only a normal one waits, for ever */
	if (owner == (uint32_t)s->tid &&
	    ((kind & KIND_MASK) == KIND_RECURSIVE || (kind & KIND_MASK) == KIND_ERRORCHECK))
		return;
	if (!owner && (kind & KIND_ROBUST)) /* its owner died: free for the next */
		return;
	w->start = clock_read();
	w->object = (uintptr_t)m;
	w->owner = owner;
	w->hook = hook;
	w->self = s;
	now_begin(s, &w->before, NOW_LOCK, hook, w->start, w->object, owner, frame);
}

void wait_report(const struct wait *w, uint64_t now)
{
	if (w->self->loop && now - w->start >= shim.arena->call_ns)
		event_push(w->self, EV_WAIT, w->hook, w->start, now, w->object, w->owner);
}

void mutex_wait_end(struct wait *w, pthread_mutex_t *m, int result)
{
	if (!w->self)
		return;
	uint64_t now = clock_read();
	now_end(w->self, &w->before);
	/* Only where the word says so does the release come by mutex_free_begin, which forgets it again. */
	if ((result == 0 || result == EOWNERDEAD) && mutex_wanted(m)) {
		taken_forget(w->self, (uintptr_t)m);
		taken_remember(w->self, (uintptr_t)m, now);
	}
	wait_report(w, now);
}

void mutex_free_begin(struct wait *w, pthread_mutex_t *m, enum hook hook)
{
	w->self = NULL;
	if ((m->__data.__kind & KIND_MASK) == KIND_RECURSIVE && m->__data.__count > 1)
		return;
	struct self *s = self_get();
	if (!s)
		return;
	w->since = taken_forget(s, (uintptr_t)m);
	if (!mutex_has_waiters(m))
		return;
	w->start = clock_read();
	w->object = (uintptr_t)m;
	w->hook = hook;
	w->self = s;
}

/* After the release: the mutex may be gone. */
void mutex_free_end(struct wait *w, int result)
{
	if (w->self && result == 0)
		event_push(w->self, EV_HOLD, w->hook, w->since, w->start, w->object, (uint32_t)w->self->tid);
}

void cond_wait_begin(struct wait *w, pthread_cond_t *c, pthread_mutex_t *m, enum hook hook, uintptr_t frame)
{
	w->self = NULL;
	w->since = 0;
	int lock = lock_watched((uintptr_t)c);
	if (lock >= 0) {
		gil_wait_begin(w, lock, (uintptr_t)c, hook, frame);
		return;
	}
	/* The wait releases the mutex, unseen by the wrapper of unlock. */
	if (mutex_wanted(m)) {
		struct wait free;
		mutex_free_begin(&free, m, hook);
		mutex_free_end(&free, 0);
	}
	if (!self.loop)
		return;
	struct self *s = self_get();
	if (!s)
		return;
	w->start = clock_read();
	w->object = (uintptr_t)c;
	w->owner = 0;
	w->hook = hook;
	w->self = s;
	now_begin(s, &w->before, NOW_LOCK, hook, w->start, w->object, 0, frame);
}

void cond_wait_end(struct wait *w)
{
	if (!w->self)
		return;
	if (w->since) {
		gil_wait_end(w);
		return;
	}
	uint64_t now = clock_read();
	now_end(w->self, &w->before);
	wait_report(w, now);
}

void cond_signal(pthread_cond_t *c, enum hook hook)
{
	int lock = lock_watched((uintptr_t)c);
	struct self *s = lock >= 0 ? self_get() : NULL;
	if (s)
		gil_signal(s, lock, (uintptr_t)c, hook);
}
