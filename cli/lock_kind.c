/* SPDX-License-Identifier: MIT
 *
 * Names of glibc's and musl's functions, without the underscores before them (nptl/, src/thread/).
 */
#include "lock_kind.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	const char *prefix;
	enum lock_kind kind;
	const char *name;
} functions[] = {
	{"pthread_mutex_", LOCK_MUTEX, NULL},
	{"mtx_", LOCK_MUTEX, NULL},
	{"lll_lock_wait", LOCK_MUTEX, NULL},
	{"pthread_rwlock_", LOCK_RWLOCK, NULL},
	{"sem_", LOCK_SEM, NULL},
	{"new_sem_wait", LOCK_SEM, NULL},
	{"pthread_cond_", LOCK_COND, NULL},
	{"cnd_", LOCK_COND, NULL},
	{"pthread_barrier_wait", LOCK_COND, "a barrier"},
	{"pthread_join", LOCK_FUTEX, LOCK_NAME_JOIN},
	{"pthread_clockjoin", LOCK_FUTEX, LOCK_NAME_JOIN},
	{"pthread_timedjoin", LOCK_FUTEX, LOCK_NAME_JOIN},
};

/* false: the stack does not tell. */
static bool stack_tells(const struct observations *o, uint32_t stack, struct obs_lock *lock)
{
	for (uint32_t i = o->stack_begin.at[stack - 1]; i < o->stack_begin.at[stack]; i++) {
		const struct frame *f = &o->frames.at[o->stack_frames.at[i] - 1];
		if (f->kind != FRAME_NATIVE)
			return false;
		const char *name = f->function ? f->function + strspn(f->function, "_") : "";
		for (size_t k = 0; k < LENGTH(functions); k++) {
			if (strncmp(name, functions[k].prefix, strlen(functions[k].prefix)))
				continue;
			lock->kind = functions[k].kind;
			if (!lock->name)
				lock->name = functions[k].name;
			return true;
		}
	}
	return false;
}

static struct obs_lock *lock_of(struct observations *o, uint32_t id)
{
	size_t low = 0, high = o->locks.n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (o->locks.at[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < o->locks.n && o->locks.at[low].id == id ? &o->locks.at[low] : NULL;
}

void lock_kinds_infer(struct observations *o)
{
	size_t from = 0;
	for (size_t i = 0; i < o->waits.n; i++) {
		const struct obs_wait *wait = &o->waits.at[i];
		struct obs_lock *lock = wait->what == WAIT_LOCK ? lock_of(o, wait->lock) : NULL;
		if (!lock || lock->kind != LOCK_FUTEX)
			continue;
		while (from < o->samples.n && o->samples.at[from].stall < wait->stall)
			from++;
		for (size_t k = from; k < o->samples.n && o->samples.at[k].stall == wait->stall; k++) {
			const struct obs_sample *s = &o->samples.at[k];
			bool waiter = s->run == RUN_BLOCKED && s->syscall && !strcmp(s->syscall, "futex") &&
				      s->time_ns >= wait->start_ns && s->time_ns <= wait->end_ns;
			if (waiter && s->stack && stack_tells(o, s->stack, lock))
				break;
		}
	}
}
