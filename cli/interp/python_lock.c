/* SPDX-License-Identifier: MIT
 *
 * What a lock is called. A thread that waits stands still, so the frame that called the wait still has the
 * lock object among its values: that object is found by the address that it contains, which is exact. Then
 * the frames outwards tell how the program calls it: in the library's own frames (Condition.wait in
 * Queue.get) whoever contains it is taken in its place, in the first frame of anybody else's it is sought
 * among the globals, the attributes of what the variables and the names in the code lead to, and the
 * variables. The objects: Modules/_threadmodule.c, _queuemodule.c, _multiprocessing/semaphore.c,
 * _io/bufferedio.c; the library's: Lib/threading.py, queue.py, logging/__init__.py, importlib/_bootstrap.py.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cli/interp/python_lock.h"
#include "cli/util.h"

#define FRAMES_MAX 16
#define HUNT_NS (NS / 50) /* some 100 us do, unless the target is out to keep us busy */

struct kind {
	const char *type, *word;
	size_t offset, owner, count; /* in struct python_layout; 0: none */
	bool nobody;
};
#define AT(field) offsetof(struct python_layout, field)
static const struct kind kinds[] = {
	{"_thread.lock", "threading.Lock", AT(lock_lock), 0, 0, false},
	{"_thread.RLock", "threading.RLock", AT(rlock_lock), AT(rlock_owner), AT(rlock_count), false},
	{"_queue.SimpleQueue", "queue.SimpleQueue", AT(simplequeue_lock), 0, 0, true},
	{"_multiprocessing.SemLock", "multiprocessing.Lock", AT(semlock_handle), 0, 0, false},
	{"_io.BufferedWriter", "io.BufferedWriter", AT(buffered_lock), AT(buffered_owner), 0, false},
	{"_io.BufferedReader", "io.BufferedReader", AT(buffered_lock), AT(buffered_owner), 0, false},
	{"_io.BufferedRandom", "io.BufferedRandom", AT(buffered_lock), AT(buffered_owner), 0, false},
};

static int offset_of(const struct python_layout *l, size_t field)
{
	int offset = -1;
	if (field)
		memcpy(&offset, (const char *)l + field, sizeof(offset));
	return offset;
}

/* Is its class of that name? The name is C's own, in full. */
static bool type_is(struct interp *py, uint64_t object, const char *name)
{
	uint64_t type, at;
	char text[64];
	return !python_pointer(py, object + (uint64_t)py->layout.object_type, &type) &&
	       !python_pointer(py, type + (uint64_t)py->layout.type_name, &at) &&
	       !mem_string(py->pid, at, text, sizeof(text)) && !strcmp(text, name);
}

/* --- the lock object --- */

/* Does an object have the lock where it has `word`: its address, or the lock itself? */
static bool has_lock(const struct hunt *h, uint64_t where, uint64_t word)
{
	return word == h->address || (h->parked && (word == h->parked || where == h->parked));
}

static const struct kind *kind_of(struct hunt *h, uint64_t object)
{
	for (size_t i = 0; i < LENGTH(kinds); i++) {
		uint64_t at;
		int offset = offset_of(&h->py->layout, kinds[i].offset);
		if (offset >= 0 && !python_pointer(h->py, object + (uint64_t)offset, &at) &&
		    has_lock(h, object + (uint64_t)offset, at) && type_is(h->py, object, kinds[i].type))
			return &kinds[i];
	}
	return NULL;
}

/* A file's buffer has a lock too. */
static bool file_matches(struct hunt *h, uint64_t file)
{
	uint64_t buffer = file;
	if (h->py->layout.textio_buffer < 0 || !file)
		return false;
	if (type_is(h->py, file, "_io.TextIOWrapper") &&
	    python_pointer(h->py, file + (uint64_t)h->py->layout.textio_buffer, &buffer))
		return false;
	h->kind = kind_of(h, buffer);
	h->lock = buffer;
	h->object = file;
	return h->kind;
}

static bool files_match(struct hunt *h, const struct python_scope *scope)
{
	static const char *const names[] = {"stdout", "stderr"};
	for (int i = 0; i < scope->items; i++)
		if (file_matches(h, scope->item[i]))
			return true;
	for (int i = 0; i < scope->variables; i++)
		if (file_matches(h, scope->value[i]))
			return true;
	for (size_t i = 0; i < LENGTH(names); i++) {
		uint64_t file;
		if (python_module_value(h->py, "sys", names[i], &file) || !file_matches(h, file))
			continue;
		snprintf(h->name, sizeof(h->name), "sys.%s", names[i]);
		h->rank = RANK_GLOBAL;
		return true;
	}
	return false;
}

