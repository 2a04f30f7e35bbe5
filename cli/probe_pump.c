/* SPDX-License-Identifier: MIT
 *
 * Plays the shim for processes that have none: adopts the probe's entries into an arena, copies what each
 * thread does now, and puts the probe's events into the threads' rings. One entry of the probe's tables is
 * the same entry of the arena's; it is given back once the watcher has set the arena's free.
 */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "../record/hooks.h"
#include "../record/ring.h"
#include "privilege.h"
#include "probe_state.h"
#include "util.h"
#include "watch.h"

#define RING_ALMOST (ARENA_RING - 8)

/* --- entries --- */

static void proc_adopt(struct probe *p, uint32_t i)
{
	struct probe_proc *from = &p->procs[i];
	struct arena_proc *to = &p->arena->proc[i];
	char why[256];
	if (!caller_may_trace((pid_t)from->pid, why, sizeof why)) { /* a child that became another user's */
		p->proc_serial[i] = from->serial;
		p->proc_mine[i] = true; /* the arena's entry stays free */
		watch_remark(p->watch, why);
		return;
	}
	memset(to, 0, offsetof(struct arena_proc, sem));
	to->serial = from->serial;
	to->pid = (int32_t)from->pid;
	to->ppid = (int32_t)from->ppid;
	to->start = from->start;
	p->proc_serial[i] = from->serial;
	p->proc_mine[i] = true;
	if (p->arena->proc_high <= i)
		p->arena->proc_high = i + 1;
	to->state = PROC_LIVE;
}

static void proc_copy(const struct probe_proc *from, struct arena_proc *to)
{
	to->end = from->end;
	to->threads_refused = from->no_room;
	to->loop_fds_high = ARENA_LOOP_FDS;
	for (uint32_t i = 0; i < ARENA_LOOP_FDS; i++) {
		to->loop_fds[i] = (int32_t)from->instance[i].object;
		to->instance[i].state = from->instance[i].state;
	}
}

static void thread_adopt(struct probe *p, uint32_t i)
{
	struct probe_thread *from = &p->threads[i];
	struct arena_thread *to = &p->arena->thread[i];
	p->thread_serial[i] = from->serial;
	p->thread_mine[i] = true;
	if (from->proc >= ARENA_PROCS || p->arena->proc[from->proc].state != PROC_LIVE)
		return; /* of a process that is not told */
	memset(to, 0, offsetof(struct arena_thread, ring));
	to->proc = from->proc;
	to->serial = from->serial;
	to->tid = (int32_t)from->tid;
	to->pthread = from->pthread;
	to->start = from->start;
	if (p->arena->thread_high <= i)
		p->arena->thread_high = i + 1;
	to->state = THREAD_LIVE;
}

#define KEEP_NS NS	  /* events on their way may still mean an ended thread ... */
#define KEEP_THREADS 512u /* ... while there is room */

/* Entries that the watcher is done with go back to the probe. */
static void entries_give_back(struct probe *p)
{
	uint64_t now = now_ns();
	for (uint32_t i = 0; i < p->arena->thread_high; i++) {
		if (!p->thread_mine[i] || p->arena->thread[i].state != THREAD_FREE)
			continue;
		uint32_t loop = p->threads[i].loop;
		if (p->threads[i].state == THREAD_LIVE)
			continue; /* the watcher gave it up before its time: it lives on unseen */
		if (p->threads[i].end + KEEP_NS > now && *p->threads_high < KEEP_THREADS)
			continue;
		if (loop && loop <= PROBE_LOOPS) {
			loop--;
			memset(&p->loops[loop], 0, sizeof p->loops[loop]);
			bpf_map_update_elem(p->free_loops, NULL, &loop, BPF_ANY);
		}
		p->threads[i].state = THREAD_FREE;
		p->thread_mine[i] = false;
		bpf_map_update_elem(p->free_threads, NULL, &i, BPF_ANY);
	}
	for (uint32_t i = 0; i < p->arena->proc_high; i++) {
		if (!p->proc_mine[i] || p->arena->proc[i].state != PROC_FREE || p->procs[i].threads)
			continue;
		p->procs[i].state = PROC_FREE;
		p->proc_mine[i] = false;
		bpf_map_update_elem(p->free_procs, NULL, &i, BPF_ANY);
	}
}

