/* SPDX-License-Identifier: MIT
 *
 * whystall.report/1, the report for programs (doc/report.schema.json). Fields are only ever added; what is
 * not known is null.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "../format.h"
#include "emit.h"
#include "json.h"
#include "walk.h"

struct document {
	struct emit emit;
	const struct verdict *verdict;
	const struct observations *seen;
	uint64_t start_ns;
	uint32_t only; /* this stall, 0: all */
	struct stack_texts of_loop, of_holders;
};

static const char *const backend_names[] = {
	[BACKEND_PRELOAD] = "preload", [BACKEND_EBPF] = "ebpf", [BACKEND_MIXED] = "mixed"};
static const char *const run_names[] = {
	[RUN_RUNNING] = "running", [RUN_BLOCKED] = "blocked", [RUN_RUNNABLE] = "runnable"};
/* A record may come from anywhere: its numbers are looked up within bounds. */
#define NAME(names, i) ((size_t)(i) < LENGTH(names) ? (names)[i] : NULL)

static void integer_or_null(struct emit *j, const char *key, int64_t n, bool known)
{
	if (known)
		emit_integer(j, key, n);
	else
		emit_null(j, key);
}

static void seconds_or_null(struct emit *j, const char *key, int64_t ns, bool known)
{
	if (known)
		emit_seconds(j, key, ns);
	else
		emit_null(j, key);
}

/* Relative to the capture's start; negative for what began before. */
static void moment(struct document *d, const char *key, uint64_t ns)
{
	emit_seconds(&d->emit, key, (int64_t)(ns - d->start_ns));
}

static void capture_write(struct document *d)
{
	struct emit *j = &d->emit;
	const struct obs_capture *c = &d->seen->capture;
	emit_object(j, "capture");
	emit_string(j, "backend", NAME(backend_names, c->backend));
	emit_string(j, "started", c->started);
	emit_seconds(j, "duration_s", c->end_ns > c->start_ns ? c->end_ns - c->start_ns : 0);
	emit_seconds(j, "threshold_s", c->threshold_ns);
	emit_bool(j, "complete", c->complete);
	emit_integer(j, "lost_events", c->lost_events);
	emit_integer(j, "suppressed_stalls", c->suppressed_stalls);
	emit_array(j, "notes");
	for (int i = 0; i < c->note_count; i++)
		emit_string(j, NULL, c->notes[i]);
	emit_close(j, ']');
	emit_close(j, '}');
}

static void thread_write(struct emit *j, const struct obs_thread *t)
{
	emit_object(j, NULL);
	emit_integer(j, "tid", t->tid);
	emit_string(j, "name", t->name && *t->name ? t->name : NULL);
	seconds_or_null(j, "cpu_s", t->cpu_ns, t->cpu_ns >= 0);
	if (t->gil_known) {
		emit_object_flat(j, "gil");
		emit_integer(j, "holds", t->gil_holds);
		emit_seconds(j, "held_s", t->gil_held_ns);
		emit_seconds(j, "longest_hold_s", t->gil_longest_ns);
		emit_integer(j, "waits", t->gil_waits);
		emit_seconds(j, "waited_s", t->gil_waited_ns);
		emit_bool(j, "contended_only", t->gil_known == 2);
		emit_close(j, '}');
	} else {
		emit_null(j, "gil");
	}
	emit_close(j, '}');
}

static void culprit_write(struct emit *j, const struct culprit *c)
{
	if (!c->tid && !c->function && !c->native) {
		emit_null(j, "culprit");
		return;
	}
	emit_object_flat(j, "culprit");
	integer_or_null(j, "tid", c->tid, c->tid);
	emit_string(j, "thread", c->thread);
	emit_string(j, "function", c->function);
	emit_string(j, "file", c->file);
	integer_or_null(j, "line", c->line, c->line > 0);
	emit_string(j, "native", c->native);
	emit_close(j, '}');
}

static void cause_write(struct emit *j, const struct verdict_cause *c)
{
	emit_object(j, NULL);
	emit_string(j, "cause", c->cause);
	emit_seconds(j, "total_s", c->ns);
	emit_real(j, "share", c->share);
	emit_integer(j, "stalls", c->stalls);
	emit_seconds(j, "worst_s", c->worst_ns);
	culprit_write(j, &c->culprit);
	emit_string(j, "why", c->why);
	emit_string(j, "advice", c->advice);
	if (c->fixed_known) {
		emit_object_flat(j, "if_fixed");
		emit_seconds(j, "stalled_s", c->fixed_stalled_ns);
		emit_seconds(j, "p99_tick_s", c->fixed_p99_ns);
		emit_seconds(j, "max_tick_s", c->fixed_max_ns);
		emit_close(j, '}');
	} else {
		emit_null(j, "if_fixed");
	}
	emit_close(j, '}');
}

