/* SPDX-License-Identifier: MIT
 *
 * A dump for people: a deadlock first if there is one, then who has the GIL, then every thread with a phrase
 * and its stack.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "format/text.h"

#define NATIVE_SHOWN 2	       /* innermost native frames, where Python frames follow */
#define FRAMES_SHOWN 10	       /* of a stack */
#define LOOP_WAITS_NS 20000000 /* for anything but events, and it is stalled */
#define INDENT 5
#define NAME_COLUMNS 28

struct page {
	struct text text;
	const struct dump *dump;
	bool full;
	int tid_columns;
};

static const char *thread_name(char *buf, size_t size, const struct dump_thread *t)
{
	return name_thread(buf, size, t->name, t->tid);
}

/* "1.2 s", "at least 0.1 s" */
static const char *length_format(char *buf, size_t size, int64_t ns, bool at_least)
{
	char figure[32];
	snprintf(buf, size, "%s%s", at_least ? "at least " : "",
		 time_format(figure, sizeof(figure), (uint64_t)ns));
	return buf;
}

static const char *lock_name(char *buf, size_t size, const struct dump_wait *w)
{
	struct obs_lock lock = {.kind = w->kind, .name = w->name, .address = w->address};
	return name_lock(buf, size, &lock);
}

/* " held by worker-2 (4711)", "" where nobody is known to hold it */
static void holder_format(char *buf, size_t size, const struct dump_wait *w)
{
	char name[PROSE_MAX / 2];
	buf[0] = 0;
	if (!w->holder.tid)
		return;
	name_thread(name, sizeof(name), w->holder.name, w->holder.tid);
	snprintf(buf, size, " held by %s%s (%d)", w->holder.elsewhere ? "another process's thread " : "",
		 name, (int)w->holder.tid);
}

static void wait_format(char *buf, size_t size, const struct dump_wait *w)
{
	char length[64] = "", call[PROSE_MAX], lock[PROSE_MAX], holder[PROSE_MAX];
	const char *phrase = w->phrase ? w->phrase : "";
	if (w->ns >= 0) {
		length[0] = ' ';
		length_format(length + 1, sizeof(length) - 1, w->ns, w->at_least);
	}
	holder_format(holder, sizeof(holder), w);
	name_call(call, sizeof(call), w->syscall ? w->syscall : "?", w->target);
	switch (w->what) {
	case FOR_LOCK:
		if (w->phrase)
			snprintf(buf, size, "waiting%s in %s", length, phrase);
		else
			snprintf(buf, size, "waiting%s for %s%s", length, lock_name(lock, sizeof(lock), w),
				 holder);
		break;
	case FOR_JOIN:
		if (w->holder.tid)
			snprintf(buf, size, "waiting%s for the end of %s (%d)", length,
				 name_thread(lock, sizeof(lock), w->holder.name, w->holder.tid),
				 (int)w->holder.tid);
		else
			snprintf(buf, size, "waiting%s for the end of a thread: %s", length, phrase);
		break;
	case FOR_READY:
		snprintf(buf, size, "waiting%s for events: %s", length, call);
		break;
	case FOR_WORK:
		snprintf(buf, size, "waiting%s for work: %s", length, phrase);
		break;
	case FOR_FAULT:
		snprintf(buf, size, "blocked%s in a page fault", length);
		break;
	default:
		snprintf(buf, size, "blocked%s in %s", length, call);
	}
	if (w->wchan) {
		size_t n = strlen(buf);
		snprintf(buf + n, size - n, " (in the kernel's %s, uninterruptibly)", w->wchan);
	}
}

static void state_format(char *buf, size_t size, const struct dump_thread *t)
{
	char share[32];
	switch (t->state) {
	case DUMP_RUNNING:
		if (t->cpu_share >= 0.005 && t->cpu_share < 0.9)
			snprintf(buf, size, "running, %s of a CPU",
				 prose_percent(share, sizeof(share), t->cpu_share));
		else
			snprintf(buf, size, "running");
		break;
	case DUMP_RUNNABLE:
		snprintf(buf, size, "ready to run, but has no CPU");
		break;
	case DUMP_STOPPED:
		snprintf(buf, size, "stopped by a signal");
		break;
	case DUMP_TRACED:
		snprintf(buf, size, "stopped by its debugger, pid %d", (int)t->tracer);
		break;
	case DUMP_ENDED:
		snprintf(buf, size, "ended");
		break;
	default:
		wait_format(buf, size, &t->wait);
	}
}

