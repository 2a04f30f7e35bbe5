/* SPDX-License-Identifier: MIT
 *
 * A stall, from the first look at a tick that may become one to what the record says of it: its waits, the
 * holds that they waited for, its CPU time.
 */
#include <stdlib.h>
#include <string.h>

#include "watch_state.h"

static void samples_free(struct raw_sample *at, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(at[i].frames);
		free(at[i].native);
	}
}

void watch_stall_clear(struct watch_stall *s)
{
	samples_free(s->provisional.at, s->provisional.n);
	samples_free(s->crowd.at, s->crowd.n);
	vec_free(&s->provisional);
	vec_free(&s->crowd);
	memset(s, 0, sizeof *s);
}

/* Nothing is known of it yet. */
struct obs_stall watch_stall_new(const struct watch *w, const struct watch_thread *t, uint64_t start)
{
	return (struct obs_stall){.start_ns = start,
				  .began_before = w->options.probe && start == t->slot->start,
				  .ready_after = -1,
				  .cpu_ns = -1,
				  .delay_ns = -1,
				  .faults = -1,
				  .throttled_ns = -1,
				  .throttled_periods = -1};
}

void watch_stall_keep(struct watch *w, struct watch_thread *t, struct watch_stall *s)
{
	struct watch_loop *l = t->loop;
	if (s->kept || !(s->sure || l->current))
		return;
	if (l->stalls >= STALLS_MAX) {
		if (s->ended) {
			w->suppressed++;
			watch_loop_seen(t)->suppressed++;
		}
		return;
	}
	l->stalls++;
	s->kept = true;
	s->seen.id = ++w->next_stall;
	s->seen.loop = watch_loop_seen(t)->id;
	s->seen.thread = t->seen.id;
	for (size_t i = 0; i < s->provisional.n; i++) {
		s->provisional.at[i].seen.stall = s->seen.id;
		writer_add_sample(w->writer, &s->provisional.at[i]);
	}
	vec_free(&s->provisional);
}

typedef VEC(struct obs_wait) waits_t;

static void waits_collect(struct watch *w, struct watch_thread *t, const struct watch_stall *s, waits_t *out)
{
	struct watch_loop *l = t->loop;
	for (size_t i = 0; i < l->waits.n; i++) {
		const struct obs_wait *wait = &l->waits.at[i];
		if (wait->end_ns <= s->seen.start_ns || wait->start_ns >= s->seen.end_ns)
			continue;
		*vec_push(out) = *wait;
	}
	struct now_copy now;
	struct obs_wait stop;
	if (watch_stop_open(t, s->seen.end_ns, &stop))
		*vec_push(out) = stop;
	/* the wait under way: it goes on after the tick's end where another thread's coming ended that */
	if (!t->live || !now_read(t->slot, &now) || (now.now != NOW_LOCK && now.now != NOW_CALL) ||
	    now.since >= s->seen.end_ns || now.since < s->seen.start_ns)
		return;
	struct obs_wait *wait = vec_push(out);
	wait->start_ns = now.since;
	wait->end_ns = s->seen.end_ns;
	if (now.now == NOW_CALL) {
		wait->what = WAIT_CALL;
		wait->syscall = watch_hook_call(now.hook);
		wait->target = now.since == l->call_since ? l->call_target : NULL;
		return;
	}
	wait->what = WAIT_LOCK;
	if (watch_lock_asked(t, wait))
		return;
	wait->lock = watch_lock_id(w, t->proc, now.object, now.hook);
	wait->self_owned = now.owner == (uint32_t)t->seen.tid;
	struct watch_thread *owner = watch_owner(w, t, &now);
	wait->owner = owner ? owner->seen.id : 0;
}

static void hold_add(holds_t *out, uint32_t lock, uint32_t thread, uint64_t start, uint64_t end,
		     bool at_least)
{
	struct obs_hold *h = vec_push(out);
	h->lock = lock;
	h->thread = thread;
	h->start_ns = start;
	h->end_ns = end;
	h->at_least = at_least;
}

/* The interpreter's lock, held now. */
static bool hold_now(struct watch *w, struct watch_proc *p, const struct obs_wait *wait, uint64_t until,
		     holds_t *out)
{
	for (unsigned i = 0; i < ARENA_LOCKS; i++) {
		struct arena_lock *lock = &p->slot->lock[i];
		uint64_t freed = LOAD(lock->freed);
		if (freed <= ARENA_LOCK_GONE || watch_lock_of(w, p, freed, LOCK_GIL)->id != wait->lock)
			continue;
		uint32_t holder = LOAD(lock->holder);
		uint64_t since = LOAD(lock->since);
		if (!holder || holder > ARENA_THREADS || !w->by_thread_slot[holder - 1] ||
		    LOAD(lock->holder) != holder)
			return false;
		if (since < until)
			hold_add(out, wait->lock, w->by_thread_slot[holder - 1]->seen.id,
				 since ? since : wait->start_ns, until, !since);
		return true;
	}
	return false;
}

