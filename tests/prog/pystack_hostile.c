/* SPDX-License-Identifier: MIT
 *
 * A process that pretends to be CPython and lies: pystack_hostile MODE. For tests/case/test_interp_python.py,
 * which asserts that the module answers soon and with an error, whatever it is told. Compiled with -DMINOR=12
 * and the like, -DFREE_THREADED=1 for a build without the GIL.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/interp/python_layout.h"

unsigned char _PyRuntime[1 << 20];
const unsigned long Py_Version = 0x030001f0 | MINOR << 16;
unsigned char PyCode_Type[512], PyFrame_Type[512], PyUnicode_Type[512], PyDict_Type[512], PyLong_Type[512],
	PyBytes_Type[512], PyTuple_Type[512], PyModule_Type[512], PyFunction_Type[512],
	PyMemberDescr_Type[512];

static const struct python_layout rows[] = {
#include "cli/interp/python_offsets.def"
};

static unsigned char interp[1 << 20], state[2][1024], cframe[64], frame[2][256], code[512], text[128],
	bytes[64], copies[64], copy[64];

static void put(unsigned char *at, int offset, const void *value)
{
	uint64_t v = (uint64_t)(uintptr_t)value;
	memcpy(at + offset, &v, sizeof(v));
}

#define CROWD 4096
static unsigned char names[64], lock[256], lock_type[1024], instance[512], class[2048], dict[64],
	keys[CROWD * 64], member[64], mro[64 + 8 * CROWD];

/* A thread that waits for a lock at 0x123456789a0, which its only variable is, or has in a slot that its
 * class cannot name, for all its crowds of classes of crowds of slots. */
static void wait_for_lock(const struct python_layout *l, const char *mode)
{
	int one = 1;
	put(frame[1], l->frame_back, NULL);
	frame[1][l->frame_owner] = (unsigned char)l->frame_shim_owner;
	put(names, l->object_type, PyTuple_Type);
	put(names, l->object_size, (void *)1);
	put(names, l->tuple_items, text);
	memcpy(code + l->code_nlocalsplus, &one, sizeof(one));
	memcpy(code + l->code_stacksize, &one, sizeof(one));
	put(code, l->code_localsplusnames, names);
	put(code, l->code_names, names);
	put(lock, l->object_type, lock_type);
	put(lock, l->lock_lock, (void *)0x123456789a0);
	put(lock_type, l->type_name, "_thread.lock");
	put(frame[0], l->frame_size, strcmp(mode, "lock") ? instance : lock);
	put(frame[0], l->frame_size + 8, lock);
	put(frame[0], l->frame_globals, dict);

	put(instance, l->object_type, class);
	for (int at = l->object_head; at < 512; at += 8)
		put(instance, at, strcmp(mode, "lock-items") ? lock : instance);
	unsigned long flags = strcmp(mode, "lock-items") ? 1ul << 9 : 1ul << 25 | 1ul << 29;
	put(class, l->type_flags, (void *)flags);
	put(class, l->type_basicsize, (void *)0x7fffffffffffffff);
	put(class, l->type_name, "class");
	put(class, l->type_dict, dict);
	put(class, l->type_mro, mro);
	put(mro, l->object_type, PyTuple_Type);
	put(mro, l->object_size, (void *)0x7fffffffffffffff);
	for (int i = 0; i < CROWD; i++)
		put(mro, l->tuple_items + 8 * i, class);
	put(dict, l->object_type, PyDict_Type);
	put(dict, l->dict_keys, keys);
	keys[l->keys_log2_index_bytes] = 12;
	put(keys, l->keys_nentries, (void *)CROWD);
	for (int i = 0; i < CROWD; i++) {
		put(keys, l->keys_indices + 4096 + 24 * i + 8, text);
		put(keys, l->keys_indices + 4096 + 24 * i + 16, member);
	}
	put(member, l->object_type, PyMemberDescr_Type);
	put(member, l->member_definition, member);
}

