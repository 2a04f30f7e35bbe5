/* SPDX-License-Identifier: MIT
 *
 * whystall.dump/1, a dump for programs (doc/dump.schema.json). Fields are only ever added; what is not known
 * is null.
 */
#include <errno.h>

#include "dump.h"
#include "format/json.h"

/* As report_schema.c does. (The Makefile says that this object depends on it.) */
__asm__(".pushsection .rodata\n"
	".global schema_dump\n"
	".type schema_dump, %object\n"
	"schema_dump:\n"
	".incbin \"doc/dump.schema.json\"\n"
	".byte 0\n"
	".size schema_dump, . - schema_dump\n"
	".popsection\n");

static const char *const state_names[] = {
	[DUMP_RUNNING] = "running", [DUMP_RUNNABLE] = "runnable", [DUMP_BLOCKED] = "blocked",
	[DUMP_STOPPED] = "stopped", [DUMP_TRACED] = "traced",	  [DUMP_ENDED] = "ended"};
static const char *const for_names[] = {[FOR_LOCK] = "lock", [FOR_JOIN] = "join", [FOR_READY] = "events",
					[FOR_WORK] = "work", [FOR_CALL] = "call", [FOR_FAULT] = "fault"};
static const char *const how_names[] = {
	[HOW_UNKNOWN] = NULL, [HOW_OWNER] = "owner", [HOW_TAKER] = "taker", [HOW_WITH] = "with"};

static void seconds(struct emit *j, const char *key, int64_t ns)
{
	if (ns >= 0)
		emit_seconds(j, key, ns);
	else
		emit_null(j, key);
}

static void number(struct emit *j, const char *key, int64_t n)
{
	if (n > 0)
		emit_integer(j, key, n);
	else
		emit_null(j, key);
}

static void process_write(struct emit *j, const struct dump *d)
{
	const struct obs_process *p = &d->process;
	emit_object(j, "process");
	emit_integer(j, "pid", p->pid);
	emit_integer(j, "ppid", p->ppid);
	emit_integer(j, "ns_pid", p->ns_pid);
	emit_integer(j, "uid", d->uid);
	json_command(j, p->command);
	emit_string(j, "exe", p->exe);
	json_runtime(j, p);
	emit_bool(j, "shim", d->shim);
	emit_close(j, '}');
}

static void thread_ref(struct emit *j, const struct dump *d, pid_t tid)
{
	int i = dump_thread_of(d, tid);
	number(j, "tid", tid);
	emit_string(j, "thread", i >= 0 ? d->threads.at[i].name : NULL);
}

static void address_write(struct emit *j, uint64_t address)
{
	char text[24];
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)address);
	emit_string(j, "address", text);
}

static void gil_write(struct emit *j, const struct dump *d, const struct dump_gil *g)
{
	emit_object(j, NULL);
	address_write(j, g->address);
	if (g->holder) {
		emit_object_flat(j, "holder");
		thread_ref(j, d, g->holder);
		emit_close(j, '}');
	} else {
		emit_null(j, "holder");
	}
	emit_bool(j, "free", g->free);
	seconds(j, "held_s", g->ns);
	emit_bool(j, "at_least", g->at_least);
	emit_array(j, "waiters");
	for (size_t i = 0; i < d->threads.n; i++) {
		const struct dump_wait *w = &d->threads.at[i].wait;
		if (w->what == FOR_LOCK && w->kind == LOCK_GIL && w->address == g->address)
			emit_integer(j, NULL, d->threads.at[i].tid);
	}
	emit_close(j, ']');
	emit_close(j, '}');
}

static void lock_write(struct emit *j, const struct dump_wait *w)
{
	if (w->what != FOR_LOCK || !w->address) {
		emit_null(j, "lock");
		return;
	}
	emit_object_flat(j, "lock");
	emit_string(j, "kind", json_lock_kind(w->kind));
	address_write(j, w->address);
	emit_string(j, "name", w->name);
	emit_close(j, '}');
}

