/* SPDX-License-Identifier: MIT
 *
 * Which processes and threads there are, what they are called, and which interpreter they run. Slots of the
 * arena come and go; an entry here stays until nothing of the record refers to it.
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

#include "probe.h"
#include "proc.h"
#include "watch_state.h"

#define TRIES_ABSENT 12u /* looks for an interpreter that is not (yet) in the process, over about 20 s */
#define FORGET_AFTER_NS NS
#define NAMES_AT_ONCE 8u
#define CPU_AT_ONCE 16u
#define CPU_OFTEN 16u /* times in a thread's life so far */
#define CPU_STALE_NS (NS / 50)
#define NAME_TRIES 6u /* in quick succession; after that, and once it has one, every other second */

void watch_note(struct watch *w, const char *sentence)
{
	const char *s = intern(sentence);
	for (size_t i = 0; i < w->notes.n; i++)
		if (w->notes.at[i] == s)
			return;
	if (w->notes.n < 32)
		*vec_push(&w->notes) = s;
}

/* What the probe must know to read who has the interpreter's lock. */
static void probe_tell(struct watch *w, struct watch_proc *p, const struct interp_lock *found, int n)
{
	struct probe_lock locks[ARENA_LOCKS];
	struct probe_frames_layout layout;
	if (!w->options.probe || n <= 0 || !p->ops->frames_layout ||
	    !p->ops->frames_layout(p->interp, &layout))
		return;
	for (int i = 0; i < n; i++)
		locks[i] = (struct probe_lock){.start = found[i].start,
					       .end = found[i].end,
					       .freed = found[i].freed,
					       .taken = found[i].taken,
					       .locked = found[i].locked,
					       .holder = found[i].holder};
	probe_locks(w->options.probe, p->slot_index, locks, (uint32_t)n, &layout);
}

static bool lock_found(const struct interp_lock *found, int n, uint64_t freed)
{
	for (int i = 0; i < n; i++)
		if (found[i].freed == freed)
			return true;
	return false;
}

/* Of an interpreter that ended: its place may be another's. */
static void lock_gone(struct arena_lock *lock)
{
	__atomic_store_n(&lock->freed, ARENA_LOCK_GONE, __ATOMIC_RELEASE);
	__atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&lock->holder, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&lock->since, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&lock->waiters, 0, __ATOMIC_RELEASE);
}

static void lock_tell(struct watch_proc *p, const struct interp_lock *found)
{
	struct arena_lock *place = NULL;
	for (unsigned i = 0; i < ARENA_LOCKS; i++) {
		struct arena_lock *lock = &p->slot->lock[i];
		uint64_t freed = LOAD(lock->freed);
		if (freed == found->freed) /* a forked child's is its parent's */
			return;
		if (!place && freed <= ARENA_LOCK_GONE)
			place = lock;
		if (!freed)
			break;
	}
	if (!place)
		return;
	__atomic_store_n(&place->taken, found->taken, __ATOMIC_RELEASE);
	__atomic_store_n(&place->freed, found->freed, __ATOMIC_RELEASE);
}

/* The interpreters' locks become those that the shim stamps. */
void watch_locks_tell(struct watch *w, struct watch_proc *p)
{
	struct interp_lock found[ARENA_LOCKS];
	if (!p->interp)
		return;
	p->told = w->now;
	int n = p->ops->locks(p->interp, found, (int)ARENA_LOCKS);
	probe_tell(w, p, found, n);
	for (unsigned i = 0; i < ARENA_LOCKS && n >= 0 && LOAD(p->slot->lock[i].freed); i++)
		if (LOAD(p->slot->lock[i].freed) != ARENA_LOCK_GONE &&
		    !lock_found(found, n, p->slot->lock[i].freed))
			lock_gone(&p->slot->lock[i]);
	for (int i = 0; i < n; i++) {
		watch_lock_gil(w, p, found[i].freed);
		lock_tell(p, &found[i]);
	}
}

