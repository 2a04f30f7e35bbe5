/* SPDX-License-Identifier: MIT
 *
 * Readiness waits and the ticks between them, and calls that can block on a thread that runs a loop.
 */
#ifndef WHYSTALL_LOOP_H
#define WHYSTALL_LOOP_H

#include <poll.h>
#include <sys/select.h>
#include <time.h>

#include "shim.h"

#define NO_DEADLINE UINT64_MAX

struct call {
	struct self *self; /* NULL: nothing to do at the end */
	uint64_t start;
	uint64_t object;
	uint64_t timeout; /* ns; NO_DEADLINE: none */
	enum hook hook;
	bool ready;  /* a wait of the thread's loop; else a call */
	bool counts; /* its result is how many descriptors were ready */
	struct now before;
};

static inline uint64_t timeout_ms(int ms)
{
	return ms < 0 ? NO_DEADLINE : (uint64_t)ms * 1000000u;
}
static inline uint64_t timeout_timespec(const struct timespec *t)
{
	if (!t || t->tv_sec < 0 || t->tv_sec > 1000000000)
		return NO_DEADLINE;
	return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}
static inline uint64_t timeout_timeval(const struct timeval *t)
{
	if (!t || t->tv_sec < 0 || t->tv_sec > 1000000000)
		return NO_DEADLINE;
	return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_usec * 1000u;
}

void ready_epoll(struct call *, int fd, uint64_t timeout, enum hook, uintptr_t frame) HIDDEN;
void ready_poll(struct call *, const struct pollfd *, nfds_t n, uint64_t timeout, enum hook,
		uintptr_t frame) HIDDEN;
void ready_select(struct call *, int n, fd_set *const sets[3], uint64_t timeout, enum hook,
		  uintptr_t frame) HIDDEN;
/* A wait for completions; `ring` is its descriptor, or some number that is none. */
void ready_ring(struct call *, int ring, uint64_t timeout, enum hook, uintptr_t frame) HIDDEN;
/* error: errno if result is negative */
void ready_end(struct call *, int result, int error) HIDDEN;

void call_begin(struct call *, uint64_t object, enum hook, uintptr_t frame) HIDDEN;
void call_end(struct call *) HIDDEN;

/* A descriptor is about to be closed. */
void loop_close(int fd) HIDDEN;

#endif
