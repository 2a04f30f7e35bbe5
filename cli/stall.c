/* SPDX-License-Identifier: MIT
 *
 * From observations to the verdict: every stall into segments, each claimed by a cause; the segments summed
 * by culprit; what the loop would have seen without it.
 */
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "timeline.h"

#define CAUSES_MAX 16

static int cause_order(const void *a, const void *b)
{
	return (*(const struct cause *const *)a)->order - (*(const struct cause *const *)b)->order;
}

static const struct cause *const *causes(size_t *n)
{
	static const struct cause *sorted[CAUSES_MAX];
	static size_t count;
	if (!count) {
		for (PARTS(cause, cause, p))
			if (count < CAUSES_MAX)
				sorted[count++] = *p;
		qsort(sorted, count, sizeof *sorted, cause_order);
	}
	*n = count;
	return sorted;
}

static const struct cause *cause_of(const struct span *span)
{
	size_t n;
	const struct cause *const *all = causes(&n);
	for (size_t i = 0; i < n; i++)
		if (all[i]->claims(span))
			return all[i];
	return NULL;
}

static const struct cause *cause_named(const char *name)
{
	size_t n;
	const struct cause *const *all = causes(&n);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(all[i]->name, name))
			return all[i];
	return NULL;
}

/* Neighbours of one cause (and one lock) are one segment: their spans become one before they are judged. */
static bool spans_join(const struct span *a, const struct span *b)
{
	if (a->kind != b->kind || a->lock != b->lock || a->end_ns != b->start_ns)
		return false;
	return a->kind != SPAN_CALL || a->syscall == b->syscall;
}

static void stall_judge(const struct judge *j, struct verdict_stall *out)
{
	spans_t spans = {0};
	timeline_make(j, &spans);
	out->seen = j->stall;
	out->ns = j->stall->end_ns - j->stall->start_ns;
	for (size_t i = 0; i < spans.n; i++) {
		struct span span = spans.at[i];
		while (i + 1 < spans.n && spans_join(&span, &spans.at[i + 1]))
			span.end_ns = spans.at[++i].end_ns;
		const struct cause *cause = cause_of(&span);
		struct segment *segment = vec_push(&out->segments);
		segment->cause = cause ? cause->name : "unknown";
		segment->start_ns = span.start_ns;
		segment->ns = span.end_ns - span.start_ns;
		segment->lock = span.lock;
		if (cause)
			cause->judge(j, &span, segment);
	}
	vec_free(&spans);
}

/* How much of which stall a culprit has. */
struct part {
	uint32_t cause, stall; /* positions in the loop's arrays */
	uint64_t ns;
};
typedef VEC(struct part) parts_t;

struct summing {
	struct verdict_loop *loop;
	parts_t parts;
	VEC(struct {
		uint32_t cause;
		int tid;
		uint64_t ns;
	})
	threads;
	VEC(struct {
		uint32_t cause;
		const struct obs_lock *lock;
		uint64_t ns;
	})
	locks;
	VEC(struct {
		uint32_t cause;
		int line;
		const char *native;
		uint64_t ns;
	})
	places;
	size_t first_part; /* of the stall being summed */
};

static uint32_t sum_cause(struct verdict_loop *l, const char *cause, const struct culprit *c)
{
	for (size_t i = 0; i < l->causes.n; i++) {
		const struct verdict_cause *v = &l->causes.at[i];
		if (v->cause == cause && v->culprit.function == c->function && v->culprit.file == c->file &&
		    (c->function || v->culprit.tid == c->tid))
			return (uint32_t)i;
	}
	struct verdict_cause *v = vec_push(&l->causes);
	v->cause = cause;
	v->culprit = *c;
	return (uint32_t)(l->causes.n - 1);
}

