/* SPDX-License-Identifier: MIT
 *
 * A loop's figures from its judged stalls: seconds by culprit, quantiles, and what the loop would have seen
 * without each culprit. There may be a hundred thousand stalls and thousands of culprits: nothing here looks
 * at all of the one for each of the other.
 */
#include "sum.h"

#include <stdlib.h>
#include <string.h>

#include "cause.h"

/* How much of which stall a culprit has. */
struct part {
	uint32_t cause, stall; /* positions in the loop's arrays */
	uint64_t ns;
};
typedef VEC(struct part) parts_t;

/* A culprit's seconds by thread, by place, or by lock: a list for each. */
struct tally {
	uint32_t next; /* position + 1 */
	int tid, line;
	const char *native;
	const struct obs_lock *lock;
	uint64_t ns;
};

struct tallies {
	uint32_t threads, places, locks; /* heads of lists */
};

struct summing {
	struct verdict_loop *loop;
	parts_t parts;
	VEC(struct tally) tally;
	VEC(struct tallies) tallies; /* by cause, as those in slot */
	uint32_t *slot; /* causes by what they are summed by: open addressing, position + 1, at most half full
			 */
	size_t slots;
	size_t first_part; /* of the stall being summed */
};

/* What is summed as one: literals and interned strings, so their addresses tell. */
static bool same_sum(const char *a_cause, const struct culprit *a, const char *b_cause,
		     const struct culprit *b)
{
	return a_cause == b_cause && a->function == b->function && a->file == b->file &&
	       (a->function || a->tid == b->tid);
}

static uint32_t *sum_slot(const struct summing *s, const char *cause, const struct culprit *c)
{
	uint64_t h = (uintptr_t)cause;
	h = (h ^ (uintptr_t)c->function) * 0x9e3779b97f4a7c15ull;
	h = (h ^ (h >> 32) ^ (uintptr_t)c->file) * 0x9e3779b97f4a7c15ull;
	h = (h ^ (h >> 32) ^ (c->function ? 0u : (unsigned)c->tid)) * 0x9e3779b97f4a7c15ull;
	for (size_t i = (h >> 32) & (s->slots - 1);; i = (i + 1) & (s->slots - 1)) {
		const struct verdict_cause *v = s->slot[i] ? &s->loop->causes.at[s->slot[i] - 1] : NULL;
		if (!v || same_sum(v->cause, &v->culprit, cause, c))
			return &s->slot[i];
	}
}

static void sum_grow(struct summing *s)
{
	free(s->slot);
	s->slots = s->slots ? s->slots * 2 : 64;
	s->slot = xcalloc(s->slots, sizeof *s->slot);
	for (size_t i = 0; i < s->loop->causes.n; i++) {
		const struct verdict_cause *v = &s->loop->causes.at[i];
		*sum_slot(s, v->cause, &v->culprit) = (uint32_t)i + 1;
	}
}

static uint32_t sum_cause(struct summing *s, const char *cause, const struct culprit *c)
{
	struct verdict_loop *l = s->loop;
	if (l->causes.n * 2 >= s->slots)
		sum_grow(s);
	uint32_t *slot = sum_slot(s, cause, c);
	if (*slot)
		return *slot - 1;
	struct verdict_cause *v = vec_push(&l->causes);
	v->cause = cause;
	v->culprit = *c;
	*vec_push(&s->tallies) = (struct tallies){0};
	*slot = (uint32_t)l->causes.n;
	return *slot - 1;
}

static struct tally *tally_at(const struct summing *s, uint32_t position)
{
	return position ? &s->tally.at[position - 1] : NULL;
}

