/* SPDX-License-Identifier: MIT
 *
 * runqueue: the loop thread was ready to run and got no CPU.
 */
#include "../timeline.h"

static bool runqueue_claims(const struct span *span)
{
	return span->kind == SPAN_RUNNABLE;
}

static void runqueue_judge(const struct judge *j, const struct span *span, struct segment *segment)
{
	blame_loop(j, span->start_ns, span->end_ns, NULL, &segment->culprit, &segment->stack);
}

static void runqueue_explain(const struct verdict_process *p, const struct verdict_loop *l,
			     struct verdict_cause *v)
{
	(void)p;
	(void)l;
	char total[32];
	v->why = xprintf("The loop's thread was ready to run for %s and the kernel gave it no CPU.",
			 time_format(total, sizeof total, v->ns));
	v->advice = xstrdup("Give the process more CPU, or run fewer busy processes beside it.");
}

static const struct cause runqueue = {.name = "runqueue",
				      .order = 50,
				      .claims = runqueue_claims,
				      .judge = runqueue_judge,
				      .explain = runqueue_explain};
PART(cause, cause, runqueue);
