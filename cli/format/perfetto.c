/* SPDX-License-Identifier: MIT
 *
 * Trace Event JSON ("Trace Event Format", Google 2016), which ui.perfetto.dev, its trace processor and
 * chrome://tracing read: threads as tracks; stalls, with their segments inside, and the holds of locks as
 * slices; an arrow from each hold to the segment that waited for it; as counters the stalled time, and of
 * each second the number of ticks and the longest.
 *
 * Slices of one track must nest: two loops in turn victim and holder may not, so that a slice ends where the
 * one around it does.
 */
#include <stdlib.h>
#include <string.h>

#include "../format.h"
#include "../prose.h"
#include "../ticks.h"
#include "emit.h"
#include "text.h"
#include "walk.h"

#define DEPTH_MAX 64
#define FRAMES_SHOWN 16

struct slice {
	int tid;
	uint64_t start_ns, end_ns;
	/* one of: */
	const struct verdict_stall *stall;
	const struct segment *segment;
	const struct obs_hold *hold;
};

struct trace {
	struct emit emit;
	const struct observations *seen;
	const struct verdict_process *process;
	VEC(struct slice) slices;
	uint64_t flows;
	size_t *holds; /* by stall id: where its holds begin */
	uint32_t stall_ids;
	struct stack_texts texts;
};

