/* SPDX-License-Identifier: MIT
 *
 * What was observed, as a record stores it (doc/record.md) and as the reader gets it back: facts, no
 * verdicts. store.c writes these while a capture runs and reads them from a saved or growing record. Ids are
 * small integers, from 1, given by whoever captures; 0 means none. Times are CLOCK_MONOTONIC ns; strings are
 * interned.
 */
#ifndef WHYSTALL_OBSERVE_H
#define WHYSTALL_OBSERVE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../record/arena.h"
#include "frame.h"
#include "util.h"

/* Stored: append only, never renumber. */
enum lock_kind { LOCK_GIL = 1, LOCK_MUTEX, LOCK_RWLOCK, LOCK_SEM, LOCK_COND, LOCK_FUTEX };
/* Of a sample. STOPPED: by a signal or a debugger; FAULTING: blocked, but in no system call. */
enum thread_run { RUN_RUNNING = 1, RUN_BLOCKED, RUN_RUNNABLE, RUN_STOPPED, RUN_FAULTING };
/* STOPPED: by a signal or a debugger; it may lie within, or around, waits of other kinds, and then counts
 * instead of them. FAULT: blocked in a page fault, exactly as long as that. */
/* RUNQUEUE: ready to run, without a CPU; where it lies within a wait for a lock or in a call it is part of
 * that. */
enum wait_what { WAIT_LOCK = 1, WAIT_CALL, WAIT_STOPPED, WAIT_FAULT, WAIT_RUNQUEUE };
enum backend { BACKEND_PRELOAD = 1, BACKEND_EBPF, BACKEND_MIXED };

struct obs_capture {
	const char *run_id; /* UUID */
	const char *host, *boot_id, *container_id, *service;
	const char *version;	   /* of the whystall that wrote it */
	const char *started;	   /* RFC 3339, of the instant start_ns */
	uint64_t start_ns, end_ns; /* end_ns: the latest commit while it grows */
	uint64_t threshold_ns;
	enum backend backend;
	bool complete; /* closed in an orderly way */
	uint64_t lost_events, suppressed_stalls;
	const char *const *notes; /* sentences about what is missing and why, for the summary's last lines */
	int note_count;
};

struct obs_process {
	uint32_t id;
	int pid, ppid, ns_pid;
	const char *command; /* JSON array of strings */
	const char *exe;
	const char *runtime, *runtime_version; /* NULL: not known; "native" where no interpreter was found */
	int free_threaded;		       /* -1: not known */
	double switch_interval_s;	       /* negative: none */
	enum backend backend;
	uint64_t start_ns, end_ns; /* end_ns 0: runs */
	const char *role;	   /* "ProcessPoolExecutor worker", NULL: not known */
	const char *note; /* why less is known of it ("CPython 3.5 is not supported: ..."), or NULL */
	/* CPU time that its cgroup may use in each period; 0 or negative: no quota, or not known */
	double quota_s, quota_period_s;
};

/* The process said what it did from start_ns on (whystall_mark): a test runner the test, "" none. */
struct obs_mark {
	uint32_t id, process;
	uint64_t start_ns;
	const char *text;
};

struct obs_thread {
	uint32_t id, process;
	int tid, ns_tid;
	const char *name;
	uint64_t start_ns, end_ns;
	int64_t cpu_ns; /* -1: not known */
	int gil_known;	/* 0: the next five mean nothing; 1: all holds; 2: contended ones only */
	uint64_t gil_holds, gil_held_ns, gil_longest_ns, gil_waits, gil_waited_ns;
};

struct obs_loop {
	uint32_t id, thread;
	int threads;	  /* that wait on it: where several share one epoll instance, that is the loop */
	const char *wait; /* kernel name of its wait */
	uint64_t ticks, tick_ns, tick_max_ns, wait_ns;
	uint64_t first_ns, last_ns;   /* observed from..to */
	uint64_t suppressed;	      /* stalls counted but not kept */
	uint64_t count[TICK_BUCKETS]; /* ticks by length; a record has them second by second */
	const char *runner;	      /* the function that runs it (run_forever); NULL: none that we know */
	const char *root; /* what the thread's stack then stood on: its outermost frame, "function file" */
};

