/* SPDX-License-Identifier: MIT
 *
 * What the kernel tells of the watched threads: their system calls (readiness waits make ticks, futex waits
 * make waits for locks), when they had a CPU, and their births, execs and ends. Everything is counted and
 * kept in tables that user space has mapped; only what belongs to a stall becomes an event.
 */
#include "state.bpf.h"

#include "loop.bpf.h"
#include "lock.bpf.h"
#include "hooks.bpf.h"
#include "life.bpf.h"

char probe_license[] SEC("license") = "Dual MIT/GPL";

#define FAULT_NS 1000000ull

/* The system call under way goes on after a signal or a stop: it is not over. */
#define RESTARTS(result) ((result) <= -512 && (result) >= -516)

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long id)
{
	struct task_entry *entry = entry_of(bpf_get_current_task_btf());
	if (!entry || !entry->thread || id < 0 || id >= PROBE_SYSCALLS)
		return 0;
	uint32_t index = entry->thread - 1;
	struct probe_thread *t = thread_at(index);
	struct probe_proc *p = proc_at(entry->proc);
	if (!t || !p)
		return 0;
	uint64_t now = bpf_ktime_get_ns();
	uint8_t class = syscall_class[id & (PROBE_SYSCALLS - 1)];
	t->in_call = 1;
	if (t->restart && (class == PROBE_RESTART || (uint16_t)id == t->call)) {
		t->restart = 0;
		return 0;
	}
	t->restart = 0;
	t->call = (uint16_t)id;
	t->entered = now;
	t->blocked_ns = 0;
	if (class != PROBE_FUTEX)
		wait_settle(t, index, now);
	switch (class) {
	case PROBE_FUTEX:
		futex_enter(t, index, p, regs, now);
		return 0;
	case PROBE_EPOLL:
	case PROBE_EPOLL2:
	case PROBE_POLL:
	case PROBE_PPOLL:
	case PROBE_SELECT:
	case PROBE_PSELECT:
	case PROBE_URING:
		if (ready_enter(t, index, p, regs, class))
			return 0;
		break;
	case PROBE_CLOSE:
		loop_close(t, index, p, (uint32_t)regs->di);
		break;
	case PROBE_EXIT:
		if (!p->end)
			p->end = now;
		break;
	}
	if (followed(t))
		now_set(t, NOW_CALL, (uint16_t)id, now, regs->di, 0);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long result)
{
	struct task_entry *entry = entry_of(bpf_get_current_task_btf());
	if (!entry || !entry->thread)
		return 0;
	uint32_t index = entry->thread - 1;
	struct probe_thread *t = thread_at(index);
	struct probe_proc *p = proc_at(entry->proc);
	if (!t || !p || !t->in_call)
		return 0;
	t->in_call = 0;
	if (RESTARTS(result)) {
		t->restart = 1;
		return 0;
	}
	uint64_t now = bpf_ktime_get_ns();
	uint8_t class = syscall_class[t->call & (PROBE_SYSCALLS - 1)];
	if (t->gil_since && t->blocked_ns && !hooks_on)
		gil_check(t, p);
	if (t->waiting == PROBE_WAITING) {
		futex_exit(t, index, p, now);
		return 0;
	}
	if (t->ready) {
		ready_exit(t, index, p, result);
		return 0;
	}
	if (!followed(t) || class == PROBE_FUTEX)
		return 0;
	if (now - t->entered >= call_ns && (class != PROBE_OTHER || t->blocked_ns >= call_ns))
		EVENT_PUT(t, index, .kind = EV_CALL, .hook = t->call, .start = t->entered, .time = now,
			  .object = t->now_object);
	now_set(t, NOW_RUNNING, 0, now, 0, 0);
	return 0;
}

INLINE void left_cpu(struct probe_thread *t, struct task_struct *task, bool preempted, uint64_t now)
{
	long state = task_state(task);
	t->off = now;
	t->woken = 0;
	t->off_how = preempted || !state		      ? PROBE_PREEMPTED
		     : state & (STATE_STOPPED | STATE_TRACED) ? PROBE_STOPPED
							      : PROBE_BLOCKED;
	if (t->off_how == PROBE_STOPPED)
		stop_begin(t, now);
}

/* What the thread did while it had no CPU is over; of a loop in its tick it is told. */
INLINE void got_cpu(struct probe_thread *t, uint32_t index, uint64_t now)
{
	uint64_t woken = t->woken > t->off ? t->woken : t->off_how == PROBE_PREEMPTED ? t->off : now;
	if (!t->off || t->off_how == PROBE_ON_CPU)
		return;
	t->off_ns += now - t->off;
	t->on = now;
	if (t->off_how == PROBE_BLOCKED && t->in_call)
		t->blocked_ns += woken - t->off;
	if (t->off_how == PROBE_STOPPED)
		stop_over(t, woken);
	bool told = (t->loop_object && t->tick_start) || t->before;
	if (told && t->off_how == PROBE_STOPPED && woken - t->off >= call_ns)
		EVENT_PUT(t, index, .kind = EV_STOPPED, .start = t->off, .time = woken);
	if (told && t->off_how == PROBE_BLOCKED && !t->in_call) {
		/* most are short and there may be thousands: together they are told as one, where the last
		 * was */
		t->fault_ns += woken - t->off;
		if (t->fault_ns >= FAULT_NS) {
			EVENT_PUT(t, index, .kind = EV_FAULT, .start = woken - t->fault_ns, .time = woken);
			t->fault_ns = 0;
		}
	}
	if (told && now - woken >= call_ns)
		EVENT_PUT(t, index, .kind = EV_RUNQUEUE, .start = woken, .time = now);
	t->off_how = PROBE_ON_CPU;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempted, struct task_struct *prev, struct task_struct *next)
{
	struct task_entry *e = entry_of(prev);
	struct probe_thread *t;
	if (e && e->thread && (t = thread_at(e->thread - 1)))
		left_cpu(t, prev, preempted, bpf_ktime_get_ns());
	e = entry_of(next);
	if (e && e->thread && (t = thread_at(e->thread - 1)))
		got_cpu(t, e->thread - 1, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
	struct probe_thread *t = thread_of(task);
	if (t && !t->woken)
		t->woken = bpf_ktime_get_ns();
	return 0;
}
