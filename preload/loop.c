/* SPDX-License-Identifier: MIT
 *
 * Which waits are those of a thread's loop, and how long the thread takes from one to the next (design:
 * nested waits, ends, start). The first wait object is the candidate; another takes its place only after
 * being waited on three times in a row. Whether a candidate is a loop is for the recorder to say.
 */
#include <errno.h>

#include "instance.h"
#include "lock.h"
#include "loop.h"

/* So many waits in a row on another object, and that is the loop: descriptor sets vary; but a loop that runs
 * inside a callback (Node's execSync) waits on its own epoll instance for long while the outer one's stall
 * goes on. */
#define TAKE_OVER_POLLED 3
#define TAKE_OVER_EPOLL 100
#define LATE_NS 1000000u /* a wait that returns so long after it was due is worth an event */

static void loop_end(struct self *s, uint64_t now)
{
	struct arena_thread *t = s->slot;
	/* its waits, if they make it a loop */
	uint32_t waits = MOSTLY_SETS(t->lone_waits, t->set_waits) ? t->loop_waits : 0;
	event_push(s, EV_LOOP_END, (enum hook)t->loop_hook, t->loop_first, now, t->loop_object, waits);
	instance_abandon(s);
	s->loop = s->long_tick = false;
	store(t->tick_start, 0);
	store(t->wait_until, 0);
	store(t->loop_object, 0);
	store(t->loop_waits, 0);
	release(t->loop_entry, 0); /* last: without waits it is no loop of its own */
	store(t->loop_first, 0);
}

static void loop_start(struct self *s, uint64_t object, enum hook hook)
{
	struct arena_thread *t = s->slot;
	store(t->loop_hook, hook);
	store(t->loop_waits, 0);
	store(t->lone_waits, 0);
	store(t->set_waits, 0);
	store(t->tick_start, 0);
	release(t->loop_object, object);
	s->loop = true;
	s->long_tick = false;
	s->other_waits = 0;
	s->members = s->core = 0;
	if (!(object & LOOP_POLLED))
		instance_take(s, (int32_t)object);
}

