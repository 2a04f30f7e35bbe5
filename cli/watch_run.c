/* SPDX-License-Identifier: MIT
 *
 * Whether a thread runs, waits for memory or is stopped, from /proc/PID/task/TID/stat (proc(5)); frozen is
 * stopped too. Stops have no event in the target: a stopped thread writes nothing. Of the command itself, its
 * parent is told at once (SIGCHLD); of others the looks tell, and a stop's ends lie between two looks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watch_state.h"

#define NEAR_NS 50000000ull /* an end of a stop that a look saw, and this long after it the parent */

/* 3: state, 12: majflt; the name, in brackets, may have brackets and blanks in it */
static bool stat_parse(const char *text, char *state, int64_t *faults)
{
	long long n;
	const char *at = strrchr(text, ')');
	if (!at || sscanf(at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %lld", state, &n) != 2 || n < 0)
		return false;
	*faults = n;
	return true;
}

/* A frozen control group (docker pause) leaves its threads asleep: kernel/freezer.c, and kernel/signal.c for
 * cgroup v2. */
static bool is_frozen(const struct watch_thread *t)
{
	static const char *const places[] = {"__refrigerator", "do_freezer_trap"};
	char path[64], *wchan = NULL;
	bool frozen = false;
	snprintf(path, sizeof path, "/proc/%d/task/%d/wchan", t->proc->pid, t->seen.tid);
	if (file_read(path, &wchan, 256) > 0)
		for (size_t i = 0; i < LENGTH(places); i++)
			frozen = frozen || !strcmp(wchan, places[i]);
	free(wchan);
	return frozen;
}

void watch_run_read(struct watch_thread *t)
{
	char buf[512];
	t->run_state = 0;
	t->faults = -1;
	if (!t->stat) {
		snprintf(buf, sizeof buf, "/proc/%d/task/%d/stat", t->proc->pid, t->seen.tid);
		t->stat = open(buf, O_RDONLY | O_CLOEXEC) + 1;
		if (!t->stat)
			return;
	}
	ssize_t n = pread(t->stat - 1, buf, sizeof buf - 1, 0);
	if (n <= 0)
		return;
	buf[n] = 0;
	if (!stat_parse(buf, &t->run_state, &t->faults)) {
		t->run_state = 0;
		t->faults = -1;
	}
	if ((t->run_state == 'D' || t->run_state == 'S') && is_frozen(t))
		t->run_state = 'T';
}

void watch_run_close(struct watch_thread *t)
{
	if (t->stat)
		close(t->stat - 1);
	t->stat = 0;
}

void watch_run_look(struct watch_thread *t, int number, struct obs_sample *seen)
{
	watch_run_read(t);
	seen->faults = t->faults;
	if (watch_run_stopped(t))
		seen->run = RUN_STOPPED;
	else if (number == SYSCALL_NONE)
		seen->run = t->run_state == 'R' ? RUN_RUNNING : RUN_FAULTING;
}

static void stop_close(struct watch_loop *l, uint64_t end)
{
	if (end > l->stop_since)
		*vec_push(&l->waits) =
			(struct obs_wait){.what = WAIT_STOPPED, .start_ns = l->stop_since, .end_ns = end};
	l->stop_since = 0;
	l->stop_shown = false;
}

bool watch_stop_look(struct watch *w, struct watch_thread *t, uint64_t tick)
{
	struct watch_loop *l = t->loop;
	bool before = l->stop_since != 0, is = watch_run_stopped(t);
	if (is && !before) {
		/* a tick that began at its wait's deadline began stopped: else the thread had gone on */
		uint64_t going = l->going_look > tick ? l->going_look : tick;
		l->stop_since = LOAD(t->slot->tick_start) ? going + (w->now - going) / 2 : tick;
	}
	if (is)
		l->stop_look = w->now;
	else
		watch_stop_end(t, w->now);
	if (!is)
		l->going_look = w->now;
	if (!is || l->stop_shown)
		return false;
	l->stop_shown = true;
	return true;
}

void watch_stop_end(struct watch_thread *t, uint64_t end)
{
	struct watch_loop *l = t->loop;
	if (l->stop_since)
		stop_close(l, l->stop_look > l->stop_since && l->stop_look < end
				      ? l->stop_look + (end - l->stop_look) / 2
				      : end);
}

bool watch_stop_open(const struct watch_thread *t, uint64_t until, struct obs_wait *out)
{
	const struct watch_loop *l = t->loop;
	if (!l->stop_since || l->stop_since >= until)
		return false;
	*out = (struct obs_wait){.what = WAIT_STOPPED, .start_ns = l->stop_since, .end_ns = until};
	return true;
}

/* What a look saw of the stop's end a moment ago is corrected. */
static bool stop_correct(struct watch_loop *l, uint64_t when)
{
	for (size_t i = l->waits.n; i-- > 0;) {
		struct obs_wait *wait = &l->waits.at[i];
		if (wait->what != WAIT_STOPPED)
			continue;
		if (wait->end_ns + NEAR_NS < when || wait->end_ns > when + NEAR_NS || wait->start_ns >= when)
			return false;
		wait->end_ns = when;
		return true;
	}
	return false;
}

void watch_stopped(struct watch *w, pid_t pid, bool stopped, uint64_t when)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!t->live || !t->loop || t->proc->pid != pid)
			continue;
		struct watch_loop *l = t->loop;
		if (stopped)
			l->stop_since = l->stop_look = when;
		else if (l->stop_since)
			stop_close(l, when);
		else
			stop_correct(l, when);
	}
}
