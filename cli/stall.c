/* SPDX-License-Identifier: MIT
 *
 * From observations to the verdict: every stall into segments, each claimed by a cause.
 */
#include <stdlib.h>
#include <string.h>

#include "mark.h"
#include "runner.h"
#include "sum.h"
#include "timeline.h"

#define CAUSES_MAX 16

static int cause_order(const void *a, const void *b)
{
	return (*(const struct cause *const *)a)->order - (*(const struct cause *const *)b)->order;
}

static const struct cause *causes_sorted[CAUSES_MAX];
static size_t causes_count;

/* Before there are threads: two may judge at once. */
__attribute__((constructor)) static void causes_sort(void)
{
	for (PARTS(cause, cause, p))
		if (causes_count < CAUSES_MAX)
			causes_sorted[causes_count++] = *p;
	qsort(causes_sorted, causes_count, sizeof *causes_sorted, cause_order);
}

static const struct cause *const *causes(size_t *n)
{
	*n = causes_count;
	return causes_sorted;
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

const struct cause *cause_named(const char *name)
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

static void span_extend(struct span *span, const struct span *next)
{
	span->end_ns = next->end_ns;
	span->faults += next->faults;
	if (next->from_ns < span->from_ns)
		span->from_ns = next->from_ns;
	if (next->to_ns > span->to_ns)
		span->to_ns = next->to_ns;
}

static void stall_judge(const struct judge *j, struct verdict_stall *out)
{
	spans_t spans = {0};
	const struct obs_wait *last = NULL; /* for a lock, or in a call */
	timeline_make(j, &spans);
	out->seen = j->stall;
	out->thread = judge_thread(j, j->loop_thread);
	out->ns = j->stall->end_ns - j->stall->start_ns;
	for (size_t i = 0; i < spans.n; i++) {
		struct span span = spans.at[i];
		while (i + 1 < spans.n && spans_join(&span, &spans.at[i + 1]))
			span_extend(&span, &spans.at[++i]);
		const struct cause *cause = cause_of(&span);
		struct segment *segment = vec_push(&out->segments);
		segment->cause = cause ? cause->name : "unknown";
		segment->start_ns = span.start_ns;
		segment->ns = span.end_ns - span.start_ns;
		segment->lock = span.lock;
		segment->resumed = span.wait && span.wait == last;
		if (span.kind == SPAN_LOCK || span.kind == SPAN_CALL)
			last = span.wait;
		if (cause)
			cause->judge(j, &span, segment);
		vec_trim(&segment->holders); /* there may be a hundred thousand stalls */
	}
	vec_trim(&out->segments);
	vec_free(&spans);
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
	cut->seen = s;
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
	l->seen = seen;
	l->thread = judge_thread(j, seen->thread);
	j->exact = p->seen->backend == BACKEND_EBPF;
	struct runner runner;
	runner_find(j, seen, &runner);
	for (size_t i = 0; i < o->stalls.n; i++) {
		const struct obs_stall *s = &o->stalls.at[i];
		if (s->loop != seen->id || s->outside || s->end_ns <= s->start_ns)
			continue;
		judge_stall(j, s, s->thread);
		if (runner.row && !stall_cut(j, l, &runner))
			continue;
		struct verdict_stall *stall = vec_push(&l->stalls);
		stall_judge(j, stall);
		stall->lack_ns = judge_delay(j);
		stall->mark = mark_find(o, p->seen, j->stall->start_ns, j->stall->end_ns);
	}
	loop_doubt(j, l);
	loop_sum(p, l, o->capture.threshold_ns);
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
