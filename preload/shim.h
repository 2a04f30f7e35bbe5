/* SPDX-License-Identifier: MIT
 *
 * What the shim's files share: where the arena is, who this thread is, how to store an event.
 *
 * Rules that hold everywhere in preload/ (design: rules in the target)
 *  - Silent: nothing is printed, nothing aborts, no signal handler, thread or descriptor is left behind.
 *  - On any trouble self_get() returns NULL and the wrapper calls through.
 *  - No allocation, no lock, no system call after start-up, but for exec: there only those that ld.so makes
 * too.
 *  - errno is the target's: nothing here touches it.
 *  - A signal handler may enter any of this in the middle of anything: self.busy keeps it out.
 *  - A thread may leave any wrapped call by cancellation or longjmp: what is left behind must be harmless.
 */
#ifndef WHYSTALL_SHIM_H
#define WHYSTALL_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record/arena.h"
#include "record/hooks.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
/* Where the caller's frame is. Not __builtin_frame_address, which makes the frame one that only rbp finds: of
 * a blocked thread the recorder knows rip and rsp alone, and must unwind through our wrapper. */
#define FRAME                                                      \
	({                                                         \
		uintptr_t frame_;                                  \
		__asm__ volatile("movq %%rsp, %0" : "=r"(frame_)); \
		frame_;                                            \
	})
#define HIDDEN __attribute__((visibility("hidden")))

#define relaxed(p) __atomic_load_n(&(p), __ATOMIC_RELAXED)
#define acquire(p) __atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define store(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELAXED)
#define release(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)
#define compiler_barrier() __asm__ volatile("" ::: "memory")

/* Values of *shim.alive. The word lies in a page that the kernel wipes in every child with memory of its own,
 * so a child that nobody told us of (clone, _Fork, forkpty) finds CHILD there and cannot write into its
 * parent's slots. */
enum { ALIVE_CHILD = 0, ALIVE_LIVE = 1, ALIVE_BUSY = 2, ALIVE_OFF = 3 };

struct shim {
	struct arena *arena;	  /* NULL: call through */
	struct arena_proc *proc;  /* this process's slot, set with arena */
	struct arena_lock *locks; /* its interpreter locks, never NULL */
	uint32_t *alive;
	uint32_t epoch;	      /* rises in every child: tells stale thread variables from good ones */
	uint32_t thread_hint; /* where to look for a free thread slot */
	int32_t main_tid;
	char variable[64]; /* WHYSTALL_ARENA=..., for children */
	int (*clock)(int, void *);
	bool rwlocks; /* of the layout that we know */
	bool c11;     /* mtx_lock and its like are the C library's, and so pthread's own */
};
extern struct shim shim HIDDEN;

/* What a thread does now. */
struct now {
	uint64_t since, object;
	uint32_t owner;
	uint16_t what, hook;
	uintptr_t frame; /* of the wrapper that set it */
};

#define TAKEN 8
struct self {
	struct arena_thread *slot;
	uint32_t epoch; /* equal to shim.epoch: slot is ours */
	uint32_t busy;
	uint32_t refused; /* slow paths until a slot is asked for again */
	int32_t tid;
	bool ended;  /* the thread is on its way out: no new slot */
	bool marked; /* _exit was called, maybe by a vfork child with our variables */
	bool loop;   /* slot->loop_object is set */

	/* loop.c */
	bool long_tick; /* the last tick was a stall: the wait's return is an event */
	uint64_t other; /* another wait object, and how often it was waited on in a row */
	uint32_t other_waits;
	/* of a loop that polls, by descriptor modulo 64: those in its last set, and those in all of them */
	uint64_t members, core;

	/* instance.c */
	int loop_entry;	     /* in proc->loop_fds, -1: none */
	uint32_t generation; /* of the instance there */
	bool waiting;	     /* counted among its waiters */

	/* the frame that set slot->now, to tell a handler's nested call from a stale state */
	uintptr_t frame;

	/* gil.c: the interpreter's lock (index + 1) that the thread waits for, between the slices of that
	 * wait too */
	int gil;
	struct now gil_now;

	/* lock.c: locks taken after a contended wait, and when */
	struct {
		uintptr_t lock;
		uint64_t time;
	} taken[TAKEN];
	uint32_t taken_next;
	uint32_t held; /* how many slot->held has */
};
extern __thread struct self self HIDDEN;

/* This thread, with a slot; NULL: call through. */
struct self *self_claim(void) HIDDEN;
/* A signal handler in the middle of our own bookkeeping: counted, NULL. */
struct self *self_lost(void) HIDDEN;
static inline struct self *self_get(void)
{
	if (likely(self.epoch == shim.epoch && self.epoch && relaxed(*shim.alive) == ALIVE_LIVE &&
		   !shim.arena->off))
		return likely(!self.busy) ? &self : self_lost();
	return self_claim();
}
/* The thread ends. */
void self_end(void) HIDDEN;

uint64_t clock_read(void) HIDDEN;
/* The caller's tid, from the C library's own bookkeeping. */
int32_t tid_read(void) HIDDEN;
int32_t tid_field_of(uint64_t pthread) HIDDEN;
int32_t tid_field(void) HIDDEN; /* as it is there, 0 if nobody has filled it in */
uint64_t pthread_pointer(void) HIDDEN;

/* Maps the arena that "WHYSTALL_ARENA=PID:FD" names, and begins. false: not to be had, everything calls
 * through. */
bool arena_start(const char *variable) HIDDEN;
/* Where only ancestors may look into a process (Yama's ptrace_scope 1), the recorder may look into this one.
 */
void recorder_admit(void) HIDDEN;
/* Puts this process into a slot of the arena: at start-up (parent NULL) and in a child. */
bool proc_claim(const struct arena_proc *parent, int32_t pid, int32_t ppid) HIDDEN;
/* A child that runs without us, for the recorder to list; `file` is what it executes. NULL: no free slot. */
struct arena_proc *proc_refuse(int32_t pid, enum refusal, const char *file) HIDDEN;
/* This process goes on as another program, taken back with (REFUSAL_NONE, NULL). */
void proc_leave(enum refusal, const char *file) HIDDEN;
/* In a child of fork(). */
void proc_child(void) HIDDEN;
/* The process ends in order, or (0) it does not after all. */
void proc_end(uint64_t when) HIDDEN;
/* _exit was called: maybe by a vfork child, then the parent takes it back by the first call of exit_unmark.
 */
void exit_mark(void) HIDDEN;
static inline void exit_unmark(struct self *s)
{
	if (unlikely(s->marked)) {
		s->marked = false;
		proc_end(0);
	}
}

void event_push(struct self *, enum arena_event_kind, enum hook, uint64_t start, uint64_t time,
		uint64_t object, uint32_t arg) HIDDEN;

/* Sets slot->now; *before is what now_end puts back (a signal handler's call inside a wait), else nothing. */
void now_begin(struct self *, struct now *before, enum arena_now, enum hook, uint64_t since, uint64_t object,
	       uint32_t owner, uintptr_t frame) HIDDEN;
void now_end(struct self *, const struct now *before) HIDDEN;

#endif
