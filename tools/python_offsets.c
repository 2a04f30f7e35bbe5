/* SPDX-License-Identifier: MIT
 *
 * Prints the row of cli/interp/python_offsets.def of the CPython whose headers it is compiled against, so
 * that nobody copies an offset by hand. It never runs Python. For every version that is installed:
 *
 *   I=$(python3.12 -c 'import sysconfig; print(sysconfig.get_path("include"))')
 *   cc -DPy_BUILD_CORE -I$I -I$I/internal -o /tmp/offsets tools/python_offsets.c && /tmp/offsets
 *
 * with -DPy_GIL_DISABLED=1 for the free-threaded build of 3.13 and later. tests/case/test_python_offsets.py
 * does this and compares. The few structures that no installed header declares are declared here, with their
 * source.
 */
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>
#include <opcode.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#if PY_VERSION_HEX >= 0x030b0000
#include <internal/pycore_dict.h>
#include <internal/pycore_frame.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_moduleobject.h>
#include <internal/pycore_object.h>
#include <internal/pycore_runtime.h>
#if PY_VERSION_HEX >= 0x030d0000
#include <internal/pycore_lock.h>
#include <internal/pycore_semaphore.h>
#endif
#elif PY_VERSION_HEX >= 0x03090000
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>
#else
#include <internal/pycore_pystate.h>
#endif

#if PY_VERSION_HEX < 0x030b0000
/* Objects/dict-common.h, 3.8 to 3.10 */
struct dict_keys {
	Py_ssize_t dk_refcnt, dk_size;
	void *dk_lookup;
	Py_ssize_t dk_usable, dk_nentries;
	char dk_indices[];
};
/* Objects/moduleobject.c, 3.8 and 3.9 */
typedef struct {
	PyObject_HEAD PyObject *md_dict;
} module_object;
#else
typedef PyModuleObject module_object;
#endif
/* Modules/_threadmodule.c */
#if PY_VERSION_HEX >= 0x030e0000
typedef struct {
	PyObject_HEAD PyMutex lock_lock;
} lock_object;
typedef struct {
	PyObject_HEAD _PyRecursiveMutex lock;
} rlock_object;
#else
typedef struct {
	PyObject_HEAD PyThread_type_lock lock_lock;
} lock_object;
typedef struct {
	PyObject_HEAD PyThread_type_lock rlock_lock;
	unsigned long rlock_owner, rlock_count;
} rlock_object;
#endif
/* Modules/_queuemodule.c; from 3.13 on what its waiters park at */
typedef struct {
#if PY_VERSION_HEX >= 0x030d0000
	PyObject_HEAD bool lock;
#else
	PyObject_HEAD PyThread_type_lock lock;
#endif
} simplequeue_object;
#if PY_VERSION_HEX >= 0x030d0000
/* Python/parking_lot.c */
struct wait_entry {
	void *park_arg;
	uintptr_t addr;
	_PySemaphore sema;
};
#endif
/* Modules/_multiprocessing/semaphore.c, 3.8 to 3.15 */
typedef struct {
	PyObject_HEAD void *handle;
	unsigned long last_tid;
	int count, maxvalue, kind;
} semlock_object;
/* Modules/_io/bufferedio.c and textio.c, 3.8 to 3.15 */
typedef struct {
	PyObject_HEAD PyObject *raw;
	int ok, detached, readable, writable;
	char finalizing;
	int fast_closed_checks;
	long long abs_pos;
	char *buffer;
	long long pos, raw_pos, read_end, write_pos, write_end;
	PyThread_type_lock lock;
	volatile unsigned long owner;
} buffered_object;
typedef struct {
	PyObject_HEAD int ok, detached;
	Py_ssize_t chunk_size;
	PyObject *buffer;
} textio_object;
/* Objects/descrobject.c and Objects/funcobject.c: property, classmethod and staticmethod begin with what they
 * wrap */
struct wrapper_object {
	PyObject_HEAD PyObject *wrapped;
};

static void put(const char *name, long value)
{
	printf("\t.%s = %ld,\n", name, value);
}
#define OFFSET(name, type, member) put(#name, (long)offsetof(type, member))
#define ABSENT(name) put(#name, -1)

