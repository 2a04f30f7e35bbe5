/* SPDX-License-Identifier: MIT
 *
 * Programs started by the target: our two variables, which its own environment does not show, go into the
 * environment of each that can take the shim, and out of that of any other. May run in a vfork child, which
 * shares its parent's memory and thread variables: nothing is kept anywhere but on the stack.
 */
#include <alloca.h>
#include <fcntl.h>
#include <stdarg.h>

#include "exec.h"
#include "image.h"
#include "link.h"
#include "original.h"
#include "shim.h"
#include "sys.h"

#define EXPORT __attribute__((visibility("default")))
#define PRELOAD "LD_PRELOAD="

size_t block_count(char *const *env)
{
	size_t n = 0;
	while (env && env[n] && n <= ENTRIES)
		n++;
	return n;
}

/* The rest of a value of LD_PRELOAD without us. */
static const char *preload_theirs(const char *value, const char *ours)
{
	size_t n = text_length(ours);
	if (!text_begins(value, ours) || (value[n] && value[n] != ':' && value[n] != ' '))
		return value;
	return value[n] ? value + n + 1 : "";
}

/* LD_PRELOAD=[ours:]theirs; NULL: they have none, which is not the same as an empty one. false: too long. */
static bool preload_make(char *to, size_t size, const char *ours, const char *theirs)
{
	size_t a = text_length(ours), b = theirs ? text_length(theirs) : 0, n = sizeof(PRELOAD) - 1;
	if (n + a + b + 2 > size)
		return false;
	memcpy(to, PRELOAD, n);
	memcpy(to + n, ours, a);
	n += a;
	if (a && theirs)
		to[n++] = ':';
	memcpy(to + n, theirs ? theirs : "", b + 1);
	return true;
}

/* env as the new program is to get it: `env` itself where nothing changes. */
char *const *block_make(struct block *b, char *const *env, bool follow)
{
	const char *ours = link_self(), *theirs = NULL;
	size_t n = 0, at = SIZE_MAX;
	bool mentioned = false;
	b->replaced = NULL;
	for (char *const *e = env; e && *e; e++) {
		if (text_begins(*e, ARENA_ENV "=")) {
			mentioned = true;
			continue;
		}
		if (text_begins(*e, PRELOAD) && at == SIZE_MAX) {
			const char *value = *e + sizeof(PRELOAD) - 1;
			theirs = preload_theirs(value, ours);
			mentioned |= theirs != value;
			b->replaced = *e;
			at = n;
		}
		b->entries[n++] = *e;
	}
	if (!follow && !mentioned)
		return env;
	if (at == SIZE_MAX && follow)
		at = n++;
	if (at != SIZE_MAX) {
		if (!preload_make(b->preload, sizeof(b->preload), follow ? ours : "", theirs))
			return env;
		b->entries[at] = b->preload;
	}
	if (follow)
		b->entries[n++] = shim.variable;
	b->entries[n] = NULL;
	return b->entries;
}

