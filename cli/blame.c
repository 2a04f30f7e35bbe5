/* SPDX-License-Identifier: MIT
 *
 * Who is to blame (timeline.h): from a stack to its culprit, from the looks at a thread to the function it
 * was in, from the holds of a lock to those who kept the loop waiting. Nothing is guessed: a thread that was
 * not looked at in the stall has no function.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "merge.h"
#include "timeline.h"

#define NEAR_NS 25000000ull /* a look this far from a span still tells where the thread was */

const uint32_t *verdict_stack(const struct observations *o, uint32_t s, int *n)
{
	*n = 0;
	if (!s || s >= o->stack_begin.n)
		return NULL;
	*n = (int)(o->stack_begin.at[s] - o->stack_begin.at[s - 1]);
	return o->stack_frames.at + o->stack_begin.at[s - 1];
}

/* Its innermost frame of the given kind and origin, -1: none. */
static int frame_find(const struct observations *o, const uint32_t *ids, int n, enum frame_kind kind,
		      enum frame_origin origin)
{
	for (int i = 0; i < n; i++) {
		const struct frame *f = verdict_frame(o, ids[i]);
		if (f->kind == kind && (!origin || f->origin == origin))
			return i;
	}
	return -1;
}

/* The language whose frames are blamed; JavaScript's only where some of it is not Node's own. */
static enum frame_kind language_of(const struct observations *o, const uint32_t *ids, int n)
{
	if (frame_find(o, ids, n, FRAME_PYTHON, 0) >= 0)
		return FRAME_PYTHON;
	return frame_find(o, ids, n, FRAME_JS, ORIGIN_USER) >= 0 ||
			       frame_find(o, ids, n, FRAME_JS, ORIGIN_PACKAGE) >= 0
		       ? FRAME_JS
		       : FRAME_NATIVE;
}

void blame_stack(const struct observations *o, uint32_t stack, struct culprit *out)
{
	int n, at = -1;
	const uint32_t *ids = verdict_stack(o, stack, &n);
	enum frame_kind kind = ids ? language_of(o, ids, n) : FRAME_NATIVE;
	for (int origin = ORIGIN_USER; ids && at < 0 && origin <= ORIGIN_RUNTIME; origin++)
		at = frame_find(o, ids, n, kind, (enum frame_origin)origin);
	if (at < 0)
		return;
	const struct frame *f = verdict_frame(o, ids[at]);
	out->function = f->function;
	out->file = f->file;
	out->line = f->line;
	if (kind == FRAME_NATIVE)
		return;
	const struct frame *frames[STACK_MAX];
	int count = n < STACK_MAX ? n : STACK_MAX;
	for (int i = 0; i < count; i++)
		frames[i] = verdict_frame(o, ids[i]);
	/* what was running below the innermost frame of the language, on behalf of the one blamed */
	int inner = frame_find(o, ids, n, kind, 0);
	const struct frame *native = inner < count ? stack_native_of(frames, count, inner) : NULL;
	out->native = native ? native->function : NULL;
}

/* Votes of looks for functions; a handful of candidates suffices. The line and the native callee are voted
 * for apart, the callee only by looks that read the native stack. */
struct choice {
	uint64_t weight;
	int line;	    /* of lines */
	const char *native; /* of natives; NULL: none, pure Python ran */
	uint32_t stack;
};
struct choices {
	unsigned n;
	struct choice at[8];
};
struct vote {
	struct culprit culprit;
	uint64_t weight;
	struct choices lines, natives;
};
struct votes {
	unsigned n;
	struct vote at[16]; /* only the first n are anything: all of it is much to clear for every stall */
};

static void choice_add(struct choices *c, int line, const char *native, uint32_t stack, uint64_t weight)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->at[i].line == line && c->at[i].native == native) {
			c->at[i].weight += weight;
			return;
		}
	if (c->n < LENGTH(c->at))
		c->at[c->n++] = (struct choice){weight, line, native, stack};
}

static const struct choice *choice_best(const struct choices *c)
{
	const struct choice *best = NULL;
	for (unsigned i = 0; i < c->n; i++)
		if (!best || c->at[i].weight > best->weight)
			best = &c->at[i];
	return best;
}

