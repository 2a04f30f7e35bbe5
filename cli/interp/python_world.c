/* SPDX-License-Identifier: MIT
 *
 * What threads wait for in a build without the GIL. One that must pause, because another wants all to (to
 * collect garbage, to change a class, to fork), parks at its own state, and the requester wakes it; the
 * requester waits for an event until all have paused (Python/pystate.c, stop_the_world and
 * tstate_wait_attach). And every object has a lock of its own (Include/object.h, ob_mutex), which critical
 * sections take.
 */
#include <ctype.h>
#include <stdio.h>

#include "cli/interp/python.h"

enum { THREAD_ATTACHED = 1 }; /* Include/internal/pycore_pystate.h */

static const unsigned char *state_of(const struct interp *py, int i)
{
	return py->states + (size_t)i * (size_t)py->layout.tstate_size;
}

/* The pause of the interpreter, or of all of them. Where whoever asked for it is no thread that we know, the
 * structure is not where we think, or over. */
static void requester_read(struct interp *py, int interp, struct interp_waited *out)
{
	const struct python_layout *l = &py->layout;
	const uint64_t world[] = {py->interp[interp].address + (uint64_t)l->interp_world,
				  py->at.runtime + (uint64_t)l->runtime_world};
	for (int k = 0; k < 2; k++) {
		uint64_t requester;
		if (python_pointer(py, world[k] + (uint64_t)l->world_requester, &requester) || !requester)
			continue;
		for (int i = 0; i < py->threads; i++) {
			if (py->thread[i] != requester)
				continue;
			python_thread_identify(py, state_of(py, i), &out->owner);
			return;
		}
	}
}

/* Those that run on: any of them keeps the requester waiting. */
static void runner_read(struct interp *py, int me, struct interp_waited *out)
{
	for (int i = 0; i < py->threads; i++) {
		if (i == me || py->thread_interp[i] != py->thread_interp[me] ||
		    python_i32(state_of(py, i), py->layout.tstate_state) != THREAD_ATTACHED)
			continue;
		python_thread_identify(py, state_of(py, i), &out->owner);
		return;
	}
}

int python_world_look(struct interp *py, struct interp_thread waiter, uint64_t parked,
		      struct interp_waited *out)
{
	const struct python_layout *l = &py->layout;
	if (l->interp_world < 0)
		return -ENOENT;
	int e = python_refresh(py);
	int me = e ? e : python_thread_find(py, waiter);
	if (me < 0)
		return -ENOENT;
	uint64_t event = (uint64_t)l->interp_world + (uint64_t)l->world_event;
	uint64_t all = (uint64_t)l->runtime_world + (uint64_t)l->world_event;
	bool paused = parked == py->thread[me] + (uint64_t)l->tstate_state;
	if (paused)
		requester_read(py, py->thread_interp[me], out);
	else if (parked == py->interp[py->thread_interp[me]].address + event ||
		 parked == py->at.runtime + all)
		runner_read(py, me, out);
	else
		return -ENOENT;
	snprintf(out->name, sizeof(out->name), "%s", paused ? "stop-the-world" : "stop-the-world (its own)");
	return 0;
}

static bool is_name(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	while (isalnum((unsigned char)*s) || *s == '_' || *s == '.')
		s++;
	return !*s;
}

int python_object_lock(struct interp *py, uint64_t parked, struct interp_waited *out)
{
	const struct python_layout *l = &py->layout;
	uint64_t object, type, type_type, again, name;
	char text[96];
	if (l->object_mutex < 0)
		return -ENOENT;
	object = parked - (uint64_t)l->object_mutex;
	/* a type's type's type is type itself */
	if (object % 8 || python_pointer(py, object + (uint64_t)l->object_type, &type) ||
	    python_pointer(py, type + (uint64_t)l->object_type, &type_type) ||
	    python_pointer(py, type_type + (uint64_t)l->object_type, &again) ||
	    python_pointer(py, again + (uint64_t)l->object_type, &type_type) || again != type_type ||
	    python_pointer(py, type + (uint64_t)l->type_name, &name) ||
	    mem_string(py->pid, name, text, sizeof(text)) || !is_name(text))
		return -ENOENT;
	snprintf(out->name, sizeof(out->name), "object lock (%s)", text);
	return 0;
}
