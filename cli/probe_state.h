/* SPDX-License-Identifier: MIT
 *
 * Private to cli/probe*.c: the loaded probe, its tables as they are mapped here, and what the pump remembers.
 */
#ifndef WHYSTALL_PROBE_STATE_H
#define WHYSTALL_PROBE_STATE_H

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "probe.h"
#include "util.h"

struct probe {
	struct bpf_object *object;
	struct bpf_link *links[16];
	int link_count;
	int iterator; /* link of take_up */
	struct ring_buffer *ring;
	struct probe_thread *threads;
	struct probe_proc *procs;
	struct probe_loop *loops;
	char *variables; /* its .bss, with: */
	uint32_t *wanted_pid, *procs_refused, *threads_high, *procs_high, *hooks_on;
	uint64_t *hooked_calls;
	int free_threads, free_procs, free_loops; /* maps */

	VEC(struct bpf_link *) hooks;  /* uprobes */
	uint64_t hooks_seen, hooks_at; /* calls when they were last counted, and when that was */

	/* the pump */
	struct arena *arena;
	struct watch *watch;
	uint32_t thread_serial[ARENA_THREADS], proc_serial[ARENA_PROCS]; /* as last adopted; 0: never */
	bool thread_mine[ARENA_THREADS], proc_mine[ARENA_PROCS];	 /* in use: not in the free list */
	uint64_t released[ARENA_PROCS][ARENA_LOCKS];
	bool full; /* some thread's ring of events is */
};

/* The row of hooks.def that a system call is told by, or HOOK_COUNT + its number. */
uint16_t probe_hook(uint32_t nr);

#endif