static void loop_write(struct emit *j, const struct verdict_loop *l)
{
	bool ticked = l->seen->ticks > 0;
	emit_object(j, NULL);
	emit_integer(j, "tid", l->thread->tid);
	emit_string(j, "thread", l->thread->name);
	emit_integer(j, "threads", l->seen->threads);
	emit_string(j, "wait", l->seen->wait);
	emit_integer(j, "ticks", l->seen->ticks);
	emit_seconds(j, "observed_s", l->observed_ns);
	emit_seconds(j, "busy_s", l->busy_ns);
	emit_object_flat(j, "tick_s");
	seconds_or_null(j, "p50", l->p50_ns, ticked);
	seconds_or_null(j, "p90", l->p90_ns, ticked);
	seconds_or_null(j, "p99", l->p99_ns, ticked);
	seconds_or_null(j, "p999", l->p999_ns, ticked);
	seconds_or_null(j, "max", l->max_ns, ticked);
	emit_close(j, '}');
	emit_object_flat(j, "stalls");
	emit_integer(j, "count", l->stall_count);
	emit_seconds(j, "total_s", l->stalled_ns);
	emit_close(j, '}');
	emit_array(j, "causes");
	for (size_t i = 0; i < l->causes.n; i++)
		cause_write(j, &l->causes.at[i]);
	emit_close(j, ']');
	emit_close(j, '}');
}

static void frames_write(struct emit *j, const char *key, const struct observations *o, uint32_t stack)
{
	int n = 0;
	const uint32_t *ids = stack ? verdict_stack(o, stack, &n) : NULL;
	emit_array_flat(j, key);
	for (int i = 0; i < n; i++)
		json_frame(j, NULL, verdict_frame(o, ids[i]));
	emit_close(j, ']');
}

static void stack_write(struct document *d, struct stack_texts *texts, uint32_t stack)
{
	stack_emit(texts, &d->emit, "stack", d->seen, stack, frames_write);
}

static void holder_write(struct document *d, const struct holder *h)
{
	struct emit *j = &d->emit;
	emit_object(j, NULL);
	integer_or_null(j, "tid", h->tid, h->tid);
	emit_string(j, "thread", h->thread);
	emit_seconds(j, "seconds", h->ns);
	emit_seconds(j, "longest_hold_s", h->longest_hold_ns);
	emit_bool(j, "at_least", h->at_least);
	seconds_or_null(j, "runnable_s", h->runnable_ns, h->runnable_ns >= 0);
	emit_string(j, "state", NAME(run_names, h->run));
	emit_string(j, "syscall", h->syscall);
	emit_string(j, "target", h->target);
	stack_write(d, &d->of_holders, h->stack);
	emit_close(j, '}');
}

static void segment_write(struct document *d, const struct segment *s)
{
	struct emit *j = &d->emit;
	emit_object(j, NULL);
	emit_string(j, "cause", s->cause);
	moment(d, "start_s", s->start_ns);
	emit_seconds(j, "seconds", s->ns);
	culprit_write(j, &s->culprit);
	stack_write(d, &d->of_loop, s->stack);
	emit_string(j, "syscall", s->syscall);
	emit_string(j, "target", s->target);
	if (s->lock) {
		char address[32];
		snprintf(address, sizeof(address), "0x%" PRIx64, s->lock->address);
		emit_object_flat(j, "lock");
		emit_string(j, "kind", json_lock_kind(s->lock->kind));
		emit_string(j, "address", s->lock->address ? address : NULL);
		emit_string(j, "name", s->lock->name);
		emit_close(j, '}');
	} else {
		emit_null(j, "lock");
	}
	emit_array(j, "holders");
	for (size_t i = 0; i < s->holders.n; i++)
		holder_write(d, &s->holders.at[i]);
	emit_close(j, ']');
	emit_close(j, '}');
}

static void stall_fields(struct document *d, const struct verdict_loop *l, const struct verdict_stall *s)
{
	struct emit *j = &d->emit;
	emit_integer(j, "id", s->seen->id);
	emit_integer(j, "tid", s->thread->tid);
	emit_integer(j, "loop_tid", l->thread->tid);
	moment(d, "start_s", s->seen->start_ns);
	emit_seconds(j, "duration_s", s->ns);
	emit_bool(j, "ongoing", s->seen->ongoing);
	emit_bool(j, "began_before", s->seen->began_before);
	integer_or_null(j, "ready_after", s->seen->ready_after, s->seen->ready_after >= 0);
	emit_integer(j, "lost_events", s->seen->lost);
	emit_string(j, "test", s->mark);
	emit_array(j, "segments");
	for (size_t i = 0; i < s->segments.n; i++)
		segment_write(d, &s->segments.at[i]);
	emit_close(j, ']');
}