/* "loop, stalled 1.21 s: waiting for the GIL" */
static void thread_phrase(char *buf, size_t size, const struct dump_thread *t)
{
	char state[PROSE_MAX * 2], length[64];
	const char *loop = t->runner || t->tick_ns >= 0 ? "loop: " : "";
	char stalled[128];
	state_format(state, sizeof(state), t);
	if (t->tick_ns >= LOOP_WAITS_NS) {
		snprintf(stalled, sizeof(stalled),
			 "loop, stalled %s: ", length_format(length, sizeof(length), t->tick_ns, false));
		loop = stalled;
	} else if (*loop && t->state == DUMP_BLOCKED && t->wait.what != FOR_READY &&
		   t->wait.ns >= LOOP_WAITS_NS) {
		loop = "loop, stalled: ";
	}
	snprintf(buf, size, "%s%s%s", loop, state, t->gil ? "; has the GIL" : "");
}

/* --- stacks --- */

static void frame_write(const struct page *p, const struct frame *f)
{
	char function[PROSE_MAX], place[PROSE_MAX];
	int room = p->text.columns - INDENT - NAME_COLUMNS - 1;
	prose_fit(function, sizeof(function), f->function ? f->function : "?", NAME_COLUMNS - 1, FIT_HEAD);
	fprintf(p->text.out, "%*s%s%*s ", INDENT, "", function, NAME_COLUMNS - 1 - prose_columns(function),
		"");
	const char *base = f->file && f->kind == FRAME_NATIVE && !p->full ? strrchr(f->file, '/') : NULL;
	if (f->file)
		fputs(name_place(&p->text, place, sizeof(place), base ? base + 1 : f->file, f->line, room),
		      p->text.out);
	else if (f->module)
		fputs(prose_fit(place, sizeof(place), f->module, room, FIT_TAIL), p->text.out);
	putc('\n', p->text.out);
}

static bool is_libc(const struct frame *f)
{
	return f->kind == FRAME_NATIVE && f->module &&
	       (!strncmp(f->module, "libc.", 5) || !strncmp(f->module, "libc-", 5) ||
		!strncmp(f->module, "libpthread", 10) || !strncmp(f->module, "ld-", 3));
}

/* Where threads begin: below the user's code there is nothing to see. */
static bool is_bottom(const struct frame *f)
{
	static const char *const names[] = {"start_thread",
					    "clone3",
					    "clone",
					    "_start",
					    "__libc_start_main",
					    "__libc_start_call_main",
					    "thread_run",
					    "pythread_wrapper",
					    "Thread.run",
					    "run",
					    "Thread._bootstrap",
					    "Thread._bootstrap_inner",
					    "_bootstrap",
					    "_bootstrap_inner"};
	for (size_t i = 0; f->function && i < LENGTH(names); i++)
		if (!strcmp(f->function, names[i]))
			return f->kind == FRAME_NATIVE || (f->file && strstr(f->file, "/threading.py"));
	return false;
}

/* Of libc the function that was called, not what that calls; of the native frames above a Python one those
 * that say something: not the interpreter's ways of calling. */
static bool frame_shown(const struct dump_thread *t, int i, int *native)
{
	const struct frame *f = &t->frames[i];
	bool python = false, all = true;
	for (int k = i; k < t->n; k++) {
		python |= t->frames[k].kind != FRAME_NATIVE;
		all &= is_bottom(&t->frames[k]);
	}
	if (all && i)
		return false;
	if (f->kind != FRAME_NATIVE) {
		*native = 0;
		return true;
	}
	if (f->origin == ORIGIN_DISPATCH || f->origin == ORIGIN_EVAL)
		return false;
	/* how the interpreter waits for a lock is nobody's business: that it does has been said */
	if (python && f->origin == ORIGIN_RUNTIME &&
	    (t->wait.what == FOR_LOCK || t->wait.what == FOR_JOIN || t->wait.what == FOR_WORK))
		return false;
	if (i + 1 < t->n && is_libc(f) && is_libc(&t->frames[i + 1]) && !is_bottom(&t->frames[i + 1]))
		return false;
	for (int k = 0; k < i && !python; k++)
		if (t->frames[k].kind != FRAME_NATIVE)
			return false; /* the interpreter's start-up */
	return !python || (*native)++ < NATIVE_SHOWN;
}

