/* SPDX-License-Identifier: MIT
 *
 * runqueue: the loop thread was ready to run and got no CPU: because others had them, or because its control
 * group had used up its quota. Which it was is told by the group's own counts.
 */
#include "../timeline.h"

static bool runqueue_claims(const struct span *span)
{
	return span->kind == SPAN_RUNNABLE;
}

static void runqueue_judge(const struct judge *j, const struct span *span, struct segment *segment)
{
	blame_loop(j, span->from_ns, span->to_ns, NULL, &segment->culprit, &segment->stack);
}

/* Of the time without a CPU, how much the quota explains at most: the groups' counts are sums over CPUs. */
struct throttled {
	uint64_t ns, periods;
};
static struct throttled throttled_sum(const struct verdict_loop *l, const struct verdict_cause *v)
{
	struct throttled sum = {0};
	for (size_t i = 0; i < l->stalls.n; i++) {
		const struct verdict_stall *s = &l->stalls.at[i];
		uint64_t mine = 0;
		for (size_t k = 0; k < s->segments.n; k++) {
			const struct segment *segment = &s->segments.at[k];
			if (segment->cause == v->cause && segment->culprit.function == v->culprit.function &&
			    segment->culprit.file == v->culprit.file)
				mine += segment->ns;
		}
		if (!mine || s->seen->throttled_ns <= 0)
			continue;
		uint64_t most = (uint64_t)s->seen->throttled_ns;
		sum.ns += mine < most ? mine : most;
		if (s->seen->throttled_periods > 0)
			sum.periods += (uint64_t)s->seen->throttled_periods;
	}
	return sum;
}

static void runqueue_explain(const struct verdict_process *p, const struct verdict_loop *l,
			     struct verdict_cause *v)
{
	char total[32], part[32], quota[32], period[32], limit[96] = "";
	struct throttled t = {0};
	if (p->seen->quota_s > 0)
		t = throttled_sum(l, v);
	time_format(total, sizeof total, v->ns);
	time_format(part, sizeof part, t.ns);
	double quota_s = p->seen->quota_s, period_s = p->seen->quota_period_s;
	if (quota_s > 0 && period_s > 0 && quota_s < 1e3 && period_s < 1e3)
		snprintf(limit, sizeof limit, " of %s of CPU in every %s",
			 time_format(quota, sizeof quota, (uint64_t)(quota_s * 1e9)),
			 time_format(period, sizeof period, (uint64_t)(period_s * 1e9)));
	if (t.ns < v->ns / 2 || !t.ns) {
		v->why = t.ns > v->ns / 10 ? xprintf("The loop's thread was ready to run for %s and the "
						     "kernel gave it no CPU, for %s of it because its "
						     "cgroup had used up its quota%s.",
						     total, part, limit)
					   : xprintf("The loop's thread was ready to run for %s and the "
						     "kernel gave it no CPU.",
						     total);
		v->advice = xstrdup("Give the process more CPU, or run fewer busy processes beside it.");
		return;
	}
	v->why = xprintf("The cgroup's quota%s throttled the process: the loop's thread was ready to run for "
			 "%s and got no CPU; the cgroup was out of its quota in %llu period%s.",
			 limit, total, (unsigned long long)t.periods, t.periods == 1 ? "" : "s");
	v->advice = limit[0] ? xprintf("Give it a larger quota (a container's CPU limit; cpu.max is now "
				       "\"%.0f %.0f\"), or use less CPU beside the loop: fewer threads.",
				       quota_s * 1e6, period_s * 1e6)
			     : xstrdup("Give it a larger quota (a container's CPU limit, cpu.max), or use "
				       "less CPU beside the loop: fewer threads.");
}

static const struct cause runqueue = {.name = "runqueue",
				      .order = 50,
				      .claims = runqueue_claims,
				      .judge = runqueue_judge,
				      .explain = runqueue_explain};
PART(cause, cause, runqueue);
