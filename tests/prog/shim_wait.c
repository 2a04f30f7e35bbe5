/* SPDX-License-Identifier: MIT
 *
 * Read-write locks, spin locks, C11's mutexes, joins, barriers, and calls that open and connect: what they
 * return (returns, calls, cancel: the same with the shim and without), and a loop thread that waits for what
 * a worker has (contend KIND: prints the object and the worker's tid).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_barrier_t barrier;
static mtx_t mtx;
static cnd_t cnd;
static int ep;
static pthread_t self_of_worker;

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
		epoll_wait(ep, &ev, 1, 1);
}

static void thread_run(void *(*run)(void *), void *arg)
{
	pthread_t t;
	pthread_create(&t, NULL, run, arg);
	pthread_join(t, NULL);
}

static void *others(void *reader)
{
	struct timespec t = in_ms(CLOCK_REALTIME, 20), k = in_ms(CLOCK_MONOTONIC, 40), bad = {0, 2000000000};
	int r;
	printf("tryrdlock %d\n", r = pthread_rwlock_tryrdlock(&rw));
	if (!r)
		printf("unlock %d\n", pthread_rwlock_unlock(&rw));
	printf("trywrlock %d\n", pthread_rwlock_trywrlock(&rw));
	printf("timedwrlock %d\n", pthread_rwlock_timedwrlock(&rw, &t));
	printf("clockwrlock %d\n", pthread_rwlock_clockwrlock(&rw, CLOCK_MONOTONIC, &k));
	printf("timedwrlock bad %d\n", pthread_rwlock_timedwrlock(&rw, &bad));
	t = in_ms(CLOCK_REALTIME, 20), k = in_ms(CLOCK_MONOTONIC, 40);
	printf("timedrdlock %d\n", r = pthread_rwlock_timedrdlock(&rw, &t));
	if (!r)
		printf("unlock %d\n", pthread_rwlock_unlock(&rw));
	printf("clockrdlock %d\n", r = pthread_rwlock_clockrdlock(&rw, CLOCK_MONOTONIC, &k));
	if (!r)
		printf("unlock %d\n", pthread_rwlock_unlock(&rw));
	printf("spin_trylock %d\n", pthread_spin_trylock(&spin));
	t = in_ms(CLOCK_REALTIME, 20);
	printf("mtx_trylock %d mtx_timedlock %d\n", mtx_trylock(&mtx), mtx_timedlock(&mtx, &t));
	return reader;
}

static void returns(void)
{
	static const int kinds[] = {PTHREAD_RWLOCK_PREFER_READER_NP, PTHREAD_RWLOCK_PREFER_WRITER_NP,
				    PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP};
	struct timespec t;
	mtx_init(&mtx, mtx_timed | mtx_recursive);
	cnd_init(&cnd);
	printf("mtx_lock %d again %d\n", mtx_lock(&mtx), mtx_lock(&mtx));
	printf("spin_lock %d\n", pthread_spin_lock(&spin));
	for (int i = 0; i < 6; i++) {
		pthread_rwlockattr_t a;
		pthread_rwlockattr_init(&a);
		pthread_rwlockattr_setkind_np(&a, kinds[i % 3]);
		pthread_rwlockattr_setpshared(&a, i / 3);
		pthread_rwlock_init(&rw, &a);
		printf("kind %d rdlock %d again %d\n", i, pthread_rwlock_rdlock(&rw),
		       pthread_rwlock_rdlock(&rw));
		thread_run(others, NULL);
		for (int n = 0; n < 2; n++)
			printf("unlock %d\n", pthread_rwlock_unlock(&rw));
		printf("wrlock %d again %d", pthread_rwlock_wrlock(&rw), pthread_rwlock_wrlock(&rw));
		printf(" rdlock %d\n", pthread_rwlock_rdlock(&rw));
		thread_run(others, NULL);
		printf("unlock %d\n", pthread_rwlock_unlock(&rw));
		for (int n = 0; n < 9; n++) /* more than are listed */
			printf("rdlock %d ", pthread_rwlock_rdlock(&rw));
		for (int n = 0; n < 9; n++)
			printf("unlock %d ", pthread_rwlock_unlock(&rw));
		printf("wrlock %d unlock %d destroy %d\n", pthread_rwlock_trywrlock(&rw),
		       pthread_rwlock_unlock(&rw), pthread_rwlock_destroy(&rw));
	}
	t = in_ms(CLOCK_REALTIME, 20);
	printf("spin_unlock %d mtx_unlock %d\n", pthread_spin_unlock(&spin), mtx_unlock(&mtx));
	printf("cnd_timedwait %d mtx_unlock %d\n", cnd_timedwait(&cnd, &mtx, &t), mtx_unlock(&mtx));
	printf("join itself %d\n", pthread_join(pthread_self(), NULL));
	printf("barrier %d\n", pthread_barrier_init(&barrier, NULL, 1) ?: pthread_barrier_wait(&barrier));
}

