/* SPDX-License-Identifier: MIT
 *
 * How long a thread that only reads the clock is held up at most, for so many seconds: prints the longest
 * time between two readings, in us, less what the scheduler gave to others. A virtual machine's own pauses
 * are in it, so it says something only beside the same without whystall.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Time for which the thread was ready and had no CPU, us: not whystall's doing. */
static double waited(void)
{
	unsigned long long ran, ready = 0;
	FILE *f = fopen("/proc/thread-self/schedstat", "r");
	if (f && fscanf(f, "%llu %llu", &ran, &ready) != 2)
		ready = 0;
	if (f)
		fclose(f);
	return (double)ready / 1e3;
}

int main(int argc, char **argv)
{
	double end = now() + (argc > 1 ? atof(argv[1]) : 1) * 1e6, last = now(), longest = 0;
	double ready = waited();
	while (last < end) {
		double at = now(), gap = at - last;
		if (gap > 100) { /* worth asking whether it was the scheduler */
			double later = waited();
			gap -= later - ready;
			ready = later;
			at = now();
		}
		if (gap > longest)
			longest = gap;
		last = at;
	}
	printf("%.0f\n", longest);
	return 0;
}