static struct tally *tally_add(struct summing *s, uint32_t *head)
{
	struct tally *t = vec_push(&s->tally);
	t->next = *head;
	*head = (uint32_t)s->tally.n;
	return t;
}
/* The thread with most seconds is the culprit's, at the line it had in its largest part. */
static void sum_thread(struct summing *s, uint32_t cause, const struct culprit *c, uint64_t ns)
{
	struct verdict_cause *v = &s->loop->causes.at[cause];
	struct tally *mine = NULL;
	uint64_t most = 0;
	for (struct tally *t = tally_at(s, s->tallies.at[cause].threads); t; t = tally_at(s, t->next)) {
		if (t->tid == c->tid) {
			t->ns += ns;
			mine = t;
		}
		if (t->ns > most)
			most = t->ns;
	}
	if (!mine) {
		mine = tally_add(s, &s->tallies.at[cause].threads);
		mine->tid = c->tid;
		mine->ns = ns;
		v->holder_threads++;
	}
	if (mine->ns >= most) {
		v->culprit.tid = c->tid;
		v->culprit.thread = c->thread;
	}
}

/* Where in its function the culprit was, and in which native one it called: most seconds tell. */
static void sum_place(struct summing *s, uint32_t cause, const struct culprit *c, uint64_t ns)
{
	for (struct tally *t = tally_at(s, s->tallies.at[cause].places); t; t = tally_at(s, t->next))
		if (t->line == c->line && t->native == c->native) {
			t->ns += ns;
			return;
		}
	struct tally *t = tally_add(s, &s->tallies.at[cause].places);
	t->line = c->line;
	t->native = c->native;
	t->ns = ns;
}

/* The lock with most seconds is the cause's; what has the same name is the same. */
static void sum_lock(struct summing *s, struct verdict_cause *v, const struct obs_lock *lock, uint64_t ns)
{
	uint32_t *head = &s->tallies.at[v - s->loop->causes.at].locks;
	struct tally *mine = NULL;
	uint64_t most = 0;
	if (!lock)
		return;
	for (struct tally *t = tally_at(s, *head); t; t = tally_at(s, t->next)) {
		if (t->lock == lock ||
		    (lock->name && t->lock->kind == lock->kind && t->lock->name == lock->name)) {
			t->ns += ns;
			mine = t;
		}
		if (t->ns > most)
			most = t->ns;
	}
	if (!mine) {
		mine = tally_add(s, head);
		mine->lock = lock;
		mine->ns = ns;
		v->lock_count++;
	}
	if (mine->ns >= most)
		v->lock = lock;
}

static void places_judge(struct summing *s)
{
	for (size_t i = 0; i < s->loop->causes.n; i++) {
		struct verdict_cause *v = &s->loop->causes.at[i];
		uint64_t most = 0;
		for (struct tally *t = tally_at(s, s->tallies.at[i].places); t; t = tally_at(s, t->next))
			if (t->ns >= most) { /* the newest comes first: of equals the oldest */
				most = t->ns;
				v->culprit.line = t->line;
				v->culprit.native = t->native;
			}
	}
}

static struct verdict_cause *sum_add(struct summing *s, uint32_t stall, const char *cause,
				     const struct culprit *c, uint64_t ns)
{
	uint32_t at = sum_cause(s, cause, c);
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
	sum_lock(s, v, segment->lock, h->ns);
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
		c->calls += !segment->resumed;
		sum_lock(s, c, segment->lock, segment->ns);
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
	if (wanted + 1 >= all)
		return max; /* the longest itself */
	for (unsigned b = 0; b < TICK_BUCKETS; b++) {
		seen += count[b];
		if (seen > wanted || seen == all) {
			uint64_t ns = tick_bucket_ns(b);
			return ns > max ? max : ns;
		}
	}
	return max;
}

/* What every culprit's figures without it are computed from: no work but that of its own parts is left for
 * each. */
struct without {
	const struct verdict_loop *loop;
	const uint64_t *count; /* the histogram */
	uint64_t threshold, stalled_ns;
	const struct part **parts; /* by cause */
	uint32_t *longest;	   /* stalls, the longest first */
	uint32_t *touched;	   /* by stall: the cause (+ 1) that it was looked at for last */
};

static int part_order(const void *a, const void *b)
{
	const struct part *x = *(const struct part *const *)a, *y = *(const struct part *const *)b;
	return x->cause != y->cause ? (x->cause < y->cause ? -1 : 1) : x < y ? -1 : x > y;
}

static int length_order(const void *a, const void *b, void *arg)
{
	const struct verdict_loop *l = arg;
	uint64_t x = l->stalls.at[*(const uint32_t *)a].ns, y = l->stalls.at[*(const uint32_t *)b].ns;
	return x > y ? -1 : x < y;
}

