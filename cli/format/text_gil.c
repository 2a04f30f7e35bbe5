/* SPDX-License-Identifier: MIT
 *
 * Who used the interpreter's lock: a row per thread, the one that had it longest first.
 */
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define ROWS_SHOWN 8
#define NAME_COLUMNS 30

static int held_order(const void *a, const void *b)
{
	const struct obs_thread *x = *(const struct obs_thread *const *)a,
				*y = *(const struct obs_thread *const *)b;
	if (x->gil_held_ns != y->gil_held_ns)
		return x->gil_held_ns < y->gil_held_ns ? 1 : -1;
	return x->tid - y->tid;
}

/* Columns of a cell: times, but for absurd ones, are shorter. */
#define CELL 11

static int name_columns(const struct text *t)
{
	int room = t->columns - 3 - 3 * CELL;
	return room < NAME_COLUMNS ? room : NAME_COLUMNS;
}

static void bar_write(const struct text *t, uint64_t held, uint64_t most)
{
	int room = t->columns - 3 - name_columns(t) - 3 * CELL - 2;
	int length = most ? (int)((double)held / most * room + 0.5) : 0;
	if (length > 0)
		fputs("  ", t->out);
	for (int i = 0; i < length; i++)
		fputs(t->options->colour ? "\xe2\x96\x88" : "#", t->out); /* U+2588 full block */
}

static void row_write(const struct text *t, const struct obs_thread *thread, uint64_t most)
{
	char full[PROSE_MAX], name[PROSE_MAX], held[32], longest[32], waited[32];
	name_thread(full, sizeof(full), thread->name, thread->tid);
	prose_fit(name, sizeof(name), full, name_columns(t), FIT_TAIL);
	fprintf(t->out, "   %s%*s%*.10s%*.10s%*.10s", name, name_columns(t) - prose_columns(name), "", CELL,
		time_format(held, sizeof(held), thread->gil_held_ns), CELL,
		time_format(longest, sizeof(longest), thread->gil_longest_ns), CELL,
		time_format(waited, sizeof(waited), thread->gil_waited_ns));
	bar_write(t, thread->gil_held_ns, most);
	putc('\n', t->out);
}

/* Threads that did something with it: those below a hundredth of the busiest one go without a row. */
static bool row_matters(const struct obs_thread *thread, uint64_t most)
{
	return verbosity > 0 || thread->gil_held_ns >= most / 100 || thread->gil_waited_ns >= most / 100;
}

static void rest_write(const struct text *t, size_t n, uint64_t held_ns)
{
	char count[64], held[32];
	if (n)
		text_say(t, fprintf(t->out, "   "), 3, "and %s, which held it %s in all",
			 prose_count(count, sizeof(count), n, "other thread"),
			 time_format(held, sizeof(held), held_ns));
}

void text_gil(const struct text *t, const struct verdict_process *p)
{
	const struct obs_thread **rows = xcalloc(p->threads.n, sizeof(*rows));
	size_t n = 0, shown = 0, left = 0;
	uint64_t left_ns = 0;
	bool contended = false;
	for (size_t i = 0; i < p->threads.n; i++) {
		const struct obs_thread *thread = p->threads.at[i];
		if (!thread->gil_known || (!thread->gil_held_ns && !thread->gil_waited_ns))
			continue;
		rows[n++] = thread;
		contended |= thread->gil_known == 2;
	}
	qsort(rows, n, sizeof(*rows), held_order);
	if (n) {
		text_paint(t, DIM);
		fprintf(t->out, "\n%-*s%*s%*s%*s\n", name_columns(t) + 3,
			contended ? "GIL, as far as wanted" : "GIL", CELL, "held", CELL, "longest", CELL,
			"waited");
		text_paint(t, PLAIN);
	}
	for (size_t i = 0; i < n; i++) {
		if ((shown < ROWS_SHOWN || verbosity > 0) && row_matters(rows[i], rows[0]->gil_held_ns)) {
			row_write(t, rows[i], rows[0]->gil_held_ns);
			shown++;
		} else {
			left++;
			left_ns += rows[i]->gil_held_ns;
		}
	}
	rest_write(t, left, left_ns);
	free(rows);
}
