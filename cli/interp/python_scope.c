/* SPDX-License-Identifier: MIT
 *
 * What a frame can name and what an object keeps (python_scope.h). A frame's variables:
 * Objects/frameobject.c, PyFrame_FastToLocals (to 3.10: variables, cells, free variables, then the values
 * under way), and Include/internal/pycore_frame.h (localsplus). The classes of an object and their slots:
 * Objects/typeobject.c, Include/descrobject.h.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cli/interp/python_scope.h"
#include "cli/util.h"

#define GLOBALS_MAX 16384
#define CLASS_MAX 1024 /* entries of a class's dictionary */
#define MRO_MAX 16     /* classes of an object */
#define SLOTS_MAX 64   /* slots of a class */
#define ITEMS_MAX 1024 /* of a list, tuple or dict */
#define INSTANCE 512   /* bytes of an instance that may be slots */
#define CODE_HEAD 256  /* bytes of a code object that we look at */
#define NAME 128
#define BATCH 64

/* Py_TPFLAGS_*, Include/object.h; the same in every version */
#define FLAG_HEAPTYPE (1ull << 9)
#define FLAG_LIST (1ull << 25)
#define FLAG_TUPLE (1ull << 26)
#define FLAG_DICT (1ull << 29)
#define FLAG_TYPE (1ull << 31)

void python_heads(struct interp *py, const uint64_t *object, int n, unsigned char (*head)[PYTHON_HEAD])
{
	struct mem_part part[BATCH];
	size_t size = (size_t)py->layout.object_head + 16;
	memset(head, 0, (size_t)n * PYTHON_HEAD);
	for (int from = 0; from < n; from += BATCH) {
		int count = n - from < BATCH ? n - from : BATCH;
		for (int i = 0; i < count; i++)
			part[i] = (struct mem_part){object[from + i], head[from + i], size};
		/* one that cannot be read spoils the batch: then each by itself */
		if (!mem_read_parts(py->pid, part, count))
			continue;
		for (int i = 0; i < count; i++)
			if (!object[from + i] || mem_read(py->pid, object[from + i], head[from + i], size))
				memset(head[from + i], 0, PYTHON_HEAD);
	}
}

/* The items of a tuple, at most max. How many, or -errno. */
static int tuple_read(struct interp *py, uint64_t tuple, uint64_t *item, int max)
{
	uint64_t n;
	int e = python_check(py, tuple, py->at.tuple);
	if (!e)
		e = python_pointer(py, tuple + (uint64_t)py->layout.object_size, &n);
	if (e)
		return e;
	if (n > (uint64_t)max)
		n = (uint64_t)max;
	e = n ? mem_read(py->pid, tuple + (uint64_t)py->layout.tuple_items, item, n * 8) : 0;
	return e ? e : (int)n;
}

/* --- frames --- */

/* Variables' names in the order of their slots. */
static int variables_read(struct interp *py, const unsigned char *code, uint64_t *name)
{
	const struct python_layout *l = &py->layout;
	if (l->code_localsplusnames >= 0)
		return tuple_read(py, python_u64(code, l->code_localsplusnames), name, SCOPE_MAX);
	int n = 0;
	const int lists[] = {l->code_varnames, l->code_cellvars, l->code_freevars};
	for (size_t i = 0; i < LENGTH(lists) && n >= 0; i++) {
		int got = tuple_read(py, python_u64(code, lists[i]), name + n, SCOPE_MAX - n);
		n = got < 0 ? got : n + got;
	}
	return n;
}

static void cells_open(struct interp *py, uint64_t *value, int n)
{
	static unsigned char head[SCOPE_MAX][PYTHON_HEAD]; /* one thread looks */
	python_heads(py, value, n, head);
	for (int i = 0; i < n; i++)
		if (python_u64(head[i], py->layout.object_type) == py->at.cell && py->at.cell)
			value[i] = python_u64(head[i], py->layout.cell_ref);
}

int python_scope_read(struct interp *py, const struct python_frame *frame, struct python_scope *out)
{
	const struct python_layout *l = &py->layout;
	unsigned char code[CODE_HEAD];
	uint64_t slot[2 * SCOPE_MAX], name[SCOPE_MAX];
	memset(out, 0, sizeof(*out));
	int e = python_check(py, frame->code, py->at.code);
	if (!e)
		e = mem_read(py->pid, frame->code, code,
			     (size_t)(l->code_adaptive >= 0 ? l->code_adaptive : l->code_linetable + 8));
	if (e)
		return e;
	int variables = variables_read(py, code, name), items = python_i32(code, l->code_stacksize);
	if (variables < 0 || items < 0)
		return variables < 0 ? variables : -EAGAIN;
	if (items > SCOPE_MAX)
		items = SCOPE_MAX;
	uint64_t at = frame->at + (uint64_t)(l->frame_locals >= 0 ? l->frame_locals : l->frame_size);
	e = variables + items ? mem_read(py->pid, at, slot, (size_t)(variables + items) * 8) : 0;
	if (e)
		return e;
	for (int i = 0; i < variables + items; i++)
		slot[i] &= ~3ull; /* 3.14: _PyStackRef's tag bits */
	cells_open(py, slot, variables);
	for (int i = 0; i < variables; i++) {
		if (!slot[i])
			continue;
		out->name[out->variables] = name[i];
		out->value[out->variables++] = slot[i];
	}
	for (int i = 0; i < items; i++)
		if (slot[variables + i])
			out->item[out->items++] = slot[variables + i];
	int names = tuple_read(py, python_u64(code, l->code_names), out->used, SCOPE_MAX);
	out->names = names > 0 ? names : 0;
	python_dict_read(py, frame->globals, GLOBALS_MAX, &out->globals); /* exec() takes other mappings */
	return 0;
}

