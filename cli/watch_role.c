/* SPDX-License-Identifier: MIT
 *
 * What a process is to the one that started it. A forked worker has its parent's command line, a spawned one
 * says nothing but multiprocessing; which of the known pools it works for is on its main thread's stack.
 */
#include <string.h>

#include "watch_state.h"

#define FIRST_LOOK_NS (30 * NS / 1000)
#define LOOKS 8u /* each waits twice as long as the one before */

/* CPython's Lib/concurrent/futures/process.py and Lib/multiprocessing/, billiard (Celery's prefork pool),
 * gunicorn, uvicorn. Before 3.11 a frame has no qualified name. */
static const struct role {
	const char *file, *function, *role;
	bool vague; /* what runs in it may tell more, later */
} roles[] = {
	{"/concurrent/futures/process.py", "_process_worker", "ProcessPoolExecutor worker", false},
	{"/multiprocessing/pool.py", "worker", "multiprocessing.Pool worker", false},
	{"/multiprocessing/managers.py", "_run_server", "multiprocessing manager", false},
	{"/multiprocessing/resource_tracker.py", "main", "multiprocessing resource tracker", false},
	{"/billiard/pool.py", "workloop", "Celery pool worker", false},
	{"/gunicorn/arbiter.py", "spawn_worker", "gunicorn worker", false},
	{"/uvicorn/_subprocess.py", "subprocess_started", "uvicorn worker", false},
	{"/uvicorn/subprocess.py", "subprocess_started", "uvicorn worker", false}, /* up to 0.17 */
	{"/multiprocessing/process.py", "_bootstrap", "multiprocessing.Process", true},
	{"/multiprocessing/forkserver.py", "main", "multiprocessing fork server", true},
};

static const struct role *frame_role(const struct frame *f)
{
	if (f->kind != FRAME_PYTHON || !f->function || !f->file)
		return NULL;
	const char *dot = strrchr(f->function, '.'), *function = dot ? dot + 1 : f->function;
	for (size_t i = 0; i < LENGTH(roles); i++)
		if (!strcmp(function, roles[i].function) && text_ends(f->file, roles[i].file))
			return &roles[i];
	return NULL;
}

/* The innermost tells: a pool's worker may have been started by another's. */
static const struct role *stack_role(const struct stack *stack)
{
	const struct role *vague = NULL;
	for (int i = 0; i < stack->n; i++) {
		const struct role *found = frame_role(&stack->at[i]);
		if (found && !found->vague)
			return found;
		vague = vague ? vague : found;
	}
	return vague;
}

void watch_role(struct watch *w, struct watch_proc *p)
{
	static struct stack stack; /* large, and only this thread asks */
	if (!p->interp || p->pid == w->options.pid || p->role_looks >= LOOKS)
		return;
	if (!p->role_at)
		p->role_at = w->now + FIRST_LOOK_NS;
	if (w->now < p->role_at)
		return;
	p->role_at = w->now + (FIRST_LOOK_NS << ++p->role_looks);
	struct interp_thread key = {.tid = p->pid};
	for (size_t i = 0; i < w->threads.n; i++) {
		const struct watch_thread *t = w->threads.at[i];
		if (t->proc == p && t->live && t->slot && t->seen.tid == p->pid)
			key.pthread = t->slot->pthread;
	}
	if (p->ops->stack(p->interp, key, &stack))
		return;
	const struct role *role = stack_role(&stack);
	if (role && !role->vague)
		p->role_looks = LOOKS;
	if (!role || role->role == p->seen.role)
		return;
	p->seen.role = role->role;
	writer_put_process(w->writer, &p->seen);
}