/* The runtime may have names for those that are there already. */
static void threads_rename(struct watch *w, const struct watch_proc *p)
{
	for (size_t i = 0; i < w->threads.n; i++)
		if (w->threads.at[i]->proc == p && w->threads.at[i]->live) {
			w->threads.at[i]->name_tries = 0;
			w->threads.at[i]->next_name = w->now;
		}
}

static void interp_look(struct watch *w, struct watch_proc *p)
{
	struct maps maps;
	char version[64] = "", why[256] = "";
	int result = maps_read(p->pid, &maps);
	if (result)
		return;
	result = -ENOENT;
	for (PARTS(interp, interp_ops, ops)) {
		result = (*ops)->open(&p->interp, p->pid, &maps, version, sizeof version, why, sizeof why);
		if (result == -ENOENT)
			continue;
		if (result != -EAGAIN) {
			p->seen.runtime = (*ops)->name;
			p->seen.runtime_version = version[0] ? intern(version) : NULL;
		}
		if (!result)
			p->ops = *ops;
		break;
	}
	maps_free(&maps);
	p->tries++;
	p->next_open = 0;
	if (result == -EAGAIN) {
		p->next_open = w->now + BUSY_POLL_NS;
	} else if (result == -ENOENT) {
		p->seen.runtime = "native";
		if (p->tries < TRIES_ABSENT)
			p->next_open = w->now + (IDLE_POLL_NS << (p->tries < 9 ? p->tries : 9));
	} else if (result) {
		p->seen.note = intern(why[0] ? why : strerror(-result));
	} else {
		p->seen.switch_interval_s = p->ops->switch_interval(p->interp);
		p->seen.free_threaded = p->ops->free_threaded(p->interp);
		watch_locks_tell(w, p);
		threads_rename(w, p);
		watch_before(w, p);
	}
	writer_put_process(w->writer, &p->seen);
}

static const char *command_read(pid_t pid)
{
	char path[64], *text = NULL;
	snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
	ssize_t length = file_read(path, &text, 65536);
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
	const char *command = command_read(p->pid);
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

static void interp_drop(struct watch_proc *p)
{
	if (p->interp)
		p->ops->close(p->interp);
	p->interp = NULL;
}

static void thread_close(struct watch *w, struct watch_thread *t)
{
	if (t->schedstat >= 0)
		close(t->schedstat);
	t->schedstat = -1;
	watch_run_close(t);
	watch_fault_close(w, t);
	if (t->perf) {
		perf_sampler_close(t->perf);
		w->perf_open--;
	}
	t->perf = NULL;
	t->perf_on = false;
	free(t->perf_latest);
	t->perf_latest = NULL;
}

/* The interpreter's lock figures and the CPU time of a thread, as far as they can be read now. */
static int thread_totals(struct watch *w, struct watch_thread *t)
{
	struct arena_thread *slot = t->slot;
	int64_t cpu, delay;
	int result = schedstat_read(t, &cpu, &delay);
	if (!result) {
		t->seen.cpu_ns = cpu;
		t->cpu_at = w->now;
	}
	t->seen.gil_known = LOAD(t->proc->slot->lock[0].freed) <= ARENA_LOCK_GONE		       ? 0
			    : t->proc->seen.backend == BACKEND_EBPF && !probe_hooked(w->options.probe) ? 2
												       : 1;
	t->seen.gil_holds = LOAD(slot->lock_holds);
	t->seen.gil_held_ns = LOAD(slot->lock_held_ns);
	t->seen.gil_longest_ns = LOAD(slot->lock_longest_ns);
	t->seen.gil_waits = LOAD(slot->lock_waits);
	t->seen.gil_waited_ns = LOAD(slot->lock_waited_ns);
	/* a hold or wait under way counts as far as it has gone */
	struct arena_lock *lock = &t->proc->slot->lock[0];
	uint64_t since = LOAD(lock->since), now = now_ns();
	if (LOAD(lock->holder) == t->slot_index + 1 && since && since < now) {
		t->seen.gil_held_ns += now - since;
		if (now - since > t->seen.gil_longest_ns)
			t->seen.gil_longest_ns = now - since;
	}
	uint64_t wait = LOAD(slot->lock_wait_start);
	if (wait && wait < now)
		t->seen.gil_waited_ns += now - wait;
	return result;
}

static void thread_end(struct watch *w, struct watch_thread *t, uint64_t when, bool cut)
{
	if (!t->live)
		return;
	uint32_t state = LOAD(t->slot->state);
	/* else the thread gave it back itself, and it may be another's by now */
	bool ours = (state == THREAD_LIVE || state == THREAD_ENDED) && LOAD(t->slot->serial) == t->serial;
	if (t->loop)
		watch_loop_cut(w, t, when, cut);
	/* it is gone: what it had when it was last seen tells little if that was long ago */
	uint64_t age = when > t->seen.start_ns ? when - t->seen.start_ns : 0;
	if (ours && thread_totals(w, t) &&
	    when > t->cpu_at + (age / 8 > CPU_STALE_NS ? age / 8 : CPU_STALE_NS))
		t->seen.cpu_ns = -1;
	t->live = false;
	t->seen.end_ns = when > t->seen.start_ns ? when : t->seen.start_ns; /* it began after this look did */
	writer_put_thread(w->writer, &t->seen);
	thread_close(w, t);
	w->by_thread_slot[t->slot_index] = NULL;
	/* the slot is the next thread's */
	if (ours)
		__atomic_store_n(&t->slot->state, THREAD_FREE, __ATOMIC_RELEASE);
}

static void threads_end(struct watch *w, struct watch_proc *p, uint64_t when, bool cut);

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
	threads_end(w, p, LOAD(p->slot->end), false);
	interp_drop(p);
	p->next_open = 0;
	program_forget(w, p);
	p->seen.runtime = p->seen.runtime_version = NULL;
	p->left = true;
}

