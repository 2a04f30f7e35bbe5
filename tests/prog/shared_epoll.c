/* SPDX-License-Identifier: MIT
 *
 * Four threads that wait on one epoll instance, as the workers of a server do.
 *
 *   shared_epoll N HOW [ROUNDS]   N of them serve a request at a time, the others wait, ROUNDS times
 *   shared_epoll hand-over        one thread sets the loop up, waits, works, and gives it to another for good
 *   shared_epoll cancelled        one waits and is cancelled, another takes its place and stalls for 100 ms
 *
 * HOW a request is served, for 100 ms each (cpu 300): sleep, cpu, or lock (the main thread has the mutex that
 * they all need).
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4

static int ep, requests[THREADS], served[2];
static const char *how;
static volatile int stop;
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;

static void compute(long ms)
{
	struct timespec t, start;
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		for (volatile int i = 0; i < 10000; i++)
			;
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while ((t.tv_sec - start.tv_sec) * 1000 + (t.tv_nsec - start.tv_nsec) / 1000000 < ms);
}

static void serve_request(void)
{
	if (!strcmp(how, "sleep"))
		usleep(100000);
	else if (!strcmp(how, "cpu"))
		compute(300);
	else
		pthread_mutex_lock(&table), pthread_mutex_unlock(&table);
}

static void *server(void *number)
{
	char name[16];
	snprintf(name, sizeof name, "server-%ld", (long)number);
	pthread_setname_np(pthread_self(), name);
	while (!stop) {
		struct epoll_event event;
		unsigned long value;
		if (epoll_wait(ep, &event, 1, -1) == 1 && !stop &&
		    read(event.data.fd, &value, sizeof value) == sizeof value) {
			serve_request();
			write(served[1], "x", 1);
		}
	}
	return NULL;
}

static void rebuild_table(int n, const int *fds)
{
	unsigned long one = 1;
	int lock = !strcmp(how, "lock");
	if (lock)
		pthread_mutex_lock(&table);
	for (int i = 0; i < n; i++)
		write(fds[i], &one, sizeof one);
	if (lock) {
		usleep(100000);
		pthread_mutex_unlock(&table);
	}
}

static void serve(int n, int rounds)
{
	pthread_t threads[THREADS];
	char byte;
	for (int i = 0; i < THREADS; i++) {
		struct epoll_event event = {.events = EPOLLIN | EPOLLET};
		event.data.fd = requests[i] = eventfd(0, EFD_NONBLOCK);
		epoll_ctl(ep, EPOLL_CTL_ADD, requests[i], &event);
		pthread_create(&threads[i], NULL, server, (void *)(long)i);
	}
	usleep(100000);
	for (int round = 0; round < rounds; round++) {
		rebuild_table(n, requests);
		for (int i = 0; i < n; i++)
			read(served[0], &byte, 1);
		usleep(100000);
	}
	stop = 1;
	struct epoll_event end = {.events = EPOLLIN};
	int stopped = eventfd(1, EFD_NONBLOCK);
	epoll_ctl(ep, EPOLL_CTL_ADD, stopped, &end);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void *second(void *unused)
{
	struct epoll_event event;
	for (int i = 0; i < 10; i++)
		epoll_wait(ep, &event, 1, 5);
	return unused;
}

static void hand_over(void)
{
	pthread_t thread;
	second(NULL);
	compute(100);
	pthread_create(&thread, NULL, second, NULL);
	pthread_join(thread, NULL);
}

static void *heir(void *unused)
{
	second(NULL);
	compute(100);
	return second(unused);
}

static void cancelled(void)
{
	struct timespec pause = {2, 500000000};
	pthread_t thread;
	pthread_create(&thread, NULL, server, NULL);
	usleep(50000);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	nanosleep(&pause, NULL);
	pthread_create(&thread, NULL, heir, NULL);
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	ep = epoll_create1(0);
	if (argc < 2 || pipe(served))
		return 2;
	if (argc < 3) {
		(strcmp(argv[1], "cancelled") ? hand_over : cancelled)();
		return 0;
	}
	how = argv[2];
	serve(atoi(argv[1]), argc > 3 ? atoi(argv[3]) : 3);
	return 0;
}
