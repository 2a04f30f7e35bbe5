/* SPDX-License-Identifier: MIT
 *
 * What the watcher knows, shared by watch*.c only: processes and threads by arena slot, loops, the stall that
 * each loop is in, and the short history (waits of the loop, holds of others) a stall is made of when it
 * ends.
 */
#ifndef WHYSTALL_WATCH_STATE_H
#define WHYSTALL_WATCH_STATE_H

#include "../record/hooks.h"
#include "faults.h"
#include "quota.h"
#include "watch.h"
#include "watch_hold.h"

#define SAMPLE_AFTER_NS 3000000ull /* a tick this old is looked at: it may become a stall */
#define IDLE_POLL_NS 8000000ull
#define BUSY_POLL_NS 4000000ull
#define STALLS_MAX 100000u /* kept per loop; more are counted as suppressed */

struct watch_thread;

struct watch_lock {
	uint32_t id;
	uint64_t address;
	enum lock_kind kind;
	const char *name; /* the runtime's; NULL: not asked, or it has none */
	bool passing;	  /* it exists for one wait: the next one there is another */
};

/* What the runtime says of a wait under way. */
struct watch_asked {
	uint64_t since; /* of the wait, 0: nothing */
	uint32_t lock, owner;
	bool nobody;
	const char *name; /* NULL: none */
};

/* An epoll instance that several threads wait on: one loop, whoever of them has the tick. */
struct watch_shared {
	uint32_t entry, generation; /* of the process's arena_proc.instance */
	struct obs_loop seen;
};

struct watch_proc {
	struct arena_proc *slot;
	uint32_t slot_index, serial;
	pid_t pid;
	int pidfd;
	bool live;
	struct obs_process seen;
	uint64_t next_open; /* when to look for an interpreter again, 0: no more */
	uint64_t told;	    /* when the interpreters' locks were last told to the shim */
	uint64_t role_at;   /* when to look next for what it is */
	unsigned role_looks;
	unsigned tries;
	struct interp *interp;
	const struct interp_ops *ops;
	struct native_box *box;
	VEC(struct watch_lock) locks;
	uint32_t *lock_at; /* by address: position in locks + 1 */
	size_t lock_room;
	VEC(struct watch_hold) holds;
	uint32_t marks_taken; /* number of the next mark */
	VEC(struct watch_shared *) shared;
	uint64_t lost;
	bool perf_denied;
	bool left;	      /* it went on as a program that the shim is not in */
	uint64_t leave_check; /* when to look next whether it did */
	struct quota quota;   /* of its control groups */
	uint64_t next_quota;
};

struct watch_stall {
	struct obs_stall seen;
	bool kept;  /* it reached the threshold: it has an id and is put */
	bool ended; /* its tick is over; finalized one look later, when all holds have arrived */
	uint64_t finalize_after;
	VEC(struct raw_sample) provisional; /* looks taken before it was kept */
	VEC(struct raw_sample) crowd;	    /* looks at those of whom one may turn out to be the holder */
	uint64_t next_look;
	uint64_t put_ns;    /* what the last put of it cost */
	bool based;	    /* its first counts are put */
	uint64_t overtaken; /* when another tick was first seen in its place */
	bool sure;	    /* a tick of what was a loop by then */
};

struct watch_loop {
	struct obs_loop seen;
	struct watch_shared *shared; /* NULL: the thread alone waits on its object */
	/* the shim's figures, as last read */
	uint64_t ticks, tick_ns, wait_ns;
	uint32_t counted[TICK_BUCKETS];
	uint64_t counted_at;
	VEC(struct obs_wait) waits; /* of ticks not yet finished with; stall is 0 */
	struct watch_stall now;	    /* the tick under way, if seen.start_ns */
	VEC(struct watch_stall) ended;
	VEC(struct raw_sample) early; /* see watch_sampled.c */
	uint32_t stalls;
	int64_t cpu_base, delay_base;	      /* schedstat when it was last seen waiting */
	uint64_t waits_of_base, busy_of_base; /* waits then, and the time in ticks */
	unsigned runner_tries;
	bool is_loop;		 /* it has been one: it is in the record */
	uint64_t call_since;	 /* the call it was last looked at in ... */
	const char *call_target; /* ... and what that concerned */
	struct watch_asked asked;
	struct quota_count quota_base[QUOTA_LEVELS]; /* watch_quota.c: when it was last seen waiting */
	unsigned quota_serial;
	uint64_t stop_since; /* watch_run.c: stopped since then, 0: it is not ... */
	uint64_t stop_look;  /* ... and when a look last found it so, or last found it going */
	uint64_t going_look;
	bool stop_shown; /* its stack in this stop has been read */
	bool current;	 /* the object it waits on now has had its three waits */
};

