/* SPDX-License-Identifier: MIT
 *
 * What the probe in the kernel and whystall share: the tables that both have mapped, and the events that come
 * through a ring. The probe does for a process that was never prepared what the shim does for one that was:
 * it keeps, for each thread, what it is doing now, and counts its ticks; user space (cli/probe_pump.c) writes
 * both into an arena of its own, so that all that follows is the same for the two captures.
 *
 * Entry i of `threads` and of `procs` is entry i of the arena's. Times are CLOCK_MONOTONIC ns; 0 means none.
 * Thread and process numbers are those of whystall's pid namespace unless said otherwise.
 */
#ifndef WHYSTALL_PROBE_H
#define WHYSTALL_PROBE_H

#include "../record/arena.h"

#define PROBE_LOOPS 256u
#define PROBE_RING (8u << 20) /* bytes */
#define PROBE_SYSCALLS 512u
#define PROBE_LOCKS 16	 /* interpreter locks of a process; a power of two, as those that follow */
#define PROBE_WANTED 4	 /* locks of a process that loops wait for at once */
#define PROBE_HELD 8	 /* locks that a thread has, see hooks.bpf.h */
#define PROBE_FRAMES 24u /* of the holder, taken where a wait begins */

/* How a system call matters, by its number: filled from record/hooks.def. */
enum probe_class {
	PROBE_OTHER = 0, /* told where it blocked */
	PROBE_CALL,	 /* one that can block: told where it lasted */
	PROBE_EPOLL,	 /* (fd, events, n, ms) */
	PROBE_EPOLL2,	 /* (fd, events, n, timespec) */
	PROBE_POLL,	 /* (pollfd, n, ms) */
	PROBE_PPOLL,	 /* (pollfd, n, timespec) */
	PROBE_SELECT,	 /* (n, r, w, e, timeval) */
	PROBE_PSELECT,	 /* (n, r, w, e, timespec) */
	PROBE_URING,	 /* (fd, submit, complete, flags) */
	PROBE_FUTEX,
	PROBE_CLOSE,
	PROBE_EXIT,
	PROBE_RESTART,
};

/* What a uprobe's function does: its cookie. */
enum probe_hook_kind { PROBE_HOOK_TAKE = 1, PROBE_HOOK_FREE, PROBE_HOOK_SIGNAL };

/* arena_event.hook has a system call's number here: cli/probe_pump.c turns it into a hook. */

enum probe_kind {
	PROBE_EVENT = 1, /* struct arena_event, of this thread */
	PROBE_WAKE,	 /* `e.object`'s waiters were woken by this thread */
	PROBE_GIL,	 /* a loop begins (or goes on) to wait for the interpreter's lock: who has it */
};

/* The interpreter's frames of the thread that has its lock, as pointers only. */
struct probe_frame {
	uint64_t at, code, instruction, back;
};
struct probe_holder {
	uint64_t state;	 /* address of its thread state, 0: nobody has it */
	uint64_t thread; /* as the runtime knows it: pthread_self() */
	uint32_t n, cut;
	struct probe_frame frame[PROBE_FRAMES];
};

struct probe_event {
	uint32_t kind, thread; /* enum probe_kind; entry of `threads` */
	uint32_t serial, spare;
	struct arena_event e;
};
struct probe_gil_event {
	struct probe_event head;
	struct probe_holder holder;
};

/* An interpreter's lock and where its thread states keep their frames; all addresses and offsets in bytes. */
struct probe_lock {
	uint64_t start, end;	 /* the whole lock: a futex in it is the lock's */
	uint64_t freed, taken;	 /* condition variables of 48 bytes, see struct arena_lock */
	uint64_t locked, holder; /* int, and the thread state that took it last */
};
struct probe_frames_layout {
	int32_t thread;	       /* thread state: pthread_self() */
	int32_t frame, cframe; /* thread state: its frame; or, then `current`, where that is */
	int32_t current;
	int32_t code, back, instruction; /* frame */
	int32_t instruction_bytes;	 /* 8, or 4: an index (sign-extended) */
	int32_t owner, shim_owner; /* frame's owner field, -1: none; from this value up it is no frame */
};

