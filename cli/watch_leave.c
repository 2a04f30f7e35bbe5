/* SPDX-License-Identifier: MIT
 *
 * Programs that the shim is not in: the command itself, children that were started so, and processes that
 * went on as one. They are listed, with the reason. Whether an exec has happened is told by the arena: a
 * process that has it mapped is still the program that it was.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"
#include "watch_state.h"

#define MAPS_MAX (8u << 20)
#define LEAVE_AFTER_NS 10000000ull /* after the exec or exit was announced */
#define LEAVE_EVERY_NS 50000000ull
#define SHIM_COMES_NS (2 * NS) /* a program that takes the shim has it after this long */

static const char *note_of(enum refusal why, bool went_on)
{
	char note[256];
	snprintf(note, sizeof note, "%s: %s.",
		 went_on ? "It went on as a program that could not be recorded"
			 : "It ran as without whystall and could not be recorded",
		 shim_refusal(why));
	return intern(note);
}

/* 1: the process has the arena; 0: not; -1: it has no memory any more, or cannot be asked. */
static int arena_mapped(pid_t pid)
{
	char path[64], *maps = NULL;
	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	ssize_t n = file_read(path, &maps, MAPS_MAX);
	int result = n <= 0 ? -1 : strstr(maps, "/memfd:whystall") != NULL;
	free(maps);
	return result;
}

bool watch_refused(struct arena_proc *slot)
{
	if (LOAD(slot->state) != PROC_REFUSED)
		return false;
	/* a vfork child has its parent's memory until its exec; where that fails, the slot is free again */
	return arena_mapped(slot->pid) <= 0;
}

static void note_put(struct watch *w, struct watch_proc *p, bool went_on)
{
	p->seen.note = note_of(LOAD(p->slot->refusal), went_on);
	watch_describe_process(w, p);
}

void watch_leave(struct watch *w, struct watch_proc *p)
{
	if (LOAD(p->slot->state) == PROC_REFUSED && !p->seen.note) {
		note_put(w, p, false);
		return;
	}
	uint64_t end = LOAD(p->slot->end);
	uint64_t wait = LOAD(p->slot->refusal) ? LEAVE_AFTER_NS : SHIM_COMES_NS;
	if (!end || p->left || w->now < end + wait || w->now < p->leave_check)
		return;
	p->leave_check = w->now + LEAVE_EVERY_NS;
	if (arena_mapped(p->pid) || LOAD(p->slot->end) != end)
		return;
	watch_process_left(w, p);
	note_put(w, p, true);
}

void watch_leave_end(struct watch *w, struct watch_proc *p)
{
	uint32_t refusal = LOAD(p->slot->refusal);
	bool whole = LOAD(p->slot->state) == PROC_REFUSED;
	if (!p->seen.note && refusal && refusal != REFUSAL_MISSING && (whole || LOAD(p->slot->end)))
		note_put(w, p, !whole);
}

void watch_command(struct watch *w, pid_t pid, char *const argv[], enum refusal why)
{
	json_t *array = json_array();
	for (; *argv; argv++) {
		json_t *word = json_string(*argv);
		json_array_append_new(array, word ? word : json_string("?"));
	}
	char *dump = json_dumps(array, JSON_COMPACT);
	w->options.command = intern(dump);
	w->options.pid = pid;
	free(dump);
	json_decref(array);
	if (!why)
		return;
	/* nobody else is in the arena */
	struct arena_proc *slot = &w->arena->proc[0];
	slot->serial++;
	slot->pid = pid;
	slot->ppid = getpid();
	slot->start = now_ns();
	slot->refusal = why;
	__atomic_store_n(&w->arena->proc_high, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->state, PROC_REFUSED, __ATOMIC_RELEASE);
}
