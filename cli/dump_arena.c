/* SPDX-License-Identifier: MIT
 *
 * A process under `whystall run` has the shim's shared memory mapped, so what the shim knows is to be had by
 * reading the process: since when the GIL is held and waited for, who took a semaphore, how long a loop's
 * turn has lasted. The process can write what it likes there: nothing is believed but as a number to show.
 */
#include <stdlib.h>
#include <string.h>

#include "../record/arena.h"
#include "dump_look.h"
#include "shim_record.h"

#define THREAD_HEAD offsetof(struct arena_thread, head)
#define LIVE_THREADS 1024 /* slots kept */

struct dump_arena {
	struct arena_proc proc;
	uint64_t base;
	uint32_t proc_index;
	uint32_t thread_high;
	struct arena_slot {
		uint32_t index;
		struct arena_thread *head; /* THREAD_HEAD bytes of it are there */
	} slot[LIVE_THREADS];
	int slots;
};

/* Slots are aligned as in the arena. */
static void *slot_alloc(size_t size)
{
	void *p = aligned_alloc(4096, (size + 4095) & ~4095ul);
	if (!p) {
		say("out of memory");
		exit(EXIT_BROKEN);
	}
	return memset(p, 0, size);
}

/* The slot that this process lives in. */
static bool proc_find(struct dump_arena *a, pid_t pid, pid_t ns_pid, uint32_t high)
{
	uint64_t at = a->base + offsetof(struct arena, proc);
	for (uint32_t i = 0; i < high && i < ARENA_PROCS; i++, at += sizeof(struct arena_proc)) {
		if (mem_read(pid, at, &a->proc, offsetof(struct arena_proc, start)))
			return false;
		if (a->proc.state != PROC_LIVE || a->proc.pid != ns_pid)
			continue;
		a->proc_index = i;
		return !mem_read(pid, at, &a->proc, sizeof(a->proc));
	}
	return false;
}

static void threads_read(struct dump_arena *a, pid_t pid)
{
	struct arena_thread *head = slot_alloc(sizeof(*head));
	uint64_t at = a->base + offsetof(struct arena, thread);
	for (uint32_t i = 0; i < a->thread_high && i < ARENA_THREADS && a->slots < LIVE_THREADS;
	     i++, at += sizeof(*head)) {
		if (mem_read(pid, at, head, THREAD_HEAD))
			break;
		if (head->state != THREAD_LIVE || head->proc != a->proc_index)
			continue;
		struct arena_slot *s = &a->slot[a->slots++];
		s->index = i;
		s->head = slot_alloc(sizeof(*head));
		memcpy(s->head, head, THREAD_HEAD);
	}
	free(head);
}

struct dump_arena *dump_arena_read(pid_t pid, pid_t ns_pid, const struct maps *maps)
{
	struct {
		uint64_t magic;
		uint32_t version, size;
	} head;
	uint32_t high[2]; /* proc_high, thread_high */
	uint64_t base = shim_arena(maps);
	if (!base || mem_read(pid, base, &head, sizeof(head)) || head.magic != ARENA_MAGIC ||
	    head.version != ARENA_VERSION || head.size != sizeof(struct arena) / 4096 ||
	    mem_read(pid, base + offsetof(struct arena, proc_high), high, sizeof(high)))
		return NULL;
	struct dump_arena *a = slot_alloc(sizeof(*a));
	a->base = base;
	a->thread_high = high[1];
	if (!proc_find(a, pid, ns_pid, high[0])) {
		free(a);
		return NULL;
	}
	threads_read(a, pid);
	return a;
}

void dump_arena_free(struct dump_arena *a)
{
	if (!a)
		return;
	for (int i = 0; i < a->slots; i++)
		free(a->slot[i].head);
	free(a);
}

const struct arena_thread *dump_arena_thread(const struct dump_arena *a, pid_t ns_tid)
{
	for (int i = 0; a && i < a->slots; i++)
		if (a->slot[i].head->tid == ns_tid)
			return a->slot[i].head;
	return NULL;
}

uint64_t dump_arena_held(const struct dump_arena *a, uint64_t freed, pid_t *ns_tid)
{
	for (uint32_t l = 0; a && l < ARENA_LOCKS; l++) {
		const struct arena_lock *lock = &a->proc.lock[l];
		if (!freed || lock->freed != freed || !lock->holder)
			continue;
		for (int i = 0; i < a->slots; i++)
			if (a->slot[i].index == lock->holder - 1) {
				*ns_tid = a->slot[i].head->tid;
				return lock->since;
			}
	}
	return 0;
}

pid_t dump_arena_taker(const struct dump_arena *a, uint64_t address)
{
	for (uint32_t i = 0; a && address && i < ARENA_SEMS; i++)
		if (a->proc.sem[i].address == address && a->proc.sem[i].since &&
		    a->proc.sem[i].spare == a->proc.serial)
			return (pid_t)a->proc.sem[i].taker;
	return 0;
}

pid_t dump_arena_reader(const struct dump_arena *a, uint64_t address)
{
	for (int i = 0; a && i < a->slots; i++)
		for (uint32_t k = 0; k < ARENA_HELD; k++)
			if (address && a->slot[i].head->held[k] == address)
				return (pid_t)a->slot[i].head->tid;
	return 0;
}
