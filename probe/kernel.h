/* SPDX-License-Identifier: MIT
 *
 * The few kernel types that the probe looks into. Only the fields used are named; where they lie is found in
 * the running kernel's own BTF when the probe is loaded (CO-RE), so neither this machine's headers nor its
 * BTF count at build time. Names as in include/linux/sched.h, include/linux/pid.h and
 * arch/x86/include/asm/ptrace.h.
 */
#ifndef WHYSTALL_PROBE_KERNEL_H
#define WHYSTALL_PROBE_KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define KERNEL __attribute__((preserve_access_index))

struct pt_regs {
	unsigned long r10, r9, r8, ax, dx, si, di, orig_ax, ip, sp;
} KERNEL;

struct ns_common {
	unsigned inum;
} KERNEL;

struct pid_namespace {
	struct ns_common ns;
} KERNEL;

struct upid {
	int nr;
	struct pid_namespace *ns;
} KERNEL;

struct pid {
	unsigned level;
	struct upid numbers[1];
} KERNEL;

struct thread_struct {
	unsigned long fsbase;
} KERNEL;

struct mm_struct {
	int dummy;
};

struct task_struct {
	unsigned __state;
	int pid, tgid;
	int exit_code;
	struct task_struct *real_parent, *group_leader;
	struct mm_struct *mm;
	struct pid *thread_pid;
	struct thread_struct thread;
} KERNEL;

/* before 5.14 */
struct task_struct___old {
	long state;
} KERNEL;

struct seq_file {
	int dummy;
};

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id, seq_num;
} KERNEL;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} KERNEL;

#define STATE_STOPPED 0x4
#define STATE_TRACED 0x8

static inline long task_state(struct task_struct *t)
{
	struct task_struct___old *old = (void *)t;
	if (bpf_core_field_exists(t->__state))
		return t->__state;
	return BPF_CORE_READ(old, state);
}

#endif