/* The thread with most seconds is the culprit's, at the line it had in its largest part. */
static void sum_thread(struct summing *s, uint32_t cause, const struct culprit *c, uint64_t ns)
{
	struct verdict_cause *v = &s->loop->causes.at[cause];
	uint64_t most = 0, mine = 0;
	bool found = false;
	for (size_t i = 0; i < s->threads.n; i++) {
		if (s->threads.at[i].cause != cause)
			continue;
		if (s->threads.at[i].tid == c->tid) {
			mine = s->threads.at[i].ns += ns;
			found = true;
		}
		if (s->threads.at[i].ns > most)
			most = s->threads.at[i].ns;
	}
	if (!found) {
		s->threads.at =
			vec_grow(s->threads.at, &s->threads.room, s->threads.n + 1, sizeof *s->threads.at);
		s->threads.at[s->threads.n].cause = cause;
		s->threads.at[s->threads.n].tid = c->tid;
		s->threads.at[s->threads.n++].ns = mine = ns;
		v->holder_threads++;
	}
	if (mine >= most) {
		v->culprit.tid = c->tid;
		v->culprit.thread = c->thread;
	}
}

/* The lock with most seconds is the cause's; what has the same name is the same. */
static void sum_lock(struct summing *s, uint32_t cause, const struct obs_lock *lock, uint64_t ns)
{
	struct verdict_cause *v = &s->loop->causes.at[cause];
	uint64_t most = 0, mine = 0;
	if (!lock)
		return;
	for (size_t i = 0; i < s->locks.n; i++) {
		const struct obs_lock *known = s->locks.at[i].lock;
		if (s->locks.at[i].cause != cause)
			continue;
		if (known == lock || (lock->name && known->kind == lock->kind && known->name == lock->name))
			mine = s->locks.at[i].ns += ns;
		if (s->locks.at[i].ns > most)
			most = s->locks.at[i].ns;
	}
	if (!mine) {
		s->locks.at = vec_grow(s->locks.at, &s->locks.room, s->locks.n + 1, sizeof *s->locks.at);
		s->locks.at[s->locks.n].cause = cause;
		s->locks.at[s->locks.n].lock = lock;
		s->locks.at[s->locks.n++].ns = mine = ns;
		v->lock_count++;
	}
	if (mine >= most)
		v->lock = lock;
}

/* Where in its function the culprit was, and in which native one it called: most seconds tell. */
static void sum_place(struct summing *s, uint32_t cause, const struct culprit *c, uint64_t ns)
{
	for (size_t i = 0; i < s->places.n; i++)
		if (s->places.at[i].cause == cause && s->places.at[i].line == c->line &&
		    s->places.at[i].native == c->native) {
			s->places.at[i].ns += ns;
			return;
		}
	s->places.at = vec_grow(s->places.at, &s->places.room, s->places.n + 1, sizeof *s->places.at);
	s->places.at[s->places.n].cause = cause;
	s->places.at[s->places.n].line = c->line;
	s->places.at[s->places.n].native = c->native;
	s->places.at[s->places.n++].ns = ns;
}

static void places_judge(struct summing *s)
{
	uint64_t *most = xcalloc(s->loop->causes.n + 1, sizeof *most);
	for (size_t i = 0; i < s->places.n; i++) {
		struct verdict_cause *v = &s->loop->causes.at[s->places.at[i].cause];
		if (s->places.at[i].ns <= most[s->places.at[i].cause])
			continue;
		most[s->places.at[i].cause] = s->places.at[i].ns;
		v->culprit.line = s->places.at[i].line;
		v->culprit.native = s->places.at[i].native;
	}
	free(most);
}

static struct verdict_cause *sum_add(struct summing *s, uint32_t stall, const char *cause,
				     const struct culprit *c, uint64_t ns)
{
	uint32_t at = sum_cause(s->loop, cause, c);
	struct verdict_cause *v = &s->loop->causes.at[at];
	v->ns += ns;
	sum_thread(s, at, c, ns);
	struct part *part = NULL;
	for (size_t i = s->first_part; i < s->parts.n && !part; i++)
		if (s->parts.at[i].cause == at)
			part = &s->parts.at[i];
	if (!part) {
		part = vec_push(&s->parts);
		part->cause = at;
		part->stall = stall;
		v->stalls++;
	}
	part->ns += ns;
	if (part->ns > v->worst_ns)
		v->worst_ns = part->ns;
	sum_place(s, at, c, ns);
	return v;
}

