/* SPDX-License-Identifier: MIT
 *
 * Which waits are those of a thread's loop, and how long the thread takes from one to the next (design:
 * nested waits, ends, start). The first wait object is the candidate; another takes its place only after
 * being waited on three times in a row. Whether a candidate is a loop is for the recorder to say.
 */
#include <errno.h>

#include "lock.h"
#include "loop.h"

/* So many waits in a row on another object, and that is the loop: descriptor sets vary; but a loop that runs
 * inside a callback (Node's execSync) waits on its own epoll instance for long while the outer one's stall
 * goes on. */
#define TAKE_OVER_POLLED 3
#define TAKE_OVER_EPOLL 100

static void loop_end(struct self *s, uint64_t now)
{
	struct arena_thread *t = s->slot;
	event_push(s, EV_LOOP_END, (enum hook)t->loop_hook, t->loop_first, now, t->loop_object,
		   t->loop_waits);
	if (s->loop_entry >= 0)
		store(shim.proc->loop_fds[s->loop_entry], 0);
	s->loop_entry = -1;
	s->loop = s->long_tick = false;
	store(t->tick_start, 0);
	store(t->wait_until, 0);
	store(t->loop_object, 0);
	store(t->loop_waits, 0);
	store(t->loop_first, 0);
}

static void loop_start(struct self *s, uint64_t object, enum hook hook)
{
	struct arena_thread *t = s->slot;
	store(t->loop_hook, hook);
	store(t->loop_waits, 0);
	store(t->tick_start, 0);
	release(t->loop_object, object);
	s->loop = true;
	s->long_tick = false;
	s->other_waits = 0;
	s->loop_entry = -1;
	for (uint32_t i = 0; i < ARENA_LOOP_FDS && !(object & LOOP_POLLED); i++) {
		int32_t free = 0;
		if (__atomic_compare_exchange_n(&shim.proc->loop_fds[i], &free, (int32_t)object, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
			s->loop_entry = (int)i;
			break;
		}
	}
}

/* Another thread closed the descriptor: its entry is not ours any more. */
static bool loop_closed(const struct self *s)
{
	return s->loop_entry >= 0 &&
	       relaxed(shim.proc->loop_fds[s->loop_entry]) != (int32_t)s->slot->loop_object;
}

/* Is a wait on this object one of the loop's? `mine`: it is on the loop's object. */
static bool loop_decide(struct self *s, uint64_t object, bool mine, enum hook hook, uint64_t now)
{
	if (s->loop && loop_closed(s)) {
		loop_end(s, now);
		mine = false;
	}
	if (!s->loop) {
		loop_start(s, object, hook);
		return true;
	}
	if (mine) {
		s->other_waits = 0;
		return true;
	}
	if ((object & LOOP_POLLED) && !(s->slot->loop_object & LOOP_POLLED))
		return false; /* a poll beside an epoll loop never takes over */
	s->other_waits = s->other == object ? s->other_waits + 1 : 1;
	s->other = object;
	if (s->other_waits < (s->slot->loop_object & LOOP_POLLED ? TAKE_OVER_POLLED : TAKE_OVER_EPOLL))
		return false;
	loop_end(s, now);
	loop_start(s, object, hook);
	return true;
}

static void tick_end(struct self *s, enum hook hook, uint64_t now)
{
	struct arena_thread *t = s->slot;
	uint64_t start = t->tick_start;
	s->long_tick = false;
	store(t->loop_last, now);
	store(t->loop_waits, t->loop_waits + 1);
	if (!start)
		return;
	uint64_t tick = now > start ? now - start : 0;
	uint32_t *count = &t->tick_count[tick_bucket(tick)];
	store(*count, *count + 1);
	store(t->ticks, t->ticks + 1);
	store(t->tick_ns, t->tick_ns + tick);
	if (tick > t->tick_max)
		store(t->tick_max, tick);
	if (tick >= shim.arena->threshold_ns) {
		event_push(s, EV_TICK, hook, start, now, t->loop_object, hook);
		__atomic_fetch_add(&shim.arena->stalls, 1, __ATOMIC_RELEASE);
		s->long_tick = true;
	}
	store(t->tick_start, 0);
}

/* When the wait ends at the latest, 0: never, or at once. */
static uint64_t deadline(const struct call *c)
{
	return c->timeout && c->timeout != NO_DEADLINE ? c->start + c->timeout : 0;
}

static void ready_begin(struct call *c, struct self *s, uint64_t object, bool mine, uint64_t fd,
			uint64_t timeout, enum hook hook, uintptr_t frame)
{
	gil_give_up(s);
	exit_unmark(s);
	c->start = clock_read();
	c->self = s;
	c->hook = hook;
	c->timeout = timeout;
	c->object = fd;
	c->ready = object && loop_decide(s, object, mine, hook, c->start);
	if (c->ready) {
		c->object = s->slot->loop_object;
		tick_end(s, hook, c->start);
		store(s->slot->wait_until, deadline(c));
	}
	now_begin(s, &c->before, c->ready ? NOW_READY : NOW_CALL, hook, c->start, c->object, 0, frame);
}

void ready_epoll(struct call *c, int fd, uint64_t timeout, enum hook hook, uintptr_t frame)
{
	struct self *s = self_get();
	c->self = NULL;
	if (!s || fd < 0)
		return;
	uint64_t object = (uint64_t)fd + 1;
	ready_begin(c, s, object, s->slot->loop_object == object, (uint64_t)fd, timeout, hook, frame);
}

/* A wait on descriptors: with at least two it may be a loop's, with the loop's own member it is. */
static void ready_set(struct call *c, uint32_t members, uint64_t lowest, bool mine, uint64_t timeout,
		      enum hook hook, uintptr_t frame)
{
	c->self = NULL;
	if (members < 2 && !mine) {
		call_begin(c, members ? lowest : 0, hook, frame);
		return;
	}
	struct self *s = self_get();
	if (!s)
		return;
	ready_begin(c, s, (lowest + 1) | LOOP_POLLED, mine, lowest, timeout, hook, frame);
}

/* The member that a polled loop is known by, -1: there is no such loop. */
static int loop_member(void)
{
	if (!self.loop || self.epoch != shim.epoch || !(self.slot->loop_object & LOOP_POLLED))
		return -1;
	return (int)(uint32_t)self.slot->loop_object - 1;
}

void ready_poll(struct call *c, const struct pollfd *p, nfds_t n, uint64_t timeout, enum hook hook,
		uintptr_t frame)
{
	uint32_t members = 0;
	int lowest = -1, other = -1, member = loop_member();
	bool mine = false;
	for (nfds_t i = 0; i < n; i++) {
		int fd = p[i].fd;
		if (fd < 0)
			continue;
		if (members == 0)
			other = fd;
		if (members < 2 && (members == 0 || fd != other))
			members++;
		if (lowest < 0 || fd < lowest)
			lowest = fd;
		mine |= fd == member;
	}
	ready_set(c, members, (uint64_t)(lowest < 0 ? 0 : lowest), mine, timeout, hook, frame);
}

void ready_select(struct call *c, int n, fd_set *const sets[3], uint64_t timeout, enum hook hook,
		  uintptr_t frame)
{
	uint32_t members = 0;
	int lowest = -1, member = loop_member();
	bool mine = false;
	/* the kernel reads whole words of the sets, n bits of them */
	for (int base = 0; base < n; base += NFDBITS) {
		unsigned long word = 0;
		for (int k = 0; k < 3; k++)
			if (sets[k])
				word |= (unsigned long)((fd_mask *)sets[k])[base / NFDBITS];
		if (n - base < NFDBITS)
			word &= (1ul << (n - base)) - 1;
		if (!word)
			continue;
		members += word & (word - 1) ? 2 : 1; /* one or more is all that matters */
		if (lowest < 0)
			lowest = base + __builtin_ctzl(word);
		mine |= member >= base && member < base + NFDBITS && (word >> (member - base) & 1);
	}
	ready_set(c, members, (uint64_t)(lowest < 0 ? 0 : lowest), mine, timeout, hook, frame);
}

void ready_end(struct call *c, int result, int error)
{
	struct self *s = c->self;
	if (!s)
		return;
	if (!c->ready) {
		call_end(c);
		return;
	}
	struct arena_thread *t = s->slot;
	uint64_t now = clock_read(), begin = now;
	now_end(s, &c->before);
	/* A handler or a nested call may have changed the loop meanwhile. */
	if (!s->loop || t->loop_object != c->object)
		return;
	if (result < 0 && error == EBADF) {
		loop_end(s, now);
		return;
	}
	/* it was due then, whatever it found once it ran again; a stop ends it with EINTR */
	if (deadline(c) && deadline(c) < now)
		begin = deadline(c);
	store(t->wait_ns, t->wait_ns + (begin - c->start));
	if (!t->loop_first)
		store(t->loop_first, begin);
	if (s->long_tick)
		event_push(s, EV_READY, c->hook, c->start, now, c->object, result > 0 ? (uint32_t)result : 0);
	s->long_tick = false;
	release(t->tick_start, begin);
}

void call_begin(struct call *c, uint64_t object, enum hook hook, uintptr_t frame)
{
	struct self *s = self.loop ? self_get() : NULL;
	c->self = s && s->loop ? s : NULL;
	if (!c->self)
		return;
	c->ready = false;
	c->hook = hook;
	c->object = object;
	c->start = clock_read();
	now_begin(s, &c->before, NOW_CALL, hook, c->start, object, 0, frame);
}

void call_end(struct call *c)
{
	if (!c->self)
		return;
	uint64_t now = clock_read();
	now_end(c->self, &c->before);
	if (now - c->start >= shim.arena->call_ns)
		event_push(c->self, EV_CALL, c->hook, c->start, now, c->object, 0);
}

void loop_close(int fd)
{
	if (!shim.arena || fd < 0)
		return;
	for (uint32_t i = 0; i < ARENA_LOOP_FDS; i++) {
		if (likely(relaxed(shim.proc->loop_fds[i]) != fd + 1))
			continue;
		struct self *s = self_get();
		if (s && s->loop && s->loop_entry == (int)i)
			loop_end(s, clock_read());
		else if (s) /* its thread sees that the entry is gone, and so does the recorder */
			store(shim.proc->loop_fds[i], 0);
	}
}
