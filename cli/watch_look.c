/* SPDX-License-Identifier: MIT
 *
 * One look at the threads that a stall concerns: the loop's own, the holder of the lock it waits for, and
 * those that wait for the same interpreter's lock (their stacks stand still, so the next holder is known
 * before it runs). Nothing here stops or slows a thread but the perf events on the few that are looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "target.h"
#include "watch_state.h"

#define LOOK_AT_LEAST_NS (5 * NS)
#define PERF_OPEN_MAX 6u
#define PERF_HZ 400u
#define PERF_FRESH_NS 12000000ull /* a native sample this old goes with the frames read now */
#define PERF_STARVED_NS 100000000ull
#define PROVISIONAL_MAX 2048u
#define BASE_AWAY_NS 500000u
#define WAITERS_MAX 8u /* looked at per look */
#define TELL_AGAIN_NS (NS / 20)

int schedstat_read(struct watch_thread *t, int64_t *cpu, int64_t *delay)
{
	char buf[128];
	if (t->schedstat < 0) {
		snprintf(buf, sizeof buf, "/proc/%d/task/%d/schedstat", t->proc->pid, t->seen.tid);
		t->schedstat = open(buf, O_RDONLY | O_CLOEXEC);
		if (t->schedstat < 0)
			return -errno;
	}
	ssize_t n = pread(t->schedstat, buf, sizeof buf - 1, 0);
	if (n <= 0)
		return -ESRCH;
	buf[n] = 0;
	long long c, d;
	if (sscanf(buf, "%lld %lld", &c, &d) != 2)
		return -EPROTO;
	*cpu = c;
	*delay = d;
	return 0;
}

static void perf_take(void *arg, const struct native_sample *sample)
{
	struct watch_thread *t = arg;
	if (!t->perf_latest)
		t->perf_latest = xcalloc(1, sizeof *t->perf_latest);
	*t->perf_latest = *sample;
}

/* Starts sampling a thread that runs; what comes is there at the next look. */
static void perf_start(struct watch *w, struct watch_thread *t)
{
	if (!w->options.native || t->proc->perf_denied || (!t->perf && w->perf_open >= PERF_OPEN_MAX))
		return;
	if (!t->perf) {
		t->perf = perf_sampler_open(t->seen.tid, PERF_HZ);
		if (!t->perf) {
			if (errno != ESRCH) {
				t->proc->perf_denied = true;
				watch_note(w, "no native frames of running threads: the kernel denies "
					      "perf_event_open "
					      "(kernel.perf_event_paranoid at 2 or less gives them)");
			}
			return;
		}
		w->perf_open++;
	}
	if (!t->perf_on)
		perf_sampler_enable(t->perf, true);
	t->perf_on = true;
	t->perf_used = w->now;
}

/* A copy: two loops may be stalled by the same thread. A runtime's frames that are read now go with a fresh
 * one only; without them an older one tells where the thread was then, and mostly is: it had no CPU since. */
static struct native_sample *perf_fresh(struct watch *w, struct watch_thread *t)
{
	uint64_t lost = 0;
	if (!t->perf)
		return NULL;
	perf_sampler_drain(t->perf, perf_take, t, &lost);
	uint64_t oldest = t->proc->interp ? PERF_FRESH_NS : PERF_STARVED_NS;
	if (!t->perf_latest || !t->perf_latest->time || t->perf_latest->time + oldest < w->now)
		return NULL;
	struct native_sample *s = xcalloc(1, sizeof *s);
	*s = *t->perf_latest;
	return s;
}

void watch_look_end(struct watch *w, struct watch_thread *loop)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (t->proc != loop->proc || !t->perf || !t->perf_on)
			continue;
		perf_sampler_enable(t->perf, false);
		t->perf_on = false;
	}
}

static void look_put(struct watch *w, struct watch_stall *s, struct raw_sample *raw)
{
	if (s->kept) {
		raw->seen.stall = s->seen.id;
		writer_add_sample(w->writer, raw);
	} else if (s->provisional.n < PROVISIONAL_MAX) {
		*vec_push(&s->provisional) = *raw;
	} else { /* what did not come back to its wait for so long is hardly a loop */
		free(raw->frames);
		free(raw->native);
	}
}

