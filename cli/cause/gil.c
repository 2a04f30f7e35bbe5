/* SPDX-License-Identifier: MIT
 *
 * gil: the loop waited for the interpreter's lock. The holder's function is to blame; whether it kept the
 * lock in one piece or passed it round decides the remedy.
 */
#include <string.h>

#include "../timeline.h"

static bool gil_claims(const struct span *span)
{
	return span->kind == SPAN_LOCK && span->lock && span->lock->kind == LOCK_GIL;
}

static void gil_judge(const struct judge *j, const struct span *span, struct segment *segment)
{
	struct culprit self = {0};
	blame_holders(j, span, segment);
	blame_loop(j, span->start_ns, span->end_ns, NULL, &self, &segment->stack);
}

static void gil_explain(const struct verdict_process *p, const struct verdict_loop *l,
			struct verdict_cause *v)
{
	(void)l;
	char longest[32], total[32], interval_text[32];
	double interval = p->seen->switch_interval_s > 0 ? p->seen->switch_interval_s : 0.005;
	uint64_t interval_ns = (uint64_t)(interval * 1e9);
	unsigned long long intervals = v->longest_hold_ns / interval_ns;
	time_format(longest, sizeof longest, v->longest_hold_ns);
	time_format(total, sizeof total, v->ns);
	time_format(interval_text, sizeof interval_text, interval_ns);
	if (!v->hold_count) {
		v->why = xprintf("The loop waited %s for the GIL; who had it was not seen.", total);
		v->advice = xstrdup("Run it again with a higher --rate.");
		return;
	}
	const char *own = v->culprit.native;
	if (intervals >= 4 && v->holder_run == RUN_BLOCKED) {
		v->why = xprintf("It kept the GIL for %s at a time, %llu switch intervals, while it was "
				 "itself blocked in %s.",
				 longest, intervals, v->holder_syscall ? v->holder_syscall : "a system call");
		v->advice = xstrdup("Let the native code release the GIL around calls that block, or run it "
				    "in a process of "
				    "its own.");
	} else if (intervals >= 4) {
		/* one that the others are nothing beside is one; without a name it is native only most likely
		 */
		bool one = v->hold_count == 1 || v->longest_hold_ns >= v->ns / 10 * 8;
		const char *code = own ? "native code" : "code";
		v->why = one ? xprintf("One hold of %s, %llu switch intervals: %s that never lets go of the "
				       "GIL.",
				       longest, intervals, code)
			     : xprintf("%u holds, the longest %s, %llu switch intervals: %s that does not "
				       "let go of "
				       "the GIL.",
				       v->hold_count, longest, intervals, code);
		v->advice =
			own ? xprintf("Run it in a ProcessPoolExecutor, or in native code that releases the "
				      "GIL; %s does not.",
				      own)
			    : xstrdup("Run it in a ProcessPoolExecutor, or in native code that releases the "
				      "GIL.");
	} else if (v->holder_threads > 1) {
		v->why = xprintf("%u hand-overs among %u threads, each hold at most %s (the switch interval "
				 "is %s): Python code "
				 "that takes turns at the GIL.",
				 v->hold_count, v->holder_threads, longest, interval_text);
		v->advice = xstrdup("Use fewer workers or a ProcessPoolExecutor; a shorter "
				    "sys.setswitchinterval() makes the "
				    "turns shorter.");
	} else {
		v->why = xprintf("%u hold%s of the GIL by one thread, at most %s each (the switch interval "
				 "is %s): Python code "
				 "that computes.",
				 v->hold_count, v->hold_count == 1 ? "" : "s", longest, interval_text);
		v->advice = xstrdup(
			"Run it in a ProcessPoolExecutor; a shorter sys.setswitchinterval() makes each wait "
			"shorter.");
	}
}

static const struct cause gil = {
	.name = "gil", .order = 10, .claims = gil_claims, .judge = gil_judge, .explain = gil_explain};
PART(cause, cause, gil);
