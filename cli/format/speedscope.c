/* SPDX-License-Identifier: MIT
 *
 * speedscope.app's own file format (speedscope: src/lib/file-format-spec.ts): one sampled profile for each
 * loop that stalled; a sample is a part of a stall, its stack that of who is to blame below the cause and the
 * thread, its weight the seconds.
 */
#include <stdlib.h>
#include <string.h>

#include "../format.h"
#include "emit.h"
#include "walk.h"

/* Frames of the record come first in the shared list; causes, threads and functions without a stack follow.
 */
struct names {
	VEC(const char *) at; /* literal or interned: compared as pointers */
	size_t base;
};

struct profile {
	struct emit *emit;
	const struct observations *seen;
	struct names *names;
	uint64_t total_ns;
};

static size_t name_index(struct names *names, const char *name)
{
	for (size_t i = 0; i < names->at.n; i++)
		if (names->at.at[i] == name)
			return names->base + i;
	*vec_push(&names->at) = name;
	return names->base + names->at.n - 1;
}

static const char *thread_name(const char *thread)
{
	return thread && *thread ? thread : "(no name)";
}

static void part_name(void *closure, const struct blame_part *p)
{
	struct names *names = closure;
	name_index(names, p->cause);
	name_index(names, intern(thread_name(p->thread)));
	if (!p->stack)
		name_index(names, intern(p->culprit->function ? p->culprit->function : "(not known)"));
}

static void frames_write(struct emit *j, const struct observations *o, const struct names *names)
{
	emit_array(j, "frames");
	for (size_t i = 0; i < o->frames.n; i++) {
		const struct frame *f = &o->frames.at[i];
		emit_object(j, NULL);
		emit_string(j, "name", f->function ? f->function : "?");
		if (f->file || f->module)
			emit_string(j, "file", f->file ? f->file : f->module);
		if (f->line > 0)
			emit_integer(j, "line", f->line);
		emit_close(j, '}');
	}
	for (size_t i = 0; i < names->at.n; i++) {
		emit_object(j, NULL);
		emit_string(j, "name", names->at.at[i]);
		emit_close(j, '}');
	}
	emit_close(j, ']');
}

static void part_sample(void *closure, const struct blame_part *p)
{
	struct profile *profile = closure;
	struct emit *j = profile->emit;
	int n = 0;
	const uint32_t *ids = verdict_stack(profile->seen, p->stack, &n);
	emit_array(j, NULL);
	emit_integer(j, NULL, (int64_t)name_index(profile->names, p->cause));
	emit_integer(j, NULL, (int64_t)name_index(profile->names, intern(thread_name(p->thread))));
	if (!p->stack)
		emit_integer(j, NULL,
			     (int64_t)name_index(
				     profile->names,
				     intern(p->culprit->function ? p->culprit->function : "(not known)")));
	for (int i = n - 1; i >= 0; i--)
		emit_integer(j, NULL, ids[i] - 1);
	emit_close(j, ']');
}

static void part_weight(void *closure, const struct blame_part *p)
{
	struct profile *profile = closure;
	emit_seconds(profile->emit, NULL, (int64_t)p->ns);
	profile->total_ns += p->ns;
}

static void profile_write(struct emit *j, const struct verdict *v, struct names *names,
			  const struct verdict_process *p, const struct verdict_loop *l)
{
	struct profile profile = {.emit = j, .seen = v->seen, .names = names};
	char *name = xprintf("%s, pid %d: stalled time", thread_name(l->thread->name), p->seen->pid);
	emit_object(j, NULL);
	emit_string(j, "type", "sampled");
	emit_string(j, "name", name);
	emit_string(j, "unit", "seconds");
	emit_array(j, "samples");
	for (size_t i = 0; i < l->stalls.n && !j->err; i++)
		parts_walk(&l->stalls.at[i], part_sample, &profile);
	emit_close(j, ']');
	emit_array(j, "weights");
	for (size_t i = 0; i < l->stalls.n && !j->err; i++)
		parts_walk(&l->stalls.at[i], part_weight, &profile);
	emit_close(j, ']');
	emit_integer(j, "startValue", 0);
	emit_seconds(j, "endValue", (int64_t)profile.total_ns);
	emit_close(j, '}');
	free(name);
}

static int speedscope_write(FILE *out, const struct verdict *v, const struct format_options *options)
{
	struct emit emit = {.out = out, .empty = true, .line = true}, *j = &emit;
	struct names names = {.base = v->seen->frames.n};
	(void)options;
	for (size_t p = 0; p < v->processes.n; p++)
		for (size_t l = 0; l < v->processes.at[p].loops.n; l++) {
			const struct verdict_loop *loop = &v->processes.at[p].loops.at[l];
			for (size_t s = 0; s < loop->stalls.n; s++)
				parts_walk(&loop->stalls.at[s], part_name, &names);
		}
	emit_object(j, NULL);
	emit_string(j, "$schema", "https://www.speedscope.app/file-format-schema.json");
	emit_string(j, "exporter", "whystall " VERSION);
	emit_string(j, "name", "whystall");
	emit_object(j, "shared");
	frames_write(j, v->seen, &names);
	emit_close(j, '}');
	emit_array(j, "profiles");
	for (size_t p = 0; p < v->processes.n; p++)
		for (size_t l = 0; l < v->processes.at[p].loops.n; l++)
			if (v->processes.at[p].loops.at[l].stalls.n)
				profile_write(j, v, &names, &v->processes.at[p],
					      &v->processes.at[p].loops.at[l]);
	emit_close(j, ']');
	emit_close(j, '}');
	emit_newline(j);
	vec_free(&names.at);
	return emit_end(j);
}

static const struct format speedscope = {.name = "speedscope",
					 .help = "stalled seconds by stack, for speedscope.app",
					 .use = FORMAT_EXPORT,
					 .write = speedscope_write};
PART(format, format, speedscope);