static const struct obs_thread *thread_of(const struct observations *o, uint32_t id)
{
	size_t low = 0, high = o->threads.n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (o->threads.at[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < o->threads.n && o->threads.at[low].id == id ? &o->threads.at[low] : NULL;
}

static void event_begin(struct trace *t, const char *phase, int tid, const char *name)
{
	emit_object(&t->emit, NULL);
	emit_string(&t->emit, "ph", phase);
	emit_integer(&t->emit, "pid", t->process->seen->pid);
	emit_integer(&t->emit, "tid", tid);
	emit_string(&t->emit, "name", name);
}

static void metadata_write(struct trace *t, int tid, const char *what, const char *name)
{
	event_begin(t, "M", tid, what);
	emit_object(&t->emit, "args");
	emit_string(&t->emit, "name", name);
	emit_close(&t->emit, '}');
	emit_close(&t->emit, '}');
}

/* --- slices --- */

static void slice_add(struct trace *t, struct slice s)
{
	if (s.end_ns > s.start_ns)
		*vec_push(&t->slices) = s;
}

static size_t stall_holds(const struct trace *t, const struct obs_stall *s, const struct obs_hold **at)
{
	size_t from = s->id <= t->stall_ids ? t->holds[s->id] : t->seen->holds.n, n = 0;
	*at = t->seen->holds.at + from;
	while (from + n < t->seen->holds.n && t->seen->holds.at[from + n].stall == s->id)
		n++;
	return n;
}

static bool stall_slices(void *closure, const struct verdict_process *p, const struct verdict_loop *l,
			 const struct verdict_stall *s)
{
	struct trace *t = closure;
	const struct obs_hold *holds;
	size_t n = stall_holds(t, s->seen, &holds);
	int tid = s->thread->tid;
	(void)p;
	(void)l;
	slice_add(t, (struct slice){.tid = tid,
				    .start_ns = s->seen->start_ns,
				    .end_ns = s->seen->start_ns + s->ns,
				    .stall = s});
	for (size_t i = 0; i < s->segments.n; i++)
		slice_add(t, (struct slice){.tid = tid,
					    .start_ns = s->segments.at[i].start_ns,
					    .end_ns = s->segments.at[i].start_ns + s->segments.at[i].ns,
					    .segment = &s->segments.at[i]});
	for (size_t i = 0; i < n; i++) {
		const struct obs_thread *holder = thread_of(t->seen, holds[i].thread);
		if (holder && holder->tid != tid)
			slice_add(t, (struct slice){.tid = holder->tid,
						    .start_ns = holds[i].start_ns,
						    .end_ns = holds[i].end_ns,
						    .hold = &holds[i]});
	}
	return true;
}

static int slice_order(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;
	if (x->tid != y->tid)
		return x->tid < y->tid ? -1 : 1;
	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	if (x->end_ns != y->end_ns)
		return x->end_ns > y->end_ns ? -1 : 1;
	return !x->stall - !y->stall; /* a stall is around its only segment */
}

static bool slice_repeated(const struct slice *a, const struct slice *b)
{
	return a->hold && b->hold && a->tid == b->tid && a->start_ns == b->start_ns &&
	       a->hold->lock == b->hold->lock;
}

/* Ends each slice where the one around it does, and drops a hold that two stalls tell of. */
static void slices_nest(struct trace *t)
{
	uint64_t ends[DEPTH_MAX];
	size_t depth = 0, kept = 0;
	if (t->slices.n)
		qsort(t->slices.at, t->slices.n, sizeof *t->slices.at, slice_order);
	for (size_t i = 0; i < t->slices.n; i++) {
		struct slice s = t->slices.at[i];
		if (kept && slice_repeated(&t->slices.at[kept - 1], &s))
			continue;
		if (!kept || t->slices.at[kept - 1].tid != s.tid)
			depth = 0;
		while (depth && ends[depth - 1] <= s.start_ns)
			depth--;
		if (depth && s.end_ns > ends[depth - 1])
			s.end_ns = ends[depth - 1];
		if (depth == DEPTH_MAX)
			continue;
		ends[depth++] = s.end_ns;
		t->slices.at[kept++] = s;
	}
	t->slices.n = kept;
}

/* --- what is written of each --- */

static void frames_write(struct emit *j, const char *key, const struct observations *o, uint32_t stack)
{
	int n = 0;
	const uint32_t *ids = verdict_stack(o, stack, &n);
	char label[PROSE_MAX];
	emit_array(j, key);
	for (int i = 0; i < n && i < FRAMES_SHOWN; i++)
		emit_string(j, NULL, frame_label(label, sizeof label, verdict_frame(o, ids[i]), true));
	emit_close(j, ']');
}

static void stack_write(struct trace *t, const char *key, uint32_t stack)
{
	if (stack)
		stack_emit(&t->texts, &t->emit, key, t->seen, stack, frames_write);
}

static void segment_args(struct trace *t, const struct segment *s)
{
	struct emit *j = &t->emit;
	emit_string(j, "cause", s->cause);
	emit_string(j, "function", s->culprit.function);
	emit_string(j, "file", s->culprit.file);
	if (s->culprit.line > 0)
		emit_integer(j, "line", s->culprit.line);
	if (s->culprit.native)
		emit_string(j, "native", s->culprit.native);
	if (s->syscall)
		emit_string(j, "syscall", s->syscall);
	if (s->target)
		emit_string(j, "target", s->target);
	if (s->holders.n) {
		emit_string(j, "holder", s->holders.at[0].thread);
		stack_write(t, "holder_stack", s->holders.at[0].stack);
	}
	stack_write(t, "stack", s->stack);
}

static void slice_name(const struct trace *t, const struct slice *s, char *buf, size_t size)
{
	if (s->stall)
		snprintf(buf, size, "stall #%u", s->stall->seen->id);
	else if (s->segment && s->segment->culprit.function)
		snprintf(buf, size, "%s: %s", s->segment->cause, s->segment->culprit.function);
	else if (s->segment)
		snprintf(buf, size, "%s", s->segment->cause);
	else {
		const struct obs_lock *lock = NULL;
		for (size_t i = 0; i < t->seen->locks.n && !lock; i++)
			if (t->seen->locks.at[i].id == s->hold->lock)
				lock = &t->seen->locks.at[i];
		bool gil = lock && lock->kind == LOCK_GIL;
		snprintf(buf, size, "holds %s", gil ? "the GIL" : lock && lock->name ? lock->name : "a lock");
	}
}

static void slice_write(struct trace *t, const struct slice *s)
{
	struct emit *j = &t->emit;
	char name[512];
	slice_name(t, s, name, sizeof name);
	event_begin(t, "X", s->tid, name);
	emit_string(j, "cat", s->stall ? "stall" : s->segment ? "segment" : "hold");
	emit_micros(j, "ts", s->start_ns);
	emit_micros(j, "dur", s->end_ns - s->start_ns);
	emit_object(j, "args");
	if (s->segment)
		segment_args(t, s->segment);
	if (s->stall)
		emit_bool(j, "ongoing", s->stall->seen->ongoing);
	if (s->hold)
		emit_bool(j, "at_least", s->hold->at_least);
	emit_close(j, '}');
	emit_close(j, '}');
}

static void flow_end(struct trace *t, const char *phase, int tid, uint64_t ns)
{
	event_begin(t, phase, tid, "kept waiting");
	emit_string(&t->emit, "cat", "holder");
	emit_integer(&t->emit, "id", (int64_t)t->flows);
	emit_micros(&t->emit, "ts", ns);
	if (*phase == 'f')
		emit_string(&t->emit, "bp", "e"); /* to the slice around it, not to the next */
	emit_close(&t->emit, '}');
}

/* The first hold of each holder in a segment: of a convoy's hundreds one arrow each tells enough. */
static void segment_flows(struct trace *t, int tid, const struct segment *s, const struct obs_hold *holds,
			  size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct obs_hold *h = &holds[i];
		uint64_t end = s->start_ns + s->ns,
			 at = h->start_ns > s->start_ns ? h->start_ns : s->start_ns;
		const struct obs_thread *holder = thread_of(t->seen, h->thread);
		bool first = true;
		if (!holder || holder->tid == tid || h->lock != s->lock->id || at + 1 >= end ||
		    at + 1 >= h->end_ns)
			continue;
		for (size_t k = 0; k < i && first; k++)
			first = holds[k].thread != h->thread || holds[k].end_ns <= s->start_ns;
		if (!first)
			continue;
		t->flows++;
		flow_end(t, "s", holder->tid, at + 1);
		flow_end(t, "f", tid, at + 1);
	}
}

static bool stall_flows(void *closure, const struct verdict_process *p, const struct verdict_loop *l,
			const struct verdict_stall *s)
{
	struct trace *t = closure;
	const struct obs_hold *holds;
	size_t n = stall_holds(t, s->seen, &holds);
	(void)p;
	(void)l;
	for (size_t i = 0; i < s->segments.n; i++)
		if (s->segments.at[i].lock)
			segment_flows(t, s->thread->tid, &s->segments.at[i], holds, n);
	return !t->emit.err;
}

/* --- counters --- */

/* Perfetto shows a counter by its name and unit: "loop in MainThread: stalled ms". */
static void counter_write(struct trace *t, const struct verdict_loop *l, const char *what, const char *unit,
			  uint64_t ns, double value)
{
	char name[256];
	snprintf(name, sizeof name, "loop in %s:%s", l->thread->name ? l->thread->name : "a thread", what);
	event_begin(t, "C", l->thread->tid, name);
	emit_micros(&t->emit, "ts", ns);
	emit_object(&t->emit, "args");
	emit_real(&t->emit, unit, value);
	emit_close(&t->emit, '}');
	emit_close(&t->emit, '}');
}

static void stalled_counter(struct trace *t, const struct verdict_loop *l)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < l->stalls.n && !t->emit.err; i++) {
		const struct verdict_stall *s = &l->stalls.at[i];
		sum += s->ns;
		counter_write(t, l, " stalled", "ms", s->seen->start_ns + s->ns, (double)sum / 1e6);
	}
}

