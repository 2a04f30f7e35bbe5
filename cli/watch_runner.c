/* SPDX-License-Identifier: MIT
 *
 * Whether a loop is run by a function that we know: asked once, while it sleeps in its wait and its stack
 * stands still.
 */
#include "runner.h"
#include "watch_state.h"

#define TRIES 8u

void watch_runner(struct watch *w, struct watch_thread *t)
{
	static struct stack stack; /* large, and only this thread asks */
	struct watch_loop *l = t->loop;
	struct now_copy now;
	char root[1024];
	if (l->seen.runner || l->runner_tries >= TRIES || !t->proc->interp || !now_read(t->slot, &now) ||
	    now.now != NOW_READY)
		return;
	struct interp_thread key = {.tid = t->seen.tid, .pthread = t->slot->pthread};
	l->runner_tries++;
	if (t->proc->ops->stack(t->proc->interp, key, &stack) || stack.cut || !stack.n)
		return;
	for (int i = 0; i < stack.n && !l->seen.runner; i++)
		if (runner_frame(&stack.at[i]))
			l->seen.runner = intern(stack.at[i].function);
	if (!l->seen.runner)
		return;
	l->seen.root = intern(runner_root(&stack.at[stack.n - 1], root, sizeof root));
	watch_loop_put(w, t);
}