static void entries_adopt(struct probe *p)
{
	uint32_t threads = *p->threads_high, procs = *p->procs_high;
	for (uint32_t i = 0; i < procs && i < ARENA_PROCS; i++)
		if (p->procs[i].state == PROC_LIVE && p->procs[i].serial != p->proc_serial[i])
			proc_adopt(p, i);
	for (uint32_t i = 0; i < threads && i < ARENA_THREADS; i++)
		if ((p->threads[i].state == THREAD_LIVE || p->threads[i].state == THREAD_ENDED) &&
		    p->threads[i].serial != p->thread_serial[i])
			thread_adopt(p, i);
}

/* --- what each thread does now --- */

/* glibc's struct pthread, at which pthread_self() points, is no longer (nptl/descr.h): a futex in it is the
 * tid that pthread_join waits for. */
#define PTHREAD_BYTES 2304u

/* Who has the lock: by the number that it bears itself, or the thread whose end is waited for. Our number, 0:
 * not known. */
static int owner_of(const struct probe *p, uint32_t proc, uint32_t ns_tid, uint64_t object, uint64_t when)
{
	const struct probe_thread *best = NULL;
	for (uint32_t i = 0; i < p->arena->thread_high; i++) {
		const struct probe_thread *t = &p->threads[i];
		bool fits = (ns_tid && t->ns_tid == ns_tid) ||
			    (t->pthread && object >= t->pthread && object - t->pthread < PTHREAD_BYTES);
		/* memory of a thread that ended is the next one's */
		if (fits && p->thread_mine[i] && t->proc == proc && t->start <= when &&
		    (!best || t->start > best->start))
			best = t;
	}
	return best ? (int)best->tid : 0;
}

/* A wait that began before the interpreter's lock was known is for its futex. */
static uint64_t object_of(const struct probe *p, uint32_t proc, uint64_t object)
{
	const struct probe_proc *from = &p->procs[proc];
	for (uint32_t i = 0; i < from->locks && i < PROBE_LOCKS; i++)
		if (object >= from->lock[i].start && object < from->lock[i].end)
			return from->lock[i].freed;
	return object;
}

static void now_copy(struct probe *p, const struct probe_thread *from, struct arena_thread *to)
{
	struct probe_thread t;
	for (int tries = 0; tries < 16; tries++) {
		uint32_t before = __atomic_load_n(&from->now_seq, __ATOMIC_ACQUIRE);
		t = *from;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!(before & 1) && __atomic_load_n(&from->now_seq, __ATOMIC_ACQUIRE) == before)
			break;
		if (tries == 15)
			return;
	}
	int owner = t.now == NOW_LOCK ? owner_of(p, t.proc, t.now_owner, t.now_object, t.now_since) : 0;
	to->now = t.now;
	to->now_hook = t.now == NOW_LOCK ? HOOK_syscall : probe_hook(t.nr);
	to->now_owner = (uint32_t)owner;
	to->now_since = t.now_since;
	to->now_object = t.now == NOW_LOCK ? object_of(p, t.proc, t.now_object) : t.now_object;
	to->loop_object = t.loop_object;
	to->loop_hook = probe_hook(t.loop_nr);
	to->loop_waits = t.loop_waits;
	to->lone_waits = t.lone_waits;
	to->set_waits = t.set_waits;
	to->loop_entry = t.loop_entry;
	to->tick_start = t.tick_start;
	if (t.held_tick && t.deadline &&
	    t.deadline < now_ns()) /* stopped, and something is due: as stop_over */
		to->tick_start = t.deadline > t.held_tick ? t.deadline : t.held_tick;
	to->ticks = t.ticks;
	to->tick_ns = t.tick_ns;
	to->tick_max = t.tick_max;
	to->wait_ns = t.wait_ns;
	to->loop_first = t.loop_first;
	to->loop_last = t.loop_last;
	to->wait_until = t.now == NOW_READY ? t.deadline : 0;
	to->dropped = t.dropped;
}

