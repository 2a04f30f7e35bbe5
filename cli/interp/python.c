/* SPDX-License-Identifier: MIT
 *
 * CPython: opens one, keeps the list of its interpreters and threads, and knows its GIL. The GIL is a mutex
 * and two condition variables (Python/ceval_gil.c): one for the whole process to 3.11, from 3.12 on one for
 * each interpreter that has its own.
 */
#include "cli/interp/python.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/util.h"

#define LIST_TRIES 16	  /* threads may come and go faster than they are listed */
#define COND_AND_MUTEX 88 /* pthread_cond_t and pthread_mutex_t of glibc on x86-64 */
#define STATE_MAX 1024	  /* a thread state is some hundred bytes */

/* --- interpreters and threads --- */

/* One system call that reads everything known again; says whether the lists still hold. */
static int lists_check(struct interp *py)
{
	const struct python_layout *l = &py->layout;
	size_t size = (size_t)l->tstate_size;
	uint64_t head;
	int n = 0;
	py->parts[n++] = (struct mem_part){py->at.runtime + (uint64_t)l->runtime_interpreters_head, &head, 8};
	for (int i = 0; i < py->interps; i++) {
		struct python_interp *in = &py->interp[i];
		py->parts[n++] = (struct mem_part){in->address + (uint64_t)l->interp_next, &in->next, 8};
		py->parts[n++] =
			(struct mem_part){in->address + (uint64_t)l->interp_threads, &in->threads, 8};
		if (l->interp_gil >= 0)
			py->parts[n++] =
				(struct mem_part){in->address + (uint64_t)l->interp_gil, &in->gil, 8};
		if (l->interp_trampoline >= 0)
			py->parts[n++] = (struct mem_part){in->address + (uint64_t)l->interp_trampoline,
							   &in->trampoline, 8};
	}
	for (int i = 0; i < py->threads; i++)
		py->parts[n++] = (struct mem_part){py->thread[i], py->states + (size_t)i * size, size};
	/* the heads once more: a state may have been freed and begun anew meanwhile, linked to nothing yet */
	uint64_t after[PYTHON_INTERPS];
	for (int i = 0; i < py->interps; i++)
		py->parts[n++] =
			(struct mem_part){py->interp[i].address + (uint64_t)l->interp_threads, &after[i], 8};
	int e = mem_read_parts(py->pid, py->parts, n);
	if (e)
		return e == -EFAULT ? -EAGAIN : e;

	uint64_t expect = head;
	int t = 0;
	for (int i = 0; i < py->interps; i++) {
		if (py->interp[i].address != expect || py->interp[i].threads != after[i])
			return -EAGAIN;
		expect = py->interp[i].next;
		uint64_t thread = py->interp[i].threads;
		for (; t < py->threads && py->thread_interp[t] == i; t++) {
			const unsigned char *state = py->states + (size_t)t * size;
			if (py->thread[t] != thread ||
			    python_u64(state, l->tstate_interp) != py->interp[i].address)
				return -EAGAIN;
			thread = python_u64(state, l->tstate_next);
		}
		if (thread && t < PYTHON_THREADS)
			return -EAGAIN;
	}
	return (expect && py->interps < PYTHON_INTERPS) || !py->interps ? -EAGAIN : 0;
}

static void threads_grow(struct interp *py)
{
	py->threads_room = py->threads_room ? py->threads_room * 2 : 64;
	size_t room = (size_t)py->threads_room;
	py->thread = xrealloc(py->thread, room, sizeof(*py->thread));
	py->thread_interp = xrealloc(py->thread_interp, room, sizeof(*py->thread_interp));
	py->states = xrealloc(py->states, room, (size_t)py->layout.tstate_size);
	py->parts = xrealloc(py->parts, room + 1 + 5 * PYTHON_INTERPS, sizeof(*py->parts));
}

/* Follows the lists link by link. A cycle ends at the bounds, and lists_check then finds it out. */
static int lists_walk(struct interp *py)
{
	const struct python_layout *l = &py->layout;
	uint64_t at;
	int e = python_pointer(py, py->at.runtime + (uint64_t)l->runtime_interpreters_head, &at);
	py->interps = py->threads = 0;
	while (!e && at && py->interps < PYTHON_INTERPS) {
		struct python_interp *in = &py->interp[py->interps];
		*in = (struct python_interp){.address = at};
		uint64_t thread;
		e = python_pointer(py, at + (uint64_t)l->interp_next, &in->next);
		if (!e)
			e = python_pointer(py, at + (uint64_t)l->interp_threads, &thread);
		while (!e && thread && py->threads < PYTHON_THREADS) {
			for (int i = 0; i < py->threads && py->threads > 256; i++)
				if (py->thread[i] == thread)
					return -EAGAIN; /* a cycle, or torn */
			if (py->threads == py->threads_room)
				threads_grow(py);
			py->thread_interp[py->threads] = py->interps;
			py->thread[py->threads++] = thread;
			e = python_pointer(py, thread + (uint64_t)l->tstate_next, &thread);
		}
		at = in->next;
		py->interps++;
	}
	return e == -EFAULT ? -EAGAIN : e;
}