/* Some of these objects may contain the lock: those that have its address where one of the kinds has it. */
static bool objects_match(struct hunt *h, const uint64_t *object, int n)
{
	static unsigned char head[SCOPE_MAX][PYTHON_HEAD]; /* one thread looks */
	const struct python_layout *l = &h->py->layout;
	size_t size = (size_t)l->object_head + 16;
	python_heads(h->py, object, n, head);
	for (int i = 0; i < n; i++) {
		h->lock = h->object = object[i];
		for (size_t k = 0; k < LENGTH(kinds); k++) {
			int offset = offset_of(l, kinds[k].offset);
			if (offset < 0 || (size_t)offset + 8 > size ||
			    !has_lock(h, object[i] + (uint64_t)offset, python_u64(head[i], offset)))
				continue;
			h->kind = kind_of(h, object[i]);
			if (h->kind)
				return true;
		}
		if (python_u64(head[i], l->object_type) != h->py->at.cfunction || !h->py->at.cfunction)
			continue;
		h->lock = h->object = python_u64(head[i], l->cfunction_self); /* lock.__exit__, bound */
		h->kind = h->lock ? kind_of(h, h->lock) : NULL;
		if (h->kind)
			return true;
	}
	return false;
}

static bool lock_find(struct hunt *h, const struct python_scope *scope)
{
	return objects_match(h, scope->item, scope->items) ||
	       objects_match(h, scope->value, scope->variables) || files_match(h, scope);
}

/* --- frames --- */

/* 0: none of that name. */
static uint64_t variable(struct hunt *h, const struct python_scope *scope, const char *name)
{
	char text[64];
	for (int i = 0; i < scope->variables; i++)
		if (!python_string(h->py, scope->name[i], text, sizeof(text)) && !strcmp(text, name))
			return scope->value[i];
	return 0;
}

static bool class_is(struct hunt *h, uint64_t object, const char *name)
{
	char is[PYTHON_NAME], module[PYTHON_NAME];
	return object && !python_class(h->py, object, is, module, sizeof(is)) && !strcmp(is, name);
}

static void owner_set(struct hunt *h, uint64_t pthread)
{
	h->out->owner.pthread = pthread;
	int i = python_thread_find(h->py, h->out->owner);
	if (i >= 0)
		python_thread_identify(h->py, h->py->states + (size_t)i * (size_t)h->py->layout.tstate_size,
				       &h->out->owner);
}

static void owner_attribute(struct hunt *h, uint64_t object, const char *name)
{
	uint64_t value, ident;
	if (!python_attribute(h->py, object, name, &value) && !python_integer(h->py, value, &ident))
		owner_set(h, ident);
}

/* Locks that are better known by what they do. True: named. */
static bool frame_special(struct hunt *h, const struct python_scope *scope, const struct frame *frame)
{
	uint64_t self = variable(h, scope, "self"), name;
	char text[PYTHON_NAME], module[PYTHON_NAME];
	const char *module_of = frame->module ? frame->module : "", *file = frame->file ? frame->file : "";
	const char *function = frame->function ? frame->function : "";
	const char *dot = strrchr(function, '.');
	if (strstr(file, "importlib._bootstrap>") && class_is(h, self, "_ModuleLock")) {
		if (python_attribute(h->py, self, "name", &name) ||
		    python_string(h->py, name, text, sizeof(text)))
			return false;
		snprintf(h->whole, sizeof(h->whole), "import lock of \"%s\"", text);
		owner_attribute(h, self, "owner");
		return true;
	}
	if (!strcmp(module_of, "logging") && self &&
	    !python_field(h->py, self, h->object, text, sizeof(text)) && !strcmp(text, ".lock") &&
	    !python_class(h->py, self, text, module, sizeof(text))) {
		snprintf(h->whole, sizeof(h->whole), "logging handler lock (%s)", text);
		return true;
	}
	if (!strcmp(module_of, "threading") && !strcmp(dot ? dot + 1 : function, "_wait_for_tstate_lock")) {
		h->out->ends = true;
		owner_attribute(h, self, "_ident");
		return true;
	}
	return false;
}

/* A frame of the standard library. True: named. */
static bool frame_library(struct hunt *h, const struct python_scope *scope, const struct frame *frame)
{
	uint64_t self = variable(h, scope, "self");
	if (frame_special(h, scope, frame))
		return true;
	if (self == h->object)
		return false;
	if (python_synchronizes(frame->module)) {
		if (self)
			hunt_climb(h, self);
		return false;
	}
	return hunt_scope(h, scope, frame) && h->rank >= RANK_FIELD;
}

static void hunt_frames(struct hunt *h, const struct stack *stack, const struct python_frame *frame, int n)
{
	static struct python_scope scope; /* large; one thread looks */
	bool named = h->rank == RANK_GLOBAL;
	for (int i = 0; i < n && !named && now_ns() < h->until; i++) {
		if (!python_scope_read(h->py, &frame[i], &scope))
			named = stack->at[i].origin == ORIGIN_RUNTIME
					? frame_library(h, &scope, &stack->at[i])
					: hunt_scope(h, &scope, &stack->at[i]) && h->rank >= RANK_FIELD;
		python_scope_free(&scope);
	}
}

