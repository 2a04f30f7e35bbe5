/* SPDX-License-Identifier: MIT
 *
 * Which tasks are watched: those that the iterator takes up when whystall attaches, and what they start.
 */
#ifndef WHYSTALL_PROBE_LIFE_H
#define WHYSTALL_PROBE_LIFE_H

#include "loop.bpf.h"

/* A process gets its entry. -1: there is none left. */
OUTLINE int proc_new(uint32_t pid, uint32_t ppid, uint64_t now)
{
	uint32_t i;
	if (bpf_map_pop_elem(&free_procs, &i)) {
		__sync_fetch_and_add(&procs_refused, 1);
		return -1;
	}
	struct probe_proc *p = proc_at(i);
	if (!p)
		return -1;
	p->serial++;
	p->pid = pid;
	p->ppid = ppid;
	p->threads = 0;
	p->no_room = 0;
	p->start = now;
	p->end = 0;
	p->locks = 0;
	for (int k = 0; k < PROBE_WANTED; k++)
		p->wanted[k].object = p->wanted[k].waiters = 0;
	for (uint32_t k = 0; k < ARENA_LOOP_FDS; k++)
		p->instance[k].object = p->instance[k].state = 0;
	if (procs_high <= i)
		procs_high = i + 1;
	barrier_smp();
	p->state = PROC_LIVE;
	return (int)i;
}

OUTLINE int thread_new(struct task_struct *task, uint32_t proc, uint64_t now)
{
	uint32_t i, inner = 0;
	struct probe_proc *p = proc_at(proc);
	if (!p)
		return -1;
	if (bpf_map_pop_elem(&free_threads, &i)) {
		p->no_room++;
		return -1;
	}
	struct probe_thread *t = thread_at(i);
	if (!t)
		return -1;
	uint32_t serial = t->serial + 1;
	__builtin_memset(t, 0, sizeof *t);
	t->serial = serial;
	t->proc = proc;
	t->tid = task_number(task, &inner);
	t->ns_tid = inner;
	t->pthread = BPF_CORE_READ(task, thread.fsbase);
	t->start = now;
	if (threads_high <= i)
		threads_high = i + 1;
	barrier_smp();
	t->state = THREAD_LIVE;
	__sync_fetch_and_add(&p->threads, 1);
	return (int)i;
}

INLINE void thread_over(struct probe_thread *t, uint64_t now)
{
	t->end = now;
	barrier_smp();
	t->state = THREAD_ENDED;
}

/* What a thread is blocked in when it is taken up; it began before that, but is known only from now on. */
OUTLINE void thread_join(struct task_struct *task, struct probe_thread *t, uint32_t index,
			 struct probe_proc *p)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	uint64_t now = t->start;
	uint32_t whose;
	t->taken = 1;
	if (!task_state(task) || !regs)
		return;
	uint64_t nr = BPF_CORE_READ(regs, orig_ax), first = BPF_CORE_READ(regs, di);
	t->off = now;
	t->off_how = PROBE_BLOCKED;
	if (nr >= PROBE_SYSCALLS)
		return;
	t->in_call = 1;
	t->call = (uint16_t)nr;
	t->entered = now;
	switch (syscall_class[nr & (PROBE_SYSCALLS - 1)]) {
	case PROBE_EPOLL:
	case PROBE_EPOLL2:
		loop_start(t, p, first + 1, t->call);
		instance_enter(t, index, p, &whose);
		t->ready = 1;
		now_set(t, NOW_READY, t->call, now, t->loop_object, 0);
		break;
	case PROBE_FUTEX:
		t->waiting = PROBE_WAITING;
		t->wait_start = now;
		t->wait_object = first;
		t->wait_nr = t->call;
		now_set(t, NOW_LOCK, t->call, now, first, 0);
		break;
	default:
		now_set(t, NOW_CALL, t->call, now, first, 0);
	}
}

/* The threads of one process that lives already; whystall reads this iterator after it has set wanted_pid. */
SEC("iter/task")
int take_up(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	uint32_t inner = 0, proc = 0;
	uint64_t now = bpf_ktime_get_ns();
	if (!task || !task->mm)
		return 0;
	struct task_struct *leader = task->group_leader;
	uint32_t pid = task_number(leader, &inner);
	if (pid != wanted_pid)
		return 0;
	struct task_entry *entry = entry_of(task);
	if (entry)
		return 0;
	bool found = false;
	for (uint32_t i = 0; i < ARENA_PROCS; i++) { /* the entry that an earlier thread of it got */
		struct probe_proc *p = proc_at(i);
		if (p && p->state == PROC_LIVE && p->pid == pid) {
			proc = i;
			found = true;
			break;
		}
	}
	if (!found) {
		int made = proc_new(pid, task_number(BPF_CORE_READ(leader, real_parent), &inner), now);
		if (made < 0)
			return 0;
		proc = (uint32_t)made;
	}
	int thread = thread_new(task, proc, now);
	if (thread < 0)
		return 0;
	struct probe_thread *t = thread_at((uint32_t)thread);
	struct probe_proc *p = proc_at(proc);
	if (t && p)
		thread_join(task, t, (uint32_t)thread, p);
	struct task_entry new = {.thread = (uint32_t)thread + 1, .proc = proc};
	bpf_task_storage_get(&tasks, task, &new, BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct probe_taken taken = {.pid = pid, .tid = task_number(task, &inner)};
	bpf_seq_write(context->meta->seq, &taken, sizeof taken);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct task_entry *entry = entry_of(parent);
	if (!entry)
		return 0;
	uint64_t now = bpf_ktime_get_ns();
	uint32_t proc = entry->proc, inner = 0;
	if (parent->tgid != child->tgid) {
		if (!follow)
			return 0;
		int made =
			proc_new(task_number(child, &inner), task_number(parent->group_leader, &inner), now);
		if (made < 0)
			return 0;
		proc = (uint32_t)made;
	}
	int thread = thread_new(child, proc, now);
	struct task_entry new = {.thread = thread < 0 ? 0 : (uint32_t)thread + 1, .proc = proc};
	bpf_task_storage_get(&tasks, child, &new, BPF_LOCAL_STORAGE_GET_F_CREATE);
	return 0;
}

/* The same process goes on as another program: new entries, as if it were born. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task)
{
	struct task_entry *entry = entry_of(task);
	if (!entry)
		return 0;
	uint64_t now = bpf_ktime_get_ns();
	uint32_t old = entry->thread;
	struct probe_proc *p = proc_at(entry->proc);
	struct probe_thread *t = old ? thread_at(old - 1) : NULL;
	uint32_t ppid = p ? p->ppid : 0, inner = 0;
	int made = proc_new(task_number(task, &inner), ppid, now);
	if (p)
		p->end = now;
	if (t)
		thread_over(t, now);
	entry->thread = 0;
	if (made < 0)
		return 0;
	entry->proc = (uint32_t)made;
	int thread = thread_new(task, entry->proc, now);
	if (thread >= 0) {
		entry->thread = (uint32_t)thread + 1;
		t = thread_at((uint32_t)thread);
		if (t)
			t->tid = task_number(task, &t->ns_tid);
	}
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct probe_thread *t = thread_of(task);
	if (!t)
		return 0;
	struct probe_proc *p = proc_at(t->proc);
	if (p) {
		__sync_fetch_and_add(&p->threads, -1);
		instance_leave(t, thread_index(task), p, true);
	}
	t->killed = task->exit_code & 0x7f; /* kernel/exit.c: as wait(2) has it, and set by now */
	thread_over(t, bpf_ktime_get_ns());
	return 0;
}

#endif
