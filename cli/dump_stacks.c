/* SPDX-License-Identifier: MIT
 *
 * The threads of a dump, each with its stack: as much of it as says something, and threads that wait in one
 * place but once.
 */
#include <stdlib.h>
#include <string.h>

#include "dump_page.h"

#define NATIVE_SHOWN 2	/* innermost native frames, where Python frames follow */
#define FRAMES_SHOWN 10 /* of a stack */
#define ALIKE_NAMED 4	/* of threads that wait in the same place */
#define NAME_COLUMNS 28

static void frame_write(const struct page *p, const struct frame *f)
{
	char function[PROSE_MAX], place[PROSE_MAX];
	int room = p->text.columns - DUMP_INDENT - NAME_COLUMNS - 1;
	prose_fit(function, sizeof(function), f->function ? f->function : "?", NAME_COLUMNS - 1, FIT_HEAD);
	fprintf(p->text.out, "%*s%s%*s ", DUMP_INDENT, "", function,
		NAME_COLUMNS - 1 - prose_columns(function), "");
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
		fprintf(p->text.out, "%*sand %d more; --full shows them\n", DUMP_INDENT, "", left);
	else if (t->cut)
		fprintf(p->text.out, "%*s(the rest could not be read)\n", DUMP_INDENT, "");
}

static void thread_write(const struct page *p, const struct dump_thread *t)
{
	char name[PROSE_MAX], phrase[PROSE_MAX * 3];
	int at = fprintf(p->text.out, "%-*d ", p->tid_columns, (int)t->tid);
	phrase_thread(name, sizeof(name), t);
	text_paint(&p->text, BOLD);
	fputs(name, p->text.out);
	text_paint(&p->text, PLAIN);
	at += prose_columns(name);
	int column = DUMP_INDENT + NAME_COLUMNS;
	at += fprintf(p->text.out, "%*s", at < column ? column - at : 2, "");
	phrase_doing(phrase, sizeof(phrase), t);
	if (at + prose_columns(phrase) > p->text.columns && at > column) {
		putc('\n', p->text.out);
		at = fprintf(p->text.out, "%*s", column, "");
	}
	text_say(&p->text, at, column, "%s", phrase);
	stack_write(p, t);
}

/* Do both wait for the same in the same place, but for the time? Names are interned. */
static bool alike(const struct dump_thread *a, const struct dump_thread *b)
{
	const struct dump_wait *v = &a->wait, *w = &b->wait;
	if (a->state != DUMP_BLOCKED || b->state != DUMP_BLOCKED || a->n != b->n || a->runner != b->runner ||
	    a->gil || b->gil || v->what != w->what || v->syscall != w->syscall || v->target != w->target ||
	    v->phrase != w->phrase || v->kind != w->kind || v->name != w->name ||
	    v->holder.tid != w->holder.tid)
		return false;
	for (int i = 0; i < a->n; i++)
		if (a->frames[i].function != b->frames[i].function ||
		    a->frames[i].file != b->frames[i].file || a->frames[i].line != b->frames[i].line)
			return false;
	return true;
}

/* "and 38 more like it: worker-2 (4713), worker-3 (4714) ...": a pool need not fill pages. */
static void others_write(const struct page *p, size_t first, bool *written)
{
	const struct dump *d = p->dump;
	char *list = xstrdup("");
	int n = 0;
	for (size_t i = first + 1; i < d->threads.n; i++) {
		char name[PROSE_MAX];
		if (written[i] || !alike(&d->threads.at[first], &d->threads.at[i]))
			continue;
		written[i] = true;
		if (n++ >= ALIKE_NAMED)
			continue;
		char *longer = xprintf("%s%s%s (%d)", list, *list ? ", " : "",
				       phrase_thread(name, sizeof(name), &d->threads.at[i]),
				       (int)d->threads.at[i].tid);
		free(list);
		list = longer;
	}
	if (n) {
		fprintf(p->text.out, "%*s", DUMP_INDENT, "");
		text_say(&p->text, DUMP_INDENT, DUMP_INDENT, "and %d more like it: %s%s", n, list,
			 n > ALIKE_NAMED ? " ..." : "");
	}
	free(list);
}

void stacks_write(const struct page *p)
{
	bool *written = xcalloc(p->dump->threads.n, sizeof(*written));
	for (size_t i = 0; i < p->dump->threads.n; i++) {
		if (written[i])
			continue;
		thread_write(p, &p->dump->threads.at[i]);
		if (!p->full)
			others_write(p, i, written);
	}
	free(written);
}
