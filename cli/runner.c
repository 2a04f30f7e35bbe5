/* SPDX-License-Identifier: MIT
 *
 * Cuts out of a stall what happened outside the loop (runner.h).
 *
 * Most runtimes' loops are run by a Python function that is on the stack below all that the loop calls. A
 * greenlet hub is not: what it runs has a stack of its own, but the main greenlet, which the hub returns to,
 * stands on the program's own start. uvloop's function is C: its module's code is on the native stack.
 */
#include "runner.h"

#include <stdlib.h>
#include <string.h>

enum how { BY_FRAME, BY_GREENLET, BY_MODULE };

/* CPython's Lib/asyncio/base_events.py; trio/_core/_run.py; twisted/internet/base.py; gevent/hub.py; uvloop's
 * extension module uvloop.loop. Before 3.11 a frame has no qualified name. */
static const struct runner_row {
	const char *name; /* in records */
	enum how how;
	const char *file, *function; /* the module's base name up to its dot */
} runners[] = {
	{"run_forever", BY_FRAME, "/asyncio/base_events.py", "run_forever"},
	{"trio.run", BY_FRAME, "/trio/_core/_run.py", "run"},
	{"unrolled_run", BY_FRAME, "/trio/_core/_run.py", "unrolled_run"},
	{"mainLoop", BY_FRAME, "/twisted/internet/base.py", "mainLoop"},
	{"Hub.run", BY_GREENLET, "/gevent/hub.py", "run"},
	{"uvloop", BY_MODULE, "/uvloop/", "loop"},
};

static bool row_matches(const struct runner_row *row, const struct frame *f)
{
	if (row->how == BY_MODULE) {
		size_t n = strlen(row->function);
		return f->kind == FRAME_NATIVE && f->module && !strncmp(f->module, row->function, n) &&
		       f->module[n] == '.';
	}
	if (f->kind != FRAME_PYTHON || !f->function || !f->file || !text_ends(f->file, row->file))
		return false;
	const char *dot = strrchr(f->function, '.');
	return !strcmp(dot ? dot + 1 : f->function, row->function);
}

const char *runner_frame(const struct frame *f)
{
	for (size_t i = 0; i < LENGTH(runners); i++)
		if (runners[i].how != BY_MODULE && row_matches(&runners[i], f))
			return runners[i].name;
	return NULL;
}

const char *runner_module(const char *path)
{
	const char *slash = strrchr(path, '/');
	for (size_t i = 0; i < LENGTH(runners); i++) {
		size_t n = strlen(runners[i].function), m = strlen(runners[i].file);
		if (runners[i].how == BY_MODULE && slash && slash - path + 1 >= (ptrdiff_t)m &&
		    !strncmp(slash + 1 - m, runners[i].file, m) &&
		    !strncmp(slash + 1, runners[i].function, n) && slash[1 + n] == '.')
			return runners[i].name;
	}
	return NULL;
}

char *runner_root(const struct frame *f, char *buf, size_t size)
{
	snprintf(buf, size, "%s %s", f->function ? f->function : "?", f->file ? f->file : "?");
	return buf;
}

/* Of a stack, as to a runner. */
struct look {
	bool found;		       /* it is on it */
	const struct frame *outermost; /* Python frame, NULL: none */
	bool hidden;		       /* native code called Python, and it was not seen which */
};

static void stack_look(const struct observations *o, uint32_t stack, const struct runner_row *row,
		       struct look *out)
{
	int n = 0;
	const uint32_t *ids = verdict_stack(o, stack, &n);
	bool entered = false; /* the frame before was called by native code */
	*out = (struct look){0};
	for (int i = 0; i < n; i++) {
		const struct frame *f = verdict_frame(o, ids[i]);
		out->found = out->found || row_matches(row, f);
		if (f->kind != FRAME_PYTHON) {
			entered = false;
			continue;
		}
		out->hidden = out->hidden || entered;
		entered = f->entry;
		out->outermost = f;
	}
}

void runner_find(const struct judge *j, const struct obs_loop *loop, struct runner *r)
{
	const struct observations *o = j->seen;
	memset(r, 0, sizeof *r);
	for (size_t i = 0; i < LENGTH(runners) && loop->runner && loop->root && !r->row; i++)
		if (!strcmp(loop->runner, runners[i].name))
			r->row = &runners[i];
	if (r->row)
		snprintf(r->root, sizeof r->root, "%s", loop->root);
	bool *looked = xcalloc(o->stack_cut.n + 1, sizeof *looked); /* at a stack: many looks have the same */
	for (size_t i = 0; i < o->samples.n && !r->row; i++) {
		const struct obs_sample *s = &o->samples.at[i];
		struct look look;
		if (s->thread != loop->thread || !s->stack || o->stack_cut.at[s->stack - 1] ||
		    looked[s->stack])
			continue;
		looked[s->stack] = true;
		for (size_t k = 0; k < LENGTH(runners) && !r->row; k++) {
			stack_look(o, s->stack, &runners[k], &look);
			if (look.found && look.outermost)
				r->row = &runners[k];
		}
		if (r->row)
			runner_root(look.outermost, r->root, sizeof r->root);
	}
	free(looked);
}

/* The program's own start: what the main greenlet, which is none of the hub's, stands on. */
static bool is_start(const struct frame *f)
{
	return f->function &&
	       (!strcmp(f->function, "<module>") || !strcmp(f->function, "_run_module_as_main"));
}

/* 1: the loop was running, 0: it was not, -1: this look does not tell. */
static int sample_inside(const struct judge *j, const struct runner *r, const struct obs_sample *s)
{
	struct look look;
	char root[sizeof r->root];
	if (s->thread != j->loop_thread || !s->stack)
		return -1;
	stack_look(j->seen, s->stack, r->row, &look);
	if (look.found)
		return 1;
	if (!look.outermost || j->seen->stack_cut.at[s->stack - 1])
		return -1;
	if (r->row->how == BY_GREENLET)
		return !is_start(look.outermost);
	if (r->row->how == BY_MODULE && (look.hidden || !s->native))
		return -1;
	return strcmp(runner_root(look.outermost, root, sizeof root), r->root) ? -1 : 0;
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
