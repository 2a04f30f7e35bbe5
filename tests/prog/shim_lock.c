/* SPDX-License-Identifier: MIT
 *
 * Locks of every kind: what they return (kinds, timed, errno, cancel, versions: the same with the shim and
 * without), and a loop thread that waits for one which a worker has (contend KIND: prints the lock's address
 * and the worker's tid).
 */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t m;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t sem;
static int ep;

static struct timespec in_ms(clockid_t clock, long ms)
{
	struct timespec t;
	clock_gettime(clock, &t);
	t.tv_nsec += ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static void mutex_make(pthread_mutex_t *to, int type, int robust, int protocol, int shared)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, type);
	pthread_mutexattr_setrobust(&a, robust);
	pthread_mutexattr_setprotocol(&a, protocol);
	pthread_mutexattr_setpshared(&a, shared);
	printf("init %d\n", pthread_mutex_init(to, &a));
}

static void *other(void *arg)
{
	struct timespec t = in_ms(CLOCK_REALTIME, 30);
	struct timespec k = in_ms(CLOCK_MONOTONIC, 30);
	printf("other: trylock %d\n", pthread_mutex_trylock(&m));
	printf("other: timedlock %d\n", pthread_mutex_timedlock(&m, &t));
	printf("other: clocklock %d\n", pthread_mutex_clocklock(&m, CLOCK_MONOTONIC, &k));
	printf("other: unlock %d\n", arg ? pthread_mutex_unlock(&m) : 0);
	return NULL;
}

static void *die_holding(void *unused)
{
	(void)unused;
	printf("dying: lock %d\n", pthread_mutex_lock(&m));
	return NULL;
}

static void thread_run(void *(*run)(void *), void *arg)
{
	pthread_t t;
	pthread_create(&t, NULL, run, arg);
	pthread_join(t, NULL);
}

static void kinds(void)
{
	static const int types[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
				    PTHREAD_MUTEX_ADAPTIVE_NP};
	for (int i = 0; i < 4; i++)
		for (int how = 0; how < 8; how++) {
			printf("type %d how %d\n", types[i], how);
			mutex_make(&m, types[i], how & 1, how & 2 ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE,
				   how >> 2);
			int checks =
				types[i] == PTHREAD_MUTEX_RECURSIVE || types[i] == PTHREAD_MUTEX_ERRORCHECK;
			printf("lock %d\n", pthread_mutex_lock(&m));
			if (checks)
				printf("again %d\n", pthread_mutex_lock(&m));
			printf("try %d\n", pthread_mutex_trylock(&m));
			thread_run(other, checks ? &m : NULL);
			for (int n = 0; n < 3; n++)
				printf("unlock %d\n", n == 0 || checks ? pthread_mutex_unlock(&m) : 0);
			if (how & 1) { /* robust: an owner dies, first repaired, then not */
				thread_run(die_holding, NULL);
				printf("lock %d\n", pthread_mutex_lock(&m));
				printf("consistent %d\n", pthread_mutex_consistent(&m));
				printf("unlock %d\n", pthread_mutex_unlock(&m));
				thread_run(die_holding, NULL);
				printf("lock %d\n", pthread_mutex_lock(&m));
				printf("unlock %d\n", pthread_mutex_unlock(&m));
				printf("lock %d\n", pthread_mutex_lock(&m));
				printf("trylock %d\n", pthread_mutex_trylock(&m));
			}
			printf("destroy %d\n", pthread_mutex_destroy(&m));
		}
}

static void timed(void)
{
	struct timespec t = in_ms(CLOCK_REALTIME, 20), k = in_ms(CLOCK_MONOTONIC, 50), bad = {0, 2000000000};
	sem_init(&sem, 0, 0);
	errno = 77;
	printf("sem_trywait %d", sem_trywait(&sem));
	printf(" %d\n", errno);
	printf("sem_timedwait %d", sem_timedwait(&sem, &t));
	printf(" %d\n", errno);
	printf("sem_clockwait %d", sem_clockwait(&sem, CLOCK_MONOTONIC, &k));
	printf(" %d\n", errno);
	printf("sem_timedwait %d", sem_timedwait(&sem, &bad));
	printf(" %d\n", errno);
	errno = 77;
	printf("sem_post %d", sem_post(&sem));
	printf(", sem_wait %d", sem_wait(&sem));
	printf(" %d\n", errno);
	pthread_mutex_lock(&m);
	t = in_ms(CLOCK_REALTIME, 20), k = in_ms(CLOCK_MONOTONIC, 50);
	printf("cond_timedwait %d\n", pthread_cond_timedwait(&cond, &m, &t));
	printf("cond_clockwait %d\n", pthread_cond_clockwait(&cond, &m, CLOCK_MONOTONIC, &k));
	printf("cond_timedwait %d\n", pthread_cond_timedwait(&cond, &m, &bad));
	printf("unlock %d errno %d\n", pthread_mutex_unlock(&m), errno);
	printf("read %d", (int)read(-1, &t, 1));
	printf(" %d\n", errno);
	printf("epoll_wait %d", epoll_wait(-1, NULL, 1, 0));
	printf(" %d\n", errno);
	printf("close %d", close(-1));
	printf(" %d\n", errno);
	printf("poll %d\n", poll(NULL, 0, 1));
}

