/* SPDX-License-Identifier: MIT
 *
 * What POSIX says of locks and calls that few programs need, told in lines that are the same with the shim
 * and without: locks that processes share, one of which dies; cancellation that is pending already; signals
 * that interrupt, restart or jump away; clocks of condition variables; handlers around fork.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static int ep, pipes[2], zero;

static struct timespec in_ms(clockid_t clock, long ms)
{
	struct timespec t;
	clock_gettime(clock, &t);
	t.tv_nsec += ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static void loop_become(void)
{
	struct epoll_event ev;
	for (int i = 0; i < 4; i++)
		epoll_wait(ep, &ev, 1, 0);
}

static void thread_run(void *(*run)(void *), void *arg)
{
	pthread_t t;
	pthread_create(&t, NULL, run, arg);
	pthread_join(t, NULL);
}

/* --- locks in memory that a child shares --- */

static struct shared {
	pthread_mutex_t mutex, robust;
	pthread_cond_t cond;
	pthread_rwlock_t rw;
	pthread_barrier_t barrier;
	pthread_spinlock_t spin;
	sem_t sem;
	int turn, count;
} * s;

static void shared_make(void)
{
	pthread_mutexattr_t m;
	pthread_condattr_t c;
	pthread_rwlockattr_t r;
	pthread_barrierattr_t b;
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&m);
	pthread_mutexattr_setpshared(&m, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&s->mutex, &m);
	pthread_mutexattr_setrobust(&m, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&s->robust, &m);
	pthread_condattr_init(&c);
	pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&c, CLOCK_MONOTONIC);
	pthread_cond_init(&s->cond, &c);
	pthread_rwlockattr_init(&r);
	pthread_rwlockattr_setpshared(&r, PTHREAD_PROCESS_SHARED);
	pthread_rwlock_init(&s->rw, &r);
	pthread_barrierattr_init(&b);
	pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&s->barrier, &b, 2);
	pthread_spin_init(&s->spin, PTHREAD_PROCESS_SHARED);
	sem_init(&s->sem, 1, 0);
}

/* Both sides count together, and take turns by the condition. */
static void share(int who)
{
	struct timespec until = in_ms(CLOCK_MONOTONIC, 20000);
	int late = 0;
	loop_become();
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&s->mutex);
		while (s->turn != who && !late)
			late = pthread_cond_timedwait(&s->cond, &s->mutex, &until);
		s->turn = !who;
		s->count++;
		pthread_cond_signal(&s->cond);
		pthread_mutex_unlock(&s->mutex);
		pthread_rwlock_wrlock(&s->rw);
		s->count++;
		pthread_rwlock_unlock(&s->rw);
		pthread_spin_lock(&s->spin);
		s->count++;
		pthread_spin_unlock(&s->spin);
	}
	pthread_barrier_wait(&s->barrier);
	if (who)
		sem_post(&s->sem);
	else
		late |= sem_wait(&s->sem);
	if (!who)
		printf("late %d count %d\n", late, s->count);
}

