/* SPDX-License-Identifier: MIT
 *
 * What differs between CPython versions, as data: one row per version (python_offsets.def, printed by
 * tools/python_offsets.c). Offsets are in bytes within the structure that the name begins with; -1 says that
 * this version has no such field, and code that walks asks for the field, never for the version.
 */
#ifndef WHYSTALL_PYTHON_LAYOUT_H
#define WHYSTALL_PYTHON_LAYOUT_H

#include <stdbool.h>

enum python_lines {
	LINES_LNOTAB = 1,    /* to 3.9: Objects/lnotab_notes.txt */
	LINES_DELTAS = 2,    /* 3.10: Objects/lnotab_notes.txt, PEP 626 */
	LINES_LOCATIONS = 3, /* 3.11: Objects/locations.md, PEP 657 */
};
/* Where an instance keeps its attributes. */
enum python_attributes {
	ATTRIBUTES_DICT = 1,   /* to 3.10: a dict, tp_dictoffset into the object */
	ATTRIBUTES_VALUES = 2, /* 3.11: values at [-4], else a dict at [-3] */
	ATTRIBUTES_TAGGED = 3, /* 3.12: one pointer at [-3], odd when it is to values */
	ATTRIBUTES_INLINE = 4, /* 3.13: values at the object's end while valid, else a dict */
};

/* What _Py_DebugOffsets publishes of the fields below. */
/* clang-format off */
#define PYTHON_DEBUG_FIELDS(FIELD)                                                                              \
	FIELD(runtime_interpreters_head)                                                                        \
	FIELD(interp_next) FIELD(interp_threads) FIELD(interp_modules) FIELD(interp_gil) FIELD(interp_gc)       \
	FIELD(gc_size) FIELD(gc_collecting)                                                                     \
	FIELD(tstate_size) FIELD(tstate_next) FIELD(tstate_interp) FIELD(tstate_current_frame)                  \
	FIELD(tstate_thread_id) FIELD(tstate_native_thread_id) FIELD(tstate_datastack_chunk)                    \
	FIELD(frame_back) FIELD(frame_code) FIELD(frame_instruction) FIELD(frame_owner)                         \
	FIELD(code_filename) FIELD(code_name) FIELD(code_qualname) FIELD(code_linetable)                        \
	FIELD(code_firstlineno) FIELD(code_adaptive)                                                            \
	FIELD(object_type) FIELD(frame_tlbc_index) FIELD(code_tlbc)
/* clang-format on */

struct python_layout {
	int minor, free_threaded;

	int runtime_interpreters_head, runtime_interpreters_main, runtime_main_thread;
	int runtime_gil; /* the one GIL, within _PyRuntime; else interp_gil, a pointer */
	int interp_gil, interp_modules, interp_next, interp_threads;
	int interp_trampoline; /* 3.12: the code object of the evaluation loop's own frames */
	int gil_interval, gil_last_holder, gil_locked, gil_switch_number, gil_cond, gil_switch_cond,
		gil_enabled;
	int runtime_gc, interp_gc; /* the cycle collector's state: the process', or each interpreter's */
	int gc_size, gc_collecting, gc_middle_count, gc_full_count, gc_long_lived;

	int code_exceptiontable;	    /* from 3.11 on; before: */
	int frame_iblock, frame_blockstack; /* the blocks that a frame is in */
	int op_setup_with, op_with_except_start;
	int cfunction_method, descriptor_method;

	int tstate_size, tstate_next, tstate_interp, tstate_thread_id, tstate_native_thread_id;
	int tstate_datastack_chunk, tstate_datastack_top;
	int tstate_frame;			 /* PyFrameObject, to 3.10 */
	int tstate_cframe, cframe_current_frame; /* _PyInterpreterFrame, 3.11 and 3.12 */
	int tstate_current_frame;		 /* _PyInterpreterFrame, from 3.13 on */

	int frame_size; /* without the locals */
	int frame_back, frame_code, frame_instruction, frame_globals;
	int frame_is_entry, frame_shim_owner, frame_owner;
	int frame_lasti, frame_lasti_unit, frame_executing, frame_state;
	int frame_generator, frame_valuestack, frame_locals;
	int frame_tlbc_index; /* free-threaded, from 3.14 on: which copy of the code it runs */
	int code_tlbc, tlbc_size, tlbc_entries;

	int code_argcount, code_firstlineno, code_filename, code_name, code_qualname, code_linetable;
	int code_code;		 /* a bytes object, to 3.10 */
	int code_adaptive;	 /* the code itself, from 3.11 on */
	int code_firsttraceable; /* in code units */
	int line_format;	 /* enum python_lines */
	int function_code, function_qualname, method_function, wrapper_wrapped, generator_code,
		generator_qualname;
	int code_consts, op_load_const, op_make_function, op_extended_arg;

	int unicode_length, unicode_hash, unicode_state;
	int unicode_kind_shift, unicode_compact_shift, unicode_ascii_shift;
	int unicode_ascii_size, unicode_compact_size;

	int dict_keys, dict_values;
	int keys_size, keys_log2_index_bytes, keys_kind, keys_nentries, keys_indices;
	int values_first;
	int attributes; /* enum python_attributes */
	int managed_dict, values_valid;

	int object_type, object_refcnt, object_size, object_head;
	int type_basicsize, type_flags, type_dictoffset, type_dict, type_mro, type_cached_keys;
	int tuple_items, bytes_data, module_dict;
	int int_size, int_size_shift, int_digits;

	int code_names, code_stacksize;
	int code_nlocalsplus, code_localsplusnames;	 /* from 3.11 on */
	int code_varnames, code_cellvars, code_freevars; /* to 3.10 */
	int cell_ref, cfunction_self, list_items;
	int type_name, member_definition, definition_name, definition_offset;

	/* Objects that contain a lock: the address of one, or from 3.14 on a PyMutex. */
	int lock_lock, rlock_lock, rlock_owner, rlock_count;
	int semlock_handle, buffered_lock, buffered_owner, textio_buffer, simplequeue_lock;
	/* From 3.13 on: a thread that waits for a PyMutex has parked, in a structure on its own stack: what
	 * for, and the semaphore that wakes it. */
	int parked_address, parked_semaphore;

	/* free-threaded builds: pauses of all threads, and the lock that every object has */
	int runtime_world, interp_world, world_event, world_requester, tstate_state, object_mutex;

	int debug_size, debug_version, debug_free_threaded;
#define FIELD(name) int debug_##name;
	PYTHON_DEBUG_FIELDS(FIELD)
#undef FIELD
};

/* The row of 3.`minor`, NULL: not supported. */
const struct python_layout *python_layout_find(int minor, bool free_threaded);
/* "3.8 to 3.15": for the sentence that refuses another. */
const char *python_layout_versions(void);
/* Takes the offsets that the process itself publishes (debug_size bytes at the start of _PyRuntime) over the
 * table's. 0, or -EINVAL: no cookie, or nonsense. */
int python_layout_publish(struct python_layout *layout, const unsigned char *debug);

#endif
