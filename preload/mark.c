/* SPDX-License-Identifier: MIT
 *
 * What a program may say to whoever records it, and ask: found by name (dlsym, ctypes), so that it needs
 * nothing of ours to build or to run. A test runner names the test that it runs; the record then tells which
 * stall was in which. Like all here these never wait: who asks for the record to be up to date looks whether
 * it is.
 */
#include "bind.h"
#include "original.h"
#include "shim.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int whystall_join(const char *variable);
EXPORT void whystall_bind(void);
EXPORT int whystall_mark(const char *text);
EXPORT const char *whystall_record(void);
EXPORT uint64_t whystall_threshold(void);
EXPORT unsigned whystall_stalls(void);
EXPORT unsigned whystall_sync(void);
EXPORT int whystall_synced(unsigned ticket);

/* In a process that has loaded the shim itself: records from now on, for the recorder that named its arena so
 * ("WHYSTALL_ARENA=PID:FD", whystall attach --join-fd). Not from a signal handler, or where a thread may be
 * in dlopen. 0; -1: it cannot. */
int whystall_join(const char *variable)
{
	if (shim.arena)
		return 0;
	original_find();
	if (!arena_start(variable))
		return -1;
	bind_objects();
	return 0;
}

/* After more libraries were loaded: their calls are seen too. Costs next to nothing if there are none. */
void whystall_bind(void)
{
	if (shim.arena && shim.arena->joined)
		bind_objects();
}

/* From now on the process does `text`: "" or NULL, nothing in particular. What is too long is cut. 0; -1:
 * nobody records. */
int whystall_mark(const char *text)
{
	if (!self_get())
		return -1;
	struct arena_proc *p = shim.proc;
	uint32_t n = __atomic_fetch_add(&p->mark_head, 1, __ATOMIC_RELAXED);
	struct arena_mark *m = &p->mark[n % ARENA_MARKS];
	store(m->seq, 0);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	store(m->time, clock_read());
	uint32_t k = 0;
	for (; text && text[k] && k < sizeof(m->text) - 1; k++)
		store(m->text[k], text[k]);
	store(m->text[k], 0);
	release(m->seq, n + 1);
	return 0;
}

/* Where the record is; NULL: nobody records, or it has no name. */
const char *whystall_record(void)
{
	return self_get() && *shim.arena->record ? shim.arena->record : NULL;
}

/* From how many ns on a tick is a stall; 0: nobody records. */
uint64_t whystall_threshold(void)
{
	return shim.arena ? shim.arena->threshold_ns : 0;
}

/* How many ticks reached the threshold so far, in all processes of the record. */
unsigned whystall_stalls(void)
{
	return shim.arena ? acquire(shim.arena->stalls) : 0;
}

/* Asks that what has happened so far be in the record. */
unsigned whystall_sync(void)
{
	return shim.arena ? __atomic_add_fetch(&shim.arena->sync_wanted, 1, __ATOMIC_ACQ_REL) : 0;
}

/* Is it? Also if nobody records any more. */
int whystall_synced(unsigned ticket)
{
	return !shim.arena || relaxed(shim.arena->off) ||
	       (int32_t)(acquire(shim.arena->sync_done) - ticket) >= 0;
}