static void print_runtime(void)
{
	OFFSET(runtime_interpreters_head, _PyRuntimeState, interpreters.head);
	OFFSET(runtime_interpreters_main, _PyRuntimeState, interpreters.main);
	OFFSET(runtime_main_thread, _PyRuntimeState, main_thread);
#if PY_VERSION_HEX >= 0x030c0000
	ABSENT(runtime_gil);
	OFFSET(interp_gil, PyInterpreterState, ceval.gil);
	OFFSET(interp_modules, PyInterpreterState, imports.modules);
#else
	OFFSET(runtime_gil, _PyRuntimeState, ceval.gil);
	ABSENT(interp_gil);
	OFFSET(interp_modules, PyInterpreterState, modules);
#endif
	OFFSET(interp_next, PyInterpreterState, next);
#if PY_VERSION_HEX >= 0x030c0000 && PY_VERSION_HEX < 0x030d0000
	OFFSET(interp_trampoline, PyInterpreterState, interpreter_trampoline);
#else
	ABSENT(interp_trampoline);
#endif
#if PY_VERSION_HEX >= 0x030b0000
	OFFSET(interp_threads, PyInterpreterState, threads.head);
#else
	OFFSET(interp_threads, PyInterpreterState, tstate_head);
#endif
	OFFSET(gil_interval, struct _gil_runtime_state, interval);
	OFFSET(gil_last_holder, struct _gil_runtime_state, last_holder);
	OFFSET(gil_locked, struct _gil_runtime_state, locked);
	OFFSET(gil_switch_number, struct _gil_runtime_state, switch_number);
	OFFSET(gil_cond, struct _gil_runtime_state, cond);
	OFFSET(gil_switch_cond, struct _gil_runtime_state, switch_cond);
#ifdef Py_GIL_DISABLED
	OFFSET(gil_enabled, struct _gil_runtime_state, enabled);
#else
	ABSENT(gil_enabled);
#endif
}

/* The cycle collector's state: in the interpreter from 3.9 on. Which generation is being collected is not
 * written down, but collecting one sets its count to 0 and raises the next one's (Modules/gcmodule.c,
 * collect); 3.14 counts otherwise. */
static void print_collector(void)
{
#if PY_VERSION_HEX >= 0x03090000
	ABSENT(runtime_gc);
	OFFSET(interp_gc, PyInterpreterState, gc);
#else
	OFFSET(runtime_gc, _PyRuntimeState, gc);
	ABSENT(interp_gc);
#endif
	put("gc_size", (long)sizeof(struct _gc_runtime_state));
	OFFSET(gc_collecting, struct _gc_runtime_state, collecting);
#if PY_VERSION_HEX >= 0x030e0000
	ABSENT(gc_middle_count);
	ABSENT(gc_full_count);
	ABSENT(gc_long_lived);
#else
	OFFSET(gc_middle_count, struct _gc_runtime_state, generations[1].count);
	OFFSET(gc_full_count, struct _gc_runtime_state, generations[2].count);
	OFFSET(gc_long_lived, struct _gc_runtime_state, long_lived_total);
#endif
}

static void print_thread(void)
{
	put("tstate_size", (long)sizeof(PyThreadState));
	OFFSET(tstate_next, PyThreadState, next);
	OFFSET(tstate_interp, PyThreadState, interp);
	OFFSET(tstate_thread_id, PyThreadState, thread_id);
#if PY_VERSION_HEX >= 0x030b0000
	OFFSET(tstate_native_thread_id, PyThreadState, native_thread_id);
	OFFSET(tstate_datastack_chunk, PyThreadState, datastack_chunk);
	OFFSET(tstate_datastack_top, PyThreadState, datastack_top);
	ABSENT(tstate_frame);
#else
	ABSENT(tstate_native_thread_id);
	ABSENT(tstate_datastack_chunk);
	ABSENT(tstate_datastack_top);
	OFFSET(tstate_frame, PyThreadState, frame);
#endif
#if PY_VERSION_HEX >= 0x030d0000
	ABSENT(tstate_cframe);
	ABSENT(cframe_current_frame);
	OFFSET(tstate_current_frame, PyThreadState, current_frame);
#elif PY_VERSION_HEX >= 0x030b0000
	OFFSET(tstate_cframe, PyThreadState, cframe);
	OFFSET(cframe_current_frame, _PyCFrame, current_frame);
	ABSENT(tstate_current_frame);
#else
	ABSENT(tstate_cframe);
	ABSENT(cframe_current_frame);
	ABSENT(tstate_current_frame);
#endif
}

