/* SPDX-License-Identifier: MIT
 *
 * Cuts a stall into spans (timeline.h): where the process was stopped, that is all there is to say; elsewhere
 * its waits as they were stamped, and between them what timeline_gap.c makes of the looks.
 */
#include "timeline.h"

#include <stdlib.h>
#include <string.h>

#define FREE_NS 2000000 /* a hand-over takes less */

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
#define SLICE(j, what, array)                                                                        \
	do {                                                                                         \
		size_t at = (size_t)((j)->what##s - (j)->seen->array.at) + (j)->what##_count;        \
		while (at < (j)->seen->array.n && (j)->seen->array.at[at].stall < (j)->stall->id)    \
			at++;                                                                        \
		(j)->what##s = at ? (j)->seen->array.at + at : (j)->seen->array.at; /* maybe NULL */ \
		(j)->what##_count = 0;                                                               \
		while (at < (j)->seen->array.n && (j)->seen->array.at[at].stall == (j)->stall->id)   \
			at++, (j)->what##_count++;                                                   \
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

static void span_of_wait(const struct judge *j, spans_t *out, const struct obs_wait *wait, uint64_t start,
			 uint64_t end)
{
	if (end <= start)
		return;
	struct span *span = vec_push(out);
	span->kind = wait->what == WAIT_LOCK	  ? SPAN_LOCK
		     : wait->what == WAIT_STOPPED ? SPAN_STOPPED
						  : SPAN_CALL;
	span->start_ns = start;
	span->end_ns = end;
	span->from_ns = start;
	span->to_ns = end;
	span->wait = wait;
	span->lock = judge_lock(j, wait->lock);
	span->syscall = wait->syscall;
	span->target = wait->target;
}

uint64_t judge_delay(const struct judge *j)
{
	const struct obs_sample *first = NULL, *last = NULL;
	if (j->stall->delay_ns >= 0)
		return (uint64_t)j->stall->delay_ns;
	for (size_t i = 0; i < j->sample_count; i++)
		if (j->samples[i].thread == j->loop_thread && j->samples[i].delay_ns >= 0) {
			first = first ? first : &j->samples[i];
			last = &j->samples[i];
		}
	return first && last->delay_ns > first->delay_ns ? (uint64_t)(last->delay_ns - first->delay_ns) : 0;
}

/* The same of a sleep that ends at `end`, by the look that found the thread awake in it and the next one: a
 * thread that sleeps waits for no CPU. */
static uint64_t sleep_delay(const struct judge *j, uint64_t start, uint64_t end)
{
	const struct obs_sample *awake = NULL;
	for (size_t i = 0; i < j->sample_count; i++) {
		const struct obs_sample *s = &j->samples[i];
		if (s->thread != j->loop_thread || s->delay_ns < 0)
			continue;
		if (s->time_ns >= end)
			return awake && s->delay_ns > awake->delay_ns
				       ? (uint64_t)(s->delay_ns - awake->delay_ns)
				       : 0;
		if (s->time_ns > start)
			awake = s->run == RUN_RUNNING ? s : NULL;
	}
	return 0;
}

/* While nobody has the lock, what keeps its waiter is that it has no CPU, as far as the scheduler counted
 * that. */
static void free_add(const struct judge *j, spans_t *out, const struct obs_wait *wait, uint64_t start,
		     uint64_t end, uint64_t *delay)
{
	uint64_t ns = end - start < *delay ? end - start : *delay;
	if (ns < FREE_NS)
		ns = 0;
	*delay -= ns;
	span_of_wait(j, out, wait, start, end - ns);
	if (!ns)
		return;
	struct span *span = vec_push(out);
	span->kind = SPAN_RUNNABLE;
	span->start_ns = span->from_ns = end - ns;
	span->end_ns = span->to_ns = end;
}

/* A wait for a lock whose holds are known. All of the interpreter's are; of another lock the last one that
 * was seen is where its being free begins, and without any it is a signal that is waited for. */
static void lock_add(const struct judge *j, spans_t *out, const struct obs_wait *wait, uint64_t start,
		     uint64_t end)
{
	const struct obs_lock *lock = judge_lock(j, wait->lock);
	uint64_t delay = j->exact || j->stall->lost ? 0 : judge_delay(j), at = start;
	bool gil = lock && lock->kind == LOCK_GIL, any = gil;
	if (gil) /* who let go may have lost its CPU before it had woken the waiter: not all is the waiter's
		    delay */
		delay *= 4;
	for (size_t i = 0; i < j->hold_count && delay >= FREE_NS; i++) {
		const struct obs_hold *h = &j->holds[i];
		if (h->lock != wait->lock || h->end_ns <= at || h->start_ns >= end)
			continue;
		if (gil && h->start_ns > at + FREE_NS) {
			free_add(j, out, wait, at, h->start_ns, &delay);
			at = h->start_ns;
		}
		uint64_t to = h->end_ns < end ? h->end_ns : end;
		span_of_wait(j, out, wait, at, to);
		at = to;
		any = true;
	}
	if (!any && delay >= FREE_NS)
		delay = sleep_delay(j, start, end);
	if (delay >= FREE_NS && end > at)
		free_add(j, out, wait, at, end, &delay);
	else
		span_of_wait(j, out, wait, at, end);
}

static void wait_add(const struct judge *j, spans_t *out, const struct obs_wait *wait, uint64_t start,
		     uint64_t end)
{
	if (wait->what == WAIT_LOCK)
		lock_add(j, out, wait, start, end);
	else
		span_of_wait(j, out, wait, start, end);
}

static bool is_stop(const struct obs_wait *wait)
{
	return wait->what == WAIT_STOPPED;
}

static bool is_wait(const struct obs_wait *wait)
{
	return wait->what == WAIT_LOCK || wait->what == WAIT_CALL;
}

/* The waits that are wanted, one after the other, and what lies between. */
static void waits_walk(const struct judge *j, spans_t *out, uint64_t at, uint64_t until,
		       bool (*wanted)(const struct obs_wait *),
		       void (*between)(const struct judge *, spans_t *, uint64_t, uint64_t))
{
	for (size_t i = 0; i < j->wait_count; i++) {
		const struct obs_wait *wait = &j->waits[i];
		uint64_t start = wait->start_ns < at ? at : wait->start_ns;
		uint64_t end = wait->end_ns > until ? until : wait->end_ns;
		if (end <= start || !wanted(wait))
			continue;
		if (start > at)
			between(j, out, at, start);
		wait_add(j, out, wait, start, end);
		at = end;
	}
	if (at < until)
		between(j, out, at, until);
}

static void going_add(const struct judge *j, spans_t *out, uint64_t start, uint64_t end)
{
	waits_walk(j, out, start, end, is_wait, timeline_gap);
}

void timeline_make(const struct judge *j, spans_t *out)
{
	waits_walk(j, out, j->stall->start_ns, j->stall->end_ns, is_stop, going_add);
}