/* What a real one writes at the start of _PyRuntime, from 3.13 on. */
static void publish(const struct python_layout *l)
{
	if (!l->debug_size)
		return;
	memcpy(_PyRuntime, "xdebugpy", 8);
	put(_PyRuntime, l->debug_version, (void *)Py_Version);
	put(_PyRuntime, l->debug_free_threaded, (void *)FREE_THREADED);
#define FIELD(name)               \
	if (l->debug_##name >= 0) \
		put(_PyRuntime, l->debug_##name, (void *)(uintptr_t)l->name);
	PYTHON_DEBUG_FIELDS(FIELD)
#undef FIELD
}

/* A frame in the second of two copies of its code, each thread's own. */
static void copies_make(const struct python_layout *l)
{
	if (l->code_tlbc < 0)
		return;
	put(code, l->code_tlbc, copies);
	put(copies, l->tlbc_size, (void *)2);
	put(copies, l->tlbc_entries, code + l->code_adaptive);
	put(copies, l->tlbc_entries + 8, copy);
	frame[0][l->frame_tlbc_index] = 1;
	put(frame[0], l->frame_instruction, copy);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	const struct python_layout *l = rows;
	while (l->minor != MINOR || l->free_threaded != FREE_THREADED)
		l++;
	publish(l);
	unsigned char *gil = interp + 60000;
	int one = 1, units = 20;
	put(_PyRuntime, l->runtime_interpreters_head, interp);
	put(_PyRuntime, l->runtime_interpreters_main, interp);
	put(interp, l->interp_threads, state[0]);
	put(interp, l->interp_gil, gil);
	put(gil, l->gil_interval, (void *)5000);
	put(gil, l->gil_last_holder, state[0]);
	memcpy(gil + l->gil_locked, &one, sizeof(one));
	put(state[0], l->tstate_interp, interp);
	put(state[1], l->tstate_interp, interp);
	put(state[0], l->tstate_native_thread_id, (void *)(uintptr_t)getpid());
	if (l->tstate_cframe >= 0) {
		put(state[0], l->tstate_cframe, cframe);
		put(cframe, l->cframe_current_frame, frame[0]);
	} else {
		put(state[0], l->tstate_current_frame, frame[0]);
	}
	for (int i = 0; i < 2; i++) {
		put(frame[i], l->frame_code, code);
		put(frame[i], l->frame_back, frame[!i]);
		put(frame[i], l->frame_instruction, code + l->code_adaptive);
	}
	copies_make(l);
	unsigned shape =
		1u << l->unicode_kind_shift | 1u << l->unicode_compact_shift | 1u << l->unicode_ascii_shift;
	put(text, l->object_type, PyUnicode_Type);
	memcpy(text + l->unicode_state, &shape, sizeof(shape));
	put(text, l->unicode_length, (void *)5);
	memcpy(text + l->unicode_ascii_size, "dummy", 6);
	put(bytes, l->object_type, PyBytes_Type);
	put(code, l->object_type, PyCode_Type);
	put(code, l->object_size, (void *)(uintptr_t)units);
	put(code, l->code_name, text);
	put(code, l->code_qualname, text);
	put(code, l->code_filename, text);
	put(code, l->code_linetable, bytes);

	if (!strcmp(mode, "threads")) { /* a list of threads without an end */
		put(state[0], l->tstate_next, state[1]);
		put(state[1], l->tstate_next, state[0]);
	} else if (!strcmp(mode, "interpreters")) {
		put(interp, l->interp_next, interp);
	} else if (!strcmp(mode, "string")) { /* a name longer than memory */
		put(frame[1], l->frame_back, NULL);
		put(text, l->unicode_length, (void *)0x7fffffffffffffff);
	} else if (!strcmp(mode, "lines")) {
		put(frame[1], l->frame_back, NULL);
		put(bytes, l->object_size, (void *)0x7fffffffffffffff);
	} else if (!strcmp(mode, "shims")) { /* frames of C's, for ever */
		frame[0][l->frame_owner] = frame[1][l->frame_owner] = (unsigned char)l->frame_shim_owner;
	} else if (!strcmp(mode, "chunk")) { /* a data stack as large as memory */
		put(state[0], l->tstate_datastack_chunk, (void *)4096);
		put(state[0], l->tstate_datastack_top, (void *)0x7ffffffff000);
	} else if (!strcmp(mode, "gil")) {
		memset(gil, 0xff, 200);
	} else if (!strcmp(mode, "noise")) {
		for (size_t i = 0; i < sizeof(interp) - 5000; i++)
			interp[i] = (unsigned char)(i * 7919 >> 3);
	} else if (!strcmp(mode, "offsets")) { /* what it publishes is nonsense */
		memset(_PyRuntime + 24, 0xff, (size_t)(l->debug_size > 24 ? l->debug_size - 24 : 0));
	} else if (!strcmp(mode, "copies")) { /* more copies of the code than memory holds */
		put(frame[1], l->frame_back, NULL);
		frame[0][l->frame_tlbc_index + 2] = 0x7f;
		put(copies, l->tlbc_size, (void *)0x7fffffffffffffff);
	} else if (!strcmp(mode, "honest")) {
		put(frame[1], l->frame_back, NULL);
		frame[1][l->frame_owner] = (unsigned char)l->frame_shim_owner;
	} else if (!strncmp(mode, "lock", 4)) {
		wait_for_lock(l, mode);
	} else if (strcmp(mode, "frames")) {
		return 2;
	}
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
