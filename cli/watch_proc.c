/* SPDX-License-Identifier: MIT
 *
 * Which processes there are, and what they are called. Slots of the arena come and go; an entry here stays
 * until nothing of the record refers to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proc.h"
#include "watch_state.h"

void watch_note(struct watch *w, const char *sentence)
{
	const char *s = intern(sentence);
	for (size_t i = 0; i < w->notes.n; i++)
		if (w->notes.at[i] == s)
			return;
	if (w->notes.n < 32)
		*vec_push(&w->notes) = s;
}

/* A process that was over before anyone could ask it: what we know it by. */
static const char *command_known(struct watch *w, const struct watch_proc *p)
{
	bool went_on = LOAD(p->slot->refusal) && LOAD(p->slot->state) != PROC_REFUSED;
	if (p->pid == w->options.pid && w->options.command && !went_on)
		return w->options.command;
	json_t *array = json_array(),
	       *word = json_stringn(p->slot->image, strnlen(p->slot->image, sizeof p->slot->image));
	json_array_append_new(array, word ? word : json_string("?"));
	char *dump = json_dumps(array, JSON_COMPACT);
	const char *result = intern(dump);
	free(dump);
	json_decref(array);
	return result;
}

void watch_describe_process(struct watch *w, struct watch_proc *p)
{
	char path[64], exe[4096];
	const char *command = proc_command(p->pid);
	if (command)
		p->seen.command = command;
	else if (!p->seen.command || LOAD(p->slot->refusal))
		p->seen.command = command_known(w, p);
	snprintf(path, sizeof path, "/proc/%d/exe", p->pid);
	ssize_t n = readlink(path, exe, sizeof exe - 1);
	if (n > 0)
		p->seen.exe = intern_n(exe, (size_t)n);
	else if (!p->seen.exe)
		p->seen.exe = intern_n(p->slot->image, strnlen(p->slot->image, sizeof p->slot->image));
	writer_put_process(w->writer, &p->seen);
}

/* What only the program that ran in it was. */
static void program_forget(struct watch *w, struct watch_proc *p)
{
	if (p->box)
		writer_close_native(w->writer, p->box);
	p->box = NULL;
	watch_locks_forget(p);
	vec_free(&p->holds);
	watch_shared_forget(p);
}

void watch_process_left(struct watch *w, struct watch_proc *p)
{
	watch_threads_end(w, p, LOAD(p->slot->end), false);
	watch_interp_drop(p);
	p->next_open = 0;
	program_forget(w, p);
	p->seen.runtime = p->seen.runtime_version = NULL;
	p->left = true;
}

void watch_process_free(struct watch *w, struct watch_proc *p)
{
	program_forget(w, p);
	free(p);
}

/* Those that have ended, once no thread is left that means one. */
static void processes_forget(struct watch *w)
{
	size_t kept = 0;
	for (size_t i = 0; i < w->procs.n; i++) {
		struct watch_proc *p = w->procs.at[i];
		bool meant = p->live;
		for (size_t k = 0; k < w->threads.n && !meant; k++)
			meant = w->threads.at[k]->proc == p;
		if (meant)
			w->procs.at[kept++] = p;
		else
			watch_process_free(w, p);
	}
	w->procs.n = kept;
}

static void process_close(struct watch *w, struct watch_proc *p, uint64_t when, bool cut)
{
	watch_threads_end(w, p, when, cut);
	watch_marks(w, p);
	watch_interp_drop(p);
	quota_close(&p->quota);
	p->live = false;
	w->threads_refused += LOAD(p->slot->threads_refused);
	w->takers_lost += (uint64_t)LOAD(p->slot->sems_lost) + LOAD(p->slot->held_lost);
	if (p->pidfd >= 0)
		close(p->pidfd);
	p->pidfd = -1;
	writer_put_process(w->writer, &p->seen);
	program_forget(w, p);
	w->by_proc_slot[p->slot_index] = NULL;
}

void watch_process_end(struct watch *w, struct watch_proc *p, uint64_t when)
{
	if (!p->live)
		return;
	uint64_t orderly = LOAD(p->slot->end);
	watch_events(w);
	watch_leave_end(w, p);
	p->seen.end_ns = when > p->seen.start_ns ? when : p->seen.start_ns; /* it began after this look did */
	process_close(w, p, orderly ? orderly : when, !orderly);
	__atomic_store_n(&p->slot->state, PROC_FREE, __ATOMIC_RELEASE);
}

