/* SPDX-License-Identifier: MIT
 *
 * Readiness waits and ticks: the rules of preload/loop.c, where the kernel sees them. One thing is known
 * better here: a tick begins when the thread was made runnable.
 */
#ifndef WHYSTALL_PROBE_LOOP_H
#define WHYSTALL_PROBE_LOOP_H

#include "instance.bpf.h"

#define NO_DEADLINE 0
#define ASSUMED_WAITS 3 /* as many as make a loop */
#define TAKE_OVER_POLLED 3
#define TAKE_OVER_EPOLL 100
#define POLL_READ 8u	/* entries read at once */
#define POLL_READS 32u	/* times */
#define SELECT_WORDS 16 /* 1024 descriptors */
#define URING_GETEVENTS 1u

struct probe_pollfd {
	int fd;
	short events, revents;
};
struct probe_time {
	int64_t seconds, rest;
};

OUTLINE void loop_end(struct probe_thread *t, uint32_t index, struct probe_proc *p, uint64_t now)
{
	/* its waits, if they make it a loop */
	uint32_t waits = MOSTLY_SETS(t->lone_waits, t->set_waits) ? t->loop_waits : 0;
	EVENT_PUT(t, index, .kind = EV_LOOP_END, .hook = (uint16_t)t->loop_nr, .start = t->loop_first,
		  .time = now, .object = t->loop_object, .arg = waits);
	instance_leave(t, index, p, true);
	t->loop_entry = 0;
	t->lone_waits = t->set_waits = 0;
	t->long_tick = 0;
	t->tick_start = 0;
	t->loop_object = 0;
	t->loop_waits = 0;
	t->loop_first = 0;
}

OUTLINE void loop_start(struct probe_thread *t, struct probe_proc *p, uint64_t object, uint16_t nr)
{
	if (!t->loop) {
		uint32_t i;
		if (!bpf_map_pop_elem(&free_loops, &i))
			t->loop = i + 1;
	}
	t->loop_nr = nr;
	t->loop_waits = t->before ? ASSUMED_WAITS : 0;
	t->tick_start = t->before;
	t->before = 0;
	t->long_tick = 0;
	t->other_waits = 0;
	t->lone_waits = t->set_waits = 0;
	t->members = t->core = 0;
	t->loop_object = object;
	if (!(object & LOOP_POLLED))
		instance_take(t, p, object);
}

/* Is a wait on this object one of the loop's? `mine`: it is on the loop's object. */
OUTLINE bool loop_decide(struct probe_thread *t, uint32_t index, struct probe_proc *p, uint64_t object,
			 bool mine)
{
	uint64_t now = t->entered;
	if (t->loop_object && instance_gone(t, p)) {
		loop_end(t, index, p, now);
		mine = false;
	}
	if (!t->loop_object) {
		loop_start(t, p, object, t->call);
		return true;
	}
	if (mine) {
		t->other_waits = 0;
		return true;
	}
	if ((object & LOOP_POLLED) && !(t->loop_object & LOOP_POLLED))
		return false;
	t->other_waits = t->other == object ? t->other_waits + 1 : 1;
	t->other = object;
	if (t->other_waits < (t->loop_object & LOOP_POLLED ? TAKE_OVER_POLLED : TAKE_OVER_EPOLL))
		return false;
	loop_end(t, index, p, now);
	loop_start(t, p, object, t->call);
	return true;
}

OUTLINE void tick_end(struct probe_thread *t, uint32_t index, struct probe_proc *p, uint64_t now)
{
	uint32_t whose;
	uint64_t start = instance_enter(t, index, p, &whose);
	t->tick_start = 0;
	t->long_tick = 0;
	t->loop_last = now;
	t->loop_waits++;
	if (!start)
		return;
	uint64_t tick = now > start ? now - start : 0;
	uint32_t i = t->loop - 1;
	struct probe_loop *l = t->loop ? bpf_map_lookup_elem(&loops, &i) : NULL;
	if (l) {
		/* tick_bucket, without the instruction that BPF has not */
		uint64_t us = tick / 1000, at = us;
		uint64_t top = 0, b = us;
		if (us >= 32) {
			for (int k = 0; k < 6; k++) {
				uint64_t step = 32u >> k;
				if (at >> step)
					at >>= step, top += step;
			}
			b = (top - TICK_SUB_BITS + 1) * 32u + ((us >> (top - TICK_SUB_BITS)) & 31u);
		}
		if (b >= TICK_BUCKETS)
			b = TICK_BUCKETS - 1;
		asm volatile("%0 &= 1023" : "+r"(b)); /* for the verifier */
		l->tick_count[b]++;
	}
	t->ticks++;
	t->tick_ns += tick;
	if (tick > t->tick_max)
		t->tick_max = tick;
	if (tick >= threshold_ns) {
		EVENT_PUT(t, index, .kind = EV_TICK, .hook = t->call, .start = start, .time = now,
			  .object = t->loop_object, .arg = whose);
		t->long_tick = 1;
	}
}