static void stack_write(const struct page *p, const struct dump_thread *t)
{
	int shown = 0, native = 0, left = 0;
	for (int i = 0; i < t->n; i++) {
		if (!p->full && !frame_shown(t, i, &native))
			continue;
		if (!p->full && shown == FRAMES_SHOWN) {
			left++;
			continue;
		}
		frame_write(p, &t->frames[i]);
		shown++;
	}
	if (left)
		fprintf(p->text.out, "%*sand %d more; --full shows them\n", INDENT, "", left);
	else if (t->cut)
		fprintf(p->text.out, "%*s(the rest could not be read)\n", INDENT, "");
}

static void thread_write(const struct page *p, const struct dump_thread *t)
{
	char name[PROSE_MAX], phrase[PROSE_MAX * 3];
	int at = fprintf(p->text.out, "%-*d ", p->tid_columns, (int)t->tid);
	thread_name(name, sizeof(name), t);
	text_paint(&p->text, BOLD);
	fputs(name, p->text.out);
	text_paint(&p->text, PLAIN);
	at += prose_columns(name);
	int column = INDENT + NAME_COLUMNS;
	at += fprintf(p->text.out, "%*s", at < column ? column - at : 2, "");
	thread_phrase(phrase, sizeof(phrase), t);
	if (at + prose_columns(phrase) > p->text.columns && at > column) {
		putc('\n', p->text.out);
		at = fprintf(p->text.out, "%*s", column, "");
	}
	text_say(&p->text, at, column, "%s", phrase);
	stack_write(p, t);
}

/* --- the head --- */

static const struct frame *blamed_frame(const struct dump_thread *t)
{
	for (int i = 0; i < t->n; i++)
		if (t->frames[i].origin == ORIGIN_USER)
			return &t->frames[i];
	for (int i = 0; i < t->n; i++)
		if (t->frames[i].kind != FRAME_NATIVE)
			return &t->frames[i];
	return NULL;
}

/* "heavy app.py:12" */
static const char *frame_format(const struct page *p, char *buf, size_t size, const struct frame *f)
{
	char place[PROSE_MAX / 2] = "", function[PROSE_MAX / 2];
	const char *base = f->file && f->kind == FRAME_NATIVE ? strrchr(f->file, '/') : NULL;
	if (f->file)
		name_place(&p->text, place, sizeof(place), base ? base + 1 : f->file, f->line,
			   NAME_MAX_COLUMNS);
	prose_fit(function, sizeof(function), f->function ? f->function : "?", NAME_MAX_COLUMNS, FIT_HEAD);
	snprintf(buf, size, "%s%s%s", function, *place ? " " : "", place);
	return buf;
}

/* "MainThread waits", "MainThread and worker-1 wait", "MainThread and 7 others wait" */
static void waiters_format(char *buf, size_t size, const struct dump *d, uint64_t address)
{
	const struct dump_thread *first[2] = {0};
	char a[PROSE_MAX], b[PROSE_MAX];
	int n = 0;
	for (size_t i = 0; i < d->threads.n; i++) {
		const struct dump_thread *t = &d->threads.at[i];
		if (t->wait.what != FOR_LOCK || t->wait.kind != LOCK_GIL || t->wait.address != address)
			continue;
		if (n < 2)
			first[n] = t;
		n++;
	}
	buf[0] = 0;
	if (n == 1)
		snprintf(buf, size, "%s waits for it", thread_name(a, sizeof(a), first[0]));
	else if (n == 2)
		snprintf(buf, size, "%s and %s wait for it", thread_name(a, sizeof(a), first[0]),
			 thread_name(b, sizeof(b), first[1]));
	else if (n)
		snprintf(buf, size, "%s and %d others wait for it", thread_name(a, sizeof(a), first[0]),
			 n - 1);
}

static void gil_write(const struct page *p, const struct dump_gil *g)
{
	char name[PROSE_MAX], waiters[PROSE_MAX * 3], length[80] = "", figure[64];
	int holder = dump_thread_of(p->dump, g->holder);
	waiters_format(waiters, sizeof(waiters), p->dump, g->address);
	if (g->ns >= 0)
		snprintf(length, sizeof(length), " for %s",
			 length_format(figure, sizeof(figure), g->ns, g->at_least));
	if (holder >= 0)
		text_say(&p->text, 0, 0, "The GIL is held by %s%s%s%s.",
			 thread_name(name, sizeof(name), &p->dump->threads.at[holder]),
			 *waiters ? length : "", *waiters ? "; " : "",
			 *waiters ? waiters : "; nobody waits for it");
	else if (g->free)
		text_say(&p->text, 0, 0, "The GIL is free%s%s.", *waiters ? "; " : "", waiters);
	else
		text_say(&p->text, 0, 0, "The GIL goes from hand to hand%s%s.", *waiters ? "; " : "",
			 waiters);
}

