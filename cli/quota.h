/* SPDX-License-Identifier: MIT
 *
 * How much CPU a process's control groups let it have, and how long they kept it from more: cgroup v2
 * (cpu.max, cpu.stat) and v1 (cpu.cfs_quota_us, cpu.stat). A quota of any group above it counts too.
 */
#ifndef WHYSTALL_QUOTA_H
#define WHYSTALL_QUOTA_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define QUOTA_LEVELS 8 /* groups above each other that are looked at */

struct quota_level {
	int stat; /* its cpu.stat, + 1 */
	uint64_t quota_us, period_us;
};

/* The groups that have a quota. Starts as zeroes. */
struct quota {
	unsigned serial; /* rises when they change: counts before and after are not to be compared */
	int n;
	struct quota_level level[QUOTA_LEVELS];
};

struct quota_count {
	uint64_t throttled_ns, periods; /* so far; ns of all CPUs together */
};

/* Looks (again) for the groups of a process that have a quota. */
void quota_look(struct quota *, pid_t);
/* The same from the text of /proc/PID/cgroup and of /proc/self/mountinfo. */
void quota_find(struct quota *, const char *cgroup, const char *mounts);
/* The counts of each level. */
void quota_read(const struct quota *, struct quota_count out[QUOTA_LEVELS]);
/* The level that threw out most between two readings (its number, the difference in *out), or -1: none did.
 */
int quota_most(const struct quota *, const struct quota_count before[], const struct quota_count after[],
	       struct quota_count *out);
/* The tightest one's number, -1: there is none. */
int quota_tightest(const struct quota *);
void quota_close(struct quota *);

#endif
