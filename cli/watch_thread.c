/* SPDX-License-Identifier: MIT
 *
 * Which threads there are, what they are called, and what they have used so far. Slots of the arena come and
 * go; an entry here stays until no event still on its way can mean it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"
#include "watch_state.h"

#define FORGET_AFTER_NS NS
#define NAMES_AT_ONCE 8u
#define CPU_AT_ONCE 16u
#define CPU_OFTEN 16u /* times in a thread's life so far */
#define CPU_STALE_NS (NS / 50)
#define NAME_TRIES 6u /* in quick succession; after that, and once it has one, every other second */

static void thread_close(struct watch *w, struct watch_thread *t)
{
	if (t->schedstat >= 0)
		close(t->schedstat);
	t->schedstat = -1;
	watch_run_close(t);
	watch_fault_close(w, t);
	if (t->perf) {
		perf_sampler_close(t->perf);
		w->perf_open--;
	}
	t->perf = NULL;
	t->perf_on = false;
	free(t->perf_latest);
	t->perf_latest = NULL;
}

/* The interpreter's lock figures and the CPU time of a thread, as far as they can be read now. */
static int thread_totals(struct watch *w, struct watch_thread *t)
{
	struct arena_thread *slot = t->slot;
	int64_t cpu, delay;
	int result = schedstat_read(t, &cpu, &delay);
	if (!result) {
		t->seen.cpu_ns = cpu;
		t->cpu_at = w->now;
	}
	t->seen.gil_known = LOAD(t->proc->slot->lock[0].freed) <= ARENA_LOCK_GONE		       ? 0
			    : t->proc->seen.backend == BACKEND_EBPF && !probe_hooked(w->options.probe) ? 2
												       : 1;
	t->seen.gil_holds = LOAD(slot->lock_holds);
	t->seen.gil_held_ns = LOAD(slot->lock_held_ns);
	t->seen.gil_longest_ns = LOAD(slot->lock_longest_ns);
	t->seen.gil_waits = LOAD(slot->lock_waits);
	t->seen.gil_waited_ns = LOAD(slot->lock_waited_ns);
	/* a hold or wait under way counts as far as it has gone */
	struct arena_lock *lock = &t->proc->slot->lock[0];
	uint64_t since = LOAD(lock->since), now = now_ns();
	if (LOAD(lock->holder) == t->slot_index + 1 && since && since < now) {
		t->seen.gil_held_ns += now - since;
		if (now - since > t->seen.gil_longest_ns)
			t->seen.gil_longest_ns = now - since;
	}
	uint64_t wait = LOAD(slot->lock_wait_start);
	if (wait && wait < now)
		t->seen.gil_waited_ns += now - wait;
	return result;
}

static void thread_end(struct watch *w, struct watch_thread *t, uint64_t when, bool cut)
{
	if (!t->live)
		return;
	uint32_t state = LOAD(t->slot->state);
	/* else the thread gave it back itself, and it may be another's by now */
	bool ours = (state == THREAD_LIVE || state == THREAD_ENDED) && LOAD(t->slot->serial) == t->serial;
	if (t->loop)
		watch_loop_cut(w, t, when, cut);
	/* it is gone: what it had when it was last seen tells little if that was long ago */
	uint64_t age = when > t->seen.start_ns ? when - t->seen.start_ns : 0;
	if (ours && thread_totals(w, t) &&
	    when > t->cpu_at + (age / 8 > CPU_STALE_NS ? age / 8 : CPU_STALE_NS))
		t->seen.cpu_ns = -1;
	t->live = false;
	t->seen.end_ns = when > t->seen.start_ns ? when : t->seen.start_ns; /* it began after this look did */
	writer_put_thread(w->writer, &t->seen);
	thread_close(w, t);
	w->by_thread_slot[t->slot_index] = NULL;
	/* the slot is the next thread's */
	if (ours)
		__atomic_store_n(&t->slot->state, THREAD_FREE, __ATOMIC_RELEASE);
}

void watch_threads_end(struct watch *w, struct watch_proc *p, uint64_t when, bool cut)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (t->proc != p)
			continue;
		if (!t->slot)
			thread_close(w, t);
		thread_end(w, t, when, cut);
	}
}

