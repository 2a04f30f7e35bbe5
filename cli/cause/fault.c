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

static void fault_judge(const struct judge *j, const struct span *span, struct segment *segment)
{
	blame_loop(j, span->from_ns, span->to_ns, NULL, &segment->culprit, &segment->stack);
	/* at least the one that it waits for now */
	segment->faults = span->faults && span->faults < UINT32_MAX ? (uint32_t)span->faults : 1;
	segment->target = span->target;
	for (size_t i = 0; !segment->target && i < j->sample_count; i++)
		if (j->samples[i].thread == j->loop_thread && !j->samples[i].syscall &&
		    j->samples[i].time_ns >= span->from_ns)
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
		verdict_python(p) ? "off the loop with asyncio.to_thread()" : "in another thread";
	v->advice = v->target ? xprintf("Read the file in before it is needed (madvise MADV_WILLNEED, "
					"MAP_POPULATE), or touch it %s.",
					elsewhere)
			      : xprintf("Give the process more memory or less swap; mlock() what must stay; "
					"or touch it %s.",
					elsewhere);
}

static const struct cause fault = {
	.name = "fault", .order = 60, .claims = fault_claims, .judge = fault_judge, .explain = fault_explain};
PART(cause, cause, fault);
