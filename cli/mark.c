/* SPDX-License-Identifier: MIT
 *
 * Which mark (observe.h) a stall belongs to: the test that was running.
 */
#include "mark.h"

#define ANCESTORS_MAX 16

/* The first of the marks that is not before (process, ns). */
static size_t mark_from(const struct observations *o, uint32_t process, uint64_t ns)
{
	size_t low = 0, high = o->marks.n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct obs_mark *m = &o->marks.at[mid];
		if (m->process < process || (m->process == process && m->start_ns < ns))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The process that started it. A pid may have been another's before: the latest one born before the child. */
static const struct obs_process *parent_of(const struct observations *o, const struct obs_process *p)
{
	const struct obs_process *parent = NULL;
	for (size_t i = 0; i < o->processes.n; i++) {
		const struct obs_process *q = &o->processes.at[i];
		if (q != p && q->pid == p->ppid && q->start_ns <= p->start_ns &&
		    (!parent || q->start_ns >= parent->start_ns))
			parent = q;
	}
	return parent;
}

const char *mark_find(const struct observations *o, const struct obs_process *p, uint64_t start, uint64_t end)
{
	const char *found = NULL;
	uint64_t most = 0;
	size_t first = 0, n = 0;
	for (int i = 0; p && i < ANCESTORS_MAX && o->marks.n; i++, p = parent_of(o, p)) {
		first = mark_from(o, p->id, 0);
		n = mark_from(o, p->id, UINT64_MAX);
		if (n > first)
			break;
	}
	if (!p || n <= first)
		return NULL;
	size_t at = mark_from(o, p->id, start);
	for (at -= at > first; at < n && o->marks.at[at].start_ns < end; at++) {
		const struct obs_mark *m = &o->marks.at[at];
		uint64_t from = m->start_ns > start ? m->start_ns : start,
			 to = at + 1 < n && o->marks.at[at + 1].start_ns < end ? o->marks.at[at + 1].start_ns
									       : end;
		if (*m->text && to > from && to - from > most) {
			most = to - from;
			found = m->text;
		}
	}
	return found;
}
