/* SPDX-License-Identifier: MIT
 *
 * Private to cli/interp/python*.c: one CPython in one process, and what its parts offer each other.
 * Everything read is copied first, then checked: a pointer to an object counts only once the object's type is
 * the one expected (the types' addresses are known from the symbol table), every loop and length is bounded,
 * and where the target changed meanwhile the answer is -EAGAIN.
 */
#ifndef WHYSTALL_PYTHON_H
#define WHYSTALL_PYTHON_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cli/interp.h"
#include "cli/interp/python_layout.h"
#include "probe/probe.h"

#define PYTHON_INTERPS 256  /* interpreters of a process that we follow */
#define PYTHON_THREADS 4096 /* threads of a process that we follow */
#define PYTHON_TRIES 3	    /* how often something torn is read again */

/* The symbols that must be found with _PyRuntime. */
#define PYTHON_SYMBOLS(SYMBOL)                          \
	SYMBOL(runtime, "_PyRuntime")                   \
	SYMBOL(code, "PyCode_Type")                     \
	SYMBOL(frame, "PyFrame_Type")                   \
	SYMBOL(function, "PyFunction_Type")             \
	SYMBOL(method, "PyMethod_Type")                 \
	SYMBOL(property, "PyProperty_Type")             \
	SYMBOL(classmethod, "PyClassMethod_Type")       \
	SYMBOL(staticmethod, "PyStaticMethod_Type")     \
	SYMBOL(generator, "PyGen_Type")                 \
	SYMBOL(coroutine, "PyCoro_Type")                \
	SYMBOL(async_generator, "PyAsyncGen_Type")      \
	SYMBOL(unicode, "PyUnicode_Type")               \
	SYMBOL(integer, "PyLong_Type")                  \
	SYMBOL(bytes, "PyBytes_Type")                   \
	SYMBOL(tuple, "PyTuple_Type")                   \
	SYMBOL(dict, "PyDict_Type")                     \
	SYMBOL(module, "PyModule_Type")                 \
	SYMBOL(member, "PyMemberDescr_Type")            \
	SYMBOL(list, "PyList_Type")                     \
	SYMBOL(cell, "PyCell_Type")                     \
	SYMBOL(cfunction, "PyCFunction_Type")           \
	SYMBOL(method_descriptor, "PyMethodDescr_Type") \
	SYMBOL(version, "Py_Version")                   \
	SYMBOL(get_version, "Py_GetVersion")

struct python_symbols {
#define SYMBOL(name, symbol) uint64_t name;
	PYTHON_SYMBOLS(SYMBOL)
#undef SYMBOL
};

/* --- python_find.c: which file is the interpreter, and which version? --- */

struct python_found {
	struct python_symbols at; /* addresses in the target; 0: not there */
	int major, minor;	  /* 0: not known */
	bool pypy, narrow;	  /* another Python; a 32-bit one */
	char version[32];	  /* as text, as much as is known: "3.11.2", "3.11" */
};
/* 0 or -ENOENT: no Python is mapped. */
int python_find(pid_t pid, const struct maps *maps, struct python_found *out);

/* --- python_learn.c: where the types are, without symbols --- */

bool python_learns(int minor);
/* From what runs now. 0, or -EAGAIN: nothing yet that would tell. */
int python_learn(struct interp *py);

/* --- python.c --- */

struct python_interp {
	uint64_t address, next, threads, gil, trampoline;
};

struct interp {
	pid_t pid;
	bool namespaced; /* the target counts its threads otherwise than we do */
	struct python_layout layout;
	struct python_symbols at;

	/* the interpreters and threads as last seen; python_refresh checks them in one system call */
	struct python_interp interp[PYTHON_INTERPS];
	int interps;
	uint64_t *thread; /* address of each thread state */
	int *thread_interp;
	int threads, threads_room;
	unsigned char *states; /* their contents, tstate_size bytes each */
	struct mem_part *parts;

	uint64_t active;	  /* threading._active */
	uint64_t active_tried;	  /* when it was last looked for, ns */
	struct python_code *code; /* cache, see python_code.c */
	size_t code_bytes;
	int codes;
	struct python_walk *walk; /* python_frame.c's buffers */
};

/* Brings the lists above up to date: 0, -EAGAIN: they change faster than they can be read, or -errno. */
int python_refresh(struct interp *py);
/* The thread's state in py->thread after a python_refresh, or -ENOENT. */
int python_thread_find(struct interp *py, struct interp_thread thread);
/* The same thread's state in an interpreter that it entered from the one of the state `i`: the next outer one
 * of its, -ENOENT: none. */
int python_thread_outer(struct interp *py, int i);

static inline uint64_t python_u64(const unsigned char *bytes, int offset)
{
	uint64_t v;
	memcpy(&v, bytes + offset, sizeof(v));
	return v;
}
static inline int python_i32(const unsigned char *bytes, int offset)
{
	int v;
	memcpy(&v, bytes + offset, sizeof(v));
	return v;
}

/* --- python_object.c: strings, integers, dictionaries --- */

#define PYTHON_STRING 4096 /* bytes of UTF-8 kept of a string */

int python_pointer(struct interp *py, uint64_t address, uint64_t *out);
/* 0 if the object's type is exactly `type`, else -EAGAIN (or -errno). */
int python_check(struct interp *py, uint64_t object, uint64_t type);
/* A str as UTF-8, cut at size. */
int python_string(struct interp *py, uint64_t object, char *buf, size_t size);
int python_integer(struct interp *py, uint64_t object, uint64_t *out); /* positive, below 2^60 */

