/* SPDX-License-Identifier: MIT
 *
 * lock: the loop waited for a lock other than the interpreter's. Its holder is to blame where there is one; a
 * wait that nobody is responsible for (Event, Queue, Future: the waiter itself took the lock last) is the
 * loop's own line's.
 */
#include <string.h>

#include "../timeline.h"

#define SIGNAL_FRAMES 16 /* innermost ones, in which a wait for a signal shows */

static bool lock_claims(const struct span *span)
{
	return span->kind == SPAN_LOCK;
}

/* Does the loop wait for a signal rather than for a lock? A futex is the same to the kernel; the functions on
 * the stack tell (Rust's std and parking_lot: Condvar::wait, thread::park, on which channels wait). */
static bool is_signal(const struct observations *o, uint32_t stack)
{
	static const char *const waits[] = {"ondvar", "thread::park", "Thread>::park", "Parker::park",
					    "Parker>::park"};
	int n;
	const uint32_t *ids = verdict_stack(o, stack, &n);
	for (int i = 0; ids && i < n && i < SIGNAL_FRAMES; i++)
		for (size_t k = 0; k < LENGTH(waits); k++) {
			const char *function = verdict_frame(o, ids[i])->function;
			if (function && strstr(function, waits[k]))
				return true;
		}
	return false;
}

static void lock_judge(const struct judge *j, const struct span *span, struct segment *segment)
{
	struct culprit self = {0};
	blame_loop(j, span->start_ns, span->end_ns, "futex", &self, &segment->stack);
	bool signal = span->wait->self_owned || (span->lock && span->lock->kind == LOCK_COND) ||
		      (span->lock && span->lock->kind == LOCK_FUTEX && is_signal(j->seen, segment->stack));
	if (!signal)
		blame_holders(j, span, segment);
	if (!segment->holders.n)
		segment->culprit = self;
}

static const char *lock_text(const struct obs_lock *lock)
{
	static const char *const names[] = {[LOCK_MUTEX] = "a mutex",
					    [LOCK_RWLOCK] = "a read-write lock",
					    [LOCK_SEM] = "a lock (semaphore)",
					    [LOCK_COND] = "a condition variable",
					    [LOCK_FUTEX] = "a futex"};
	return lock && lock->kind < LENGTH(names) && names[lock->kind] ? names[lock->kind] : "a lock";
}

static const char *hold_advice(const struct verdict_process *p, const char *name)
{
	if (!strncmp(name, LOCK_NAME_IMPORT, strlen(LOCK_NAME_IMPORT)) || !strcmp(name, LOCK_NAME_IMPORTS))
		return "Import it before the loop runs, at the top of a module, so that no function of the "
		       "loop's waits for it.";
	if (!strncmp(name, LOCK_NAME_LOGGING, strlen(LOCK_NAME_LOGGING)))
		return "Log through a logging.handlers.QueueHandler: a QueueListener's thread then waits for "
		       "the slow handler, not the loop.";
	return verdict_python(p) ? "Hold the lock for less: do the slow work outside it; or take it off the "
				   "loop with asyncio.to_thread()."
				 : "Hold the lock for less: do the slow work outside it; or take it off the "
				   "loop's thread.";
}

/* A pause of all threads, or the wait until it can begin. True: explained. */
static bool world_explain(struct verdict_cause *v, const char *name, const char *total)
{
	const char *thread = v->culprit.thread ? v->culprit.thread : "another thread";
	if (!strcmp(name, LOCK_NAME_WORLD)) {
		v->why = xprintf("%s stopped all threads, the loop's for %s: without the GIL, collecting "
				 "garbage and changing classes take that.",
				 v->culprit.thread ? v->culprit.thread : "Another thread", total);
		v->advice = xstrdup("Collect less, or while the loop is idle: gc.freeze() after start-up, a "
				    "larger gc.set_threshold(); define classes before it runs.");
		return true;
	}
	if (strcmp(name, LOCK_NAME_OWN_WORLD))
		return false;
	v->why =
		xprintf("The loop itself stopped all threads, and waited %s for %s to pause.", total, thread);
	v->advice = xstrdup("Let that native code give up its thread state while it computes, or run it in a "
			    "process; or collect while it does not run.");
	return true;
}

static void lock_explain(const struct verdict_process *p, const struct verdict_loop *l,
			 struct verdict_cause *v)
{
	(void)l;
	char longest[32], total[32];
	time_format(longest, sizeof longest, v->longest_hold_ns);
	time_format(total, sizeof total, v->ns);
	const char *known = v->lock && v->lock->name ? v->lock->name : NULL;
	char name[512];
	snprintf(name, sizeof name, "%s%s", known ? lock_article(known) : "",
		 known ? known : lock_text(v->lock));
	if (!v->hold_count) {
		char others[32] = "";
		if (v->lock_count > 1)
			snprintf(others, sizeof others, " and %u other%s,", v->lock_count - 1,
				 v->lock_count > 2 ? "s" : "");
		v->why = xprintf("The loop thread itself waited %s for %s%s that no thread holds: for "
				 "another thread to finish or to signal.",
				 total, name, others);
		v->advice = xstrdup(
			verdict_python(p)
				? "Await it instead: asyncio.Event, asyncio.Queue, asyncio.wrap_future(), or "
				  "asyncio.to_thread() around the wait."
				: "Let a descriptor wake the loop instead of waiting on its thread.");
		return;
	}
	if (known && !strcmp(known, LOCK_NAME_JOIN)) {
		v->why = xprintf("The loop thread itself waited %s for %s to end.", total,
				 v->culprit.thread ? v->culprit.thread : "another thread");
		v->advice = xstrdup("Await what the thread computes instead, or join it from another thread: "
				    "asyncio.to_thread(thread.join).");
		return;
	}
	if (known && world_explain(v, known, total))
		return;
	if (v->holder_run == RUN_BLOCKED && v->holder_syscall)
		v->why = xprintf("%s held %s for %s, and was itself blocked in %s%s%s%s.",
				 v->culprit.thread ? v->culprit.thread : "Another thread", name, longest,
				 v->holder_syscall, v->holder_target ? " (" : "",
				 v->holder_target ? v->holder_target : "", v->holder_target ? ")" : "");
	else
		v->why = xprintf("%s held %s for %s, and ran meanwhile.",
				 v->culprit.thread ? v->culprit.thread : "Another thread", name, longest);
	v->advice = xstrdup(hold_advice(p, known ? known : ""));
}

static const struct cause lock = {
	.name = "lock", .order = 20, .claims = lock_claims, .judge = lock_judge, .explain = lock_explain};
PART(cause, cause, lock);
