/* SPDX-License-Identifier: MIT
 *
 * Who is inside `with lock:`. A lock does not say who took it, but a frame in such a statement keeps the
 * lock's __exit__ among its values until it leaves. Which of the values are alive is known from where the
 * frame stands: to 3.10 by its block stack (Include/frameobject.h, PyTryBlock), from 3.11 on by the code's
 * table of exception handlers (Objects/exception_handling_notes.txt: for each range of instructions the
 * handler and the depth of the stack that it expects). To 3.13 the value is the method bound to the lock,
 * from 3.14 on the method and then the lock (Python/bytecodes.c, LOAD_SPECIAL).
 */
#include "cli/interp/python_scope.h"
#include "cli/util.h"

#define FRAMES_MAX 64
#define BLOCKS_MAX 21	/* CO_MAXBLOCKS */
#define TABLE_MAX 16384 /* bytes of a table of handlers, or of code */
#define DEPTH_MAX 256
#define ASKED_MAX 64 /* handlers looked at for one frame */
#define WITHIN_NS (NS / 5)

/* Where a frame stands, and what of its values a handler would find. */
struct place {
	int depth[BLOCKS_MAX +
		  1]; /* of the stack, for each statement that it is in; the last is the innermost */
	long start[BLOCKS_MAX + 1]; /* where each began: bytes into the code, -1: not known */
	int n;
};

/* --- 3.11 on --- */

static int varint(const unsigned char *table, int size, int *at)
{
	int value = 0;
	for (int more = 1; more && *at < size; (*at)++) {
		value = (value << 6 | (table[*at] & 63)) & 0xffffff;
		more = table[*at] & 64;
	}
	return value;
}

struct handler {
	long start, end, target; /* bytes */
	int depth;
};

static bool handler_next(const unsigned char *table, int size, int *at, struct handler *out)
{
	if (*at >= size)
		return false;
	out->start = 2l * varint(table, size, at);
	out->end = out->start + 2l * varint(table, size, at);
	out->target = 2l * varint(table, size, at);
	out->depth = varint(table, size, at) >> 1;
	return true;
}

/* Is this the handler of a `with`: PUSH_EXC_INFO, WITH_EXCEPT_START? */
static bool is_with(struct interp *py, const struct python_frame *frame, long at, long target)
{
	unsigned char code[4];
	/* as far from the instruction under way as it is in the table */
	return !mem_read(py->pid, frame->instruction - (uint64_t)at + (uint64_t)target, code, sizeof(code)) &&
	       code[2] == py->layout.op_with_except_start;
}

/* The handler of the innermost statement expects all that those around it keep. A `with` at the same depth as
 * another has ended before that began, so of each depth the latest counts; it begins where the first range
 * with its handler does. */
static int place_by_table(struct interp *py, const struct python_frame *frame, long at, struct place *out)
{
	unsigned char table[TABLE_MAX];
	uint64_t bytes, size;
	struct handler h;
	int innermost = 0, asked = 0;
	int e = python_pointer(py, frame->code + (uint64_t)py->layout.code_exceptiontable, &bytes);
	if (!e)
		e = python_check(py, bytes, py->at.bytes);
	if (!e)
		e = python_pointer(py, bytes + (uint64_t)py->layout.object_size, &size);
	if (!e && size > sizeof(table))
		e = -ENOENT;
	if (!e && size)
		e = mem_read(py->pid, bytes + (uint64_t)py->layout.bytes_data, table, size);
	if (e)
		return e;
	for (int i = 0; handler_next(table, (int)size, &i, &h);)
		if (h.start <= at && at < h.end)
			innermost = h.depth;
	for (int depth = 1; depth <= innermost && depth <= DEPTH_MAX && out->n < BLOCKS_MAX; depth++) {
		long target = -1, start = -1, latest = -1;
		for (int i = 0; handler_next(table, (int)size, &i, &h);)
			if (h.depth == depth && h.start <= at && h.start > latest && asked++ < ASKED_MAX &&
			    is_with(py, frame, at, h.target)) {
				latest = h.start;
				target = h.target;
			}
		for (int i = 0; target >= 0 && handler_next(table, (int)size, &i, &h);)
			if (h.target == target && (start < 0 || h.start < start))
				start = h.start;
		out->depth[out->n] = depth;
		out->start[out->n++] = start < 0 ? -1 : start - 2;
	}
	return 0;
}

/* --- to 3.10 --- */

