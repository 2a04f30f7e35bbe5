/* SPDX-License-Identifier: MIT
 *
 * `attach --hooks pthread`: uprobes at the entry of the C library's lock functions, so that holds are seen
 * that nobody waited for. Each hit costs the target some ten microseconds: off unless asked for. No
 * uretprobes: a lock is had where its function was entered, or where the futex wait in it ended.
 */
#ifndef WHYSTALL_PROBE_HOOKS_H
#define WHYSTALL_PROBE_HOOKS_H

#include "lock.bpf.h"

/* A hold of the interpreter's lock begins or ends. */
OUTLINE void gil_signalled(struct probe_thread *t, uint32_t index, struct probe_proc *p, uint64_t object)
{
	uint64_t now = bpf_ktime_get_ns();
	uint32_t lock = lock_find(p, object);
	if (!lock)
		return;
	struct probe_lock *l = &p->lock[(lock - 1) & (PROBE_LOCKS - 1)];
	struct release r = {.object = l->freed, .now = now, .lock = lock, .taken = object == l->taken};
	if (object != l->taken && object != l->freed)
		return;
	wait_settle(t, index, now);
	released_put(t, index, p, &r);
}

SEC("uprobe")
int hooked(struct pt_regs *context)
{
	struct task_entry *entry = entry_of(bpf_get_current_task_btf());
	if (!entry || !entry->thread)
		return 0;
	uint32_t index = entry->thread - 1;
	struct probe_thread *t = thread_at(index);
	struct probe_proc *p = proc_at(entry->proc);
	if (!t || !p)
		return 0;
	uint64_t object = context->di;
	__sync_fetch_and_add(&hooked_calls, 1);
	switch (bpf_get_attach_cookie(context)) {
	case PROBE_HOOK_TAKE:
		held_add(t, object, bpf_ktime_get_ns());
		break;
	case PROBE_HOOK_FREE:
		held_drop(t, object);
		break;
	case PROBE_HOOK_SIGNAL:
		gil_signalled(t, index, p, object);
		break;
	}
	return 0;
}

#endif
