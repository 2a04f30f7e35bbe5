/* SPDX-License-Identifier: MIT
 *
 * One look at a process from outside: what each thread does or waits for, who has what, and who waits for
 * whom in a circle. Nothing is stopped or written; short repeated looks tell what stood still meanwhile.
 */
#ifndef WHYSTALL_DUMP_H
#define WHYSTALL_DUMP_H

#include <stdio.h>

#include "frame.h"
#include "observe.h"
#include "util.h"

enum dump_state {
	DUMP_RUNNING,
	DUMP_RUNNABLE, /* ready, and had no CPU while we looked */
	DUMP_BLOCKED,
	DUMP_STOPPED, /* by a signal */
	DUMP_TRACED,  /* by a debugger */
	DUMP_ENDED,   /* its memory is gone, its number is not */
};

enum dump_for {
	FOR_NOTHING,
	FOR_LOCK,  /* the GIL included */
	FOR_JOIN,  /* another thread's end */
	FOR_READY, /* descriptors, in a readiness wait */
	FOR_WORK,  /* something to do: an idle worker */
	FOR_CALL,  /* a system call */
	FOR_FAULT, /* a page */
};

/* How it is known who has it. */
enum dump_how {
	HOW_UNKNOWN,
	HOW_OWNER, /* the lock itself says */
	HOW_TAKER, /* the shim saw it taken */
	HOW_WITH,  /* its frames are inside the lock's `with` */
};

struct dump_holder {
	pid_t tid; /* 0: nobody, or not known */
	enum dump_how how;
	bool elsewhere; /* a thread of another process */
	const char *name;
};

struct dump_wait {
	enum dump_for what;
	const char *syscall, *target;
	const char *phrase; /* the runtime's word for it: "SimpleQueue.get"; NULL */
	const char *wchan;  /* where in the kernel, if it cannot be interrupted there */
	int64_t ns;	    /* so far, -1: not known */
	bool at_least;
	bool timed; /* ends by itself */
	enum lock_kind kind;
	uint64_t address; /* of the lock, or of its futex word */
	const char *name;
	struct dump_holder holder;
	struct frame taken; /* where the holder took it; function NULL: not known */
};

struct dump_thread {
	pid_t tid, ns_tid;
	const char *name; /* the runtime's, else the kernel's */
	enum dump_state state;
	pid_t tracer;
	bool gil; /* has one */
	struct dump_wait wait;
	int64_t cpu_ns;	      /* so far, -1: not known */
	double cpu_share;     /* of a CPU, while we looked; negative: not known */
	const char *runner;   /* the function that runs its event loop */
	int64_t tick_ns;      /* the loop's turn under way (the shim tells), -1: none or not known */
	struct frame *frames; /* merged, innermost first */
	int n;
	bool cut, native;
};

struct dump_gil {
	uint64_t address;
	pid_t holder;  /* 0: free, or not known */
	bool free;     /* nobody had it at the end */
	int64_t ns;    /* held for, -1: not known */
	bool at_least; /* it may be longer */
};

/* A circle: each waits for what the next one has, the last for what the first has. */
struct dump_cycle {
	VEC(int) at; /* threads */
	bool timed;  /* one of the waits ends by itself */
};

struct dump {
	char taken[48];	    /* RFC 3339 */
	uint64_t looked_ns; /* how long it was looked at */
	struct obs_process process;
	uid_t uid;
	bool shim; /* its shared memory told some of it */
	VEC(struct dump_thread) threads;
	VEC(struct dump_gil) gils;
	VEC(struct dump_cycle) cycles;
	VEC(const char *) notes;
	int threads_left; /* not looked at: there were too many */
};

/* Looks at a process. 0, or -errno with a sentence (or two) in why: EXIT_ATTACH. */
int dump_take(struct dump *, pid_t pid, bool native, char *why, size_t why_size);
void dump_free(struct dump *);

int dump_thread_of(const struct dump *, pid_t tid); /* index, -1: none */
void dump_note(struct dump *, const char *sentence);

/* dump_text.c, dump_json.c: 0 or -errno */
struct dump_options {
	int columns;
	bool full; /* every frame */
};
int dump_text(FILE *, const struct dump *, const struct dump_options *);
int dump_json(FILE *, const struct dump *);
extern const char schema_dump[];

#endif