/* Is a wait on this object one of the loop's? `mine`: it is on the loop's object. */
static bool loop_decide(struct self *s, uint64_t object, bool mine, enum hook hook, uint64_t now)
{
	if (s->loop && instance_gone(s)) {
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
	uint32_t whose;
	uint64_t start = instance_enter(s, &whose);
	s->long_tick = false;
	store(t->loop_last, now);
	store(t->loop_waits, t->loop_waits + 1);
	store(t->tick_start, 0);
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
		event_push(s, EV_TICK, hook, start, now, t->loop_object, whose);
		__atomic_fetch_add(&shim.arena->stalls, 1, __ATOMIC_RELEASE);
		s->long_tick = true;
	}
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
	c->counts = true;
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

void ready_ring(struct call *c, int ring, uint64_t timeout, enum hook hook, uintptr_t frame)
{
	ready_epoll(c, ring, timeout, hook, frame);
	c->counts = false;
}

/* The descriptors of a poll or select: how many (1 or more is all that matters), the lowest, and which,
 * modulo 64. */
struct set {
	uint32_t members;
	int lowest;
	uint64_t mask;
};

/* Is this set one of the thread's loop that polls? Sets of a loop share members (design: nested waits); a
 * single descriptor is the loop's if it is in all its sets, as a listening socket is, and waited on by the
 * same function: a call that polls the one socket that it talks on is none of the loop's, nor is a sleep that
 * looks out for signals (Ruby's). */
static bool set_mine(const struct self *s, const struct set *set, enum hook hook)
{
	if (!s->loop || s->epoch != shim.epoch || !(s->slot->loop_object & LOOP_POLLED))
		return false;
	if (set->members < 2)
		return s->slot->loop_hook == (uint32_t)hook && (set->mask & s->core);
	return set->mask & s->members;
}

static void count(uint32_t *waits)
{
	store(*waits, *waits + 1);
}

static void ready_set(struct call *c, const struct set *set, uint64_t timeout, enum hook hook,
		      uintptr_t frame)
{
	uint64_t lowest = (uint64_t)(set->lowest < 0 ? 0 : set->lowest);
	bool mine = set_mine(&self, set, hook);
	c->self = NULL;
	if (set->members < 2 && !mine) {
		call_begin(c, lowest, hook, frame);
		if (c->self && set->members)
			count(&c->self->slot->lone_waits);
		return;
	}
	struct self *s = self_get();
	if (!s)
		return;
	ready_begin(c, s, (lowest + 1) | LOOP_POLLED, mine, lowest, timeout, hook, frame);
	if (!c->ready)
		return;
	count(set->members < 2 ? &s->slot->lone_waits : &s->slot->set_waits);
	s->members = set->mask;
	s->core = s->core & set->mask ? s->core & set->mask : set->mask;
}

void ready_poll(struct call *c, const struct pollfd *p, nfds_t n, uint64_t timeout, enum hook hook,
		uintptr_t frame)
{
	struct set set = {.lowest = -1};
	int other = -1;
	for (nfds_t i = 0; i < n; i++) {
		int fd = p[i].fd;
		if (fd < 0)
			continue;
		if (set.members == 0)
			other = fd;
		if (set.members < 2 && (set.members == 0 || fd != other))
			set.members++;
		if (set.lowest < 0 || fd < set.lowest)
			set.lowest = fd;
		set.mask |= 1ull << (fd & 63);
	}
	ready_set(c, &set, timeout, hook, frame);
}

void ready_select(struct call *c, int n, fd_set *const sets[3], uint64_t timeout, enum hook hook,
		  uintptr_t frame)
{
	struct set set = {.lowest = -1};
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
		set.members += word & (word - 1) ? 2 : 1;
		if (set.lowest < 0)
			set.lowest = base + __builtin_ctzl(word);
		set.mask |= word;
	}
	ready_set(c, &set, timeout, hook, frame);
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
		if (s->loop_entry >= 0)
			instance_close((uint32_t)s->loop_entry);
		loop_end(s, now);
		return;
	}
	if (c->before.what == NOW_READY)
		return; /* a signal's handler waited within the wait, which goes on */
	/* it was due then, whatever it found once it ran again; a stop ends it with EINTR */
	if (deadline(c) && deadline(c) < now)
		begin = deadline(c);
	store(t->wait_ns, t->wait_ns + (begin - c->start));
	if (!t->loop_first)
		store(t->loop_first, begin);
	if (s->long_tick && c->counts)
		event_push(s, EV_READY, c->hook, c->start, now, c->object, result > 0 ? (uint32_t)result : 0);
	s->long_tick = false;
	if (unlikely(now - begin >= LATE_NS))
		event_push(s, EV_RUNQUEUE, c->hook, begin, now, 0, 0);
	release(t->tick_start, begin);
	if (!instance_leave(s))
		store(t->tick_start, 0);
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

/* A loop that polls is over once it has closed all that it polled last: the next set is another's. */
static void loop_close_polled(int fd)
{
	uint64_t bit = 1ull << (fd & 63);
	self.core &= ~bit;
	if (!(self.members & bit) || (self.members &= ~bit))
		return;
	struct self *s = self_get();
	if (s && s->loop)
		loop_end(s, clock_read());
}

void loop_close(int fd)
{
	if (!shim.arena || fd < 0)
		return;
	if (self.loop && self.epoch == shim.epoch && self.slot->loop_object & LOOP_POLLED)
		loop_close_polled(fd);
	uint32_t high = relaxed(shim.proc->loop_fds_high);
	for (uint32_t i = 0; i < high; i++) {
		if (likely(relaxed(shim.proc->loop_fds[i]) != fd + 1))
			continue;
		struct self *s = self_get();
		if (s && s->loop && s->loop_entry == (int)i)
			loop_end(s, clock_read());
		if (s) /* any other thread sees that it is gone, and so does the recorder */
			instance_close(i);
	}
}