/* The ticks that are no stalls are in the record by their number and length in each second. */
struct tick_counter {
	struct trace *trace;
	const struct verdict *verdict;
	uint32_t loop;
	uint64_t second, ticks, longest_ns;
};

static const struct verdict_loop *loop_find(struct tick_counter *c)
{
	for (size_t p = 0; p < c->verdict->processes.n; p++)
		for (size_t l = 0; l < c->verdict->processes.at[p].loops.n; l++)
			if (c->verdict->processes.at[p].loops.at[l].seen->id == c->loop) {
				c->trace->process = &c->verdict->processes.at[p];
				return &c->verdict->processes.at[p].loops.at[l];
			}
	return NULL;
}

/* Of the second that is over; and that the next has none, unless it has. */
static void second_write(struct tick_counter *c, bool next_has_some)
{
	struct trace *t = c->trace;
	const struct verdict_loop *l = c->ticks && !t->emit.err ? loop_find(c) : NULL;
	for (int i = 0; i < (next_has_some ? 1 : 2) && l; i++) {
		uint64_t ns = t->seen->capture.start_ns + (c->second + (uint64_t)i) * NS;
		counter_write(t, l, "", "ticks a second", ns, i ? 0 : (double)c->ticks);
		counter_write(t, l, " longest tick", "ms", ns, i ? 0 : (double)c->longest_ns / 1e6);
	}
	c->ticks = c->longest_ns = 0;
}

