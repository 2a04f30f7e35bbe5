/* SPDX-License-Identifier: MIT
 *
 * The kernel's rules for looking into another process, as it applies them (kernel/ptrace.c,
 * __ptrace_may_access; security/commoncap.c, cap_ptrace_access_check; security/yama): asked on the caller's
 * behalf where the kernel, which sees our capabilities, would say yes to us.
 */
#include "privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proc.h"
#include "util.h"

#define YAMA "/proc/sys/kernel/yama/ptrace_scope"

/* <linux/capability.h> of older machines lacks the newest two */
#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF 39
#endif

const int privilege_attach[] = {CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, -1};

const int privilege_dump[] = {CAP_PERFMON, -1};

static const struct {
	int number;
	const char *name;
} names[] = {{CAP_BPF, "cap_bpf"},
	     {CAP_PERFMON, "cap_perfmon"},
	     {CAP_SYS_PTRACE, "cap_sys_ptrace"},
	     {CAP_DAC_READ_SEARCH, "cap_dac_read_search"},
	     {CAP_SYS_ADMIN, "cap_sys_admin"}};

const char *privilege_name(int capability)
{
	for (size_t i = 0; i < LENGTH(names); i++)
		if (names[i].number == capability)
			return names[i].name;
	return "a capability";
}

bool privilege_has(int capability)
{
	struct proc_status self;
	return !proc_status(getpid(), 0, &self) && (self.effective >> capability & 1);
}

/* The kernel marks an exec that gained capabilities by its file; ambient ones (systemd's) are the caller's
 * and do not (security/commoncap.c, cap_bprm_creds_from_file). */
bool privilege_borrowed(void)
{
	return getauxval(AT_SECURE) != 0;
}

void privilege_keep(const int *capabilities)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};
	struct proc_status self;
	if (!privilege_borrowed() || proc_status(getpid(), 0, &self))
		return;
	for (int i = 0; capabilities && capabilities[i] >= 0; i++)
		/* without this one the kernel itself asks at each look what the caller may: at that instant
		 */
		if (capabilities[i] != CAP_SYS_PTRACE && self.permitted >> capabilities[i] & 1)
			data[capabilities[i] / 32].permitted |= 1u << capabilities[i] % 32;
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted;
	if (syscall(SYS_capset, &head, data)) {
		say("cannot give up capabilities: %s", strerror(errno));
		exit(EXIT_BROKEN);
	}
}

/* Nobody but root owns the files of a process that does not let itself be looked into; its directory stays
 * its user's (fs/proc/base.c, task_dump_owner). */
static bool is_dumpable(pid_t pid, uid_t user)
{
	char path[64];
	struct stat st;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	return !stat(path, &st) && st.st_uid == user && (user || st.st_uid == 0);
}

static bool same_user(const struct proc_status *s)
{
	uid_t user = getuid();
	gid_t group = getgid();
	for (int i = 0; i < 3; i++)
		if (s->uid[i] != user || s->gid[i] != group)
			return false;
	return true;
}

static long yama_scope(void)
{
	long scope = 0;
	return proc_setting(YAMA, &scope) ? 0 : scope;
}

bool caller_may_trace(pid_t pid, char *why, size_t size)
{
	struct proc_status s, self;
	const char *ours, *theirs;
	if (!privilege_borrowed())
		return true;
	if (proc_status(pid, 0, &s) || proc_status(getpid(), 0, &self)) {
		snprintf(why, size, "process %d has ended", (int)pid);
		return false;
	}
	static const char prefix[] = "this whystall has its capabilities from its file, and looks only into "
				     "what its caller could trace without them: ";
	ours = proc_link(getpid(), "ns/user");
	theirs = proc_link(pid, "ns/user");
	if (!same_user(&s))
		snprintf(why, size, "%sprocess %d is not wholly uid %d, gid %d's", prefix, (int)pid,
			 (int)getuid(), (int)getgid());
	else if (!is_dumpable(pid, s.uid[1]))
		snprintf(why, size, "%sprocess %d does not let itself be traced (PR_SET_DUMPABLE)", prefix,
			 (int)pid);
	else if (s.permitted & ~self.ambient)
		snprintf(why, size, "%sprocess %d has capabilities of its own", prefix, (int)pid);
	else if (yama_scope() > 0)
		snprintf(why, size,
			 "%skernel.yama.ptrace_scope is %ld, so that is nothing but its children. Try sudo, "
			 "or "
			 "sudo sysctl kernel.yama.ptrace_scope=0",
			 prefix, yama_scope());
	else if (!ours || !theirs || strcmp(ours, theirs))
		snprintf(why, size, "%sprocess %d is in another user namespace", prefix, (int)pid);
	else
		return true;
	return false;
}