static void wait_write(struct emit *j, const struct dump_wait *w)
{
	if (w->what == FOR_NOTHING) {
		emit_null(j, "wait");
		return;
	}
	emit_object(j, "wait");
	emit_string(j, "for", for_names[w->what]);
	emit_string(j, "syscall", w->syscall);
	emit_string(j, "target", w->target);
	emit_string(j, "in", w->phrase);
	emit_string(j, "wchan", w->wchan);
	seconds(j, "seconds", w->ns);
	emit_bool(j, "at_least", w->at_least);
	emit_bool(j, "timed", w->timed);
	lock_write(j, w);
	if (w->holder.tid) {
		emit_object_flat(j, "holder");
		number(j, "tid", w->holder.tid);
		emit_string(j, "thread", w->holder.name);
		emit_bool(j, "other_process", w->holder.elsewhere);
		emit_string(j, "known_by", how_names[w->holder.how]);
		emit_close(j, '}');
	} else {
		emit_null(j, "holder");
	}
	emit_close(j, '}');
}

static void thread_write(struct emit *j, const struct dump_thread *t)
{
	emit_object(j, NULL);
	emit_integer(j, "tid", t->tid);
	number(j, "ns_tid", t->ns_tid);
	emit_string(j, "thread", t->name);
	emit_string(j, "state", state_names[t->state]);
	number(j, "tracer", t->state == DUMP_TRACED ? t->tracer : 0);
	emit_bool(j, "has_gil", t->gil);
	seconds(j, "cpu_s", t->cpu_ns);
	if (t->cpu_share >= 0)
		emit_real(j, "cpu_share", t->cpu_share);
	else
		emit_null(j, "cpu_share");
	emit_string(j, "runs_loop", t->runner);
	seconds(j, "tick_s", t->tick_ns);
	wait_write(j, &t->wait);
	emit_bool(j, "native", t->native);
	emit_bool(j, "cut", t->cut);
	emit_array(j, "stack");
	for (int i = 0; i < t->n; i++)
		json_frame(j, NULL, &t->frames[i]);
	emit_close(j, ']');
	emit_close(j, '}');
}

static void cycle_write(struct emit *j, const struct dump *d, const struct dump_cycle *c)
{
	emit_object(j, NULL);
	emit_bool(j, "timed", c->timed);
	emit_array(j, "threads");
	for (size_t i = 0; i < c->at.n; i++) {
		const struct dump_thread *t = &d->threads.at[c->at.at[i]],
					 *next = &d->threads.at[c->at.at[(i + 1) % c->at.n]];
		emit_object(j, NULL);
		thread_ref(j, d, t->tid);
		emit_string(j, "waits_for", for_names[t->wait.what]);
		lock_write(j, &t->wait);
		emit_integer(j, "held_by", next->tid);
		if (t->wait.taken.function)
			json_frame(j, "taken_at", &t->wait.taken);
		else
			emit_null(j, "taken_at");
		emit_close(j, '}');
	}
	emit_close(j, ']');
	emit_close(j, '}');
}

int dump_json(FILE *out, const struct dump *d)
{
	struct emit j = {.out = out, .empty = true};
	emit_object(&j, NULL);
	emit_string(&j, "schema", "whystall.dump/1");
	emit_string(&j, "version", VERSION);
	emit_string(&j, "taken", d->taken);
	emit_seconds(&j, "looked_s", (int64_t)d->looked_ns);
	process_write(&j, d);
	emit_array(&j, "gils");
	for (size_t i = 0; i < d->gils.n; i++)
		gil_write(&j, d, &d->gils.at[i]);
	emit_close(&j, ']');
	emit_array(&j, "deadlocks");
	for (size_t i = 0; i < d->cycles.n; i++)
		cycle_write(&j, d, &d->cycles.at[i]);
	emit_close(&j, ']');
	emit_array(&j, "threads");
	for (size_t i = 0; i < d->threads.n; i++)
		thread_write(&j, &d->threads.at[i]);
	emit_close(&j, ']');
	emit_array(&j, "notes");
	for (size_t i = 0; i < d->notes.n; i++)
		emit_string(&j, NULL, d->notes.at[i]);
	emit_close(&j, ']');
	emit_close(&j, '}');
	emit_newline(&j);
	return emit_end(&j);
}
