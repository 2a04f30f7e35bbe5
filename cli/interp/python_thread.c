/* SPDX-License-Identifier: MIT
 *
 * Who a thread is: between the kernel's number, pthread_self() and Python's own name for it. The name is what
 * threading._active says (Lib/threading.py, every version: {ident: Thread}, Thread._name), read afresh each
 * time, for it may be changed.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/interp/python.h"
#include "cli/util.h"

/* The tid within glibc's struct pthread on x86-64 (nptl/descr.h: after the 704-byte header and the list
 * links). Used only to find which thread has a tid that we know: a number that equals it is no accident. */
#define GLIBC_TID 720
#define MODULES_MAX 32768
/* For threading, where it had not been imported: sooner than a caller gives up asking for a new thread's
 * name. */
#define LOOK_AGAIN (NS / 20)

/* The last number of NSpid: the tid as the thread itself sees it. */
static pid_t tid_inside(pid_t pid, const char *tid)
{
	char path[320], *text;
	long inside = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, tid);
	if (file_read(path, &text, 65536) < 0)
		return 0;
	char *at = strstr(text, "\nNSpid:");
	if (at) {
		at += 7;
		at[strcspn(at, "\n")] = 0;
		char *number, *rest = at;
		while ((number = strtok_r(rest, " \t", &rest)))
			inside = strtol(number, NULL, 10);
	}
	free(text);
	return (pid_t)inside;
}

/* The target's number for a thread -> ours. 0: no such thread (a fork keeps the parent's number for a
 * moment). */
static pid_t tid_outside(struct interp *py, uint64_t native)
{
	char path[64];
	pid_t found = 0;
	struct dirent *entry;
	if (!native || native > INT32_MAX)
		return 0;
	if (!py->namespaced) {
		snprintf(path, sizeof(path), "/proc/%d/task/%d", (int)py->pid, (int)native);
		return access(path, F_OK) ? 0 : (pid_t)native;
	}
	snprintf(path, sizeof(path), "/proc/%d/task", (int)py->pid);
	DIR *dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && tid_inside(py->pid, entry->d_name) == (pid_t)native)
			found = (pid_t)strtol(entry->d_name, NULL, 10);
	if (dir)
		closedir(dir);
	return found;
}

void python_thread_identify(struct interp *py, const unsigned char *state, struct interp_thread *out)
{
	const struct python_layout *l = &py->layout;
	out->pthread = python_u64(state, l->tstate_thread_id);
	out->tid = 0;
	if (l->tstate_native_thread_id >= 0)
		out->tid = tid_outside(py, python_u64(state, l->tstate_native_thread_id));
	int tid;
	if (!out->tid && !py->namespaced && out->pthread &&
	    !mem_read(py->pid, out->pthread + GLIBC_TID, &tid, sizeof(tid)) && tid > 0)
		out->tid = tid_outside(py, (uint64_t)tid);
}

/* The state that is for a new thread bears for a moment the number of the thread that makes it (to 3.11:
 * Modules/_threadmodule.c, thread_PyThread_start_new_thread), and newer states come first: the last that fits
 * counts. */
int python_thread_find(struct interp *py, struct interp_thread thread)
{
	const struct python_layout *l = &py->layout;
	int found = -ENOENT;
	for (int i = 0; i < py->threads && thread.pthread; i++)
		if (python_u64(py->states + (size_t)i * (size_t)l->tstate_size, l->tstate_thread_id) ==
		    thread.pthread)
			found = i;
	if (!thread.tid || thread.pthread)
		return found;
	char text[16];
	snprintf(text, sizeof(text), "%d", (int)thread.tid);
	pid_t inside = py->namespaced ? tid_inside(py->pid, text) : thread.tid;
	for (int i = 0; i < py->threads; i++) {
		const unsigned char *state = py->states + (size_t)i * (size_t)l->tstate_size;
		int tid;
		bool fits = l->tstate_native_thread_id >= 0 &&
			    python_u64(state, l->tstate_native_thread_id) == (uint64_t)inside;
		if (!fits &&
		    !mem_read(py->pid, python_u64(state, l->tstate_thread_id) + GLIBC_TID, &tid, sizeof(tid)))
			fits = tid == inside;
		if (fits)
			found = i;
	}
	return found;
}

