/* SPDX-License-Identifier: MIT
 *
 * Empties the threads' rings. What comes out was written by the target and is treated as hostile: unknown
 * kinds are skipped, times that cannot be are dropped, histories are bounded.
 */
#include <stdlib.h>
#include <string.h>

#include "../record/ring.h"
#include "watch_state.h"

#define HISTORY_MAX 65536u

bool now_read(const struct arena_thread *slot, struct now_copy *out)
{
	for (int tries = 0; tries < 8; tries++) {
		uint32_t before = LOAD(slot->now_seq);
		if (before & 1)
			continue;
		out->now = __atomic_load_n(&slot->now, __ATOMIC_RELAXED);
		out->hook = __atomic_load_n(&slot->now_hook, __ATOMIC_RELAXED);
		out->owner = __atomic_load_n(&slot->now_owner, __ATOMIC_RELAXED);
		out->since = __atomic_load_n(&slot->now_since, __ATOMIC_RELAXED);
		out->object = __atomic_load_n(&slot->now_object, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (LOAD(slot->now_seq) == before)
			return watch_hook_valid(out->hook);
	}
	return false;
}

static enum lock_kind lock_kind_of_hook(uint32_t hook)
{
	switch (watch_hook_class(hook)) {
	case HOOK_CLASS_SEM_WAIT:
	case HOOK_CLASS_SEM_TRY:
	case HOOK_CLASS_SEM_POST:
		return LOCK_SEM;
	case HOOK_CLASS_COND_WAIT:
	case HOOK_CLASS_COND_SIGNAL:
	case HOOK_CLASS_C11_WAIT:
	case HOOK_CLASS_BARRIER:
		return LOCK_COND;
	case HOOK_CLASS_RW_READ:
	case HOOK_CLASS_RW_WRITE:
	case HOOK_CLASS_RW_UNLOCK:
		return LOCK_RWLOCK;
	case HOOK_CLASS_JOIN:
	case HOOK_CLASS_FUTEX:
		return LOCK_FUTEX;
	default:
		return LOCK_MUTEX;
	}
}

/* Kinds for which the record has no number have a name. */
static const char *lock_name(uint32_t hook)
{
	switch (watch_hook_class(hook)) {
	case HOOK_CLASS_BARRIER:
		return "a barrier";
	case HOOK_CLASS_JOIN:
		return LOCK_NAME_JOIN;
	case HOOK_CLASS_SPIN_LOCK:
	case HOOK_CLASS_SPIN_UNLOCK:
		return "a spin lock";
	default:
		return NULL;
	}
}

uint32_t watch_lock_id(struct watch *w, struct watch_proc *p, uint64_t address, uint32_t hook)
{
	uint32_t last = w->next_id;
	struct watch_lock *lock = watch_lock_of(w, p, address, lock_kind_of_hook(hook));
	if (lock->id > last && lock_name(hook)) { /* it is new */
		struct obs_lock seen = {.id = lock->id,
					.process = p->seen.id,
					.kind = lock->kind,
					.address = address,
					.name = lock_name(hook)};
		writer_put_lock(w->writer, &seen);
	}
	return lock->id;
}

/* A read-write lock does not know its readers, nor a spin lock who has it: their threads' slots do. */
static struct watch_thread *thread_holding(struct watch *w, struct watch_thread *waiter, uint64_t lock)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (t == waiter || !t->live || t->proc != waiter->proc)
			continue;
		for (unsigned k = 0; k < ARENA_HELD; k++)
			if (lock && LOAD(t->slot->held[k]) == lock)
				return t;
	}
	return NULL;
}

static struct watch_thread *thread_of_id(struct watch *w, uint32_t id)
{
	for (size_t i = 0; id && i < w->threads.n; i++)
		if (w->threads.at[i]->seen.id == id)
			return w->threads.at[i];
	return NULL;
}

struct watch_thread *watch_owner(struct watch *w, struct watch_thread *t, const struct now_copy *now)
{
	struct obs_wait wait = {.start_ns = now->since};
	if (watch_lock_asked(t, &wait) && (wait.owner || wait.self_owned))
		return thread_of_id(w, wait.owner);
	if (now->owner)
		return now->owner == (uint32_t)t->seen.tid ? NULL
							   : watch_thread_of(w, t->proc, (int)now->owner);
	enum hook_class class = watch_hook_class(now->hook);
	bool listed =
		class == HOOK_CLASS_RW_READ || class == HOOK_CLASS_RW_WRITE || class == HOOK_CLASS_SPIN_LOCK;
	return listed ? thread_holding(w, t, now->object) : NULL;
}

