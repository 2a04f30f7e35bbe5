/* SPDX-License-Identifier: MIT
 *
 * All threads of a process, looked at twice. The first look is cheap and finds out who runs; the second takes
 * stacks: of a blocked thread from where it stands, of a running one the last that the kernel's clock
 * sampled in between.
 */
#include "dump_threads.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "merge.h"
#include "runner.h"

#define PERF_HZ 400u
#define PERF_MAX 16 /* threads sampled */
#define NATIVE_FRAMES 256
#define TRIES 4
#define FEW 256 /* threads that are asked again */

static void peek(struct dump_look *l, pid_t tid, struct dump_peek *p, struct native_sample *sample)
{
	struct proc_status s;
	p->number = -EAGAIN;
	for (int i = 0; i < TRIES && p->number == -EAGAIN; i++) {
		p->number = blocked_sample(l->pid, tid, sample, p->args);
		if (proc_times(l->pid, tid, &p->times))
			p->number = -ESRCH;
		if (p->times.state == 'R')
			break;
	}
	p->voluntary = proc_status(l->pid, tid, &s) ? -1 : s.voluntary;
}

static void perf_take(void *arg, const struct native_sample *sample)
{
	struct dump_seen *s = arg;
	if (!s->sample)
		s->sample = xcalloc(1, sizeof(*s->sample));
	*s->sample = *sample;
}

/* false: the kernel does not let us */
static bool perf_start(struct dump_look *l, struct dump_seen *s, pid_t tid)
{
	s->perf = perf_sampler_open(tid, PERF_HZ);
	if (s->perf) {
		perf_sampler_enable(s->perf, true);
		return true;
	}
	if (errno == ESRCH)
		return true;
	dump_note(l->dump,
		  "No native frames of running threads: the kernel denies perf_event_open. Try: sudo "
		  "sysctl kernel.perf_event_paranoid=2");
	return false;
}

static void gils_read(struct dump_look *l, pid_t holders[], uint64_t turns[])
{
	for (int i = 0; i < l->lock_count; i++) {
		struct interp_thread key = {0};
		turns[i] = UINT64_MAX;
		holders[i] = 0;
		int e = l->ops->lock_holder(l->interp, l->locks[i].address, &key);
		if (!e)
			holders[i] = key.tid;
		if (l->ops->lock_turns(l->interp, l->locks[i].address, &turns[i]))
			turns[i] = UINT64_MAX;
	}
}

/* With all that the second look fills in not known. */
static struct dump_seen *thread_add(struct dump_look *l, pid_t tid)
{
	*vec_push(&l->dump->threads) = (struct dump_thread){
		.tid = tid, .cpu_ns = -1, .cpu_share = -1, .tick_ns = -1, .wait = {.ns = -1}};
	struct dump_seen *s = vec_push(&l->seen);
	s->first = (struct dump_peek){.times = {.cpu_ns = -1}, .number = -ESRCH};
	return s;
}

/* Those that were born since the first look. */
static void threads_new(struct dump_look *l)
{
	pid_t *tids = xcalloc(DUMP_THREADS, sizeof(*tids));
	bool more;
	int n = proc_threads(l->pid, tids, DUMP_THREADS, &more);
	for (int i = 0; i < n && l->seen.n < DUMP_THREADS; i++)
		if (dump_thread_of(l->dump, tids[i]) < 0)
			thread_add(l, tids[i]);
	free(tids);
}

int dump_threads_begin(struct dump_look *l, bool native)
{
	pid_t *tids = xcalloc(DUMP_THREADS, sizeof(*tids));
	bool more, perf = native;
	int sampled = 0, n = proc_threads(l->pid, tids, DUMP_THREADS, &more);
	l->began = now_ns();
	if (l->interp) {
		int locks = l->ops->locks(l->interp, l->locks, DUMP_LOCKS);
		l->lock_count = locks > 0 ? locks : 0;
		gils_read(l, l->holders, l->turns);
	}
	for (int i = 0; i < n; i++) {
		struct dump_seen *s = thread_add(l, tids[i]);
		peek(l, tids[i], &s->first, NULL);
		for (int k = 0; k < TRIES && s->first.number == -EAGAIN && n < FEW; k++) {
			sched_yield();
			peek(l, tids[i], &s->first, NULL);
		}
		if (perf && s->first.number == -EAGAIN && sampled++ < PERF_MAX)
			perf = perf_start(l, s, tids[i]);
	}
	if (more)
		dump_note(l->dump, "It has more than 4,096 threads; the others were not looked at.");
	free(tids);
	return n < 0 ? n : 0;
}