static void cycle_write(const struct page *p, const struct dump_cycle *c)
{
	const struct dump *d = p->dump;
	size_t n = c->at.n;
	text_paint(&p->text, RED);
	const char *until = c->timed ? ", until a wait that has a timeout ends" : "";
	if (n == 1)
		text_say(&p->text, 0, 0, "Deadlock: a thread waits for itself%s:", until);
	else
		text_say(&p->text, 0, 0, "Deadlock of %zu threads%s:", n, until);
	text_paint(&p->text, PLAIN);
	for (size_t i = 0; i < n; i++) {
		const struct dump_thread *t = &d->threads.at[c->at.at[i]],
					 *next = &d->threads.at[c->at.at[(i + 1) % n]];
		char name[PROSE_MAX], other[PROSE_MAX], lock[PROSE_MAX],
			at[PROSE_MAX * 2] = "", took[PROSE_MAX * 2] = "", text[PROSE_MAX];
		const struct frame *f = blamed_frame(t);
		if (f)
			snprintf(at, sizeof(at), " at %s", frame_format(p, text, sizeof(text), f));
		if (t->wait.taken.function)
			snprintf(took, sizeof(took), ", taken at %s",
				 frame_format(p, text, sizeof(text), &t->wait.taken));
		thread_name(name, sizeof(name), t);
		thread_name(other, sizeof(other), next);
		if (t->wait.what == FOR_JOIN)
			text_say(&p->text, 0, INDENT, "%s (%d) waits%s for the end of %s (%d)%s", name,
				 (int)t->tid, at, other, (int)next->tid, i + 1 < n ? ";" : ".");
		else
			text_say(&p->text, 0, INDENT, "%s (%d) waits%s for %s, which %s (%d) has%s%s", name,
				 (int)t->tid, at, lock_name(lock, sizeof(lock), &t->wait), other,
				 (int)next->tid, took, i + 1 < n ? ";" : ".");
	}
	putc('\n', p->text.out);
}

static void head_write(const struct page *p)
{
	const struct dump *d = p->dump;
	char command[PROSE_MAX * 2], name[PROSE_MAX], runtime[128] = "", rest[256], threads[64];
	if (d->process.runtime && strcmp(d->process.runtime, "native"))
		name_runtime(runtime, sizeof(runtime), &d->process);
	snprintf(rest, sizeof(rest), ", pid %d%s%s: %s, %.12s", d->process.pid, *runtime ? ", " : "", runtime,
		 prose_count(threads, sizeof(threads), d->threads.n, "thread"), d->taken + 11);
	name_command(command, sizeof(command), d->process.command);
	int room = p->text.columns - prose_columns(rest);
	prose_fit(name, sizeof(name), command, room > 12 ? room : 12, FIT_HEAD);
	text_say(&p->text, 0, 0, "%s%s", name, rest);
}

/* The directory that the user's files have in common. */
static char *root_find(const struct dump *d)
{
	struct observations seen = {0};
	for (size_t i = 0; i < d->threads.n; i++)
		for (int k = 0; k < d->threads.at[i].n; k++)
			*vec_push(&seen.frames) = d->threads.at[i].frames[k];
	char *root = name_root(&seen);
	vec_free(&seen.frames);
	return root;
}

int dump_text(FILE *out, const struct dump *d, const struct dump_options *options)
{
	static const struct format_options plain = {.columns = 80, .prefix = ""};
	int columns = options->columns < 60 ? 60 : options->columns > 100 ? 100 : options->columns;
	struct page p = {.text = {.out = out, .options = &plain, .columns = columns, .root = root_find(d)},
			 .dump = d,
			 .full = options->full};
	for (size_t i = 0; i < d->threads.n; i++) {
		int n = snprintf(NULL, 0, "%d", (int)d->threads.at[i].tid);
		p.tid_columns = n > p.tid_columns ? n : p.tid_columns;
	}
	for (size_t i = 0; i < d->cycles.n; i++)
		cycle_write(&p, &d->cycles.at[i]);
	head_write(&p);
	for (size_t i = 0; i < d->gils.n; i++)
		gil_write(&p, &d->gils.at[i]);
	putc('\n', out);
	for (size_t i = 0; i < d->threads.n; i++)
		thread_write(&p, &d->threads.at[i]);
	if (d->notes.n)
		putc('\n', out);
	for (size_t i = 0; i < d->notes.n; i++)
		text_say(&p.text, 0, 3, "%s", d->notes.at[i]);
	free(p.text.root);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}
