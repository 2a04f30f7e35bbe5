/* SPDX-License-Identifier: MIT
 *
 * To 3.10 a code object has a bare name; the qualified one is with the function or generator that runs it.
 * That is looked for where it must be if it is anywhere cheap: the frame's generator, the caller's value
 * stack (which holds the callable while it is called) and its code, the type of the first argument, the
 * module and its classes. A candidate counts only if it runs this very code object, so what is found is
 * exact; else there is none.
 */
#include "cli/interp/python.h"

#define SLOTS_MAX 256 /* of a caller's locals and value stack */
#define MRO_MAX 32
#define GLOBALS_MAX 8192
#define CLASSES_MAX 512
#define CONSTS_MAX 4096
#define CODE_MAX (64 << 10)
#define FLAG_TYPE_SUBCLASS (1u << 31) /* Py_TPFLAGS_TYPE_SUBCLASS: the object is a class */

struct search {
	struct interp *py;
	uint64_t code, name;
	uint64_t qualname; /* found */
	int classes;	   /* looked into */
};

/* Whether an object is a function with our code, or wraps one. */
static bool candidate(struct search *s, uint64_t object, int depth)
{
	const struct python_layout *l = &s->py->layout;
	const struct python_symbols *at = &s->py->at;
	unsigned char head[128];
	if (!object || object % 8 || mem_read(s->py->pid, object, head, (size_t)l->object_head + 8))
		return false;
	uint64_t type = python_u64(head, l->object_type);
	if (type == at->function) {
		/* which comes first differs */
		int last = l->function_code > l->function_qualname ? l->function_code : l->function_qualname;
		if (mem_read(s->py->pid, object, head, (size_t)last + 8) ||
		    python_u64(head, l->function_code) != s->code)
			return false;
		s->qualname = python_u64(head, l->function_qualname);
		return true;
	}
	int inside = type == at->method ? l->method_function
		     : type && (type == at->property || type == at->classmethod || type == at->staticmethod)
			     ? l->wrapper_wrapped
			     : -1;
	if (inside < 0 || depth > 2 || mem_read(s->py->pid, object, head, (size_t)inside + 8))
		return false;
	return candidate(s, python_u64(head, inside), depth + 1);
}

static bool in_generator(struct search *s, const struct python_frame *frame)
{
	const struct python_layout *l = &s->py->layout;
	unsigned char head[128];
	uint64_t generator;
	if (python_pointer(s->py, frame->at + (uint64_t)l->frame_generator, &generator) || !generator ||
	    mem_read(s->py->pid, generator, head, (size_t)l->generator_qualname + 8))
		return false;
	uint64_t type = python_u64(head, l->object_type);
	if ((type != s->py->at.generator && type != s->py->at.coroutine &&
	     type != s->py->at.async_generator) ||
	    python_u64(head, l->generator_code) != s->code)
		return false;
	s->qualname = python_u64(head, l->generator_qualname);
	return true;
}

/* Unused slots hold what was there before; candidate() believes none of them unseen. */
static bool in_caller(struct search *s, const struct python_frame *caller)
{
	const struct python_layout *l = &s->py->layout;
	uint64_t slots[SLOTS_MAX], n;
	if (!caller || python_pointer(s->py, caller->at + (uint64_t)l->object_size, &n))
		return false;
	if (n > SLOTS_MAX)
		n = SLOTS_MAX;
	if (!n || mem_read(s->py->pid, caller->at + (uint64_t)l->frame_locals, slots, n * 8))
		return false;
	while (n--)
		if (candidate(s, slots[n], 0))
			return true;
	return false;
}

static bool in_dict(struct search *s, uint64_t dict)
{
	struct python_dict all;
	uint64_t value;
	if (python_dict_read(s->py, dict, GLOBALS_MAX, &all))
		return false;
	bool found = !python_dict_find_same(&all, s->name, &value);
	python_dict_free(&all);
	return found && candidate(s, value, 0);
}

/* The classes that `type` inherits from, itself first. */
static bool in_mro(struct search *s, uint64_t type)
{
	const struct python_layout *l = &s->py->layout;
	uint64_t mro, n, bases[MRO_MAX], dict;
	if (python_pointer(s->py, type + (uint64_t)l->type_mro, &mro) || !mro ||
	    python_check(s->py, mro, s->py->at.tuple) ||
	    python_pointer(s->py, mro + (uint64_t)l->object_size, &n))
		return false;
	if (n > MRO_MAX)
		n = MRO_MAX;
	if (!n || mem_read(s->py->pid, mro + (uint64_t)l->tuple_items, bases, n * 8))
		return false;
	for (uint64_t i = 0; i < n; i++)
		if (!python_pointer(s->py, bases[i] + (uint64_t)l->type_dict, &dict) && dict &&
		    in_dict(s, dict))
			return true;
	return false;
}

