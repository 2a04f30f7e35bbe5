/* SPDX-License-Identifier: MIT
 *
 * What /proc says of a process and of a thread (proc(5)): who it is and whose, and what it does at this
 * instant. Everything is copied and bounded; what is not told is -1, 0 or NULL.
 */
#ifndef WHYSTALL_PROC_H
#define WHYSTALL_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* /proc/PID/status, or /proc/PID/task/TID/status. */
struct proc_status {
	char name[32];
	char state; /* R S D T t Z X I */
	pid_t tgid, pid, ppid, tracer, ns_pid;
	uid_t uid[4]; /* real, effective, saved, file system */
	gid_t gid[4];
	uint64_t permitted, effective, ambient; /* capabilities */
	int seccomp, no_new_privs;
	bool kernel_thread, has_memory; /* neither a kernel thread nor a zombie has any */
	int64_t voluntary;		/* times it gave up its CPU */
	int namespaces;			/* of pids that it is in: 1 is ours */
};
/* tid 0: the process. 0, -ESRCH, or -errno. */
int proc_status(pid_t pid, pid_t tid, struct proc_status *out);

/* /proc/PID/task/TID/stat, schedstat and sched */
struct proc_times {
	char state;
	int cpu;	  /* that it ran on last */
	uint64_t start;	  /* clock ticks since boot: with the pid, what tells a process from another */
	int64_t cpu_ns;	  /* time on a CPU so far, -1: not told */
	int64_t delay_ns; /* time in which it was ready and had none */
	int64_t ran_ns;	  /* when it last was on its CPU, by that CPU's own clock, -1: not told */
};
int proc_times(pid_t pid, pid_t tid, struct proc_times *out);
/* Now, by that clock, or -1. It moves whystall to that CPU: proc_clock_end moves it back. */
int64_t proc_clock(int cpu);
void proc_clock_end(void);

/* The threads' numbers, at most max: how many, or -errno. *more: there are others. */
int proc_threads(pid_t pid, pid_t *out, int max, bool *more);

const char *proc_command(pid_t pid); /* JSON array of its words, interned; NULL: none (a kernel thread) */
const char *proc_link(pid_t pid, const char *name); /* "exe", "ns/user"; interned or NULL */
/* Where a thread sleeps in the kernel, NULL: not told. Interned. */
const char *proc_wchan(pid_t pid, pid_t tid);
/* A small number in a file of /proc/sys. 0 or -errno. */
int proc_setting(const char *path, long *out);

#endif