/* A loop whose wait has not been seen yet. */
static void before_copy(const struct probe_thread *from, struct arena_thread *to)
{
	to->loop_object = 1;
	to->loop_hook = HOOK_epoll_wait;
	to->loop_waits = 3;
	to->loop_first = to->tick_start = from->before;
}

static void thread_copy(struct probe *p, uint32_t i)
{
	const struct probe_thread *from = &p->threads[i];
	struct arena_thread *to = &p->arena->thread[i];
	uint64_t before = from->before;
	if (from->loop_object || to->loop_object || before)
		now_copy(p, from, to);
	if (before && !from->loop_object)
		before_copy(from, to);
	if (from->loop && from->loop <= PROBE_LOOPS)
		memcpy(to->tick_count, p->loops[from->loop - 1].tick_count, sizeof to->tick_count);
	if (!to->pthread)
		to->pthread = from->pthread;
	to->lock_holds = from->lock_holds;
	to->lock_held_ns = from->lock_held_ns;
	to->lock_longest_ns = from->lock_longest_ns;
	to->lock_waits = from->lock_waits;
	to->lock_waited_ns = from->lock_waited_ns;
	to->lock_wait_start = from->lock_wait_start;
}

/* --- events --- */

static void event_push(struct probe *p, uint32_t thread, const struct arena_event *e)
{
	struct arena_thread *t = &p->arena->thread[thread];
	if (!ring_push(t, e))
		t->dropped++;
	if (t->head - t->tail >= RING_ALMOST)
		p->full = true;
}

static struct arena_lock *gil_find(struct probe *p, uint32_t proc, uint64_t object)
{
	for (unsigned i = 0; i < ARENA_LOCKS && object; i++)
		if (p->arena->proc[proc].lock[i].freed == object)
			return &p->arena->proc[proc].lock[i];
	return NULL;
}

static void plain_event(struct probe *p, const struct probe_event *in)
{
	struct arena_event e = in->e;
	uint32_t proc = p->arena->thread[in->thread].proc;
	if (e.kind == EV_WAIT) {
		e.arg = (uint32_t)owner_of(p, proc, e.arg, e.object, e.start);
		e.object = object_of(p, proc, e.object);
		e.hook = HOOK_syscall;
	} else if (e.hook || e.kind == EV_CALL || e.kind == EV_TICK) {
		if (e.kind == EV_TICK)
			e.arg = e.arg && e.arg <= ARENA_THREADS ? (uint32_t)p->arena->thread[e.arg - 1].tid
								: 0;
		e.hook = probe_hook(e.hook);
	}
	event_push(p, in->thread, &e);
}

/* When the lock was last let go while somebody waited for it. */
static uint64_t *released_of(struct probe *p, uint32_t proc, const struct arena_lock *gil)
{
	return &p->released[proc][gil - p->arena->proc[proc].lock];
}

static void wake_event(struct probe *p, const struct probe_event *in)
{
	const struct arena_thread *t = &p->arena->thread[in->thread];
	struct arena_lock *gil = gil_find(p, t->proc, in->e.object);
	struct arena_event e = {.start = in->e.start,
				.time = in->e.time,
				.object = in->e.object,
				.arg = (uint32_t)t->tid,
				.kind = EV_HOLD,
				.hook = HOOK_syscall};
	if (gil && in->e.arg) { /* this thread has it now */
		gil->holder = in->thread + 1;
		gil->since = in->e.time;
		return;
	}
	if (gil) {
		if (gil->holder == in->thread + 1 && gil->since)
			e.start = gil->since;
		gil->holder = 0;
		gil->since = 0;
		*released_of(p, t->proc, gil) = in->e.time;
	}
	event_push(p, in->thread, &e);
}

/* The thread of pthread_self() `pthread` at that time: memory of one that ended is the next one's. -1: none.
 */
