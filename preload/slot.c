/* SPDX-License-Identifier: MIT
 *
 * Slots of the arena: claiming them for this process and its threads, giving them back, and what a thread
 * writes into its own. A slot is taken by compare-and-swap from FREE; nobody ever waits for one.
 */
#include <pthread.h>

#include "instance.h"
#include "lock.h"
#include "original.h"
#include "record/ring.h"
#include "shim.h"
#include "sys.h"

__thread struct self self;

uint64_t clock_read(void)
{
	struct {
		int64_t s, ns;
	} t;
	if (unlikely(!shim.clock || shim.clock(1 /* CLOCK_MONOTONIC */, &t)))
		return 0;
	return (uint64_t)t.s * 1000000000u + (uint64_t)t.ns;
}

/* struct pthread's tid: glibc's nptl/descr.h, behind the tcbhead_t of sysdeps/x86_64/nptl/tls.h (704 bytes)
 * and a list_t; there since 2.11 at least, and looked at by shim_start before it is believed. */
#define PTHREAD_TID 720

uint64_t pthread_pointer(void)
{
	uint64_t self_pointer;
	__asm__("mov %%fs:0x10, %0" : "=r"(self_pointer)); /* tcbhead_t.self: pthread_self() */
	return self_pointer;
}

int32_t tid_field_of(uint64_t pthread)
{
	return *(const volatile int32_t *)(pthread + PTHREAD_TID);
}

int32_t tid_field(void)
{
	return tid_field_of(pthread_pointer());
}

/* A tid without a system call: glibc writes the locking thread's into a mutex (__owner). Before 2.34 a
 * process without libpthread has only a mutex that does nothing; its one thread is known, and in its children
 * fork() has filled in the field that libpthread would use. */
int32_t tid_read(void)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	if (!libc_mutex_lock || !libc_mutex_unlock || libc_mutex_lock(&m))
		return 0;
	int32_t tid = m.__data.__owner;
	libc_mutex_unlock(&m);
	if (tid)
		return tid;
	tid = tid_field();
	return tid ? tid : shim.main_tid;
}

