/* SPDX-License-Identifier: MIT
 *
 * A thread's Python frames, of a thread that may be running. To 3.10 they are objects linked by f_back;
 * from 3.11 on they lie one after the other in the thread's own data stack (Objects/frame_layout.md,
 * InternalDocs/frames.md), which is copied in one piece. Nothing stops the thread meanwhile, so every frame
 * must make sense in itself (its code is a code object, its instruction lies within that), and its callers
 * are read a second time: if they changed the stack is read again. A thread that returns and calls faster
 * than we can read never holds still; then the last reading counts, each of whose frames was there a moment
 * ago. What does not make sense is not returned at all.
 */
#include <stdlib.h>

#include "cli/interp/python.h"
#include "cli/util.h"

#define PAGE 4096ull
#define HEAD 128 /* bytes of a frame that we look at */
#define COPY_MAX (64u << 10)
#define COPIES 24
#define STEPS_MAX (4 * STACK_MAX) /* frames followed, those that are skipped included */

struct copy {
	uint64_t start;
	size_t len, at;
};

struct python_walk {
	struct python_frame frame[STACK_MAX];
	int n;
	bool cut;

	/* memory copied for this walk */
	struct copy copy[COPIES];
	int copies;
	size_t used;
	unsigned char bytes[COPY_MAX + 2 * COPIES * PAGE];

	/* the second reading */
	struct mem_part part[STACK_MAX * (1 + PYTHON_IDENTITY)];
	unsigned char head[STACK_MAX][HEAD];
	struct python_identity identity[STACK_MAX];
	bool checked[STACK_MAX]; /* its code was known already */
};

void python_stack_close(struct interp *py)
{
	free(py->walk);
	py->walk = NULL;
}

static unsigned char *copy_find(struct python_walk *w, uint64_t address, size_t len)
{
	for (int i = w->copies - 1; i >= 0; i--) {
		const struct copy *c = &w->copy[i];
		if (address >= c->start && address - c->start <= c->len &&
		    len <= c->len - (address - c->start))
			return w->bytes + c->at + (address - c->start);
	}
	return NULL;
}

static unsigned char *copy_add(struct python_walk *w, uint64_t start, size_t len)
{
	if (w->copies == COPIES || w->used + len > sizeof(w->bytes))
		w->copies = 0, w->used = 0;
	w->copy[w->copies++] = (struct copy){start, len, w->used};
	w->used += len;
	return w->bytes + w->used - len;
}

/* len bytes at an address, with what lies around them: frames have their neighbours there. */
static const unsigned char *copy_read(struct interp *py, uint64_t address, size_t len)
{
	struct python_walk *w = py->walk;
	unsigned char *to = copy_find(w, address, len);
	if (to)
		return to;
	uint64_t start = address & ~(PAGE - 1), end = (address + len + PAGE - 1) & ~(PAGE - 1);
	to = copy_add(w, start, end - start);
	if (!mem_read(py->pid, start, to, end - start))
		return to + (address - start);
	w->copies--;
	return NULL;
}

/* --- to 3.10 --- */

static int walk_objects(struct interp *py, const unsigned char *state)
{
	const struct python_layout *l = &py->layout;
	struct python_walk *w = py->walk;
	unsigned char head[HEAD];
	uint64_t at = python_u64(state, l->tstate_frame);
	for (; at && w->n < STACK_MAX; at = python_u64(head, l->frame_back)) {
		int e = mem_read(py->pid, at, head, sizeof(head));
		if (e)
			return e;
		/* a dead frame is kept for reuse with no references, and f_back then links the free ones */
		if (python_u64(head, l->object_type) != py->at.frame || !python_u64(head, l->object_refcnt))
			return -EAGAIN;
		/* a caller is executing; the innermost may just be starting or ending */
		if (w->n && l->frame_executing >= 0 && head[l->frame_executing] != 1)
			return -EAGAIN;
		if (w->n && l->frame_state >= 0 && python_i32(head, l->frame_state) < 0)
			return -EAGAIN;
		w->frame[w->n++] = (struct python_frame){
			.at = at,
			.code = python_u64(head, l->frame_code),
			.back = python_u64(head, l->frame_back),
			.globals = python_u64(head, l->frame_globals),
			.instruction = (uint64_t)(int64_t)python_i32(head, l->frame_lasti),
			.entry = true};
	}
	w->cut = at != 0;
	return 0;
}

/* --- 3.11 on --- */

/* The innermost frame, and a copy of the data stack made in the same system call. */
static int walk_start(struct interp *py, uint64_t thread, const unsigned char *state, uint64_t *current)
{
	const struct python_layout *l = &py->layout;
	struct python_walk *w = py->walk;
	uint64_t cframe = 0, again = 0, at = thread + (uint64_t)l->tstate_current_frame;
	if (l->tstate_cframe >= 0) {
		again = cframe = python_u64(state, l->tstate_cframe);
		if (!cframe)
			return -ENOENT;
		at = cframe + (uint64_t)l->cframe_current_frame;
	}
	struct mem_part part[3] = {{at, current, sizeof(*current)}};
	int n = 1;
	uint64_t chunk = python_u64(state, l->tstate_datastack_chunk);
	uint64_t top = python_u64(state, l->tstate_datastack_top);
	if (chunk && top > chunk) {
		uint64_t end = (top + PAGE - 1) & ~(PAGE - 1);
		uint64_t start = end - chunk > COPY_MAX ? end - COPY_MAX : chunk;
		part[n++] = (struct mem_part){start, copy_add(w, start, end - start), end - start};
	}
	if (cframe)
		part[n++] = (struct mem_part){thread + (uint64_t)l->tstate_cframe, &again, sizeof(again)};
	int e = mem_read_parts(py->pid, part, n);
	return e ? e : again == cframe ? 0 : -EAGAIN;
}