static int module_value(struct interp *py, uint64_t interp, const char *module_name, const char *name,
			uint64_t *value)
{
	struct python_dict modules, globals;
	uint64_t dict, module;
	int e = python_pointer(py, interp + (uint64_t)py->layout.interp_modules, &dict);
	if (!e && !dict)
		e = -ENOENT;
	if (!e)
		e = python_dict_read(py, dict, MODULES_MAX, &modules);
	if (e)
		return e;
	e = python_dict_find(py, &modules, module_name, &module);
	python_dict_free(&modules);
	if (!e)
		e = python_check(py, module, py->at.module);
	if (!e)
		e = python_pointer(py, module + (uint64_t)py->layout.module_dict, &dict);
	if (!e)
		e = python_dict_read(py, dict, MODULES_MAX, &globals);
	if (e)
		return e;
	e = python_dict_find(py, &globals, name, value);
	python_dict_free(&globals);
	return e;
}

int python_module_value(struct interp *py, const char *module_name, const char *name, uint64_t *value)
{
	return module_value(py, py->interp[py->interps - 1].address, module_name, name, value);
}

int python_thread_outer(struct interp *py, int i)
{
	const struct python_layout *l = &py->layout;
	const unsigned char *state = py->states + (size_t)i * (size_t)l->tstate_size;
	uint64_t pthread = python_u64(state, l->tstate_thread_id);
	/* newer interpreters come first */
	for (int k = i + 1; k < py->threads && pthread && l->interp_gil >= 0; k++)
		if (py->thread_interp[k] != py->thread_interp[i] &&
		    python_u64(py->states + (size_t)k * (size_t)l->tstate_size, l->tstate_thread_id) ==
			    pthread)
			return k;
	return -ENOENT;
}

/* threading._active of the main interpreter. */
static int active_find(struct interp *py)
{
	uint64_t active;
	if (py->active)
		return 0;
	if (py->active_tried && now_ns() - py->active_tried < LOOK_AGAIN)
		return -ENOENT;
	py->active_tried = now_ns();
	int e = python_module_value(py, "threading", "_active", &active);
	if (!e)
		e = python_check(py, active, py->at.dict);
	if (!e)
		py->active = active;
	return e;
}

/* Of a thread that belongs to the interpreter: one that has only entered it has its name in another. */
static int name_read(struct interp *py, int interp, uint64_t pthread, char *buf, size_t size)
{
	struct python_dict active;
	uint64_t thread = 0, ident, name, at;
	bool main = interp == py->interps - 1;
	int e = main ? active_find(py)
		     : module_value(py, py->interp[interp].address, "threading", "_active", &at);
	if (e)
		return e;
	e = python_dict_read(py, main ? py->active : at, PYTHON_THREADS, &active);
	if (e) {
		py->active = 0; /* another dict now? */
		return e;
	}
	for (int i = 0; i < active.n && !thread; i++)
		if (!python_integer(py, active.key[i], &ident) && ident == pthread)
			thread = active.value[i];
	python_dict_free(&active);
	if (!thread)
		return -ENOENT;
	e = python_attribute(py, thread, "_name", &name);
	return e ? e : python_string(py, name, buf, size);
}

int python_thread_name(struct interp *py, struct interp_thread thread, char *buf, size_t size)
{
	if (!size)
		return -EINVAL;
	int e = 0, i = -ENOENT;
	for (int try = 0; try < PYTHON_TRIES && i == -ENOENT && !e; try++) {
		e = python_refresh(py);
		i = e ? e : python_thread_find(py, thread);
	}
	if (i < 0)
		return i;
	uint64_t pthread = python_u64(py->states + (size_t)i * (size_t)py->layout.tstate_size,
				      py->layout.tstate_thread_id);
	int interp = py->thread_interp[i];
	for (int try = 0; try < PYTHON_TRIES; try++) {
		e = name_read(py, interp, pthread, buf, size);
		if (e != -EAGAIN && e != -EFAULT)
			break;
	}
	if (e)
		buf[0] = 0;
	else if (!buf[0])
		e = -ENOENT;
	return e == -EFAULT ? -EAGAIN : e;
}