void privilege_explain(pid_t pid, const char *command, char *why, size_t size)
{
	struct proc_status s;
	long scope = yama_scope();
	char again[64];
	snprintf(again, sizeof(again), "sudo whystall %s %d", command, (int)pid);
	if (proc_status(pid, 0, &s))
		snprintf(why, size, "process %d has ended", (int)pid);
	else if (scope >= 3)
		snprintf(
			why, size,
			"nobody may look into process %d: kernel.yama.ptrace_scope is 3, until the next boot",
			(int)pid);
	else if (geteuid() == 0 || privilege_has(CAP_SYS_PTRACE))
		snprintf(why, size,
			 "process %d may not be looked into even with CAP_SYS_PTRACE: it is in a user "
			 "namespace "
			 "or container of which this one is no parent, or a security module forbids it; run "
			 "whystall on the host",
			 (int)pid);
	else if (s.uid[1] != geteuid())
		snprintf(why, size, "process %d belongs to another user (uid %d). Try: %s", (int)pid,
			 (int)s.uid[1], again);
	else if (!same_user(&s))
		snprintf(why, size, "process %d has other users or groups than its caller. Try: %s", (int)pid,
			 again);
	else if (!is_dumpable(pid, s.uid[1]))
		snprintf(why, size,
			 "process %d does not let itself be looked into (PR_SET_DUMPABLE, or a program that "
			 "its user may not read). Try: %s",
			 (int)pid, again);
	else if (scope)
		snprintf(why, size,
			 "kernel.yama.ptrace_scope is %ld, so an ordinary user may look only into %s. Try: "
			 "%s, "
			 "or sudo sysctl kernel.yama.ptrace_scope=0",
			 scope, scope == 1 ? "their own children" : "nothing", again);
	else
		snprintf(why, size, "process %d may not be looked into. Try: %s", (int)pid, again);
}

/* --- the forms --- */

/* All of them, or those that are missing; `skip` characters of each name are left out. `lent`: those that the
 * program's file can lend. */
static char *capability_list(const char *separator, size_t skip, bool upper, bool missing, bool lent)
{
	char *list = NULL;
	for (int i = 0; privilege_attach[i] >= 0; i++) {
		char name[64], *longer;
		if (lent && privilege_attach[i] == CAP_SYS_PTRACE)
			continue;
		if (missing && (privilege_has(privilege_attach[i]) || privilege_has(CAP_SYS_ADMIN)))
			continue;
		snprintf(name, sizeof(name), "%s", privilege_name(privilege_attach[i]) + skip);
		for (char *c = name; upper && *c; c++)
			*c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
		longer = xprintf("%s%s%s", list ? list : "", list ? separator : "", name);
		free(list);
		list = longer;
	}
	return list;
}

char *privilege_missing(void)
{
	return capability_list(", ", 0, true, true, privilege_borrowed());
}

/* One that exists, whose members an administrator already lets read logs. */
static const char *group_name(void)
{
	static const char *const groups[] = {"adm", "wheel"};
	for (size_t i = 0; i < LENGTH(groups); i++)
		if (getgrnam(groups[i]))
			return groups[i];
	return "root";
}

char *privilege_form(enum privilege_form form)
{
	char program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	program[n > 0 ? n : 0] = 0;
	const char *path = n > 0 ? program : "whystall";
	char *list, *text;
	switch (form) {
	case PRIVILEGE_FILE:
		list = capability_list(",", 0, false, false, true);
		text = xprintf("sudo chgrp %s %s &&\nsudo chmod 750 %s &&\nsudo setcap %s=ep \\\n%s\n",
			       group_name(), path, path, list, path);
		break;
	case PRIVILEGE_SYSTEMD:
		list = capability_list(" ", 0, true, false, false);
		text = xprintf("AmbientCapabilities=%s\nCapabilityBoundingSet=%s\n", list, list);
		break;
	case PRIVILEGE_DOCKER:
		list = capability_list(" --cap-add=", 4, true, false, false);
		text = xprintf("docker run --pid=host --cap-add=%s IMAGE\n", list);
		break;
	default:
		list = capability_list(", ", 4, true, false, false);
		text = xprintf("hostPID: true    # of the pod, or shareProcessNamespace: true\n"
			       "securityContext: {runAsUser: 0, capabilities: {add: [%s]}}\n",
			       list);
		break;
	}
	free(list);
	return text;
}
