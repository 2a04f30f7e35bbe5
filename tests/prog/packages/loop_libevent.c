/* SPDX-License-Identifier: MIT
 *
 * A libevent loop with a timer of 5 ms, stalled by two of its callbacks.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int ticks, sick;
static struct event_base *base;

__attribute__((noinline)) void compress_log(void)
{
	struct timespec t = {0};
	do {
		for (volatile int i = 0; i < 10000; i++)
			;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	} while (t.tv_sec * 1000 + t.tv_nsec / 1000000 < 120);
}

__attribute__((noinline)) void ask_disk(void)
{
	usleep(100000);
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	ticks++;
	if (sick && ticks == 20)
		compress_log();
	if (sick && ticks == 40)
		ask_disk();
	if (ticks == 60)
		event_base_loopbreak(base);
}

int main(int argc, char **argv)
{
	struct timeval every = {0, 5000};
	(void)argv;
	sick = argc == 1;
	base = event_base_new();
	struct event *timer = event_new(base, -1, EV_PERSIST, tick, NULL);
	event_add(timer, &every);
	event_base_dispatch(base);
	event_free(timer);
	event_base_free(base);
	return 0;
}