/* A lock that loops wait for, or waited for lately. */
struct probe_wanted {
	uint64_t object;
	uint64_t since;	   /* the wait began */
	uint64_t released; /* the latest time that somebody let it go */
	uint32_t waiters, spare;
};

/* An epoll instance that loops wait on: as struct arena_instance, and its descriptor + 1. */
struct probe_instance {
	uint64_t object, state;
};

struct probe_proc {
	uint32_t state, serial; /* enum arena_proc_state */
	uint32_t pid, ppid;
	uint32_t threads;    /* living */
	uint32_t no_room;    /* threads that found no entry */
	uint64_t start, end; /* end: of an orderly exit or an exec */
	struct probe_wanted wanted[PROBE_WANTED];
	struct probe_instance instance[ARENA_LOOP_FDS];
	uint32_t wanted_next, spare0;
	/* written by user space */
	uint32_t locks; /* how many of `lock` are filled */
	uint32_t spare;
	struct probe_lock lock[PROBE_LOCKS];
	struct probe_frames_layout layout;
};

struct probe_thread {
	uint32_t state, serial; /* enum arena_thread_state */
	uint32_t proc;		/* entry of `procs` */
	uint32_t tid, ns_tid;	/* ns_tid: as it knows itself */
	uint32_t loop;		/* entry of `loops` + 1, 0: none */
	uint64_t pthread;
	uint64_t start, end;
	uint32_t killed; /* by a signal, as all of its process */
	uint32_t spare;

	/* now: guarded by now_seq */
	uint32_t now_seq;
	uint16_t now, nr; /* enum arena_now; system call */
	uint32_t now_owner, now_spare;
	uint64_t now_since, now_object;

	uint64_t loop_object;
	uint32_t loop_nr, loop_waits;
	uint32_t lone_waits, set_waits; /* as in struct arena_thread */
	uint32_t loop_entry;		/* in the process's instances + 1, 0: none */
	uint32_t generation, enrolled;	/* of that; it is counted among its waiters */
	uint64_t members,
		core; /* of a loop that polls: of its latest set, of all its sets; descriptors modulo 64 */
	uint64_t tick_start, ticks, tick_ns, tick_max, wait_ns, loop_first, loop_last;

	uint64_t lock_holds, lock_held_ns, lock_longest_ns, lock_waits, lock_waited_ns, lock_wait_start;
	uint64_t dropped;

	/* the probe's own */
	uint64_t entered;  /* the system call under way */
	uint64_t deadline; /* of the readiness wait under way */
	uint64_t other;
	uint32_t other_waits;
	uint16_t call, in_call;			    /* its number; in one now */
	uint8_t taken;				    /* up, while it lived */
	uint8_t ready, long_tick, restart, waiting; /* waiting: enum probe_waiting */
	uint32_t waited_lock;			    /* interpreter's lock waited for + 1, 0: another */
	uint64_t wait_start, wait_end, wait_object;
	uint64_t off, woken; /* left the CPU; was made runnable */
	uint64_t blocked_ns; /* in the call under way */
	uint32_t off_how;    /* enum probe_off */
	uint32_t wait_nr;
	uint64_t interrupted; /* the loop's wait ended by a signal then, and it has not waited since */
	uint64_t held_tick;   /* when the tick would have begun, but for the stop that it is in */
	uint64_t fault_ns;    /* in short page faults, not told yet */
	uint64_t gil_since;
	uint64_t before; /* set by user space: it runs a loop, whose tick was under way then */
	struct {
		uint64_t object, since;
	} held[PROBE_HELD];	     /* by uprobes only */
	uint64_t freed, freed_since; /* what it let go last, and since when it had had it */
	uint32_t held_next, spare3;
	uint64_t off_ns, wait_off_ns; /* all time without a CPU; the same when the latest wait ended */
	uint64_t on;		      /* got the CPU */
};

enum probe_waiting { PROBE_NOT_WAITING = 0, PROBE_WAITING, PROBE_WAITED };
enum probe_off { PROBE_ON_CPU = 0, PROBE_PREEMPTED, PROBE_BLOCKED, PROBE_STOPPED };

struct probe_loop {
	uint32_t tick_count[1024]; /* TICK_BUCKETS of them, a power of two for the verifier */
};

/* What the iterator tells of each thread that it took up. */
struct probe_taken {
	uint32_t pid, tid;
};

#endif
