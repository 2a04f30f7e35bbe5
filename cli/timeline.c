/* SPDX-License-Identifier: MIT
 *
 * Cuts a stall into spans (timeline.h): its waits as they were stamped, and between them the thread ran,
 * wanted to run, or did something that nobody saw; how much of each the scheduler's own counts of the thread
 * tell.
 */
#include "timeline.h"

#include <stdlib.h>
#include <string.h>

/* Scheduler counts are read a little before and after a stall: differences below this are no evidence. */
#define SLACK_NS 1000000
#define UNSEEN_NS 10000000
/* A running thread's CPU time is brought up to date by the scheduler's tick. */
#define COUNTED_EVERY_NS 10000000

static uint32_t *index_make(uint32_t max)
{
	return xcalloc((size_t)max + 1, sizeof(uint32_t));
}

void judge_open(struct judge *j, const struct observations *o)
{
	memset(j, 0, sizeof *j);
	j->seen = o;
	/* processes, threads and locks each have rising ids; the arrays are sorted by them */
	if (o->threads.n)
		j->id_max = o->threads.at[o->threads.n - 1].id;
	if (o->locks.n && o->locks.at[o->locks.n - 1].id > j->id_max)
		j->id_max = o->locks.at[o->locks.n - 1].id;
	j->thread_at = index_make(j->id_max);
	j->lock_at = index_make(j->id_max);
	for (size_t i = 0; i < o->threads.n; i++)
		j->thread_at[o->threads.at[i].id] = (uint32_t)i + 1;
	for (size_t i = 0; i < o->locks.n; i++)
		j->lock_at[o->locks.at[i].id] = (uint32_t)i + 1;
	j->waits = o->waits.at;
	j->holds = o->holds.at;
	j->samples = o->samples.at;
}

void judge_close(struct judge *j)
{
	free(j->thread_at);
	free(j->lock_at);
	memset(j, 0, sizeof *j);
}