void python_scope_free(struct python_scope *scope)
{
	python_dict_free(&scope->globals);
}

bool python_scope_uses(const struct python_scope *scope, uint64_t name)
{
	for (int i = 0; i < scope->names; i++)
		if (scope->used[i] == name)
			return true;
	return false;
}

/* --- classes --- */

struct class
{
	uint64_t address, flags, basicsize;
};

static int class_of(struct interp *py, uint64_t object, struct class *out)
{
	const struct python_layout *l = &py->layout;
	int e = python_pointer(py, object + (uint64_t)l->object_type, &out->address);
	if (!e)
		e = python_pointer(py, out->address + (uint64_t)l->type_flags, &out->flags);
	return e ? e : python_pointer(py, out->address + (uint64_t)l->type_basicsize, &out->basicsize);
}

/* The dictionary of one class; of those made in C there is nothing to find. */
static int class_dict(struct interp *py, uint64_t class, struct python_dict *out)
{
	uint64_t flags, dict;
	*out = (struct python_dict){0};
	int e = python_pointer(py, class + (uint64_t)py->layout.type_flags, &flags);
	if (!e && !(flags & FLAG_HEAPTYPE))
		return -ENOENT;
	if (!e)
		e = python_pointer(py, class + (uint64_t)py->layout.type_dict, &dict);
	return e ? e : python_dict_read(py, dict, CLASS_MAX, out);
}

static int classes_read(struct interp *py, uint64_t class, uint64_t *base)
{
	uint64_t mro;
	int e = python_pointer(py, class + (uint64_t)py->layout.type_mro, &mro);
	return e ? e : tuple_read(py, mro, base, MRO_MAX);
}

int python_class(struct interp *py, uint64_t object, char *name, char *module, size_t size)
{
	const struct python_layout *l = &py->layout;
	struct class class;
	struct python_dict all = {0};
	uint64_t at, value;
	char text[NAME];
	name[0] = module[0] = 0;
	int e = class_of(py, object, &class);
	if (e)
		return e;
	if (class.address == py->at.module) {
		e = python_pointer(py, object + (uint64_t)l->module_dict, &at);
		if (!e)
			e = python_dict_read(py, at, GLOBALS_MAX, &all);
		if (!e)
			e = python_dict_find(py, &all, "__name__", &value);
		python_dict_free(&all);
		return e ? e : python_string(py, value, module, size);
	}
	uint64_t of = class.flags & FLAG_TYPE ? object : class.address;
	e = python_pointer(py, of + (uint64_t)l->type_name, &at);
	if (!e)
		e = mem_string(py->pid, at, text, sizeof(text));
	if (e)
		return e;
	char *dot = strrchr(text, '.');
	snprintf(name, size, "%s", dot ? dot + 1 : text);
	if (dot) /* made in C */
		snprintf(module, size, "%.*s", (int)(dot - text), text);
	else if (!class_dict(py, of, &all) && !python_dict_find(py, &all, "__module__", &value) &&
		 python_string(py, value, module, size))
		module[0] = 0;
	python_dict_free(&all);
	return 0;
}

/* --- fields --- */

/* The key of a value, NULL object: none. */
static uint64_t key_of(const struct python_dict *dict, uint64_t value)
{
	for (int i = 0; i < dict->n; i++)
		if (dict->value[i] == value)
			return dict->key[i];
	return 0;
}

static int attribute_write(struct interp *py, uint64_t key, char *buf, size_t size)
{
	char text[NAME];
	int e = key ? python_string(py, key, text, sizeof(text)) : -ENOENT;
	if (!e)
		snprintf(buf, size, ".%s", text);
	return e;
}

static int key_write(struct interp *py, uint64_t key, char *buf, size_t size)
{
	char text[NAME];
	uint64_t number;
	if (!key)
		return -ENOENT;
	if (!python_string(py, key, text, sizeof(text)))
		snprintf(buf, size, "['%s']", text);
	else if (!python_integer(py, key, &number))
		snprintf(buf, size, "[%llu]", (unsigned long long)number);
	else
		snprintf(buf, size, "[...]");
	return 0;
}

