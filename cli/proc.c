/* SPDX-License-Identifier: MIT
 *
 * /proc, read field by field. How long a thread has slept is told nowhere in so many words, but
 * /proc/PID/task/TID/sched has se.exec_start, the reading of its CPU's own clock when it last ran
 * (kernel/sched/fair.c, update_curr): asked of ourselves on the same CPU, the same clock says now. It leaves
 * out the time that the CPU spent in interrupts, so what comes of it is rather too short than too long.
 */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

#define STATUS_MAX 65536
#define COMMAND_MAX 65536

static const char *field_find(const char *text, const char *name)
{
	size_t n = strlen(name);
	for (const char *at = text; at && *at; at = strchr(at, '\n'), at += at != NULL)
		if (!strncmp(at, name, n) && at[n] == ':')
			return at + n + 1 + strspn(at + n + 1, " \t");
	return NULL;
}

static uint64_t field_number(const char *text, const char *name, int base)
{
	const char *at = field_find(text, name);
	return at ? strtoull(at, NULL, base) : 0;
}

static void field_four(const char *text, const char *name, unsigned out[4])
{
	const char *at = field_find(text, name);
	if (!at || sscanf(at, "%u %u %u %u", &out[0], &out[1], &out[2], &out[3]) != 4)
		memset(out, 0xff, 4 * sizeof(*out));
}

/* The last of NSpid's numbers: what it is called inside. */
static void namespaces_parse(const char *text, struct proc_status *out)
{
	const char *at = field_find(text, "NSpid");
	out->ns_pid = out->pid;
	out->namespaces = 1;
	for (int n = 0; at && *at && *at != '\n'; n++) {
		char *end;
		long value = strtol(at, &end, 10);
		if (end == at)
			break;
		out->ns_pid = (pid_t)value;
		out->namespaces = n + 1;
		at = end + strspn(end, " \t");
	}
}

static int proc_path(char *buf, size_t size, pid_t pid, pid_t tid, const char *name)
{
	return tid ? snprintf(buf, size, "/proc/%d/task/%d/%s", (int)pid, (int)tid, name)
		   : snprintf(buf, size, "/proc/%d/%s", (int)pid, name);
}

static int proc_read(pid_t pid, pid_t tid, const char *name, char **out, size_t max)
{
	char path[320];
	proc_path(path, sizeof(path), pid, tid, name);
	ssize_t n = file_read(path, out, max);
	if (n < 0)
		return n == -ENOENT ? -ESRCH : (int)n;
	return 0;
}

int proc_status(pid_t pid, pid_t tid, struct proc_status *out)
{
	char *text;
	*out = (struct proc_status){0};
	int e = proc_read(pid, tid, "status", &text, STATUS_MAX);
	if (e)
		return e;
	const char *name = field_find(text, "Name"), *state = field_find(text, "State");
	if (name)
		snprintf(out->name, sizeof(out->name), "%.*s", (int)strcspn(name, "\n"), name);
	out->state = state ? *state : 0;
	out->tgid = (pid_t)field_number(text, "Tgid", 10);
	out->pid = (pid_t)field_number(text, "Pid", 10);
	out->ppid = (pid_t)field_number(text, "PPid", 10);
	out->tracer = (pid_t)field_number(text, "TracerPid", 10);
	field_four(text, "Uid", out->uid);
	field_four(text, "Gid", out->gid);
	out->permitted = field_number(text, "CapPrm", 16);
	out->effective = field_number(text, "CapEff", 16);
	out->ambient = field_number(text, "CapAmb", 16);
	out->seccomp = (int)field_number(text, "Seccomp", 10);
	out->no_new_privs = (int)field_number(text, "NoNewPrivs", 10);
	out->kernel_thread = field_number(text, "Kthread", 10);
	out->has_memory = field_find(text, "VmSize");
	const char *voluntary = field_find(text, "voluntary_ctxt_switches");
	out->voluntary = voluntary ? strtoll(voluntary, NULL, 10) : -1;
	namespaces_parse(text, out);
	free(text);
	return out->pid ? 0 : -ESRCH;
}

