/* SPDX-License-Identifier: MIT
 *
 * What the recorded processes say: marks, and that they want to read the record now.
 */
#include <errno.h>
#include <string.h>

#include "watch_state.h"

/* 0; -EAGAIN: it is being written; -ENOENT: another has taken its place. */
static int mark_read(const struct arena_proc *slot, uint32_t n, struct arena_mark *out)
{
	const struct arena_mark *m = &slot->mark[n % ARENA_MARKS];
	uint32_t seq = LOAD(m->seq);
	*out = *m;
	out->text[sizeof out->text - 1] = 0;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (seq == n + 1 && __atomic_load_n(&m->seq, __ATOMIC_RELAXED) == seq)
		return 0;
	return LOAD(slot->mark_head) - n > ARENA_MARKS ? -ENOENT : -EAGAIN;
}

void watch_marks(struct watch *w, struct watch_proc *p)
{
	uint32_t head = LOAD(p->slot->mark_head);
	if (head - p->marks_taken > ARENA_MARKS) {
		w->lost_events += head - ARENA_MARKS - p->marks_taken;
		p->marks_taken = head - ARENA_MARKS;
	}
	for (; p->marks_taken != head; p->marks_taken++) {
		struct arena_mark m;
		int err = mark_read(p->slot, p->marks_taken, &m);
		if (err == -EAGAIN)
			break;
		if (err || m.time > w->now + NS) {
			w->lost_events++;
			continue;
		}
		struct obs_mark mark = {.id = ++w->next_mark,
					.process = p->seen.id,
					.start_ns = m.time,
					.text = intern_text(m.text, strlen(m.text))};
		writer_put_mark(w->writer, &mark);
	}
}

void watch_sync(struct watch *w, uint32_t wanted)
{
	/* a stall is finalized one look after its end */
	if (w->sync_read != w->sync_put) {
		watch_totals(w);
		writer_sync(w->writer, &w->arena->sync_done, w->sync_read);
		w->sync_put = w->sync_read;
	}
	w->sync_read = wanted;
}