static void frame_remember(struct watch_thread *t, const struct stack *stack)
{
	for (int i = 0; i < stack->n; i++)
		if (stack->at[i].origin == ORIGIN_USER) {
			t->blamed = stack->at[i];
			return;
		}
	if (stack->n)
		t->blamed = stack->at[0];
}

/* What a loop's call concerns, for when its event comes. */
static void target_remember(struct watch_thread *t, const char *target)
{
	struct now_copy now;
	if (!t->loop || !t->slot || !now_read(t->slot, &now) || now.now != NOW_CALL)
		return;
	if (watch_hook_class(now.hook) ==
	    HOOK_CLASS_NAME) /* what it asks a server meanwhile is another thing */
		target = target_of_string(t->proc->pid, now.object);
	t->loop->call_since = now.since;
	t->loop->call_target = target;
}

/* Reads one thread. `waiting`: it stands still in a wait for a lock, so no native stack is needed unless it
 * is the loop's. */
struct raw_sample watch_look_read(struct watch *w, struct watch_thread *t, bool want_native, bool blocked_ok)
{
	struct watch_proc *p = t->proc;
	struct raw_sample raw = {.seen = {.thread = t->seen.id, .cpu_ns = -1, .delay_ns = -1, .faults = -1},
				 .ops = p->ops};
	static struct stack stack; /* large, and only this thread looks */
	uint64_t args[6] = {0};
	raw.seen.time_ns = now_ns();
	struct native_sample *native = want_native && w->options.native ? xcalloc(1, sizeof *native) : NULL;
	int number = blocked_sample(p->pid, t->seen.tid, native, args);
	raw.seen.run = number >= 0 && blocked_ok ? RUN_BLOCKED : RUN_RUNNING;
	if (want_native)
		watch_run_look(t, number, &raw.seen);
	if (want_native && t->loop)
		watch_fault_look(w, t, &raw.seen);
	if (raw.seen.run == RUN_BLOCKED) {
		raw.seen.syscall = syscall_name(number);
		raw.seen.target = target_of_call(p->pid, raw.seen.syscall, args);
		target_remember(t, raw.seen.target);
	}
	stack.n = 0;
	if (p->interp) {
		struct interp_thread key = {.tid = t->seen.tid, .pthread = t->slot ? t->slot->pthread : 0};
		int result = p->ops->stack(p->interp, key, &stack);
		if (result)
			stack.n = 0;
		if (result == -EPERM || result == -EACCES)
			watch_note(w, "some stacks are missing: a process does not let its memory be read "
				      "(it changed "
				      "its user, or made itself undumpable)");
	}
	if (number < 0 && want_native) {
		free(native);
		native = perf_fresh(w, t);
		perf_start(w, t);
		if (native && native->time + PERF_FRESH_NS < raw.seen.time_ns)
			raw.seen.time_ns = native->time;
	}
	watch_gc_look(t, &raw.seen);
	if (native && !p->box)
		p->box = writer_open_native(w->writer, p->pid);
	schedstat_read(t, &raw.seen.cpu_ns, &raw.seen.delay_ns);
	raw.native = native;
	raw.box = p->box;
	raw.frame_count = stack.n;
	frame_remember(t, &stack);
	if (stack.n) {
		raw.frames = xcalloc((size_t)stack.n, sizeof *raw.frames);
		memcpy(raw.frames, stack.at, (size_t)stack.n * sizeof *raw.frames);
	}
	if (w->now >= t->next_name)
		watch_thread_name(w, t);
	return raw;
}

static void look_thread(struct watch *w, struct watch_thread *t, struct watch_stall *s, bool want_native,
			bool blocked_ok)
{
	struct raw_sample raw = watch_look_read(w, t, want_native, blocked_ok);
	look_put(w, s, &raw);
}

/* Once per wait and stall is enough for a thread that stands still. */
static bool looked_already(struct watch_thread *t, const struct watch_stall *s, uint64_t since)
{
	if (t->looked_since == since && t->looked_stall_start == s->seen.start_ns)
		return true;
	t->looked_since = since;
	t->looked_stall_start = s->seen.start_ns;
	return false;
}

