/* SPDX-License-Identifier: MIT
 *
 * syscall: the loop thread was in a call that blocks, from its entry to its return.
 */
#include <string.h>

#include "../timeline.h"

static bool syscall_claims(const struct span *span)
{
	return span->kind == SPAN_CALL;
}

static void syscall_judge(const struct judge *j, const struct span *span, struct segment *segment)
{
	segment->syscall = span->syscall;
	segment->target = span->target;
	blame_loop(j, span->start_ns, span->end_ns, segment->syscall, &segment->culprit, &segment->stack);
	for (size_t i = 0; !segment->target && i < j->sample_count; i++)
		if (j->samples[i].thread == j->loop_thread && j->samples[i].syscall == segment->syscall &&
		    j->samples[i].time_ns >= span->start_ns && j->samples[i].time_ns <= span->end_ns)
			segment->target = j->samples[i].target;
}

static void syscall_explain(const struct verdict_process *p, const struct verdict_loop *l,
			    struct verdict_cause *v)
{
	(void)l;
	char each[32];
	const char *call = v->syscall ? v->syscall : "a system call";
	const char *target = v->target ? v->target : "", *open = v->target ? " (" : "",
		   *close = v->target ? ")" : "";
	time_format(each, sizeof each, v->calls > 1 ? v->ns / v->calls : v->ns);
	if (v->calls == 1)
		v->why = xprintf("One call of %s%s%s%s of %s on the loop's own thread.", call, open, target,
				 close, each);
	else
		v->why = xprintf("%u calls of %s%s%s%s on the loop's own thread, %s each on average.",
				 v->calls, call, open, target, close, each);
	/* Python's time.sleep up to 3.10 is a select without descriptors */
	bool sleeps = strstr(call, "sleep") || (v->culprit.native && strstr(v->culprit.native, "sleep"));
	bool talks = strstr(call, "recv") || !strcmp(call, "poll") || !strcmp(call, "pselect6");
	if (!verdict_python(p))
		v->advice = xstrdup("Use the loop's own timers and non-blocking calls, or a worker thread.");
	else if (sleeps)
		v->advice = xstrdup("await asyncio.sleep(); asyncio.to_thread() for code you cannot change.");
	else if (talks)
		v->advice = xstrdup(
			"Use an async client or streams, or asyncio.to_thread() for code you cannot change.");
	else
		v->advice = xstrdup("asyncio.to_thread(), or an async library that does the same.");
}

static const struct cause syscall_cause = {.name = "syscall",
					   .order = 30,
					   .claims = syscall_claims,
					   .judge = syscall_judge,
					   .explain = syscall_explain};
PART(cause, cause, syscall_cause);
