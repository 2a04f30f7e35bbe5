/* SPDX-License-Identifier: MIT
 *
 * fault: the loop thread touched memory that was not there and waited until it came from a disk: a file that
 * is mapped, or what had been swapped out. Faults that wait for nothing are cpu.
 */
#include "../timeline.h"

static bool fault_claims(const struct span *span)
{
	return span->kind == SPAN_FAULT;
}

/* By how many the thread's count of major faults rose over the looks in and next to the span. */
static uint32_t faults_count(const struct judge *j, const struct span *span)
{
	const struct obs_sample *first = NULL, *last = NULL;
	for (size_t i = 0; i < j->sample_count; i++) {
		const struct obs_sample *s = &j->samples[i];
		if (s->thread != j->loop_thread || s->faults < 0)
			continue;
		if (s->time_ns <= span->start_ns || !first)
			first = s;
		last = s;
		if (s->time_ns >= span->end_ns)
			break;
	}
	int64_t n = first ? last->faults - first->faults : 0;
	if (span->start_ns == j->stall->start_ns && span->end_ns == j->stall->end_ns && j->stall->faults > n)
		n = j->stall->faults;
	return n > 0 && n < INT32_MAX ? (uint32_t)n : 1; /* the one that is still under way */
}

static void fault_judge(const struct judge *j, const struct span *span, struct segment *segment)
{
	blame_loop(j, span->start_ns, span->end_ns, NULL, &segment->culprit, &segment->stack);
	segment->faults = faults_count(j, span);
	segment->target = span->target;
	for (size_t i = 0; !segment->target && i < j->sample_count; i++)
		if (j->samples[i].thread == j->loop_thread && j->samples[i].run == RUN_FAULTING)
			segment->target = j->samples[i].target;
}

static void fault_explain(const struct verdict_process *p, const struct verdict_loop *l,
			  struct verdict_cause *v)
{
	(void)l;
	char total[32], count[32];
	time_format(total, sizeof total, v->ns);
	count_format(count, sizeof count, v->faults);
	v->why = xprintf("The loop's own thread waited %s for memory that had to be read in: %s major page "
			 "fault%s%s%s.",
			 total, count, v->faults == 1 ? "" : "s", v->target ? ", in " : "",
			 v->target ? v->target : "");
	const char *elsewhere =
		verdict_python(p) ? "asyncio.to_thread() around the access" : "another thread";
	v->advice = v->target ? xprintf("Read the file in before it is needed (madvise MADV_WILLNEED, "
					"MAP_POPULATE), or touch it in %s.",
					elsewhere)
			      : xprintf("Give the process more memory or less swap; mlock() what must stay; "
					"or touch it in %s.",
					elsewhere);
}

static const struct cause fault = {
	.name = "fault", .order = 60, .claims = fault_claims, .judge = fault_judge, .explain = fault_explain};
PART(cause, cause, fault);
