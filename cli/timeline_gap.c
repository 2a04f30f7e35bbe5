/* SPDX-License-Identifier: MIT
 *
 * What the loop thread did where no wait of it was stamped (timeline.h): each look counts for the time
 * nearest to it. It found the thread blocked in a call that nobody stamped, stopped, or in the cycle
 * collector; else the thread ran, wanted to run, or was blocked in page faults, and how much of each there
 * was is told by the kernel's own counts at the looks. The rest is unknown.
 */
#include <stdlib.h>
#include <string.h>

#include "timeline.h"

/* Scheduler counts are read a little before and after a stall: differences below this are no evidence. */
#define SLACK_NS 1000000
#define UNSEEN_NS 10000000
#define NEAR_NS 50000000
/* A running thread's CPU time is brought up to date by the scheduler's tick. */
#define COUNTED_EVERY_NS 10000000

enum doing { DOING_WORK, DOING_FAULT, DOING_COLLECT, DOING_CALL, DOING_STOP };

struct look {
	const struct obs_sample *seen;
	uint64_t time;
	bool counts; /* it read no more than the kernel's counts, so it found what its neighbour did */
	enum doing doing;
};
typedef VEC(struct look) looks_t;

/* Of a part: ns by what they went to, as far as it was seen. */
struct shares {
	uint64_t seen, cpu, delay, fault;
	uint64_t faults; /* how many */
};

struct gap {
	const struct judge *judge;
	uint64_t start, end;
	looks_t looks;
	struct shares all; /* of all its parts that are not calls or stops */
};

bool judge_collects(const struct judge *j, const struct obs_sample *s)
{
	int n = 0;
	if (s->collects)
		return s->collects != COLLECTS_NOT;
	const uint32_t *ids = verdict_stack(j->seen, s->stack, &n);
	for (int i = 0; i < n; i++)
		if (verdict_frame(j->seen, ids[i])->origin == ORIGIN_COLLECTOR)
			return true;
	return false;
}

static bool faults_rise(const struct obs_sample *a, const struct obs_sample *b)
{
	return a->faults >= 0 && b->faults > a->faults;
}

static enum doing doing_of(const struct gap *g, size_t i)
{
	const struct obs_sample *s = g->looks.at[i].seen;
	bool before = i > 0 && faults_rise(g->looks.at[i - 1].seen, s);
	bool after = i + 1 < g->looks.n && faults_rise(s, g->looks.at[i + 1].seen);
	if (s->run == RUN_BLOCKED && s->syscall)
		return DOING_CALL;
	if (s->run == RUN_STOPPED)
		return DOING_STOP;
	if (judge_collects(g->judge, s))
		return DOING_COLLECT;
	return s->run == RUN_FAULTING || before || after ? DOING_FAULT : DOING_WORK;
}

/* The wait that the gap ends with: what a look into it counts was there when it began, for the thread sleeps.
 */
static bool wait_follows(const struct gap *g, const struct obs_sample *s)
{
	const struct judge *j = g->judge;
	for (size_t i = 0; i < j->wait_count; i++)
		if (j->waits[i].start_ns == g->end && j->waits[i].end_ns >= s->time_ns)
			return s->run == RUN_BLOCKED || s->run == RUN_STOPPED;
	return false;
}

static void look_add(struct gap *g, const struct obs_sample *s)
{
	struct look *look = vec_push(&g->looks);
	look->seen = s;
	look->time = s->time_ns < g->end ? s->time_ns : g->end;
	look->counts = look->time == g->end || (s->time_ns == g->start && !s->stack);
}

static void looks_collect(struct gap *g)
{
	const struct judge *j = g->judge;
	bool after = false;
	for (size_t i = 0; i < j->sample_count && !after; i++) {
		const struct obs_sample *s = &j->samples[i];
		if (s->thread != j->loop_thread || s->time_ns < g->start)
			continue;
		after = s->time_ns > g->end;
		if (!after || wait_follows(g, s))
			look_add(g, s);
	}
	looks_t *l = &g->looks;
	for (size_t i = 0; i < l->n; i++)
		l->at[i].doing = l->at[i].counts ? DOING_WORK : doing_of(g, i);
	if (l->n > 1 && l->at[0].counts)
		l->at[0].doing = l->at[1].doing;
	if (l->n > 1 && l->at[l->n - 1].counts)
		l->at[l->n - 1].doing = l->at[l->n - 2].doing;
}

