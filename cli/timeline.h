/* SPDX-License-Identifier: MIT
 *
 * A stall as spans of what the loop thread was doing, and the lookups into a record that judging needs.
 */
#ifndef WHYSTALL_TIMELINE_H
#define WHYSTALL_TIMELINE_H

#include "cause.h"

/* A record with its indexes, and the stall that is being judged. */
struct judge {
	const struct observations *seen;
	uint32_t *thread_at, *lock_at; /* by id: position + 1, 0: none */
	uint32_t id_max;
	const struct obs_stall *stall;
	uint32_t loop_thread;
	bool exact; /* the scheduler itself was watched: what is no wait is running */
	/* of this stall, slices of the record's arrays */
	const struct obs_wait *waits;
	const struct obs_hold *holds;
	const struct obs_sample *samples;
	size_t wait_count, hold_count, sample_count;
};

void judge_open(struct judge *, const struct observations *);
void judge_close(struct judge *);
/* Turns to a stall; stalls must come in the order of the record's array. */
void judge_stall(struct judge *, const struct obs_stall *, uint32_t loop_thread);

const struct obs_thread *judge_thread(const struct judge *, uint32_t id); /* NULL: not known */
const struct obs_lock *judge_lock(const struct judge *, uint32_t id);

/* For how long (ns) the loop thread wanted a CPU in the stall, by the scheduler's counts. */
uint64_t judge_delay(const struct judge *);

/* The stall's spans in order of time, adding up to its length. Owned by the caller (vec_free). */
typedef VEC(struct span) spans_t;
void timeline_make(const struct judge *, spans_t *out);
/* timeline_gap.c: what the thread did in [start, end], outside of its waits for locks and its calls. */
void timeline_gap(const struct judge *, spans_t *out, uint64_t start, uint64_t end);
/* Did the look find the thread in its runtime's cycle collector? */
bool judge_collects(const struct judge *, const struct obs_sample *);

/* doubt.c: fills doubt_ns in the segments and holders of a loop whose stalls are judged. */
void loop_doubt(const struct judge *, struct verdict_loop *);

/* --- blame.c: who is to blame, from the samples --- */

/* The function blamed by one stack: its innermost user frame, else package, else any (design: user code). */
void blame_stack(const struct observations *, uint32_t stack, struct culprit *out);
/* The loop thread's own line in [start, end]: the function that most of its samples there name. `syscall`:
 * only of samples blocked in it, also from elsewhere in the stall, where there is none inside. *stack is the
 * stack shown. */
void blame_loop(const struct judge *, uint64_t start, uint64_t end, const char *syscall, struct culprit *out,
		uint32_t *stack);
/* Those who had the lock during [start, end], with their functions; their seconds add up to the span where
 * anyone is known at all. Pushes to segment->holders, most seconds first, and sets segment->culprit by the
 * first. */
void blame_holders(const struct judge *, const struct span *, struct segment *);

#endif