int python_refresh(struct interp *py)
{
	int e = lists_check(py);
	for (int i = 0; i < LIST_TRIES && e == -EAGAIN; i++) {
		e = lists_walk(py);
		if (!e)
			e = lists_check(py);
	}
	return e;
}

/* --- the GIL --- */

struct gil {
	uint64_t address, interval, holder;
	int locked, enabled;
};

static int gil_read(struct interp *py, uint64_t address, struct gil *out)
{
	const struct python_layout *l = &py->layout;
	struct mem_part part[4] = {
		{address + (uint64_t)l->gil_interval, &out->interval, 8},
		{address + (uint64_t)l->gil_last_holder, &out->holder, 8},
		{address + (uint64_t)l->gil_locked, &out->locked, 4},
		{address + (uint64_t)l->gil_enabled, &out->enabled, 4},
	};
	*out = (struct gil){.address = address, .enabled = 1};
	return mem_read_parts(py->pid, part, l->gil_enabled >= 0 ? 4 : 3);
}

/* The main interpreter is the oldest, the last of the list. */
static uint64_t gil_address(const struct interp *py, int i)
{
	return py->layout.runtime_gil >= 0 ? py->at.runtime + (uint64_t)py->layout.runtime_gil
					   : py->interp[py->interps - 1 - i].gil;
}

static int locks(struct interp *py, struct interp_lock *out, int max)
{
	int n = 0, e = python_refresh(py);
	int gils = py->layout.runtime_gil >= 0 ? 1 : py->interps;
	for (int i = 0; i < gils && !e && n < max; i++) {
		struct gil gil;
		uint64_t at = gil_address(py, i);
		/* nobody can want the lock of an interpreter without threads; there may be very many */
		bool known = !at || (i && !py->interp[py->interps - 1 - i].threads);
		for (int k = 0; k < n; k++)
			known = known || out[k].address == at;
		if (known)
			continue;
		e = gil_read(py, at, &gil);
		if (e || gil.locked < 0 || gil.enabled <= 0)
			continue;
		out[n++] = (struct interp_lock){.freed = at + (uint64_t)py->layout.gil_cond,
						.taken = at + (uint64_t)py->layout.gil_switch_cond,
						.address = at,
						.start = at + (uint64_t)py->layout.gil_cond,
						.end = at + (uint64_t)py->layout.gil_switch_cond +
						       COND_AND_MUTEX,
						.locked = at + (uint64_t)py->layout.gil_locked,
						.holder = at + (uint64_t)py->layout.gil_last_holder};
	}
	return e ? e : n;
}

/* A GIL may also be called by its condition variable, as the shim knows it. */
static uint64_t gil_named(const struct interp *py, uint64_t address)
{
	uint64_t cond = (uint64_t)py->layout.gil_cond;
	int gils = py->layout.runtime_gil >= 0 ? 1 : py->interps;
	for (int i = 0; i < gils; i++)
		if (address == gil_address(py, i) + cond)
			return address - cond;
	return address;
}

static int lock_holder(struct interp *py, uint64_t address, struct interp_thread *out)
{
	struct gil before, after;
	address = gil_named(py, address);
	for (int try = 0; try < PYTHON_TRIES; try++) {
		int e = gil_read(py, address, &before);
		if (!e && before.locked <= 0)
			return -ENOENT;
		if (!e)
			e = python_refresh(py);
		if (!e)
			e = gil_read(py, address, &after);
		if (e && e != -EAGAIN)
			return e;
		if (e || !after.locked || after.holder != before.holder)
			continue;
		for (int i = 0; i < py->threads; i++) {
			if (py->thread[i] == before.holder) {
				python_thread_identify(
					py, py->states + (size_t)i * (size_t)py->layout.tstate_size, out);
				return 0;
			}
		}
	}
	return -EAGAIN;
}

static int lock_turns(struct interp *py, uint64_t address, uint64_t *out)
{
	return mem_read(py->pid, address + (uint64_t)py->layout.gil_switch_number, out, sizeof(*out));
}

static double switch_interval(struct interp *py)
{
	struct gil gil;
	if (python_refresh(py) || !gil_address(py, 0) || gil_read(py, gil_address(py, 0), &gil) ||
	    gil.enabled <= 0 || gil.interval > 1000000000)
		return -1;
	return (double)gil.interval / 1e6;
}

static bool free_threaded(struct interp *py)
{
	return py->layout.free_threaded;
}

/* --- open --- */

static int refuse(const struct python_found *found, const char *what, char *why, size_t size)
{
	snprintf(why, size, "%s%s%s%s is not supported: CPython %s on x86-64 is",
		 found->pypy ? "PyPy" : "CPython", found->version[0] ? " " : "", found->version, what,
		 python_layout_versions());
	return -ENOTSUP;
}

