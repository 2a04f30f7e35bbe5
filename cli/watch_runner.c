/* SPDX-License-Identifier: MIT
 *
 * Whether a loop is run by a function that we know: asked once, while it sleeps in its wait and its stack
 * stands still.
 */
#include "probe.h"
#include "runner.h"

#include <stdlib.h>
#include <string.h>

#include "watch_state.h"

#define TRIES 8u

/* The runner whose code the sleeping thread is to return into: an address in it is on its stack. */
static const char *native_runner(struct watch_thread *t)
{
	struct native_sample *sample = xcalloc(1, sizeof *sample);
	struct maps maps = {0};
	const char *found = NULL;
	if (blocked_sample(t->proc->pid, t->seen.tid, sample, NULL) >= 0 && !maps_read(t->proc->pid, &maps)) {
		for (uint32_t at = 0; at + 8 <= sample->len && !found; at += 8) {
			uint64_t word;
			memcpy(&word, sample->stack + at, sizeof word);
			const struct map *map = maps_find(&maps, word);
			found = map && map->x ? runner_module(map->path) : NULL;
		}
	}
	maps_free(&maps);
	free(sample);
	return found;
}

/* The runner on the thread's stack, NULL: none that we know, or the stack could not be read. */
static const char *runner_of(struct watch_thread *t, struct stack *stack)
{
	struct interp_thread key = {.tid = t->seen.tid, .pthread = t->slot->pthread};
	if (t->proc->ops->stack(t->proc->interp, key, stack) || stack->cut)
		return NULL;
	const char *found = NULL;
	for (int i = 0; i < stack->n && !found; i++)
		found = runner_frame(&stack->at[i]);
	return found;
}

void watch_before(struct watch *w, struct watch_proc *p)
{
	static struct stack stack;
	for (size_t i = 0; i < w->threads.n && w->options.probe; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!t->live || t->proc != p || t->loop)
			continue;
		const char *call = syscall_name(blocked_sample(p->pid, t->seen.tid, NULL, NULL));
		if (!(call && watch_hook_waits(call)) && runner_of(t, &stack))
			probe_before(w->options.probe, t->slot_index);
	}
}

void watch_runner(struct watch *w, struct watch_thread *t)
{
	static struct stack stack; /* large, and only this thread asks */
	struct watch_loop *l = t->loop;
	struct now_copy now;
	char root[1024];
	if (l->seen.runner || l->runner_tries >= TRIES || !t->proc->interp || !now_read(t->slot, &now) ||
	    now.now != NOW_READY)
		return;
	l->runner_tries++;
	l->seen.runner = runner_of(t, &stack);
	if (!l->seen.runner && stack.n && !stack.cut)
		l->seen.runner = native_runner(t);
	if (!l->seen.runner)
		return;
	l->seen.root = intern(runner_root(&stack.at[stack.n - 1], root, sizeof root));
	watch_loop_put(w, t);
}
