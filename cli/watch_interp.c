/* SPDX-License-Identifier: MIT
 *
 * Which interpreter a process runs, and its locks: told to the shim (which stamps them) or to the probe
 * (which reads who has them).
 */
#include <errno.h>
#include <string.h>

#include "probe.h"
#include "watch_state.h"

#define TRIES_ABSENT 12u /* looks for an interpreter that is not (yet) in the process, over about 20 s */

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
	if (n > PROBE_LOCKS)
		watch_note(w, "a process has more interpreters than attach follows: waits for the others' "
			      "locks are "
			      "told as waits for a futex");
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

void watch_interp_look(struct watch *w, struct watch_proc *p)
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

void watch_interp_drop(struct watch_proc *p)
{
	if (p->interp)
		p->ops->close(p->interp);
	p->interp = NULL;
}
