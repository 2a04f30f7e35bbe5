/* SPDX-License-Identifier: MIT
 *
 * The shared memory between the targets (writers) and the recorder (reader): one memfd for a whole tree of
 * processes, made by the recorder. The shim opens it at start-up through /proc/RECORDER/fd/N, maps it and
 * closes it; forks inherit the mapping, an exec opens it anew, a new thread claims a free slot without any
 * call.
 *
 * Rules
 *  - A slot has one writer, its own thread. Counters and "now" fields are plain stores that the recorder may
 * read at any moment; `now` is guarded by a sequence number (odd while it changes).
 *  - The ring has one producer (the thread) and one consumer (the recorder). Full means dropped and counted.
 *  - The recorder trusts nothing here: every index is masked, every count bounded, every string cut.
 *  - Times are CLOCK_MONOTONIC in nanoseconds. 0 means "none".
 *  - All pages start zero and cost memory only once touched; layouts only change together with ARENA_VERSION.
 */
#ifndef WHYSTALL_ARENA_H
#define WHYSTALL_ARENA_H

#include <stdint.h>

#define ARENA_MAGIC 0x6c6c617473796877ull /* "whystall" */
#define ARENA_VERSION 7u
#define ARENA_ENV "WHYSTALL_ARENA" /* "PID:FD": the recorder, and its descriptor of the arena */

#define ARENA_PROCS 512u
#define ARENA_THREADS 2048u
#define ARENA_RING 512u	   /* events per thread, a power of two */
#define ARENA_LOCKS 64u	   /* interpreter locks watched per process */
#define ARENA_LOCK_GONE 1u /* arena_lock.freed of an interpreter that ended */
#define ARENA_SEMS 2048u
#define ARENA_HELD 4u
#define ARENA_LOOP_FDS 64u
#define ARENA_MARKS 64u /* of a process, until the recorder takes them; a power of two */

/* EVENT(number, NAME, "name"): numbers are kept for ever; retire, never renumber. */
#define ARENA_EVENTS(EVENT)                                                                                  \
	EVENT(1, TICK, "tick")	 /* a tick >= threshold: start..time, object = wait object, arg = tid of the \
				    thread whose it was, 0: this one's */                                    \
	EVENT(2, READY, "ready") /* the wait after such a tick returned: arg = how many were ready */        \
	EVENT(3, WAIT, "wait") /* a loop thread waited for a lock: start..time, object, arg = owner's tid */ \
	EVENT(4, HOLD, "hold") /* a lock was released while wanted: start (0: not seen)..time, object */     \
	EVENT(5, CALL, "call") /* a loop thread was in a call: start..time, object = descriptor */           \
	EVENT(6, LOOP_END, "loop_end") /* the loop's wait object was closed (or replaced by another): start  \
					  = its first wait's return, arg = how often it was waited on */     \
	/* of a loop thread in its tick, start..time; by the probe only, but for a wait that returned late   \
	 */                                                                                                  \
	EVENT(7, RUNQUEUE, "runqueue") /* ready to run, without a CPU */                                     \
	EVENT(8, STOPPED, "stopped")   /* by a signal or a debugger */                                       \
	EVENT(9, FAULT, "fault")       /* blocked in a page fault */

enum arena_event_kind {
#define EVENT(number, NAME, name) EV_##NAME = number,
	ARENA_EVENTS(EVENT)
#undef EVENT
};

struct arena_event {
	uint64_t time;	 /* end, or the instant */
	uint64_t start;	 /* begin */
	uint64_t object; /* lock address, descriptor, or wait object */
	uint32_t arg;
	uint16_t kind; /* enum arena_event_kind */
	uint16_t hook; /* enum hook */
};

/* What a thread is doing now. */
enum arena_now {
	NOW_RUNNING = 0, /* nothing that we watch */
	NOW_READY,	 /* in a readiness wait of its loop */
	NOW_LOCK,	 /* waiting for a lock (object) */
	NOW_CALL,	 /* in a call that can block (timed on loop threads only) */
};

/* A tick histogram: log-linear, 32 steps an octave from 1 us (everything shorter is in bucket 0) to 2^31 us.
 */
#define TICK_SUB_BITS 5u
#define TICK_BUCKETS (27u * 32u)

static inline uint32_t tick_bucket(uint64_t ns)
{
	uint64_t us = ns / 1000;
	if (us < 32)
		return (uint32_t)us;
	uint32_t top = 63u - (uint32_t)__builtin_clzll(us);
	uint32_t b = (top - TICK_SUB_BITS + 1) * 32u + (uint32_t)((us >> (top - TICK_SUB_BITS)) & 31u);
	return b < TICK_BUCKETS ? b : TICK_BUCKETS - 1;
}

/* The middle of a bucket, ns. */
static inline uint64_t tick_bucket_ns(uint32_t b)
{
	if (b < 32)
		return b * 1000ull + 500;
	uint32_t shift = b / 32u - 1;
	return (((32ull + b % 32u) << shift) * 1000ull) + ((1000ull << shift) / 2);
}