#if PY_VERSION_HEX >= 0x030b0000
static void print_frame(void)
{
	put("frame_size", (long)offsetof(_PyInterpreterFrame, localsplus));
	OFFSET(frame_back, _PyInterpreterFrame, previous);
#if PY_VERSION_HEX >= 0x030d0000
	OFFSET(frame_code, _PyInterpreterFrame, f_executable);
	OFFSET(frame_instruction, _PyInterpreterFrame, instr_ptr);
#else
	OFFSET(frame_code, _PyInterpreterFrame, f_code);
	OFFSET(frame_instruction, _PyInterpreterFrame, prev_instr);
#endif
	OFFSET(frame_globals, _PyInterpreterFrame, f_globals);
#if PY_VERSION_HEX >= 0x030e0000
	ABSENT(frame_is_entry);
	put("frame_shim_owner", FRAME_OWNED_BY_INTERPRETER);
#elif PY_VERSION_HEX >= 0x030c0000
	ABSENT(frame_is_entry);
	put("frame_shim_owner", FRAME_OWNED_BY_CSTACK);
#else
	OFFSET(frame_is_entry, _PyInterpreterFrame, is_entry);
	ABSENT(frame_shim_owner);
#endif
	OFFSET(frame_owner, _PyInterpreterFrame, owner);
	ABSENT(frame_lasti);
	put("frame_lasti_unit", 1);
	ABSENT(frame_executing);
	ABSENT(frame_state);
	ABSENT(frame_generator);
	ABSENT(frame_valuestack);
	ABSENT(frame_locals);
	/* Thread-local bytecode: a frame's instruction lies in the copy of the code that its thread runs */
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX >= 0x030e0000
	OFFSET(frame_tlbc_index, _PyInterpreterFrame, tlbc_index);
	OFFSET(code_tlbc, PyCodeObject, co_tlbc);
	OFFSET(tlbc_size, _PyCodeArray, size);
	OFFSET(tlbc_entries, _PyCodeArray, entries);
#else
	ABSENT(frame_tlbc_index);
	ABSENT(code_tlbc);
	ABSENT(tlbc_size);
	ABSENT(tlbc_entries);
#endif
}
#else
static void print_frame(void)
{
	put("frame_size", (long)offsetof(PyFrameObject, f_localsplus));
	OFFSET(frame_back, PyFrameObject, f_back);
	OFFSET(frame_code, PyFrameObject, f_code);
	ABSENT(frame_instruction);
	OFFSET(frame_globals, PyFrameObject, f_globals);
	ABSENT(frame_is_entry);
	ABSENT(frame_shim_owner);
	ABSENT(frame_owner);
	OFFSET(frame_lasti, PyFrameObject, f_lasti);
#if PY_VERSION_HEX >= 0x030a0000
	put("frame_lasti_unit", 2);
	ABSENT(frame_executing);
	OFFSET(frame_state, PyFrameObject, f_state);
#else
	put("frame_lasti_unit", 1);
	OFFSET(frame_executing, PyFrameObject, f_executing);
	ABSENT(frame_state);
#endif
	OFFSET(frame_generator, PyFrameObject, f_gen);
	OFFSET(frame_valuestack, PyFrameObject, f_valuestack);
	OFFSET(frame_locals, PyFrameObject, f_localsplus);
	ABSENT(frame_tlbc_index);
	ABSENT(code_tlbc);
	ABSENT(tlbc_size);
	ABSENT(tlbc_entries);
}
#endif

