/* SPDX-License-Identifier: MIT
 *
 * Waits for nothing, as often as it can, for so many seconds: what a readiness wait costs under a probe, and
 * how many ticks a capture can count.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1;
	struct epoll_event event;
	struct timespec begin, now;
	int fd = epoll_create1(0);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		for (int i = 0; i < 1024; i++)
			epoll_wait(fd, &event, 1, 0);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9 < seconds);
	return 0;
}