/* The descriptors of a poll or select. */
struct members {
	uint32_t n; /* 0, 1, more */
	int32_t lowest, first;
	uint64_t mask; /* which, modulo 64 */
};

/* Not static: the verifier looks at these once, and not again with each of their callers' states. */
__attribute__((noinline)) int member_add(struct members *m, int fd)
{
	if (!m || fd < 0)
		return 0;
	if (!m->n)
		m->first = fd;
	if (m->n < 2 && (!m->n || fd != m->first))
		m->n++;
	if (m->lowest < 0 || fd < m->lowest)
		m->lowest = fd;
	m->mask |= 1ull << ((uint32_t)fd & 63);
	return 0;
}

__attribute__((noinline)) int word_add(struct members *m, uint64_t word, int base)
{
	if (!m || !word)
		return 0;
	if (!m->n) {
		uint64_t low = word & -word, bit = 0;
		for (int k = 0; k < 6; k++)
			if (low >> (32u >> k))
				low >>= 32u >> k, bit += 32u >> k;
		m->lowest = base + (int)bit;
	}
	m->n += word & (word - 1) ? 2 : 1;
	m->mask |= word;
	return 0;
}

struct poll_part {
	struct probe_pollfd at[POLL_READ];
};

__attribute__((noinline)) int part_add(struct members *m, struct poll_part *p, uint32_t n)
{
	if (!m || !p)
		return 0;
	for (uint32_t k = 0; k < POLL_READ && k < n; k++)
		member_add(m, p->at[k].fd);
	return 0;
}

__attribute__((noinline)) int poll_members(struct members *m, uint64_t at, uint32_t n)
{
	struct poll_part part;
	if (!m)
		return 0;
	for (uint32_t i = 0; i < POLL_READS * POLL_READ && i < n; i += POLL_READ) {
		uint32_t left = n - i, size = left >= POLL_READ ? sizeof part : (left & 7) * sizeof *part.at;
		if (bpf_probe_read_user(&part, size, (void *)at + i * sizeof *part.at))
			break;
		part_add(m, &part, left);
	}
	return 0;
}

struct select_sets {
	uint64_t set[3];
	int32_t n;
};

__attribute__((noinline)) int select_members(struct members *m, struct select_sets *s)
{
	if (!m || !s)
		return 0;
	for (int i = 0; i < SELECT_WORDS; i++) {
		uint64_t word = 0, part = 0;
		if (i * 64 >= s->n)
			break;
		for (int k = 0; k < 3; k++) {
			if (s->set[k])
				bpf_probe_read_user(&part, 8, (void *)s->set[k] + i * 8);
			word |= part;
			part = 0;
		}
		if (s->n - i * 64 < 64)
			word &= (1ull << ((uint32_t)(s->n - i * 64) & 63)) - 1;
		word_add(m, word, i * 64);
	}
	return 0;
}

INLINE uint64_t deadline_time(uint64_t address, uint64_t unit, uint64_t now)
{
	struct probe_time time;
	if (!address || bpf_probe_read_user(&time, sizeof time, (void *)address) || time.seconds < 0 ||
	    time.seconds > 1000000000)
		return NO_DEADLINE;
	return now + (uint64_t)time.seconds * 1000000000ull + (uint64_t)time.rest * unit;
}

INLINE uint64_t deadline_ms(int ms, uint64_t now)
{
	return ms < 0 ? NO_DEADLINE : now + (uint64_t)ms * 1000000ull;
}

/* As preload/loop.c's. */
INLINE bool set_mine(const struct probe_thread *t, const struct members *m)
{
	if (!(t->loop_object & LOOP_POLLED))
		return false;
	if (m->n < 2)
		return t->loop_nr == t->call && (m->mask & t->core);
	return m->mask & t->members;
}

/* A poll or select. false: it is none of the loop's. */
OUTLINE bool set_enter(struct probe_thread *t, uint32_t index, struct probe_proc *p, struct members *m)
{
	bool mine = set_mine(t, m);
	if (m->n < 2 && !mine) {
		t->lone_waits += m->n && t->loop_object;
		return false;
	}
	if (!loop_decide(t, index, p, (uint64_t)(uint32_t)(m->lowest + 1) | LOOP_POLLED, mine))
		return false;
	if (m->n < 2)
		t->lone_waits++;
	else
		t->set_waits++;
	t->members = m->mask;
	t->core = t->core & m->mask ? t->core & m->mask : m->mask;
	return true;
}

