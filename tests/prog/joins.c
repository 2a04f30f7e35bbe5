/* SPDX-License-Identifier: MIT
 *
 * A program in C that has itself recorded, as man whystall says: `joins WHYSTALL RECORD`. Its loop then
 * stalls in a sleep and at a mutex. It prints in which file the functions of two versions are that it calls.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

/* the older of the two that glibc has, which the shim has no wrapper of */
int signal_older(void *);
__asm__(".symver signal_older, pthread_cond_signal@GLIBC_2.2.5");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int held;

static void *hold_lock(void *argument)
{
	(void)argument;
	pthread_mutex_lock(&lock);
	__atomic_store_n(&held, 1, __ATOMIC_RELEASE);
	usleep(150000);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void join(char *whystall, char *record)
{
	int ends[2];
	char pid[16], number[16], text[8192] = "";
	if (pipe2(ends, O_CLOEXEC))
		exit(2);
	snprintf(pid, sizeof pid, "%d", getpid());
	snprintf(number, sizeof number, "%d", ends[1]);
	pid_t child = fork();
	if (!child) {
		fcntl(ends[1], F_SETFD, 0);
		execl(whystall, whystall, "attach", "-q", "-o", record, "--join-fd", number, pid,
		      (char *)NULL);
		_exit(1);
	}
	close(ends[1]);
	for (ssize_t n, at = 0; (n = read(ends[0], text + at, sizeof text - 1 - (size_t)at)) > 0;)
		at += n;
	waitpid(child, NULL, 0);
	char *line = strtok(text, "\n"), *library = strtok(NULL, "\n");
	void *shim = library ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : NULL;
	int (*join_it)(const char *) = shim ? (int (*)(const char *))dlsym(shim, "whystall_join") : NULL;
	if (!join_it || join_it(line))
		exit(3);
}

static void where(const char *name, void *function)
{
	Dl_info info = {0};
	dladdr(function, &info);
	const char *slash = info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
	printf("%s %s\n", name, slash ? slash + 1 : "?");
}

__attribute__((noinline)) static void slow_step(void)
{
	usleep(100000);
	__asm__ volatile("");
}

__attribute__((noinline)) static void use_lock(void)
{
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
}

int main(int argc, char **argv)
{
	struct epoll_event event;
	pthread_t thread;
	void *older[6] = {0};
	int ep = epoll_create1(0);
	if (argc < 3)
		return 1;
	epoll_wait(ep, &event, 1, 1); /* bound before */
	join(argv[1], argv[2]);
	where("older", (void *)signal_older);
	where("newer", (void *)pthread_cond_signal);
	if (signal_older(older))
		return 4;
	for (int i = 0; i < 5; i++)
		epoll_wait(ep, &event, 1, 5);
	slow_step();
	epoll_wait(ep, &event, 1, 5);
	pthread_create(&thread, NULL, hold_lock, NULL);
	while (!__atomic_load_n(&held, __ATOMIC_ACQUIRE))
		;
	use_lock();
	epoll_wait(ep, &event, 1, 5);
	pthread_join(thread, NULL);
	return 0;
}