static void holds_collect(struct watch *w, struct watch_thread *t, const struct watch_stall *s,
			  const waits_t *waits, holds_t *out)
{
	struct watch_proc *p = t->proc;
	struct hold_index index;
	hold_index_make(&index, p->holds.at, p->holds.n, s->seen.start_ns, s->seen.end_ns, t->seen.id);
	for (size_t i = 0; i < waits->n; i++) {
		const struct obs_wait *wait = &waits->at[i];
		if (wait->what != WAIT_LOCK)
			continue;
		bool found = hold_index_find(&index, wait, out);
		bool open = !s->ended && wait->end_ns == s->seen.end_ns &&
			    hold_now(w, p, wait, wait->end_ns, out);
		if (!open && !found && wait->owner && !wait->self_owned)
			hold_add(out, wait->lock, wait->owner, wait->start_ns, wait->end_ns, true);
	}
	hold_index_free(&index);
}

static int wait_order(const void *a, const void *b)
{
	const struct obs_wait *x = a, *y = b;
	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	return x->end_ns > y->end_ns ? -1 : x->end_ns < y->end_ns;
}

void watch_stall_put(struct watch *w, struct watch_thread *t, struct watch_stall *s)
{
	waits_t waits = {0};
	holds_t holds = {0};
	waits_collect(w, t, s, &waits);
	if (waits.n) /* what contains another comes before it */
		qsort(waits.at, waits.n, sizeof *waits.at, wait_order);
	for (size_t i = 0; i < waits.n; i++) {
		waits.at[i].stall = s->seen.id;
		if (waits.at[i].start_ns < s->seen.start_ns)
			waits.at[i].start_ns = s->seen.start_ns;
		if (waits.at[i].end_ns > s->seen.end_ns)
			waits.at[i].end_ns = s->seen.end_ns;
	}
	holds_collect(w, t, s, &waits, &holds);
	for (size_t i = 0; i < holds.n; i++) {
		holds.at[i].stall = s->seen.id;
		watch_crowd_keep(w, s, holds.at[i].thread);
	}
	writer_put_stall(w->writer, &s->seen, waits.at, waits.n, holds.at, holds.n);
	vec_free(&waits);
	vec_free(&holds);
}

/* CPU and run-queue time of the loop thread over a stall that has just ended: the scheduler's counts since it
 * was last seen asleep. Where whystall itself had no CPU for a while, other ticks lie in between: then the
 * CPU time is the most that the stall can have had, so that lack of CPU is told too little rather than too
 * much. */
static void stall_cpu(struct watch *w, struct watch_thread *t, struct watch_stall *s)
{
	struct watch_loop *l = t->loop;
	int64_t length = (int64_t)(s->seen.end_ns - s->seen.start_ns), cpu, delay;
	uint64_t busy = LOAD(t->slot->tick_ns) - l->busy_of_base, tick = watch_tick_now(t);
	s->seen.cpu_ns = s->seen.delay_ns = s->seen.throttled_ns = s->seen.throttled_periods = -1;
	if (tick && tick < w->now)
		busy += w->now - tick;
	if (l->cpu_base < 0 || !t->live || busy > 4 * (uint64_t)length || schedstat_read(t, &cpu, &delay))
		return;
	watch_quota_stall(t, &s->seen);
	cpu -= l->cpu_base;
	delay -= l->delay_base;
	s->seen.cpu_ns = cpu < length ? cpu : length;
	s->seen.delay_ns = delay < length - s->seen.cpu_ns ? delay : length - s->seen.cpu_ns;
}

void watch_stall_finalize(struct watch *w, struct watch_thread *t, struct watch_stall *s)
{
	uint64_t length = s->seen.end_ns - s->seen.start_ns;
	if (length >= w->arena->threshold_ns) {
		struct now_copy now;
		if (s->seen.ready_after < 0 && t->live && now_read(t->slot, &now) && now.now == NOW_READY &&
		    now.since == s->seen.end_ns)
			s->seen.ready_after = 0; /* it sleeps: nothing was ready */
		watch_sampled_take(w, t, s);
		watch_stall_keep(w, t, s);
		if (s->kept)
			watch_stall_put(w, t, s);
	}
	watch_stall_clear(s);
}

void watch_stall_end(struct watch *w, struct watch_thread *t, struct watch_stall *s, uint64_t end)
{
	struct watch_loop *l = t->loop;
	s->ended = true;
	s->sure = l->current;
	s->seen.ongoing = false;
	s->seen.end_ns = end;
	s->finalize_after = w->now;
	s->seen.lost = t->proc->lost;
	stall_cpu(w, t, s);
	watch_look_counts(w, t, s);
	if (!watch_run_stopped(t))
		watch_stop_end(t, end);
	*vec_push(&l->ended) = *s;
	watch_look_end(w, t);
}
