/* SPDX-License-Identifier: MIT
 *
 * The probe (probe/) in the kernel: loading it, the processes that it is to watch, and what it has seen, put
 * into an arena as the shim would have put it there. Nothing here stops a target or writes to its memory.
 */
#ifndef WHYSTALL_CLI_PROBE_H
#define WHYSTALL_CLI_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../probe/probe.h"

struct probe;
struct watch;

struct probe_options {
	uint64_t threshold_ns;
	bool children;
};

/* Loads the programs and switches them on; nobody is watched yet. 0; or -errno, and `why` a sentence that
 * says what is missing. */
int probe_open(struct probe **out, const struct probe_options *, char *why, size_t why_size);
/* Switches off what it switched on. Accepts NULL. */
void probe_close(struct probe *);
/* Takes a living process up, with all of its threads and, with `children`, those children that it has.
 * Returns how many threads, or -errno (-ESRCH: no such process any more). */
int probe_take(struct probe *, pid_t pid);
/* Could the probe be loaded by us, here? As probe_open, and leaves nothing behind. */
int probe_check(char *why, size_t why_size);

/* probe_pump.c: brings the arena up to date. false: there is more, call again when the events have been read.
 */
bool probe_pump(struct probe *, struct arena *, struct watch *);
/* The interpreter's locks of the process in entry `proc`, and where its frames are. */
void probe_locks(struct probe *, uint32_t proc, const struct probe_lock *locks, uint32_t n,
		 const struct probe_frames_layout *);
/* The thread in entry `thread` runs a loop whose tick was under way when it was taken up. */
void probe_before(struct probe *, uint32_t thread);
/* --- probe_hooks.c: uprobes on the C library's lock functions, for holds that nobody waited for --- */

/* Hooks one process. Returns how many functions, or -errno, and `why` a sentence. */
int probe_hook_process(struct probe *, pid_t pid, char *why, size_t why_size);
/* More than `limit` calls a second since the last asking? Then they have been taken out, and *rate says how
 * many it were. */
bool probe_hooks_over(struct probe *, uint64_t limit, uint64_t *rate);
bool probe_hooked(const struct probe *); /* are there any now? */
void probe_unhook(struct probe *);

#endif
