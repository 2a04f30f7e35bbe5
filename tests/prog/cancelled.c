/* SPDX-License-Identifier: MIT
 *
 * cancelled N: N threads, one after the other, that are known (they waited for a mutex) and cancelled within
 * a millisecond of their birth.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *work(void *arg)
{
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	pause();
	return arg;
}

static void moment(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
}

int main(int argc, char **argv)
{
	for (int n = argc > 1 ? atoi(argv[1]) : 0; n > 0; n--) {
		pthread_t t;
		pthread_mutex_lock(&mutex);
		if (pthread_create(&t, NULL, work, NULL))
			return 1;
		moment();
		pthread_mutex_unlock(&mutex);
		moment();
		pthread_cancel(t);
		pthread_join(t, NULL);
	}
	return 0;
}