/* How a process is found in its slot. */
/* REFUSED: a child that runs without us; its parent filled this in. */
enum arena_proc_state { PROC_FREE = 0, PROC_CLAIMED, PROC_LIVE, PROC_ENDED, PROC_REFUSED };

/* Why a program does not take the shim. */
enum refusal {
	REFUSAL_NONE = 0,   /* it does */
	REFUSAL_MISSING,    /* there is no such program: the exec will fail */
	REFUSAL_STATIC,	    /* statically linked */
	REFUSAL_WORD_SIZE,  /* 32-bit, or for another machine */
	REFUSAL_LIBC,	    /* its loader is not glibc's */
	REFUSAL_SETUID,	    /* it changes user or group */
	REFUSAL_UNREADABLE, /* it cannot be read */
	REFUSAL_ASAN,	    /* its AddressSanitizer must be loaded first */
	REFUSAL_FORMAT,	    /* nothing that we know */
	REFUSAL_SHIM,	    /* the shim's own file cannot be opened there: another root, another user */
	REFUSAL_OFF,	    /* the shim is off there, or does not follow children */
	REFUSALS
};

/* An interpreter's lock: a mutex-and-condition lock (CPython's GIL), told by the recorder once it knows it.
 * Signalling `taken` means that the thread has the lock now, signalling `freed` that it gave it up, waiting
 * on `freed` that it wants it. CPython: gil->switch_cond and gil->cond (Python/ceval_gil.c, FORCE_SWITCHING).
 * The shim stamps each take and release. */
struct arena_lock {
	uint64_t freed; /* address of the condition variable, 0: not watched, nor is any after it */
	uint64_t taken;
	uint32_t holder; /* slot + 1 of the thread that has it, 0: nobody or not known */
	uint32_t waiters;
	uint64_t since; /* when the holder took it */
};

/* Who took a semaphore last: open addressing by address; written by whoever took or posted it. */
struct arena_sem {
	uint64_t address;
	uint64_t since; /* of the last take, 0: free */
	uint32_t taker; /* tid */
	uint32_t spare; /* serial of the process that wrote this entry; another's is empty */
};

/* What the process said it was doing from this instant on (whystall_mark): the test that a test runner runs.
 */
struct arena_mark {
	uint64_t time;
	uint32_t seq; /* its number + 1 once it is whole, 0 while it is written */
	char text[500];
};

/* An epoll instance that a loop waits on; its descriptor + 1 is in loop_fds at the same place. Where several
 * threads wait on it, it is the loop (design: which threads are loops): a tick runs only while none of them
 * waits, and belongs to the one that took the last events. One word, so that all of it changes at once. */
struct arena_instance {
	uint64_t state;
};
#define INSTANCE_WAITERS(state) ((uint32_t)(state)&0xfffu)
#define INSTANCE_OWNER(state) ((uint32_t)((state) >> 12) & 0xfffu) /* slot + 1 of who left it last */
/* How often the thread that came was another than the one that left; INSTANCE_SHARED stays */
#define INSTANCE_TURNS(state) ((uint32_t)((state) >> 24) & 3u)
#define INSTANCE_SHARED 2u
#define INSTANCE_GENERATION(state) ((uint32_t)((state) >> 26) & 0x3fu) /* rises with every close */
#define INSTANCE_SERIAL(state) ((uint32_t)((state) >> 32))	       /* rises with every change */
#define INSTANCE_STATE(waiters, owner, turns, generation, serial)                  \
	((uint64_t)(waiters) | (uint64_t)(owner) << 12 | (uint64_t)(turns) << 24 | \
	 (uint64_t)((generation)&0x3fu) << 26 | (uint64_t)(uint32_t)(serial) << 32)

struct arena_proc {
	uint32_t state;	 /* enum arena_proc_state */
	uint32_t serial; /* rises with every process in this slot; an exec starts a new one too */
	int32_t pid;	 /* in the target's own namespace */
	int32_t ppid;
	uint64_t start;			  /* when the shim came up in it */
	uint64_t end;			  /* orderly exit or exec, else 0 */
	char image[64];			  /* program_invocation_short_name */
	uint32_t threads_refused;	  /* no free slot */
	uint32_t sems_lost;		  /* the table below was full: takers not known */
	uint32_t held_lost;		  /* a thread's `held` was full */
	uint32_t parent_slot;		  /* arena_proc of the forking process + 1, 0: exec'd or the first */
	uint32_t loop_fds_high;		  /* places used so far */
	int32_t loop_fds[ARENA_LOOP_FDS]; /* epoll descriptors of loops + 1, so that close() finds them */
	struct arena_instance instance[ARENA_LOOP_FDS];
	uint32_t refusal; /* enum refusal: it went on (LIVE), or began (REFUSED), as a program without us */
	struct arena_lock lock[ARENA_LOCKS];
	struct arena_sem sem[ARENA_SEMS];
	uint32_t mark_first; /* number of this process's first mark: the slot may have had another before */
	uint32_t mark_head;  /* of the next one */
	struct arena_mark mark[ARENA_MARKS];
} __attribute__((aligned(4096)));

