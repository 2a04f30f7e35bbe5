/* SPDX-License-Identifier: MIT
 *
 * stopped: a signal (SIGSTOP, SIGTSTP ...) or a debugger kept the thread from running. The function named is
 * where it was then, which is not to blame.
 */
#include "../timeline.h"

static bool stopped_claims(const struct span *span)
{
	return span->kind == SPAN_STOPPED;
}

static void stopped_judge(const struct judge *j, const struct span *span, struct segment *segment)
{
	blame_loop(j, span->start_ns, span->end_ns, NULL, &segment->culprit, &segment->stack);
	segment->culprit.native = NULL;
}

static void stopped_explain(const struct verdict_process *p, const struct verdict_loop *l,
			    struct verdict_cause *v)
{
	(void)p;
	(void)l;
	char total[32], often[32] = "";
	if (v->calls > 1)
		snprintf(often, sizeof often, ", in %u pieces", v->calls);
	v->why = xprintf(
		"The process was stopped for %s%s: by SIGSTOP or its like, by the freezer or by a debugger.",
		time_format(total, sizeof total, v->ns), often);
	v->advice = xstrdup("Find out who stops it: a shell's job control, a debugger or tracer, a script "
			    "that pauses processes. The code is not to blame.");
}

static const struct cause stopped = {.name = "stopped",
				     .order = 5,
				     .claims = stopped_claims,
				     .judge = stopped_judge,
				     .explain = stopped_explain};
PART(cause, cause, stopped);
