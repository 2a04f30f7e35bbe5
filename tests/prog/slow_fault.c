/* SPDX-License-Identifier: MIT
 *
 * slow_fault PAGES MS: an epoll loop that touches, tick by tick, pages that another process provides after
 * so many milliseconds each (userfaultfd(2)). Prints how long each took, in ms. Status 77: not allowed here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static volatile char *touched;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int provide(int fd, long pages, long ms)
{
	static char page[PAGE];
	for (long i = 0; i < pages; i++) {
		struct uffd_msg m;
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, 20000) != 1 || read(fd, &m, sizeof m) != sizeof m)
			return 1;
		struct uffdio_copy copy = {.dst = m.arg.pagefault.address & ~(uint64_t)(PAGE - 1),
					   .src = (uintptr_t)page,
					   .len = PAGE};
		usleep((useconds_t)ms * 1000);
		if (ioctl(fd, UFFDIO_COPY, &copy))
			return 1;
	}
	return 0;
}

static __attribute__((noinline)) void look_up(long page)
{
	double start = now();
	(void)touched[page * PAGE];
	printf("%.3f\n", now() - start);
}

int main(int argc, char **argv)
{
	long pages = argc > 2 ? atol(argv[1]) : 0, ms = argc > 2 ? atol(argv[2]) : 0;
	struct uffdio_api api = {.api = UFFD_API};
	struct epoll_event e;
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC), loop = epoll_create1(0);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return 77;
	void *at = mmap(0, (size_t)pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register r = {.range = {(uintptr_t)at, (uint64_t)pages * PAGE},
				    .mode = UFFDIO_REGISTER_MODE_MISSING};
	if (at == MAP_FAILED || ioctl(fd, UFFDIO_REGISTER, &r))
		return 77;
	touched = at;
	pid_t provider = fork(); /* it fills in our pages, not its own */
	if (!provider)
		_exit(provide(fd, pages, ms));
	for (int i = 0; i < 5; i++)
		epoll_wait(loop, &e, 1, 10);
	for (long i = 0; i < pages; i++) {
		look_up(i);
		epoll_wait(loop, &e, 1, 20);
		epoll_wait(loop, &e, 1, 20);
	}
	int status = 1;
	return waitpid(provider, &status, 0) == provider && !status ? 0 : 1;
}