static void print_code(void)
{
	OFFSET(code_argcount, PyCodeObject, co_argcount);
	OFFSET(code_firstlineno, PyCodeObject, co_firstlineno);
	OFFSET(code_filename, PyCodeObject, co_filename);
	OFFSET(code_name, PyCodeObject, co_name);
#if PY_VERSION_HEX >= 0x030b0000
	OFFSET(code_qualname, PyCodeObject, co_qualname);
	OFFSET(code_linetable, PyCodeObject, co_linetable);
	ABSENT(code_code);
	OFFSET(code_adaptive, PyCodeObject, co_code_adaptive);
	OFFSET(code_firsttraceable, PyCodeObject, _co_firsttraceable);
	put("line_format", 3);
#elif PY_VERSION_HEX >= 0x030a0000
	ABSENT(code_qualname);
	OFFSET(code_linetable, PyCodeObject, co_linetable);
	OFFSET(code_code, PyCodeObject, co_code);
	ABSENT(code_adaptive);
	ABSENT(code_firsttraceable);
	put("line_format", 2);
#else
	ABSENT(code_qualname);
	OFFSET(code_linetable, PyCodeObject, co_lnotab);
	OFFSET(code_code, PyCodeObject, co_code);
	ABSENT(code_adaptive);
	ABSENT(code_firsttraceable);
	put("line_format", 1);
#endif
	OFFSET(function_code, PyFunctionObject, func_code);
	OFFSET(function_qualname, PyFunctionObject, func_qualname);
	OFFSET(method_function, PyMethodObject, im_func);
	OFFSET(wrapper_wrapped, struct wrapper_object, wrapped);
#if PY_VERSION_HEX >= 0x030b0000 /* the code object has its qualified name */
	ABSENT(generator_code);
	ABSENT(generator_qualname);
	ABSENT(code_consts);
	ABSENT(op_load_const);
	ABSENT(op_make_function);
	ABSENT(op_extended_arg);
#else
	OFFSET(code_consts, PyCodeObject, co_consts);
	put("op_load_const", LOAD_CONST);
	put("op_make_function", MAKE_FUNCTION);
	put("op_extended_arg", EXTENDED_ARG);
	OFFSET(generator_code, PyGenObject, gi_code);
	OFFSET(generator_qualname, PyGenObject, gi_qualname);
#endif
}

static void print_unicode(void)
{
	PyASCIIObject o;
	unsigned bits;
	OFFSET(unicode_length, PyASCIIObject, length);
	OFFSET(unicode_hash, PyASCIIObject, hash);
	OFFSET(unicode_state, PyASCIIObject, state);
#define SHIFT(name, member, ones)                                                                \
	(memset(&o, 0, sizeof(o)), o.state.member = ones, memcpy(&bits, &o.state, sizeof(bits)), \
	 put(name, __builtin_ctz(bits)))
	SHIFT("unicode_kind_shift", kind, 7);
	SHIFT("unicode_compact_shift", compact, 1);
	SHIFT("unicode_ascii_shift", ascii, 1);
	put("unicode_ascii_size", (long)sizeof(PyASCIIObject));
	put("unicode_compact_size", (long)sizeof(PyCompactUnicodeObject));
}

static void print_dict(void)
{
	OFFSET(dict_keys, PyDictObject, ma_keys);
	OFFSET(dict_values, PyDictObject, ma_values);
#if PY_VERSION_HEX >= 0x030b0000
	ABSENT(keys_size);
	OFFSET(keys_log2_index_bytes, struct _dictkeysobject, dk_log2_index_bytes);
	OFFSET(keys_kind, struct _dictkeysobject, dk_kind);
	OFFSET(keys_nentries, struct _dictkeysobject, dk_nentries);
	OFFSET(keys_indices, struct _dictkeysobject, dk_indices);
	OFFSET(values_first, struct _dictvalues, values);
#else
	OFFSET(keys_size, struct dict_keys, dk_size);
	ABSENT(keys_log2_index_bytes);
	ABSENT(keys_kind);
	OFFSET(keys_nentries, struct dict_keys, dk_nentries);
	OFFSET(keys_indices, struct dict_keys, dk_indices);
	put("values_first", 0);
#endif
	/* Where an instance keeps its attributes: pycore_object.h (_PyObject_ValuesPointer,
	 * _PyDictOrValues_IsValues, _PyObject_InlineValues); these are functions, so the numbers are theirs.
	 */
#if PY_VERSION_HEX >= 0x030d0000
	put("attributes", 4);
	put("managed_dict", MANAGED_DICT_OFFSET);
	OFFSET(values_valid, struct _dictvalues, valid);
#elif PY_VERSION_HEX >= 0x030c0000
	put("attributes", 3);
	put("managed_dict", -3 * (long)sizeof(PyObject *));
	ABSENT(values_valid);
#elif PY_VERSION_HEX >= 0x030b0000
	put("attributes", 2);
	put("managed_dict", MANAGED_DICT_OFFSET);
	ABSENT(values_valid);
#else
	put("attributes", 1);
	put("managed_dict", 0);
	ABSENT(values_valid);
#endif
}

