/* SPDX-License-Identifier: MIT
 *
 * Native ills for the accuracy set, loaded by ctypes: a function that keeps the GIL (called through PyDLL)
 * and stamps its own hold from inside, so that no hand-over can slip between the stamp and the hold; and a
 * thread of C that holds a pthread mutex, a read-write lock or a C11 mutex, asleep or computing, while the
 * loop waits for it, or for the thread's end.
 */
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static __attribute__((noinline)) uint64_t spin(uint64_t until)
{
	uint64_t rounds = 0;
	while (now() < until)
		rounds++;
	return rounds;
}

/* stamps[0], stamps[1]: entry and return */
int stamped_wait(int epoll, struct epoll_event *events, int n, int ms, uint64_t *stamps)
{
	stamps[0] = now();
	int ready = epoll_wait(epoll, events, n, ms);
	stamps[1] = now();
	return ready;
}

/* stamps[0], stamps[1]: from..to */
uint64_t hold_interpreter(uint64_t ns, uint64_t *stamps)
{
	stamps[0] = now();
	uint64_t rounds = spin(stamps[0] + ns);
	stamps[1] = now();
	return rounds + 1; /* not a tail call: this function stays on the stack */
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static mtx_t mtx;

enum what { MUTEX, READ, WRITE, C11, NOTHING };

static void lock(enum what what)
{
	if (what == MUTEX)
		pthread_mutex_lock(&mutex);
	else if (what == C11)
		mtx_lock(&mtx);
	else if (what != NOTHING)
		(what == READ ? pthread_rwlock_rdlock : pthread_rwlock_wrlock)(&rwlock);
}

static void unlock(enum what what)
{
	if (what == MUTEX)
		pthread_mutex_unlock(&mutex);
	else if (what == C11)
		mtx_unlock(&mtx);
	else if (what != NOTHING)
		pthread_rwlock_unlock(&rwlock);
}

struct order {
	uint64_t ns;
	int compute;
	enum what what;
	uint64_t tid, start, end; /* filled in */
};

static __attribute__((noinline)) void hold(struct order *o)
{
	lock(o->what);
	uint64_t start = now();
	__atomic_store_n(&o->start, start, __ATOMIC_RELEASE);
	struct timespec t = {(time_t)(o->ns / 1000000000u), (long)(o->ns % 1000000000u)};
	if (o->compute)
		while (now() < start + o->ns)
			for (volatile int i = 0; i < 50000; i++) /* ill: compute */
				;				 /* ill: compute */
	else
		nanosleep(&t, 0); /* ill: sleep */
	o->end = now();
	unlock(o->what);
}

static void *holder(void *arg)
{
	struct order *o = arg;
	prctl(PR_SET_NAME, "c-holder");
	o->tid = (uint64_t)syscall(SYS_gettid);
	hold(o);
	return 0;
}

static void made(void)
{
	mtx_init(&mtx, mtx_plain);
}

/* Starts the holder and returns once it has the lock; the pthread_t, for hold_join. */
uint64_t hold_start(struct order *o)
{
	static once_flag once = ONCE_FLAG_INIT;
	pthread_t t;
	call_once(&once, made);
	if (pthread_create(&t, 0, holder, o))
		return 0;
	while (!__atomic_load_n(&o->start, __ATOMIC_ACQUIRE))
		usleep(50);
	return (uint64_t)t;
}

void hold_join(uint64_t thread)
{
	pthread_join((pthread_t)thread, 0);
}

void take(int what)
{
	lock((enum what)what);
	unlock((enum what)what);
}
