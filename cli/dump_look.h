/* SPDX-License-Identifier: MIT
 *
 * Shared by dump*.c only: what is open while a process is looked at.
 */
#ifndef WHYSTALL_DUMP_LOOK_H
#define WHYSTALL_DUMP_LOOK_H

#include "dump.h"
#include "interp.h"
#include "native.h"
#include "proc.h"

#define DUMP_THREADS 4096 /* looked at */
#define DUMP_LOCKS 16

/* What a thread was doing at an instant. */
struct dump_peek {
	struct proc_times times;
	int64_t voluntary;
	int number; /* of its system call, SYSCALL_NONE, or -errno */
	uint64_t args[6];
};

struct dump_seen {
	struct dump_peek first, last;
	struct perf_sampler *perf;
	struct native_sample *sample; /* the latest that perf took */
	struct interp_thread key;
};

/* From the shim's shared memory, where the process has it. */
struct dump_arena;

/* Who is inside a lock's own statement: asked once for each lock. */
struct dump_within {
	uint64_t object;
	pid_t tid; /* 0: not known */
	struct frame taken;
};

struct dump_look {
	struct dump *dump;
	pid_t pid;
	struct maps maps;
	bool narrow; /* a 32-bit program: its system calls have other numbers, its stack another layout */
	struct interp *interp;
	const struct interp_ops *ops;
	struct native *native;
	struct dump_arena *arena;
	VEC(struct dump_seen) seen; /* as dump->threads */
	struct interp_lock locks[DUMP_LOCKS];
	uint64_t turns[DUMP_LOCKS];
	pid_t holders[DUMP_LOCKS];
	int lock_count;
	VEC(struct dump_within) within;
	uint64_t began, ended; /* now_ns */
	uint64_t deadline;     /* after which no more stacks are unwound */
};

/* dump_lock.c: what the futex that a thread sleeps on belongs to, and who has it. */
void dump_lock(struct dump_look *, int thread);
bool dump_futex(const struct dump_peek *);
/* The GIL whose condition variable the address lies in, -1: none. */
int dump_gil_of(const struct dump_look *, uint64_t address);

/* dump_cycle.c */
void dump_cycles(struct dump_look *);

/* dump_arena.c: the shared memory's copy of one process. NULL: it has none. */
struct arena_thread;
struct dump_arena *dump_arena_read(pid_t pid, pid_t ns_pid, const struct maps *);
void dump_arena_free(struct dump_arena *);
/* The slot of a thread (only its head is there: no ring), by the target's number. */
const struct arena_thread *dump_arena_thread(const struct dump_arena *, pid_t ns_tid);
/* Since when the GIL of this condition has been held by the present holder. 0: not known. */
uint64_t dump_arena_held(const struct dump_arena *, uint64_t freed, pid_t *ns_tid);
/* Who reads a read-write lock: one of them, 0: nobody that is known. */
pid_t dump_arena_reader(const struct dump_arena *, uint64_t address);
/* Who took a semaphore last, and has not given it back: its target's tid, 0: not known. */
pid_t dump_arena_taker(const struct dump_arena *, uint64_t address);

#endif
