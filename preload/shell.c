/* SPDX-License-Identifier: MIT
 *
 * system() and popen(). The C library starts their shell with the process's own environment, which does not
 * have our variables, by calls that cannot be seen. So system() is done here in the C library's way (glibc's
 * sysdeps/posix/system.c, POSIX system()), and popen(), whose FILE only the C library can make, finds our
 * variables in the environment for the moment that it takes to start the shell.
 */
#include <errno.h>
#include <setjmp.h>
#include <sys/wait.h>

#include "exec.h"
#include "image.h"
#include "link.h"
#include "original.h"
#include "sys.h"

#define EXPORT __attribute__((visibility("default")))
#define SHELL "/bin/sh"

/* Found on first use; some are in libpthread before glibc 2.34, and absent without it. */
static struct {
	int (*sigaction)(int, const struct sigaction *, struct sigaction *);
	int (*sigprocmask)(int, const sigset_t *, sigset_t *);
	pid_t (*waitpid)(pid_t, int *, int);
	int (*kill)(pid_t, int);
	int (*attr_init)(posix_spawnattr_t *);
	int (*attr_destroy)(posix_spawnattr_t *);
	int (*attr_setsigmask)(posix_spawnattr_t *, const sigset_t *);
	int (*attr_setsigdefault)(posix_spawnattr_t *, const sigset_t *);
	int (*attr_setflags)(posix_spawnattr_t *, short);
	/* what pthread_cleanup_push stands for */
	void (*register_cancel)(__pthread_unwind_buf_t *);
	void (*unregister_cancel)(__pthread_unwind_buf_t *);
	void (*unwind_next)(__pthread_unwind_buf_t *);
} libc;

#define FIND(member, name) (libc.member = (__typeof__(libc.member))link_next(name))
static bool libc_find(void)
{
	FIND(register_cancel, "__pthread_register_cancel");
	FIND(unregister_cancel, "__pthread_unregister_cancel");
	FIND(unwind_next, "__pthread_unwind_next");
	return FIND(sigaction, "sigaction") && FIND(sigprocmask, "sigprocmask") && FIND(waitpid, "waitpid") &&
	       FIND(kill, "kill") && FIND(attr_init, "posix_spawnattr_init") &&
	       FIND(attr_destroy, "posix_spawnattr_destroy") &&
	       FIND(attr_setsigmask, "posix_spawnattr_setsigmask") &&
	       FIND(attr_setsigdefault, "posix_spawnattr_setsigdefault") &&
	       FIND(attr_setflags, "posix_spawnattr_setflags") && libc_mutex_lock && libc_mutex_unlock;
}

/* SIGINT and SIGQUIT are ignored while any thread is in system(): the lock is the C library's own, moved
 * here. */
static pthread_mutex_t users_lock = PTHREAD_MUTEX_INITIALIZER;
static int users;
static struct sigaction old_int, old_quit;

struct shell {
	pid_t pid;
	sigset_t mask;
};

static void set_add(sigset_t *set, int signal)
{
	set->__val[0] |= 1ul << (signal - 1);
}

static void signals_hold(struct shell *s, sigset_t *reset)
{
	struct sigaction ignore;
	sigset_t child;
	memset(&ignore, 0, sizeof(ignore));
	memset(&child, 0, sizeof(child));
	memset(reset, 0, sizeof(*reset));
	ignore.sa_handler = SIG_IGN;
	set_add(&child, SIGCHLD);
	libc_mutex_lock(&users_lock);
	if (users++ == 0) {
		libc.sigaction(SIGINT, &ignore, &old_int);
		libc.sigaction(SIGQUIT, &ignore, &old_quit);
	}
	if (old_int.sa_handler != SIG_IGN)
		set_add(reset, SIGINT);
	if (old_quit.sa_handler != SIG_IGN)
		set_add(reset, SIGQUIT);
	libc_mutex_unlock(&users_lock);
	libc.sigprocmask(SIG_BLOCK, &child, &s->mask);
}