void watch_threads_ended(struct watch *w)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!t->live || LOAD(t->slot->state) != THREAD_ENDED)
			continue;
		uint64_t end = LOAD(t->slot->end);
		if (LOAD(t->slot->head) == t->slot->tail)
			thread_end(w, t, end ? end : w->now, LOAD(t->slot->killed));
	}
}

/* Of this entry, if there is one in it. */
static void thread_new(struct watch *w, uint32_t index)
{
	struct arena_thread *slot = &w->arena->thread[index];
	uint32_t state = LOAD(slot->state), proc = LOAD(slot->proc); /* once: they may change */
	if ((state != THREAD_LIVE && state != THREAD_ENDED) || proc >= ARENA_PROCS || !w->by_proc_slot[proc])
		return;
	struct watch_proc *p = w->by_proc_slot[proc];
	struct watch_thread *t = NULL;
	for (size_t i = 0; i < w->threads.n && !t; i++) /* an exec keeps the thread that made it */
		if (!w->threads.at[i]->live && w->threads.at[i]->proc == p &&
		    w->threads.at[i]->seen.tid == slot->tid)
			t = w->threads.at[i];
	if (t) {
		thread_close(w, t); /* what was opened while it had no slot */
	} else {
		t = xcalloc(1, sizeof *t);
		*vec_push(&w->threads) = t;
		t->seen.id = ++w->next_id;
		t->seen.start_ns = slot->start ? slot->start : w->now;
	}
	t->seen.process = p->seen.id;
	t->seen.tid = t->seen.ns_tid = slot->tid;
	t->seen.end_ns = 0;
	t->seen.cpu_ns = -1;
	t->proc = p;
	t->slot = slot;
	t->slot_index = index;
	t->serial = slot->serial;
	t->dropped = 0;
	t->live = true;
	t->schedstat = -1;
	t->name_tries = 0;
	t->next_name = w->now;
	t->next_cpu = t->cpu_at = 0;
	w->by_thread_slot[index] = t;
	watch_thread_name(w, t);
	writer_put_thread(w->writer, &t->seen);
}

struct watch_thread *watch_thread_at(struct watch *w, uint32_t index)
{
	if (index >= ARENA_THREADS)
		return NULL;
	if (!w->by_thread_slot[index])
		thread_new(w, index);
	return w->by_thread_slot[index];
}

void watch_thread_name(struct watch *w, struct watch_thread *t)
{
	char name[256] = "", path[64], *comm = NULL;
	struct interp_thread key = {.tid = t->seen.tid, .pthread = t->slot ? t->slot->pthread : 0};
	bool found = t->proc->interp && !t->proc->ops->thread_name(t->proc->interp, key, name, sizeof name);
	t->named = t->named || found;
	t->name_tries = found ? NAME_TRIES : t->name_tries + 1;
	/* a runtime gives its names some time after the thread's birth, and may change them */
	t->next_name =
		w->now + (found || t->name_tries >= NAME_TRIES ? 2 * NS : IDLE_POLL_NS << t->name_tries);
	if (!found) {
		if (t->seen.name && t->named)
			return;
		snprintf(path, sizeof path, "/proc/%d/task/%d/comm", t->proc->pid, t->seen.tid);
		if (file_read(path, &comm, 64) > 0) {
			comm[strcspn(comm, "\n")] = 0;
			snprintf(name, sizeof name, "%s", comm);
		}
		free(comm);
	}
	if (name[0] && intern(name) != t->seen.name) {
		watch_names_seen(w, t->seen.name, intern(name));
		t->seen.name = intern(name);
		writer_put_thread(w->writer, &t->seen);
	}
}

/* A thread that has not met the shim's slow paths has no slot, but may hold the lock that a loop waits for.
 */
static struct watch_thread *thread_slotless(struct watch *w, struct watch_proc *p, int tid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task/%d", p->pid, tid);
	if (tid <= 0 || access(path, F_OK))
		return NULL;
	struct watch_thread *t = xcalloc(1, sizeof *t);
	*vec_push(&w->threads) = t;
	t->seen.id = ++w->next_id;
	t->seen.start_ns = w->now;
	t->seen.process = p->seen.id;
	t->seen.tid = t->seen.ns_tid = tid;
	t->seen.cpu_ns = -1;
	t->proc = p;
	t->schedstat = -1;
	watch_thread_name(w, t);
	writer_put_thread(w->writer, &t->seen);
	return t;
}

