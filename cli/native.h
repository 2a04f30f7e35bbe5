/* SPDX-License-Identifier: MIT
 *
 * Native stacks: registers and a copy of the stack go in (sample), return addresses come out (unwind), names
 * come of those (symbol). Taking a sample is cheap and must be done at once; the rest can be done later, also
 * after the target has ended, by another thread of whystall.
 */
#ifndef WHYSTALL_NATIVE_H
#define WHYSTALL_NATIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "frame.h"

#define NATIVE_STACK_BYTES 16384

/* x86-64 in DWARF order: rax rdx rcx rbx rsi rdi rbp rsp r8..r15 rip (<signal.h> has taken REG_*) */
enum { NATIVE_RBP = 6, NATIVE_RSP = 7, NATIVE_RIP = 16, NATIVE_REGS = 17 };

struct native_sample {
	uint64_t time; /* CLOCK_MONOTONIC, ns */
	uint64_t regs[NATIVE_REGS];
	uint32_t known; /* bit n: regs[n] is known (of a blocked thread only rsp and rip are) */
	uint32_t len;	/* bytes of stack copied, from regs[NATIVE_RSP] up */
	unsigned char stack[NATIVE_STACK_BYTES];
};

/* --- sample.c: the registers and stack of a thread, without ptrace --- */

/* Software-clock perf events on one thread: user space only, no privilege needed where perf_event_paranoid
 * allows. NULL with errno: EACCES or EPERM where it does not, ESRCH when the thread has gone. */
struct perf_sampler;
struct perf_sampler *perf_sampler_open(pid_t tid, unsigned hz);
void perf_sampler_close(struct perf_sampler *); /* accepts NULL */
int perf_sampler_enable(struct perf_sampler *, bool on);
/* Calls take() for each sample that has come since (it must copy what it keeps). Returns how many, and adds
 * those that the kernel dropped to *lost. */
int perf_sampler_drain(struct perf_sampler *, void (*take)(void *, const struct native_sample *), void *arg,
		       uint64_t *lost);

/* What a blocked thread is in, from /proc/TID/syscall: fills rsp, rip and the stack copy. Returns the system
 * call's number (with its arguments in args), SYSCALL_NONE if it is blocked in none (a page fault), -EAGAIN
 * if the thread is running (or ran meanwhile), or -errno. `out` and `args` may be NULL. */
#define SYSCALL_NONE 0xffff
int blocked_sample(pid_t pid, pid_t tid, struct native_sample *out, uint64_t args[6]);

/* The name of a system call number on this machine ("clock_nanosleep"), NULL if unknown. */
const char *syscall_name(int number);

/* --- unwind.c, symbol.c: one address space's modules --- */

/* Opens the ELF files behind the executable maps of a process now, so that names can be had after it ends.
 * Bounded; NULL with errno. native_refresh looks again when a sample's rip is in no known module (dlopen). */
struct native;
struct native *native_open(pid_t pid);
void native_close(struct native *); /* accepts NULL */
int native_refresh(struct native *, pid_t pid);
/* Is the address in code that is known: a module, or memory that a JIT compiler filled? If not, refresh. */
bool native_covers(struct native *, uint64_t pc);

/* The i-th file that the process runs code from. 0, -ENOENT: there are no more. */
struct native_module {
	const char *name, *path; /* as the target sees it */
	bool symbols;		 /* not stripped */
	bool debug;		 /* lines can be told: in the file, or in one of its own that is installed */
	char build_id[65];	 /* hexadecimal, "": none */
};
int native_module(struct native *, int i, struct native_module *out);

/* Return addresses of a sample, innermost first; pcs[0] is the rip itself. Returns how many (at least 1),
 * *cut says that the stack went on but could not be followed. Uses .eh_frame/.debug_frame, no frame pointers
 * needed. */
int native_unwind(struct native *, const struct native_sample *, uint64_t *pcs, int max, bool *cut);

/* The frames at one address: inlined functions first, then the one that contains them. `exact` is true for
 * pcs[0], false for return addresses (which are looked up one byte before). A symbol is given only if it
 * covers the address, else "module+0xoffset". C++ and Rust names are demangled. Returns how many (1..max). */
int native_symbolize(struct native *, uint64_t pc, bool exact, struct frame *out, int max);

#endif