/* The SETUP_WITH whose handler this is. -1: none. */
static long setup_find(struct interp *py, const struct python_frame *frame, long handler)
{
	const struct python_layout *l = &py->layout;
	unsigned char code[TABLE_MAX];
	uint64_t bytes, size;
	unsigned long argument = 0;
	if (python_pointer(py, frame->code + (uint64_t)l->code_code, &bytes) ||
	    python_check(py, bytes, py->at.bytes) ||
	    python_pointer(py, bytes + (uint64_t)l->object_size, &size) || size > sizeof(code) ||
	    mem_read(py->pid, bytes + (uint64_t)l->bytes_data, code, size))
		return -1;
	for (size_t i = 0; i + 1 < size; i += 2) {
		argument = (argument << 8 | code[i + 1]) & 0xffffff;
		if (code[i] == l->op_extended_arg)
			continue;
		if (code[i] == l->op_setup_with &&
		    (long)(i + 2 + argument * (unsigned)l->frame_lasti_unit) == handler)
			return (long)i;
		argument = 0;
	}
	return -1;
}

static int place_by_blocks(struct interp *py, const struct python_frame *frame, struct place *out)
{
	const struct python_layout *l = &py->layout;
	struct {
		int type, handler, level;
	} block[BLOCKS_MAX];
	int n;
	int e = mem_read(py->pid, frame->at + (uint64_t)l->frame_iblock, &n, sizeof(n));
	if (!e && (n < 0 || n > BLOCKS_MAX - 1))
		e = -EAGAIN;
	if (!e && n)
		e = mem_read(py->pid, frame->at + (uint64_t)l->frame_blockstack, block,
			     (size_t)n * sizeof(block[0]));
	for (int i = 0; i < n && !e; i++) {
		out->depth[out->n] = block[i].level;
		out->start[out->n++] = setup_find(py, frame, (long)block[i].handler * l->frame_lasti_unit);
	}
	return e;
}

/* --- values --- */

static bool is_exit(struct interp *py, uint64_t definition_at)
{
	uint64_t definition, name;
	char text[16];
	return !python_pointer(py, definition_at, &definition) &&
	       !python_pointer(py, definition, &name) && /* PyMethodDef begins with it */
	       !mem_string(py->pid, name, text, sizeof(text)) && !strcmp(text, "__exit__");
}

/* The same of a function in Python. */
static bool is_exit_function(struct interp *py, uint64_t function)
{
	uint64_t name;
	char text[128];
	if (python_check(py, function, py->at.function) ||
	    python_pointer(py, function + (uint64_t)py->layout.function_qualname, &name) ||
	    python_string(py, name, text, sizeof(text)))
		return false;
	size_t n = strlen(text), end = strlen(".__exit__");
	return n > end && !strcmp(text + n - end, ".__exit__");
}

/* Is `value` the __exit__ of the lock, or the lock after that? */
static bool keeps(struct interp *py, uint64_t value, uint64_t before, uint64_t lock)
{
	const struct python_layout *l = &py->layout;
	uint64_t self, function;
	if (value == lock && before && py->at.method_descriptor)
		return (!python_check(py, before, py->at.method_descriptor) &&
			is_exit(py, before + (uint64_t)l->descriptor_method)) ||
		       is_exit_function(py, before);
	if (value && !python_check(py, value, py->at.method)) /* im_self comes after im_func */
		return !python_pointer(py, value + (uint64_t)l->method_function, &function) &&
		       !python_pointer(py, value + (uint64_t)l->method_function + 8, &self) && self == lock &&
		       is_exit_function(py, function);
	return value && py->at.cfunction && !python_check(py, value, py->at.cfunction) &&
	       !python_pointer(py, value + (uint64_t)l->cfunction_self, &self) && self == lock &&
	       is_exit(py, value + (uint64_t)l->cfunction_method);
}

/* Where the values of a frame begin. */
static int values_at(struct interp *py, const struct python_frame *frame, uint64_t *out)
{
	const struct python_layout *l = &py->layout;
	uint64_t names, n = 0;
	if (l->frame_valuestack >= 0)
		return python_pointer(py, frame->at + (uint64_t)l->frame_valuestack, out);
	int e = python_pointer(py, frame->code + (uint64_t)l->code_localsplusnames, &names);
	if (!e)
		e = python_check(py, names, py->at.tuple);
	if (!e)
		e = python_pointer(py, names + (uint64_t)l->object_size, &n);
	if (!e && n > 65536)
		e = -EAGAIN;
	*out = frame->at + (uint64_t)l->frame_size + 8 * n;
	return e;
}