static int thread_find(const struct probe *p, uint32_t proc, uint64_t pthread, uint64_t when)
{
	int best = -1;
	for (uint32_t i = 0; i < p->arena->thread_high; i++) {
		const struct probe_thread *t = &p->threads[i];
		if (p->thread_mine[i] && t->proc == proc && p->arena->thread[i].pthread == pthread &&
		    t->start <= when && (best < 0 || t->start > p->threads[best].start))
			best = (int)i;
	}
	return best;
}

static void gil_event(struct probe *p, const struct probe_gil_event *in)
{
	uint32_t proc = p->arena->thread[in->head.thread].proc;
	struct arena_lock *gil = gil_find(p, proc, in->head.e.object);
	int holder = gil && in->holder.thread ? thread_find(p, proc, in->holder.thread, in->head.e.time) : -1;
	if (holder < 0)
		return;
	watch_holder_seen(p->watch, in->head.thread, (uint32_t)holder, in->head.e.time, &in->holder);
	if (gil->holder == (uint32_t)holder + 1)
		return;
	uint64_t released = *released_of(p, proc, gil);
	gil->holder = (uint32_t)holder + 1;
	gil->since = released > in->head.e.start ? released : 0;
}

static int event_take(void *context, void *data, size_t size)
{
	struct probe *p = context;
	const struct probe_event *e = data;
	if (size < sizeof *e || e->thread >= ARENA_THREADS)
		return 0;
	if (p->thread_serial[e->thread] != e->serial)
		entries_adopt(p);
	if (p->thread_serial[e->thread] != e->serial || p->arena->thread[e->thread].proc >= ARENA_PROCS)
		return 0;
	if (e->kind == PROBE_EVENT)
		plain_event(p, e);
	else if (e->kind == PROBE_WAKE)
		wake_event(p, e);
	else if (e->kind == PROBE_GIL && size >= sizeof(struct probe_gil_event))
		gil_event(p, data);
	return p->full ? -EAGAIN : 0;
}

bool probe_pump(struct probe *p, struct arena *arena, struct watch *watch)
{
	bool ended[ARENA_THREADS];
	p->arena = arena;
	p->watch = watch;
	p->full = false;
	if (!p->ring)
		p->ring = ring_buffer__new(bpf_object__find_map_fd_by_name(p->object, "events"), event_take,
					   p, NULL);
	entries_give_back(p);
	entries_adopt(p);
	for (uint32_t i = 0; i < arena->thread_high;
	     i++) /* before the events: those that it ended with are there */
		ended[i] = p->thread_mine[i] && p->threads[i].state == THREAD_ENDED;
	if (p->ring)
		ring_buffer__consume(p->ring);
	arena->procs_refused = *p->procs_refused;
	for (uint32_t i = 0; i < arena->proc_high; i++)
		if (p->proc_mine[i])
			proc_copy(&p->procs[i], &arena->proc[i]);
	for (uint32_t i = 0; i < arena->thread_high; i++) {
		if (!p->thread_mine[i] || arena->thread[i].state != THREAD_LIVE)
			continue;
		thread_copy(p, i);
		if (ended[i] && !p->full) {
			arena->thread[i].end = p->threads[i].end;
			arena->thread[i].killed = p->threads[i].killed;
			arena->thread[i].state = THREAD_ENDED;
		}
	}
	return !p->full;
}

void probe_locks(struct probe *p, uint32_t proc, const struct probe_lock *locks, uint32_t n,
		 const struct probe_frames_layout *layout)
{
	if (proc >= ARENA_PROCS)
		return;
	struct probe_proc *to = &p->procs[proc];
	to->layout = *layout;
	for (uint32_t i = 0; i < n && i < PROBE_LOCKS; i++)
		to->lock[i] = locks[i];
	__atomic_store_n(&to->locks, n < PROBE_LOCKS ? n : PROBE_LOCKS, __ATOMIC_RELEASE);
}

void probe_before(struct probe *p, uint32_t thread)
{
	if (thread < ARENA_THREADS && p->threads[thread].taken && !p->threads[thread].loop_object)
		p->threads[thread].before = p->threads[thread].start;
}