/* What is known of a thread's major page faults: watch_fault.c. */
struct watch_fault {
	struct faults *perf;
	bool denied, told;
	int64_t count;
	const char *target;  /* of the latest that was told */
	uint64_t start, end; /* the mapping last looked up, of ... */
	const char *path;
	uint64_t maps_at; /* when to look one up again */
};

struct watch_thread {
	struct arena_thread *slot;
	uint32_t slot_index, serial;
	bool live;
	struct watch_proc *proc;
	struct obs_thread seen;
	uint64_t next_name;
	unsigned name_tries;
	uint64_t cpu_at, next_cpu; /* when its CPU time was last read, and is to be next */
	bool named;		   /* by its runtime */
	int schedstat;
	int stat;	/* + 1; 0: not open */
	char run_state; /* "R", "S", "D", "T", "t" ... of /proc, as last read; 0: not known */
	int64_t faults; /* major page faults since its birth, as last read; -1: not known */
	struct watch_fault fault;
	struct watch_loop *loop;
	struct perf_sampler *perf;
	uint64_t perf_used;
	bool perf_on;
	struct native_sample *perf_latest;
	uint64_t dropped;	     /* as last read */
	uint64_t looked_since;	     /* now_since of the wait it was last looked at in ... */
	uint64_t looked_stall_start; /* ... and for which stall */
	struct frame blamed; /* at the last look: the innermost frame of the user's, for the line on the
				terminal */
};

struct watch {
	struct arena *arena;
	struct writer *writer;
	struct watch_options options;
	VEC(struct watch_proc *) procs;
	VEC(struct watch_thread *) threads; /* live, and those that ended a moment ago */
	struct watch_proc *by_proc_slot[ARENA_PROCS];
	struct watch_thread *by_thread_slot[ARENA_THREADS];
	uint32_t next_mark;
	uint32_t sync_read, sync_put; /* of the arena's sync_wanted: at the last look, and answered */
	uint32_t next_id, next_stall; /* processes, threads, loops, locks share one count */
	uint64_t start_ns;
	uint64_t now;	  /* of this look */
	uint64_t slow_at; /* next second-by-second work */
	size_t cpu_next;  /* position in threads: whose CPU time is read next */
	unsigned perf_open, faults_open;
	uint64_t lost_events, suppressed;
	uint64_t threads_refused; /* by processes that have ended, and the next */
	uint64_t takers_lost;	  /* of locks that do not name their holder: no room to note it */
	VEC(const char *) notes;
	VEC(const char *) names; /* with --loop: what threads were called */
	bool loop_named;	 /* the thread that --loop names is a loop */
	bool busy;
};

/* watch_proc.c */
void watch_processes(struct watch *);
void watch_process_end(struct watch *, struct watch_proc *, uint64_t when);
void watch_process_leave(struct watch *, struct watch_proc *, uint64_t when); /* it lives on, unwatched */
void watch_totals(struct watch *); /* once a second, and when a report is wanted: what changes slowly */
void watch_note(struct watch *, const char *sentence); /* once */
void watch_process_free(struct watch *, struct watch_proc *);
void watch_describe_process(struct watch *, struct watch_proc *);
/* The program that it was is gone, the process is not: its threads end. */
void watch_process_left(struct watch *, struct watch_proc *);

/* watch_thread.c */
void watch_threads(struct watch *); /* what the arena says of them now */
void watch_threads_ended(struct watch *);
void watch_threads_total(struct watch *);
void watch_threads_end(struct watch *, struct watch_proc *, uint64_t when, bool cut); /* all of a process */
void watch_threads_forget(struct watch *);
struct watch_thread *watch_thread_of(struct watch *, struct watch_proc *, int tid);
/* The thread in this entry of the arena, for what comes before watch_threads has been there. NULL: none. */
struct watch_thread *watch_thread_at(struct watch *, uint32_t index);
void watch_thread_name(struct watch *, struct watch_thread *);