struct obs_stall {
	uint32_t id, loop;
	uint32_t thread; /* whose tick it is: of those that share a loop, the one that took the last events */
	uint64_t start_ns, end_ns; /* end_ns of an ongoing one: as far as it was seen */
	bool ongoing, began_before;
	bool outside; /* the loop's own runner (asyncio's run_forever ...) was not on the stack: no stall
			 after all */
	int64_t ready_after;	  /* -1: not known */
	uint64_t lost;		  /* events of this process lost meanwhile */
	int64_t cpu_ns, delay_ns; /* of the loop thread in the stall (schedstat), -1: not known */
	int64_t faults;		  /* major page faults of the loop thread, -1: not known */
	/* by how much the cgroup's own count of throttled time (of all its CPUs) and of throttled periods
	 * rose; -1: not known */
	int64_t throttled_ns, throttled_periods;
};

/* What a loop waits for in pthread_join: a LOCK_FUTEX of this name, held by the thread. */
#define LOCK_NAME_JOIN "a thread's end"
/* What cli/interp calls locks that are known by what they are for. */
#define LOCK_NAME_IMPORT "import lock of "
#define LOCK_NAME_IMPORTS "global import lock"
#define LOCK_NAME_LOGGING "logging handler lock"
/* A pause of all threads that one asks for (CPython without the GIL): the loop has to pause, or it asked and
 * waits for the others. */
#define LOCK_NAME_WORLD "stop-the-world"
#define LOCK_NAME_OWN_WORLD "stop-the-world (its own)"
/* "the ", where a lock's name says what it is for: it then stands in a sentence as a noun. */
static inline const char *lock_article(const char *name)
{
	return !strncmp(name, LOCK_NAME_IMPORT, sizeof(LOCK_NAME_IMPORT) - 1) ||
			       !strcmp(name, LOCK_NAME_IMPORTS) ||
			       !strncmp(name, LOCK_NAME_LOGGING, sizeof(LOCK_NAME_LOGGING) - 1)
		       ? "the "
		       : "";
}

struct obs_lock {
	uint32_t id, process;
	enum lock_kind kind;
	uint64_t address;
	const char *name; /* NULL */
};

/* The loop thread waited within a stall, in order of time. Those for locks and in calls do not overlap. */
struct obs_wait {
	uint32_t stall;
	enum wait_what what;
	uint64_t start_ns, end_ns;
	uint32_t lock;	     /* WAIT_LOCK */
	uint32_t owner;	     /* thread that had it when the wait began, 0: not known or nobody */
	bool self_owned;     /* WAIT_LOCK: the waiter itself took it last (Event, Queue, Future) */
	const char *syscall; /* WAIT_CALL */
	const char *target;  /* file, peer or pid, NULL; WAIT_FAULT: the file mapped */
};

/* Another thread had the lock during such a wait. */
struct obs_hold {
	uint32_t stall, lock, thread;
	uint64_t start_ns, end_ns; /* whole hold, not clipped to the wait */
	bool at_least;		   /* it may have begun before start_ns */
};

/* A look at a thread during a stall. */
struct obs_sample {
	uint32_t stall, thread;
	uint64_t time_ns;
	enum thread_run run;
	const char *syscall, *target; /* of a blocked thread */
	uint32_t stack;		      /* 0: none */
	int64_t cpu_ns, delay_ns;     /* of the thread, since its birth, at this instant; -1: not known */
	bool native;		      /* the native stack was read too */
	int64_t faults;		      /* major page faults since its birth, -1: not known */
	enum collects collects;	      /* 0: not known */
	int gc_objects; /* container objects that survived the last full collection; 0: not known */
};

/* A record, read. Arrays are sorted: by id; waits, holds and samples by (stall, start or time), marks by
 * (process, start). */
struct observations {
	struct obs_capture capture;
	VEC(struct obs_process) processes;
	VEC(struct obs_mark) marks;
	VEC(struct obs_thread) threads;
	VEC(struct obs_loop) loops;
	VEC(struct obs_lock) locks;
	VEC(struct obs_stall) stalls;
	VEC(struct obs_wait) waits;
	VEC(struct obs_hold) holds;
	VEC(struct obs_sample) samples;
	VEC(struct frame) frames;   /* by frame id - 1 */
	VEC(uint32_t) stack_frames; /* frame ids, all stacks one after the other */
	VEC(uint32_t) stack_begin;  /* stack id s is stack_frames[stack_begin[s-1] .. stack_begin[s]) */
	VEC(bool) stack_cut;	    /* by stack id - 1: the real stack went on */
};

#endif
