/* SPDX-License-Identifier: MIT
 *
 * The contract of a cause, one file each under cli/cause/, registered by PART(cause, cause, ...). The
 * timeline cuts a stall into spans (what the loop thread was doing); each span goes to the first cause, by
 * order, that claims it.
 */
#ifndef WHYSTALL_CAUSE_H
#define WHYSTALL_CAUSE_H

#include "part.h"
#include "verdict.h"

enum span_kind {
	SPAN_LOCK,	 /* waited for a lock: wait is set */
	SPAN_CALL,	 /* was in a call that blocks */
	SPAN_RUNNING,	 /* had a CPU */
	SPAN_COLLECTING, /* had one, for its runtime's cycle collector */
	SPAN_RUNNABLE,	 /* wanted one */
	SPAN_FAULT,	 /* blocked in page faults */
	SPAN_STOPPED,	 /* by a signal or a debugger */
	SPAN_UNKNOWN,
};

struct span {
	enum span_kind kind;
	uint64_t start_ns, end_ns;
	uint64_t from_ns, to_ns;     /* looks in this time tell of it: where the order of several spans is not
					known, the time of all of them */
	const struct obs_wait *wait; /* NULL: of a call that only looks saw */
	const struct obs_lock *lock;
	const char *syscall, *target; /* SPAN_CALL; target also SPAN_FAULT */
	uint64_t faults;	      /* SPAN_FAULT: how many */
};

struct judge; /* stall.c's: what the causes ask the observations through */

struct cause {
	const char *name;
	int order; /* lower is asked first */
	bool (*claims)(const struct span *);
	/* Fills the segment's culprit, holders, syscall ... from the observations. */
	void (*judge)(const struct judge *, const struct span *, struct segment *);
	/* The two sentences, from the summed evidence: malloced. */
	void (*explain)(const struct verdict_process *, const struct verdict_loop *, struct verdict_cause *);
};

PARTS_DECLARE(cause, cause);

const struct cause *cause_named(const char *name); /* stall.c; NULL: none of them */

#endif
