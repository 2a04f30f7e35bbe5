/* SPDX-License-Identifier: MIT
 *
 * Deadlocks: every thread waits for at most one other, so circles are found by going on until a thread comes
 * round again. A circle counts only if none of its threads got on between the first look and the last.
 */
#include <stdlib.h>
#include <string.h>

#include "dump_look.h"

static int next_of(const struct dump *d, int i)
{
	const struct dump_wait *w = &d->threads.at[i].wait;
	if ((w->what != FOR_LOCK && w->what != FOR_JOIN) || !w->holder.tid || w->holder.elsewhere)
		return -1;
	return dump_thread_of(d, w->holder.tid);
}

/* Did the thread stay where it was from the first look on? Who waits for the GIL wakes up all the time, but
 * gets nowhere while that does not change hands. */
static bool stands_still(const struct dump_look *l, int i)
{
	const struct dump_peek *a = &l->seen.at[i].first, *b = &l->seen.at[i].last;
	if (l->dump->threads.at[i].wait.kind == LOCK_GIL) {
		int gil = dump_gil_of(l, b->args[0]);
		return gil >= 0 && l->turns[gil] != UINT64_MAX;
	}
	return a->number == b->number && !memcmp(a->args, b->args, sizeof(a->args)) &&
	       (a->voluntary == b->voluntary || l->dump->threads.at[i].wait.timed);
}

static void cycle_add(struct dump_look *l, int start)
{
	struct dump *d = l->dump;
	struct dump_cycle *c = vec_push(&d->cycles);
	int i = start;
	do {
		*vec_push(&c->at) = i;
		c->timed |= d->threads.at[i].wait.timed;
		i = next_of(d, i);
	} while (i != start);
}

static bool cycle_true(const struct dump_look *l, int start)
{
	int i = start;
	do {
		if (!stands_still(l, i))
			return false;
		i = next_of(l->dump, i);
	} while (i != start);
	return true;
}

void dump_cycles(struct dump_look *l)
{
	size_t n = l->dump->threads.n;
	int *round = xcalloc(n + 1, sizeof(*round)); /* in which walk a thread was met, from 1 */
	for (size_t start = 0; start < n; start++) {
		int i = (int)start;
		while (i >= 0 && !round[i]) {
			round[i] = (int)start + 1;
			i = next_of(l->dump, i);
		}
		if (i >= 0 && round[i] == (int)start + 1 && cycle_true(l, i))
			cycle_add(l, i);
	}
	free(round);
}
