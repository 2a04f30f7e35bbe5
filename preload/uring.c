/* SPDX-License-Identifier: MIT
 *
 * io_uring_enter through syscall(): with completions to wait for it is a readiness wait (io_uring_enter(2)).
 * The numbers are the kernel's (linux/io_uring.h), some newer than the headers that we are built with.
 */
#include <errno.h>

#include "loop.h"
#include "original.h"

#define ENTER_GETEVENTS (1u << 0)
#define ENTER_EXT_ARG (1u << 3)
#define ENTER_REGISTERED_RING (1u << 4)
#define ENTER_ABS_TIMER (1u << 5)
struct ext_arg { /* struct io_uring_getevents_arg */
	uint64_t sigmask;
	uint32_t sigmask_size, spare;
	const struct timespec *timeout; /* struct __kernel_timespec, the same where long has 64 bits */
};

/* A registered ring has an index instead of a descriptor: a number that no descriptor has. */
#define REGISTERED (1 << 30)

/* An absolute time may be on any clock: then it is not known when the wait is due. */
static uint64_t timeout_of(unsigned flags, const struct ext_arg *arg, size_t size)
{
	if (!(flags & ENTER_EXT_ARG) || (flags & ENTER_ABS_TIMER) || !arg || size != sizeof *arg)
		return NO_DEADLINE;
	return timeout_timespec(arg->timeout);
}

long uring_call(long n, long fd, long submit, long wanted, long flags, long arg, long size) HIDDEN
	__attribute__((used));
long uring_call(long n, long fd, long submit, long wanted, long flags, long arg, long size)
{
	unsigned how = (unsigned)flags;
	if (!(how & ENTER_GETEVENTS) || !(unsigned)wanted)
		return original.syscall(n, fd, submit, wanted, flags, arg, size);
	struct call call;
	int ring = how & ENTER_REGISTERED_RING ? REGISTERED | ((int)fd & 0xffff) : (int)fd;
	ready_ring(&call, ring, timeout_of(how, (const struct ext_arg *)arg, (size_t)size),
		   HOOK_io_uring_enter, FRAME);
	long result = original.syscall(n, fd, submit, wanted, flags, arg, size);
	if (call.self)
		ready_end(&call, result < 0 ? -1 : (int)result, result < 0 ? errno : 0);
	return result;
}