/* The one with more than half of the weight, NULL: none. In Python that computes, each look may find another
 * of the small native functions that it calls: then none is to be named. */
static const struct choice *choice_most(const struct choices *c)
{
	const struct choice *best = choice_best(c);
	uint64_t all = 0;
	for (unsigned i = 0; i < c->n; i++)
		all += c->at[i].weight;
	return best && best->weight > all / 2 ? best : NULL;
}

static void vote_add(struct votes *votes, const struct observations *o, const struct obs_sample *s,
		     uint64_t weight)
{
	struct culprit c = {0};
	struct vote *v = NULL;
	blame_stack(o, s->stack, &c);
	if (!c.function)
		return;
	for (unsigned i = 0; i < votes->n && !v; i++)
		if (votes->at[i].culprit.function == c.function && votes->at[i].culprit.file == c.file)
			v = &votes->at[i];
	if (!v && votes->n < LENGTH(votes->at)) {
		v = &votes->at[votes->n++];
		v->culprit = c;
		v->weight = v->lines.n = v->natives.n = 0;
	}
	if (!v)
		return;
	v->weight += weight;
	choice_add(&v->lines, c.line, NULL, s->stack, weight);
	if (s->native)
		choice_add(&v->natives, 0, c.native, s->stack, weight);
}

/* The function with most weight, at its line with most weight, in the native function with most. The stack is
 * one that shows that native function. */
static void votes_result(const struct votes *votes, struct culprit *out, uint32_t *stack)
{
	const struct vote *best = NULL;
	for (unsigned i = 0; i < votes->n; i++)
		if (!best || votes->at[i].weight > best->weight)
			best = &votes->at[i];
	if (!best)
		return;
	const struct choice *line = choice_best(&best->lines), *native = choice_most(&best->natives);
	out->function = best->culprit.function;
	out->file = best->culprit.file;
	out->line = line->line;
	out->native = native ? native->native : NULL;
	*stack = native && native->native ? native->stack : line->stack;
}

static void culprit_thread(const struct judge *j, uint32_t id, struct culprit *out)
{
	const struct obs_thread *t = judge_thread(j, id);
	if (!t)
		return;
	out->tid = t->tid;
	out->thread = t->name;
}

static uint64_t distance(uint64_t t, uint64_t start, uint64_t end)
{
	return t < start ? start - t : t > end ? t - end : 0;
}

void blame_loop(const struct judge *j, uint64_t start, uint64_t end, const char *syscall, struct culprit *out,
		uint32_t *stack)
{
	struct votes votes;
	const struct obs_sample *near = NULL;
	votes.n = 0;
	for (size_t i = 0; i < j->sample_count; i++) {
		const struct obs_sample *s = &j->samples[i];
		if (s->thread != j->loop_thread || !s->stack)
			continue;
		bool fits = syscall ? s->run == RUN_BLOCKED && s->syscall == syscall : s->run != RUN_BLOCKED;
		if (s->time_ns >= start && s->time_ns <= end) {
			vote_add(&votes, j->seen, s, fits ? 4 : 1);
		} else if (fits && (!near ||
				    distance(s->time_ns, start, end) < distance(near->time_ns, start, end))) {
			near = s;
		}
	}
	if (!votes.n && near && (syscall || distance(near->time_ns, start, end) < NEAR_NS))
		vote_add(&votes, j->seen, near, 1);
	culprit_thread(j, j->loop_thread, out);
	votes_result(&votes, out, stack);
}

/* What the looks at a holder say of it. */
struct holder_votes {
	uint32_t thread;
	uint64_t run_ns[RUN_RUNNABLE + 1];
	const struct obs_sample *blocked;
	const struct obs_sample *first, *last; /* inside the span, with schedstat */
	uint64_t starved_ns;
	struct votes votes;
};

#define LOOKS_BACK 300	    /* samples before a stall's own that are searched */
#define COUNTED_NS 10000000 /* a running thread's CPU time may be behind by so much */

/* The latest look at a thread before an instant, in this stall or one not long before. */
static const struct obs_sample *sample_before(const struct judge *j, uint32_t thread, uint64_t ns)
{
	size_t end = (size_t)(j->samples - j->seen->samples.at) + j->sample_count;
	for (size_t i = 0; i < end && i < j->sample_count + LOOKS_BACK; i++) {
		const struct obs_sample *s = &j->seen->samples.at[end - 1 - i];
		if (s->thread == thread && s->time_ns <= ns && s->cpu_ns >= 0)
			return s;
	}
	return NULL;
}

