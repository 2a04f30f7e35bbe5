/* SPDX-License-Identifier: MIT
 *
 * Loops: epoll, poll and select, what is nested in them, and how they end. Prints what it did to itself, in
 * ns.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int ep, other, p[2];

static unsigned long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ul + t.tv_nsec;
}

static void spin_ms(unsigned long ms)
{
	unsigned long end = now() + ms * 1000000;
	while (now() < end)
		;
}

static void waits(int fd, int n, int ms)
{
	struct epoll_event ev;
	for (int i = 0; i < n; i++)
		epoll_wait(fd, &ev, 1, ms);
}

static void ticks(void)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct timespec t = {0, 5000000};
	epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev);
	waits(ep, 3, 1);
	unsigned long a = now();
	spin_ms(40);
	printf("%lu\n", now() - a);
	write(p[1], "x", 1);
	waits(ep, 3, 0);
	epoll_pwait(ep, &ev, 1, 5, NULL);
	epoll_pwait2(ep, &ev, 1, &t, NULL);
}

static void nested(void)
{
	struct pollfd q = {.fd = p[0], .events = POLLIN};
	waits(ep, 4, 1);
	waits(other, 1, 30); /* nested: a call */
	waits(ep, 2, 1);
	poll(&q, 1, 30);
	waits(ep, 2, 1);
	usleep(30000);
	waits(ep, 1, 1);
	waits(other, 100, 0); /* the hundredth in a row takes over */
	waits(other, 2, 1);
}

static void polls(const char *how)
{
	struct pollfd q[3] = {{.fd = p[0], .events = POLLIN}, {.fd = ep, .events = POLLIN}, {.fd = -1}};
	for (int i = 0; i < 6; i++) {
		struct timespec t = {0, 2000000};
		struct timeval v = {0, 2000};
		fd_set set;
		FD_ZERO(&set);
		FD_SET(p[0], &set);
		FD_SET(ep, &set);
		int top = (p[0] > ep ? p[0] : ep) + 1;
		if (!strcmp(how, "poll"))
			poll(q, 3, 2);
		else if (!strcmp(how, "ppoll"))
			ppoll(q, 3, &t, NULL);
		else if (!strcmp(how, "select"))
			select(top, &set, NULL, NULL, &v);
		else
			pselect(top, &set, NULL, NULL, &t, NULL);
		if (i == 3)
			spin_ms(30);
		if (i == 4)
			poll(&(struct pollfd){.fd = p[1], .events = POLLIN}, 1,
			     30); /* one descriptor: a call */
	}
}

/* Stopped during a wait with a deadline: the tick begins at the deadline. */
static void deadline(void)
{
	struct pollfd q[2] = {{.fd = p[0], .events = POLLIN}, {.fd = ep, .events = POLLIN}};
	for (int i = 0; i < 3; i++)
		poll(q, 2, 1);
	pid_t child = fork();
	if (child == 0) {
		usleep(5000);
		kill(getppid(), SIGSTOP);
		usleep(100000);
		kill(getppid(), SIGCONT);
		_exit(0);
	}
	unsigned long start = now();
	int result = poll(q, 2, 30);
	unsigned long end = now();
	poll(q, 2, 1);
	waitpid(child, NULL, 0);
	printf("%d %lu %lu\n", result, start, end);
}

static void *closer(void *unused)
{
	close(ep);
	return unused;
}

static void closes(int elsewhere)
{
	pthread_t t;
	waits(ep, 5, 1);
	if (elsewhere) {
		pthread_create(&t, NULL, closer, NULL);
		pthread_join(t, NULL);
	} else {
		close(ep);
	}
	spin_ms(40); /* no stall: the loop is over */
	waits(other, 4, 1);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, switch_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t freed, taken;
static int locked;

/* CPython's lock, in its order (Python/ceval_gil.c: take_gil, drop_gil). */
static void gil_take(void)
{
	pthread_mutex_lock(&lock);
	while (locked) {
		struct timespec t;
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_nsec += 5000000;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&freed, &lock, &t);
	}
	pthread_mutex_lock(&switch_lock);
	locked = 1;
	pthread_cond_signal(&taken);
	pthread_mutex_unlock(&switch_lock);
	pthread_mutex_unlock(&lock);
}

static void gil_drop(void)
{
	pthread_mutex_lock(&lock);
	locked = 0;
	pthread_cond_signal(&freed);
	pthread_mutex_unlock(&lock);
}

static volatile int has;
static void *hog(void *unused)
{
	gil_take();
	has = 1;
	spin_ms(60);
	gil_drop();
	for (int i = 0; i < 10; i++) {
		gil_take();
		gil_drop();
	}
	return unused;
}

static void gil(const char *path)
{
	pthread_t t;
	pthread_condattr_t a;
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&freed, &a);
	pthread_cond_init(&taken, &a);
	FILE *f = fopen(path, "w");
	fprintf(f, "%lx %lx\n", (unsigned long)&freed, (unsigned long)&taken);
	fclose(f);
	usleep(100000); /* arena_dump puts them into the arena */
	waits(ep, 4, 1);
	pthread_create(&t, NULL, hog, NULL);
	while (!has)
		usleep(100);
	gil_take();
	waits(ep, 1, 0);
	gil_drop();
	pthread_join(t, NULL);
	waits(ep, 1, 0);
	printf("%lu\n", (unsigned long)&freed);
}

int main(int argc, char **argv)
{
	ep = epoll_create1(0);
	other = epoll_create1(0);
	if (pipe(p) || argc < 2)
		return 2;
	if (!strcmp(argv[1], "ticks"))
		ticks();
	else if (!strcmp(argv[1], "nested"))
		nested();
	else if (!strcmp(argv[1], "polls"))
		polls(argv[2]);
	else if (!strcmp(argv[1], "deadline"))
		deadline();
	else if (!strcmp(argv[1], "closes"))
		closes(atoi(argv[2]));
	else if (!strcmp(argv[1], "many"))
		waits(ep, 2000, 0);
	else if (!strcmp(argv[1], "gil"))
		gil(argv[2]);
	return 0;
}