/* Moves a slice of an array sorted by stall on to this stall's part. */
#define SLICE(j, what, array)                                                                      \
	do {                                                                                       \
		size_t at = (size_t)((j)->what##s - (j)->seen->array.at) + (j)->what##_count;      \
		while (at < (j)->seen->array.n && (j)->seen->array.at[at].stall < (j)->stall->id)  \
			at++;                                                                      \
		(j)->what##s = (j)->seen->array.at + at;                                           \
		(j)->what##_count = 0;                                                             \
		while (at < (j)->seen->array.n && (j)->seen->array.at[at].stall == (j)->stall->id) \
			at++, (j)->what##_count++;                                                 \
	} while (0)

void judge_stall(struct judge *j, const struct obs_stall *stall, uint32_t loop_thread)
{
	if (j->stall && stall->id < j->stall->id) { /* back to the beginning */
		j->waits = j->seen->waits.at;
		j->holds = j->seen->holds.at;
		j->samples = j->seen->samples.at;
		j->wait_count = j->hold_count = j->sample_count = 0;
	}
	j->stall = stall;
	j->loop_thread = loop_thread;
	SLICE(j, wait, waits);
	SLICE(j, hold, holds);
	SLICE(j, sample, samples);
}

const struct obs_thread *judge_thread(const struct judge *j, uint32_t id)
{
	return id && id <= j->id_max && j->thread_at[id] ? &j->seen->threads.at[j->thread_at[id] - 1] : NULL;
}

const struct obs_lock *judge_lock(const struct judge *j, uint32_t id)
{
	return id && id <= j->id_max && j->lock_at[id] ? &j->seen->locks.at[j->lock_at[id] - 1] : NULL;
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

/* Time outside waits and calls, [start, end]: of all such time in this stall the shares `running` and
 * `runnable` are known; the rest is unknown. The order within is not. */
static void busy_add(spans_t *out, uint64_t start, uint64_t end, double running, double runnable)
{
	double length = (double)(end - start);
	uint64_t ran = (uint64_t)(length * running), wanted = (uint64_t)(length * runnable);
	if (running + runnable > 0.9999)
		wanted = end - start - ran;
	span_add(out, SPAN_RUNNING, start, start + ran);
	span_add(out, SPAN_RUNNABLE, start + ran, start + ran + wanted);
	span_add(out, SPAN_UNKNOWN, start + ran + wanted, end);
}

/* The loop thread's looks in [start, end], each for the time nearest to it: where it was blocked in a call
 * that nobody stamped, that is what it did. Calls each with the part of the gap and the look (NULL: it was
 * not blocked). */
struct gap {
	const struct judge *judge;
	uint64_t start, end;
};
static void gap_walk(const struct gap *g, void (*part)(void *, uint64_t, uint64_t, const struct obs_sample *),
		     void *arg)
{
	const struct judge *j = g->judge;
	const struct obs_sample *last = NULL;
	uint64_t at = g->start;
	for (size_t i = 0; i < j->sample_count; i++) {
		const struct obs_sample *s = &j->samples[i];
		if (s->thread != j->loop_thread || s->time_ns < g->start || s->time_ns > g->end)
			continue;
		const char *was = last && last->run == RUN_BLOCKED ? last->syscall : NULL;
		const char *is = s->run == RUN_BLOCKED ? s->syscall : NULL;
		if (last && was != is) {
			uint64_t middle = last->time_ns + (s->time_ns - last->time_ns) / 2;
			part(arg, at, middle, was ? last : NULL);
			at = middle;
		}
		last = s;
	}
	part(arg, at, g->end, last && last->run == RUN_BLOCKED && last->syscall ? last : NULL);
}

struct adding {
	spans_t *out;
	double running, runnable;
};

static void part_add(void *arg, uint64_t start, uint64_t end, const struct obs_sample *blocked)
{
	struct adding *a = arg;
	if (!blocked) {
		busy_add(a->out, start, end, a->running, a->runnable);
		return;
	}
	if (end <= start)
		return;
	span_add(a->out, SPAN_CALL, start, end);
	struct span *span = &a->out->at[a->out->n - 1];
	span->syscall = blocked->syscall;
	span->target = blocked->target;
}

/* How much of a gap the loop thread ran, and how much it wanted to: by the scheduler's counts of it at the
 * looks inside, or, for a stall without a wait, at its ends. Its delay in getting a CPU after a wait belongs
 * to that wait. */
static void gap_shares(const struct judge *j, uint64_t start, uint64_t end, double *running, double *runnable)
{
	const struct obs_sample *last = NULL;
	const struct obs_stall *stall = j->stall;
	uint64_t seen = 0, delay = 0, cpu = 0;
	for (size_t i = 0; i < j->sample_count; i++) {
		const struct obs_sample *s = &j->samples[i];
		if (s->thread != j->loop_thread || s->time_ns < start || s->time_ns > end)
			continue;
		bool both = last && last->run != RUN_BLOCKED && s->run != RUN_BLOCKED && last->cpu_ns >= 0 &&
			    s->cpu_ns >= last->cpu_ns && s->delay_ns >= last->delay_ns;
		if (both) {
			seen += s->time_ns - last->time_ns;
			delay += (uint64_t)(s->delay_ns - last->delay_ns);
			cpu += (uint64_t)(s->cpu_ns - last->cpu_ns);
		}
		last = s;
	}
	if (!j->wait_count && stall->cpu_ns >= 0 && stall->delay_ns >= 0 && seen < (end - start) / 2) {
		seen = end - start;
		delay = (uint64_t)stall->delay_ns;
		cpu = (uint64_t)stall->cpu_ns;
	}
	/* neither looked at nor counted (whystall itself had no CPU): nobody knows */
	*running = last || seen || end - start < UNSEEN_NS ? 1 : 0;
	*runnable = 0;
	if (!seen || delay < SLACK_NS)
		delay = 0;
	if (delay > seen)
		delay = seen;
	if (!seen)
		return;
	*runnable = (double)delay / (double)seen;
	*running = 1 - *runnable;
	if (cpu + delay + COUNTED_EVERY_NS + seen / 20 < seen)
		*running = (double)cpu / (double)seen;
}

static void gap_add(const struct judge *j, spans_t *out, uint64_t start, uint64_t end)
{
	struct adding adding = {.out = out};
	gap_shares(j, start, end, &adding.running, &adding.runnable);
	gap_walk(&(struct gap){j, start, end}, part_add, &adding);
}

void timeline_make(const struct judge *j, spans_t *out)
{
	const struct obs_stall *s = j->stall;
	uint64_t at = s->start_ns;
	for (size_t i = 0; i < j->wait_count; i++) {
		const struct obs_wait *wait = &j->waits[i];
		uint64_t start = wait->start_ns < at ? at : wait->start_ns;
		uint64_t end = wait->end_ns > s->end_ns ? s->end_ns : wait->end_ns;
		if (end <= start)
			continue;
		if (start > at)
			gap_add(j, out, at, start);
		struct span *span = vec_push(out);
		span->kind = wait->what == WAIT_LOCK ? SPAN_LOCK : SPAN_CALL;
		span->start_ns = start;
		span->end_ns = end;
		span->wait = wait;
		span->lock = judge_lock(j, wait->lock);
		span->syscall = wait->syscall;
		span->target = wait->target;
		at = end;
	}
	if (at < s->end_ns)
		gap_add(j, out, at, s->end_ns);
}