static void sum_holder(struct summing *s, uint32_t stall, const struct segment *segment,
		       const struct holder *h)
{
	struct verdict_cause *v = sum_add(s, stall, segment->cause, &h->culprit, h->ns);
	v->hold_count += h->hold_count;
	sum_lock(s, (uint32_t)(v - s->loop->causes.at), segment->lock, h->ns);
	v->calls++;
	if (h->longest_hold_ns >= v->longest_hold_ns) {
		v->longest_hold_ns = h->longest_hold_ns;
		v->holder_run = h->run;
		v->holder_syscall = h->syscall;
		v->holder_target = h->target;
	}
}

static void stall_sum(struct summing *s, uint32_t stall)
{
	const struct verdict_stall *v = &s->loop->stalls.at[stall];
	s->first_part = s->parts.n;
	for (size_t i = 0; i < v->segments.n; i++) {
		const struct segment *segment = &v->segments.at[i];
		for (size_t k = 0; k < segment->holders.n; k++)
			sum_holder(s, stall, segment, &segment->holders.at[k]);
		if (segment->holders.n)
			continue;
		struct verdict_cause *c = sum_add(s, stall, segment->cause, &segment->culprit, segment->ns);
		c->calls++;
		sum_lock(s, (uint32_t)(c - s->loop->causes.at), segment->lock, segment->ns);
		if ((segment->syscall || segment->target) &&
		    ((!c->syscall && !c->target) || segment->ns > c->longest_hold_ns)) {
			c->syscall = segment->syscall;
			c->target = segment->target;
		}
		if (segment->collects > c->collects)
			c->collects = segment->collects;
		if (segment->gc_objects > c->gc_objects)
			c->gc_objects = segment->gc_objects;
		c->faults += segment->faults;
		if (segment->ns > c->longest_hold_ns)
			c->longest_hold_ns = segment->ns;
	}
}

/* The tick at quantile q of a histogram. */
static uint64_t quantile(const uint64_t count[TICK_BUCKETS], double q, uint64_t max)
{
	uint64_t all = 0, seen = 0;
	for (unsigned b = 0; b < TICK_BUCKETS; b++)
		all += count[b];
	if (!all)
		return 0;
	uint64_t wanted = (uint64_t)(q * (double)all);
	for (unsigned b = 0; b < TICK_BUCKETS; b++) {
		seen += count[b];
		if (seen > wanted || seen == all) {
			uint64_t ns = tick_bucket_ns(b);
			return ns > max ? max : ns;
		}
	}
	return max;
}

/* What the loop would have seen had this culprit's seconds not been. */
static void fixed_fill(struct verdict_loop *l, struct verdict_cause *v, uint32_t cause, const parts_t *parts,
		       const uint64_t count[TICK_BUCKETS], uint64_t threshold)
{
	uint64_t left[TICK_BUCKETS], max = 0;
	memcpy(left, count, sizeof left);
	uint64_t *shorter = xcalloc(l->stalls.n + 1, sizeof *shorter);
	for (size_t i = 0; i < parts->n; i++)
		if (parts->at[i].cause == cause)
			shorter[parts->at[i].stall] = parts->at[i].ns;
	v->fixed_stalled_ns = 0;
	for (size_t i = 0; i < l->stalls.n; i++) {
		uint64_t ns = l->stalls.at[i].ns, rest = ns > shorter[i] ? ns - shorter[i] : 0;
		if (rest >= threshold)
			v->fixed_stalled_ns += rest;
		if (rest > max)
			max = rest;
		if (!shorter[i])
			continue;
		if (left[tick_bucket(ns)])
			left[tick_bucket(ns)]--;
		left[tick_bucket(rest)]++;
	}
	for (unsigned b = 0; b < TICK_BUCKETS; b++) /* ticks below the threshold are only in the histogram */
		if (left[b] && tick_bucket_ns(b) < threshold && tick_bucket_ns(b) > max)
			max = tick_bucket_ns(b);
	v->fixed_max_ns = max;
	v->fixed_p99_ns = quantile(left, 0.99, max);
	v->fixed_known = !l->seen->suppressed;
	free(shorter);
}