static void tick_visit(void *closure, uint32_t loop, uint64_t second, uint32_t bucket, uint64_t count)
{
	struct tick_counter *c = closure;
	if (loop != c->loop || second != c->second)
		second_write(c, loop == c->loop && second == c->second + 1);
	c->loop = loop;
	c->second = second;
	c->ticks += count;
	c->longest_ns = tick_bucket_ns(bucket);
}

static void process_write(struct trace *t)
{
	const struct verdict_process *p = t->process;
	char command[PROSE_MAX * 2], name[PROSE_MAX];
	name_command(command, sizeof command, p->seen->command);
	metadata_write(t, p->seen->pid, "process_name", prose_fit(name, sizeof name, command, 80, FIT_HEAD));
	for (size_t i = 0; i < p->threads.n; i++)
		if (p->threads.at[i]->name && *p->threads.at[i]->name)
			metadata_write(t, p->threads.at[i]->tid, "thread_name", p->threads.at[i]->name);
	t->slices.n = 0;
	stalls_walk(p, stall_slices, t);
	slices_nest(t);
	for (size_t i = 0; i < t->slices.n && !t->emit.err; i++)
		slice_write(t, &t->slices.at[i]);
	stalls_walk(p, stall_flows, t);
	for (size_t i = 0; i < p->loops.n; i++)
		stalled_counter(t, &p->loops.at[i]);
}

/* Where each stall's holds begin: they are sorted by stall. */
static void holds_index(struct trace *t)
{
	const struct observations *o = t->seen;
	for (size_t i = 0; i < o->stalls.n; i++)
		if (o->stalls.at[i].id > t->stall_ids)
			t->stall_ids = o->stalls.at[i].id;
	t->holds = xcalloc((size_t)t->stall_ids + 2, sizeof *t->holds);
	for (size_t i = 0; i <= t->stall_ids; i++)
		t->holds[i] = o->holds.n;
	for (size_t i = o->holds.n; i-- > 0;)
		if (o->holds.at[i].stall <= t->stall_ids)
			t->holds[o->holds.at[i].stall] = i;
}

static int perfetto_write(FILE *out, const struct verdict *v, const struct format_options *options)
{
	struct trace t = {.emit = {.out = out, .empty = true, .line = true}, .seen = v->seen};
	struct emit *j = &t.emit;
	holds_index(&t);
	emit_object(j, NULL);
	emit_string(j, "displayTimeUnit", "ms");
	emit_object(j, "otherData");
	emit_string(j, "exporter", "whystall " VERSION);
	emit_string(j, "started", v->seen->capture.started);
	emit_close(j, '}');
	emit_array(j, "traceEvents");
	for (size_t i = 0; i < v->processes.n && !j->err; i++) {
		t.process = &v->processes.at[i];
		process_write(&t);
	}
	if (options->record) {
		struct tick_counter counter = {.trace = &t, .verdict = v};
		store_ticks(options->record, tick_visit, &counter);
		second_write(&counter, false);
	}
	emit_close(j, ']');
	emit_close(j, '}');
	emit_newline(j);
	vec_free(&t.slices);
	free(t.holds);
	stack_texts_free(&t.texts, t.seen);
	return emit_end(j);
}

static const struct format perfetto = {.name = "perfetto",
				       .help = "Trace Event JSON, for ui.perfetto.dev",
				       .use = FORMAT_EXPORT,
				       .write = perfetto_write};
PART(format, format, perfetto);
