/* SPDX-License-Identifier: MIT
 *
 * What a blocked thread waits for, in the words of what it runs: a lock, events, work, a system call. Then
 * since when: by the shim where it is there, else as long as the thread has slept.
 */
#include <stdlib.h>
#include <string.h>

#include "../record/arena.h"
#include "dump_threads.h"
#include "target.h"

static bool listed(const char *name, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(name, *list))
			return true;
	return false;
}

/* Without descriptors such a call is a sleep. */
static bool is_readiness(const char *name, const uint64_t args[6])
{
	static const char *const epoll[] = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "io_uring_enter",
					    NULL};
	static const char *const first[] = {"select", "pselect6", NULL}, *const second[] = {"poll", "ppoll",
											    NULL};
	return listed(name, epoll) || (listed(name, first) && (int)args[0] > 0) ||
	       (listed(name, second) && args[1] > 0);
}

/* The library's functions in which a thread waits, innermost first: where several are on the stack, one
 * right above the other, the outermost says it best. */
static const struct {
	const char *file, *function, *phrase;
	enum dump_for what;
} idle[] = {
	{"/threading.py", "wait", "Condition.wait", FOR_LOCK},
	{"/threading.py", "Condition.wait", "Condition.wait", FOR_LOCK},
	{"/threading.py", "Condition.wait_for", "Condition.wait_for", FOR_LOCK},
	{"/threading.py", "Event.wait", "Event.wait", FOR_LOCK},
	{"/threading.py", "Semaphore.acquire", "Semaphore.acquire", FOR_LOCK},
	{"/threading.py", "Barrier.wait", "Barrier.wait", FOR_LOCK},
	{"/threading.py", "Barrier._wait", "Barrier.wait", FOR_LOCK},
	{"/threading.py", "Thread.join", "Thread.join", FOR_JOIN},
	{"/threading.py", "Thread._wait_for_tstate_lock", "Thread.join", FOR_JOIN},
	{"/threading.py", "_shutdown", "threading._shutdown", FOR_JOIN},
	{"/queue.py", "Queue.get", "Queue.get", FOR_WORK},
	{"/queue.py", "Queue.put", "Queue.put", FOR_LOCK},
	{"/queue.py", "Queue.join", "Queue.join", FOR_LOCK},
	{"/concurrent/futures/_base.py", "Future.result", "Future.result", FOR_LOCK},
	{"/concurrent/futures/_base.py", "wait", "concurrent.futures.wait", FOR_LOCK},
	{"/concurrent/futures/thread.py", "_worker", "SimpleQueue.get", FOR_WORK},
	{"/multiprocessing/pool.py", "worker", "SimpleQueue.get", FOR_WORK},
};

/* "Event.wait" is "wait" before 3.11, where frames do not know their class for sure. */
static int idle_row(const struct frame *f)
{
	if (f->kind != FRAME_PYTHON || !f->function || !f->file)
		return -1;
	for (size_t i = 0; i < LENGTH(idle); i++)
		if (!strcmp(f->function, idle[i].function) && text_ends(f->file, idle[i].file))
			return (int)i;
	return -1;
}

static void phrase_find(struct dump_thread *t)
{
	for (int i = 0; i < t->n; i++) {
		int row = idle_row(&t->frames[i]);
		if (t->frames[i].kind == FRAME_NATIVE) /* the wait itself, and the calls in between */
			continue;
		if (row < 0)
			break;
		t->wait.phrase = idle[row].phrase;
		t->wait.what = idle[row].what;
	}
}

/* What stands in for the lock that a runtime waits on is not the lock that the user sees. */
static void phrase_settle(struct dump_thread *t)
{
	struct dump_wait *w = &t->wait;
	if (!w->phrase)
		return;
	w->holder = (struct dump_holder){0}; /* made and taken for the wait alone */
}

static void since_ask(struct dump_look *l, int i)
{
	struct dump_thread *t = &l->dump->threads.at[i];
	const struct arena_thread *slot = dump_arena_thread(l->arena, t->ns_tid);
	struct dump_wait *w = &t->wait;
	int gil = dump_gil_of(l, l->seen.at[i].last.args[0]);
	bool on_gil = w->what == FOR_LOCK && w->kind == LOCK_GIL;
	uint64_t since = !slot			 ? 0
			 : on_gil		 ? slot->lock_wait_start
			 : slot->now == NOW_LOCK ? slot->now_since
						 : 0;
	if (slot && slot->loop_object && slot->tick_start && slot->tick_start < l->ended)
		t->tick_ns = (int64_t)(l->ended - slot->tick_start);
	if (since && since < l->ended && (on_gil || w->what == FOR_LOCK)) {
		w->ns = (int64_t)(l->ended - since);
		return;
	}
	if (!on_gil)
		return;
	/* it wakes up every switch interval: how long it slept says nothing */
	bool before = dump_futex(&l->seen.at[i].first) && dump_gil_of(l, l->seen.at[i].first.args[0]) == gil;
	w->at_least = before && gil >= 0 && l->turns[gil] != UINT64_MAX;
	w->ns = w->at_least ? (int64_t)(l->ended - l->began) : -1;
}

/* Who waits for the GIL wakes up every switch interval to ask for it. Caught at that it seems to run, but if
 * the GIL has not changed hands since the first look, it waits still. */
static bool waits_still(struct dump_look *l, int i)
{
	struct dump_seen *s = &l->seen.at[i];
	int gil = dump_futex(&s->first) ? dump_gil_of(l, s->first.args[0]) : -1;
	if (gil < 0 || l->turns[gil] == UINT64_MAX || l->holders[gil] == l->dump->threads.at[i].tid)
		return false;
	s->last.number = s->first.number;
	memcpy(s->last.args, s->first.args, sizeof(s->last.args));
	return true;
}

void dump_wait(struct dump_look *l, int i)
{
	struct dump_thread *t = &l->dump->threads.at[i];
	const struct dump_peek *p = &l->seen.at[i].last;
	struct dump_wait *w = &t->wait;
	if ((t->state == DUMP_RUNNING || t->state == DUMP_RUNNABLE) && waits_still(l, i))
		t->state = DUMP_BLOCKED;
	if (t->state != DUMP_BLOCKED)
		return;
	if (p->number < 0)
		return;
	if (p->times.state == 'D')
		w->wchan = proc_wchan(l->pid, t->tid);
	w->syscall = p->number == SYSCALL_NONE || l->narrow ? NULL : syscall_name(p->number);
	if (!w->syscall) {
		w->what = p->number == SYSCALL_NONE ? FOR_FAULT : FOR_CALL;
		return;
	}
	if (dump_futex(p)) {
		dump_lock(l, i);
		if (w->kind != LOCK_GIL && w->holder.how != HOW_OWNER) {
			phrase_find(t);
			phrase_settle(t);
		}
	} else {
		w->what = is_readiness(w->syscall, p->args) ? FOR_READY : FOR_CALL;
		w->target = target_of_call(l->pid, w->syscall, p->args);
	}
	since_ask(l, i);
}