#define SHOW(what)                                                            \
	do {                                                                  \
		errno = 77;                                                   \
		long r_ = (long)(what);                                       \
		printf("%s: %ld errno %d\n", #what, r_, r_ < 0 ? errno : 77); \
	} while (0)

/* In a directory of its own; descriptors are the lowest free, so their numbers are comparable too. */
static void calls(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct addrinfo *found = NULL, hints = {.ai_flags = AI_NUMERICHOST};
	socklen_t n = sizeof(a);
	struct stat st;
	char host[64];
	umask(022);
	loop_become();
	int server = socket(AF_INET, SOCK_STREAM, 0);
	bind(server, (void *)&a, n);
	SHOW(listen(server, 5));
	getsockname(server, (void *)&a, &n);
	SHOW(connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, n));
	SHOW(connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&a, n));
	SHOW(accept(server, NULL, NULL));
	SHOW(accept4(server, (void *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC));
	SHOW(accept4(server, NULL, NULL, 12345));
	SHOW(connect(-1, (void *)&a, n));
	SHOW(open("absent", O_RDONLY));
	SHOW(open("made", O_CREAT | O_RDWR | O_EXCL, 0640));
	stat("made", &st);
	printf("mode %o\n", st.st_mode);
	SHOW(open64("made2", O_CREAT | O_RDWR, 0604));
	stat("made2", &st);
	printf("mode %o\n", st.st_mode);
	SHOW(openat(AT_FDCWD, "made3", O_CREAT | O_RDWR, 0600));
	SHOW(openat64(AT_FDCWD, "made3", O_RDONLY));
	SHOW(creat("made4", 0610));
	stat("made4", &st);
	printf("mode %o\n", st.st_mode);
	int in = open("made", O_RDWR), out = open("made2", O_RDWR);
	SHOW(ftruncate(in, 10000));
	SHOW(ftruncate(-1, 1));
	SHOW(fallocate(in, 0, 0, 20000));
	SHOW(fallocate(-1, 0, 0, 20000));
	SHOW(sendfile(out, in, NULL, 4000));
	SHOW(copy_file_range(in, NULL, out, NULL, 3000, 0));
	SHOW(splice(in, NULL, out, NULL, 3000, 0));
	SHOW(syncfs(in));
	SHOW(syncfs(-1));
	struct timespec t = {0, 20000000};
	int word = 1, other = 2;
	SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
	SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, &t, NULL, 0));
	SHOW(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 1, NULL, NULL, 0));
	SHOW(syscall(SYS_futex, &word, FUTEX_WAKE, 1));
	SHOW(syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, 1, &other, 1));
	SHOW(syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, 1, &other, 99));
	SHOW(syscall(SYS_futex, &word, 127, 1, 1, &other, 99));
	SHOW(syscall(SYS_close, -1));
	SHOW(syscall(99999, 1, 2, 3, 4, 5, 6));
	SHOW(syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, in, 1)); /* all six: the last is wrong */
	int status = 0;
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (child == 0)
		syscall(SYS_exit_group, 8);
	waitpid(child, &status, 0);
	printf("clone %d status %d\n", child > 0, status);
	void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, in, 0);
	SHOW(msync(map, 4096, MS_SYNC));
	SHOW(msync(map, 4096, 99));
	SHOW(getaddrinfo("127.0.0.1", "80", &hints, &found));
	freeaddrinfo(found);
	SHOW(getaddrinfo("no number", "80", &hints, &found));
	a.sin_port = htons(80);
	SHOW(getnameinfo((void *)&a, n, host, sizeof(host), NULL, 0, NI_NUMERICHOST));
	puts(host);
}