static int items_find(struct interp *py, uint64_t object, bool list, uint64_t value, char *buf, size_t size)
{
	const struct python_layout *l = &py->layout;
	uint64_t n, at = object + (uint64_t)l->tuple_items, item[ITEMS_MAX];
	int e = python_pointer(py, object + (uint64_t)l->object_size, &n);
	if (!e && list)
		e = python_pointer(py, object + (uint64_t)l->list_items, &at);
	if (n > ITEMS_MAX)
		n = ITEMS_MAX;
	if (!e && n)
		e = mem_read(py->pid, at, item, n * 8);
	for (uint64_t i = 0; i < n && !e; i++)
		if (item[i] == value) {
			snprintf(buf, size, "[%llu]", (unsigned long long)i);
			return 0;
		}
	return e ? e : -ENOENT;
}

/* The name of the slot at this offset: a member_descriptor among the class's entries. */
static int slot_find(struct interp *py, const struct python_dict *all, uint64_t offset, char *buf,
		     size_t size)
{
	const struct python_layout *l = &py->layout;
	static unsigned char head[CLASS_MAX][PYTHON_HEAD]; /* one thread looks */
	int slots = 0;
	python_heads(py, all->value, all->n, head);
	for (int i = 0; i < all->n && slots < SLOTS_MAX; i++) {
		uint64_t definition, at, name;
		char text[NAME];
		if (python_u64(head[i], l->object_type) != py->at.member || !py->at.member)
			continue;
		slots++;
		if (python_pointer(py, all->value[i] + (uint64_t)l->member_definition, &definition) ||
		    python_pointer(py, definition + (uint64_t)l->definition_offset, &at) || at != offset ||
		    python_pointer(py, definition + (uint64_t)l->definition_name, &name) ||
		    mem_string(py->pid, name, text, sizeof(text)))
			continue;
		snprintf(buf, size, ".%s", text);
		return 0;
	}
	return -ENOENT;
}

/* Among what the classes of an instance have; `slot`: its offset if it is a slot of the instance, else 0. */
static int classes_find(struct interp *py, uint64_t class, uint64_t value, uint64_t slot, char *buf,
			size_t size)
{
	uint64_t base[MRO_MAX] = {0};
	int n = classes_read(py, class, base), e = -ENOENT;
	for (int i = 0; i < n && e; i++) {
		struct python_dict all;
		if (class_dict(py, base[i], &all))
			continue;
		e = slot ? slot_find(py, &all, slot, buf, size)
			 : attribute_write(py, key_of(&all, value), buf, size);
		python_dict_free(&all);
	}
	return e;
}

static uint64_t slot_of(struct interp *py, uint64_t object, const struct class *class, uint64_t value)
{
	unsigned char bytes[INSTANCE];
	uint64_t size = class->basicsize < sizeof(bytes) ? class->basicsize & ~7ull : sizeof(bytes);
	if (mem_read(py->pid, object, bytes, size))
		return 0;
	for (uint64_t at = (uint64_t)py->layout.object_head; at + 8 <= size; at += 8)
		if (python_u64(bytes, (int)at) == value)
			return at;
	return 0;
}

static int instance_find(struct interp *py, uint64_t object, const struct class *class, uint64_t value,
			 char *buf, size_t size)
{
	struct python_dict all;
	int e = python_attributes(py, object, &all);
	if (!e)
		e = attribute_write(py, key_of(&all, value), buf, size);
	python_dict_free(&all);
	uint64_t slot = e ? slot_of(py, object, class, value) : 0;
	if (slot)
		e = classes_find(py, class->address, value, slot, buf, size);
	return e ? classes_find(py, class->address, value, 0, buf, size) : 0;
}

bool python_has_fields(struct interp *py, uint64_t object)
{
	struct class class;
	return object && !class_of(py, object, &class) &&
	       (class.address == py->at.module ||
		class.flags & (FLAG_HEAPTYPE | FLAG_TYPE | FLAG_DICT | FLAG_LIST | FLAG_TUPLE));
}

int python_field(struct interp *py, uint64_t object, uint64_t value, char *buf, size_t size)
{
	struct class class;
	struct python_dict all;
	uint64_t dict;
	int e = class_of(py, object, &class);
	if (e)
		return e;
	e = -ENOENT;
	if (class.address == py->at.module) {
		if (!python_pointer(py, object + (uint64_t)py->layout.module_dict, &dict) &&
		    !python_dict_read(py, dict, GLOBALS_MAX, &all)) {
			e = attribute_write(py, key_of(&all, value), buf, size);
			python_dict_free(&all);
		}
		return e;
	}
	if (class.flags & FLAG_TYPE)
		return classes_find(py, object, value, 0, buf, size);
	if (class.flags & FLAG_DICT && !python_dict_read_any(py, object, ITEMS_MAX, &all)) {
		e = key_write(py, key_of(&all, value), buf, size);
		python_dict_free(&all);
	} else if (class.flags & (FLAG_LIST | FLAG_TUPLE)) {
		e = items_find(py, object, class.flags & FLAG_LIST, value, buf, size);
	}
	if (e && class.flags & FLAG_HEAPTYPE)
		e = instance_find(py, object, &class, value, buf, size);
	return e;
}
