/* SPDX-License-Identifier: MIT
 *
 * The functions in which a runtime runs its event loop. Where a loop has one, time in which it is not on the
 * thread's stack is outside the loop (design: Ends): work between two run_until_complete is no stall.
 */
#ifndef WHYSTALL_RUNNER_H
#define WHYSTALL_RUNNER_H

#include "timeline.h"

/* The name of the runner that this Python frame is, NULL: of none. */
const char *runner_frame(const struct frame *);
/* The same of the file of native code. */
const char *runner_module(const char *path);
/* What a stack stands on: "function file" of its outermost frame. Another stack of the same thread is
 * comparable only if it stands on the same: a greenlet's does not. Returns buf. */
char *runner_root(const struct frame *outermost, char *buf, size_t size);

/* What is known of a loop's runner, by its row or, failing that, by its stalls' samples. */
struct runner_row;
struct runner {
	const struct runner_row *row; /* NULL: it is not known */
	char root[1024];
};
void runner_find(const struct judge *, const struct obs_loop *, struct runner *);
/* The longest part of the judge's stall in which the runner was on the stack. false: there is none. */
bool runner_inside(const struct judge *, const struct runner *, uint64_t *start, uint64_t *end);

#endif