static void print_objects(void)
{
	OFFSET(object_type, PyObject, ob_type);
#ifdef Py_GIL_DISABLED
	ABSENT(object_refcnt);
#else
	OFFSET(object_refcnt, PyObject, ob_refcnt);
#endif
	OFFSET(object_size, PyVarObject, ob_size);
	put("object_head", (long)sizeof(PyObject));
	OFFSET(type_basicsize, PyTypeObject, tp_basicsize);
	OFFSET(type_flags, PyTypeObject, tp_flags);
	OFFSET(type_dictoffset, PyTypeObject, tp_dictoffset);
	OFFSET(type_dict, PyTypeObject, tp_dict);
	OFFSET(type_mro, PyTypeObject, tp_mro);
	OFFSET(type_cached_keys, PyHeapTypeObject, ht_cached_keys);
	OFFSET(tuple_items, PyTupleObject, ob_item);
	OFFSET(bytes_data, PyBytesObject, ob_sval);
	OFFSET(module_dict, module_object, md_dict);
#if PY_VERSION_HEX >= 0x030c0000
	OFFSET(int_size, struct _longobject, long_value.lv_tag);
	put("int_size_shift", 3); /* pycore_long.h: NON_SIZE_BITS */
	OFFSET(int_digits, struct _longobject, long_value.ob_digit);
#else
	OFFSET(int_size, PyVarObject, ob_size);
	put("int_size_shift", 0);
	OFFSET(int_digits, struct _longobject, ob_digit);
#endif
}

/* What a frame's variables and a code's names are called, and the objects that contain a lock. */
static void print_names(void)
{
	OFFSET(code_names, PyCodeObject, co_names);
	OFFSET(code_stacksize, PyCodeObject, co_stacksize);
#if PY_VERSION_HEX >= 0x030b0000
	OFFSET(code_nlocalsplus, PyCodeObject, co_nlocalsplus);
	OFFSET(code_localsplusnames, PyCodeObject, co_localsplusnames);
	ABSENT(code_varnames);
	ABSENT(code_cellvars);
	ABSENT(code_freevars);
#else
	ABSENT(code_nlocalsplus);
	ABSENT(code_localsplusnames);
	OFFSET(code_varnames, PyCodeObject, co_varnames);
	OFFSET(code_cellvars, PyCodeObject, co_cellvars);
	OFFSET(code_freevars, PyCodeObject, co_freevars);
#endif
	OFFSET(cell_ref, PyCellObject, ob_ref);
	OFFSET(cfunction_self, PyCFunctionObject, m_self);
	OFFSET(cfunction_method, PyCFunctionObject, m_ml);
	OFFSET(descriptor_method, PyMethodDescrObject, d_method);
#if PY_VERSION_HEX >= 0x030b0000
	OFFSET(code_exceptiontable, PyCodeObject, co_exceptiontable);
	ABSENT(frame_iblock);
	ABSENT(frame_blockstack);
	ABSENT(op_setup_with);
	put("op_with_except_start", WITH_EXCEPT_START);
#else
	ABSENT(code_exceptiontable);
	OFFSET(frame_iblock, PyFrameObject, f_iblock);
	OFFSET(frame_blockstack, PyFrameObject, f_blockstack);
	put("op_setup_with", SETUP_WITH);
	ABSENT(op_with_except_start);
#endif
	OFFSET(list_items, PyListObject, ob_item);
	OFFSET(type_name, PyTypeObject, tp_name);
	OFFSET(member_definition, PyMemberDescrObject, d_member);
	OFFSET(definition_name, PyMemberDef, name);
	OFFSET(definition_offset, PyMemberDef, offset);
}

static void print_locks(void)
{
	OFFSET(lock_lock, lock_object, lock_lock);
#if PY_VERSION_HEX < 0x030e0000
	OFFSET(rlock_lock, rlock_object, rlock_lock);
	OFFSET(rlock_owner, rlock_object, rlock_owner);
	OFFSET(rlock_count, rlock_object, rlock_count);
#else
	OFFSET(rlock_lock, rlock_object, lock);
	OFFSET(rlock_owner, rlock_object, lock.thread);
	ABSENT(rlock_count); /* once free it has no owner */
#endif
	OFFSET(semlock_handle, semlock_object, handle);
	OFFSET(buffered_lock, buffered_object, lock);
	OFFSET(buffered_owner, buffered_object, owner);
	OFFSET(textio_buffer, textio_object, buffer);
	OFFSET(simplequeue_lock, simplequeue_object, lock);
#if PY_VERSION_HEX >= 0x030d0000
	OFFSET(parked_address, struct wait_entry, addr);
	OFFSET(parked_semaphore, struct wait_entry, sema);
#else
	ABSENT(parked_address);
	ABSENT(parked_semaphore);
#endif
}