/* watch_interp.c */
void watch_interp_look(struct watch *, struct watch_proc *);
void watch_interp_drop(struct watch_proc *);
void watch_locks_tell(struct watch *, struct watch_proc *);

/* watch_names.c */
/* Is it the thread that --loop names? */
bool watch_names_it(const struct watch *, const struct watch_thread *);
void watch_names_seen(struct watch *, const char *old, const char *name);
/* Nothing was a loop that is called so: says what there was. */
void watch_names_note(struct watch *);

/* watch_role.c */
/* Finds out what a worker process works for. */
void watch_role(struct watch *, struct watch_proc *);

/* watch_leave.c */
/* A slot of a child that runs without the shim, and is past its exec. */
bool watch_refused(struct arena_proc *);
/* Notices that a process goes on as a program without the shim. */
void watch_leave(struct watch *, struct watch_proc *);
/* It ended: was it such a program? */
void watch_leave_end(struct watch *, struct watch_proc *);

/* watch_mark.c */
/* Takes what the process said of itself. */
void watch_marks(struct watch *, struct watch_proc *);
/* Who asked for it before the last look, what happened until then is put by now. */
void watch_sync(struct watch *, uint32_t wanted);

/* watch_hook.c */
/* A hook's number in an arena is a row of hooks.def or, from the probe, HOOK_COUNT + a system call's number.
 */
bool watch_hook_valid(uint32_t hook);
const char *watch_hook_call(uint32_t hook); /* the kernel's name */
enum hook_class watch_hook_class(uint32_t hook);
bool watch_hook_waits(const char *call); /* is that a readiness wait? */

/* watch_lock.c */
struct now_copy;
/* The condition variable at that address is an interpreter lock's. */
void watch_lock_gil(struct watch *, struct watch_proc *, uint64_t freed);
struct watch_lock *watch_lock_of(struct watch *, struct watch_proc *, uint64_t address, enum lock_kind kind);
void watch_locks_forget(struct watch_proc *);
/* Asks the runtime what the lock is that a loop waits for, and who has it. */
void watch_lock_ask(struct watch *, struct watch_thread *loop, const struct now_copy *);
/* Fills the lock and owner of a loop's wait from what was said of it. false: nothing was. */
bool watch_lock_asked(const struct watch_thread *loop, struct obs_wait *);
/* Is the wait since then known to be nobody's fault? */
bool watch_lock_nobodys(const struct watch_thread *loop, uint64_t since);

/* watch_event.c */
uint32_t watch_lock_id(struct watch *, struct watch_proc *, uint64_t address, uint32_t hook);
/* Who has what the thread waits for, NULL: nobody, itself, or not known. */
struct watch_thread *watch_owner(struct watch *, struct watch_thread *, const struct now_copy *);
void watch_events(struct watch *);
void watch_prune(struct watch *);

/* watch_loop.c */
void watch_loops(struct watch *);
void watch_loop_put(struct watch *, struct watch_thread *);
void watch_tick_event(struct watch *, struct watch_thread *, const struct arena_event *);
void watch_loop_end_event(struct watch *, struct watch_thread *, const struct arena_event *);
void watch_ready_event(struct watch *, struct watch_thread *, const struct arena_event *);
void watch_loop_cut(struct watch *, struct watch_thread *, uint64_t when, bool ongoing);

/* watch_stall.c: of the loop's thread */
struct obs_stall watch_stall_new(const struct watch *, const struct watch_thread *,
				 uint64_t start); /* nothing known */
void watch_stall_keep(struct watch *, struct watch_thread *,
		      struct watch_stall *); /* in the record from now on */
void watch_stall_put(struct watch *, struct watch_thread *, struct watch_stall *);
/* Its tick is over: into the loop's `ended`, which has what it had. */
void watch_stall_end(struct watch *, struct watch_thread *, struct watch_stall *, uint64_t end);
/* All events of it are there: into the record if it is long enough, and cleared. */
void watch_stall_finalize(struct watch *, struct watch_thread *, struct watch_stall *);
void watch_stall_clear(struct watch_stall *);

