/* SPDX-License-Identifier: MIT
 *
 * Loops: which threads are some, the tick that each is in, and the stalls that ticks of the threshold become.
 * A stall is finalized one look after its end, so that the holder's own event, written just after it let the
 * lock go, has arrived.
 */
#include <stdlib.h>
#include <string.h>

#include "watch_state.h"

#define PUT_EVERY_NS (NS * 3 / 10) /* an ongoing stall is in the record this often */
#define PENDING_MAX 64u
#define LOOP_WAITS 3u		   /* on one object: a loop */
#define BACK_AT_ONCE_NS 1000000ull /* a wait that returns this soon found its descriptors ready */

void watch_tick_event(struct watch *w, struct watch_thread *t, const struct arena_event *e)
{
	if (e->arg && e->arg != (uint32_t)t->seen.tid) /* another's, which this thread's coming ended */
		t = watch_loop_of_tid(w, t->proc, (int)e->arg);
	struct watch_loop *l = t ? t->loop : NULL;
	if (!l || e->start >= e->time || (!l->current && l->ended.n >= PENDING_MAX))
		return;
	if (l->now.seen.start_ns == e->start) {
		watch_stall_end(w, t, &l->now, e->time);
		memset(&l->now, 0, sizeof l->now);
		return;
	}
	struct watch_stall missed = {.seen = watch_stall_new(w, t, e->start)};
	watch_stall_end(w, t, &missed, e->time);
}

/* How many descriptors were ready when a stall ended, by the wait that followed at its end. */
static void ready_note(struct obs_stall *s, const struct arena_event *e)
{
	if (e->time >= s->end_ns)
		s->ready_after = e->time - s->end_ns < BACK_AT_ONCE_NS ? (int64_t)e->arg : 0;
}

void watch_ready_event(struct watch *w, struct watch_thread *t, const struct arena_event *e)
{
	if (!t->loop)
		return;
	for (size_t i = 0; t->loop->shared && i < w->threads.n; i++) {
		struct watch_loop *l = w->threads.at[i]->loop;
		for (size_t k = 0; l && l->shared == t->loop->shared && k < l->ended.n; k++)
			if (l->ended.at[k].seen.end_ns == e->start)
				ready_note(&l->ended.at[k].seen, e);
	}
	if (!t->loop->shared && t->loop->ended.n)
		ready_note(&t->loop->ended.at[t->loop->ended.n - 1].seen, e);
}

static bool loop_qualifies(struct watch *w, struct watch_thread *t, uint64_t object)
{
	if (w->options.loop)
		return watch_names_it(w, t);
	if (!(object & LOOP_POLLED))
		return true;
	/* poll or select: workers poll for work too, and clients the one socket that they talk on */
	return t->loop->seen.runner || (t->seen.tid == t->proc->pid &&
					MOSTLY_SETS(LOAD(t->slot->lone_waits), LOAD(t->slot->set_waits)));
}

/* It is in the record from now on. */
static void loop_is(struct watch *w, struct watch_thread *t, uint32_t hook, uint64_t first)
{
	struct watch_loop *l = t->loop;
	if (l->is_loop)
		return;
	l->is_loop = w->loop_named = true;
	struct obs_loop *seen = watch_loop_seen(t);
	seen->wait = watch_hook_valid(hook) ? watch_hook_call(hook) : "epoll_wait";
	if (!seen->first_ns)
		seen->first_ns = first;
	watch_loop_put(w, t);
}

/* Its wait object was closed: the tick under way leads nowhere, and what was not yet a loop never was one,
 * unless it became one and was over since we last looked (asyncio.run() in a test). */
void watch_loop_end_event(struct watch *w, struct watch_thread *t, const struct arena_event *e)
{
	struct watch_loop *l = t->loop;
	size_t kept = 0;
	if (!l)
		return;
	bool loop = l->current || (e->arg >= LOOP_WAITS && loop_qualifies(w, t, e->object));
	if (loop && l->ended.n)
		loop_is(w, t, e->hook, e->start);
	for (size_t i = 0; i < l->ended.n; i++) {
		l->ended.at[i].sure |= loop;
		if (l->ended.at[i].sure)
			l->ended.at[kept++] = l->ended.at[i];
		else
			watch_stall_clear(&l->ended.at[i]);
	}
	l->ended.n = kept;
	if (l->now.kept) {
		l->now.seen.outside = true;
		watch_stall_put(w, t, &l->now);
	}
	watch_look_end(w, t);
	watch_stall_clear(&l->now);
	l->current = false;
}