struct python_dict {
	uint64_t *key, *value; /* n of each; deleted entries are left out */
	int n;
};
/* At most `max` entries, oldest first. 0 or -errno; free with python_dict_free. */
int python_dict_read(struct interp *py, uint64_t dict, int max, struct python_dict *out);
void python_dict_free(struct python_dict *);
/* The value of a key: 0, -ENOENT, or -errno. By identity for interned keys whose address is known. */
int python_dict_find(struct interp *py, const struct python_dict *, const char *key, uint64_t *value);
int python_dict_find_same(const struct python_dict *, uint64_t key, uint64_t *value);
/* The same of a dict of any class: the caller knows that it is one. */
int python_dict_read_any(struct interp *py, uint64_t dict, int max, struct python_dict *out);
/* All that an instance itself has, as a dict; -ENOENT: nothing. */
int python_attributes(struct interp *py, uint64_t object, struct python_dict *out);
/* obj.name as the instance itself has it, no descriptors. */
int python_attribute(struct interp *py, uint64_t object, const char *name, uint64_t *value);

/* --- python_lines.c: pure --- */

/* The line of the instruction at byte `at` of the code, 0: it has none. */
int python_line(enum python_lines format, const unsigned char *table, size_t size, int first, long at);

/* --- python_code.c: what is known of a code object --- */

struct python_frame {
	uint64_t at, code, back, globals;
	uint64_t instruction; /* address (3.11 on), or the index f_lasti, sign-extended */
	int tlbc;	      /* which copy of the code that address is in; 0: the code object's own */
	bool entry;
};

#define PYTHON_IDENTITY 4 /* reads that tell whether a code object is still the one that we know */
struct python_identity {
	unsigned char code[256];
	unsigned char name[2][24]; /* length and hash of the name and the file name */
};
struct python_code;
/* What is known of the code at this address, NULL: nothing yet. */
struct python_code *python_code_known(struct interp *py, uint64_t address);
/* The reads that check it. Returns how many of the PYTHON_IDENTITY parts it filled. */
int python_code_check(struct interp *py, const struct python_code *, struct python_identity *to,
		      struct mem_part *parts);
bool python_code_same(struct interp *py, const struct python_code *, const struct python_identity *now);
/* Reads it. `frame` and `caller` (may be NULL) help with the qualified name to 3.10. 0 or -errno. */
int python_code_load(struct interp *py, const struct python_frame *frame, const struct python_frame *caller);
/* Where in its code a frame stands, in bytes; -EAGAIN: not within it, or the code is not known. */
int python_frame_at(struct interp *py, const struct python_frame *, long *at);
/* Fills a frame. -EAGAIN: the instruction is not within the code. */
int python_code_frame(struct interp *py, const struct python_code *, const struct python_frame *,
		      struct frame *out);
/* More of the name could still be found (to 3.10). */
bool python_code_wants(const struct python_code *);
/* Code that can never be traced (3.12 on: _Py_InitCleanup): its frame is no frame to Python. */
bool python_code_shim(const struct python_code *);
void python_code_close(struct interp *py);

/* --- python_qualname.c: qualified names where code objects have none (to 3.10) --- */

/* 0, or -ENOENT: nothing that is certain. `name` is co_name's address. */
int python_qualname(struct interp *py, const struct python_frame *frame, const struct python_frame *caller,
		    uint64_t name, char *buf, size_t size);

/* --- python_frame.c, python_thread.c, python_collect.c, python_native.c --- */
int python_stack(struct interp *py, struct interp_thread thread, struct stack *out);
/* The frames that python_stack has just returned, in the same order. How many, at most max. */
int python_frames(struct interp *py, struct python_frame *out, int max);
int python_stack_sampled(struct interp *py, const struct probe_holder *in, struct stack *out);
bool python_frames_layout(struct interp *py, struct probe_frames_layout *out);
void python_stack_close(struct interp *py);
int python_thread_name(struct interp *py, struct interp_thread thread, char *buf, size_t size);
/* A global of a module, of the main interpreter. */
int python_module_value(struct interp *py, const char *module, const char *name, uint64_t *value);
/* The thread in /proc's numbers, from its thread state. */
void python_thread_identify(struct interp *py, const unsigned char *state, struct interp_thread *out);
int python_collects(struct interp *py, struct interp_thread thread, struct interp_collection *out);
enum frame_origin python_native_origin(const char *symbol, const char *module);

/* --- python_world.c: what threads of a free-threaded build park at --- */

/* A pause of all threads. 0, or -ENOENT: that is not what it waits for. */
int python_world_look(struct interp *py, struct interp_thread waiter, uint64_t parked,
		      struct interp_waited *out);
/* An object's own lock. 0, or -ENOENT: not known to be one. */
int python_object_lock(struct interp *py, uint64_t parked, struct interp_waited *out);

/* --- python_lock.c --- */
int python_lock_look(struct interp *py, struct interp_thread waiter, uint64_t address,
		     struct interp_waited *out);
/* python_with.c */
int python_lock_within(struct interp *py, uint64_t lock, struct interp_thread *out, struct frame *taken);
/* The only thread that is in `with semaphore:`. */
int python_semaphore_within(struct interp *py, uint64_t semaphore, struct interp_thread *out);

#endif