/* Between two looks at a thread that was never seen blocked it had no CPU for all but what the kernel counted
 * as CPU time: its delay is counted only when it gets one. `from`: when the first was, or since when it is
 * known not to have run more. */
static uint64_t starved_between(uint64_t from_ns, uint64_t from_cpu, const struct obs_sample *last)
{
	uint64_t length = last->time_ns > from_ns ? last->time_ns - from_ns : 0, cpu = (uint64_t)last->cpu_ns;
	uint64_t ran = cpu > from_cpu ? cpu - from_cpu : 0;
	if (length <= COUNTED_NS)
		return 0;
	/* one that ran at all would have been counted meanwhile */
	return !ran ? length : length > ran + COUNTED_NS ? length - ran - COUNTED_NS : 0;
}

/* The same of a hold, until it was last looked at: since the first look in it, or since its beginning, by a
 * look before that or by the thread's birth. */
static void hold_starved(const struct judge *j, struct holder_votes *v, const struct obs_sample *first,
			 const struct obs_sample *last, uint64_t start)
{
	const struct obs_sample *before = sample_before(j, v->thread, start);
	uint64_t whole = starved_between(start, before ? (uint64_t)before->cpu_ns : 0, last),
		 inside = starved_between(first->time_ns, (uint64_t)first->cpu_ns, last);
	v->starved_ns += whole > inside ? whole : inside;
}

static const struct obs_sample *sample_near(const struct judge *j, uint32_t thread, uint64_t start,
					    uint64_t end)
{
	const struct obs_sample *best = NULL;
	for (size_t i = 0; i < j->sample_count; i++) {
		const struct obs_sample *s = &j->samples[i];
		if (s->thread == thread && s->stack &&
		    (!best || distance(s->time_ns, start, end) < distance(best->time_ns, start, end)))
			best = s;
	}
	return best;
}

/* One hold's part of the span votes for the function its thread was in: by the looks inside it, else the
 * nearest one, which a thread that queued for the lock stood still since. */
static void hold_vote(const struct judge *j, struct holder_votes *v, uint64_t start, uint64_t end)
{
	uint64_t inside = 0;
	const struct obs_sample *first = NULL, *last = NULL;
	bool blocked = false;
	for (size_t i = 0; i < j->sample_count; i++) {
		const struct obs_sample *s = &j->samples[i];
		if (s->thread != v->thread || s->time_ns < start || s->time_ns > end)
			continue;
		last = s->cpu_ns >= 0 ? s : last;
		first = first ? first : last;
		blocked = blocked || s->run != RUN_RUNNING;
		v->run_ns[s->run <= RUN_RUNNABLE ? s->run : RUN_BLOCKED]++;
		if (s->run == RUN_BLOCKED)
			v->blocked = s;
		if (s->delay_ns >= 0) {
			v->first = v->first ? v->first : s;
			v->last = s;
		}
		inside += s->stack != 0;
	}
	for (size_t i = 0; inside && i < j->sample_count; i++) {
		const struct obs_sample *s = &j->samples[i];
		if (s->thread == v->thread && s->time_ns >= start && s->time_ns <= end && s->stack)
			vote_add(&v->votes, j->seen, s, (end - start) / inside + 1);
	}
	if (last && !blocked && !j->exact)
		hold_starved(j, v, first, last, start);
	const struct obs_sample *near = inside ? NULL : sample_near(j, v->thread, start, end);
	if (near)
		vote_add(&v->votes, j->seen, near, end - start);
}

static struct holder *holder_of(struct segment *segment, const struct judge *j, uint32_t thread)
{
	const struct obs_thread *t = judge_thread(j, thread);
	for (size_t i = 0; i < segment->holders.n; i++)
		if (segment->holders.at[i].culprit.tid == (t ? t->tid : 0))
			return &segment->holders.at[i];
	struct holder *h = vec_push(&segment->holders);
	culprit_thread(j, thread, &h->culprit);
	h->tid = h->culprit.tid;
	h->thread = h->culprit.thread;
	h->runnable_ns = -1;
	return h;
}