/* A tick that we were following is over without an event for it. */
static void stall_overtaken(struct watch *w, struct watch_thread *t)
{
	struct watch_loop *l = t->loop;
	if (!l->now.kept) {
		watch_look_end(w, t);
		watch_stall_clear(&l->now);
	} else if (!l->now.overtaken) {
		l->now.overtaken = w->now; /* its event may be in the ring by now: take it first */
	} else {
		uint64_t end = LOAD(t->slot->loop_last);
		if (end < l->now.seen.start_ns)
			end = w->now;
		l->now.seen.lost++;
		watch_stall_end(w, t, &l->now, end);
		memset(&l->now, 0, sizeof l->now);
	}
}

static void tick_follow(struct watch *w, struct watch_thread *t, uint64_t tick)
{
	struct watch_loop *l = t->loop;
	struct watch_stall *s = &l->now;
	if (s->seen.start_ns && s->seen.start_ns != tick) {
		stall_overtaken(w, t);
		return;
	}
	if (!tick || tick > w->now || w->now - tick < SAMPLE_AFTER_NS)
		return;
	w->busy = true;
	if (!s->seen.start_ns) {
		s->seen = watch_stall_new(w, t, tick);
		s->seen.ongoing = true;
	}
	if (!s->based && LOAD(t->slot->tick_start) == tick) { /* else it is not back from its wait yet */
		s->based = true;
		watch_look_base(w, t, s);
	}
	s->seen.end_ns = w->now;
	if (w->now >= s->next_look)
		watch_look(w, t, s);
	if (w->now - tick < w->arena->threshold_ns)
		return;
	bool first = !s->kept;
	watch_stall_keep(w, t, s);
	/* a stall of very many waits takes long to put together: less often then */
	if (s->kept && (first || w->now >= s->finalize_after + PUT_EVERY_NS + 20 * s->put_ns)) {
		watch_stall_put(w, t, s);
		s->finalize_after = w->now;
		s->put_ns = now_ns() - w->now;
	}
}

static void loop_new(struct watch *w, struct watch_thread *t)
{
	struct watch_loop *l = t->loop = xcalloc(1, sizeof *l);
	l->seen.id = ++w->next_id;
	l->seen.thread = t->seen.id;
	l->seen.threads = 1;
	l->cpu_base = -1;
}

static void loop_base(struct watch_thread *t)
{
	struct watch_loop *l = t->loop;
	struct now_copy now;
	uint64_t waits = LOAD(t->slot->loop_waits);
	if (l->cpu_base >= 0 && waits == l->waits_of_base && l->quota_serial == t->proc->quota.serial)
		return;
	if (now_read(t->slot, &now) && now.now == NOW_READY &&
	    !schedstat_read(t, &l->cpu_base, &l->delay_base))
		l->waits_of_base = waits, l->busy_of_base = LOAD(t->slot->tick_ns), watch_quota_base(t);
}

static void loop_prune(struct watch_loop *l, uint64_t tick)
{
	uint64_t oldest = tick ? tick : UINT64_MAX;
	if (l->now.seen.start_ns && l->now.seen.start_ns < oldest)
		oldest = l->now.seen.start_ns;
	for (size_t i = 0; i < l->ended.n; i++)
		if (l->ended.at[i].seen.start_ns < oldest)
			oldest = l->ended.at[i].seen.start_ns;
	size_t kept = 0;
	for (size_t i = 0; i < l->waits.n; i++)
		if (l->waits.at[i].end_ns > oldest || oldest == UINT64_MAX)
			l->waits.at[kept++] = l->waits.at[i];
	l->waits.n = oldest == UINT64_MAX ? 0 : kept;
	watch_sampled_drop(l, oldest == UINT64_MAX ? l->seen.last_ns : oldest);
}

/* When the tick under way began, 0: there is none. A wait that is past its deadline is one: the thread is
 * stopped, or gets no CPU. */
static uint64_t loop_tick(struct watch *w, struct watch_thread *t)
{
	uint64_t tick = watch_tick_now(t), until = LOAD(t->slot->wait_until);
	struct now_copy now;
	if (tick || !until || until > w->now || watch_shared_others(t) || !now_read(t->slot, &now))
		return tick;
	/* else it is on its way back from there */
	return now.now == NOW_READY || t->loop->now.seen.start_ns == until ? until : 0;
}