static void without_open(struct without *w, const struct verdict_loop *l, const parts_t *parts)
{
	w->loop = l;
	w->parts = xcalloc(parts->n + 1, sizeof(const struct part *));
	w->longest = xcalloc(l->stalls.n + 1, sizeof *w->longest);
	w->touched = xcalloc(l->stalls.n + 1, sizeof *w->touched);
	for (size_t i = 0; i < parts->n; i++)
		w->parts[i] = &parts->at[i];
	qsort(w->parts, parts->n, sizeof(const struct part *), part_order);
	for (size_t i = 0; i < l->stalls.n; i++) {
		w->longest[i] = (uint32_t)i;
		w->stalled_ns += l->stalls.at[i].ns >= w->threshold ? l->stalls.at[i].ns : 0;
	}
	qsort_r(w->longest, l->stalls.n, sizeof *w->longest, length_order, (void *)l);
}

static void without_close(struct without *w)
{
	free(w->parts);
	free(w->longest);
	free(w->touched);
}

/* What the loop would have seen had this culprit's seconds not been. */
static void fixed_fill(struct without *w, struct verdict_cause *v, uint32_t cause,
		       const struct part *const *parts, size_t n)
{
	const struct verdict_loop *l = w->loop;
	uint64_t left[TICK_BUCKETS], max = 0, stalled = w->stalled_ns;
	memcpy(left, w->count, sizeof left);
	for (size_t i = 0; i < n; i++) {
		uint64_t ns = l->stalls.at[parts[i]->stall].ns;
		uint64_t rest = ns > parts[i]->ns ? ns - parts[i]->ns : 0;
		w->touched[parts[i]->stall] = cause + 1;
		stalled -= ns >= w->threshold ? ns : 0;
		stalled += rest >= w->threshold ? rest : 0;
		if (rest > max)
			max = rest;
		if (left[tick_bucket(ns)])
			left[tick_bucket(ns)]--;
		left[tick_bucket(rest)]++;
	}
	size_t k = 0;
	while (k < l->stalls.n && w->touched[w->longest[k]] == cause + 1)
		k++;
	if (k < l->stalls.n && l->stalls.at[w->longest[k]].ns > max)
		max = l->stalls.at[w->longest[k]].ns;
	for (unsigned b = 0; b < TICK_BUCKETS; b++) /* ticks below the threshold are only in the histogram */
		if (left[b] && tick_bucket_ns(b) < w->threshold && tick_bucket_ns(b) > max)
			max = tick_bucket_ns(b);
	v->fixed_stalled_ns = stalled;
	v->fixed_max_ns = max;
	v->fixed_p99_ns = quantile(left, 0.99, max);
	v->fixed_known = !l->seen->suppressed;
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
	struct without without = {.count = count, .threshold = threshold};
	without_open(&without, l, parts);
	for (size_t i = 0, from = 0, to = 0; i < l->causes.n; i++, from = to) {
		struct verdict_cause *v = &l->causes.at[i];
		v->share = l->stalled_ns ? (double)v->ns / (double)l->stalled_ns : 0;
		while (to < parts->n && without.parts[to]->cause == i)
			to++;
		fixed_fill(&without, v, (uint32_t)i, without.parts + from, to - from);
		const struct cause *cause = cause_named(v->cause);
		if (cause)
			cause->explain(p, l, v);
	}
	without_close(&without);
	if (l->causes.n)
		qsort(l->causes.at, l->causes.n, sizeof *l->causes.at, verdict_cause_order);
}

void loop_sum(const struct verdict_process *p, struct verdict_loop *l, uint64_t threshold)
{
	struct summing sum = {.loop = l};
	for (size_t i = 0; i < l->stalls.n; i++)
		stall_sum(&sum, (uint32_t)i);
	places_judge(&sum);
	loop_finish(p, l, &sum.parts, threshold);
	vec_free(&sum.parts);
	vec_free(&sum.tally);
	vec_free(&sum.tallies);
	free(sum.slot);
}
