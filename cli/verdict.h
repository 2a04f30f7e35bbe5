/* SPDX-License-Identifier: MIT
 *
 * The verdict: what every format prints, the shape of whystall.report/1 (design: JSON report). Made by
 * stall.c from observations; owns its arrays, shares their strings and frames, so observations must outlive
 * it.
 */
#ifndef WHYSTALL_VERDICT_H
#define WHYSTALL_VERDICT_H

#include "observe.h"

struct culprit {
	int tid; /* 0: nobody (null) */
	const char *thread, *function, *file, *native;
	int line; /* 0: null */
};

struct holder {
	int tid;
	const char *thread;
	uint64_t ns, longest_hold_ns;
	bool at_least;
	int64_t runnable_ns; /* -1: null */
	uint64_t doubt_ns;   /* as a segment's, where runnable_ns is not known */
	enum thread_run run; /* 0: null */
	const char *syscall; /* what it was blocked in, NULL */
	const char *target;
	uint32_t hold_count;	/* hand-overs: holds seen in this segment */
	uint32_t stack;		/* observations' stack id, 0: none */
	struct culprit culprit; /* the function this holder is blamed by */
};

struct segment {
	const char *cause; /* the cause's name, a literal: compare by strcmp or cause */
	uint64_t start_ns, ns;
	struct culprit culprit;
	uint32_t stack; /* where the loop thread was delayed, 0: not known */
	const char *syscall, *target;
	const struct obs_lock *lock; /* NULL: none */
	VEC(struct holder) holders;
	bool resumed;		/* of a call or wait that a stop interrupted: not another one */
	enum collects collects; /* gc: the oldest generation seen */
	int gc_objects;		/* gc: that had survived the last full collection, 0: not known */
	uint32_t faults;	/* fault: major ones */
	/* a wait of which nobody saw whether those it waited for had a CPU: how much of it may be that they
	 * had none, in a loop that lacked one itself */
	uint64_t doubt_ns;
};

struct verdict_stall {
	const struct obs_stall *seen;
	const struct obs_thread *thread; /* whose tick it was: the loop's, or one of those that share it */
	uint64_t ns;
	uint64_t lack_ns; /* the loop thread wanted a CPU for so long, by the scheduler's counts */
	const char *mark; /* the test that was running, NULL: none that we know */
	VEC(struct segment) segments; /* in order of time; add up to ns */
};

struct verdict_cause {
	const char *cause;
	uint64_t ns;  /* total */
	double share; /* of stalled seconds, 0..1 */
	uint32_t stalls;
	uint64_t worst_ns; /* most in one stall */
	struct culprit culprit;
	char *why, *advice; /* one sentence each */
	bool fixed_known;
	uint64_t fixed_stalled_ns, fixed_p99_ns, fixed_max_ns;
	/* evidence, for the sentence and the text report */
	uint64_t longest_hold_ns;
	uint32_t hold_count, holder_threads;
	const struct obs_lock *lock; /* with most seconds */
	uint32_t lock_count;
	const char *syscall, *target;
	enum thread_run holder_run;
	const char *holder_syscall, *holder_target;
	uint32_t calls; /* segments: of a syscall, how many */
	enum collects collects;
	int gc_objects;
	uint32_t faults;
};

/* A tick that was partly, or all, outside the loop. */
struct tick_cut {
	const struct obs_stall *seen;
	struct obs_stall *stall; /* what is left of it, NULL: nothing */
	uint64_t was_ns, is_ns;
};

struct verdict_loop {
	const struct obs_loop *seen;
	const struct obs_thread *thread;
	uint64_t observed_ns, busy_ns;
	uint64_t p50_ns, p90_ns, p99_ns, p999_ns, max_ns;
	uint64_t stall_count, stalled_ns; /* count includes suppressed ones */
	VEC(struct verdict_cause) causes; /* most seconds first */
	VEC(struct verdict_stall) stalls; /* in order of time */
	VEC(struct tick_cut) cuts;
};

struct verdict_process {
	const struct obs_process *seen;
	VEC(const struct obs_thread *) threads;
	VEC(struct verdict_loop) loops;
};

struct verdict {
	const struct observations *seen;
	VEC(struct verdict_process) processes;
};

/* Judges a record. Owned by the caller: verdict_free. */
void verdict_make(struct verdict *out, const struct observations *);
void verdict_free(struct verdict *);

/* Does the process run Python? Then the remedies are Python's. */
bool verdict_python(const struct verdict_process *);
/* frames of stack id s: *n of them, innermost first, frame ids in the returned array */
const uint32_t *verdict_stack(const struct observations *, uint32_t s, int *n);
static inline const struct frame *verdict_frame(const struct observations *o, uint32_t id)
{
	return &o->frames.at[id - 1];
}

#endif