/* A method's first argument is an instance, or the class itself. */
static bool in_class(struct search *s, const struct python_frame *frame)
{
	const struct python_layout *l = &s->py->layout;
	uint64_t self, type;
	int arguments = 0;
	if (mem_read(s->py->pid, s->code + (uint64_t)l->code_argcount, &arguments, 4) || arguments < 1 ||
	    python_pointer(s->py, frame->at + (uint64_t)l->frame_locals, &self) || !self ||
	    python_pointer(s->py, self + (uint64_t)l->object_type, &type))
		return false;
	return in_mro(s, type) || in_mro(s, self);
}

/* The classes of a module, and those inside them. */
static bool in_classes(struct search *s, uint64_t dict, int depth)
{
	const struct python_layout *l = &s->py->layout;
	struct python_dict all;
	uint64_t type, flags, inner;
	bool found = false;
	if (python_dict_read(s->py, dict, GLOBALS_MAX, &all))
		return false;
	for (int i = 0; i < all.n && !found && s->classes < CLASSES_MAX; i++) {
		if (python_pointer(s->py, all.value[i] + (uint64_t)l->object_type, &type) ||
		    python_pointer(s->py, type + (uint64_t)l->type_flags, &flags) ||
		    !(flags & FLAG_TYPE_SUBCLASS) ||
		    python_pointer(s->py, all.value[i] + (uint64_t)l->type_dict, &inner) || !inner)
			continue;
		s->classes++;
		found = in_dict(s, inner) || (depth < 2 && in_classes(s, inner, depth + 1));
	}
	python_dict_free(&all);
	return found;
}

/* Where the caller's code makes this function it loads the code object, then the qualified name, both
 * constants (Python/compile.c, compiler_make_closure). */
static bool in_consts(struct search *s, const struct python_frame *caller)
{
	const struct python_layout *l = &s->py->layout;
	uint64_t consts, n, size, item[CONSTS_MAX], code;
	static unsigned char bytes[CODE_MAX];
	if (!caller || python_pointer(s->py, caller->code + (uint64_t)l->code_consts, &consts) ||
	    python_check(s->py, consts, s->py->at.tuple) ||
	    python_pointer(s->py, consts + (uint64_t)l->object_size, &n) || n < 2 || n > CONSTS_MAX ||
	    mem_read(s->py->pid, consts + (uint64_t)l->tuple_items, item, n * 8))
		return false;
	if (python_pointer(s->py, caller->code + (uint64_t)l->code_code, &code) ||
	    python_check(s->py, code, s->py->at.bytes) ||
	    python_pointer(s->py, code + (uint64_t)l->object_size, &size) || size > CODE_MAX ||
	    mem_read(s->py->pid, code + (uint64_t)l->bytes_data, bytes, size))
		return false;
	unsigned extended = 0, before = UINT32_MAX, last = UINT32_MAX; /* the constants loaded just now */
	for (uint64_t i = 0; i + 1 < size; i += 2) {
		unsigned argument = extended << 8 | bytes[i + 1];
		extended = 0;
		if (bytes[i] == l->op_extended_arg) {
			extended = argument;
		} else if (bytes[i] == l->op_load_const) {
			before = last;
			last = argument;
		} else {
			if (bytes[i] == l->op_make_function && before < n && last < n &&
			    item[before] == s->code) {
				s->qualname = item[last];
				return true;
			}
			before = last = UINT32_MAX;
		}
	}
	return false;
}

int python_qualname(struct interp *py, const struct python_frame *frame, const struct python_frame *caller,
		    uint64_t name, char *buf, size_t size)
{
	struct search s = {.py = py, .code = frame->code, .name = name};
	char text[PYTHON_STRING];
	if (!in_generator(&s, frame) && !in_consts(&s, caller) && !in_caller(&s, caller) &&
	    !in_class(&s, frame) && !in_dict(&s, frame->globals) && !in_classes(&s, frame->globals, 0))
		return -ENOENT;
	int e = python_string(py, s.qualname, text, sizeof(text) < size ? sizeof(text) : size);
	if (!e && text[0])
		memcpy(buf, text, strlen(text) + 1);
	return e ? -ENOENT : 0;
}