/* false: it is none of a loop's waits. */
OUTLINE bool ready_enter(struct probe_thread *t, uint32_t index, struct probe_proc *p, struct pt_regs *regs,
			 uint8_t class)
{
	struct members m = {.lowest = -1};
	uint64_t now = t->entered, object = regs->di + 1;
	bool loops;
	if (class == PROBE_URING && (!(regs->r10 & URING_GETEVENTS) || !regs->dx))
		return false;
	switch (class) {
	case PROBE_EPOLL:
	case PROBE_EPOLL2:
	case PROBE_URING:
		loops = loop_decide(t, index, p, object, t->loop_object == object);
		break;
	case PROBE_POLL:
	case PROBE_PPOLL:
		poll_members(&m, regs->di, regs->si);
		loops = set_enter(t, index, p, &m);
		break;
	default: {
		struct select_sets sets = {.set = {regs->si, regs->dx, regs->r10}, .n = (int)regs->di};
		select_members(&m, &sets);
		loops = set_enter(t, index, p, &m);
	}
	}
	if (!loops)
		return false;
	tick_end(t, index, p, now);
	t->ready = 1;
	t->deadline = NO_DEADLINE;
	if (class == PROBE_EPOLL)
		t->deadline = deadline_ms((int)regs->r10, now);
	else if (class == PROBE_EPOLL2)
		t->deadline = deadline_time(regs->r10, 1, now);
	else if (class == PROBE_POLL)
		t->deadline = deadline_ms((int)regs->dx, now);
	else if (class == PROBE_PPOLL)
		t->deadline = deadline_time(regs->dx, 1, now);
	else if (class != PROBE_URING)
		t->deadline = deadline_time(regs->r8, class == PROBE_SELECT ? 1000 : 1, now);
	now_set(t, NOW_READY, t->call, now, t->loop_object, 0);
	return true;
}

OUTLINE void ready_exit(struct probe_thread *t, uint32_t index, struct probe_proc *p, long result)
{
	uint64_t now = bpf_ktime_get_ns(), begin = now, start = t->entered;
	t->ready = 0;
	now_set(t, NOW_RUNNING, 0, now, 0, 0);
	if (result == -9 /* EBADF */) {
		loop_end(t, index, p, now);
		return;
	}
	/* it was due then, whatever it found once it ran again; a stop ends it with EINTR */
	if (t->deadline && t->deadline > start && t->deadline < now)
		begin = t->deadline;
	if (result != 0 && t->woken > start && t->woken < begin && t->off > start)
		begin = t->woken;
	t->wait_ns += begin - start;
	if (!t->loop_first)
		t->loop_first = begin;
	if (t->long_tick) {
		EVENT_PUT(t, index, .kind = EV_READY, .hook = t->call, .start = start, .time = now,
			  .object = t->loop_object, .arg = result > 0 ? (uint32_t)result : 0);
	}
	t->long_tick = 0;
	t->interrupted = result == -4 /* EINTR */ ? now : 0;
	t->tick_start = begin;
	if (instance_leave(t, index, p, false)) { /* others wait still */
		t->tick_start = 0;
		return;
	}
	if (t->on > begin && t->on - begin >= call_ns) /* it was due, and had no CPU */
		EVENT_PUT(t, index, .kind = EV_RUNQUEUE, .start = begin, .time = t->on);
}

#define STOPS_NS 1000000ull /* of CPU time, from a wait's end by a signal to the stop that the signal was */

/* A stop that ended the loop's wait, before the thread did anything: no tick is under way. */
INLINE void stop_begin(struct probe_thread *t, uint64_t now)
{
	t->held_tick = 0;
	if (!t->interrupted || !t->tick_start || now - t->interrupted >= STOPS_NS)
		return;
	t->held_tick = t->tick_start;
	t->tick_start = 0;
}

/* It is over: the tick began when something was due, else it begins now. */
INLINE void stop_over(struct probe_thread *t, uint64_t now)
{
	uint64_t begin = now;
	if (!t->held_tick)
		return;
	if (t->deadline && t->deadline < now)
		begin = t->deadline > t->held_tick ? t->deadline : t->held_tick;
	t->wait_ns += begin - t->held_tick;
	t->tick_start = begin;
	t->held_tick = t->interrupted = 0;
}

/* A descriptor is closed: an instance, or the last member of the set that a loop polls. */
OUTLINE void loop_close(struct probe_thread *t, uint32_t index, struct probe_proc *p, uint32_t fd)
{
	uint64_t bit = 1ull << (fd & 63);
	if (t->loop_object == (uint64_t)fd + 1)
		loop_end(t, index, p, t->entered);
	instance_close(p, (uint64_t)fd + 1);
	if (!(t->loop_object & LOOP_POLLED))
		return;
	t->core &= ~bit;
	if (!(t->members & bit))
		return;
	t->members &= ~bit;
	if (!t->members)
		loop_end(t, index, p, t->entered);
}

#endif