/* watch_run.c */
/* Reads the thread's state and its count of major page faults. */
void watch_run_read(struct watch_thread *);
void watch_run_close(struct watch_thread *);
static inline bool watch_run_stopped(const struct watch_thread *t)
{
	return t->run_state == 'T' || t->run_state == 't';
}
/* What a look says of the thread's state, given what it is blocked in (blocked_sample's result). */
void watch_run_look(struct watch_thread *, int number, struct obs_sample *);
/* A look finds the loop's thread stopped or going (watch_run_read's state): keeps the times. True: its
 * stack in this stop is yet to be read. */
bool watch_stop_look(struct watch *, struct watch_thread *loop, uint64_t tick);
/* The stall is over, so the thread goes. */
void watch_stop_end(struct watch_thread *loop, uint64_t end);
/* The stop under way, if it began before `until`. */
bool watch_stop_open(const struct watch_thread *loop, uint64_t until, struct obs_wait *out);

/* watch_quota.c */
void watch_quota_look(struct watch *, struct watch_proc *);
void watch_quota_base(struct watch_thread *loop);
void watch_quota_stall(struct watch_thread *loop, struct obs_stall *);

/* watch_fault.c */
/* Finds the file that the thread's page faults are in, once it has any. */
void watch_fault_look(struct watch *, struct watch_thread *, struct obs_sample *);
void watch_fault_close(struct watch *, struct watch_thread *);

/* watch_gc.c */
/* Whether the thread runs its interpreter's cycle collector now. */
void watch_gc_look(struct watch_thread *, struct obs_sample *);

/* watch_sampled.c */
/* Those that lie within the stall, which has ended, become its own; those before `before` are forgotten. */
void watch_sampled_take(struct watch *, struct watch_thread *loop, struct watch_stall *);
void watch_sampled_drop(struct watch_loop *, uint64_t before);

/* watch_shared.c */
/* When the tick under way of a thread began, 0: there is none. */
uint64_t watch_tick_now(const struct watch_thread *);
/* The loop that a thread's waits belong to: its own, or the one that it shares. */
struct obs_loop *watch_loop_seen(struct watch_thread *);
/* Notices that a thread shares its loop with others, or no longer does. */
void watch_share(struct watch *, struct watch_thread *);
/* One of those that share it waits. */
bool watch_shared_asleep(const struct watch_thread *);
/* Others than the thread wait on what it shares, or have its tick. */
bool watch_shared_others(const struct watch_thread *);
void watch_shared_forget(struct watch_proc *);
/* The thread was cancelled in its wait: it waits no more. */
void watch_shared_gone(const struct watch_thread *);
/* The thread with that tid, NULL: it has no loop. */
struct watch_thread *watch_loop_of_tid(struct watch *, struct watch_proc *, int tid);

/* watch_runner.c */
void watch_runner(struct watch *, struct watch_thread *loop);
/* Which threads of a process that the probe has just taken up are loops in the middle of a tick. */
void watch_before(struct watch *, struct watch_proc *);

/* watch_crowd.c */
/* Looks at every thread: nobody knows who has the lock that the loop waits for. */
void watch_crowd_look(struct watch *, struct watch_thread *loop, struct watch_stall *);
/* One of them was it: its looks belong to the stall. */
void watch_crowd_keep(struct watch *, struct watch_stall *, uint32_t thread_id);

/* watch_look.c */
/* Reads one thread; frames and native are the caller's. */
struct raw_sample watch_look_read(struct watch *, struct watch_thread *, bool want_native, bool blocked_ok);
void watch_look(struct watch *, struct watch_thread *loop, struct watch_stall *);
void watch_look_end(struct watch *, struct watch_thread *loop);
/* The stall begins: the kernel's counts of the thread as they were when it slept last. */
void watch_look_base(struct watch *, struct watch_thread *loop, struct watch_stall *);
/* The stall is over: the same as they are now. */
void watch_look_counts(struct watch *, struct watch_thread *loop, struct watch_stall *);
/* "GIL held by heavy_cpu_work app.py:9", of the stall under way */
void watch_describe(struct watch *, struct watch_thread *loop, char *buf, size_t size);
int schedstat_read(struct watch_thread *, int64_t *cpu, int64_t *delay);

/* Times and now of a thread's slot, read consistently. false: it kept changing. */
struct now_copy {
	uint16_t now, hook;
	uint32_t owner;
	uint64_t since, object;
};
bool now_read(const struct arena_thread *, struct now_copy *);

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)

#endif
