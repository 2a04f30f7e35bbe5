/* SPDX-License-Identifier: MIT
 *
 * What works on this host. Every finding comes of doing the thing itself: loading the shim, the BPF programs,
 * opening a perf event.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native.h"
#include "privilege.h"
#include "probe.h"
#include "proc.h"
#include "shim.h"
#include "store.h"

#define ROOM_WANTED (256u << 20) /* bytes: an hour of a busy server, and then some */
#define PARANOID "/proc/sys/kernel/perf_event_paranoid"
#define LOCKDOWN "/sys/kernel/security/lockdown"

void doctor_find(struct doctor *d, const char *name, enum doctor_state state, char *said, char *fix)
{
	*vec_push(&d->findings) = (struct finding){name, state, said, fix};
}

/* --- run --- */

/* What ld.so would say to it: tried in a process of its own, for the shim never leaves one. 0, or NULL-ended
 * words. */
static char *shim_load(const char *path)
{
	char said[512] = "";
	int status, fd[2];
	if (pipe2(fd, O_CLOEXEC))
		return xprintf("%s", strerror(errno));
	pid_t pid = fork();
	if (pid == 0) {
		/* not dlopen: this program may be a static one, of another C library than the shim's targets
		 */
		dup2(fd[1], STDERR_FILENO);
		setenv("LD_PRELOAD", path, 1);
		setenv("LD_BIND_NOW", "1", 1);
		execl("/bin/true", "true", NULL);
		_exit(errno == ENOENT ? 0 : 1); /* nothing here to try it with */
	}
	close(fd[1]);
	ssize_t n = pid > 0 ? read(fd[0], said, sizeof(said) - 1) : 0;
	close(fd[0]);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && !status && n <= 0)
		return NULL;
	said[strcspn(said, "\n")] = 0;
	return xprintf("%s", n > 0 ? said : "it cannot be loaded");
}

static void run_examine(struct doctor *d)
{
	char path[PATH_MAX * 2];
	int fd = memfd_create("whystall", MFD_CLOEXEC);
	if (fd < 0) {
		doctor_find(d, "run", DOCTOR_NO,
			    xprintf("no shared memory: memfd_create: %s", strerror(errno)), NULL);
		return;
	}
	close(fd);
	if (shim_find(path, sizeof(path))) {
		doctor_find(d, "run", DOCTOR_NO,
			    xstrdup("libwhystall.so is neither beside this program nor in ../lib/whystall"),
			    xstrdup("sudo make install\n"));
		return;
	}
	char *said = shim_load(path);
	doctor_find(d, "run", said ? DOCTOR_NO : DOCTOR_OK, said, NULL);
}

/* --- attach --- */

/* The first pid namespace has always the same number (include/linux/proc_ns.h, PROC_PID_INIT_INO). */
static bool in_container(void)
{
	const char *space = proc_link(getpid(), "ns/pid");
	return (space && strcmp(space, "pid:[4026531836]")) || getenv("KUBERNETES_SERVICE_HOST");
}

static char *attach_fix(void)
{
	return privilege_form(getenv("KUBERNETES_SERVICE_HOST") ? PRIVILEGE_KUBERNETES
			      : in_container()			? PRIVILEGE_DOCKER
								: PRIVILEGE_FILE);
}

static bool locked_down(void)
{
	char *text = NULL;
	bool yes = file_read(LOCKDOWN, &text, 256) > 0 && strstr(text, "[confidentiality]");
	free(text);
	return yes;
}

static void attach_examine(struct doctor *d)
{
	char why[512] = "";
	struct proc_status self;
	int loud = verbosity;
	verbosity = loud < 0 ? loud : 0; /* libbpf would explain itself at length */
	int e = probe_check(why, sizeof(why));
	verbosity = loud;
	if (!e) {
		doctor_find(d, "attach", DOCTOR_OK, NULL, NULL);
		return;
	}
	char *missing = privilege_missing();
	proc_status(getpid(), 0, &self);
	if (missing) {
		doctor_find(d, "attach", DOCTOR_NO,
			    xprintf("needs %s (run does not): %s", missing,
				    in_container() ? "start the container with"
						   : "sudo, or, for the members of a group"),
			    attach_fix());
	} else if (locked_down()) {
		doctor_find(
			d, "attach", DOCTOR_NO,
			xstrdup("the kernel is locked down (confidentiality), which forbids BPF programs to "
				"read memory; boot with lockdown=integrity"),
			NULL);
	} else if (self.seccomp == 2) {
		doctor_find(
			d, "attach", DOCTOR_NO,
			xprintf("%s; a seccomp filter is in force here, which may be what forbids it", why),
			in_container() ? attach_fix() : NULL);
	} else {
		doctor_find(d, "attach", DOCTOR_NO, xstrdup(why), NULL);
	}
	free(missing);
}

/* --- dump --- */

