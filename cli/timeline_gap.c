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
/* A wait for a CPU or memory that was seen one by one and is at least so long is a span of its own: of
 * shorter ones there may be thousands. */
#define EXACT_NS 1000000

enum doing { DOING_WORK, DOING_FAULT, DOING_COLLECT, DOING_CALL, DOING_STOP };

struct look {
	const struct obs_sample *seen;
	uint64_t time;
	bool counts; /* it read no more than the kernel's counts, so it found what its neighbour did: */
	const struct obs_sample *told;
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

static bool is_asleep(const struct obs_wait *w)
{
	return w->what == WAIT_LOCK || w->what == WAIT_CALL || w->what == WAIT_STOPPED;
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

#define NEXT_NS 500000 /* between two waits: too little to count */

/* The wait that the gap ends with, and those that follow at once: what a look into one counts was there when
 * it began, for the thread sleeps. */
static bool wait_follows(const struct gap *g, const struct obs_sample *s)
{
	const struct judge *j = g->judge;
	uint64_t at = g->end;
	for (size_t i = 0; i < j->wait_count && at + NEXT_NS > j->waits[i].start_ns; i++) {
		if (!is_asleep(&j->waits[i]) || j->waits[i].start_ns < at)
			continue;
		at = j->waits[i].end_ns;
		if (at >= s->time_ns)
			return s->run == RUN_BLOCKED || s->run == RUN_STOPPED;
	}
	return false;
}

static void look_add(struct gap *g, const struct obs_sample *s)
{
	struct look *look = vec_push(&g->looks);
	look->seen = s;
	look->time = s->time_ns < g->end ? s->time_ns : g->end;
	const struct obs_stall *stall = g->judge->stall;
	look->counts = look->time == g->end || (!s->stack && s->time_ns == stall->start_ns);
}

static void look_copy(struct look *to, const struct look *from)
{
	to->doing = from->doing;
	to->told = from->told;
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
	for (size_t i = 0; i < l->n; i++) {
		l->at[i].doing = l->at[i].counts ? DOING_WORK : doing_of(g, i);
		l->at[i].told = l->at[i].seen;
	}
	if (l->n > 1 && l->at[0].counts && !l->at[1].counts)
		look_copy(&l->at[0], &l->at[1]);
	if (l->n > 1 && l->at[l->n - 1].counts && !l->at[l->n - 2].counts)
		look_copy(&l->at[l->n - 1], &l->at[l->n - 2]);
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
		/* what waits for a CPU all the while is counted once it gets one */
		if (!cpu && !delay && time >= COUNTED_EVERY_NS && a->seen->run == RUN_RUNNING &&
		    b->seen->run == RUN_RUNNING)
			delay = time;
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

/* Waits for a CPU or for memory that were seen one by one; all of them in an eBPF capture. */
static bool is_exact(const struct obs_wait *w, uint64_t start, uint64_t end)
{
	return (w->what == WAIT_FAULT || w->what == WAIT_RUNQUEUE) && w->start_ns < end &&
	       w->end_ns > start && w->end_ns > w->start_ns;
}

static struct shares shares_exact(const struct gap *g, uint64_t start, uint64_t end, uint64_t least)
{
	struct shares sum = {.seen = end - start};
	for (size_t i = 0; i < g->judge->wait_count; i++) {
		const struct obs_wait *w = &g->judge->waits[i];
		if (!is_exact(w, start, end) || w->end_ns - w->start_ns < least)
			continue;
		uint64_t from = w->start_ns > start ? w->start_ns : start,
			 ns = (w->end_ns < end ? w->end_ns : end) - from;
		*(w->what == WAIT_FAULT ? &sum.fault : &sum.delay) += ns;
		sum.faults += w->what == WAIT_FAULT;
	}
	if (sum.delay + sum.fault > sum.seen) /* they overlap: nonsense */
		return (struct shares){.seen = end - start, .cpu = end - start};
	sum.cpu = sum.seen - sum.delay - sum.fault;
	return sum;
}

static void span_add(spans_t *out, enum span_kind kind, uint64_t start, uint64_t end)
{
	if (end <= start)
		return;
	struct span *s = vec_push(out);
	s->kind = kind;
	s->start_ns = s->from_ns = start;
	s->end_ns = s->to_ns = end;
}

/* Where every longer wait was told one by one. Of page faults there may be thousands of short ones, which
 * only the counts have. */
static struct shares shares_told(const struct shares *told, const struct shares *counted)
{
	struct shares s = *told;
	if (counted->seen < s.seen / 2 || !counted->faults)
		return s;
	uint64_t fault = (uint64_t)((double)counted->fault * (double)s.seen / (double)counted->seen);
	uint64_t most = s.seen - s.delay;
	s.fault = fault > s.fault ? fault < most ? fault : most : s.fault;
	s.faults = counted->faults > s.faults ? counted->faults : s.faults;
	s.cpu = s.seen - s.delay - s.fault;
	return s;
}

/* What there is of each between waits that are spans of their own: the order is not known. */
struct mix {
	enum span_kind kind;
	uint64_t from_ns, to_ns;     /* the part that it is the mix of */
	double ran, wanted, faulted; /* shares */
	uint64_t faults;
};

static void mix_add(spans_t *out, const struct mix *m, uint64_t start, uint64_t end)
{
	double length = (double)(end - start);
	uint64_t ran = start + (uint64_t)(length * m->ran), wanted = ran + (uint64_t)(length * m->wanted),
		 faulted = wanted + (uint64_t)(length * m->faulted);
	bool all = m->ran + m->wanted + m->faulted > 0.9999;
	if (all) /* what rounding leaves is no span of its own */
		*(m->faulted > 0 ? &faulted : m->wanted > 0 ? &wanted : &ran) = end;
	if (all && faulted < wanted)
		faulted = wanted;
	size_t first = out->n;
	span_add(out, m->kind, start, ran);
	span_add(out, SPAN_RUNNABLE, ran, wanted);
	size_t before = out->n;
	span_add(out, SPAN_FAULT, wanted, faulted > wanted ? faulted : wanted);
	if (out->n > before)
		out->at[before].faults = m->faults;
	span_add(out, SPAN_UNKNOWN, faulted > wanted ? faulted : wanted, end);
	for (; first < out->n; first++) {
		out->at[first].from_ns = m->from_ns;
		out->at[first].to_ns = m->to_ns;
	}
}

/* A part in which the thread worked, collected or faulted, but for the longer waits that were seen. */
static void mixes_add(const struct gap *g, spans_t *out, const struct mix *m, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < g->judge->wait_count; i++) {
		const struct obs_wait *w = &g->judge->waits[i];
		if (!is_exact(w, start, end) || w->end_ns - w->start_ns < EXACT_NS)
			continue;
		uint64_t from = w->start_ns > start ? w->start_ns : start,
			 to = w->end_ns < end ? w->end_ns : end;
		mix_add(out, m, start, from);
		span_add(out, w->what == WAIT_FAULT ? SPAN_FAULT : SPAN_RUNNABLE, from, to);
		out->at[out->n - 1].faults = w->what == WAIT_FAULT;
		out->at[out->n - 1].target = w->target;
		start = to;
	}
	mix_add(out, m, start, end);
}

static void busy_add(const struct gap *g, spans_t *out, uint64_t start, uint64_t end, enum doing doing)
{
	uint64_t length = end - start;
	struct shares s = shares_count(g, start, end), exact = shares_exact(g, start, end, 0);
	struct shares apart = shares_exact(g, start, end, EXACT_NS);
	struct mix m = {.kind = doing == DOING_COLLECT ? SPAN_COLLECTING : SPAN_RUNNING,
			.from_ns = start,
			.to_ns = end};
	if (s.seen < length / 2 && g->all.seen)
		s = g->all;
	if (g->judge->exact)
		s = shares_told(&exact, &s);
	else if (!s.seen && exact.delay + exact.fault)
		s = exact;
	if (!s.seen) {
		/* neither looked at nor counted (whystall itself had no CPU): nobody knows */
		bool unknown = !g->looks.n && length >= UNSEEN_NS;
		m.ran = !unknown && doing != DOING_FAULT;
		m.faulted = !unknown && doing == DOING_FAULT;
		m.faults = 1;
		mix_add(out, &m, start, end);
		return;
	}
	double scale = (double)length / (double)s.seen;
	/* the delay in getting a CPU before a wake-up may be counted in it */
	uint64_t most = s.cpu < s.seen ? s.seen - s.cpu : 0;
	uint64_t delay = s.delay < SLACK_NS ? 0 : s.delay > most ? most : s.delay;
	uint64_t fault = s.fault < SLACK_NS ? 0 : s.fault > s.seen - delay ? s.seen - delay : s.fault;
	bool all = s.cpu + delay + fault + COUNTED_EVERY_NS + s.seen / 20 >= s.seen;
	double wanted = (double)delay * scale, faulted = (double)fault * scale;
	wanted = wanted > (double)exact.delay ? wanted : (double)exact.delay;
	faulted = faulted > (double)exact.fault ? faulted : (double)exact.fault;
	double rest = (double)(length - apart.delay - apart.fault);
	if (rest > 0) {
		m.wanted = (wanted - (double)apart.delay) / rest;
		m.faulted = (faulted - (double)apart.fault) / rest;
		m.wanted = m.wanted < 0 ? 0 : m.wanted > 1 ? 1 : m.wanted;
		m.faulted = m.faulted < 0 ? 0 : m.faulted > 1 - m.wanted ? 1 - m.wanted : m.faulted;
		m.ran = all ? 1 - m.wanted - m.faulted : (double)s.cpu * scale / rest;
		m.ran = m.ran > 1 - m.wanted - m.faulted ? 1 - m.wanted - m.faulted : m.ran;
	}
	m.faults = s.faults > exact.faults ? s.faults - apart.faults : exact.faults - apart.faults;
	mixes_add(g, out, &m, start, end);
}

static void part_add(const struct gap *g, spans_t *out, uint64_t start, uint64_t end, const struct look *look)
{
	enum doing doing = look ? look->doing : DOING_WORK;
	if (end <= start)
		return;
	if (doing < DOING_CALL || g->judge->exact) { /* where all calls are told, this one was over */
		busy_add(g, out, start, end, doing);
		return;
	}
	span_add(out, doing == DOING_STOP ? SPAN_STOPPED : SPAN_CALL, start, end);
	struct span *span = &out->at[out->n - 1];
	span->syscall = doing == DOING_STOP ? NULL : look->told->syscall;
	span->target = doing == DOING_STOP ? NULL : look->told->target;
}

static bool looks_join(const struct look *a, const struct look *b)
{
	return a->doing == b->doing && (a->doing != DOING_CALL || a->told->syscall == b->told->syscall);
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
	for (size_t i = 0; i < g->judge->wait_count; i++) {
		const struct obs_wait *w = &g->judge->waits[i];
		if (w->what == WAIT_RUNQUEUE)
			late += w->end_ns - w->start_ns;
		else if (w->what != WAIT_FAULT)
			return;
	}
	if (stall->cpu_ns < 0 || stall->delay_ns < 0 || g->all.seen >= length / 2)
		return;
	for (size_t i = 0; i < g->looks.n; i++) /* nor does a part of it that is something else */
		if (g->looks.at[i].doing >= DOING_CALL)
			return;
	uint64_t cpu = (uint64_t)stall->cpu_ns, delay = (uint64_t)stall->delay_ns;
	delay = delay > late ? delay : late;
	uint64_t faults = stall->faults > 0 ? (uint64_t)stall->faults : g->all.faults;
	g->all = (struct shares){.seen = length, .cpu = cpu, .delay = delay, .faults = faults};
	if (faults && cpu + delay < length)
		g->all.fault = length - cpu - delay;
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
