/* SPDX-License-Identifier: MIT
 *
 * Cuts out of a stall what happened outside the loop (runner.h). Greenlet hubs are not in the table: what
 * they run is on other stacks. uvloop's own function is not a Python frame, so it cannot be told by stacks.
 */
#include "runner.h"

#include <string.h>

/* CPython's Lib/asyncio/base_events.py; trio/_core/_run.py. Before 3.11 a frame has no qualified name. */
static const struct {
	const char *file, *function;
} runners[] = {
	{"/asyncio/base_events.py", "run_forever"},
	{"/trio/_core/_run.py", "unrolled_run"},
};

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && !strcmp(s + n - m, end);
}

bool runner_frame(const struct frame *f)
{
	if (f->kind != FRAME_PYTHON || !f->function || !f->file)
		return false;
	const char *dot = strrchr(f->function, '.');
	for (size_t i = 0; i < LENGTH(runners); i++)
		if (!strcmp(dot ? dot + 1 : f->function, runners[i].function) &&
		    ends_with(f->file, runners[i].file))
			return true;
	return false;
}

char *runner_root(const struct frame *f, char *buf, size_t size)
{
	snprintf(buf, size, "%s %s", f->function ? f->function : "?", f->file ? f->file : "?");
	return buf;
}

/* Of a stack: has it a runner's frame, and which Python frame is its outermost (NULL: it has none)? */
static bool stack_look(const struct observations *o, uint32_t stack, const struct frame **outermost)
{
	int n = 0;
	const uint32_t *ids = verdict_stack(o, stack, &n);
	bool found = false;
	*outermost = NULL;
	for (int i = 0; i < n; i++) {
		const struct frame *f = verdict_frame(o, ids[i]);
		found = found || runner_frame(f);
		if (f->kind == FRAME_PYTHON)
			*outermost = f;
	}
	return found;
}

void runner_find(const struct judge *j, const struct obs_loop *loop, struct runner *r)
{
	const struct observations *o = j->seen;
	const struct frame *outermost;
	memset(r, 0, sizeof *r);
	if (loop->runner && loop->root) {
		r->known = true;
		snprintf(r->root, sizeof r->root, "%s", loop->root);
	}
	for (size_t i = 0; i < o->samples.n && !r->known; i++) {
		const struct obs_sample *s = &o->samples.at[i];
		if (s->thread != loop->thread || !s->stack || o->stack_cut.at[s->stack - 1] ||
		    !stack_look(o, s->stack, &outermost))
			continue;
		r->known = true;
		runner_root(outermost, r->root, sizeof r->root);
	}
}

/* 1: the loop was running, 0: it was not, -1: this look does not tell. */
static int sample_inside(const struct judge *j, const struct runner *r, const struct obs_sample *s)
{
	const struct frame *outermost;
	char root[sizeof r->root];
	if (s->thread != j->loop_thread || !s->stack)
		return -1;
	if (stack_look(j->seen, s->stack, &outermost))
		return 1;
	if (!outermost || j->seen->stack_cut.at[s->stack - 1])
		return -1;
	return strcmp(runner_root(outermost, root, sizeof root), r->root) ? -1 : 0;
}

/* The instant between two looks at which the one turned into the other: their middle, but a call that either
 * was in was in it as a whole. */
static uint64_t boundary(const struct judge *j, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < j->wait_count; i++) {
		const struct obs_wait *wait = &j->waits[i];
		if (wait->start_ns <= from && wait->end_ns > from && wait->end_ns <= to)
			from = wait->end_ns;
		else if (wait->start_ns >= from && wait->start_ns < to && wait->end_ns >= to)
			to = wait->start_ns;
	}
	return from + (to - from) / 2;
}

bool runner_inside(const struct judge *j, const struct runner *r, uint64_t *start, uint64_t *end)
{
	const struct obs_sample *last = NULL;
	uint64_t from = j->stall->start_ns, longest = 0;
	int was = 1; /* a stall that no look tells anything of stays */
	*start = *end = from;
	for (size_t i = 0; i <= j->sample_count; i++) {
		const struct obs_sample *s = i < j->sample_count ? &j->samples[i] : NULL;
		int is = s ? sample_inside(j, r, s) : 0;
		if (is < 0)
			continue;
		uint64_t at = !s ? j->stall->end_ns : last ? boundary(j, last->time_ns, s->time_ns) : from;
		if (at > j->stall->end_ns)
			at = j->stall->end_ns;
		if (was && (!s || !is) && at > from && at - from > longest) {
			longest = at - from;
			*start = from;
			*end = at;
		}
		if (!last || is != was)
			from = at;
		was = is;
		last = s;
	}
	return longest > 0;
}