static void dump_examine(struct doctor *d)
{
	long scope = 0;
	proc_setting("/proc/sys/kernel/yama/ptrace_scope", &scope);
	bool can = privilege_has(CAP_SYS_PTRACE) && !privilege_borrowed();
	if (scope >= 3)
		doctor_find(d, "dump", DOCTOR_NO,
			    xstrdup("kernel.yama.ptrace_scope is 3: nobody may look into a process until the "
				    "next boot"),
			    NULL);
	else if (scope && !can)
		doctor_find(d, "dump", DOCTOR_NO,
			    xprintf("kernel.yama.ptrace_scope is %ld: no process but %s", scope,
				    scope == 1 ? "one's own children can be looked into" : "for root"),
			    xstrdup("sudo sysctl kernel.yama.ptrace_scope=0\n"));
	else if (!can)
		doctor_find(d, "dump", DOCTOR_PARTLY, xstrdup("your own processes; sudo for those of others"),
			    NULL);
	else
		doctor_find(d, "dump", DOCTOR_OK, NULL, NULL);
}

/* --- stacks --- */

static void stacks_examine(struct doctor *d)
{
	long paranoid = 0;
	struct perf_sampler *s = perf_sampler_open((pid_t)syscall(SYS_gettid), 100);
	int error = errno;
	if (s) {
		perf_sampler_close(s);
		doctor_find(d, "stacks", DOCTOR_OK, NULL, NULL);
		return;
	}
	proc_setting(PARANOID, &paranoid);
	if (paranoid > 2)
		doctor_find(d, "stacks", DOCTOR_PARTLY,
			    xprintf("no native frames of running threads: kernel.perf_event_paranoid is %ld",
				    paranoid),
			    xstrdup("sudo sysctl kernel.perf_event_paranoid=2\n"));
	else
		doctor_find(
			d, "stacks", DOCTOR_PARTLY,
			xprintf("no native frames of running threads: perf_event_open: %s%s", strerror(error),
				in_container() ? "; the container's seccomp profile has to allow it" : ""),
			NULL);
}

/* --- record --- */

/* The nearest directory above that exists. */
static void existing_parent(char *path)
{
	while (access(path, F_OK) && strlen(path) > 1) {
		char *slash = strrchr(path, '/');
		if (!slash)
			break;
		slash[slash == path] = 0;
	}
}

static void record_examine(struct doctor *d)
{
	char place[PATH_MAX], parent[PATH_MAX];
	struct statvfs fs;
	int e = store_directory(place, sizeof(place), false);
	if (e) {
		doctor_find(d, "record", DOCTOR_NO, xprintf("no place for records: %s", strerror(-e)),
			    xstrdup("whystall run -o FILE -- COMMAND\n"));
		return;
	}
	snprintf(parent, sizeof(parent), "%s", place);
	existing_parent(parent);
	if (access(parent, W_OK | X_OK))
		doctor_find(d, "record", DOCTOR_NO, xprintf("cannot write to %s: %s", place, strerror(errno)),
			    xstrdup("export XDG_STATE_HOME=DIRECTORY\n"));
	else if (!statvfs(parent, &fs) && (uint64_t)fs.f_bavail * fs.f_frsize < ROOM_WANTED)
		doctor_find(d, "record", DOCTOR_PARTLY,
			    xprintf("only %llu MB are free for %s",
				    (unsigned long long)((uint64_t)fs.f_bavail * fs.f_frsize >> 20), place),
			    NULL);
	else
		doctor_find(d, "record", DOCTOR_OK, NULL, NULL);
}

/* --- the kernel, and the container --- */

static void limits_examine(struct doctor *d)
{
	struct proc_status self, init;
	char *text = NULL;
	if (file_read("/proc/self/schedstat", &text, 256) < 0)
		doctor_find(
			d, "kernel", DOCTOR_PARTLY,
			xstrdup("built without CONFIG_SCHED_INFO: lack of CPU (runqueue) cannot be told from "
				"computing"),
			NULL);
	free(text);
	if (proc_status(1, 0, &init) == -ESRCH)
		doctor_find(d, "proc", DOCTOR_PARTLY,
			    xstrdup("/proc hides the processes of other users (hidepid)"), NULL);
	if (proc_status(getpid(), 0, &self))
		return;
	if (self.no_new_privs)
		doctor_find(d, "limits", DOCTOR_PARTLY,
			    xstrdup("no new privileges can be gained here (NoNewPrivs): neither sudo nor "
				    "capabilities of a file work"),
			    NULL);
}

int doctor_examine(struct doctor *d, pid_t pid, char *why, size_t why_size)
{
	struct proc_status s;
	*d = (struct doctor){0};
	if (pid && (proc_status(pid, 0, &s) || s.tgid != pid)) {
		snprintf(why, why_size, "there is no process %d", (int)pid);
		return -ESRCH;
	}
	run_examine(d);
	attach_examine(d);
	if (!pid)
		dump_examine(d);
	stacks_examine(d);
	if (pid)
		doctor_process(d, pid);
	record_examine(d);
	limits_examine(d);
	return 0;
}

bool doctor_all_well(const struct doctor *d)
{
	for (size_t i = 0; i < d->findings.n; i++)
		if (d->findings.at[i].state == DOCTOR_NO)
			return false;
	return true;
}

void doctor_free(struct doctor *d)
{
	for (size_t i = 0; i < d->findings.n; i++) {
		free(d->findings.at[i].said);
		free(d->findings.at[i].fix);
	}
	vec_free(&d->findings);
}
