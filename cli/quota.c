/* SPDX-License-Identifier: MIT
 *
 * Finds the CPU quotas above a process (quota.h; Documentation/admin-guide/cgroup-v2.rst "CPU", and
 * Documentation/scheduler/sched-bwc.rst for v1). The paths in /proc/PID/cgroup are as our own cgroup
 * namespace sees them, and may be mounted from some directory on only.
 */
#include "quota.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

#define TEXT_MAX (1u << 20)

/* The path of the group that limits CPU: in v1 the one of the controller "cpu", else v2's. */
static bool group_find(const char *cgroup, char *path, size_t size, bool *v2)
{
	bool found = false;
	for (const char *line = cgroup; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;
		size_t length = at ? strcspn(at + 1, "\n") : 0;
		if (!at || !length || length >= size)
			continue;
		bool unified = at == names + 1, cpu = false;
		for (const char *name = names; !unified && name < at;) {
			size_t n = strcspn(++name, ",:");
			cpu = cpu || (n == 3 && !memcmp(name, "cpu", 3));
			name += n;
		}
		if (!cpu && (!unified || found))
			continue;
		memcpy(path, at + 1, length);
		path[length] = 0;
		*v2 = unified;
		found = true;
		if (cpu)
			break;
	}
	return found;
}

static bool option_has(const char *options, const char *name)
{
	size_t n = strlen(name);
	for (const char *at = options; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (!strncmp(at, name, n) && (!at[n] || at[n] == ',' || at[n] == '\n'))
			return true;
	return false;
}

/* Where the hierarchy is mounted, from which of its directories on: proc_pid_mountinfo(5). */
static bool mount_find(const char *mounts, bool v2, char *root, char *point)
{
	char line[4 * PATH_MAX], type[64], options[512];
	for (const char *at = mounts; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		size_t n = strcspn(at, "\n");
		if (n >= sizeof line)
			continue;
		memcpy(line, at, n);
		line[n] = 0;
		const char *more = strstr(line, " - ");
		if (!more || sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) != 2 ||
		    sscanf(more, " - %63s %*s %511s", type, options) != 2)
			continue;
		if (v2 ? !strcmp(type, "cgroup2") : !strcmp(type, "cgroup") && option_has(options, "cpu"))
			return true;
	}
	return false;
}

static bool number_read(const char *directory, const char *file, char *buf, size_t size)
{
	char path[2 * PATH_MAX + 64];
	snprintf(path, sizeof path, "%s/%s", directory, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (fd >= 0)
		close(fd);
	buf[n > 0 ? n : 0] = 0;
	return n > 0;
}

static void level_add(struct quota *q, const char *directory, bool v2)
{
	char text[128], path[2 * PATH_MAX + 64];
	unsigned long long quota = 0, period = 0;
	if (v2) {
		if (!number_read(directory, "cpu.max", text, sizeof text) ||
		    sscanf(text, "%llu %llu", &quota, &period) != 2)
			return; /* "max" */
	} else {
		long long limit = -1;
		if (!number_read(directory, "cpu.cfs_quota_us", text, sizeof text) ||
		    sscanf(text, "%lld", &limit) != 1 || limit <= 0 ||
		    !number_read(directory, "cpu.cfs_period_us", text, sizeof text) ||
		    sscanf(text, "%llu", &period) != 1)
			return;
		quota = (unsigned long long)limit;
	}
	if (!quota || !period)
		return;
	snprintf(path, sizeof path, "%s/cpu.stat", directory);
	q->level[q->n++] = (struct quota_level){open(path, O_RDONLY | O_CLOEXEC) + 1, quota, period};
}

void quota_find(struct quota *q, const char *cgroup, const char *mounts)
{
	char group[PATH_MAX], root[PATH_MAX], point[PATH_MAX], directory[2 * PATH_MAX];
	bool v2 = false;
	quota_close(q);
	if (!group_find(cgroup, group, sizeof group, &v2) || strstr(group, "/..") ||
	    !mount_find(mounts, v2, root, point))
		return;
	size_t skip = strcmp(root, "/") ? strlen(root) : 0;
	if (strncmp(group, root, skip) || (skip && group[skip] && group[skip] != '/'))
		return; /* it lies outside of what is mounted */
	snprintf(directory, sizeof directory, "%s%s", point, group + skip);
	for (int steps = 0; q->n < QUOTA_LEVELS && steps < 64; steps++) {
		size_t n = strlen(directory);
		while (n > strlen(point) && directory[n - 1] == '/')
			directory[--n] = 0;
		level_add(q, directory, v2);
		char *slash = strrchr(directory, '/');
		if (n <= strlen(point) || !slash)
			break;
		*slash = 0;
	}
}

void quota_look(struct quota *q, pid_t pid)
{
	char path[64], *cgroup = NULL, *mounts = NULL;
	snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
	struct quota now = {0};
	if (file_read(path, &cgroup, TEXT_MAX) > 0 &&
	    file_read("/proc/self/mountinfo", &mounts, TEXT_MAX) > 0)
		quota_find(&now, cgroup, mounts);
	bool same = now.n == q->n;
	for (int i = 0; same && i < now.n; i++)
		same = now.level[i].quota_us == q->level[i].quota_us &&
		       now.level[i].period_us == q->level[i].period_us;
	if (!same) {
		quota_close(q);
		now.serial = q->serial + 1;
		*q = now;
	} else {
		quota_close(&now);
	}
	free(cgroup);
	free(mounts);
}

static uint64_t field(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

void quota_read(const struct quota *q, struct quota_count out[QUOTA_LEVELS])
{
	char text[1024];
	for (int i = 0; i < q->n; i++) {
		out[i] = (struct quota_count){0};
		ssize_t n = q->level[i].stat ? pread(q->level[i].stat - 1, text, sizeof text - 1, 0) : -1;
		if (n <= 0)
			continue;
		text[n] = 0;
		out[i].periods = field(text, "nr_throttled ");
		out[i].throttled_ns = field(text, "throttled_time "); /* v1: ns */
		if (!out[i].throttled_ns)
			out[i].throttled_ns = 1000 * field(text, "throttled_usec ");
	}
}

int quota_most(const struct quota *q, const struct quota_count before[], const struct quota_count after[],
	       struct quota_count *out)
{
	int most = -1;
	*out = (struct quota_count){0};
	for (int i = 0; i < q->n; i++) {
		if (after[i].throttled_ns <= before[i].throttled_ns ||
		    after[i].throttled_ns - before[i].throttled_ns <= out->throttled_ns)
			continue;
		out->throttled_ns = after[i].throttled_ns - before[i].throttled_ns;
		out->periods =
			after[i].periods > before[i].periods ? after[i].periods - before[i].periods : 0;
		most = i;
	}
	return most;
}

int quota_tightest(const struct quota *q)
{
	int tightest = -1;
	for (int i = 0; i < q->n; i++)
		if (tightest < 0 || q->level[i].quota_us * q->level[tightest].period_us <
					    q->level[tightest].quota_us * q->level[i].period_us)
			tightest = i;
	return tightest;
}

void quota_close(struct quota *q)
{
	for (int i = 0; i < q->n; i++)
		if (q->level[i].stat)
			close(q->level[i].stat - 1);
	q->n = 0;
}
