/* SPDX-License-Identifier: MIT
 *
 * A thread's native stack shows evaluation loops where its Python stack shows functions. From CPython 3.11 on
 * one loop runs a whole chain of Python calls, before that each call has its own: the Python frames' entry
 * marks tell.
 *
 *   native, innermost first                   Python           merged
 *   k_mul long_pow PyNumber_Power EVAL        heavy            k_mul long_pow PyNumber_Power heavy run
 *   cfunction_call EVAL thread_run            run* bootstrap*  cfunction_call bootstrap
 */
#include "merge.h"

#include <string.h>

static void push(struct stack *out, const struct frame *f)
{
	if (out->n < STACK_MAX)
		out->at[out->n++] = *f;
	else
		out->cut = 1;
}

/* libc stays libc, whatever the interpreter; the rest is its own to judge. */
static enum frame_origin origin_of(const struct frame *f, const struct interp_ops *ops)
{
	if (!ops || !ops->native_origin || f->origin == ORIGIN_RUNTIME)
		return f->origin;
	return ops->native_origin(f->function, f->module);
}

/* The function that was compiled: native[i] itself, or the one that it was inlined into. */
static int outermost_inline(const struct frame *native, int n, int i)
{
	while (i < n - 1 && native[i].inlined)
		i++;
	return i;
}

/* Code that the interpreter compiled at run time and nobody has a name for: called by the loop, and doing its
 * work (CPython 3.13's JIT and later). What an extension compiled is called by the extension. */
static bool is_jit(const struct frame *native, int n, int i, const struct interp_ops *ops)
{
	if (!ops || i + 1 >= n || !native[i].module || strcmp(native[i].module, "[unknown]"))
		return false;
	enum frame_origin caller = origin_of(&native[i + 1], ops);
	return caller == ORIGIN_EVAL || caller == ORIGIN_DISPATCH;
}

/* Is native[i] an evaluation loop, or inlined into one? *past gets the index after it. Wrappers that are also
 * called evaluation (_PyEval_EvalFrame around _PyEval_EvalFrameDefault, where the compiler did not inline it)
 * belong to it. */
static bool eval_at(const struct frame *native, int n, int i, const struct interp_ops *ops, int *past)
{
	int loop = outermost_inline(native, n, i);

	*past = loop + 1;
	if (origin_of(&native[loop], ops) != ORIGIN_EVAL && !is_jit(native, n, loop, ops))
		return false;
	while (*past < n) {
		int next = outermost_inline(native, n, *past);
		if (origin_of(&native[next], ops) != ORIGIN_EVAL ||
		    !strcmp(native[next].function, native[loop].function))
			break;
		*past = next + 1;
	}
	return true;
}

static int evals_count(const struct frame *native, int n, const struct interp_ops *ops)
{
	int count = 0;
	for (int i = 0, past; i < n; i = past)
		count += eval_at(native, n, i, ops, &past);
	return count;
}

static int entries_count(const struct stack *python)
{
	int count = 0;
	for (int i = 0; i < python->n; i++)
		/* the outermost frame was entered from somewhere even if it does not say so */
		count += python->at[i].entry || i == python->n - 1;
	return count;
}

/* The Python frames of one evaluation loop: up to and including the one that it began with. */
static int loop_push(struct stack *out, const struct stack *python, int at)
{
	while (at < python->n) {
		push(out, &python->at[at]);
		if (python->at[at++].entry)
			break;
	}
	return at;
}

void stack_merge(struct stack *out, const struct frame *native, int n_native, const struct stack *python,
		 const struct interp_ops *ops)
{
	int at = 0, past, loops = evals_count(native, n_native, ops), extra;

	out->n = out->cut = 0;
	if (!python || python->n == 0) {
		for (int i = 0; i < n_native; i++) {
			struct frame f = native[i];
			f.origin = origin_of(&f, ops);
			push(out, &f);
		}
		return;
	}
	/* More loops than Python frames to fill them: the Python stack is older or newer than the native one
	 * by a few inner calls, and it is the outer ends that agree; unless its own outer end was not read.
	 */
	extra = python->cut ? 0 : loops - entries_count(python);
	bool any = loops > 0;
	/* What lies below the outermost loop is the interpreter's start-up, or was cut off before the next
	 * loop. */
	for (int i = 0; i < n_native && at < python->n && (loops > 0 || !any); i = past) {
		if (eval_at(native, n_native, i, ops, &past)) {
			loops--;
			if (extra > 0)
				extra--;
			else
				at = loop_push(out, python, at);
			continue;
		}
		for (int j = i; j < past; j++) {
			struct frame f = native[j];
			f.origin = origin_of(&f, ops);
			if (f.origin != ORIGIN_EVAL) /* such a wrapper, inlined into a caller */
				push(out, &f);
		}
	}
	while (at < python->n)
		at = loop_push(out, python, at);
	out->cut |= python->cut;
}

static bool has_symbol(const struct frame *f)
{
	return f->function && !strstr(f->function, "+0x"); /* a record may lack any */
}

const struct frame *stack_native_of(const struct frame *const *frames, int n, int python_index)
{
	if (python_index < 0 || python_index >= n)
		return NULL;
	/* a collection is called by whatever happened to need memory */
	for (int i = python_index - 1; i >= 0 && frames[i]->kind == FRAME_NATIVE; i--)
		if (frames[i]->origin == ORIGIN_COLLECTOR && has_symbol(frames[i]))
			return frames[i];
	for (int i = python_index - 1; i >= 0 && frames[i]->kind == FRAME_NATIVE; i--) {
		if (frames[i]->origin == ORIGIN_DISPATCH)
			continue;
		for (int j = i; j < python_index; j++)
			if (has_symbol(frames[j]))
				return frames[j];
		return frames[i];
	}
	return NULL;
}