/* What only a build without the GIL has: pauses of all threads (Python/pystate.c, stop_the_world), and a lock
 * in every object. */
static void print_world(void)
{
#ifdef Py_GIL_DISABLED
	OFFSET(runtime_world, _PyRuntimeState, stoptheworld);
	OFFSET(interp_world, PyInterpreterState, stoptheworld);
	OFFSET(world_event, struct _stoptheworld_state, stop_event);
	OFFSET(world_requester, struct _stoptheworld_state, requester);
	OFFSET(tstate_state, PyThreadState, state);
	OFFSET(object_mutex, PyObject, ob_mutex);
#else
	ABSENT(runtime_world);
	ABSENT(interp_world);
	ABSENT(world_event);
	ABSENT(world_requester);
	ABSENT(tstate_state);
	ABSENT(object_mutex);
#endif
}

/* Where _Py_DebugOffsets, which a live process publishes, keeps the same offsets (3.13 and later). */
static void print_debug(void)
{
#if PY_VERSION_HEX >= 0x030d0000
	put("debug_size", (long)sizeof(_Py_DebugOffsets));
#define DEBUG(name, member) OFFSET(debug_##name, _Py_DebugOffsets, member)
	DEBUG(version, version);
	DEBUG(free_threaded, free_threaded);
#else
	put("debug_size", 0);
#define DEBUG(name, member) ABSENT(debug_##name)
	DEBUG(version, );
	DEBUG(free_threaded, );
#endif
	DEBUG(runtime_interpreters_head, runtime_state.interpreters_head);
	DEBUG(interp_next, interpreter_state.next);
	DEBUG(interp_threads, interpreter_state.threads_head);
	DEBUG(interp_modules, interpreter_state.imports_modules);
	DEBUG(interp_gil, interpreter_state.ceval_gil);
	DEBUG(interp_gc, interpreter_state.gc);
	DEBUG(gc_size, gc.size);
	DEBUG(gc_collecting, gc.collecting);
	DEBUG(tstate_size, thread_state.size);
	DEBUG(tstate_next, thread_state.next);
	DEBUG(tstate_interp, thread_state.interp);
	DEBUG(tstate_current_frame, thread_state.current_frame);
	DEBUG(tstate_thread_id, thread_state.thread_id);
	DEBUG(tstate_native_thread_id, thread_state.native_thread_id);
	DEBUG(tstate_datastack_chunk, thread_state.datastack_chunk);
	DEBUG(frame_back, interpreter_frame.previous);
	DEBUG(frame_code, interpreter_frame.executable);
	DEBUG(frame_instruction, interpreter_frame.instr_ptr);
	DEBUG(frame_owner, interpreter_frame.owner);
	DEBUG(code_filename, code_object.filename);
	DEBUG(code_name, code_object.name);
	DEBUG(code_qualname, code_object.qualname);
	DEBUG(code_linetable, code_object.linetable);
	DEBUG(code_firstlineno, code_object.firstlineno);
	DEBUG(code_adaptive, code_object.co_code_adaptive);
	DEBUG(object_type, pyobject.ob_type);
#if PY_VERSION_HEX < 0x030e0000 || !defined(Py_GIL_DISABLED)
#undef DEBUG
#define DEBUG(name, member) ABSENT(debug_##name)
#endif
	DEBUG(frame_tlbc_index, interpreter_frame.tlbc_index);
	DEBUG(code_tlbc, code_object.co_tlbc);
}

int main(void)
{
	printf("{\n\t.minor = %d,\n", PY_MINOR_VERSION);
#ifdef Py_GIL_DISABLED
	printf("\t.free_threaded = 1,\n");
#else
	printf("\t.free_threaded = 0,\n");
#endif
	print_runtime();
	print_collector();
	print_thread();
	print_frame();
	print_code();
	print_unicode();
	print_dict();
	print_objects();
	print_names();
	print_locks();
	print_world();
	print_debug();
	printf("},\n");
	return 0;
}
