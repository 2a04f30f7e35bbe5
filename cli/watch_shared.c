/* SPDX-License-Identifier: MIT
 *
 * Loops that several threads share (design: which threads are loops): each of them is followed like any other
 * thread, but a tick is only under way while none of them waits, and all count for one loop.
 */
#include <stdlib.h>

#include "watch_state.h"

/* The state of the instance that a thread waits on, 0: it has none. */
static uint64_t state_of(const struct watch_thread *t, uint32_t *entry)
{
	*entry = LOAD(t->slot->loop_entry);
	if (!*entry || *entry > ARENA_LOOP_FDS)
		return 0;
	return LOAD(t->proc->slot->instance[*entry - 1].state);
}

/* The same, 0: it is not shared. */
static uint64_t state_shared(const struct watch_thread *t, uint32_t *entry)
{
	uint64_t state = state_of(t, entry);
	return INSTANCE_TURNS(state) >= INSTANCE_SHARED ? state : 0;
}

uint64_t watch_tick_now(const struct watch_thread *t)
{
	uint32_t entry;
	uint64_t tick = LOAD(t->slot->tick_start), state = state_of(t, &entry);
	bool shared = INSTANCE_TURNS(state) >= INSTANCE_SHARED;
	/* whoever waits on it now, it is not this thread, which has taken events: they serve it, and it is
	 * over */
	if (INSTANCE_WAITERS(state) || (shared && INSTANCE_OWNER(state) != t->slot_index + 1))
		return 0;
	return tick;
}

bool watch_shared_others(const struct watch_thread *t)
{
	uint32_t entry;
	uint64_t state = state_shared(t, &entry);
	return state && INSTANCE_WAITERS(state) != 1;
}

bool watch_shared_asleep(const struct watch_thread *t)
{
	uint32_t entry;
	return INSTANCE_WAITERS(state_shared(t, &entry));
}

void watch_shared_gone(const struct watch_thread *t)
{
	uint32_t entry = LOAD(t->slot->loop_entry);
	if (!entry || entry > ARENA_LOOP_FDS)
		return;
	uint64_t *state = &t->proc->slot->instance[entry - 1].state, was = LOAD(*state), next;
	do {
		uint32_t waiters = INSTANCE_WAITERS(was);
		next = INSTANCE_STATE(waiters ? waiters - 1 : 0, 0, INSTANCE_TURNS(was),
				      INSTANCE_GENERATION(was), INSTANCE_SERIAL(was) + 1);
	} while (!__atomic_compare_exchange_n(state, &was, next, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

struct obs_loop *watch_loop_seen(struct watch_thread *t)
{
	return t->loop->shared ? &t->loop->shared->seen : &t->loop->seen;
}

/* From now on the thread's waits count for that loop, NULL: for its own. */
static void shared_join(struct watch *w, struct watch_thread *t, struct watch_shared *s)
{
	watch_loop_put(w, t); /* what it counted so far is the former one's */
	t->loop->shared = s;
	t->loop->is_loop = false;
	if (s)
		s->seen.threads++;
}

/* The one that was a loop by itself, else the one that is asked about: its loop goes on as that of all. */
static struct watch_thread *shared_first(struct watch *w, struct watch_thread *t, uint32_t entry)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *other = w->threads.at[i];
		if (other->live && other->proc == t->proc && other->loop && other->loop->is_loop &&
		    !other->loop->shared && LOAD(other->slot->loop_entry) == entry)
			return other;
	}
	return t;
}

static struct watch_shared *shared_of(struct watch *w, struct watch_thread *t, uint32_t entry,
				      uint32_t generation)
{
	struct watch_proc *p = t->proc;
	for (size_t i = 0; i < p->shared.n; i++)
		if (p->shared.at[i]->entry == entry && p->shared.at[i]->generation == generation)
			return p->shared.at[i];
	struct watch_thread *first = shared_first(w, t, entry);
	struct watch_shared *s = *vec_push(&p->shared) = xcalloc(1, sizeof *s);
	s->entry = entry;
	s->generation = generation;
	shared_join(w, first, s);
	s->seen = first->loop->seen;
	first->loop->seen = (struct obs_loop){.id = ++w->next_id, .thread = first->seen.id, .threads = 1};
	return s;
}

void watch_share(struct watch *w, struct watch_thread *t)
{
	uint32_t entry;
	uint64_t state = state_shared(t, &entry);
	struct watch_shared *s = state ? shared_of(w, t, entry, INSTANCE_GENERATION(state)) : NULL;
	if (s != t->loop->shared)
		shared_join(w, t, s);
}

void watch_shared_forget(struct watch_proc *p)
{
	for (size_t i = 0; i < p->shared.n; i++)
		free(p->shared.at[i]);
	vec_free(&p->shared);
}

struct watch_thread *watch_loop_of_tid(struct watch *w, struct watch_proc *p, int tid)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (t->proc == p && t->loop && t->seen.tid == tid)
			return t;
	}
	return NULL;
}
