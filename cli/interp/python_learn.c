/* SPDX-License-Identifier: MIT
 *
 * An interpreter linked into a stripped program (python_find.c finds it by its section) says nowhere where
 * its types are, and without them no object can be told from noise. But a frame that runs has a code object,
 * that has a name, and so on: each type is taken from such an object if it is called what it must be called,
 * and is itself of a type called "type".
 */
#include "cli/interp/python.h"

#define FRAMES_LOOKED 64
#define MODULES_LOOKED 64
#define CODE_HEAD 256

bool python_learns(int minor)
{
	return minor >=
	       11; /* frames are no objects, and code objects have their variables' names in one tuple */
}

static bool is_called(struct interp *py, uint64_t type, const char *name)
{
	uint64_t at;
	char text[16];
	return type && !python_pointer(py, type + (uint64_t)py->layout.type_name, &at) &&
	       !mem_string(py->pid, at, text, sizeof(text)) && !strcmp(text, name);
}

/* The object's type, if it has that name. */
static bool type_take(struct interp *py, uint64_t object, const char *name, uint64_t *out)
{
	uint64_t type, meta;
	if (!object || object % 8 || python_pointer(py, object + (uint64_t)py->layout.object_type, &type) ||
	    !is_called(py, type, name) ||
	    python_pointer(py, type + (uint64_t)py->layout.object_type, &meta) ||
	    !is_called(py, meta, "type"))
		return false;
	*out = type;
	return true;
}

/* From a frame's code. */
static bool code_learn(struct interp *py, uint64_t code, uint64_t globals)
{
	const struct python_layout *l = &py->layout;
	struct python_symbols at = py->at;
	unsigned char head[CODE_HEAD];
	if (!type_take(py, code, "code", &at.code) || l->code_adaptive > CODE_HEAD ||
	    mem_read(py->pid, code, head, (size_t)l->code_adaptive) ||
	    !type_take(py, python_u64(head, l->code_name), "str", &at.unicode) ||
	    !type_take(py, python_u64(head, l->code_linetable), "bytes", &at.bytes) ||
	    !type_take(py, python_u64(head, l->code_localsplusnames), "tuple", &at.tuple) ||
	    !type_take(py, globals, "dict", &at.dict))
		return false;
	py->at = at;
	return true;
}

static bool thread_learn(struct interp *py, int thread)
{
	const struct python_layout *l = &py->layout;
	const unsigned char *state = py->states + (size_t)thread * (size_t)l->tstate_size;
	unsigned char head[CODE_HEAD];
	uint64_t at = 0;
	if (l->tstate_current_frame >= 0)
		at = python_u64(state, l->tstate_current_frame);
	else if (python_pointer(py, python_u64(state, l->tstate_cframe) + (uint64_t)l->cframe_current_frame,
				&at))
		return false;
	for (int i = 0; i < FRAMES_LOOKED && at; i++) {
		if (l->frame_size > CODE_HEAD || mem_read(py->pid, at, head, (size_t)l->frame_size))
			return false;
		/* 3.14: _PyStackRef's tag bits */
		if (code_learn(py, python_u64(head, l->frame_code) & ~3ull,
			       python_u64(head, l->frame_globals)))
			return true;
		at = python_u64(head, l->frame_back);
	}
	return false;
}

/* What names of threads and of locks need besides. */
static void modules_learn(struct interp *py)
{
	struct python_dict modules;
	uint64_t dict, value;
	uint64_t interp = py->interp[py->interps - 1].address;
	if (python_pointer(py, interp + (uint64_t)py->layout.interp_modules, &dict) ||
	    python_dict_read(py, dict, MODULES_LOOKED, &modules))
		return;
	for (int i = 0; i < modules.n && !py->at.module; i++)
		type_take(py, modules.value[i], "module", &py->at.module);
	python_dict_free(&modules);
	if (!python_module_value(py, "sys", "hexversion", &value))
		type_take(py, value, "int", &py->at.integer);
}

int python_learn(struct interp *py)
{
	for (int i = 0; i < py->threads; i++) {
		if (!thread_learn(py, i))
			continue;
		modules_learn(py);
		return 0;
	}
	return -EAGAIN;
}