static void loop_follow(struct watch *w, struct watch_thread *t)
{
	struct watch_loop *l = t->loop;
	watch_share(w, t);
	l->current = (l->shared || LOAD(t->slot->loop_waits) >= LOOP_WAITS) &&
		     loop_qualifies(w, t, LOAD(t->slot->loop_object));
	if (l->current)
		loop_is(w, t, t->slot->loop_hook, LOAD(t->slot->loop_first));
	if (l->is_loop || LOAD(t->slot->loop_object) & LOOP_POLLED)
		watch_runner(w, t);
	watch_quota_look(w, t->proc);
	uint64_t tick = loop_tick(w, t);
	tick_follow(w, t, tick);
	size_t kept = 0;
	for (size_t i = 0; i < l->ended.n; i++) {
		struct watch_stall *s = &l->ended.at[i];
		if ((s->sure || l->current) && s->finalize_after < w->now)
			watch_stall_finalize(w, t, s);
		else
			l->ended.at[kept++] = *s;
	}
	l->ended.n = kept;
	if (!tick)
		loop_base(t);
	loop_prune(l, tick);
}

void watch_loops(struct watch *w)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!t->live || (!t->loop && !LOAD(t->slot->loop_waits)))
			continue;
		if (!t->loop)
			loop_new(w, t);
		loop_follow(w, t);
	}
}

void watch_loop_put(struct watch *w, struct watch_thread *t)
{
	struct watch_loop *l = t->loop;
	struct obs_loop *seen = watch_loop_seen(t);
	uint32_t delta[TICK_BUCKETS];
	bool any = false;
	if (!l->is_loop)
		return;
	for (unsigned b = 0; b < TICK_BUCKETS; b++) {
		uint32_t n = __atomic_load_n(&t->slot->tick_count[b], __ATOMIC_RELAXED);
		delta[b] = n - l->counted[b];
		l->counted[b] = n;
		seen->count[b] += delta[b];
		any = any || delta[b];
	}
	uint64_t ticks = LOAD(t->slot->ticks), tick_ns = LOAD(t->slot->tick_ns),
		 wait_ns = LOAD(t->slot->wait_ns), max = LOAD(t->slot->tick_max),
		 last = LOAD(t->slot->loop_last);
	if (!seen->first_ns)
		seen->first_ns = LOAD(t->slot->loop_first);
	seen->ticks += ticks - l->ticks;
	seen->tick_ns += tick_ns - l->tick_ns;
	seen->wait_ns += wait_ns - l->wait_ns;
	l->ticks = ticks;
	l->tick_ns = tick_ns;
	l->wait_ns = wait_ns;
	if (max > seen->tick_max_ns)
		seen->tick_max_ns = max;
	if (l->now.kept && l->now.seen.end_ns > last)
		last = l->now.seen.end_ns;
	else if (l->shared ? watch_shared_asleep(t)
			   : !LOAD(t->slot->tick_start) && LOAD(t->slot->loop_object))
		last = w->now; /* asleep in its wait */
	if (last > seen->last_ns || !l->shared)
		seen->last_ns = last;
	writer_put_loop(w->writer, seen);
	if (any)
		writer_add_ticks(w->writer, seen->id, (w->now - w->start_ns) / NS, delta);
}

/* The thread or the capture ends: what is pending is finalized; the tick under way stays, as ongoing, only if
 * it was cut off rather than left in an orderly way. */
void watch_loop_cut(struct watch *w, struct watch_thread *t, uint64_t when, bool cut)
{
	struct watch_loop *l = t->loop;
	uint64_t tick = watch_tick_now(t);
	for (size_t i = 0; i < l->ended.n; i++)
		if (l->is_loop && (l->ended.at[i].sure || l->current))
			watch_stall_finalize(w, t, &l->ended.at[i]);
		else
			watch_stall_clear(&l->ended.at[i]);
	l->ended.n = 0;
	if (tick && cut && l->current && when > tick && when - tick >= w->arena->threshold_ns) {
		if (l->now.seen.start_ns != tick) {
			watch_stall_clear(&l->now);
			l->now.seen = watch_stall_new(w, t, tick);
		}
		l->now.seen.ongoing = true;
		l->now.seen.end_ns = when;
		watch_stall_keep(w, t, &l->now);
		if (l->now.kept)
			watch_stall_put(w, t, &l->now);
		watch_loop_seen(t)->last_ns = when;
	} else if (l->now.kept) { /* put already as ongoing: an orderly exit in mid-tick is no stall */
		l->now.seen.outside = true;
		watch_stall_put(w, t, &l->now);
	}
	watch_loop_put(w, t);
	watch_stall_clear(&l->now);
	vec_free(&l->ended);
	vec_free(&l->waits);
	watch_sampled_drop(l, UINT64_MAX);
	free(l);
	t->loop = NULL;
}