/* Each blocking call, cancelled in the middle. */
static int pipes[2];
static void *blocked(void *arg)
{
	struct epoll_event ev;
	struct pollfd p[2] = {{.fd = pipes[0], .events = POLLIN}, {.fd = ep, .events = POLLIN}};
	struct timespec t = {30, 0}, until = in_ms(CLOCK_REALTIME, 30000);
	fd_set set;
	char c;
	epoll_wait(ep, &ev, 1, 0); /* so that the thread is a loop */
	epoll_wait(ep, &ev, 1, 0);
	switch ((int)(long)arg) {
	case 0:
		epoll_wait(ep, &ev, 1, -1);
		break;
	case 1:
		poll(p, 2, -1);
		break;
	case 2:
		FD_ZERO(&set);
		FD_SET(pipes[0], &set);
		FD_SET(ep, &set);
		select(pipes[0] + 1, &set, NULL, NULL, NULL);
		break;
	case 3:
		read(pipes[0], &c, 1);
		break;
	case 4:
		nanosleep(&t, NULL);
		break;
	case 5:
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
		break;
	case 6:
		sem_wait(&sem);
		break;
	case 7:
		sem_timedwait(&sem, &until);
		break;
	case 8:
		pthread_mutex_lock(&m);
		pthread_cleanup_push((void (*)(void *))pthread_mutex_unlock, &m);
		pthread_cond_wait(&cond, &m);
		pthread_cleanup_pop(1);
		break;
	case 9:
		sleep(30);
		break;
	case 10:
		usleep(30000000);
		break;
	case 11:
		recv(pipes[0], &c, 1, 0);
		break;
	case 12:
		ppoll(p, 2, &t, NULL);
		break;
	case 13:
		system("sleep 30 > /dev/null 2>&1");
		break;
	}
	return NULL;
}

static void cancel(void)
{
	sem_init(&sem, 0, 0);
	for (long i = 0; i < 14; i++) {
		pthread_t t;
		void *result;
		if (i == 11)
			socketpair(AF_UNIX, SOCK_STREAM, 0, pipes);
		pthread_create(&t, NULL, blocked, (void *)i);
		usleep(30000);
		pthread_cancel(t);
		pthread_join(t, &result);
		printf("%ld cancelled %d\n", i, result == PTHREAD_CANCELED);
	}
	printf("mutex is free: %d\n", pthread_mutex_trylock(&m));
}

static void versions(void)
{
	static const char *const names[] = {"pthread_cond_wait", "pthread_cond_signal", "posix_spawn"};
	static const char *const old[] = {"GLIBC_2.2.5", "GLIBC_2.2.5", "GLIBC_2.2.5"};
	static const char *const new[] = {"GLIBC_2.3.2", "GLIBC_2.3.2", "GLIBC_2.15"};
	for (int i = 0; i < 3; i++) {
		void *a = dlvsym(RTLD_DEFAULT, names[i], old[i]), *b = dlvsym(RTLD_DEFAULT, names[i], new[i]);
		Dl_info info = {0};
		dladdr(a, &info);
		printf("%s: old %d, differ %d, default is new %d, old in libc %d\n", names[i], !!a, a != b,
		       dlsym(RTLD_DEFAULT, names[i]) == b, strstr(info.dli_fname, "/libc.so.6") != NULL);
	}
	printf("mutex_lock %d epoll_wait %d\n",
	       dlsym(RTLD_DEFAULT, "pthread_mutex_lock") == (void *)pthread_mutex_lock,
	       dlsym(RTLD_NEXT, "epoll_wait") != NULL);
}

static const char *contended;
static volatile int ready, go_on;

static void *worker(void *unused)
{
	(void)unused;
	int is_sem = !strcmp(contended, "sem");
	if (is_sem)
		sem_wait(&sem);
	else
		pthread_mutex_lock(&m);
	printf("%lu %d\n", is_sem ? (unsigned long)&sem : (unsigned long)&m, gettid());
	ready = 1;
	while (!go_on)
		usleep(1000);
	usleep(60000);
	if (is_sem)
		sem_post(&sem);
	else
		pthread_mutex_unlock(&m);
	return NULL;
}

