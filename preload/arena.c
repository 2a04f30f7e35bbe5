/* SPDX-License-Identifier: MIT
 *
 * Start-up: finds the arena that the recorder named in the environment, maps it, closes it, claims a slot,
 * and takes our two variables out of the environment again. Any trouble leaves shim.arena NULL: everything
 * calls through.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "link.h"
#include "original.h"
#include "shim.h"
#include "sys.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

static struct arena_lock no_locks[ARENA_LOCKS];
static uint32_t no_life = ALIVE_OFF;
struct shim shim = {.locks = no_locks, .alive = &no_life};

#define map_failed(p) ((unsigned long)(p) > -4096ul)

static void *map_new(size_t size, int flags, int fd)
{
	return (void *)sys_call6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, flags, fd, 0);
}

/* Where address space is limited, 80 MB of it are the target's own need. */
static bool space_enough(void)
{
	struct rlimit64 limit;
	if (sys_call(SYS_prlimit64, 0, RLIMIT_AS, NULL, &limit))
		return false;
	return limit.rlim_cur == RLIM64_INFINITY || limit.rlim_cur / 64 > sizeof(struct arena);
}

/* "PID:FD" -> "/proc/PID/fd/FD"; digits only, whatever the environment holds. */
static bool arena_path(char *path, const char *value)
{
	const char *end;
	char *to = path;
	text_number(value, &end);
	if (end == value || *end != ':' || end - value > 10)
		return false;
	memcpy(to, "/proc/", 6);
	memcpy(to += 6, value, (size_t)(end - value));
	memcpy(to += end - value, "/fd/", 4);
	to += 4;
	const char *fd = end + 1;
	text_number(fd, &end);
	if (end == fd || *end || end - fd > 10)
		return false;
	memcpy(to, fd, (size_t)(end - fd) + 1);
	return true;
}

static struct arena *arena_map(const char *value)
{
	char path[64];
	if (!arena_path(path, value) || !space_enough())
		return NULL;
	int fd = sys_open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	struct stat st;
	struct arena *a = NULL;
	if (!sys_call(SYS_fstat, fd, &st, 0, 0) && S_ISREG(st.st_mode) &&
	    st.st_size == sizeof(struct arena)) {
		a = map_new(sizeof(*a), MAP_SHARED, fd);
		if (map_failed(a))
			a = NULL;
	}
	sys_close(fd);
	if (a && (a->magic != ARENA_MAGIC || a->version != ARENA_VERSION || a->size != sizeof(*a) / 4096 ||
		  a->off)) {
		sys_call(SYS_munmap, a, sizeof(*a), 0, 0);
		a = NULL;
	}
	if (a)
		sys_call(SYS_madvise, a, sizeof(*a), MADV_DONTDUMP, 0);
	return a;
}

/* A page that children find empty. Linux before 4.14 cannot: then we stay out. */
static uint32_t *alive_map(void)
{
	uint32_t *p = map_new(4096, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (map_failed(p))
		return NULL;
	if (!sys_call(SYS_madvise, p, 4096, MADV_WIPEONFORK, 0))
		return p;
	sys_call(SYS_munmap, p, 4096, 0, 0);
	return NULL;
}

/* Takes an entry out of the environment, and out of /proc/PID/environ. */
static void environ_remove(char **env)
{
	memset(*env, 0, text_length(*env));
	do
		env[0] = env[1];
	while (*env++);
}

/* LD_PRELOAD=ours:theirs -> LD_PRELOAD=theirs, in place: what /proc/PID/environ shows too. */
static void preload_restore(char **entry, const char *ours)
{
	char *value = *entry + sizeof("LD_PRELOAD=") - 1;
	size_t n = text_length(ours);
	if (!text_begins(value, ours) || (value[n] && value[n] != ':' && value[n] != ' '))
		return;
	if (!value[n]) {
		environ_remove(entry);
		return;
	}
	const char *rest = value + n + 1;
	memcpy(value, rest, text_length(rest) + 1);
}

static char **environ_find(const char *name)
{
	for (char **e = environ; e && *e; e++)
		if (text_begins(*e, name))
			return e;
	return NULL;
}

/* /proc is the recorder's, where it was found: what is it in which this process is another? A pid namespace
 * of its own, whose pids mean strangers to the recorder. */
static bool pid_known(int32_t pid)
{
	char stat[32];
	const char *end;
	int fd = sys_open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	long n = fd < 0 ? 0 : sys_pread(fd, stat, sizeof(stat) - 1, 0);
	if (fd >= 0)
		sys_close(fd);
	stat[n > 0 ? n : 0] = 0;
	return text_number(stat, &end) == pid;
}

void recorder_admit(void)
{
	if (shim.arena->joined)
		sys_call(SYS_prctl, PR_SET_PTRACER, shim.arena->recorder, 0, 0);
}

bool arena_start(const char *variable)
{
	const char *value = variable + sizeof(ARENA_ENV "=") - 1;
	if (!text_begins(variable, ARENA_ENV "=") || text_length(variable) >= sizeof(shim.variable))
		return false;
	struct arena *a = arena_map(value);
	if (!a)
		return false;
	int32_t tid = (int32_t)sys_call(SYS_gettid, 0, 0, 0, 0);
	int32_t pid = (int32_t)sys_call(SYS_getpid, 0, 0, 0, 0);
	uint32_t *alive = alive_map();
	shim.main_tid = tid;
	if (!alive || !pid_known(pid) || (tid_field() && tid_field() != tid) || tid_read() != tid ||
	    !clock_read()) {
		sys_call(SYS_munmap, a, sizeof(*a), 0, 0);
		return false;
	}
	memcpy(shim.variable, variable, text_length(variable) + 1);
	shim.alive = alive;
	shim.arena = a;
	shim.epoch = 1;
	if (!proc_claim(NULL, pid, (int32_t)sys_call(SYS_getppid, 0, 0, 0, 0))) {
		*alive = ALIVE_OFF;
		return false;
	}
	recorder_admit();
	release(*alive, ALIVE_LIVE);
	return true;
}

__attribute__((constructor(101))) static void shim_start(void)
{
	original_find();
	char **variable = environ_find(ARENA_ENV "=");
	if (!variable)
		return;
	arena_start(*variable);
	/* out again, whether it worked or not */
	char **preload = environ_find("LD_PRELOAD=");
	if (preload && *link_self())
		preload_restore(preload, link_self());
	variable = environ_find(ARENA_ENV "=");
	if (variable)
		environ_remove(variable);
}

__attribute__((destructor(101))) static void shim_end(void)
{
	if (shim.arena)
		proc_end(clock_read());
}
