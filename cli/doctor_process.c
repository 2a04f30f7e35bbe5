/* SPDX-License-Identifier: MIT
 *
 * What works for one process: may it be looked into, is its interpreter known, have its files debug
 * information, and what limits it lives under.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../preload/image.h"
#include "debuginfo.h"
#include "doctor.h"
#include "interp.h"
#include "native.h"
#include "privilege.h"
#include "proc.h"
#include "quota.h"
#include "shim.h"

/* --- dump: may it be looked into? --- */

static bool look_examine(struct doctor *d, pid_t pid, struct maps *maps)
{
	char why[1024] = "";
	int e = 0;
	if (caller_may_trace(pid, why, sizeof(why))) {
		e = maps_read(pid, maps);
		if (!e)
			e = blocked_sample(pid, pid, NULL, NULL);
		if (e >= 0 || e == -EAGAIN) {
			doctor_find(d, "dump", DOCTOR_OK, NULL, NULL);
			return true;
		}
		if (e == -ESRCH)
			snprintf(why, sizeof(why), "process %d runs no program: a zombie, or the kernel's",
				 (int)pid);
		else
			privilege_explain(pid, "dump", why, sizeof(why));
	}
	char *try = strstr(why, ". Try: "), *fix = NULL; /* the command has a line of its own here */
	if (try) {
		*try = 0;
		fix = xprintf("%.*s\n", (int)strcspn(try + 7, ","), try + 7);
	}
	doctor_find(d, "dump", DOCTOR_NO, xstrdup(why), fix);
	return false;
}

/* --- run: is the shim in it, could it be? --- */

static bool has_shim(const struct maps *maps)
{
	for (size_t i = 0; i < maps->n; i++) {
		const char *path = maps->at[i].path, *slash = strrchr(path, '/');
		if (!strcmp(path, "/memfd:whystall") || !strcmp(slash ? slash + 1 : path, "libwhystall.so"))
			return true;
	}
	return false;
}

static void shim_examine(struct doctor *d, pid_t pid, const struct maps *maps)
{
	char path[64];
	if (has_shim(maps)) {
		doctor_find(d, "shim", DOCTOR_OK,
			    xstrdup("it runs under whystall run already: attach reads that recording"), NULL);
		return;
	}
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum refusal why = fd >= 0 ? image_fd_refusal(fd) : REFUSAL_NONE;
	if (fd >= 0)
		close(fd);
	if (why != REFUSAL_NONE)
		doctor_find(d, "shim", DOCTOR_PARTLY,
			    xprintf("whystall run could not record this program: %s; attach can",
				    shim_refusal(why)),
			    xprintf("sudo whystall attach %d\n", (int)pid));
}

/* --- its interpreter --- */

static void runtime_examine(struct doctor *d, pid_t pid, const struct maps *maps)
{
	char version[64] = "", why[256] = "";
	d->process.runtime = "native";
	for (PARTS(interp, interp_ops, ops)) {
		struct interp *interp = NULL;
		int e = (*ops)->open(&interp, pid, maps, version, sizeof(version), why, sizeof(why));
		if (e == -ENOENT)
			continue;
		d->process.runtime = (*ops)->name;
		d->process.runtime_version = version[0] ? intern(version) : NULL;
		if (!e) {
			d->process.free_threaded = (*ops)->free_threaded(interp);
			doctor_find(d, "runtime", DOCTOR_OK, NULL, NULL);
		} else {
			doctor_find(d, "runtime", DOCTOR_PARTLY,
				    xstrdup(why[0] ? why : "its interpreter has not come up yet"), NULL);
		}
		(*ops)->close(interp);
		return;
	}
}

/* --- names: debug information --- */

/* The files whose functions stacks are full of. */
static bool is_main_module(const char *name, const char *exe)
{
	const char *base = exe ? strrchr(exe, '/') : NULL;
	return !strncmp(name, "libpython", 9) || !strncmp(name, "libc.so", 7) ||
	       !strncmp(name, "libc-2.", 7) || !strncmp(name, "libuv.so", 8) ||
	       !strncmp(name, "libnode", 7) || (base && !strcmp(base + 1, name));
}