static void threads_end(struct watch *w, struct watch_proc *p, uint64_t when, bool cut)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (t->proc != p)
			continue;
		if (!t->slot)
			thread_close(w, t);
		thread_end(w, t, when, cut);
	}
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
	threads_end(w, p, when, cut);
	watch_marks(w, p);
	interp_drop(p);
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

void watch_threads_ended(struct watch *w)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!t->live || LOAD(t->slot->state) != THREAD_ENDED)
			continue;
		uint64_t end = LOAD(t->slot->end);
		if (LOAD(t->slot->head) == t->slot->tail)
			thread_end(w, t, end ? end : w->now, false);
	}
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
		threads_end(w, p, slot->start, false);
		watch_marks(w, p);
		interp_drop(p);
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

static void thread_new(struct watch *w, uint32_t index)
{
	struct arena_thread *slot = &w->arena->thread[index];
	uint32_t proc = LOAD(slot->proc); /* once: it may change */
	if (proc >= ARENA_PROCS || !w->by_proc_slot[proc])
		return;
	struct watch_proc *p = w->by_proc_slot[proc];
	struct watch_thread *t = NULL;
	for (size_t i = 0; i < w->threads.n && !t; i++) /* an exec keeps the thread that made it */
		if (!w->threads.at[i]->live && w->threads.at[i]->proc == p &&
		    w->threads.at[i]->seen.tid == slot->tid)
			t = w->threads.at[i];
	if (t) {
		thread_close(w, t); /* what was opened while it had no slot */
	} else {
		t = xcalloc(1, sizeof *t);
		*vec_push(&w->threads) = t;
		t->seen.id = ++w->next_id;
		t->seen.start_ns = slot->start ? slot->start : w->now;
	}
	t->seen.process = p->seen.id;
	t->seen.tid = t->seen.ns_tid = slot->tid;
	t->seen.end_ns = 0;
	t->seen.cpu_ns = -1;
	t->proc = p;
	t->slot = slot;
	t->slot_index = index;
	t->serial = slot->serial;
	t->dropped = 0;
	t->live = true;
	t->schedstat = -1;
	t->name_tries = 0;
	t->next_name = w->now;
	t->next_cpu = t->cpu_at = 0;
	w->by_thread_slot[index] = t;
	watch_thread_name(w, t);
	writer_put_thread(w->writer, &t->seen);
}

