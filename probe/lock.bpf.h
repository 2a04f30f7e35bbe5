/* SPDX-License-Identifier: MIT
 *
 * Waits for locks, where the kernel sees them: futexes. A wait for the interpreter's lock is many futex
 * waits, one each switch interval, with a moment between; they are one here. Who has the interpreter's lock,
 * and in which frames, is read by the thread that is about to wait for it: it lives in the same memory, and
 * has nothing better to do (CPython: Python/ceval_gil.c; glibc: nptl/pthread_mutex_lock.c, where a mutex's
 * owner follows the futex word and its count).
 */
#ifndef WHYSTALL_PROBE_LOCK_H
#define WHYSTALL_PROBE_LOCK_H

#include "state.bpf.h"

#define FUTEX_COMMAND 127u
enum {
	OP_WAIT = 0,
	OP_WAKE = 1,
	OP_REQUEUE = 3,
	OP_CMP_REQUEUE = 4,
	OP_WAKE_OP = 5,
	OP_LOCK_PI = 6,
	OP_UNLOCK_PI = 7,
	OP_WAIT_BITSET = 9,
	OP_WAKE_BITSET = 10,
	OP_WAIT_REQUEUE_PI = 11,
	OP_LOCK_PI2 = 13
};
#define OWNER_OFFSET 8
#define WORD_WAITERS 2u	    /* a contended mutex's word */
#define AGAIN_NS 1000000ull /* of CPU time: a wait for the same lock this soon after one is the same wait */
/* glibc's condition variable: those who signal it wake futexes at its end (__g_signals: from 40 on, from
 * glibc 2.41 on from 32; bits/thread-shared-types.h) */
#define COND_BYTES 48ull
#define COND_SIGNALS 32ull

/* The interpreter's lock that a futex belongs to, + 1; 0: none. */
INLINE uint32_t lock_find(struct probe_proc *p, uint64_t address)
{
	for (uint32_t i = 0; i < (uint32_t)PROBE_LOCKS; i++)
		if (i < p->locks && address >= p->lock[i].start && address < p->lock[i].end)
			return i + 1;
	return 0;
}

INLINE struct probe_wanted *wanted_find(struct probe_proc *p, uint64_t object)
{
	for (int i = 0; i < PROBE_WANTED; i++)
		if (p->wanted[i].object == object)
			return &p->wanted[i];
	return NULL;
}

/* `since`: of the wait, which may be going on again. */
OUTLINE void wanted_add(struct probe_proc *p, uint64_t object, uint64_t since)
{
	struct probe_wanted *found = wanted_find(p, object);
	if (!found) {
		found = &p->wanted[p->wanted_next++ & (PROBE_WANTED - 1)];
		found->object = object;
		found->waiters = 0;
		found->released = 0;
	}
	if (!found->waiters)
		found->since = since;
	__sync_fetch_and_add(&found->waiters, 1);
}

OUTLINE void wanted_drop(struct probe_proc *p, uint64_t object)
{
	struct probe_wanted *found = wanted_find(p, object);
	if (found && found->waiters)
		__sync_fetch_and_add(&found->waiters, -1);
}

/* A wait that had ended, but might have gone on, has ended. */
OUTLINE void wait_settle(struct probe_thread *t, uint32_t index, uint64_t now)
{
	if (t->waiting != PROBE_WAITED)
		return;
	t->waiting = PROBE_NOT_WAITING;
	if (t->waited_lock) {
		t->lock_waits++;
		t->lock_waited_ns += t->wait_end - t->wait_start;
		t->lock_wait_start = 0;
		t->gil_since = t->wait_end;
	}
	if (followed(t) && t->wait_end - t->wait_start >= call_ns) {
		EVENT_PUT(t, index, .kind = EV_WAIT, .hook = (uint16_t)t->wait_nr, .start = t->wait_start,
			  .time = t->wait_end, .object = t->wait_object, .arg = t->now_spare);
	}
}