static void words_add(char **list, const char *word, const char *separator)
{
	if (*list && strstr(*list, word))
		return;
	char *longer = xprintf("%s%s%s", *list ? *list : "", *list ? separator : "", word);
	free(*list);
	*list = longer;
}

static void names_examine(struct doctor *d, pid_t pid)
{
	struct native *native = native_open(pid);
	struct native_module m;
	char *lack = NULL, *packages = NULL, *commands = NULL, package[256];
	bool stripped = false;
	for (int i = 0; native && !native_module(native, i, &m); i++) {
		if (!is_main_module(m.name, d->process.exe) || m.debug)
			continue;
		words_add(&lack, m.name, ", ");
		stripped |= !m.symbols;
		if (!debuginfo_package(pid, m.path, package, sizeof(package)))
			words_add(&packages, package, " ");
		else if (!debuginfo_command(pid, m.path, package, sizeof(package)))
			words_add(&commands, package, "\n");
	}
	native_close(native);
	if (!lack) {
		doctor_find(d, "names", native ? DOCTOR_OK : DOCTOR_PARTLY,
			    native ? NULL : xstrdup("its files cannot be opened"), NULL);
		return;
	}
	/* of packages that nobody asked for by hand, Debian and Ubuntu have these in an archive of their own
	 * only */
	bool apart = packages && strstr(packages, "-dbgsym");
	char *fix = packages   ? xprintf("sudo apt install %s%s\n", packages,
					 apart ? "   # -dbgsym: from the distribution's debug archive" : "")
		    : commands ? xprintf("%s\n", commands)
			       : NULL;
	doctor_find(d, "names", DOCTOR_PARTLY,
		    xprintf("no debug information for %s: native functions %s", lack,
			    stripped ? "without lines, some without names" : "without lines"),
		    fix);
	free(lack);
	free(packages);
	free(commands);
}

/* --- its limits --- */

/* CPUs that its control groups let it use, 0: no limit, or not known. */
static double cpus_allowed(pid_t pid)
{
	struct quota quota = {0};
	double cpus = 0;
	quota_look(&quota, pid);
	int tightest = quota_tightest(&quota);
	if (tightest >= 0 && quota.level[tightest].period_us)
		cpus = (double)quota.level[tightest].quota_us / (double)quota.level[tightest].period_us;
	quota_close(&quota);
	return cpus;
}

static void process_limits(struct doctor *d, pid_t pid, const struct proc_status *s)
{
	double cpus = cpus_allowed(pid);
	if (cpus > 0)
		doctor_find(d, "cpu", DOCTOR_PARTLY,
			    xprintf("its control group may use %.3g CPU%s; what it waits for beyond that is "
				    "told as "
				    "runqueue",
				    cpus, cpus == 1 ? "" : "s"),
			    NULL);
	if (s->tracer)
		doctor_find(d, "debugger", DOCTOR_PARTLY,
			    xprintf("pid %d traces it, and may stop it", (int)s->tracer), NULL);
}

void doctor_process(struct doctor *d, pid_t pid)
{
	struct proc_status s;
	struct maps maps = {0};
	if (proc_status(pid, 0, &s))
		return;
	d->uid = s.uid[1];
	d->process = (struct obs_process){.pid = pid,
					  .ppid = s.ppid,
					  .ns_pid = s.ns_pid,
					  .command = proc_command(pid),
					  .free_threaded = -1,
					  .switch_interval_s = -1};
	if (look_examine(d, pid, &maps)) {
		d->process.exe = proc_link(pid, "exe");
		shim_examine(d, pid, &maps);
		runtime_examine(d, pid, &maps);
		names_examine(d, pid);
	}
	process_limits(d, pid, &s);
	maps_free(&maps);
}
