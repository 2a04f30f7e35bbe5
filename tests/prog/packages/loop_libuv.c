/* SPDX-License-Identifier: MIT
 *
 * A libuv loop with a timer of 5 ms, stalled by two of its callbacks.
 */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

static int ticks, sick;

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

static void tick(uv_timer_t *timer)
{
	ticks++;
	if (sick && ticks == 20)
		compress_log();
	if (sick && ticks == 40)
		ask_disk();
	if (ticks == 60)
		uv_timer_stop(timer);
}

int main(int argc, char **argv)
{
	uv_loop_t loop;
	uv_timer_t timer;
	(void)argv;
	sick = argc == 1;
	uv_loop_init(&loop);
	uv_timer_init(&loop, &timer);
	uv_timer_start(&timer, tick, 5, 5);
	uv_run(&loop, UV_RUN_DEFAULT);
	return 0;
}
