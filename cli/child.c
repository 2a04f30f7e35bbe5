/* SPDX-License-Identifier: MIT
 *
 * How a wrapper stays out of the way (child.h). The terminal's signals reach the command by themselves,
 * because it is in the foreground process group; those that a process sent to whystall alone are told apart
 * by their sender.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define FILES_MAX 16384

static const int passed_on[] = {SIGHUP,	 SIGINT,  SIGQUIT, SIGTERM,  SIGUSR1, SIGUSR2, SIGALRM,	 SIGVTALRM,
				SIGPROF, SIGCONT, SIGTSTP, SIGWINCH, SIGIO,   SIGURG,  SIGPWR,	 SIGTTIN,
				SIGTTOU, SIGPIPE, SIGXCPU, SIGXFSZ,  SIGTRAP, SIGSYS,  SIGSTKFLT};
static sigset_t before;		/* the mask that the command gets */
static struct sigaction childs; /* what it gets for SIGCHLD: ignored, we could not wait for it */
static bool interrupt_ignored;	/* as nohup-like callers do: then Ctrl-C says nothing */

/* The C library keeps these for itself once a process has threads: an exec then gives the command the default
 * where whystall had inherited "ignored". Only the raw call reaches them (nptl: SIGCANCEL, SIGSETXID). */
static const int librarys[] = {32, 33};
static struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
} library_actions[LENGTH(librarys)];

static void library_signals(bool restore)
{
	for (size_t i = 0; i < LENGTH(librarys); i++) {
		struct kernel_sigaction *a = &library_actions[i];
		syscall(SYS_rt_sigaction, librarys[i], restore ? a : NULL, restore ? NULL : a,
			sizeof a->mask);
	}
}

/* A descriptor for each thread and process that is watched; the command gets its own limit back. */
static struct rlimit files;

static void files_raise(void)
{
	if (getrlimit(RLIMIT_NOFILE, &files))
		files.rlim_max = 0;
	struct rlimit more = {.rlim_cur = files.rlim_max < FILES_MAX ? files.rlim_max : FILES_MAX,
			      .rlim_max = files.rlim_max};
	if (more.rlim_cur > files.rlim_cur)
		setrlimit(RLIMIT_NOFILE, &more);
}

int child_prepare(struct child *c)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < LENGTH(passed_on); i++)
		sigaddset(&set, passed_on[i]);
	for (int real = SIGRTMIN; real <= SIGRTMAX; real++)
		sigaddset(&set, real);
	memset(c, 0, sizeof *c);
	/* where a standard stream is closed, no file of ours may become it */
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
			return -errno;
	struct sigaction now = {.sa_handler = SIG_DFL};
	sigaction(SIGCHLD, &now, &childs);
	library_signals(false);
	files_raise();
	interrupt_ignored = !sigaction(SIGINT, NULL, &now) && now.sa_handler == SIG_IGN;
	if (sigprocmask(SIG_BLOCK, &set, &before))
		return -errno;
	c->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return c->signals < 0 ? -errno : 0;
}

static void environment_set(const char *const set[])
{
	for (; *set; set++)
		putenv((char *)*set);
}

int child_start(struct child *c, char *const argv[], const char *const set[])
{
	int failure[2], error = 0;
	if (pipe2(failure, O_CLOEXEC))
		return -errno;
	c->pid = fork();
	if (c->pid < 0) {
		error = errno;
		close(failure[0]);
		close(failure[1]);
		return -error;
	}
	if (!c->pid) {
		environment_set(set);
		sigaction(SIGCHLD, &childs, NULL);
		library_signals(true);
		if (files.rlim_max)
			setrlimit(RLIMIT_NOFILE, &files);
		sigprocmask(SIG_SETMASK, &before, NULL);
		execvp(argv[0], argv);
		error = errno;
		ssize_t n = write(failure[1], &error, sizeof error);
		_exit(n == sizeof error ? 127 : 126);
	}
	close(failure[1]);
	ssize_t n;
	do
		n = read(failure[0], &error, sizeof error);
	while (n < 0 && errno == EINTR);
	close(failure[0]);
	if (n != sizeof error)
		return 0;
	waitpid(c->pid, NULL, 0);
	c->pid = 0;
	c->ended = true;
	return -error;
}

/* A command that its terminal stopped stops whystall with it, so that the shell gets its prompt; SIGCONT to
 * the process group wakes both. */
static void child_stopped(struct child *c, int signal)
{
	if (signal != SIGTSTP && signal != SIGTTIN && signal != SIGTTOU)
		return;
	raise(SIGSTOP);
	/* where only whystall was told to go on (kill -CONT PID), the command goes on too */
	kill(c->pid, SIGCONT);
}

bool child_stop_next(struct child *c, bool *stopped)
{
	siginfo_t info = {.si_pid = 0};
	if (c->ended || !c->pid || waitid(P_PID, (id_t)c->pid, &info, WSTOPPED | WCONTINUED | WNOHANG) ||
	    !info.si_pid)
		return false;
	*stopped = info.si_code == CLD_STOPPED;
	c->stopped = *stopped ? info.si_status : 0;
	return true;
}

static void child_wait(struct child *c)
{
	int status, signal = c->stopped;
	c->stopped = 0;
	if (signal)
		child_stopped(c, signal);
	if (!c->ended && waitpid(c->pid, &status, WNOHANG) == c->pid) {
		c->ended = true;
		c->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
}

void child_signals(struct child *c)
{
	struct signalfd_siginfo info;
	while (read(c->signals, &info, sizeof info) == sizeof info) {
		if (info.ssi_signo == SIGCHLD)
			continue;
		if (info.ssi_signo == SIGINT && !interrupt_ignored)
			c->interrupted = true;
		/* SI_USER, SI_QUEUE, SI_TKILL are at most 0; the kernel's own, a terminal's among them, above
		 */
		bool sent = info.ssi_code <= 0 && info.ssi_pid != (uint32_t)getpid() &&
			    info.ssi_pid != (uint32_t)c->pid;
		if (sent && !c->ended && c->pid)
			kill(c->pid, (int)info.ssi_signo);
	}
	child_wait(c);
}
