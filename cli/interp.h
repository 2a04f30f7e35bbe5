/* SPDX-License-Identifier: MIT
 *
 * The contract of an interpreter module: is this runtime in the process, which lock is its big one, who is
 * who, and what are a thread's frames? Everything is read from outside (mem.h); nothing is ever written,
 * stopped or trusted. One file per runtime under cli/interp/, registered by PART(interp, interp_ops, ...).
 */
#ifndef WHYSTALL_INTERP_H
#define WHYSTALL_INTERP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "frame.h"
#include "mem.h"
#include "part.h"

struct interp; /* one runtime in one process; the module's own */

struct interp_collection {
	enum collects what; /* 0: not known */
	int objects;	    /* that survived the last full collection, 0: not known */
};

/* The addresses that record/arena.h's struct arena_lock wants. */
struct interp_lock {
	uint64_t freed, taken;
	uint64_t address; /* the lock's own, for reports */
	/* for the probe: the futexes from start to end are the lock's; `locked` (an int) says whether
	 * somebody has it, `holder` (a pointer to a thread state) who took it last */
	uint64_t start, end, locked, holder;
};

struct probe_holder;
struct probe_frames_layout;

struct interp_thread {
	pid_t tid;	  /* as /proc knows it; 0: not known */
	uint64_t pthread; /* pthread_self(); 0: not known */
};

/* A lock of the runtime's that a thread waits for. */
struct interp_waited {
	char name[256]; /* the user's words: `threading.Lock "app.cache_lock"`; "": the runtime has none */
	bool nobody;	/* it waits for a signal (Event, Queue, Future): no thread has it */
	bool ends;	/* it waits for the owner's end */
	struct interp_thread owner; /* who has it, as far as the runtime knows; both 0: not known */
	uint64_t object;	    /* the runtime's own, for lock_within */
};

struct interp_ops {
	const char *name; /* "cpython": runtime.name in reports */

	/* Looks for the runtime in a process. 0 and *out, or:
	 *   -ENOENT   this runtime is not in the process
	 *   -EAGAIN   it is, but has not come up yet: ask again
	 *   -ENOTSUP  it is, but this version is not supported: `why` is a sentence naming it and those that
	 * are; `version` is filled in all the same other     it cannot be read: `why` says. */
	int (*open)(struct interp **out, pid_t pid, const struct maps *maps, char *version,
		    size_t version_size, char *why, size_t why_size);
	void (*close)(struct interp *); /* accepts NULL */

	bool (*free_threaded)(struct interp *);
	double (*switch_interval)(struct interp *); /* seconds, negative: none or not known */

	/* The interpreters' locks that exist now, main interpreter's first. Returns how many (0..max) or
	 * -errno. */
	int (*locks)(struct interp *, struct interp_lock *out, int max);
	/* Which thread has the lock `address` now (as a thread of this process), or -ENOENT for none. A guess
	 * is not an answer: -EAGAIN where the reading was torn. */
	int (*lock_holder)(struct interp *, uint64_t address, struct interp_thread *out);

	/* How often the lock has changed hands: where that stood still, nobody else had it meanwhile. 0 or
	 * -errno. */
	int (*lock_turns)(struct interp *, uint64_t address, uint64_t *out);

	/* The Python (Ruby, ...) frames of a thread, innermost first, into out (which is overwritten). 0;
	 * -ENOENT: no such thread, or it has no frames; -EAGAIN: torn while it was read. Bounded in time and
	 * memory whatever the target's memory holds. May be called for a running thread. */
	int (*stack)(struct interp *, struct interp_thread thread, struct stack *out);
	/* The same of frames that the probe read in the kernel; and where it finds them (false: it cannot).
	 * Both NULL where the probe does not know the runtime. */
	int (*stack_sampled)(struct interp *, const struct probe_holder *, struct stack *out);
	bool (*frames_layout)(struct interp *, struct probe_frames_layout *out);
	/* The runtime's name of a thread ("ThreadPoolExecutor-0_0"). 0, -ENOENT: it has none (yet). */
	int (*thread_name)(struct interp *, struct interp_thread thread, char *buf, size_t size);

	/* Does the thread run the runtime's cycle collector now? 0; -ENOENT: no such thread; -EAGAIN: torn.
	 */
	int (*collects)(struct interp *, struct interp_thread thread, struct interp_collection *out);

	/* What the lock at `address`, by which the kernel or the C library knows it, is to the program. The
	 * waiter stands still in its wait for it. 0; -ENOENT: none of the runtime's, as far as can be told;
	 * -EAGAIN: torn. May be NULL. */
	int (*lock_look)(struct interp *, struct interp_thread waiter, uint64_t address,
			 struct interp_waited *out);

	/* Which thread is in a statement that takes such a lock and gives it back by itself (Python's
	 * `with`), and where it took it: the line is that statement's. 0; -ENOENT: none, or not only one;
	 * -EAGAIN: torn. May be NULL. */
	int (*lock_within)(struct interp *, uint64_t object, struct interp_thread *out, struct frame *taken);

	/* Does this native symbol, in this module (base name), run the runtime's frames (an evaluation loop),
	 * or is it one of its call trampolines or abstract-object dispatchers? Else the origin that fits:
	 * user for an extension's code, runtime for the interpreter itself. */
	enum frame_origin (*native_origin)(const char *symbol, const char *module);
};

PARTS_DECLARE(interp, interp_ops);

#endif
