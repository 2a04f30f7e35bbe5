/* SPDX-License-Identifier: MIT
 *
 * uring_loop MS TIMES: a loop on an io_uring, whose waits end by a timeout of 10 ms, as runtimes make them:
 * with syscall(). In between it computes for so many ms so many times. Status 77: no io_uring here.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int ring;

static void ring_wait(void)
{
	struct {
		int64_t s, ns;
	} time = {0, 10000000};
	struct {
		uint64_t mask;
		uint32_t mask_size, spare;
		uint64_t time;
	} arg = {.time = (uintptr_t)&time};
	long n = syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS | 8 /* EXT_ARG */, &arg,
			 sizeof arg);
	if (n < 0 && errno != ETIME && errno != EINTR)
		exit(77);
}

static __attribute__((noinline)) void crunch(long ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	long long end = t.tv_sec * 1000000000ll + t.tv_nsec + ms * 1000000ll;
	do
		clock_gettime(CLOCK_MONOTONIC, &t);
	while (t.tv_sec * 1000000000ll + t.tv_nsec < end);
}

int main(int argc, char **argv)
{
	struct io_uring_params p;
	memset(&p, 0, sizeof p);
	ring = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (argc < 3 || ring < 0)
		return 77;
	/* what is not a wait: nothing to submit, nothing wanted */
	syscall(SYS_io_uring_enter, ring, 0, 0, 0, NULL, 0);
	for (int i = 0; i < 5; i++)
		ring_wait();
	for (long i = 0; i < atol(argv[2]); i++) {
		crunch(atol(argv[1]));
		ring_wait();
		ring_wait();
	}
	return 0;
}