static uint64_t middle(const struct look *a, const struct look *b)
{
	return a->time + (b->time - a->time) / 2;
}

/* What the counts say of [start, end], by the looks one after the other whose middle lies in it. */
static struct shares shares_count(const struct gap *g, uint64_t start, uint64_t end)
{
	struct shares sum = {0};
	int64_t fault = 0;
	for (size_t i = 1; i < g->looks.n; i++) {
		const struct look *a = &g->looks.at[i - 1], *b = &g->looks.at[i];
		uint64_t at = middle(a, b);
		if (at < start || at >= end || a->doing >= DOING_CALL || b->doing >= DOING_CALL ||
		    a->seen->cpu_ns < 0 || b->seen->cpu_ns < a->seen->cpu_ns ||
		    b->seen->delay_ns < a->seen->delay_ns)
			continue;
		uint64_t time = b->time - a->time, cpu = (uint64_t)(b->seen->cpu_ns - a->seen->cpu_ns),
			 delay = (uint64_t)(b->seen->delay_ns - a->seen->delay_ns);
		sum.seen += time;
		sum.cpu += cpu;
		sum.delay += delay;
		if (faults_rise(a->seen, b->seen))
			sum.faults += (uint64_t)(b->seen->faults - a->seen->faults);
		bool unknown = a->seen->faults < 0 || b->seen->faults < 0;
		if (a->seen->run == RUN_FAULTING || b->seen->run == RUN_FAULTING ||
		    faults_rise(a->seen, b->seen) ||
		    (unknown && a->doing == DOING_FAULT && b->doing == DOING_FAULT))
			fault += (int64_t)(time - cpu - delay);
	}
	sum.fault = fault > 0 ? (uint64_t)fault : 0;
	return sum;
}

static void span_add(spans_t *out, enum span_kind kind, uint64_t start, uint64_t end)
{
	if (end <= start)
		return;
	struct span *s = vec_push(out);
	s->kind = kind;
	s->start_ns = start;
	s->end_ns = end;
}

/* A part in which the thread worked, collected or faulted: the order within is not known. */
static void busy_add(const struct gap *g, spans_t *out, uint64_t start, uint64_t end, enum doing doing)
{
	uint64_t length = end - start;
	struct shares s = shares_count(g, start, end);
	if (s.seen < length / 2 && g->all.seen)
		s = g->all;
	enum span_kind kind = doing == DOING_COLLECT ? SPAN_COLLECTING : SPAN_RUNNING;
	if (!s.seen) {
		/* neither looked at nor counted (whystall itself had no CPU): nobody knows */
		if (!g->looks.n && length >= UNSEEN_NS)
			kind = SPAN_UNKNOWN;
		else if (doing == DOING_FAULT)
			kind = SPAN_FAULT;
		span_add(out, kind, start, end);
		return;
	}
	double seen = (double)s.seen;
	/* the delay in getting a CPU before a wake-up may be counted in it */
	uint64_t most = s.cpu < s.seen ? s.seen - s.cpu : 0;
	uint64_t delay = s.delay < SLACK_NS ? 0 : s.delay > most ? most : s.delay;
	uint64_t fault = s.fault < SLACK_NS ? 0 : s.fault > s.seen - delay ? s.seen - delay : s.fault;
	bool all = s.cpu + delay + fault + COUNTED_EVERY_NS + s.seen / 20 >= s.seen;
	uint64_t ran = (uint64_t)((double)(all ? s.seen - delay - fault : s.cpu) / seen * (double)length);
	uint64_t faulted = (uint64_t)((double)fault / seen * (double)length);
	uint64_t wanted = all ? length - ran - faulted : (uint64_t)((double)delay / seen * (double)length);
	if (all && !delay) {
		ran += wanted;
		wanted = 0;
	}
	span_add(out, kind, start, start + ran);
	span_add(out, SPAN_RUNNABLE, start + ran, start + ran + wanted);
	span_add(out, SPAN_FAULT, start + ran + wanted, start + ran + wanted + faulted);
	if (faulted)
		out->at[out->n - 1].faults = s.faults;
	span_add(out, SPAN_UNKNOWN, start + ran + wanted + faulted, end);
}