void watch_process_leave(struct watch *w, struct watch_proc *p, uint64_t when)
{
	process_close(w, p, when, true);
}

/* An exec in a process that we know: the same process goes on as another program. */
static struct watch_proc *process_known(struct watch *w, pid_t pid)
{
	for (size_t i = 0; i < w->procs.n; i++)
		if (w->procs.at[i]->pid == pid && w->procs.at[i]->live)
			return w->procs.at[i];
	return NULL;
}

static void process_new(struct watch *w, uint32_t index)
{
	struct arena_proc *slot = &w->arena->proc[index];
	struct watch_proc *p = process_known(w, slot->pid);
	if (p && p->slot == slot) {
		watch_process_end(w, p, slot->start);
		p = NULL;
	}
	if (p && slot->start < p->slot->start) { /* the image before an exec, met late */
		__atomic_store_n(&slot->state, PROC_FREE, __ATOMIC_RELEASE);
		return;
	}
	if (p) {
		watch_threads_end(w, p, slot->start, false);
		watch_marks(w, p);
		watch_interp_drop(p);
		w->by_proc_slot[p->slot_index] = NULL;
		__atomic_store_n(&p->slot->state, PROC_FREE, __ATOMIC_RELEASE);
		p->tries = 0;
		program_forget(w, p);
		p->seen.note = p->seen.role = NULL;
		p->role_at = p->role_looks = 0;
	} else {
		p = xcalloc(1, sizeof *p);
		*vec_push(&w->procs) = p;
		p->seen.id = ++w->next_id;
		p->seen.pid = p->pid = slot->pid;
		struct proc_status status;
		p->seen.ns_pid =
			proc_status(p->pid, 0, &status) || !status.ns_pid ? slot->pid : status.ns_pid;
		p->seen.ppid = slot->ppid;
		p->seen.backend = w->options.probe ? BACKEND_EBPF : BACKEND_PRELOAD;
		p->seen.start_ns = slot->start ? slot->start : w->now;
		p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
		p->live = true;
	}
	p->seen.free_threaded = -1;
	p->seen.switch_interval_s = p->seen.quota_s = p->seen.quota_period_s = -1;
	p->next_quota = 0;
	p->slot = slot;
	p->slot_index = index;
	p->marks_taken = LOAD(slot->mark_first);
	p->serial = slot->serial;
	p->next_open = LOAD(slot->state) == PROC_REFUSED ? 0 : w->now;
	p->left = false;
	p->leave_check = 0;
	w->by_proc_slot[index] = p;
	watch_describe_process(w, p);
}

static bool process_gone(struct watch_proc *p)
{
	struct pollfd fd = {.fd = p->pidfd, .events = POLLIN};
	if (p->pidfd < 0) /* it was over before we met it, or descriptors are short */
		return kill(p->pid, 0) && errno == ESRCH;
	return poll(&fd, 1, 0) == 1;
}

/* Once a second, and at the end: what changes slowly. */
void watch_totals(struct watch *w)
{
	watch_threads_total(w);
	for (size_t i = 0; i < w->procs.n; i++)
		if (w->procs.at[i]->live && w->procs.at[i]->interp)
			watch_locks_tell(w, w->procs.at[i]);
	watch_threads_forget(w);
	processes_forget(w);
}

void watch_processes(struct watch *w)
{
	uint32_t procs = LOAD(w->arena->proc_high);
	for (uint32_t i = 0; i < procs && i < ARENA_PROCS; i++) {
		struct arena_proc *slot = &w->arena->proc[i];
		uint32_t state = LOAD(slot->state);
		struct watch_proc *p = w->by_proc_slot[i];
		if (p && p->serial != slot->serial && (state == PROC_LIVE || state == PROC_ENDED))
			w->by_proc_slot[i] = NULL, p = NULL;
		if (!p && (state == PROC_LIVE || state == PROC_ENDED || watch_refused(slot)))
			process_new(w, i);
	}
	watch_threads(w);
	for (size_t i = 0; i < w->procs.n; i++) {
		struct watch_proc *p = w->procs.at[i];
		if (!p->live)
			continue;
		if (!p->interp && p->next_open && p->next_open <= w->now)
			watch_interp_look(w, p);
		watch_role(w, p);
		if (process_gone(p))
			watch_process_end(w, p, w->now);
		else if (!w->options.probe)
			watch_leave(w, p);
		if (p->live)
			watch_marks(w, p);
	}
	if (w->now >= w->slow_at) {
		watch_totals(w);
		w->slow_at = w->now + NS;
	}
}