void watch_thread_name(struct watch *w, struct watch_thread *t)
{
	char name[256] = "", path[64], *comm = NULL;
	struct interp_thread key = {.tid = t->seen.tid, .pthread = t->slot ? t->slot->pthread : 0};
	bool found = t->proc->interp && !t->proc->ops->thread_name(t->proc->interp, key, name, sizeof name);
	t->named = t->named || found;
	t->name_tries = found ? NAME_TRIES : t->name_tries + 1;
	/* a runtime gives its names some time after the thread's birth, and may change them */
	t->next_name =
		w->now + (found || t->name_tries >= NAME_TRIES ? 2 * NS : IDLE_POLL_NS << t->name_tries);
	if (!found) {
		if (t->seen.name && t->named)
			return;
		snprintf(path, sizeof path, "/proc/%d/task/%d/comm", t->proc->pid, t->seen.tid);
		if (file_read(path, &comm, 64) > 0) {
			comm[strcspn(comm, "\n")] = 0;
			snprintf(name, sizeof name, "%s", comm);
		}
		free(comm);
	}
	if (name[0] && intern(name) != t->seen.name) {
		watch_names_seen(w, t->seen.name, intern(name));
		t->seen.name = intern(name);
		writer_put_thread(w->writer, &t->seen);
	}
}

/* A thread that has not met the shim's slow paths has no slot, but may hold the lock that a loop waits for.
 */
static struct watch_thread *thread_slotless(struct watch *w, struct watch_proc *p, int tid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task/%d", p->pid, tid);
	if (tid <= 0 || access(path, F_OK))
		return NULL;
	struct watch_thread *t = xcalloc(1, sizeof *t);
	*vec_push(&w->threads) = t;
	t->seen.id = ++w->next_id;
	t->seen.start_ns = w->now;
	t->seen.process = p->seen.id;
	t->seen.tid = t->seen.ns_tid = tid;
	t->seen.cpu_ns = -1;
	t->proc = p;
	t->schedstat = -1;
	watch_thread_name(w, t);
	writer_put_thread(w->writer, &t->seen);
	return t;
}

struct watch_thread *watch_thread_of(struct watch *w, struct watch_proc *p, int tid)
{
	for (size_t i = w->threads.n; i-- > 0;)
		if (w->threads.at[i]->proc == p && w->threads.at[i]->seen.tid == tid)
			return w->threads.at[i];
	return thread_slotless(w, p, tid);
}

static bool process_gone(struct watch_proc *p)
{
	struct pollfd fd = {.fd = p->pidfd, .events = POLLIN};
	if (p->pidfd < 0) /* it was over before we met it, or descriptors are short */
		return kill(p->pid, 0) && errno == ESRCH;
	return poll(&fd, 1, 0) == 1;
}

/* An ended thread that no event still on its way can mean; the main thread may come back by an exec. */
static bool thread_forgettable(struct watch *w, struct watch_thread *t)
{
	int64_t cpu, delay;
	if (t->live || (t->proc->live && t->seen.tid == t->proc->pid))
		return false;
	if (!t->seen.end_ns && t->proc->live) { /* it never had a slot */
		int result = schedstat_read(t, &cpu, &delay);
		if (result == -ESRCH || result == -ENOENT)
			t->seen.end_ns = w->now;
	}
	return !t->proc->live || (t->seen.end_ns && t->seen.end_ns + FORGET_AFTER_NS < w->now);
}

static void threads_forget(struct watch *w)
{
	size_t kept = 0;
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!thread_forgettable(w, t)) {
			w->threads.at[kept++] = t;
			continue;
		}
		thread_close(w, t);
		free(t);
	}
	w->threads.n = kept;
}