static int pipes[2];
static void *blocked(void *arg)
{
	pthread_t never;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	loop_become();
	switch ((int)(long)arg) {
	case 0:
		pthread_create(&never, NULL, (void *(*)(void *))(void *)pause, NULL);
		pthread_join(never, NULL);
		break;
	case 1: {
		int s = socket(AF_INET, SOCK_STREAM, 0);
		bind(s, (void *)&a, sizeof(a));
		listen(s, 1);
		accept(s, NULL, NULL);
		break;
	}
	case 2:
		open("fifo", O_RDONLY);
		break;
	case 3:
		mtx_lock(&mtx);
		pthread_cleanup_push((void (*)(void *))(void *)mtx_unlock, &mtx);
		cnd_wait(&cnd, &mtx);
		pthread_cleanup_pop(1);
		break;
	}
	return NULL;
}

static void cancel(void)
{
	mtx_init(&mtx, mtx_plain);
	cnd_init(&cnd);
	mkfifo("fifo", 0600);
	for (long i = 0; i < 4; i++) {
		pthread_t t;
		void *result;
		pthread_create(&t, NULL, blocked, (void *)i);
		usleep(40000);
		pthread_cancel(t);
		pthread_join(t, &result);
		printf("%ld cancelled %d\n", i, result == PTHREAD_CANCELED);
	}
	printf("mutex is free: %d\n", mtx_trylock(&mtx));
	_exit(0);
}

static const char *kind;
static volatile int ready, go_on;

/* What the loop waits for; 1: the worker's part, at its beginning; 2: at its end; 0: the loop's. */
static void *part(int who)
{
	if (!strcmp(kind, "join"))
		return (void *)self_of_worker;
	if (!strcmp(kind, "barrier")) {
		if (who != 1)
			pthread_barrier_wait(&barrier);
		return &barrier;
	}
	if (!strcmp(kind, "futex")) {
		static int word;
		if (who == 0)
			while (!__atomic_load_n(&word, __ATOMIC_ACQUIRE))
				syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, -1);
		if (who == 2) {
			__atomic_store_n(&word, 1, __ATOMIC_RELEASE);
			syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1);
		}
		return &word;
	}
	if (!strcmp(kind, "spin")) {
		(who == 2 ? pthread_spin_unlock : pthread_spin_lock)(&spin);
		if (!who)
			pthread_spin_unlock(&spin);
		return (void *)&spin;
	}
	if (!strcmp(kind, "mtx")) {
		(who == 2 ? mtx_unlock : mtx_lock)(&mtx);
		if (!who)
			mtx_unlock(&mtx);
		return &mtx;
	}
	int writes = kind[who ? 0 : 1] == 'w'; /* "wr": the worker writes, the loop reads */
	if (who == 2)
		pthread_rwlock_unlock(&rw);
	else
		(writes ? pthread_rwlock_wrlock : pthread_rwlock_rdlock)(&rw);
	if (!who)
		pthread_rwlock_unlock(&rw);
	return &rw;
}

static void *worker(void *unused)
{
	self_of_worker = pthread_self();
	printf("%lu %d\n", (unsigned long)part(1), gettid());
	ready = 1;
	while (!go_on)
		usleep(1000);
	usleep(60000);
	part(2);
	return unused;
}

static void contend(void)
{
	pthread_t t;
	pthread_barrier_init(&barrier, NULL, 2);
	mtx_init(&mtx, mtx_plain);
	pthread_create(&t, NULL, worker, NULL);
	while (!ready)
		usleep(1000);
	loop_become();
	go_on = 1;
	if (!strcmp(kind, "join"))
		pthread_join(t, NULL);
	else
		part(0);
	loop_become();
	if (strcmp(kind, "join"))
		pthread_join(t, NULL);
}

static void uncontended(void)
{
	loop_become();
	mtx_init(&mtx, mtx_plain);
	for (int i = 0; i < 100000; i++) {
		pthread_rwlock_rdlock(&rw);
		pthread_rwlock_unlock(&rw);
		pthread_rwlock_wrlock(&rw);
		pthread_rwlock_unlock(&rw);
		pthread_spin_lock(&spin);
		pthread_spin_unlock(&spin);
		mtx_lock(&mtx);
		mtx_unlock(&mtx);
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	pthread_spin_init(&spin, 0);
	char directory[] = "shim_wait.XXXXXX";
	if (pipe(pipes) || argc < 2 || !mkdtemp(directory) || chdir(directory))
		return 2;
	if (!strcmp(argv[1], "returns"))
		returns();
	else if (!strcmp(argv[1], "calls"))
		calls();
	else if (!strcmp(argv[1], "cancel"))
		cancel();
	else if (!strcmp(argv[1], "uncontended"))
		uncontended();
	else if (!strcmp(argv[1], "contend") && argc > 2) {
		kind = argv[2];
		contend();
	}
	return 0;
}