OUTLINE void holder_frames(struct probe_proc *p, struct probe_holder *h)
{
	struct probe_frames_layout *l = &p->layout;
	uint64_t at = 0, state = h->state;
	uint8_t owner = 0;
	h->n = 0;
	h->cut = 0;
	bpf_probe_read_user(&h->thread, 8, (void *)state + l->thread);
	if (l->cframe >= 0) {
		bpf_probe_read_user(&at, 8, (void *)state + l->cframe);
		if (at)
			bpf_probe_read_user(&at, 8, (void *)at + l->current);
	} else {
		bpf_probe_read_user(&at, 8, (void *)state + l->frame);
	}
	for (uint32_t i = 0; i < PROBE_FRAMES + 8; i++) {
		struct probe_frame f = {.at = at};
		if (!at)
			break;
		if (h->n >= PROBE_FRAMES) {
			h->cut = 1;
			break;
		}
		if (bpf_probe_read_user(&f.back, 8, (void *)at + l->back)) {
			h->cut = 1;
			break;
		}
		at = f.back;
		if (l->owner >= 0 && !bpf_probe_read_user(&owner, 1, (void *)f.at + l->owner) &&
		    l->shim_owner >= 0 && owner >= l->shim_owner)
			continue;
		bpf_probe_read_user(&f.code, 8, (void *)f.at + l->code);
		if (l->instruction_bytes == 8) {
			bpf_probe_read_user(&f.instruction, 8, (void *)f.at + l->instruction);
		} else {
			int32_t last = 0;
			bpf_probe_read_user(&last, 4, (void *)f.at + l->instruction);
			f.instruction = (uint64_t)(int64_t)last;
		}
		uint32_t n = h->n;
		if (n < PROBE_FRAMES)
			h->frame[n] = f;
		h->n = n + 1;
	}
}

OUTLINE void gil_put(struct probe_thread *t, uint32_t index, struct probe_proc *p, uint32_t lock,
		     uint64_t now)
{
	uint32_t i = (lock - 1) & (PROBE_LOCKS - 1);
	int32_t locked = 0;
	uint64_t holder = 0;
	bpf_probe_read_user(&locked, 4, (void *)p->lock[i].locked);
	bpf_probe_read_user(&holder, 8, (void *)p->lock[i].holder);
	struct probe_gil_event *out = bpf_ringbuf_reserve(&events, sizeof *out, 0);
	if (!out) {
		t->dropped++;
		return;
	}
	out->head.kind = PROBE_GIL;
	out->head.thread = index;
	out->head.serial = t->serial;
	out->head.spare = 0;
	out->head.e.time = now;
	out->head.e.start = t->wait_start;
	out->head.e.object = p->lock[i].freed;
	out->head.e.arg = 0;
	out->head.e.kind = 0;
	out->head.e.hook = 0;
	out->holder.state = locked > 0 ? holder : 0;
	out->holder.thread = 0;
	out->holder.n = 0;
	out->holder.cut = 0;
	if (locked > 0 && holder)
		holder_frames(p, &out->holder);
	bpf_ringbuf_submit(out, BPF_RB_NO_WAKEUP);
}

OUTLINE void wait_enter(struct probe_thread *t, uint32_t index, struct probe_proc *p, struct pt_regs *regs,
			uint64_t now)
{
	uint64_t address = regs->di;
	uint32_t op = (uint32_t)regs->si & FUTEX_COMMAND, value = (uint32_t)regs->dx;
	uint32_t lock = lock_find(p, address), owner = 0;
	uint64_t object = lock ? p->lock[(lock - 1) & (PROBE_LOCKS - 1)].freed : address;
	bool again = t->waiting == PROBE_WAITED && t->wait_object == object &&
		     now - t->wait_end - (t->off_ns - t->wait_off_ns) < AGAIN_NS;
	if (!again) {
		wait_settle(t, index, now);
		t->wait_start = now;
		t->wait_object = object;
		t->waited_lock = lock;
		t->wait_nr = t->call;
		t->now_spare = 0;
		if (lock)
			t->lock_wait_start = now;
	}
	t->waiting = PROBE_WAITING;
	if (lock)
		t->gil_since = 0;
	if (!followed(t))
		return;
	if (lock) {
		gil_put(t, index, p, lock, now);
	} else if (op == OP_LOCK_PI || op == OP_LOCK_PI2) {
		bpf_probe_read_user(&owner, 4, (void *)address);
		owner &= 0x3fffffff;
	} else if (value == WORD_WAITERS) {
		bpf_probe_read_user(&owner, 4, (void *)address + OWNER_OFFSET);
	} else if (value & 0x80000000u) { /* a robust mutex's word is its owner */
		owner = value & 0x3fffffff;
	}
	if (!again)
		t->now_spare = owner;
	now_set(t, NOW_LOCK, t->call, t->wait_start, object, t->now_spare);
	wanted_add(p, object, t->wait_start);
}

/* --- holds that uprobes see (hooks.bpf.h) --- */

INLINE void held_add(struct probe_thread *t, uint64_t object, uint64_t now)
{
	uint32_t i = t->held_next++ & (PROBE_HELD - 1);
	t->held[i].object = object;
	t->held[i].since = now;
}

INLINE void held_drop(struct probe_thread *t, uint64_t object)
{
	t->freed = object;
	t->freed_since = 0;
	for (int i = 0; i < PROBE_HELD; i++)
		if (t->held[i].object == object) {
			t->freed_since = t->held[i].since;
			t->held[i].object = 0;
		}
}

/* A wait within the lock's function is over: it is had from now on. */
INLINE void held_begin(struct probe_thread *t, uint64_t object, uint64_t now)
{
	for (int i = 0; i < PROBE_HELD; i++)
		if (t->held[i].object == object)
			t->held[i].since = now;
}