#define LOOP_POLLED (1ull << 32)

/* A main thread that polls is a loop if it mostly waits on several descriptors. One that serves a client at a
 * time waits on its listening socket alone between two of them, and perhaps once more. */
#define MOSTLY_SETS(lone_waits, set_waits) ((lone_waits) <= 2 * (set_waits))

enum arena_thread_state { THREAD_FREE = 0, THREAD_CLAIMED, THREAD_LIVE, THREAD_ENDED };

struct arena_thread {
	/* life; the recorder turns ENDED into FREE once it has drained the ring */
	uint32_t state;	 /* enum arena_thread_state */
	uint32_t proc;	 /* arena_proc */
	uint32_t serial; /* rises with every thread in this slot */
	int32_t tid;
	uint64_t pthread; /* pthread_self(), which runtimes know a thread by */
	uint64_t start;
	uint64_t end;
	uint32_t killed; /* nonzero: it ended by a signal, with its process (only the probe is told) */
	uint32_t spare;

	/* now: guarded by now_seq */
	uint32_t now_seq;
	uint16_t now;	    /* enum arena_now */
	uint16_t now_hook;  /* enum hook */
	uint32_t now_owner; /* NOW_LOCK: tid of the holder when the wait began, 0: not known */
	uint32_t now_spare;
	uint64_t now_since;
	uint64_t now_object;

	/* the loop that this thread runs, if it does */
	uint64_t loop_object; /* epoll: descriptor + 1; poll, select: lowest descriptor + 1 | LOOP_POLLED; 0:
				 none */
	uint32_t loop_hook;   /* enum hook of its waits */
	uint32_t loop_waits;  /* waits on this object so far */
	uint32_t loop_entry;  /* in loop_fds + 1, 0: none */
	uint32_t lone_waits;  /* waits by poll or select on one descriptor, the loop's or not ... */
	uint32_t set_waits;   /* ... and the loop's on several */
	uint64_t tick_start;  /* of the tick under way, 0: in a wait, or no loop */
	uint64_t ticks;
	uint64_t tick_ns;    /* sum of ticks */
	uint64_t tick_max;   /* longest so far */
	uint64_t wait_ns;    /* sum of the time in the loop's waits */
	uint64_t loop_first; /* return of the first wait */
	uint64_t loop_last;  /* entry of the latest wait */
	uint64_t wait_until; /* when that is due to return at the latest, 0: whenever something happens */

	/* the interpreter's lock, all takes */
	uint64_t lock_holds, lock_held_ns, lock_longest_ns, lock_waits, lock_waited_ns;
	uint64_t lock_wait_start; /* of the wait under way, 0: none */

	/* read-write locks that it reads and spin locks that it has now: these do not say so themselves */
	uint64_t held[ARENA_HELD];

	/* losses */
	uint64_t dropped; /* events that found the ring full or the thread inside its own bookkeeping */

	/* ring */
	uint32_t head;				    /* written by the thread */
	uint32_t tail __attribute__((aligned(64))); /* written by the recorder */
	uint32_t tick_count[TICK_BUCKETS] __attribute__((aligned(4096)));
	struct arena_event ring[ARENA_RING] __attribute__((aligned(4096)));
} __attribute__((aligned(4096)));

struct arena {
	uint64_t magic;
	uint32_t version;
	uint32_t size;	  /* sizeof(struct arena) / 4096 */
	int32_t recorder; /* pid */
	uint32_t off;	  /* nonzero: everyone calls through from now on */
	uint64_t threshold_ns;
	uint64_t call_ns;  /* shortest EV_CALL and EV_WAIT worth an event */
	uint32_t alone;	   /* nonzero: processes that the command starts are left alone */
	uint32_t joined;   /* nonzero: the recorder is no ancestor of the processes, and has to be let in */
	char shim[512];	   /* path of libwhystall.so, for LD_PRELOAD across exec */
	char record[4096]; /* absolute path of the record, "": not known */
	uint32_t stalls;   /* ticks of the threshold or more so far, of all */
	uint32_t sync_wanted, sync_done; /* all that was seen when the former rose is in the record once the
					    latter is there too */
	uint32_t proc_high;		 /* slots used so far: the recorder scans no further */
	uint32_t thread_high;
	uint32_t procs_refused;
	struct arena_proc proc[ARENA_PROCS];
	struct arena_thread thread[ARENA_THREADS];
} __attribute__((aligned(4096)));

_Static_assert(sizeof(struct arena_event) == 32, "an event is 32 bytes");
_Static_assert((ARENA_RING & (ARENA_RING - 1)) == 0, "the ring is masked");
_Static_assert(sizeof(struct arena_mark) == 512 && (ARENA_MARKS & (ARENA_MARKS - 1)) == 0,
	       "so are the marks");

#endif
