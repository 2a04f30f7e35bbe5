/* SPDX-License-Identifier: MIT
 *
 * From a pid to a dump: is it a process that can be looked at, and may it be? Then two looks at all of its
 * threads a moment apart, the second with stacks; what both agree on stood still meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dump_threads.h"
#include "privilege.h"

#define SPAN_NS (NS / 10) /* from the first look to the last */
#define STACKS_NS (10 * NS)
#define OPEN_TRIES 20

int dump_thread_of(const struct dump *d, pid_t tid)
{
	for (size_t i = 0; tid && i < d->threads.n; i++)
		if (d->threads.at[i].tid == tid)
			return (int)i;
	return -1;
}

void dump_note(struct dump *d, const char *sentence)
{
	const char *s = intern(sentence);
	for (size_t i = 0; i < d->notes.n; i++)
		if (d->notes.at[i] == s)
			return;
	*vec_push(&d->notes) = s;
}

static int process_gone(pid_t pid, char *why, size_t size)
{
	snprintf(why, size, "there is no process %d", (int)pid);
	return -ESRCH;
}

/* What is no process that anybody could look at. 0, or -ESRCH and why. */
static int process_refuse(pid_t pid, const struct proc_status *s, char *why, size_t size)
{
	struct proc_status parent;
	if (s->tgid != pid) {
		snprintf(why, size, "%d is a thread of process %d. Try: whystall dump %d", (int)pid,
			 (int)s->tgid, (int)s->tgid);
	} else if (s->state == 'Z' || s->state == 'X') {
		bool known = !proc_status(s->ppid, 0, &parent);
		snprintf(why, size,
			 "process %d (%s) has ended; its parent, pid %d (%s), has not yet asked for its exit "
			 "status",
			 (int)pid, s->name, (int)s->ppid, known ? parent.name : "not to be seen");
	} else if (s->kernel_thread || pid == 2 || s->ppid == 2) {
		snprintf(why, size, "process %d (%s) is a thread of the kernel: it runs no program", (int)pid,
			 s->name);
	} else {
		return 0;
	}
	return -ESRCH;
}

static int process_open(struct dump_look *l, char *why, size_t size)
{
	struct obs_process *p = &l->dump->process;
	struct proc_status s;
	int e = proc_status(l->pid, 0, &s);
	if (e)
		return process_gone(l->pid, why, size);
	if (process_refuse(l->pid, &s, why, size))
		return -ESRCH;
	if (!caller_may_trace(l->pid, why, size))
		return -EPERM;
	e = maps_read(l->pid, &l->maps);
	if (e == -ESRCH)
		return process_gone(l->pid, why, size);
	if (!e)
		e = blocked_sample(l->pid, l->pid, NULL, NULL);
	if (e < 0 && e != -EAGAIN && e != -ESRCH) {
		privilege_explain(l->pid, "dump", why, size);
		return -EPERM;
	}
	*p = (struct obs_process){.pid = l->pid,
				  .ppid = s.ppid,
				  .ns_pid = s.ns_pid,
				  .command = proc_command(l->pid),
				  .exe = proc_link(l->pid, "exe"),
				  .runtime = "native",
				  .free_threaded = -1,
				  .switch_interval_s = -1};
	l->dump->uid = s.uid[1];
	if (!p->command) {
		char json[64];
		snprintf(json, sizeof(json), "[\"%s\"]", strpbrk(s.name, "\"\\") ? "?" : s.name);
		p->command = intern_text(json, strlen(json));
	}
	return 0;
}

static void pause_ns(uint64_t ns)
{
	struct timespec t = {(time_t)(ns / NS), (long)(ns % NS)};
	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* e_ident[EI_CLASS] of its program (elf(5)). */
static bool is_narrow(pid_t pid)
{
	char path[64];
	unsigned char ident[5] = {0};
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, ident, sizeof(ident)) : 0;
	if (fd >= 0)
		close(fd);
	return n == sizeof(ident) && ident[4] == 1;
}

static void interp_open(struct dump_look *l)
{
	struct obs_process *p = &l->dump->process;
	char version[64] = "", why[256] = "";
	int e = -ENOENT;
	for (PARTS(interp, interp_ops, ops)) {
		for (int i = 0; i < OPEN_TRIES; i++) {
			e = (*ops)->open(&l->interp, l->pid, &l->maps, version, sizeof(version), why,
					 sizeof(why));
			if (e != -EAGAIN)
				break;
			pause_ns(NS / 100);
		}
		if (e == -ENOENT)
			continue;
		p->runtime = (*ops)->name;
		p->runtime_version = version[0] ? intern(version) : NULL;
		l->ops = *ops;
		break;
	}
	if (e == -ENOENT)
		return;
	if (e) {
		dump_note(l->dump, why[0] ? why : "its interpreter has not come up yet");
		return;
	}
	p->switch_interval_s = l->ops->switch_interval(l->interp);
	p->free_threaded = l->ops->free_threaded(l->interp);
}

/* What was read is shown only if it may still be, and is still that process's. */
static int process_still(struct dump_look *l, uint64_t start, char *why, size_t size)
{
	struct proc_times times;
	if (proc_times(l->pid, l->pid, &times) || times.start != start) {
		snprintf(why, size, "process %d ended while it was looked at", (int)l->pid);
		return -ESRCH;
	}
	return caller_may_trace(l->pid, why, size) ? 0 : -EPERM;
}

static void taken_format(char *buf, size_t size)
{
	struct timespec now;
	struct tm tm;
	char zone[8];
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	size_t n = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
	strftime(zone, sizeof(zone), "%z", &tm); /* +0100, RFC 3339 wants a colon in it */
	snprintf(buf + n, size - n, ".%03d%.3s:%.2s", (int)(now.tv_nsec / 1000000), zone, zone + 3);
}

static int look(struct dump_look *l, bool native, char *why, size_t size)
{
	struct proc_times times;
	int e = process_open(l, why, size);
	if (e)
		return e;
	if (proc_times(l->pid, l->pid, &times))
		return process_gone(l->pid, why, size);
	interp_open(l);
	l->narrow = is_narrow(l->pid);
	if (l->narrow)
		dump_note(l->dump,
			  "It is a 32-bit program: its system calls and native frames are not told.");
	native = native && !l->narrow;
	if (native)
		l->native = native_open(l->pid);
	e = dump_threads_begin(l, native);
	if (e)
		return process_gone(l->pid, why, size);
	uint64_t passed = now_ns() - l->began;
	if (passed < SPAN_NS)
		pause_ns(SPAN_NS - passed);
	taken_format(l->dump->taken, sizeof(l->dump->taken));
	l->deadline = now_ns() + STACKS_NS;
	dump_threads_end(l);
	dump_cycles(l);
	l->dump->looked_ns = l->ended - l->began;
	return process_still(l, times.start, why, size);
}

int dump_take(struct dump *d, pid_t pid, bool native, char *why, size_t why_size)
{
	struct dump_look l = {.dump = d, .pid = pid};
	*d = (struct dump){0};
	int e = look(&l, native, why, why_size);
	dump_threads_close(&l);
	if (l.interp)
		l.ops->close(l.interp);
	native_close(l.native);
	dump_arena_free(l.arena);
	maps_free(&l.maps);
	return e;
}

void dump_free(struct dump *d)
{
	for (size_t i = 0; i < d->threads.n; i++)
		free(d->threads.at[i].frames);
	for (size_t i = 0; i < d->cycles.n; i++)
		vec_free(&d->cycles.at[i].at);
	vec_free(&d->threads);
	vec_free(&d->gils);
	vec_free(&d->cycles);
	vec_free(&d->notes);
}