static int verdict_cause_order(const void *a, const void *b)
{
	const struct verdict_cause *x = a, *y = b;
	return x->ns > y->ns ? -1 : x->ns < y->ns;
}

/* Ticks that were outside the loop leave the figures. Returns the sum of what left. */
static uint64_t ticks_cut(struct verdict_loop *l, uint64_t count[TICK_BUCKETS])
{
	uint64_t outside = 0;
	for (size_t i = 0; i < l->cuts.n; i++) {
		const struct tick_cut *cut = &l->cuts.at[i];
		uint64_t *was = &count[tick_bucket(cut->was_ns)];
		if (!cut->was_ns || !*was)
			continue;
		--*was;
		if (cut->is_ns)
			count[tick_bucket(cut->is_ns)]++;
		outside += cut->was_ns - cut->is_ns;
	}
	if (!outside)
		return 0;
	l->busy_ns -= outside < l->busy_ns ? outside : l->busy_ns;
	unsigned top = TICK_BUCKETS;
	while (top && !count[top - 1])
		top--;
	/* exact where it is a stall: the caller has those */
	uint64_t longest = top ? tick_bucket_ns(top - 1) : 0;
	l->max_ns = l->stalls.n ? 0 : longest;
	return outside;
}

static void loop_finish(const struct verdict_process *p, struct verdict_loop *l, const parts_t *parts,
			uint64_t threshold)
{
	uint64_t count[TICK_BUCKETS];
	memcpy(count, l->seen->count, sizeof count);
	l->busy_ns = l->seen->tick_ns;
	l->max_ns = l->seen->tick_max_ns;
	uint64_t outside = ticks_cut(l, count);
	for (size_t i = 0; i < l->stalls.n; i++) {
		uint64_t ns = l->stalls.at[i].ns;
		if (l->stalls.at[i].seen->ongoing) { /* the histogram has only what has ended */
			count[tick_bucket(ns)]++;
			l->busy_ns += ns;
		}
		if (ns > l->max_ns)
			l->max_ns = ns;
		l->stalled_ns += ns;
	}
	l->stall_count = l->stalls.n + l->seen->suppressed;
	l->observed_ns = l->seen->last_ns > l->seen->first_ns ? l->seen->last_ns - l->seen->first_ns : 0;
	l->observed_ns -= outside < l->observed_ns ? outside : l->observed_ns;
	if (l->observed_ns < l->busy_ns)
		l->observed_ns = l->busy_ns;
	l->p50_ns = quantile(count, 0.5, l->max_ns);
	l->p90_ns = quantile(count, 0.9, l->max_ns);
	l->p99_ns = quantile(count, 0.99, l->max_ns);
	l->p999_ns = quantile(count, 0.999, l->max_ns);
	for (size_t i = 0; i < l->causes.n; i++) {
		struct verdict_cause *v = &l->causes.at[i];
		v->share = l->stalled_ns ? (double)v->ns / (double)l->stalled_ns : 0;
		fixed_fill(l, v, (uint32_t)i, parts, count, threshold);
		const struct cause *cause = cause_named(v->cause);
		if (cause)
			cause->explain(p, l, v);
	}
	qsort(l->causes.at, l->causes.n, sizeof *l->causes.at, verdict_cause_order);
}