static void processes(void)
{
	int status;
	shared_make();
	if (!fork()) {
		share(1);
		_exit(0);
	}
	share(0);
	wait(&status);
	for (int how = 0; how < 3; how++) { /* an owner that is killed, execs, or ends in order */
		pid_t pid = fork();
		if (!pid) {
			pthread_mutex_lock(&s->robust);
			sem_post(&s->sem);
			if (how == 0)
				pause();
			if (how == 1)
				execl("/bin/true", "true", NULL);
			_exit(0);
		}
		sem_wait(&s->sem);
		if (how == 0)
			kill(pid, SIGKILL);
		int locked = pthread_mutex_lock(&s->robust);
		printf("owner gone %d", locked);
		printf(" consistent %d", pthread_mutex_consistent(&s->robust));
		printf(" unlock %d\n", pthread_mutex_unlock(&s->robust));
		waitpid(pid, &status, 0);
	}
	pid_t pid = fork();
	if (!pid) {
		pthread_mutex_lock(&s->robust);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("given up: lock %d", pthread_mutex_lock(&s->robust));
	printf(" unlock %d", pthread_mutex_unlock(&s->robust));
	printf(" lock %d", pthread_mutex_lock(&s->robust));
	printf(" trylock %d\n", pthread_mutex_trylock(&s->robust));
}

/* --- cancellation that is pending when the call is made --- */

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t sem;
static int reached;

static void *pending(void *arg)
{
	struct timespec t = {0, 1}, until = in_ms(CLOCK_REALTIME, 10);
	struct epoll_event ev;
	struct pollfd p[2] = {{.fd = pipes[0], .events = POLLIN}, {.fd = ep, .events = POLLIN}};
	char c = 0;
	int old;
	loop_become();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pthread_cancel(pthread_self());
	/* none of these is a cancellation point, and none is one while it is disabled */
	read(zero, &c, 1);
	poll(p, 2, 0);
	nanosleep(&t, NULL);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	pthread_mutex_lock(&m);
	pthread_mutex_unlock(&m);
	pthread_mutex_trylock(&m);
	pthread_mutex_unlock(&m);
	pthread_cond_signal(&cond);
	sem_post(&sem);
	sem_trywait(&sem);
	reached = 1;
	switch ((int)(long)arg) {
	case 0:
		epoll_wait(ep, &ev, 1, 0);
		break;
	case 1:
		poll(p, 2, 0);
		break;
	case 2:
		read(zero, &c, 1);
		break;
	case 3:
		write(zero, &c, 1);
		break;
	case 4:
		nanosleep(&t, NULL);
		break;
	case 5:
		sem_timedwait(&sem, &until);
		break;
	case 6:
		pthread_mutex_lock(&m);
		pthread_cleanup_push((void (*)(void *))pthread_mutex_unlock, &m);
		pthread_cond_timedwait(&cond, &m, &until);
		pthread_cleanup_pop(1);
		break;
	case 7:
		close(dup(zero));
		break;
	case 8:
		open("/dev/null", O_RDONLY);
		break;
	case 9:
		fsync(zero);
		break;
	case 10:
		waitpid(-1, NULL, WNOHANG);
		break;
	case 11:
		recv(pipes[0], &c, 1, MSG_DONTWAIT);
		break;
	case 12:
		pthread_testcancel();
		break;
	}
	return NULL;
}

static void *spin_for_ever(void *unused)
{
	(void)unused;
	loop_become();
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (volatile long i = 0;; i++)
		;
	return NULL;
}

static void cancel(void)
{
	pthread_t t;
	void *result;
	sem_init(&sem, 0, 0);
	for (long i = 0; i < 13; i++) {
		reached = 0;
		pthread_create(&t, NULL, pending, (void *)i);
		pthread_join(t, &result);
		printf("%ld reached %d cancelled %d\n", i, reached, result == PTHREAD_CANCELED);
	}
	pthread_create(&t, NULL, spin_for_ever, NULL);
	usleep(20000);
	pthread_cancel(t);
	pthread_join(t, &result);
	printf("asynchronous %d, mutex is free %d\n", result == PTHREAD_CANCELED, pthread_mutex_trylock(&m));
}

/* --- signals in the middle of a call --- */

static volatile int signals;
static void count(int number)
{
	(void)number;
	signals++;
	if (signals == 1) /* what a handler may call */
		write(zero, "", 1);
	if (signals > 1 && pipes[1] >= 0)
		write(pipes[1], "x", 1); /* so that what restarts ends */
}

static sigjmp_buf away;
static void jump(int number)
{
	(void)number;
	siglongjmp(away, 1);
}

static int call(int which)
{
	struct timespec t = {0, 150000000}, until = in_ms(CLOCK_REALTIME, 150);
	struct epoll_event ev;
	struct pollfd p[2] = {{.fd = pipes[0], .events = POLLIN}, {.fd = ep, .events = POLLIN}};
	fd_set set;
	char c;
	switch (which) {
	case 0:
		return epoll_wait(ep, &ev, 1, 2000);
	case 1:
		return poll(p, 2, 2000);
	case 2:
		FD_ZERO(&set);
		FD_SET(pipes[0], &set);
		FD_SET(ep, &set);
		return select(ep + 1 + pipes[0], &set, NULL, NULL, &(struct timeval){2, 0});
	case 3:
		return (int)read(pipes[0], &c, 1);
	case 4:
		return (int)recv(pipes[0], &c, 1, 0);
	case 5:
		return nanosleep(&t, NULL);
	case 6:
		return clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	case 7:
		return sem_wait(&sem);
	case 8:
		return sem_timedwait(&sem, &until);
	case 9:
		pthread_mutex_lock(&m);
		which = pthread_cond_timedwait(&cond, &m, &until);
		pthread_mutex_unlock(&m);
		return which;
	default:
		return (int)sleep(1) > 0;
	}
}

static void timer_set(long ms)
{
	struct itimerval t = {{0, ms * 1000}, {0, ms * 1000}};
	setitimer(ITIMER_REAL, &t, NULL);
}

static void interrupted(void)
{
	for (int flags = 0; flags < 2; flags++)
		for (int which = 0; which < 11; which++) {
			struct sigaction sa = {.sa_handler = count, .sa_flags = flags ? SA_RESTART : 0};
			if (flags && which == 7)
				continue; /* restarts for ever */
			socketpair(AF_UNIX, SOCK_STREAM, 0, pipes);
			sigaction(SIGALRM, &sa, NULL);
			loop_become();
			signals = 0;
			timer_set(20);
			errno = 0;
			int result = call(which), error = errno;
			timer_set(0);
			/* what timed out before a signal came would differ from run to run */
			printf("restart %d call %d: %d errno %d signalled %d\n", flags, which, result, error,
			       signals > 0);
			close(pipes[0]);
			close(pipes[1]);
		}
	for (int which = 0; which < 9; which++) {
		socketpair(AF_UNIX, SOCK_STREAM, 0, pipes);
		signal(SIGALRM, jump);
		if (!sigsetjmp(away, 1)) {
			timer_set(20);
			call(which);
			printf("not ");
		}
		timer_set(0);
		printf("jumped out of %d\n", which);
		loop_become();
		close(pipes[0]);
		close(pipes[1]);
	}
}

/* --- condition variables: clocks, and whom they wake --- */

static int woken;
static void *sleeper(void *unused)
{
	(void)unused;
	loop_become();
	pthread_mutex_lock(&m);
	s->count++;
	pthread_cond_wait(&cond, &m);
	woken++;
	pthread_mutex_unlock(&m);
	return NULL;
}

static long waited_ms(pthread_cond_t *c, clockid_t clock, long ms, int how, int *result)
{
	struct timespec before, after, until = in_ms(clock, ms);
	clock_gettime(CLOCK_MONOTONIC, &before);
	pthread_mutex_lock(&m);
	*result = how ? pthread_cond_clockwait(c, &m, clock, &until) : pthread_cond_timedwait(c, &m, &until);
	pthread_mutex_unlock(&m);
	clock_gettime(CLOCK_MONOTONIC, &after);
	return (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
}

static void conditions(void)
{
	static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC};
	pthread_t t[20];
	loop_become();
	for (int set = 0; set < 2; set++)
		for (int how = 0; how < 3; how++) {
			pthread_condattr_t a;
			pthread_cond_t c;
			int result;
			pthread_condattr_init(&a);
			pthread_condattr_setclock(&a, clocks[set]);
			pthread_cond_init(&c, &a);
			/* timedwait by the condition's own clock, clockwait by each */
			long ms = waited_ms(&c, how ? clocks[how - 1] : clocks[set], 60, how, &result);
			printf("clock %d how %d: %d, in time %d\n", set, how, result, ms >= 55);
			printf("destroy %d\n", pthread_cond_destroy(&c));
		}
	shared_make();
	for (int i = 0; i < 20; i++)
		pthread_create(&t[i], NULL, sleeper, NULL);
	for (int there = 0; there < 20; usleep(1000)) {
		pthread_mutex_lock(&m);
		there = s->count;
		pthread_mutex_unlock(&m);
	}
	pthread_mutex_lock(&m);
	pthread_cond_broadcast(&cond);
	printf("before: woken %d\n", woken);
	pthread_mutex_unlock(&m);
	for (int i = 0; i < 20; i++)
		pthread_join(t[i], NULL);
	printf("after: woken %d\n", woken);
	mtx_t mtx;
	cnd_t cnd;
	mtx_init(&mtx, mtx_timed | mtx_recursive);
	cnd_init(&cnd);
	struct timespec until = in_ms(CLOCK_REALTIME, 20);
	printf("mtx %d %d", mtx_lock(&mtx), mtx_timedlock(&mtx, &until));
	mtx_unlock(&mtx);
	until = in_ms(CLOCK_REALTIME, 20);
	printf(" cnd %d unlock %d\n", cnd_timedwait(&cnd, &mtx, &until), mtx_unlock(&mtx));
}

static void *ceiling(void *unused)
{
	pthread_mutexattr_t a;
	pthread_mutex_t c;
	int old = 0;
	(void)unused;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_PROTECT);
	pthread_mutexattr_setprioceiling(&a, 5);
	printf("ceiling init %d", pthread_mutex_init(&c, &a));
	printf(" lock %d", pthread_mutex_lock(&c));
	printf(" unlock %d", pthread_mutex_unlock(&c));
	printf(" set %d", pthread_mutex_setprioceiling(&c, 6, &old));
	printf(" destroy %d\n", pthread_mutex_destroy(&c));
	return NULL;
}

