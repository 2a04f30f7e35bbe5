/* SPDX-License-Identifier: MIT
 *
 * Mutexes, condition variables, semaphores: each *_begin is called before the original, each *_end after it,
 * and only where the fast path in hooks.c has seen that something is to be seen.
 */
#ifndef WHYSTALL_LOCK_H
#define WHYSTALL_LOCK_H

#include <pthread.h>
#include <semaphore.h>

#include "shim.h"

struct wait {
	struct self *self; /* NULL: nothing to do at the end */
	uint64_t start;	   /* of the wait; of the release, for mutex_free */
	uint64_t since;	   /* when the lock was taken that is released, 0: not seen */
	uint64_t object;
	uint32_t owner;
	enum hook hook;
	struct now before;
};

/* Nonzero: somebody has it, or it is of a kind that must be looked at (hooks.c's fast path). */
static inline bool mutex_taken(const pthread_mutex_t *m)
{
	return __atomic_load_n(&m->__data.__lock, __ATOMIC_RELAXED) != 0;
}
/* 2: waiters; robust and priority-inheriting ones hold a tid here, with FUTEX_WAITERS. */
static inline bool mutex_wanted(const pthread_mutex_t *m)
{
	return (unsigned)__atomic_load_n(&m->__data.__lock, __ATOMIC_RELAXED) > 1;
}

/* What a read-write lock says of itself; 0 before glibc 2.25, when it was another structure. */
#define RWLOCK_READER_SHIFT 3
static inline uint32_t rwlock_word(const pthread_rwlock_t *l)
{
	return likely(shim.rwlocks) ? relaxed(l->__data.__readers) : 0;
}
/* A writer has it, or is about to. */
static inline bool rwlock_closed(const pthread_rwlock_t *l)
{
	return rwlock_word(l) & 2;
}
/* Somebody has it, or is about to. */
static inline bool rwlock_taken(const pthread_rwlock_t *l)
{
	return rwlock_closed(l) || rwlock_word(l) >> RWLOCK_READER_SHIFT;
}
/* Writers behind a writer count themselves where they come before readers, and else mark their futex as
 * used. */
static inline bool rwlock_writers(const pthread_rwlock_t *l)
{
	return relaxed(l->__data.__writers) || relaxed(l->__data.__writers_futex) & 2;
}
/* Maybe somebody waits for it: what is not simply a writer's. */
static inline bool rwlock_wanted(const pthread_rwlock_t *l)
{
	uint32_t word = rwlock_word(l);
	return word && (word != 3 || rwlock_writers(l));
}

void mutex_wait_begin(struct wait *, pthread_mutex_t *, enum hook, uintptr_t frame) HIDDEN;
void mutex_wait_end(struct wait *, pthread_mutex_t *, int result) HIDDEN;
void mutex_free_begin(struct wait *, pthread_mutex_t *, enum hook) HIDDEN;
void mutex_free_end(struct wait *, int result) HIDDEN;

/* Locks taken after a wait, and when: 0, not remembered. */
void taken_remember(struct self *, uintptr_t lock, uint64_t time) HIDDEN;
uint64_t taken_forget(struct self *, uintptr_t lock) HIDDEN;
/* A wait by a loop thread that is over. */
void wait_report(const struct wait *, uint64_t now) HIDDEN;

void rwlock_wait_begin(struct wait *, pthread_rwlock_t *, enum hook, uintptr_t frame) HIDDEN;
void rwlock_wait_end(struct wait *, pthread_rwlock_t *, int result, bool reads) HIDDEN;
void rwlock_free_begin(struct wait *, pthread_rwlock_t *, enum hook) HIDDEN;
void spin_wait_begin(struct wait *, pthread_spinlock_t *, enum hook, uintptr_t frame) HIDDEN;
void spin_wait_end(struct wait *, pthread_spinlock_t *, int result) HIDDEN;
void spin_free_begin(struct wait *, pthread_spinlock_t *, enum hook) HIDDEN;
void barrier_wait_begin(struct wait *, pthread_barrier_t *, enum hook, uintptr_t frame) HIDDEN;
void join_wait_begin(struct wait *, pthread_t, enum hook, uintptr_t frame) HIDDEN;
void futex_wait_begin(struct wait *, uint64_t word, enum hook, uintptr_t frame) HIDDEN;
void idle_wait_end(struct wait *) HIDDEN;
/* This thread has one that does not say who has it. */
void held_add(uintptr_t lock) HIDDEN;

void cond_wait_begin(struct wait *, pthread_cond_t *, pthread_mutex_t *, enum hook, uintptr_t frame) HIDDEN;
void cond_wait_end(struct wait *) HIDDEN;
void cond_signal(pthread_cond_t *, enum hook) HIDDEN;

void sem_wait_begin(struct wait *, sem_t *, enum hook, uintptr_t frame) HIDDEN;
void sem_wait_end(struct wait *, sem_t *, int result) HIDDEN;
void sem_take(sem_t *) HIDDEN;
void sem_free(sem_t *, enum hook) HIDDEN;
void sem_gone(sem_t *) HIDDEN;

/* The interpreter's locks (gil.c). -1: not one of them. */
static inline int lock_watched(uint64_t cond)
{
	for (int i = 0; i < (int)ARENA_LOCKS; i++) {
		/* freed is written last: once it is there, so is taken */
		uint64_t freed = acquire(shim.locks[i].freed);
		if (!freed)
			return -1;
		if (freed == cond || shim.locks[i].taken == cond)
			return i;
	}
	return -1;
}
void gil_wait_begin(struct wait *, int lock, uint64_t cond, enum hook, uintptr_t frame) HIDDEN;
void gil_wait_end(struct wait *) HIDDEN;
void gil_signal(struct self *, int lock, uint64_t cond, enum hook) HIDDEN;
/* The thread wanted the lock and does something else now. */
void gil_give_up(struct self *) HIDDEN;

#endif