static void name_read(struct dump_look *l, struct dump_thread *t)
{
	struct proc_status s;
	char name[256] = "";
	struct interp_thread key = {.tid = t->tid};
	if (proc_status(l->pid, t->tid, &s))
		return;
	t->ns_tid = s.ns_pid;
	t->tracer = s.tracer;
	if (!l->interp || l->ops->thread_name(l->interp, key, name, sizeof(name)) || !name[0])
		snprintf(name, sizeof(name), "%s", s.name);
	t->name = intern_text(name, strlen(name));
}

static int native_frames(struct dump_look *l, const struct native_sample *sample, struct frame *out,
			 bool *cut)
{
	uint64_t pcs[NATIVE_FRAMES];
	int n = native_unwind(l->native, sample, pcs, NATIVE_FRAMES, cut), count = 0;
	for (int i = 0; i < n && count < STACK_MAX; i++) {
		int got = native_symbolize(l->native, pcs[i], i == 0, out + count, STACK_MAX - count);
		/* our own wrapper between the caller and libc is nobody's business */
		bool own = out[count].module && !strcmp(out[count].module, "libwhystall.so");
		count += got > 0 && !own ? got : 0;
	}
	return count;
}

static void stack_read(struct dump_look *l, struct dump_thread *t, const struct native_sample *sample)
{
	static struct stack python, merged; /* too large for a stack */
	static struct frame native[STACK_MAX];
	bool cut = false;
	int n = 0;
	python.n = python.cut = 0;
	if (l->interp) {
		int e = l->ops->stack(l->interp, (struct interp_thread){.tid = t->tid}, &python);
		if (e)
			python.n = python.cut = 0;
	}
	if (l->native && sample && now_ns() < l->deadline)
		n = native_frames(l, sample, native, &cut);
	t->native = n > 0;
	stack_merge(&merged, native, n, &python, l->ops);
	t->n = merged.n;
	t->cut = cut || merged.cut;
	t->frames = xcalloc((size_t)merged.n, sizeof(*t->frames));
	memcpy(t->frames, merged.at, (size_t)merged.n * sizeof(*t->frames));
	for (int i = 0; i < t->n && !t->runner; i++)
		if (runner_frame(&t->frames[i]) ||
		    (t->frames[i].kind == FRAME_NATIVE && !strcmp(t->frames[i].function, "uv_run")))
			t->runner = t->frames[i].function;
}

static enum dump_state state_of(const struct dump_peek *p, const struct dump_thread *t, double waiting)
{
	switch (p->times.state) {
	case 'T':
		return DUMP_STOPPED;
	case 't':
		return DUMP_TRACED;
	case 'Z':
	case 'X':
		return DUMP_ENDED;
	case 'R':
		return t->cpu_share >= 0 && t->cpu_share < 0.05 && waiting > 0.5 ? DUMP_RUNNABLE
										 : DUMP_RUNNING;
	default:
		return p->number == -ESRCH ? DUMP_ENDED : p->number == -EAGAIN ? DUMP_RUNNING : DUMP_BLOCKED;
	}
}

/* Since the first look; negative: not known. */
static double cpu_share(const struct dump_look *l, const struct dump_seen *s)
{
	int64_t before = s->first.times.cpu_ns, after = s->last.times.cpu_ns;
	uint64_t span = now_ns() - l->began;
	return before < 0 || after < before || !span ? -1 : (double)(after - before) / (double)span;
}

static void thread_read(struct dump_look *l, int i)
{
	struct dump_thread *t = &l->dump->threads.at[i];
	struct dump_seen *s = &l->seen.at[i];
	struct native_sample *sample = l->native ? xcalloc(1, sizeof(*sample)) : NULL;
	double waiting = 0;
	uint64_t lost = 0;
	name_read(l, t);
	peek(l, t->tid, &s->last, sample);
	/* who waits for the GIL wakes up every now and then: caught at that, ask again */
	for (int i = 0; i < TRIES && s->last.number == -EAGAIN && cpu_share(l, s) < 0.5; i++) {
		sched_yield();
		peek(l, t->tid, &s->last, sample);
	}
	const struct proc_times *a = &s->first.times, *b = &s->last.times;
	t->cpu_ns = b->cpu_ns;
	t->cpu_share = cpu_share(l, s);
	if (t->cpu_share >= 0)
		waiting = (double)(b->delay_ns - a->delay_ns) / (double)(now_ns() - l->began);
	t->state = state_of(&s->last, t, waiting);
	if (s->perf)
		perf_sampler_drain(s->perf, perf_take, s, &lost);
	bool standing = s->last.number >= 0;
	stack_read(l, t, standing ? sample : s->sample);
	free(sample);
}