/* The name may hold anything, blanks and brackets included: the fields begin behind the last bracket. */
static int stat_parse(const char *text, struct proc_times *out)
{
	const char *at = strrchr(text, ')');
	unsigned long long start;
	if (!at || sscanf(at + 1,
			  " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu "
			  "%*u %*d %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*d %d",
			  &out->state, &start, &out->cpu) != 3)
		return -EPROTO;
	out->start = start;
	return 0;
}

static int64_t sched_parse(const char *text)
{
	const char *at = strstr(text, "se.exec_start");
	at = at ? strchr(at, ':') : NULL;
	char *end;
	long long ms = at ? strtoll(at + 1, &end, 10) : 0;
	if (!at || *end != '.' || ms < 0 || ms > INT64_MAX / 1000000 - 1)
		return -1;
	long long rest = strtoll(end + 1, NULL, 10); /* six digits */
	int64_t ns = ms * 1000000 + rest;
	return ns > 0 && rest >= 0 && rest < 1000000 ? ns : -1;
}

int proc_times(pid_t pid, pid_t tid, struct proc_times *out)
{
	char *text;
	*out = (struct proc_times){.cpu = -1, .cpu_ns = -1, .delay_ns = -1, .ran_ns = -1};
	int e = proc_read(pid, tid, "stat", &text, 4096);
	if (e)
		return e;
	e = stat_parse(text, out);
	free(text);
	if (e)
		return e;
	if (!proc_read(pid, tid, "schedstat", &text, 256)) {
		long long cpu, delay;
		if (sscanf(text, "%lld %lld", &cpu, &delay) == 2) {
			out->cpu_ns = cpu;
			out->delay_ns = delay;
		}
		free(text);
	}
	if (!proc_read(pid, tid, "sched", &text, 16384)) {
		out->ran_ns = sched_parse(text);
		free(text);
	}
	return 0;
}

static cpu_set_t clock_home;
static bool clock_away;

int64_t proc_clock(int cpu)
{
	cpu_set_t set;
	char *text;
	int64_t ns = -1;
	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return -1;
	if (!clock_away && sched_getaffinity(0, sizeof(clock_home), &clock_home))
		return -1;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		return -1;
	clock_away = true;
	sched_yield(); /* brings our own reading up to date */
	if (!proc_read(getpid(), (pid_t)syscall(SYS_gettid), "sched", &text, 16384)) {
		ns = sched_parse(text);
		free(text);
	}
	return ns;
}

void proc_clock_end(void)
{
	if (clock_away)
		sched_setaffinity(0, sizeof(clock_home), &clock_home);
	clock_away = false;
}

int proc_threads(pid_t pid, pid_t *out, int max, bool *more)
{
	char path[64];
	int n = 0;
	*more = false;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	for (struct dirent *entry; (entry = readdir(dir));) {
		long tid = strtol(entry->d_name, NULL, 10);
		if (tid <= 0)
			continue;
		if (n == max) {
			*more = true;
			break;
		}
		out[n++] = (pid_t)tid;
	}
	closedir(dir);
	return n;
}

const char *proc_command(pid_t pid)
{
	char path[64], *text = NULL;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	ssize_t length = file_read(path, &text, COMMAND_MAX);
	if (length <= 0) {
		free(text);
		return NULL;
	}
	json_t *array = json_array();
	for (ssize_t at = 0; at < length; at += (ssize_t)strlen(text + at) + 1) {
		json_t *word = json_string(text + at);
		json_array_append_new(array, word ? word : json_string("?"));
	}
	char *dump = json_dumps(array, JSON_COMPACT);
	const char *result = intern(dump);
	free(dump);
	json_decref(array);
	free(text);
	return result;
}

const char *proc_link(pid_t pid, const char *name)
{
	char path[64], link[4096];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	return n > 0 ? intern_n(link, (size_t)n) : NULL;
}

const char *proc_wchan(pid_t pid, pid_t tid)
{
	char *text;
	const char *name = NULL;
	if (proc_read(pid, tid, "wchan", &text, 256))
		return NULL;
	if (text[0] && strcmp(text, "0"))
		name = intern_text(text, strcspn(text, "\n"));
	free(text);
	return name;
}

int proc_setting(const char *path, long *out)
{
	char *text, *end;
	ssize_t n = file_read(path, &text, 256);
	if (n < 0)
		return (int)n;
	*out = strtol(text, &end, 10);
	bool bad = end == text;
	free(text);
	return bad ? -EPROTO : 0;
}