static void part_add(const struct gap *g, spans_t *out, uint64_t start, uint64_t end, const struct look *look)
{
	enum doing doing = look ? look->doing : DOING_WORK;
	if (end <= start)
		return;
	if (g->judge->exact) { /* whatever it waited for was told */
		span_add(out, doing == DOING_COLLECT ? SPAN_COLLECTING : SPAN_RUNNING, start, end);
		return;
	}
	if (doing < DOING_CALL) {
		busy_add(g, out, start, end, doing);
		return;
	}
	span_add(out, doing == DOING_STOP ? SPAN_STOPPED : SPAN_CALL, start, end);
	struct span *span = &out->at[out->n - 1];
	span->syscall = doing == DOING_STOP ? NULL : look->seen->syscall;
	span->target = doing == DOING_STOP ? NULL : look->seen->target;
}

static bool looks_join(const struct look *a, const struct look *b)
{
	return a->doing == b->doing && (a->doing != DOING_CALL || a->seen->syscall == b->seen->syscall);
}

/* Part by part: a run of looks that found the same. */
static void parts_add(const struct gap *g, spans_t *out)
{
	uint64_t at = g->start;
	for (size_t i = 1; i < g->looks.n; i++) {
		const struct look *a = &g->looks.at[i - 1], *b = &g->looks.at[i];
		if (looks_join(a, b))
			continue;
		uint64_t to = middle(a, b);
		part_add(g, out, at, to, a);
		at = to;
	}
	part_add(g, out, at, g->end, g->looks.n ? &g->looks.at[g->looks.n - 1] : NULL);
}

/* The counts of the gap as a whole: by its looks, or, for a stall without a wait that was hardly looked at,
 * by those at its ends. The delay in getting a CPU after a wait belongs to that wait. */
static void gap_count(struct gap *g)
{
	const struct obs_stall *stall = g->judge->stall;
	uint64_t length = g->end - g->start;
	uint64_t late = 0;
	g->all = shares_count(g, g->start, g->end);
	for (size_t i = 0; i < g->judge->wait_count; i++)
		if (g->judge->waits[i].what == WAIT_RUNQUEUE)
			late += g->judge->waits[i].end_ns - g->judge->waits[i].start_ns;
		else
			return;
	if (stall->cpu_ns < 0 || stall->delay_ns < 0 || g->all.seen >= length / 2)
		return;
	for (size_t i = 0; i < g->looks.n; i++) /* nor does a part of it that is something else */
		if (g->looks.at[i].doing >= DOING_CALL)
			return;
	uint64_t cpu = (uint64_t)stall->cpu_ns, delay = (uint64_t)stall->delay_ns;
	delay = delay > late ? delay - late : 0;
	g->all = (struct shares){.seen = length, .cpu = cpu, .delay = delay};
	if (stall->faults > 0 && cpu + delay < length)
		g->all.fault = length - cpu - delay, g->all.faults = (uint64_t)stall->faults;
}

/* The scheduler was watched, and this piece between two of its doings is too short for a look of its own: the
 * nearest look at the thread at work counts for it too. */
static void near_collect(struct gap *g)
{
	const struct judge *j = g->judge;
	const struct obs_sample *near = NULL;
	uint64_t best = NEAR_NS;
	for (size_t i = 0; i < j->sample_count; i++) {
		const struct obs_sample *s = &j->samples[i];
		uint64_t away = s->time_ns < g->start ? g->start - s->time_ns
				: s->time_ns > g->end ? s->time_ns - g->end
						      : 0;
		if (s->thread != j->loop_thread || !s->stack || s->run == RUN_BLOCKED || away >= best)
			continue;
		best = away;
		near = s;
	}
	if (near) {
		look_add(g, near);
		g->looks.at[0].doing = judge_collects(j, near) ? DOING_COLLECT : DOING_WORK;
	}
}

void timeline_gap(const struct judge *j, spans_t *out, uint64_t start, uint64_t end)
{
	struct gap g = {.judge = j, .start = start, .end = end};
	looks_collect(&g);
	if (j->exact && !g.looks.n)
		near_collect(&g);
	gap_count(&g);
	parts_add(&g, out);
	vec_free(&g.looks);
}