static struct watch_thread *gil_holder(struct watch *w, struct watch_proc *p, uint64_t freed)
{
	for (unsigned i = 0; i < ARENA_LOCKS; i++) {
		if (LOAD(p->slot->lock[i].freed) != freed)
			continue;
		uint32_t holder = LOAD(p->slot->lock[i].holder);
		if (holder && holder <= ARENA_THREADS)
			return w->by_thread_slot[holder - 1];
		struct interp_thread key;
		if (p->interp && !p->ops->lock_holder(p->interp, freed, &key))
			for (size_t k = 0; k < w->threads.n; k++)
				if (w->threads.at[k]->proc == p && w->threads.at[k]->live &&
				    w->threads.at[k]->slot->pthread == key.pthread)
					return w->threads.at[k];
	}
	return NULL;
}

static bool is_gil(const struct watch_proc *p, uint64_t object)
{
	for (unsigned i = 0; i < ARENA_LOCKS; i++)
		if (object && LOAD(p->slot->lock[i].freed) == object)
			return true;
	return false;
}

/* Those that queue for the interpreter's lock too. */
static void look_waiters(struct watch *w, struct watch_thread *loop, struct watch_stall *s, uint64_t freed)
{
	unsigned looked = 0;
	for (size_t i = 0; i < w->threads.n && looked < WAITERS_MAX; i++) {
		struct watch_thread *t = w->threads.at[i];
		struct now_copy now;
		if (t == loop || !t->live || t->proc != loop->proc || !now_read(t->slot, &now) ||
		    now.now != NOW_LOCK || now.object != freed || looked_already(t, s, now.since))
			continue;
		look_thread(w, t, s, false, false);
		looked++;
	}
}

static void frame_text(const struct watch_thread *t, char *buf, size_t size)
{
	const struct frame *f = &t->blamed;
	const char *file = f->file && strrchr(f->file, '/') ? strrchr(f->file, '/') + 1 : f->file;
	if (f->function)
		snprintf(buf, size, "%s %s:%d", f->function, file ? file : "?", f->line);
	else
		snprintf(buf, size, "%s", t->seen.name ? t->seen.name : "a thread");
}

void watch_look_base(struct watch *w, struct watch_thread *t, struct watch_stall *s)
{
	const struct watch_loop *l = t->loop;
	struct raw_sample raw = {.seen = {.thread = t->seen.id,
					  .time_ns = s->seen.start_ns,
					  .run = RUN_RUNNING,
					  .cpu_ns = l->cpu_base,
					  .delay_ns = l->delay_base,
					  .faults = -1}};
	/* what it did in other ticks since is counted too */
	if (l->cpu_base >= 0 && LOAD(t->slot->tick_ns) - l->busy_of_base < BASE_AWAY_NS)
		look_put(w, s, &raw);
}

void watch_look_counts(struct watch *w, struct watch_thread *t, struct watch_stall *s)
{
	struct raw_sample raw = {
		.seen = {.thread = t->seen.id, .time_ns = s->seen.end_ns, .run = RUN_RUNNING}};
	watch_run_read(t);
	raw.seen.faults = t->faults;
	watch_fault_look(w, t, &raw.seen);
	if (!schedstat_read(t, &raw.seen.cpu_ns, &raw.seen.delay_ns))
		look_put(w, s, &raw);
}

/* "GIL", "the import lock of numpy", "a lock": what the thread waits for. */
static void lock_text(const struct watch_thread *t, const struct now_copy *now, char *buf, size_t size)
{
	const struct watch_asked *asked = t->loop ? &t->loop->asked : NULL;
	const char *name = asked && asked->since == now->since ? asked->name : NULL;
	if (is_gil(t->proc, now->object))
		snprintf(buf, size, "GIL");
	else
		snprintf(buf, size, "%s%s", name ? lock_article(name) : "", name ? name : "a lock");
}