/* From 3.13 on the process itself says more than the table knows. -EAGAIN: not filled in yet. */
static int layout_publish(struct interp *py, const struct python_found *found)
{
	unsigned char debug[2048];
	const struct python_layout *row = python_layout_find(found->minor, false);
	int size = row->debug_size;
	if (size <= 0 || (size_t)size > sizeof(debug)) {
		py->layout = *row;
		return 0;
	}
	int e = mem_read(py->pid, py->at.runtime, debug, (size_t)size);
	if (e)
		return e;
	row = python_layout_find(found->minor, python_u64(debug, row->debug_free_threaded) != 0);
	uint64_t hex = python_u64(debug, row->debug_version);
	if (hex >> 24 != 3 || (int)(hex >> 16 & 255) != found->minor)
		return -ENOTSUP;
	py->layout = *row;
	return python_layout_publish(&py->layout, debug) ? -ENOTSUP : 0;
}

/* Nothing is believed because a symbol has the right name: the structures must agree with each other. 0,
 * -EAGAIN: the runtime is still coming up, -ENOTSUP: these are not the structures of this version. */
static int layout_verify(struct interp *py)
{
	const struct python_layout *l = &py->layout;
	struct gil gil;
	uint64_t main;
	if (l->tstate_size > STATE_MAX)
		return -ENOTSUP;
	int e = python_pointer(py, py->at.runtime + (uint64_t)l->runtime_interpreters_main, &main);
	if (e)
		return e;
	if (!main)
		return -EAGAIN;
	e = python_refresh(py);
	if (e)
		return e;
	if (!py->threads)
		return -EAGAIN;
	if (py->interps < PYTHON_INTERPS && py->interp[py->interps - 1].address != main)
		return -ENOTSUP;
	uint64_t at = gil_address(py, 0);
	if (!at)
		return -EAGAIN;
	e = gil_read(py, at, &gil);
	if (e)
		return e;
	if (!gil.interval || gil.locked == -1)
		return gil.enabled ? -EAGAIN : 0;
	if ((gil.locked != 0 && gil.locked != 1) || gil.interval > 1000000000)
		return -ENOTSUP;
	return 0;
}

/* Another pid namespace: NSpid has more than one number. */
static bool is_namespaced(pid_t pid)
{
	char path[64], *text, *at;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	bool yes = false;
	if (file_read(path, &text, 65536) < 0)
		return false;
	at = strstr(text, "\nNSpid:");
	if (at) {
		at += 7;
		at += strspn(at, " \t");
		at += strspn(at, "0123456789");
		at += strspn(at, " \t");
		yes = *at >= '0' && *at <= '9';
	}
	free(text);
	return yes;
}

static void python_close(struct interp *py)
{
	if (!py)
		return;
	python_code_close(py);
	python_stack_close(py);
	free(py->thread);
	free(py->thread_interp);
	free(py->states);
	free(py->parts);
	free(py);
}

static int python_open(struct interp **out, pid_t pid, const struct maps *maps, char *version,
		       size_t version_size, char *why, size_t why_size)
{
	struct python_found found;
	*out = NULL;
	snprintf(version, version_size, "%s", "");
	snprintf(why, why_size, "%s", "");
	int e = python_find(pid, maps, &found);
	if (e)
		return e;
	snprintf(version, version_size, "%s", found.version);
	if (found.narrow)
		return refuse(&found, " in a 32-bit process", why, why_size);
	if (!found.major && !found.pypy)
		return refuse(&found, " of a version that cannot be told", why, why_size);
	if (found.pypy || found.major != 3 || !python_layout_find(found.minor, false))
		return refuse(&found, "", why, why_size);
	bool stripped = !found.at.code || !found.at.frame || !found.at.unicode;
	if (!found.at.runtime || (stripped && !python_learns(found.minor)))
		return refuse(&found, " without its symbol table", why, why_size);

	struct interp *py = xcalloc(1, sizeof(*py));
	py->pid = pid;
	py->at = found.at;
	py->namespaced = is_namespaced(pid);
	e = layout_publish(py, &found);
	if (!e) {
		threads_grow(py);
		e = layout_verify(py);
	}
	if (!e && stripped)
		e = python_learn(py);
	if (!e) {
		*out = py;
		return 0;
	}
	python_close(py);
	if (e == -ENOTSUP)
		return refuse(&found, " as built here, with structures unlike its headers,", why, why_size);
	if (e == -EFAULT)
		e = -EAGAIN; /* mapped, not relocated yet */
	if (e != -EAGAIN)
		snprintf(why, why_size, "the memory of process %d cannot be read: %s", (int)pid,
			 strerror(-e));
	return e;
}

static const struct interp_ops python = {
	.name = "cpython",
	.open = python_open,
	.close = python_close,
	.free_threaded = free_threaded,
	.switch_interval = switch_interval,
	.locks = locks,
	.lock_holder = lock_holder,
	.lock_turns = lock_turns,
	.stack = python_stack,
	.stack_sampled = python_stack_sampled,
	.frames_layout = python_frames_layout,
	.thread_name = python_thread_name,
	.collects = python_collects,
	.lock_look = python_lock_look,
	.lock_within = python_lock_within,
	.native_origin = python_native_origin,
};
PART(interp, interp_ops, python);