static void contend(const char *kind)
{
	pthread_t t;
	struct epoll_event ev;
	contended = kind;
	sem_init(&sem, 0, 1);
	int type = !strcmp(kind, "recursive")  ? PTHREAD_MUTEX_RECURSIVE
		   : !strcmp(kind, "adaptive") ? PTHREAD_MUTEX_ADAPTIVE_NP
		   : !strcmp(kind, "check")    ? PTHREAD_MUTEX_ERRORCHECK
					       : PTHREAD_MUTEX_NORMAL;
	freopen("/dev/null", "w", stderr);
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, type);
	pthread_mutexattr_setrobust(&a, !strcmp(kind, "robust"));
	pthread_mutexattr_setprotocol(&a, !strcmp(kind, "inherit"));
	pthread_mutex_init(&m, &a);
	pthread_create(&t, NULL, worker, NULL);
	while (!ready)
		usleep(1000);
	for (int i = 0; i < 4; i++)
		epoll_wait(ep, &ev, 1, 1);
	go_on = 1;
	if (!strcmp(kind, "sem")) {
		sem_wait(&sem);
		sem_post(&sem);
	} else {
		pthread_mutex_lock(&m);
		pthread_mutex_unlock(&m);
	}
	epoll_wait(ep, &ev, 1, 1);
	pthread_join(t, NULL);
}

static void *idle(void *unused)
{
	(void)unused;
	usleep(50000);
	return NULL;
}

static void uncontended(void)
{
	pthread_t t;
	struct epoll_event ev;
	pthread_create(&t, NULL, idle, NULL);
	for (int i = 0; i < 100000; i++) {
		pthread_mutex_lock(&m);
		if (i % 10000 == 0)
			epoll_wait(ep, &ev, 1, 0);
		pthread_mutex_unlock(&m);
	}
	pthread_join(t, NULL);
}

/* Handlers that lock, post and read while the thread does so itself. */
static pthread_mutex_t fought = PTHREAD_MUTEX_INITIALIZER;
static volatile int stop;
static void on_signal(int signal)
{
	int saved = errno;
	char c;
	(void)signal;
	sem_post(&sem);
	read(pipes[0], &c, 0);
	sem_trywait(&sem);
	errno = saved;
}
static void *fight(void *unused)
{
	while (!stop) {
		pthread_mutex_lock(&fought);
		pthread_mutex_unlock(&fought);
	}
	return unused;
}
static void storm(void)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	struct timespec end = in_ms(CLOCK_MONOTONIC, 1500), now;
	struct epoll_event ev;
	pthread_t t, me = pthread_self();
	sem_init(&sem, 0, 5);
	sigaction(SIGUSR1, &sa, NULL);
	pthread_create(&t, NULL, fight, NULL);
	pid_t child = fork();
	if (child == 0)
		for (;;)
			if (kill(getppid(), SIGUSR1))
				_exit(0);
	(void)me;
	do {
		for (int i = 0; i < 1000; i++) {
			pthread_mutex_lock(&fought);
			pthread_mutex_unlock(&fought);
			sem_wait(&sem);
			sem_post(&sem);
		}
		epoll_wait(ep, &ev, 1, 0);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	stop = 1;
	pthread_join(t, NULL);
	int value;
	sem_getvalue(&sem, &value);
	printf("value %d\n", value);
}

static void *nothing(void *arg)
{
	sem_wait(&sem);
	sem_post(&sem);
	if ((long)arg % 3 == 0)
		pthread_exit(arg);
	return arg;
}
static void threads(long n, long at_once)
{
	static pthread_t t[1000];
	unsigned long sum = 0;
	sem_init(&sem, 0, 1);
	for (long i = 0; i < n; i += at_once) {
		void *result;
		for (long k = 0; k < at_once; k++)
			if (pthread_create(&t[k], NULL, nothing, (void *)(i + k)))
				abort();
		for (long k = 0; k < at_once; k++) {
			pthread_join(t[k], &result);
			sum += (unsigned long)result;
		}
	}
	printf("sum %lu\n", sum);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (pipe(pipes) || argc < 2)
		return 2;
	if (!strcmp(argv[1], "kinds"))
		kinds();
	else if (!strcmp(argv[1], "timed"))
		timed();
	else if (!strcmp(argv[1], "cancel"))
		cancel();
	else if (!strcmp(argv[1], "versions"))
		versions();
	else if (!strcmp(argv[1], "contend"))
		contend(argv[2]);
	else if (!strcmp(argv[1], "uncontended"))
		uncontended();
	else if (!strcmp(argv[1], "storm"))
		storm();
	else if (!strcmp(argv[1], "threads"))
		threads(atol(argv[2]), atol(argv[3]));
	return 0;
}