/* Can the path of the shim be opened here (another root, another user)? ld.so would complain. */
static bool shim_reachable(void)
{
	int fd = sys_open(link_self(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0)
		sys_close(fd);
	return fd >= 0;
}

bool shim_follows(bool own)
{
	uint32_t alive = relaxed(*shim.alive);
	return shim.arena && !shim.arena->off && (own || !shim.arena->alone) &&
	       (alive == ALIVE_LIVE || alive == ALIVE_CHILD) && shim_reachable();
}

/* Why the program is not followed, REFUSAL_NONE: it is. */
static enum refusal program_refusal(const char *file, bool search, int fd, bool own)
{
	uint32_t alive = relaxed(*shim.alive);
	if (!shim.arena || shim.arena->off || (shim.arena->alone && !own) ||
	    (alive != ALIVE_LIVE && alive != ALIVE_CHILD))
		return REFUSAL_OFF;
	enum refusal why = fd < 0 ? image_refusal(file, search) : image_fd_refusal(fd);
	return why || shim_reachable() ? why : REFUSAL_SHIM;
}

/* Is the child worth a place in the report? One that is not even there is not. */
static bool refusal_listed(enum refusal why)
{
	return why != REFUSAL_NONE && why != REFUSAL_MISSING && why != REFUSAL_OFF &&
	       relaxed(*shim.alive) == ALIVE_LIVE;
}

/* This process's pid, 0: not known. Asked of /proc, for a program that may execute another may open and read
 * files, but getpid may be closed to it. A vfork child has its parent's memory, but not its pid. */
static int32_t pid_read(void)
{
	char stat[32];
	const char *end;
	if (!shim.arena || relaxed(*shim.alive) != ALIVE_LIVE)
		return 0;
	int fd = sys_open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	long n = fd < 0 ? 0 : sys_pread(fd, stat, sizeof(stat) - 1, 0);
	if (fd >= 0)
		sys_close(fd);
	stat[n > 0 ? n : 0] = 0;
	long pid = text_number(stat, &end);
	return *end == ' ' ? (int32_t)pid : 0;
}

/* An exec on its way: what the recorder is told is taken back if it fails. */
struct exec {
	bool marked;
	enum refusal refusal;
	struct arena_proc *listed; /* of a vfork child */
};
static void exec_look(struct exec *e, const char *file, bool search, int fd)
{
	int32_t pid = pid_read();
	e->listed = NULL;
	e->marked = pid && pid == shim.proc->pid;
	e->refusal = program_refusal(file, search, fd, e->marked);
	if (e->marked) {
		proc_leave(e->refusal, file ? file : "?");
	} else if (pid && refusal_listed(e->refusal)) {
		e->listed = proc_refuse(pid, e->refusal, file);
	}
}
static int exec_failed(const struct exec *e, int result)
{
	if (e->marked)
		proc_leave(REFUSAL_NONE, NULL);
	if (e->listed)
		release(e->listed->state, PROC_FREE);
	return result;
}

EXPORT int execve(const char *path, char *const argv[], char *const env[])
{
	BLOCK(block, env);
	if (!block.entries)
		return original.execve(path, argv, env);
	struct exec e;
	exec_look(&e, path, false, -1);
	char *const *with = block_make(&block, env, !e.refusal);
	return exec_failed(&e, original.execve(path, argv, with));
}

EXPORT int fexecve(int fd, char *const argv[], char *const env[])
{
	BLOCK(block, env);
	if (!block.entries)
		return original.fexecve(fd, argv, env);
	struct exec e;
	exec_look(&e, NULL, false, fd);
	char *const *with = block_make(&block, env, !e.refusal);
	return exec_failed(&e, original.fexecve(fd, argv, with));
}

EXPORT int execvpe(const char *file, char *const argv[], char *const env[])
{
	BLOCK(block, env);
	if (!block.entries)
		return original.execvpe(file, argv, env);
	struct exec e;
	exec_look(&e, file, true, -1);
	char *const *with = block_make(&block, env, !e.refusal);
	return exec_failed(&e, original.execvpe(file, argv, with));
}

EXPORT int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

EXPORT int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

/* argv of a variadic call, on the stack as in glibc's posix/execl.c. */
#define ARGUMENTS(argv, first, list)                                   \
	va_list list;                                                  \
	size_t argv##_n = 1;                                           \
	va_start(list, first);                                         \
	for (const char *a = first; a; a = va_arg(list, const char *)) \
		argv##_n++;                                            \
	va_end(list);                                                  \
	char **argv = alloca(argv##_n * sizeof(char *));               \
	va_start(list, first);                                         \
	argv[0] = (char *)first;                                       \
	for (size_t i = 1; i < argv##_n; i++)                          \
	argv[i] = va_arg(list, char *)

EXPORT int execl(const char *path, const char *first, ...)
{
	ARGUMENTS(argv, first, list);
	va_end(list);
	return execve(path, argv, environ);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
	ARGUMENTS(argv, first, list);
	va_end(list);
	return execvpe(file, argv, environ);
}

EXPORT int execle(const char *path, const char *first, ...)
{
	ARGUMENTS(argv, first, list);
	char **env = va_arg(list, char **);
	va_end(list);
	return execve(path, argv, env);
}

/* A child that exists, and runs without us. */
static int spawned(int error, pid_t *to, pid_t pid, enum refusal why, const char *file)
{
	if (error)
		return error;
	if (to)
		*to = pid;
	if (refusal_listed(why))
		proc_refuse(pid, why, file);
	return 0;
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa,
		       const posix_spawnattr_t *at, char *const argv[], char *const env[])
{
	BLOCK(block, env);
	if (!block.entries)
		return original.posix_spawn(pid, path, fa, at, argv, env);
	pid_t child = 0;
	enum refusal why = program_refusal(path, false, -1, false);
	char *const *with = block_make(&block, env, !why);
	int error = original.posix_spawn(&child, path, fa, at, argv, with);
	return spawned(error, pid, child, why, path);
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *fa,
			const posix_spawnattr_t *at, char *const argv[], char *const env[])
{
	BLOCK(block, env);
	if (!block.entries)
		return original.posix_spawnp(pid, file, fa, at, argv, env);
	pid_t child = 0;
	enum refusal why = program_refusal(file, true, -1, false);
	char *const *with = block_make(&block, env, !why);
	int error = original.posix_spawnp(&child, file, fa, at, argv, with);
	return spawned(error, pid, child, why, file);
}