/* The thread is gone, and the shim did not see it end: cancelled, if in a loop then in its wait. */
static bool thread_vanished(const struct watch_thread *t)
{
	struct now_copy now;
	return !t->loop || (now_read(t->slot, &now) && now.now == NOW_READY);
}

/* Once a second, and at the end: what changes slowly. */
void watch_totals(struct watch *w)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!t->live)
			continue;
		struct obs_thread before = t->seen;
		int gone = thread_totals(w, t);
		if ((gone == -ESRCH || gone == -ENOENT) && thread_vanished(t)) {
			watch_shared_gone(t);
			thread_end(w, t, w->now, false);
			continue;
		}
		if (memcmp(&before, &t->seen, sizeof before))
			writer_put_thread(w->writer, &t->seen);
		if (t->proc->interp && w->now >= t->next_name)
			watch_thread_name(w, t);
		if (t->loop)
			watch_loop_put(w, t);
	}
	for (size_t i = 0; i < w->procs.n; i++)
		if (w->procs.at[i]->live && w->procs.at[i]->interp)
			watch_locks_tell(w, w->procs.at[i]);
	threads_forget(w);
	processes_forget(w);
}

/* The runtime's names of threads that are young: what ends within a second has one too. */
static void names_read(struct watch *w)
{
	unsigned read = 0;
	for (size_t i = 0; i < w->threads.n && read < NAMES_AT_ONCE; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (!t->live || !t->proc->interp || w->now < t->next_name || t->name_tries >= NAME_TRIES)
			continue;
		watch_thread_name(w, t);
		read++;
	}
}

/* The CPU time of threads, the more often the younger they are: nobody says it when a thread has ended. */
static void cpu_read(struct watch *w)
{
	unsigned read = 0;
	int64_t cpu, delay;
	for (size_t i = 0; i < w->threads.n && read < CPU_AT_ONCE; i++) {
		w->cpu_next = w->cpu_next + 1 < w->threads.n ? w->cpu_next + 1 : 0;
		struct watch_thread *t = w->threads.at[w->cpu_next];
		if (!t->live || w->now < t->next_cpu)
			continue;
		uint64_t age = w->now > t->seen.start_ns ? w->now - t->seen.start_ns : 0;
		t->next_cpu = w->now + (age < NS * CPU_OFTEN ? age / CPU_OFTEN : NS);
		read++;
		if (schedstat_read(t, &cpu, &delay))
			continue;
		t->seen.cpu_ns = cpu;
		t->cpu_at = w->now;
	}
}

void watch_processes(struct watch *w)
{
	uint32_t procs = LOAD(w->arena->proc_high), threads = LOAD(w->arena->thread_high);
	for (uint32_t i = 0; i < procs && i < ARENA_PROCS; i++) {
		struct arena_proc *slot = &w->arena->proc[i];
		uint32_t state = LOAD(slot->state);
		struct watch_proc *p = w->by_proc_slot[i];
		if (p && p->serial != slot->serial && (state == PROC_LIVE || state == PROC_ENDED))
			w->by_proc_slot[i] = NULL, p = NULL;
		if (!p && (state == PROC_LIVE || state == PROC_ENDED || watch_refused(slot)))
			process_new(w, i);
	}
	for (uint32_t i = 0; i < threads && i < ARENA_THREADS; i++) {
		struct arena_thread *slot = &w->arena->thread[i];
		uint32_t state = LOAD(slot->state);
		struct watch_thread *t = w->by_thread_slot[i];
		if (t && (state == THREAD_FREE ||
			  (state == THREAD_LIVE && LOAD(slot->serial) != t->serial))) { /* self_end */
			thread_end(w, t, w->now, false);
			t = NULL;
		}
		if (!t && (state == THREAD_LIVE || state == THREAD_ENDED))
			thread_new(w, i);
	}
	names_read(w);
	cpu_read(w);
	for (size_t i = 0; i < w->procs.n; i++) {
		struct watch_proc *p = w->procs.at[i];
		if (!p->live)
			continue;
		if (!p->interp && p->next_open && p->next_open <= w->now)
			interp_look(w, p);
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
