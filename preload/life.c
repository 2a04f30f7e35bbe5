/* SPDX-License-Identifier: MIT
 *
 * The life of descriptors, threads and processes: what must be noticed when they begin and end.
 */
#include "loop.h"
#include "original.h"
#include "shim.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int close(int fd)
{
	loop_close(fd);
	if (likely(!self.loop))
		return original.close(fd);
	struct call call;
	call_begin(&call, (uint64_t)fd, HOOK_close, FRAME);
	int result = original.close(fd);
	call_end(&call);
	return result;
}

/* What a new thread is to run: a small pool, for malloc is not ours to call here. Where it is empty the
 * thread starts without us, and its end is seen in /proc only. */
#define STARTS 256
static struct start {
	uint32_t taken;
	void *(*run)(void *);
	void *argument;
} starts[STARTS];

static void *thread_run(void *argument)
{
	struct start *slot = argument, start = *slot;
	release(slot->taken, 0);
	void *result = start.run(start.argument);
	self_end();
	return result;
}

static struct start *start_take(void)
{
	static uint32_t next;
	for (uint32_t i = 0; shim.arena && i < STARTS; i++) {
		struct start *s = &starts[__atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) % STARTS];
		uint32_t free = 0;
		if (__atomic_compare_exchange_n(&s->taken, &free, 1, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return s;
	}
	return NULL;
}

EXPORT int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *argument)
{
	struct start *s = start_take();
	if (!s)
		return original.pthread_create(t, a, run, argument);
	s->run = run;
	s->argument = argument;
	int result = original.pthread_create(t, a, thread_run, s);
	if (result)
		release(s->taken, 0);
	return result;
}

EXPORT void pthread_exit(void *result)
{
	self_end();
	for (;;)
		original.pthread_exit(result);
}

EXPORT int pthread_setname_np(pthread_t t, const char *name)
{
	return original.pthread_setname_np(t, name);
}

EXPORT pid_t fork(void)
{
	pid_t pid = original.fork();
	if (pid == 0)
		proc_child();
	return pid;
}

EXPORT pid_t _Fork(void)
{
	pid_t pid = original._Fork();
	if (pid == 0)
		proc_child();
	return pid;
}

EXPORT int daemon(int nochdir, int noclose)
{
	int result = original.daemon(nochdir, noclose);
	proc_child(); /* it is another process that comes back; a failure is found by the wiped page */
	return result;
}

EXPORT int forkpty(int *fd, char *name, const void *termios, const void *size)
{
	int pid = original.forkpty(fd, name, termios, size);
	if (pid == 0)
		proc_child();
	return pid;
}

EXPORT void _exit(int status)
{
	exit_mark();
	for (;;)
		original._exit(status);
}

EXPORT void _Exit(int status)
{
	exit_mark();
	for (;;)
		original._Exit(status);
}