static int hold_order(const void *a, const void *b)
{
	const struct obs_hold *x = a, *y = b;
	return x->start_ns < y->start_ns ? -1 : x->start_ns > y->start_ns;
}

/* The lock's holds in order of time, so that each instant of the span has one holder: from the end of one
 * hold to that of the next belongs to the next (the hand-over). */
static struct obs_hold *holds_ordered(const struct judge *j, const struct span *span, size_t *n)
{
	struct obs_hold *at = xcalloc(j->hold_count + 1, sizeof *at);
	*n = 0;
	for (size_t i = 0; i < j->hold_count; i++) {
		const struct obs_hold *h = &j->holds[i];
		if (h->lock == span->wait->lock && h->end_ns > span->start_ns && h->start_ns < span->end_ns)
			at[(*n)++] = *h;
	}
	qsort(at, *n, sizeof *at, hold_order);
	return at;
}

static void holder_finish(struct holder *h, const struct holder_votes *v)
{
	votes_result(&v->votes, &h->culprit, &h->stack);
	uint64_t most = 0;
	for (unsigned run = RUN_RUNNING; run <= RUN_RUNNABLE; run++)
		if (v->run_ns[run] > most) {
			most = v->run_ns[run];
			h->run = (enum thread_run)run;
		}
	if (h->run == RUN_BLOCKED && v->blocked) {
		h->syscall = v->blocked->syscall;
		h->target = v->blocked->target;
	}
	if (v->last && v->last != v->first)
		h->runnable_ns = v->last->delay_ns - v->first->delay_ns;
	if (v->starved_ns && h->runnable_ns < (int64_t)v->starved_ns)
		h->runnable_ns = (int64_t)v->starved_ns;
	if (h->runnable_ns > (int64_t)h->ns)
		h->runnable_ns = (int64_t)h->ns;
}

static int holder_order(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;
	return x->ns > y->ns ? -1 : x->ns < y->ns;
}

/* A hold's part of the span. */
struct turn {
	size_t holder; /* position in the segment's */
	uint32_t thread;
	uint64_t start_ns, end_ns;
};
typedef VEC(struct turn) turns_t;

static void holder_judge(const struct judge *j, const turns_t *turns, size_t k, struct holder *holder)
{
	struct holder_votes v;
	memset(&v, 0, offsetof(struct holder_votes, votes));
	v.votes.n = 0;
	for (size_t i = 0; i < turns->n; i++) {
		const struct turn *t = &turns->at[i];
		if (t->holder != k)
			continue;
		v.thread = v.thread ? v.thread : t->thread;
		hold_vote(j, &v, t->start_ns, t->end_ns);
	}
	holder_finish(holder, &v);
}

void blame_holders(const struct judge *j, const struct span *span, struct segment *segment)
{
	size_t n;
	struct obs_hold *holds = holds_ordered(j, span, &n);
	turns_t turns = {0};
	uint64_t at = span->start_ns;
	for (size_t i = 0; i < n; i++) {
		const struct obs_hold *h = &holds[i];
		uint64_t end = h->end_ns > span->end_ns || i + 1 == n ? span->end_ns : h->end_ns;
		if (end <= at)
			continue;
		struct holder *holder = holder_of(segment, j, h->thread);
		uint64_t whole = h->end_ns - h->start_ns;
		holder->ns += end - at;
		holder->hold_count++;
		holder->at_least = holder->at_least || h->at_least;
		if (whole > holder->longest_hold_ns)
			holder->longest_hold_ns = whole;
		*vec_push(&turns) = (struct turn){(size_t)(holder - segment->holders.at), h->thread,
						  at > h->start_ns ? at : h->start_ns, end};
		at = end;
	}
	for (size_t k = 0; k < segment->holders.n; k++)
		holder_judge(j, &turns, k, &segment->holders.at[k]);
	if (segment->holders.n > 1)
		qsort(segment->holders.at, segment->holders.n, sizeof *segment->holders.at, holder_order);
	if (segment->holders.n)
		segment->culprit = segment->holders.at[0].culprit;
	free(holds);
	vec_free(&turns);
}