static void stall_write(struct document *d, const struct verdict_loop *l, const struct verdict_stall *s)
{
	emit_object(&d->emit, NULL);
	stall_fields(d, l, s);
	emit_close(&d->emit, '}');
}

static bool stall_visit(void *closure, const struct verdict_process *p, const struct verdict_loop *l,
			const struct verdict_stall *s)
{
	struct document *d = closure;
	(void)p;
	if (!d->only || s->seen->id == d->only)
		stall_write(d, l, s);
	return !d->emit.err;
}

static void stalls_write(struct document *d, const struct verdict_process *p)
{
	emit_array(&d->emit, "stalls");
	stalls_walk(p, stall_visit, d);
	emit_close(&d->emit, ']');
}

static void process_write(struct document *d, const struct verdict_process *p)
{
	struct emit *j = &d->emit;
	const struct obs_process *seen = p->seen;
	emit_object(j, NULL);
	emit_integer(j, "pid", seen->pid);
	integer_or_null(j, "ppid", seen->ppid, seen->ppid > 0);
	integer_or_null(j, "ns_pid", seen->ns_pid, seen->ns_pid > 0);
	emit_string(j, "backend", NAME(backend_names, seen->backend));
	json_command(j, seen->command);
	emit_string(j, "exe", seen->exe);
	moment(d, "start_s", seen->start_ns);
	emit_string(j, "role", seen->role);
	emit_string(j, "note", seen->note);
	json_runtime(j, seen);
	emit_array(j, "threads");
	for (size_t i = 0; i < p->threads.n; i++)
		thread_write(j, p->threads.at[i]);
	emit_close(j, ']');
	emit_array(j, "loops");
	for (size_t i = 0; i < p->loops.n; i++)
		loop_write(j, &p->loops.at[i]);
	emit_close(j, ']');
	stalls_write(d, p);
	emit_close(j, '}');
}

static void document_free(struct document *d)
{
	stack_texts_free(&d->of_loop, d->seen);
	stack_texts_free(&d->of_holders, d->seen);
}

static int document_write(FILE *out, const struct verdict *verdict, const struct format_options *options)
{
	struct document d = {.emit = {.out = out, .empty = true},
			     .verdict = verdict,
			     .seen = verdict->seen,
			     .start_ns = verdict->seen->capture.start_ns,
			     .only = options->stall};
	struct emit *j = &d.emit;
	emit_object(j, NULL);
	emit_string(j, "schema", "whystall.report/1");
	emit_string(j, "version", VERSION);
	capture_write(&d);
	emit_array(j, "processes");
	for (size_t i = 0; i < verdict->processes.n && !d.emit.err; i++)
		process_write(&d, &verdict->processes.at[i]);
	emit_close(j, ']');
	emit_close(j, '}');
	emit_newline(j);
	document_free(&d);
	return emit_end(j);
}

/* --- jsonl: the same stalls, one a line --- */

static bool line_write(void *closure, const struct verdict_process *p, const struct verdict_loop *l,
		       const struct verdict_stall *s)
{
	struct document *d = closure;
	struct emit *j = &d->emit;
	emit_object(j, NULL);
	emit_string(j, "schema", "whystall.stall/1");
	emit_string(j, "run_id", d->seen->capture.run_id);
	emit_string(j, "host", d->seen->capture.host);
	emit_string(j, "service", d->seen->capture.service);
	emit_string(j, "started", d->seen->capture.started);
	emit_integer(j, "pid", p->seen->pid);
	json_command(j, p->seen->command);
	emit_string(j, "thread", s->thread->name);
	stall_fields(d, l, s);
	emit_close(j, '}');
	emit_newline(j);
	return !j->err;
}

static int lines_write(FILE *out, const struct verdict *verdict, const struct format_options *options)
{
	struct document d = {.emit = {.out = out, .empty = true, .line = true},
			     .verdict = verdict,
			     .seen = verdict->seen,
			     .start_ns = verdict->seen->capture.start_ns};
	(void)options;
	for (size_t i = 0; i < verdict->processes.n && !d.emit.err; i++)
		stalls_walk(&verdict->processes.at[i], line_write, &d);
	document_free(&d);
	return emit_end(&d.emit);
}

static const struct format json = {.name = "json",
				   .help = "whystall.report/1, for programs: see --json-schema",
				   .use = FORMAT_REPORT,
				   .write = document_write};
PART(format, format, json);

static const struct format jsonl = {.name = "jsonl",
				    .help = "one stall a line, as in json, with its process and loop",
				    .use = FORMAT_EXPORT,
				    .write = lines_write};
PART(format, format, jsonl);