/* --- */

static void owner_read(struct hunt *h)
{
	const struct python_layout *l = &h->py->layout;
	int owner = offset_of(l, h->kind->owner), count = offset_of(l, h->kind->count);
	uint64_t ident = 0, held = 1;
	if (owner < 0 || python_pointer(h->py, h->lock + (uint64_t)owner, &ident))
		return;
	if (count >= 0 && python_pointer(h->py, h->lock + (uint64_t)count, &held))
		return;
	if (held && ident)
		owner_set(h, ident);
}

/* threading.Semaphore, which waits for a condition of its own. */
static bool is_semaphore(struct hunt *h)
{
	return class_is(h, h->object, "Semaphore") || class_is(h, h->object, "BoundedSemaphore");
}

/* The lock that guards the table of the import locks is in no object. */
static bool is_import_lock(const struct frame *frame)
{
	static const char *const functions[] = {"_get_module_lock", "cb", "__enter__"};
	const char *function = frame->function ? frame->function : "", *dot = strrchr(function, '.');
	if (!frame->file || !strstr(frame->file, "importlib._bootstrap>"))
		return false;
	for (size_t i = 0; i < LENGTH(functions); i++)
		if (!strcmp(dot ? dot + 1 : function, functions[i]))
			return true;
	return false;
}

/* Python/parking_lot.c: the semaphore is part of what tells the address. */
static void parked_read(struct hunt *h)
{
	const struct python_layout *l = &h->py->layout;
	if (l->parked_address < 0 ||
	    python_pointer(h->py, h->address + (uint64_t)(l->parked_address - l->parked_semaphore),
			   &h->parked))
		h->parked = 0;
}

/* From 3.13 on a thread's end is told by an event in no object of Python's. */
static bool is_join(struct hunt *h, const struct python_scope *scope, const struct frame *frame)
{
	uint64_t self = variable(h, scope, "self");
	const char *function = frame->function ? frame->function : "", *dot = strrchr(function, '.');
	if (!h->parked || !self || strcmp(frame->module ? frame->module : "", "threading") ||
	    strcmp(dot ? dot + 1 : function, "join"))
		return false;
	h->out->ends = true;
	owner_attribute(h, self, "_ident");
	return true;
}

int python_lock_look(struct interp *py, struct interp_thread waiter, uint64_t address,
		     struct interp_waited *out)
{
	static struct stack stack; /* large; one thread looks */
	static struct python_scope scope;
	struct python_frame frame[FRAMES_MAX];
	struct hunt h = {.py = py, .address = address, .out = out, .until = now_ns() + HUNT_NS};
	*out = (struct interp_waited){0};
	if (!address || py->layout.lock_lock < 0)
		return -ENOENT;
	parked_read(&h);
	if (h.parked && !python_world_look(py, waiter, h.parked, out))
		return 0;
	int e = python_stack(py, waiter, &stack);
	int n = e ? 0 : python_frames(py, frame, FRAMES_MAX);
	if (n > stack.n)
		n = stack.n;
	if (!n)
		return e ? e : -ENOENT;
	e = python_scope_read(py, &frame[0], &scope);
	bool found = !e && lock_find(&h, &scope);
	bool ends = !e && !found && is_join(&h, &scope, &stack.at[0]);
	bool signal = found && !strcmp(stack.at[0].module ? stack.at[0].module : "", "threading") &&
		      variable(&h, &scope, "waiter") == h.lock;
	python_scope_free(&scope);
	if (e || ends)
		return e;
	if (!found && is_import_lock(&stack.at[0])) {
		snprintf(out->name, sizeof(out->name), "global import lock");
		return 0;
	}
	if (!found)
		return h.parked ? python_object_lock(py, h.parked, out) : -ENOENT;
	snprintf(h.word, sizeof(h.word), "%s", h.kind->word);
	out->nobody = h.kind->nobody || signal;
	out->object = h.lock;
	owner_read(&h);
	hunt_frames(&h, &stack, frame, n);
	if (out->nobody && is_semaphore(&h) && !python_semaphore_within(py, h.object, &out->owner))
		out->nobody = false; /* it works as a lock */
	if (h.whole[0] || out->ends)
		snprintf(out->name, sizeof(out->name), "%s", h.whole);
	else if (h.rank)
		snprintf(out->name, sizeof(out->name), "%.100s \"%.140s\"", h.word, h.name);
	else
		snprintf(out->name, sizeof(out->name), "%.200s", h.word);
	return 0;
}
