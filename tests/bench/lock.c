/* SPDX-License-Identifier: MIT
 *
 * What an uncontended pthread_mutex_lock and unlock cost, in a process with a second thread: ns per pair, the
 * least of several rounds. Run bare and under the shim in turn; the ratio is what counts.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void *sleeper(void *unused)
{
	(void)unused;
	pause();
	return NULL;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long pairs = argc > 1 ? atol(argv[1]) : 1000000, rounds = argc > 2 ? atol(argv[2]) : 9;
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_t t;
	double best = 1e18;
	if (pthread_create(&t, NULL, sleeper, NULL))
		return 1;
	for (long r = 0; r < rounds; r++) {
		double begin = now();
		for (long i = 0; i < pairs; i++) {
			pthread_mutex_lock(&m);
			pthread_mutex_unlock(&m);
		}
		double each = (now() - begin) / pairs;
		best = each < best ? each : best;
	}
	printf("%.2f\n", best);
	return 0;
}