static int walk_interpreter(struct interp *py, uint64_t thread, const unsigned char *state)
{
	const struct python_layout *l = &py->layout;
	struct python_walk *w = py->walk;
	uint64_t at;
	int steps = 0, e = walk_start(py, thread, state, &at);
	if (e)
		return e;
	for (; at && w->n < STACK_MAX; steps++) {
		const unsigned char *head =
			steps < STEPS_MAX ? copy_read(py, at, (size_t)l->frame_size) : NULL;
		if (!head)
			return -EAGAIN;
		uint64_t back = python_u64(head, l->frame_back);
		if (l->frame_shim_owner >= 0 && head[l->frame_owner] >= l->frame_shim_owner) {
			/* the evaluation loop's own frame on the C stack: the loop began with the one before
			 */
			if (w->n)
				w->frame[w->n - 1].entry = true;
		} else {
			w->frame[w->n++] = (struct python_frame){
				.at = at,
				.code = python_u64(head, l->frame_code) &
					~3ull, /* 3.14: _PyStackRef's tag bits */
				.back = back,
				.globals = python_u64(head, l->frame_globals),
				.instruction = python_u64(head, l->frame_instruction),
				.entry = l->frame_is_entry >= 0 && head[l->frame_is_entry],
			};
		}
		at = back;
	}
	w->cut = at != 0;
	return 0;
}

/* --- both --- */

/* A chain that bites its own tail has no end, and is no stack. */
static bool is_cycle(const struct python_walk *w)
{
	for (int i = 0; i < w->n && w->cut; i++)
		for (int k = i + 1; k < w->n; k++)
			if (w->frame[i].at == w->frame[k].at)
				return true;
	return false;
}

/* Finds each frame's code, and reads again what must not have changed. *moved: a caller has. */
static int walk_check(struct interp *py, bool *moved)
{
	const struct python_layout *l = &py->layout;
	struct python_walk *w = py->walk;
	size_t head = (size_t)(l->frame_back > l->frame_code ? l->frame_back : l->frame_code) + 8;
	int parts = 0;
	for (int i = 0; i < w->n; i++) {
		w->part[parts++] = (struct mem_part){w->frame[i].at, w->head[i], head};
		struct python_code *known = python_code_known(py, w->frame[i].code);
		w->checked[i] = known;
		if (known)
			parts += python_code_check(py, known, &w->identity[i], w->part + parts);
	}
	int e = mem_read_parts(py->pid, w->part, parts);
	if (e)
		return e;
	*moved = false;
	for (int i = 1; i < w->n; i++)
		if ((python_u64(w->head[i], l->frame_code) & ~3ull) != w->frame[i].code ||
		    python_u64(w->head[i], l->frame_back) != w->frame[i].back)
			*moved = true;
	for (int i = 0; i < w->n; i++) {
		struct python_code *known = python_code_known(py, w->frame[i].code);
		bool checked = w->checked[i] && known;
		if (known && !checked)
			continue; /* loaded just now, for another frame of the same code */
		if (checked && python_code_same(py, known, &w->identity[i]) && !python_code_wants(known))
			continue;
		e = python_code_load(py, &w->frame[i], i + 1 < w->n ? &w->frame[i + 1] : NULL);
		if (e)
			return e;
	}
	return 0;
}

static int walk_output(struct interp *py, struct stack *out)
{
	struct python_walk *w = py->walk;
	for (int i = 0; i < w->n; i++) {
		struct python_code *code = python_code_known(py, w->frame[i].code);
		int e = code ? python_code_frame(py, code, &w->frame[i], &out->at[i]) : -EAGAIN;
		if (e)
			return e;
	}
	out->n = w->n;
	out->cut = w->cut;
	return 0;
}

int python_stack(struct interp *py, struct interp_thread thread, struct stack *out)
{
	out->n = out->cut = 0;
	if (!py->walk)
		py->walk = xcalloc(1, sizeof(*py->walk));
	struct python_walk *w = py->walk;
	int e = -EAGAIN;
	for (int try = 1; try <= PYTHON_TRIES; try++) {
		bool moved = false;
		w->n = w->copies = 0;
		w->used = 0;
		e = python_refresh(py);
		int i = e ? e : python_thread_find(py, thread);
		if (i < 0)
			return i;
		const unsigned char *state = py->states + (size_t)i * (size_t)py->layout.tstate_size;
		e = py->layout.tstate_frame >= 0 ? walk_objects(py, state)
						 : walk_interpreter(py, py->thread[i], state);
		if (!e && !w->n)
			return -ENOENT;
		if (!e)
			e = is_cycle(w) ? -EAGAIN : walk_check(py, &moved);
		if (!e)
			e = walk_output(py, out);
		if (!e && (!moved || try == PYTHON_TRIES))
			return 0;
		if (e && e != -EAGAIN && e != -EFAULT)
			break;
	}
	out->n = out->cut = 0;
	return e == -EFAULT || !e ? -EAGAIN : e;
}