/* Threads that ended meanwhile are no longer of interest. */
static void threads_drop(struct dump_look *l)
{
	size_t kept = 0;
	for (size_t i = 0; i < l->seen.n; i++) {
		if (l->seen.at[i].last.number == -ESRCH && l->dump->threads.at[i].state == DUMP_ENDED) {
			perf_sampler_close(l->seen.at[i].perf);
			free(l->seen.at[i].sample);
			free(l->dump->threads.at[i].frames);
			continue;
		}
		l->seen.at[kept] = l->seen.at[i];
		l->dump->threads.at[kept++] = l->dump->threads.at[i];
	}
	l->seen.n = l->dump->threads.n = kept;
}

/* How long each has slept by now, by the clock of the CPU that it slept in on. */
static void sleeps_measure(struct dump_look *l)
{
	for (int cpu = 0, last = 0; cpu <= last; cpu++) {
		int64_t now = 0;
		for (size_t i = 0; i < l->seen.n; i++) {
			const struct proc_times *b = &l->seen.at[i].last.times;
			last = b->cpu > last ? b->cpu : last;
			if (b->cpu != cpu || b->ran_ns < 0 || l->dump->threads.at[i].state != DUMP_BLOCKED)
				continue;
			now = now ? now : proc_clock(cpu);
			if (now > 0 && now >= b->ran_ns)
				l->dump->threads.at[i].wait.ns = now - b->ran_ns;
		}
	}
	proc_clock_end();
}

static void gils_note(struct dump_look *l)
{
	pid_t holders[DUMP_LOCKS];
	uint64_t turns[DUMP_LOCKS];
	gils_read(l, holders, turns);
	for (int i = 0; i < l->lock_count; i++) {
		struct dump_gil *g = vec_push(&l->dump->gils);
		pid_t ns_tid = 0;
		bool same = holders[i] && holders[i] == l->holders[i] && turns[i] == l->turns[i] &&
			    turns[i] != UINT64_MAX;
		*g = (struct dump_gil){.address = l->locks[i].address, .holder = holders[i], .ns = -1};
		g->free = !holders[i] && l->ops->lock_holder(l->interp, l->locks[i].address,
							     &(struct interp_thread){0}) == -ENOENT;
		int holder = dump_thread_of(l->dump, g->holder);
		if (holder >= 0)
			l->dump->threads.at[holder].gil = true;
		uint64_t since = dump_arena_held(l->arena, l->locks[i].freed, &ns_tid);
		if (since && holder >= 0 && l->dump->threads.at[holder].ns_tid == ns_tid &&
		    since < l->ended) {
			g->ns = (int64_t)(l->ended - since);
		} else if (same) {
			g->ns = (int64_t)(l->ended - l->began);
			g->at_least = true;
		}
		l->holders[i] = holders[i];
		l->turns[i] = same ? turns[i] : UINT64_MAX;
	}
}

void dump_threads_end(struct dump_look *l)
{
	struct dump *d = l->dump;
	threads_new(l);
	for (size_t i = 0; i < l->seen.n; i++)
		thread_read(l, (int)i);
	threads_drop(l);
	l->arena = dump_arena_read(l->pid, d->process.ns_pid, &l->maps);
	d->shim = l->arena != NULL;
	l->ended = now_ns();
	if (l->interp)
		gils_note(l);
	sleeps_measure(l);
	for (size_t i = 0; i < d->threads.n; i++)
		dump_wait(l, (int)i);
}

void dump_threads_close(struct dump_look *l)
{
	for (size_t i = 0; i < l->seen.n; i++) {
		perf_sampler_close(l->seen.at[i].perf);
		free(l->seen.at[i].sample);
	}
	vec_free(&l->seen);
	vec_free(&l->within);
}
