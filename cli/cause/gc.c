/* SPDX-License-Identifier: MIT
 *
 * gc: the loop thread itself ran its interpreter's cycle collector. To blame is the code in which that came
 * up: it made the objects, or asked for it. A collection by another thread is `gil`.
 */
#include <string.h>

#include "../timeline.h"

static bool gc_claims(const struct span *span)
{
	return span->kind == SPAN_COLLECTING;
}

static void gc_judge(const struct judge *j, const struct span *span, struct segment *segment)
{
	blame_loop(j, span->from_ns, span->to_ns, NULL, &segment->culprit, &segment->stack);
	for (size_t i = 0; i < j->sample_count; i++) {
		const struct obs_sample *s = &j->samples[i];
		if (s->thread != j->loop_thread || s->time_ns < span->from_ns || s->time_ns > span->to_ns)
			continue;
		if (s->collects > segment->collects && s->collects < COLLECTS_SOME)
			segment->collects = s->collects;
		if (s->gc_objects > segment->gc_objects)
			segment->gc_objects = s->gc_objects;
	}
}

static void gc_explain(const struct verdict_process *p, const struct verdict_loop *l, struct verdict_cause *v)
{
	static const char *const whats[] = {[COLLECTS_YOUNG] = " of the youngest generation",
					    [COLLECTS_MIDDLE] = " of the middle generation",
					    [COLLECTS_FULL] = " of all objects (generation 2)"};
	(void)p;
	(void)l;
	char total[32], worst[32], count[32], objects[64] = "", often[96] = "";
	time_format(total, sizeof total, v->ns);
	time_format(worst, sizeof worst, v->worst_ns);
	const char *what = v->collects < LENGTH(whats) && whats[v->collects] ? whats[v->collects] : "";
	if (v->gc_objects > 0)
		snprintf(objects, sizeof objects, "; %s objects had survived the full one before",
			 count_format(count, sizeof count, (uint64_t)v->gc_objects));
	if (v->stalls > 1)
		snprintf(often, sizeof often, " in %u stalls, at most %s in one", v->stalls, worst);
	v->why = xprintf("The loop's own thread ran the garbage collector for %s%s: a collection%s%s.", total,
			 often, what, objects);
	if (v->culprit.native && !strcmp(v->culprit.native, "gc_collect"))
		v->advice = xstrdup("Call gc.collect() where nobody waits: between requests, or not at all.");
	else if (v->collects == COLLECTS_FULL || !what[0])
		v->advice = xstrdup("gc.freeze() after start-up takes the long-lived objects out of it; "
				    "gc.set_threshold() makes it rarer; fewer containers that live long "
				    "make it shorter.");
	else
		v->advice = xstrdup("Make fewer containers that live on, or raise gc.set_threshold(); "
				    "gc.disable() around code that makes many.");
}

static const struct cause gc = {
	.name = "gc", .order = 35, .claims = gc_claims, .judge = gc_judge, .explain = gc_explain};
PART(cause, cause, gc);