static void signals_release(const struct shell *s)
{
	libc_mutex_lock(&users_lock);
	if (--users == 0) {
		libc.sigaction(SIGINT, &old_int, NULL);
		libc.sigaction(SIGQUIT, &old_quit, NULL);
	}
	libc.sigprocmask(SIG_SETMASK, &s->mask, NULL);
	libc_mutex_unlock(&users_lock);
}

static int shell_start(struct shell *s, const char *command, char *const *env, const sigset_t *reset)
{
	posix_spawnattr_t attr;
	char *argv[] = {"sh", "-c", "--", (char *)command, NULL};
	libc.attr_init(&attr);
	libc.attr_setsigmask(&attr, &s->mask);
	libc.attr_setsigdefault(&attr, reset);
	libc.attr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	int error = original.posix_spawn(&s->pid, SHELL, NULL, &attr, argv, env);
	libc.attr_destroy(&attr);
	return error;
}

/* A cancellation point: a cancelled system() leaves no child and the signals as they were. */
static __attribute__((noinline)) int shell_wait(struct shell *s)
{
	union {
		__pthread_unwind_buf_t unwind;
		jmp_buf jump; /* begins with what unwind is: the mask is not saved */
	} buf;
	int status = 0;
	if (libc.register_cancel) {
		if (__sigsetjmp(buf.jump, 0)) {
			libc.kill(s->pid, SIGKILL);
			while (sys_call(SYS_wait4, s->pid, &status, 0, 0) == -EINTR)
				;
			signals_release(s);
			libc.unwind_next(&buf.unwind);
		}
		libc.register_cancel(&buf.unwind);
	}
	pid_t pid;
	do
		pid = libc.waitpid(s->pid, &status, 0);
	while (pid < 0 && errno == EINTR);
	if (libc.register_cancel)
		libc.unregister_cancel(&buf.unwind);
	return pid == s->pid ? status : -1;
}

EXPORT int system(const char *command)
{
	BLOCK(block, environ);
	if (!command || !block.entries || !shim_follows(false) || image_refusal(SHELL, false) || !libc_find())
		return original.system(command);
	char *const *env = block_make(&block, environ, true);
	struct shell s;
	sigset_t reset;
	signals_hold(&s, &reset);
	int error = shell_start(&s, command, env, &reset);
	int status = error ? W_EXITCODE(127, 0) : shell_wait(&s);
	signals_release(&s);
	if (error)
		errno = error;
	return status;
}

/* Never given back and never on a stack: another thread may be reading the environment. */
static struct {
	uint32_t taken;
	struct block block;
	char *entries[ENTRIES + 3];
} shown;

/* What other threads did to the environment meanwhile goes into the one that stays. */
static void environ_merge(char **old)
{
	char **now = environ;
	char **to = now == shown.entries ? old : now;
	for (char **from = now; *from; from++) {
		char *entry = *from == shown.block.preload ? shown.block.replaced : *from;
		if (!entry || entry == shim.variable)
			continue;
		if (*to != entry)
			*to = entry;
		to++;
	}
	*to = NULL;
	if (now == shown.entries)
		environ = old;
}

EXPORT FILE *popen(const char *command, const char *mode)
{
	uint32_t taken = 0;
	if (!shim.arena || block_count(environ) > ENTRIES || !shim_follows(false) ||
	    image_refusal(SHELL, false) ||
	    !__atomic_compare_exchange_n(&shown.taken, &taken, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return original.popen(command, mode);
	char **old = environ;
	shown.block.entries = shown.entries;
	if (block_make(&shown.block, old, true) == shown.entries) {
		environ = shown.entries;
		FILE *f = original.popen(command, mode);
		environ_merge(old);
		release(shown.taken, 0);
		return f;
	}
	release(shown.taken, 0);
	return original.popen(command, mode);
}
