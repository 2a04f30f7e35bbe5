/* SPDX-License-Identifier: MIT
 *
 * cpu: the loop thread itself ran.
 */
#include "../timeline.h"

static bool cpu_claims(const struct span *span)
{
	return span->kind == SPAN_RUNNING;
}

static void cpu_judge(const struct judge *j, const struct span *span, struct segment *segment)
{
	blame_loop(j, span->from_ns, span->to_ns, NULL, &segment->culprit, &segment->stack);
}

static void cpu_explain(const struct verdict_process *p, const struct verdict_loop *l,
			struct verdict_cause *v)
{
	(void)l;
	char total[32], worst[32];
	time_format(total, sizeof total, v->ns);
	time_format(worst, sizeof worst, v->worst_ns);
	if (v->stalls == 1)
		v->why = xprintf("The loop's own thread computed for %s without a break.", total);
	else
		v->why = xprintf("The loop's own thread computed for %s in %u stalls, at most %s in one.",
				 total, v->stalls, worst);
	v->advice = xstrdup(
		verdict_python(p)
			? "Run it in a ProcessPoolExecutor (a thread would keep the GIL from the loop), "
			  "or break it up with await asyncio.sleep(0)."
			: "Run it in a worker thread or process, or break it up.");
}

static const struct cause cpu = {
	.name = "cpu", .order = 40, .claims = cpu_claims, .judge = cpu_judge, .explain = cpu_explain};
PART(cause, cause, cpu);
