/* SPDX-License-Identifier: MIT
 *
 * A dump for people: a deadlock first if there is one, then who has the GIL, then every thread with a phrase
 * and its stack.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dump_page.h"

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
		snprintf(buf, size, "%s waits for it", phrase_thread(a, sizeof(a), first[0]));
	else if (n == 2)
		snprintf(buf, size, "%s and %s wait for it", phrase_thread(a, sizeof(a), first[0]),
			 phrase_thread(b, sizeof(b), first[1]));
	else if (n)
		snprintf(buf, size, "%s and %d others wait for it", phrase_thread(a, sizeof(a), first[0]),
			 n - 1);
}

static void gil_write(const struct page *p, const struct dump_gil *g)
{
	char name[PROSE_MAX], waiters[PROSE_MAX * 3], length[80] = "", figure[64];
	int holder = dump_thread_of(p->dump, g->holder);
	waiters_format(waiters, sizeof(waiters), p->dump, g->address);
	if (g != p->dump->gils.at && g->free && !*waiters)
		return; /* another interpreter's, idle */
	if (g->ns >= 0)
		snprintf(length, sizeof(length), " for %s",
			 phrase_length(figure, sizeof(figure), g->ns, g->at_least));
	if (holder >= 0)
		text_say(&p->text, 0, 0, "The GIL is held by %s%s%s%s.",
			 phrase_thread(name, sizeof(name), &p->dump->threads.at[holder]),
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
		phrase_thread(name, sizeof(name), t);
		phrase_thread(other, sizeof(other), next);
		if (t->wait.what == FOR_JOIN)
			text_say(&p->text, 0, DUMP_INDENT, "%s (%d) waits%s for the end of %s (%d)%s", name,
				 (int)t->tid, at, other, (int)next->tid, i + 1 < n ? ";" : ".");
		else
			text_say(&p->text, 0, DUMP_INDENT, "%s (%d) waits%s for %s, which %s (%d) has%s%s",
				 name, (int)t->tid, at, phrase_lock(lock, sizeof(lock), &t->wait), other,
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
	stacks_write(&p);
	if (d->notes.n)
		putc('\n', out);
	for (size_t i = 0; i < d->notes.n; i++)
		text_say(&p.text, 0, 3, "%s", d->notes.at[i]);
	free(p.text.root);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}