void watch_describe(struct watch *w, struct watch_thread *t, char *buf, size_t size)
{
	struct now_copy now;
	char frame[256], lock[300] = "";
	struct watch_thread *holder = t;
	if (!now_read(t->slot, &now))
		now.now = NOW_RUNNING;
	if (now.now == NOW_LOCK) {
		holder = is_gil(t->proc, now.object) ? gil_holder(w, t->proc, now.object)
						     : watch_owner(w, t, &now);
		lock_text(t, &now, lock, sizeof lock);
		if (holder && holder != t) {
			frame_text(holder, frame, sizeof frame);
			if (!strcmp(lock, LOCK_NAME_JOIN))
				snprintf(buf, size, "waiting for a thread to end: %s", frame);
			else if (is_gil(t->proc, now.object))
				snprintf(buf, size, "%s held by %s", lock, frame);
			else /* the line may be cut: who it is comes first */
				snprintf(buf, size, "%s holds %s", frame, lock);
			return;
		}
		holder = t;
	}
	frame_text(holder, frame, sizeof frame);
	if (watch_run_stopped(t))
		snprintf(buf, size, "stopped in %s", frame);
	else if (now.now == NOW_CALL)
		snprintf(buf, size, "%s in %s", watch_hook_call(now.hook), frame);
	else if (now.now == NOW_LOCK)
		snprintf(buf, size, "%s waits for %s", frame, lock);
	else
		snprintf(buf, size, "running %s", frame);
}

static void look_next(struct watch *w, struct watch_stall *s)
{
	uint64_t age = w->now - s->seen.start_ns,
		 period = NS / (w->options.rate_hz ? w->options.rate_hz : 200);
	/* a long stall needs fewer looks a second, not fewer looks */
	if (age > NS / 5)
		period = period < age / 40 ? age / 40 : period;
	if (period > LOOK_AT_LEAST_NS)
		period = LOOK_AT_LEAST_NS;
	s->next_look = w->now + period - period / 8;
}

/* A lock that does not say who has it; a semaphore of which nobody has seen that it was taken (CPython parks
 * at a new one for each wait). */
static bool ownerless(const struct now_copy *now)
{
	enum hook_class class = watch_hook_class(now->hook);
	return class == HOOK_CLASS_FUTEX || (class == HOOK_CLASS_SEM_WAIT && !now->owner);
}

/* The probe sees a futex where the shim sees what it is for. */
static bool may_be_gil(const struct now_copy *now)
{
	enum hook_class class = watch_hook_class(now->hook);
	return class == HOOK_CLASS_COND_WAIT || class == HOOK_CLASS_FUTEX;
}

void watch_look(struct watch *w, struct watch_thread *t, struct watch_stall *s)
{
	struct now_copy now;
	if (!now_read(t->slot, &now))
		return;
	look_next(w, s);
	watch_run_read(t);
	bool stops = watch_stop_look(w, t, s->seen.start_ns);
	if (now.now == NOW_READY) {
		/* past its deadline: stopped, or without a CPU, or it returned meanwhile */
		if (stops || t->run_state == 'R')
			look_thread(w, t, s, true, true);
		return;
	}
	if (now.now == NOW_RUNNING || stops) {
		look_thread(w, t, s, true, true);
		if (now.now == NOW_RUNNING)
			return;
	}
	if (now.now == NOW_LOCK && may_be_gil(&now) && !is_gil(t->proc, now.object) &&
	    w->now > t->proc->told + TELL_AGAIN_NS)
		watch_locks_tell(w, t->proc); /* an interpreter that has just begun? */
	bool first = !looked_already(t, s, now.since);
	if (first)
		look_thread(w, t, s, true, true);
	if (now.now != NOW_LOCK)
		return;
	if (first && !is_gil(t->proc, now.object))
		watch_lock_ask(w, t, &now);
	struct watch_thread *holder = NULL;
	if (is_gil(t->proc, now.object)) {
		holder = gil_holder(w, t->proc, now.object);
		if (holder && holder != t && holder->live)
			look_thread(w, holder, s, true, true);
		look_waiters(w, t, s, now.object);
		return;
	}
	holder = watch_owner(w, t, &now);
	if (holder)
		look_thread(w, holder, s, true, true);
	else if (ownerless(&now) && !watch_lock_nobodys(t, now.since))
		watch_crowd_look(w, t, s);
}