/* What was outside the loop is taken out of the stall that is being judged. false: nothing is left of it. */
static bool stall_cut(struct judge *j, struct verdict_loop *l, const struct runner *runner)
{
	const struct obs_stall *s = j->stall;
	uint64_t start, end;
	bool some = runner_inside(j, runner, &start, &end);
	if (some && start == s->start_ns && end == s->end_ns)
		return true;
	struct tick_cut *cut = vec_push(&l->cuts);
	cut->was_ns = s->ongoing ? 0 : s->end_ns - s->start_ns;
	if (!some || end - start < j->seen->capture.threshold_ns)
		return false;
	cut->is_ns = s->ongoing ? 0 : end - start;
	cut->stall = xcalloc(1, sizeof *cut->stall);
	*cut->stall = *s;
	cut->stall->start_ns = start;
	cut->stall->end_ns = end;
	cut->stall->cpu_ns = cut->stall->delay_ns = -1;
	j->stall = cut->stall;
	return true;
}

static void loop_make(struct judge *j, const struct verdict_process *p, struct verdict_loop *l,
		      const struct obs_loop *seen)
{
	const struct observations *o = j->seen;
	struct summing sum = {.loop = l};
	l->seen = seen;
	l->thread = judge_thread(j, seen->thread);
	struct runner runner;
	runner_find(j, seen, &runner);
	for (size_t i = 0; i < o->stalls.n; i++) {
		const struct obs_stall *s = &o->stalls.at[i];
		if (s->loop != seen->id || s->outside || s->end_ns <= s->start_ns)
			continue;
		judge_stall(j, s, seen->thread);
		if (runner.known && !stall_cut(j, l, &runner))
			continue;
		stall_judge(j, vec_push(&l->stalls));
		stall_sum(&sum, (uint32_t)l->stalls.n - 1);
	}
	places_judge(&sum);
	loop_finish(p, l, &sum.parts, o->capture.threshold_ns);
	vec_free(&sum.parts);
	vec_free(&sum.threads);
	vec_free(&sum.locks);
	vec_free(&sum.places);
}

void verdict_make(struct verdict *out, const struct observations *o)
{
	struct judge j;
	memset(out, 0, sizeof *out);
	out->seen = o;
	judge_open(&j, o);
	for (size_t i = 0; i < o->processes.n; i++) {
		struct verdict_process *p = vec_push(&out->processes);
		p->seen = &o->processes.at[i];
		for (size_t k = 0; k < o->threads.n; k++)
			if (o->threads.at[k].process == p->seen->id)
				*vec_push(&p->threads) = &o->threads.at[k];
		for (size_t k = 0; k < o->loops.n; k++) {
			const struct obs_thread *t = judge_thread(&j, o->loops.at[k].thread);
			if (t && t->process == p->seen->id)
				loop_make(&j, p, vec_push(&p->loops), &o->loops.at[k]);
		}
	}
	judge_close(&j);
}

bool verdict_python(const struct verdict_process *p)
{
	return p->seen->runtime && !strcmp(p->seen->runtime, "cpython");
}

static void stall_free(struct verdict_stall *s)
{
	for (size_t i = 0; i < s->segments.n; i++)
		vec_free(&s->segments.at[i].holders);
	vec_free(&s->segments);
}

void verdict_free(struct verdict *v)
{
	for (size_t i = 0; i < v->processes.n; i++) {
		struct verdict_process *p = &v->processes.at[i];
		for (size_t k = 0; k < p->loops.n; k++) {
			struct verdict_loop *l = &p->loops.at[k];
			for (size_t s = 0; s < l->stalls.n; s++)
				stall_free(&l->stalls.at[s]);
			for (size_t c = 0; c < l->causes.n; c++) {
				free(l->causes.at[c].why);
				free(l->causes.at[c].advice);
			}
			for (size_t c = 0; c < l->cuts.n; c++)
				free(l->cuts.at[c].stall);
			vec_free(&l->cuts);
			vec_free(&l->stalls);
			vec_free(&l->causes);
		}
		vec_free(&p->loops);
		vec_free(&p->threads);
	}
	vec_free(&v->processes);
}