/* Somebody lets a lock go or, for an interpreter's lock's other condition, has taken it. */
struct release {
	uint64_t object, now;
	uint32_t lock; /* interpreter's lock + 1 */
	uint32_t taken;
};

OUTLINE void released_put(struct probe_thread *t, uint32_t index, struct probe_proc *p, struct release *r)
{
	uint64_t held = t->gil_since && t->gil_since < r->now ? r->now - t->gil_since : 0;
	struct probe_wanted *w = wanted_find(p, r->object);
	if (r->lock && !r->taken) {
		t->lock_holds++;
		t->lock_held_ns += held;
		if (held > t->lock_longest_ns)
			t->lock_longest_ns = held;
	}
	if (w && (w->waiters || r->lock)) {
		uint64_t start = r->lock && !r->taken ? t->gil_since : 0;
		if (!r->lock && t->freed == r->object)
			start = t->freed_since;
		if (!start && w->released > w->since)
			start = w->released;
		if (!r->taken)
			w->released = r->now;
		struct probe_event *out = event_begin(t, index);
		if (!out)
			return;
		out->kind = PROBE_WAKE;
		out->e.time = r->now;
		out->e.start = start;
		out->e.object = r->object;
		out->e.arg = r->taken;
		out->e.kind = 0;
		out->e.hook = (uint16_t)t->call;
		bpf_ringbuf_submit(out, BPF_RB_NO_WAKEUP);
	}
	if (r->lock)
		t->gil_since = r->taken ? r->now : 0;
}

/* A wake: whoever issues it lets the lock go. */
OUTLINE void wake_enter(struct probe_thread *t, uint32_t index, struct probe_proc *p, uint64_t address,
			uint64_t now)
{
	struct release r = {.object = address, .now = now, .lock = lock_find(p, address)};
	if (r.lock) {
		struct probe_lock *l = &p->lock[(r.lock - 1) & (PROBE_LOCKS - 1)];
		r.taken = address - l->taken - COND_SIGNALS < COND_BYTES - COND_SIGNALS;
		if (!r.taken && address - l->freed - COND_SIGNALS >= COND_BYTES - COND_SIGNALS)
			return; /* its mutex, or a waiter that leaves */
		if (hooks_on)
			return; /* known already: the function was entered */
		r.object = l->freed;
		wait_settle(t, index, now);
	}
	released_put(t, index, p, &r);
}

/* After a call that blocked: has the thread the interpreter's lock still? If not, it let it go before the
 * call, with nobody waiting. */
OUTLINE void gil_check(struct probe_thread *t, struct probe_proc *p)
{
	uint64_t holder = 0, thread = 0;
	int32_t locked = 0;
	for (uint32_t i = 0; i < (uint32_t)PROBE_LOCKS; i++) {
		if (i >= p->locks)
			break;
		bpf_probe_read_user(&locked, 4, (void *)p->lock[i].locked);
		bpf_probe_read_user(&holder, 8, (void *)p->lock[i].holder);
		if (locked <= 0 || !holder)
			continue;
		bpf_probe_read_user(&thread, 8, (void *)holder + p->layout.thread);
		if (thread == t->pthread)
			return;
	}
	uint64_t held = t->entered > t->gil_since ? t->entered - t->gil_since : 0;
	t->lock_holds++;
	t->lock_held_ns += held;
	if (held > t->lock_longest_ns)
		t->lock_longest_ns = held;
	t->gil_since = 0;
}

OUTLINE void futex_enter(struct probe_thread *t, uint32_t index, struct probe_proc *p, struct pt_regs *regs,
			 uint64_t now)
{
	uint32_t op = (uint32_t)regs->si & FUTEX_COMMAND;
	switch (op) {
	case OP_WAIT:
	case OP_WAIT_BITSET:
	case OP_LOCK_PI:
	case OP_LOCK_PI2:
	case OP_WAIT_REQUEUE_PI:
		wait_enter(t, index, p, regs, now);
		break;
	case OP_WAKE:
	case OP_WAKE_BITSET:
	case OP_WAKE_OP:
	case OP_UNLOCK_PI:
	case OP_REQUEUE:
	case OP_CMP_REQUEUE:
		wake_enter(t, index, p, regs->di, now);
		break;
	}
}

OUTLINE void futex_exit(struct probe_thread *t, uint32_t index, struct probe_proc *p, uint64_t now)
{
	t->waiting = PROBE_WAITED;
	t->wait_end = now;
	t->wait_off_ns = t->off_ns;
	if (hooks_on)
		held_begin(t, t->wait_object, now);
	if (followed(t)) {
		now_set(t, NOW_RUNNING, 0, now, 0, 0);
		wanted_drop(p, t->wait_object);
	}
}

#endif