static void hold_event(struct watch *w, struct watch_thread *t, const struct arena_event *e)
{
	struct watch_proc *p = t->proc;
	if (p->holds.n >= HISTORY_MAX) {
		p->lost++;
		w->lost_events++;
		return;
	}
	struct watch_thread *holder = t;
	if (e->arg && e->arg != (uint32_t)t->slot->tid)
		holder = watch_thread_of(w, p, (int)e->arg);
	struct watch_hold *h = vec_push(&p->holds);
	h->lock = watch_lock_id(w, p, e->object, e->hook);
	h->thread_id = holder ? holder->seen.id : 0;
	h->start = e->start;
	h->end = e->time;
}

static void wait_event(struct watch *w, struct watch_thread *t, const struct arena_event *e)
{
	struct watch_loop *l = t->loop;
	if (!l || e->start > e->time)
		return;
	if (l->waits.n >= HISTORY_MAX) {
		t->proc->lost++;
		w->lost_events++;
		return;
	}
	struct obs_wait *wait = vec_push(&l->waits);
	wait->start_ns = e->start;
	wait->end_ns = e->time;
	if (e->kind == EV_CALL) {
		wait->what = WAIT_CALL;
		wait->syscall = watch_hook_call(e->hook);
		wait->target = e->start == l->call_since ? l->call_target : NULL;
		return;
	}
	if (e->kind != EV_WAIT) {
		wait->what = e->kind == EV_STOPPED ? WAIT_STOPPED
			     : e->kind == EV_FAULT ? WAIT_FAULT
						   : WAIT_RUNQUEUE;
		return;
	}
	wait->what = WAIT_LOCK;
	if (watch_lock_asked(t, wait))
		return;
	wait->lock = watch_lock_id(w, t->proc, e->object, e->hook);
	wait->self_owned = e->arg && e->arg == (uint32_t)t->slot->tid;
	if (e->arg && !wait->self_owned) {
		struct watch_thread *owner = watch_thread_of(w, t->proc, (int)e->arg);
		wait->owner = owner ? owner->seen.id : 0;
	}
}

static void event_take(struct watch *w, struct watch_thread *t, const struct arena_event *e)
{
	if (!watch_hook_valid(e->hook) || e->time > w->now + NS || (e->start && e->start > e->time))
		return;
	switch (e->kind) {
	case EV_TICK:
		watch_tick_event(w, t, e);
		break;
	case EV_READY:
		watch_ready_event(w, t, e);
		break;
	case EV_LOOP_END:
		watch_loop_end_event(w, t, e);
		break;
	case EV_WAIT:
	case EV_CALL:
	case EV_RUNQUEUE:
	case EV_STOPPED:
	case EV_FAULT:
		wait_event(w, t, e);
		break;
	case EV_HOLD:
		hold_event(w, t, e);
		break;
	default:
		break;
	}
}

void watch_events(struct watch *w)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!t->live)
			continue;
		struct arena_thread *slot = t->slot;
		struct arena_event e;
		for (uint32_t n = 0; n < 4 * ARENA_RING && ring_take(slot, &e);
		     n++) /* who never stops is taken up again */
			event_take(w, t, &e);
		uint64_t dropped = LOAD(slot->dropped);
		if (dropped != t->dropped) {
			t->proc->lost += dropped - t->dropped;
			w->lost_events += dropped - t->dropped;
			t->dropped = dropped;
		}
	}
}

/* Forgets the holds that no tick under way (or just ended) can need. */
void watch_prune(struct watch *w)
{
	for (size_t i = 0; i < w->procs.n; i++) {
		struct watch_proc *p = w->procs.at[i];
		if (p->holds.n < 256)
			continue;
		uint64_t oldest = w->now > NS / 10 ? w->now - NS / 10 : 0;
		for (size_t k = 0; k < w->threads.n; k++) {
			struct watch_thread *t = w->threads.at[k];
			if (t->proc != p || !t->loop)
				continue;
			if (t->loop->now.seen.start_ns && t->loop->now.seen.start_ns < oldest)
				oldest = t->loop->now.seen.start_ns;
			uint64_t tick = t->live ? watch_tick_now(t) : 0;
			if (tick && tick < oldest)
				oldest = tick;
			for (size_t j = 0; j < t->loop->ended.n; j++)
				if (t->loop->ended.at[j].seen.start_ns < oldest)
					oldest = t->loop->ended.at[j].seen.start_ns;
		}
		size_t kept = 0;
		for (size_t k = 0; k < p->holds.n; k++)
			if (p->holds.at[k].end >= oldest)
				p->holds.at[kept++] = p->holds.at[k];
		p->holds.n = kept;
	}
}