/* --- fork --- */

static int order;
static void before(void)
{
	pthread_mutex_lock(&m);
	order = order * 10 + 1;
}
static void after_in_parent(void)
{
	pthread_mutex_unlock(&m);
	order = order * 10 + 2;
}
static void after_in_child(void)
{
	pthread_mutex_unlock(&m);
	order = order * 10 + 3;
}

static void forks(void)
{
	int status;
	pthread_atfork(before, after_in_parent, after_in_child);
	loop_become();
	for (int i = 0; i < 2; i++) {
		fflush(stdout);
		pid_t pid = fork(); /* the second time its mutex must be free again */
		if (!pid) {
			printf("child %d\n", order);
			loop_become();
			thread_run(ceiling, NULL);
			exit(7);
		}
		waitpid(pid, &status, 0);
		printf("parent %d, child ended with %d\n", order, WEXITSTATUS(status));
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	zero = open("/dev/zero", O_RDWR);
	pipe(pipes);
	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "processes"))
		processes();
	else if (!strcmp(argv[1], "cancel"))
		cancel();
	else if (!strcmp(argv[1], "interrupted"))
		interrupted();
	else if (!strcmp(argv[1], "conditions"))
		conditions();
	else if (!strcmp(argv[1], "forks"))
		forks();
	return 0;
}