struct watch_thread *watch_thread_of(struct watch *w, struct watch_proc *p, int tid)
{
	for (size_t i = w->threads.n; i-- > 0;)
		if (w->threads.at[i]->proc == p && w->threads.at[i]->seen.tid == tid)
			return w->threads.at[i];
	return thread_slotless(w, p, tid);
}

/* An ended thread that no event still on its way can mean; the main thread may come back by an exec. */
static bool thread_forgettable(struct watch *w, struct watch_thread *t)
{
	int64_t cpu, delay;
	if (t->live || (t->proc->live && t->seen.tid == t->proc->pid))
		return false;
	if (!t->seen.end_ns && t->proc->live) { /* it never had a slot */
		int result = schedstat_read(t, &cpu, &delay);
		if (result == -ESRCH || result == -ENOENT)
			t->seen.end_ns = w->now;
	}
	return !t->proc->live || (t->seen.end_ns && t->seen.end_ns + FORGET_AFTER_NS < w->now);
}

void watch_threads_forget(struct watch *w)
{
	size_t kept = 0;
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!thread_forgettable(w, t)) {
			w->threads.at[kept++] = t;
			continue;
		}
		thread_close(w, t);
		free(t);
	}
	w->threads.n = kept;
}

/* The thread is gone, and the shim did not see it end: cancelled, if in a loop then in its wait. */
static bool thread_vanished(const struct watch_thread *t)
{
	struct now_copy now;
	return !t->loop || (now_read(t->slot, &now) && now.now == NOW_READY);
}

/* The runtime's names of threads that are young: what ends within a second has one too. */
static void names_read(struct watch *w)
{
	unsigned read = 0;
	for (size_t i = 0; i < w->threads.n && read < NAMES_AT_ONCE; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!t->live || !t->proc->interp || w->now < t->next_name || t->name_tries >= NAME_TRIES)
			continue;
		watch_thread_name(w, t);
		read++;
	}
}

/* The CPU time of threads, the more often the younger they are: nobody says it when a thread has ended. */
static void cpu_read(struct watch *w)
{
	unsigned read = 0;
	int64_t cpu, delay;
	for (size_t i = 0; i < w->threads.n && read < CPU_AT_ONCE; i++) {
		w->cpu_next = w->cpu_next + 1 < w->threads.n ? w->cpu_next + 1 : 0;
		struct watch_thread *t = w->threads.at[w->cpu_next];
		if (!t->live || w->now < t->next_cpu)
			continue;
		uint64_t age = w->now > t->seen.start_ns ? w->now - t->seen.start_ns : 0;
		t->next_cpu = w->now + (age < NS * CPU_OFTEN ? age / CPU_OFTEN : NS);
		read++;
		if (schedstat_read(t, &cpu, &delay))
			continue;
		t->seen.cpu_ns = cpu;
		t->cpu_at = w->now;
	}
}

void watch_threads_total(struct watch *w)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!t->live)
			continue;
		struct obs_thread before = t->seen;
		int gone = thread_totals(w, t);
		if ((gone == -ESRCH || gone == -ENOENT) && thread_vanished(t)) {
			watch_shared_gone(t);
			thread_end(w, t, w->now, false);
			continue;
		}
		if (memcmp(&before, &t->seen, sizeof before))
			writer_put_thread(w->writer, &t->seen);
		if (t->proc->interp && w->now >= t->next_name)
			watch_thread_name(w, t);
		if (t->loop)
			watch_loop_put(w, t);
	}
}

void watch_threads(struct watch *w)
{
	uint32_t threads = LOAD(w->arena->thread_high);
	for (uint32_t i = 0; i < threads && i < ARENA_THREADS; i++) {
		struct arena_thread *slot = &w->arena->thread[i];
		uint32_t state = LOAD(slot->state);
		struct watch_thread *t = w->by_thread_slot[i];
		if (t && (state == THREAD_FREE ||
			  (state == THREAD_LIVE && LOAD(slot->serial) != t->serial))) { /* self_end */
			thread_end(w, t, w->now, false);
			t = NULL;
		}
		if (!t)
			thread_new(w, i);
	}
	names_read(w);
	cpu_read(w);
}