static bool state_take(uint32_t *state)
{
	uint32_t free = 0;
	return relaxed(*state) == 0 &&
	       __atomic_compare_exchange_n(state, &free, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* A free slot below *high, else the next above it, up to max. The caller says where a slot's state is. */
static uint32_t slot_take(uint32_t *high, uint32_t max, uint32_t hint, uint32_t *(*state)(uint32_t))
{
	uint32_t n = relaxed(*high);
	n = n < max ? n : max;
	for (uint32_t k = 0; k < n; k++) {
		uint32_t i = (hint + k) % n;
		if (state_take(state(i)))
			return i;
	}
	while ((n = relaxed(*high)) < max) {
		if (!__atomic_compare_exchange_n(high, &n, n + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		if (state_take(state(n)))
			return n;
	}
	return max;
}

static uint32_t *proc_state(uint32_t i)
{
	return &shim.arena->proc[i].state;
}

static uint32_t *thread_state(uint32_t i)
{
	return &shim.arena->thread[i].state;
}

static struct arena_proc *proc_take(void)
{
	struct arena *a = shim.arena;
	uint32_t i = slot_take(&a->proc_high, ARENA_PROCS, 0, proc_state);
	if (i < ARENA_PROCS)
		return &a->proc[i];
	__atomic_fetch_add(&a->procs_refused, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void image_name(struct arena_proc *p, const char *file)
{
	const char *base = file;
	for (const char *c = file; c && *c; c++)
		if (*c == '/' && c[1])
			base = c + 1;
	memset(p->image, 0, sizeof(p->image));
	for (size_t k = 0; base && k + 1 < sizeof(p->image) && base[k]; k++)
		p->image[k] = base[k];
}

bool proc_claim(const struct arena_proc *parent, int32_t pid, int32_t ppid)
{
	struct arena *a = shim.arena;
	struct arena_proc *p = proc_take();
	if (!p)
		return false;
	p->serial++;
	p->pid = pid;
	p->ppid = ppid;
	p->start = clock_read();
	p->end = 0;
	p->threads_refused = p->sems_lost = p->held_lost = 0;
	p->parent_slot = parent ? (uint32_t)(parent - a->proc) + 1 : 0;
	p->refusal = REFUSAL_NONE;
	p->mark_first = relaxed(p->mark_head);
	instances_clear(p);
	for (uint32_t k = 0; k < ARENA_LOCKS; k++) {
		struct arena_lock *l = &p->lock[k];
		memset(l, 0, sizeof(*l));
		if (!parent)
			continue;
		l->taken = relaxed(parent->lock[k].taken); /* the child's memory is where its parent's was */
		l->freed = relaxed(parent->lock[k].freed);
	}
	image_name(p, parent ? parent->image : program_invocation_short_name);
	shim.proc = p;
	shim.locks = p->lock;
	release(p->state, PROC_LIVE);
	return true;
}

struct arena_proc *proc_refuse(int32_t pid, enum refusal why, const char *file)
{
	struct arena_proc *p = proc_take();
	if (!p)
		return NULL;
	p->serial++;
	p->pid = pid;
	p->ppid = shim.proc->pid;
	p->start = clock_read();
	p->end = 0;
	p->threads_refused = p->sems_lost = p->held_lost = p->parent_slot = 0;
	p->refusal = why;
	p->mark_first = relaxed(p->mark_head);
	instances_clear(p);
	memset(p->lock, 0, sizeof(p->lock));
	image_name(p, file);
	release(p->state, PROC_REFUSED);
	return p;
}

void proc_leave(enum refusal why, const char *file)
{
	store(shim.proc->refusal, why);
	image_name(shim.proc, why ? file : program_invocation_short_name);
	proc_end(why || file ? clock_read() : 0);
}

void proc_end(uint64_t when)
{
	if (shim.arena && relaxed(*shim.alive) == ALIVE_LIVE)
		release(shim.proc->end, when);
}

void exit_mark(void)
{
	self.marked = true;
	proc_end(clock_read());
}

/* The child has one thread, this one, whose variables are still its parent's. */
void proc_child(void)
{
	uint32_t wiped = ALIVE_CHILD;
	if (!shim.arena || !__atomic_compare_exchange_n(shim.alive, &wiped, ALIVE_BUSY, false,
							__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	const struct arena_proc *parent = shim.proc;
	bool known = self.epoch && self.epoch == shim.epoch;
	struct arena_thread *old = self.slot;
	int32_t tid = tid_read();
	shim.epoch++;
	shim.main_tid = tid;
	memset(&self, 0, sizeof(self));
	/* A raw clone() leaves the parent's tid in glibc's books: then we do not know who we are. 1 is the
	 * first of a pid namespace of its own, whose pids mean strangers to the recorder. */
	if (tid == 1)
		shim.arena = NULL; /* for its children too */
	if (!tid || tid == 1 || (known && tid == old->tid) || tid == parent->pid || shim.arena->off ||
	    shim.arena->alone || !proc_claim(parent, tid, parent->pid)) {
		release(*shim.alive, ALIVE_OFF);
		return;
	}
	recorder_admit();
	release(*shim.alive, ALIVE_LIVE);
	if (!known)
		return;
	/* The forking thread may hold an interpreter's lock: then its child's thread holds the child's. */
	uint32_t was = (uint32_t)(old - shim.arena->thread) + 1;
	for (uint32_t k = 0; k < ARENA_LOCKS; k++)
		if (shim.locks[k].freed && relaxed(parent->lock[k].holder) == was && self_get()) {
			shim.locks[k].since = clock_read();
			release(shim.locks[k].holder, (uint32_t)(self.slot - shim.arena->thread) + 1);
		}
}

static void thread_reset(struct arena_thread *t)
{
	if (t->ticks)
		memset(t->tick_count, 0, sizeof(t->tick_count));
	/* what the owner writes lies between serial and tail */
	char *from = (char *)&t->tid, *to = (char *)&t->head;
	memset(from, 0, (size_t)(to - from));
	store(t->head, relaxed(t->tail));
}

struct self *self_claim(void)
{
	if (!shim.arena || shim.arena->off || self.ended || self.busy)
		return NULL;
	if (relaxed(*shim.alive) == ALIVE_CHILD && self.epoch == shim.epoch)
		proc_child();
	if (acquire(*shim.alive) != ALIVE_LIVE)
		return NULL;
	if (self.epoch == shim.epoch)
		return &self;
	if (self.refused) {
		self.refused--;
		return NULL;
	}
	self.busy = 1;
	compiler_barrier();
	int32_t tid = tid_read();
	uint32_t i = tid ? slot_take(&shim.arena->thread_high, ARENA_THREADS, relaxed(shim.thread_hint),
				     thread_state)
			 : ARENA_THREADS;
	if (i < ARENA_THREADS) {
		struct arena_thread *t = &shim.arena->thread[i];
		thread_reset(t);
		t->serial++;
		t->proc = (uint32_t)(shim.proc - shim.arena->proc);
		t->tid = tid;
		t->pthread = pthread_pointer();
		t->start = clock_read();
		store(shim.thread_hint, i + 1);
		release(t->state, THREAD_LIVE);
		self.slot = t;
		self.tid = tid;
		self.loop_entry = -1;
		self.held = 0;
		self.epoch = shim.epoch;
	} else {
		self.refused = 256;
		__atomic_fetch_add(&shim.proc->threads_refused, 1, __ATOMIC_RELAXED);
	}
	compiler_barrier();
	self.busy = 0;
	return self.epoch == shim.epoch ? &self : NULL;
}

struct self *self_lost(void)
{
	store(self.slot->dropped, self.slot->dropped + 1);
	return NULL;
}

void self_end(void)
{
	struct arena_thread *t = self.slot;
	self.ended = true;
	if (!shim.arena || self.epoch != shim.epoch || !self.epoch || relaxed(*shim.alive) != ALIVE_LIVE)
		return;
	gil_give_up(&self);
	t->tick_start = 0;
	t->wait_until = 0;
	instance_abandon(&self);
	self.loop = false;
	self.epoch = 0;
	t->end = clock_read();
	/* A slot in which there is nothing to read goes back at once: short-lived threads may outrun the
	 * recorder. */
	bool empty = t->head == acquire(t->tail) && !t->ticks && !t->lock_holds && !t->dropped;
	release(t->state, empty ? THREAD_FREE : THREAD_ENDED);
}

void event_push(struct self *s, enum arena_event_kind kind, enum hook hook, uint64_t start, uint64_t time,
		uint64_t object, uint32_t arg)
{
	struct arena_thread *t = s->slot;
	if (s->busy) {
		store(t->dropped, t->dropped + 1);
		return;
	}
	struct arena_event event = {.time = time,
				    .start = start,
				    .object = object,
				    .arg = arg,
				    .kind = (uint16_t)kind,
				    .hook = (uint16_t)hook};
	s->busy = 1;
	compiler_barrier();
	if (!ring_push(t, &event))
		store(t->dropped, t->dropped + 1);
	compiler_barrier();
	s->busy = 0;
}

static void now_write(struct arena_thread *t, const struct now *n)
{
	uint32_t seq = t->now_seq;
	store(t->now_seq, seq + 1);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	store(t->now, n->what);
	store(t->now_hook, n->hook);
	store(t->now_owner, n->owner);
	store(t->now_since, n->since);
	store(t->now_object, n->object);
	release(t->now_seq, seq + 2);
}

void now_begin(struct self *s, struct now *before, enum arena_now what, enum hook hook, uint64_t since,
	       uint64_t object, uint32_t owner, uintptr_t frame)
{
	struct arena_thread *t = s->slot;
	*before = (struct now){0};
	s->busy = 1;
	compiler_barrier();
	/* Stacks grow down: whoever set `now` is still below us only if its frame is above ours. */
	if (t->now != NOW_RUNNING && s->frame > frame)
		*before = (struct now){t->now_since, t->now_object, t->now_owner,
				       t->now,	     t->now_hook,   s->frame};
	struct now now = {since, object, owner, (uint16_t)what, (uint16_t)hook, frame};
	s->frame = frame;
	now_write(t, &now);
	compiler_barrier();
	s->busy = 0;
}

void now_end(struct self *s, const struct now *before)
{
	if (s->gil && before->what == NOW_RUNNING)
		before = &s->gil_now;
	s->busy = 1;
	compiler_barrier();
	s->frame = before->frame;
	now_write(s->slot, before);
	compiler_barrier();
	s->busy = 0;
}
