/* SPDX-License-Identifier: MIT
 *
 * Looks that the probe took in the kernel, at the moment a loop began to wait for its interpreter's lock: for
 * waits that are over before user space can look. They lie with the loop until the tick is known to be a
 * stall, or not.
 */
#include <stdlib.h>
#include <string.h>

#include "watch_state.h"

#define EARLY_MAX 256u

static void sample_free(const struct raw_sample *raw)
{
	free(raw->frames);
	free(raw->native);
}

void watch_holder_seen(struct watch *w, uint32_t loop, uint32_t holder, uint64_t time,
		       const struct probe_holder *in)
{
	static struct stack stack; /* large, and only one thread comes here */
	struct watch_thread *t = loop < ARENA_THREADS ? w->by_thread_slot[loop] : NULL;
	struct watch_thread *h = watch_thread_at(w, holder);
	if (!t || !h || !t->loop || h == t || !h->proc->interp || t->loop->early.n >= EARLY_MAX ||
	    h->proc->ops->stack_sampled(h->proc->interp, in, &stack) || !stack.n)
		return;
	struct raw_sample raw = {.seen = {.thread = h->seen.id,
					  .time_ns = time,
					  .run = RUN_RUNNING,
					  .cpu_ns = -1,
					  .delay_ns = -1,
					  .faults = -1},
				 .ops = h->proc->ops,
				 .frame_count = stack.n};
	raw.frames = xcalloc((size_t)stack.n, sizeof *raw.frames);
	memcpy(raw.frames, stack.at, (size_t)stack.n * sizeof *raw.frames);
	*vec_push(&t->loop->early) = raw;
}

void watch_sampled_take(struct watch *w, struct watch_thread *t, struct watch_stall *s)
{
	struct watch_loop *l = t->loop;
	size_t kept = 0;
	for (size_t i = 0; i < l->early.n; i++) {
		struct raw_sample *raw = &l->early.at[i];
		if (raw->seen.time_ns < s->seen.start_ns || raw->seen.time_ns > s->seen.end_ns) {
			l->early.at[kept++] = *raw;
		} else if (s->kept) {
			raw->seen.stall = s->seen.id;
			writer_add_sample(w->writer, raw);
		} else {
			*vec_push(&s->provisional) = *raw;
		}
	}
	l->early.n = kept;
}

void watch_sampled_drop(struct watch_loop *l, uint64_t before)
{
	size_t kept = 0;
	for (size_t i = 0; i < l->early.n; i++)
		if (l->early.at[i].seen.time_ns >= before)
			l->early.at[kept++] = l->early.at[i];
		else
			sample_free(&l->early.at[i]);
	l->early.n = kept;
	if (before == UINT64_MAX)
		vec_free(&l->early);
}
