/* SPDX-License-Identifier: MIT
 *
 * ring N [how]: N threads, each of which has a lock and waits for the next one's, the last for the first's: a
 * deadlock. how: mutex (default), rwlock (for writing), timed (a lock wait that ends after a minute).
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX 8

static pthread_mutex_t mutex[MAX];
static pthread_rwlock_t rwlock[MAX];
static pthread_barrier_t all;
static const char *how = "mutex";
static int count;

static void take(int i)
{
	struct timespec until;
	if (!strcmp(how, "rwlock")) {
		pthread_rwlock_wrlock(&rwlock[i]);
	} else if (!strcmp(how, "timed")) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 60;
		pthread_mutex_timedlock(&mutex[i], &until);
	} else {
		pthread_mutex_lock(&mutex[i]);
	}
}

static void *ring(void *arg)
{
	int i = (int)(long)arg;
	char name[16];
	snprintf(name, sizeof(name), "ring-%d", i);
	pthread_setname_np(pthread_self(), name);
	take(i);
	pthread_barrier_wait(&all);
	take((i + 1) % count);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[MAX];
	count = argc > 1 ? atoi(argv[1]) : 2;
	how = argc > 2 ? argv[2] : how;
	if (count < 1 || count > MAX)
		return 2;
	pthread_barrier_init(&all, NULL, (unsigned)count);
	for (int i = 0; i < count; i++) {
		pthread_mutex_init(&mutex[i], NULL);
		pthread_rwlock_init(&rwlock[i], NULL);
	}
	for (long i = 0; i < count; i++)
		pthread_create(&thread[i], NULL, ring, (void *)i);
	puts("ready");
	fflush(stdout);
	for (int i = 0; i < count; i++)
		pthread_join(thread[i], NULL);
	return 0;
}