/* 0: the frame is inside the lock's `with`, which began at *start; -ENOENT: it is not. */
static int frame_within(struct interp *py, const struct python_frame *frame, uint64_t lock, long *start)
{
	struct place place = {0};
	uint64_t at, value[DEPTH_MAX];
	long here;
	int e = python_frame_at(py, frame, &here);
	if (!e)
		e = py->layout.code_exceptiontable >= 0 ? place_by_table(py, frame, here, &place)
							: place_by_blocks(py, frame, &place);
	int depth = e || !place.n ? 0 : place.depth[place.n - 1];
	if (!e && (depth <= 0 || depth > DEPTH_MAX))
		e = -ENOENT;
	if (!e)
		e = values_at(py, frame, &at);
	if (!e)
		e = mem_read(py->pid, at, value, (size_t)depth * 8);
	for (int i = 0; i < depth && !e; i++) {
		if (!keeps(py, value[i] & ~3ull, i ? value[i - 1] & ~3ull : 0, lock))
			continue;
		*start = -1;
		for (int k = 0; k < place.n; k++)
			if (place.depth[k] == i + 1 && place.start[k] >= 0)
				*start = place.start[k];
		return 0;
	}
	return e ? e : -ENOENT;
}

/* The frame as it stood when it took the lock. */
static void frame_taken(struct interp *py, const struct python_frame *frame, long start, struct frame *out)
{
	struct python_frame then = *frame;
	struct python_code *code = python_code_known(py, frame->code);
	long here;
	if (!code || python_code_frame(py, code, frame, out)) {
		*out = (struct frame){0};
		return;
	}
	out->line = 0; /* of the statement, not the one under way */
	if (start < 0 || python_frame_at(py, frame, &here))
		return;
	struct frame taken;
	if (py->layout.code_adaptive >= 0)
		then.instruction = frame->instruction - (uint64_t)here + (uint64_t)start;
	else
		then.instruction = (uint64_t)(start / py->layout.frame_lasti_unit);
	if (!python_code_frame(py, code, &then, &taken))
		out->line = taken.line;
}

/* Condition.wait gives the lock back meanwhile. */
static bool is_condition(const struct frame *f)
{
	const char *function = f->function ? f->function : "", *dot = strrchr(function, '.');
	return !strcmp(f->module ? f->module : "", "threading") && !strcmp(dot ? dot + 1 : function, "wait");
}

/* `passes`: who waits for a condition has it all the same. */
static int within(struct interp *py, uint64_t lock, bool passes, struct interp_thread *out,
		  struct frame *taken)
{
	static struct stack stack; /* large; one thread looks */
	struct python_frame frame[FRAMES_MAX];
	int found = 0, e = python_refresh(py), threads = e ? 0 : py->threads;
	uint64_t until = now_ns() + WITHIN_NS; /* unless the target is out to keep us busy */
	if (!lock || py->layout.cfunction_method < 0)
		return -ENOENT;
	for (int i = 0; i < threads && i < py->threads; i++) {
		if (now_ns() > until)
			return -EAGAIN;
		struct interp_thread thread = {
			.pthread = python_u64(py->states + (size_t)i * (size_t)py->layout.tstate_size,
					      py->layout.tstate_thread_id)};
		int n = python_stack(py, thread, &stack) ? 0 : python_frames(py, frame, FRAMES_MAX);
		long start;
		for (int k = 0; k < n && k < stack.n && (passes || !is_condition(&stack.at[k])); k++) {
			if (frame_within(py, &frame[k], lock, &start))
				continue;
			if (found++)
				return -ENOENT; /* one of them only waits to be let in again */
			frame_taken(py, &frame[k], start, taken);
			i = python_thread_find(py, thread);
			if (i < 0)
				return -EAGAIN;
			python_thread_identify(py, py->states + (size_t)i * (size_t)py->layout.tstate_size,
					       out);
			break;
		}
	}
	return found ? 0 : e ? e : -ENOENT;
}

int python_lock_within(struct interp *py, uint64_t lock, struct interp_thread *out, struct frame *taken)
{
	return within(py, lock, false, out, taken);
}

int python_semaphore_within(struct interp *py, uint64_t semaphore, struct interp_thread *out)
{
	struct frame taken;
	return within(py, semaphore, true, out, &taken);
}
