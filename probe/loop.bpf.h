/* SPDX-License-Identifier: MIT
 *
 * Readiness waits and ticks: the rules of preload/loop.c, where the kernel sees them. One thing is known
 * better here: a tick begins when the thread was made runnable.
 */
#ifndef WHYSTALL_PROBE_LOOP_H
#define WHYSTALL_PROBE_LOOP_H

#include "state.bpf.h"

#define LOOP_POLLED (1ull << 32)
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

OUTLINE void loop_end(struct probe_thread *t, uint32_t index, uint64_t now)
{
	EVENT_PUT(t, index, .kind = EV_LOOP_END, .hook = (uint16_t)t->loop_nr, .start = t->loop_first,
		  .time = now, .object = t->loop_object);
	t->long_tick = 0;
	t->tick_start = 0;
	t->loop_object = 0;
	t->loop_waits = 0;
	t->loop_first = 0;
}

OUTLINE void loop_start(struct probe_thread *t, uint64_t object, uint16_t nr)
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
	t->loop_object = object;
}

OUTLINE bool loop_decide(struct probe_thread *t, uint32_t index, uint64_t object, bool mine, uint64_t now)
{
	if (!t->loop_object) {
		loop_start(t, object, t->call);
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
	loop_end(t, index, now);
	loop_start(t, object, t->call);
	return true;
}

OUTLINE void tick_end(struct probe_thread *t, uint32_t index, uint64_t now)
{
	uint64_t start = t->tick_start;
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
			  .object = t->loop_object);
		t->long_tick = 1;
	}
	t->tick_start = 0;
}

struct members {
	uint32_t n; /* 0, 1, more */
	int32_t lowest, first;
	int32_t member; /* the one that the loop is known by, -1: none */
	uint32_t mine;	/* it is among them */
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
	if (fd == m->member)
		m->mine = 1;
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
	if (m->member >= base && m->member < base + 64 && (word >> ((uint32_t)(m->member - base) & 63) & 1))
		m->mine = 1;
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

/* false: it is none of a loop's waits. */
OUTLINE bool ready_enter(struct probe_thread *t, uint32_t index, struct pt_regs *regs, uint8_t class,
			 uint64_t now)
{
	struct members m = {.lowest = -1, .member = -1};
	uint64_t object = 0, deadline = NO_DEADLINE;
	bool set = false;
	if (t->loop_object & LOOP_POLLED)
		m.member = (int)(uint32_t)t->loop_object - 1;
	switch (class) {
	case PROBE_EPOLL:
		deadline = deadline_ms((int)regs->r10, now);
		break;
	case PROBE_EPOLL2:
		deadline = deadline_time(regs->r10, 1, now);
		break;
	case PROBE_URING:
		if (!(regs->r10 & URING_GETEVENTS) || !regs->dx)
			return false;
		break;
	case PROBE_POLL:
	case PROBE_PPOLL:
		deadline = class == PROBE_POLL ? deadline_ms((int)regs->dx, now)
					       : deadline_time(regs->dx, 1, now);
		poll_members(&m, regs->di, regs->si);
		set = true;
		break;
	default:
		deadline = deadline_time(regs->r8, class == PROBE_SELECT ? 1000 : 1, now);
		struct select_sets sets = {.set = {regs->si, regs->dx, regs->r10}, .n = (int)regs->di};
		select_members(&m, &sets);
		set = true;
	}
	if (!set) {
		object = regs->di + 1;
		m.mine = t->loop_object == object;
	} else {
		if (m.n < 2 && !m.mine)
			return false;
		object = (uint64_t)(uint32_t)(m.lowest + 1) | LOOP_POLLED;
	}
	if (!loop_decide(t, index, object, m.mine, now))
		return false;
	tick_end(t, index, now);
	t->ready = 1;
	t->deadline = deadline;
	now_set(t, NOW_READY, t->call, now, t->loop_object, 0);
	return true;
}

OUTLINE void ready_exit(struct probe_thread *t, uint32_t index, long result, uint64_t now)
{
	uint64_t begin = now, start = t->entered;
	t->ready = 0;
	now_set(t, NOW_RUNNING, 0, now, 0, 0);
	if (result == -9 /* EBADF */) {
		loop_end(t, index, now);
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
	t->tick_start = begin;
	if (t->on > begin && t->on - begin >= call_ns) /* it was due, and had no CPU */
		EVENT_PUT(t, index, .kind = EV_RUNQUEUE, .start = begin, .time = t->on);
}

#endif
