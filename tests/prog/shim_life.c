/* SPDX-License-Identifier: MIT
 *
 * Processes begun and ended in every way, each printing what it sees of us: shim_life HOW [PROGRAM]. PROGRAM
 * (this one, or one that cannot take the shim) is started with the argument "child".
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <pthread.h>
#include <pty.h>
#include <unistd.h>

extern char **environ;

/* No variable of ours, no descriptor of ours. */
static void child(const char *how)
{
	int ours = 0;
	for (char **e = environ; e && *e; e++)
		ours += strstr(*e, "WHYSTALL") || strstr(*e, "libwhystall");
	printf("%s: ours %d, LD_PRELOAD %s, KEPT %s, next descriptor %d\n", how, ours,
	       getenv("LD_PRELOAD") ? getenv("LD_PRELOAD") : "-", getenv("KEPT") ? getenv("KEPT") : "-",
	       dup(0));
	fflush(stdout);
}

static void loop(void)
{
	struct epoll_event ev;
	int ep = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < 5; i++)
		epoll_wait(ep, &ev, 1, 1);
	close(ep);
}

static void reap(pid_t pid)
{
	int status;
	if (waitpid(pid, &status, 0) == pid)
		printf("status %x\n", status);
}

static int clone_run(void *how)
{
	loop();
	child(how);
	return 5;
}

static void start(const char *how, char *self)
{
	char *argv[] = {self, "child", (char *)how, NULL};
	char *clean[] = {NULL}, *kept[] = {"KEPT=1", NULL};
	static char stack[65536] __attribute__((aligned(16)));
	char *base = strrchr(self, '/') ? strrchr(self, '/') + 1 : self;
	pid_t pid = -1;
	int error = 0;
	if (!strcmp(how, "fork")) {
		pid = fork();
		if (pid == 0) {
			loop();
			child(how);
			_exit(4);
		}
	} else if (!strcmp(how, "_Fork")) {
		pid = _Fork();
		if (pid == 0) {
			loop();
			child(how);
			_exit(4);
		}
	} else if (!strcmp(how, "daemon")) {
		int fds[2];
		char c;
		pipe(fds);
		pid = fork();
		if (pid == 0) {
			daemon(1, 1);
			loop();
			child(how);
			_exit(4);
		}
		close(fds[1]);
		read(fds[0], &c, 1); /* until the daemon has ended */
	} else if (!strcmp(how, "forkpty")) {
		int fd = -1;
		pid = forkpty(&fd, NULL, NULL, NULL);
		if (pid == 0) {
			loop();
			_exit(4);
		}
		loop();
	} else if (!strcmp(how, "clone")) {
		loop(); /* so that the thread has a slot to lose */
		pid = clone(clone_run, stack + sizeof(stack), SIGCHLD, (void *)how);
	} else if (!strcmp(how, "vfork-exit")) {
		pid = vfork();
		if (pid == 0)
			_exit(4);
	} else if (!strcmp(how, "vfork")) {
		pid = vfork();
		if (pid == 0) {
			execve(self, argv, clean);
			_exit(errno);
		}
	} else if (!strcmp(how, "posix_spawn")) {
		error = posix_spawn(&pid, self, NULL, NULL, argv, environ);
	} else if (!strcmp(how, "posix_spawnp")) {
		error = posix_spawnp(&pid, base, NULL, NULL, argv, kept);
	} else if (!strcmp(how, "system")) {
		char command[4096];
		snprintf(command, sizeof(command), "'%s' child system; exit 6", self);
		printf("status %x\n", system(command));
		return;
	} else if (!strcmp(how, "popen")) {
		char command[4096];
		snprintf(command, sizeof(command), "'%s' child popen; exit 6", self);
		FILE *f = popen(command, "r");
		while (fgets(command, sizeof(command), f))
			fputs(command, stdout);
		printf("status %x\n", pclose(f));
		return;
	} else {
		pid = fork();
		if (pid > 0)
			goto wait;
		if (!strcmp(how, "execve"))
			execve(self, argv, clean);
		else if (!strcmp(how, "execv"))
			execv(self, argv);
		else if (!strcmp(how, "execvp"))
			execvp(base, argv);
		else if (!strcmp(how, "execvpe"))
			execvpe(base, argv, kept);
		else if (!strcmp(how, "execl"))
			execl(self, self, "child", how, NULL);
		else if (!strcmp(how, "execle"))
			execle(self, self, "child", how, NULL, kept);
		else if (!strcmp(how, "execlp"))
			execlp(base, self, "child", how, NULL);
		else if (!strcmp(how, "fexecve"))
			fexecve(open(self, O_RDONLY | O_CLOEXEC), argv, clean);
		printf("%s failed: %s\n", how, strerror(errno));
		fflush(stdout);
		_exit(9);
	}
wait:
	if (error)
		printf("%s failed: %s\n", how, strerror(error));
	else
		reap(pid);
}

static void *lock_some(void *m)
{
	for (int i = 0; i < 10000; i++) {
		pthread_mutex_lock(m);
		pthread_mutex_unlock(m);
	}
	return NULL;
}

/* What such a program needs, and nothing else: any other call kills it. */
static void tight(void)
{
	static const int allowed[] = {
		SYS_write,   SYS_exit_group,	  SYS_futex,	      SYS_epoll_wait, SYS_exit,
		SYS_madvise, SYS_clock_nanosleep, SYS_rt_sigprocmask, SYS_close,      SYS_munmap,
		SYS_rseq,    SYS_set_robust_list, SYS_mprotect};
	enum { N = sizeof(allowed) / sizeof(allowed[0]) };
	struct sock_filter f[N * 2 + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	for (int i = 0; i < N; i++) {
		f[1 + i * 2] =
			(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i], 0, 1);
		f[2 + i * 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	f[N * 2 + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	struct sock_fprog prog = {N * 2 + 2, f};
	static pthread_mutex_t m;
	pthread_t t;
	struct epoll_event ev;
	int ep = epoll_create1(0);
	pthread_create(&t, NULL, lock_some, &m);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog))
		perror("seccomp");
	for (int i = 0; i < 5; i++) {
		epoll_wait(ep, &ev, 1, 1);
		usleep(3000);
	}
	lock_some(&m);
	pthread_join(t, NULL);
	close(ep);
	write(1, "alive\n", 6);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "child")) {
		child(argv[2]);
		return 3;
	}
	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "tight"))
		tight();
	child("self");
	if (!strcmp(argv[1], "closefrom")) {
		closefrom(3);
		syscall(SYS_close_range, 3, ~0u, 0);
		loop();
		return 0;
	}
	if (!strcmp(argv[1], "chroot")) {
		loop();
		if (chroot(argv[2]) || chdir("/"))
			perror("chroot");
		loop();
		start("execve", argv[3]);
		return 0;
	}
	start(argv[1], argc > 2 ? argv[2] : argv[0]);
	loop();
	return 0;
}
