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
/* How often: */
#define TRIES 32		  /* a stack that makes no sense is read again */
#define STILL_TRIES 8		  /* one that moves is read in the hope that it holds still */
#define LOOSE_TRIES 24		  /* a frame must be marked as executing, see object_check */
#define CATCH_TRIES 32		  /* the innermost frame is sought in its place: a call may take 50 ns */
#define STATES_MAX 4		  /* interpreters that a thread is in at once */
#define STEPS_MAX (4 * STACK_MAX) /* frames followed, those that are skipped included */

struct copy {
	uint64_t start;
	size_t len, at;
};

struct python_walk {
	struct python_frame frame[STACK_MAX];
	int n;
	bool cut;
	bool open_end; /* the outermost frame may have lost its caller: a generator that has yielded */

	/* memory copied for this walk */
	struct copy copy[COPIES];
	int copies;
	size_t used;
	unsigned char bytes[COPY_MAX + 2 * COPIES * PAGE];

	/* where the frame objects of a thread were (to 3.10) */
	uint64_t guess_thread, guess[STACK_MAX];
	int guesses;
	unsigned char guess_head[STACK_MAX][HEAD];

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

/* The innermost frame now. */
static int current_read(struct interp *py, uint64_t thread, uint64_t *at)
{
	const struct python_layout *l = &py->layout;
	uint64_t cframe;
	if (l->tstate_frame >= 0)
		return python_pointer(py, thread + (uint64_t)l->tstate_frame, at);
	if (l->tstate_current_frame >= 0)
		return python_pointer(py, thread + (uint64_t)l->tstate_current_frame, at);
	int e = python_pointer(py, thread + (uint64_t)l->tstate_cframe, &cframe);
	return e ? e : python_pointer(py, cframe + (uint64_t)l->cframe_current_frame, at);
}

/* `loose`: take also a frame that is not marked as executing. It is not while a trace function is told of the
 * call, or for some instructions as it begins and ends; but nor is a generator that has yielded. */
static int object_check(const struct python_layout *l, const unsigned char *head, uint64_t type, bool loose)
{
	/* a dead frame is kept for reuse with no references, and f_back then links the free ones */
	if (python_u64(head, l->object_type) != type || !python_u64(head, l->object_refcnt))
		return -EAGAIN;
	if (!loose && l->frame_executing >= 0 && head[l->frame_executing] != 1)
		return -EAGAIN;
	return !loose && l->frame_state >= 0 && python_i32(head, l->frame_state) < 0 ? -EAGAIN : 0;
}

/* Reads the innermost frame's address and, in the same system call, the frames that were there last time:
 * memory of frames is used again and again, so most stacks are had in one piece. w->guess[..].head is good if
 * it says so. */
static int guesses_read(struct interp *py, uint64_t thread, uint64_t *at)
{
	struct python_walk *w = py->walk;
	uint64_t after, address = thread + (uint64_t)py->layout.tstate_frame;
	int n = 0;
	w->part[n++] = (struct mem_part){address, at, sizeof(*at)};
	for (int i = 0; i < w->guesses; i++)
		w->part[n++] = (struct mem_part){w->guess[i], w->guess_head[i], HEAD};
	w->part[n++] = (struct mem_part){address, &after, sizeof(after)};
	int e = mem_read_parts(py->pid, w->part, n);
	if (e)
		w->guesses = 0;
	return e ? e : *at == after ? 0 : -EAGAIN;
}

/* A frame, from the guesses or from memory. *next: where in the guesses its caller is to be expected. */
static int object_read(struct interp *py, uint64_t at, bool loose, int *next, unsigned char *head)
{
	struct python_walk *w = py->walk;
	for (int i = 0; i < w->guesses; i++) {
		int k = (*next + i) % w->guesses;
		if (w->guess[k] != at)
			continue;
		*next = k + 1;
		memcpy(head, w->guess_head[k], HEAD);
		return object_check(&py->layout, head, py->at.frame, loose);
	}
	int e = mem_read(py->pid, at, head, HEAD);
	return e ? e : object_check(&py->layout, head, py->at.frame, loose);
}

static int walk_objects(struct interp *py, uint64_t thread, bool loose)
{
	const struct python_layout *l = &py->layout;
	struct python_walk *w = py->walk;
	unsigned char head[HEAD];
	uint64_t at = 0;
	int next = 0, e = -EAGAIN;
	if (w->guess_thread != thread)
		w->guesses = 0;
	for (int try = 0; try < CATCH_TRIES && (e == -EAGAIN || e == -EFAULT); try++) {
		next = 0;
		e = guesses_read(py, thread, &at);
		if (!e && at)
			e = object_read(py, at, loose, &next, head);
	}
	while (!e && at && w->n < STACK_MAX) {
		w->frame[w->n++] = (struct python_frame){
			.at = at,
			.code = python_u64(head, l->frame_code),
			.back = python_u64(head, l->frame_back),
			.globals = python_u64(head, l->frame_globals),
			.instruction = (uint64_t)(int64_t)python_i32(head, l->frame_lasti),
			.entry = true};
		w->open_end = python_u64(head, l->frame_generator) != 0;
		at = python_u64(head, l->frame_back);
		if (at)
			e = object_read(py, at, loose, &next, head);
	}
	w->cut = at != 0;
	if (w->n) {
		w->guess_thread = thread;
		w->guesses = w->n;
		for (int i = 0; i < w->n; i++)
			w->guess[i] = w->frame[i].at;
	}
	return e;
}

/* --- 3.11 on --- */

/* The innermost frame, and a copy of the data stack made in the same system call; it counts if the innermost
 * frame before and after the copying is one and the same. */
static int walk_start(struct interp *py, uint64_t thread, const unsigned char *state, uint64_t *current)
{
	const struct python_layout *l = &py->layout;
	struct python_walk *w = py->walk;
	uint64_t cframe = 0, cframe_after = 0, after = 0, at = thread + (uint64_t)l->tstate_current_frame;
	uint64_t chunk = python_u64(state, l->tstate_datastack_chunk);
	uint64_t top = python_u64(state, l->tstate_datastack_top);
	struct mem_part part[4];
	if (l->tstate_cframe >= 0) {
		cframe = python_u64(state, l->tstate_cframe);
		if (!cframe)
			return -ENOENT;
		at = cframe + (uint64_t)l->cframe_current_frame;
	}
	int n = 0;
	part[n++] = (struct mem_part){at, current, sizeof(*current)};
	if (chunk && top > chunk) {
		uint64_t end = (top + PAGE - 1) & ~(PAGE - 1);
		uint64_t start = end - chunk > COPY_MAX ? end - COPY_MAX : chunk;
		part[n++] = (struct mem_part){start, copy_add(w, start, end - start), end - start};
	}
	part[n++] = (struct mem_part){at, &after, sizeof(after)};
	if (cframe)
		part[n++] =
			(struct mem_part){thread + (uint64_t)l->tstate_cframe, &cframe_after, sizeof(after)};
	int e = -EAGAIN;
	for (int try = 0; try < CATCH_TRIES && e == -EAGAIN; try++) {
		e = mem_read_parts(py->pid, part, n);
		if (!e && cframe_after != cframe)
			return -EAGAIN; /* another evaluation loop */
		if (!e && *current != after)
			e = -EAGAIN;
	}
	return e;
}

static int walk_interpreter(struct interp *py, int thread, const unsigned char *state)
{
	const struct python_layout *l = &py->layout;
	struct python_walk *w = py->walk;
	uint64_t at;
	uint64_t trampoline = py->interp[py->thread_interp[thread]].trampoline;
	int steps = 0, e = walk_start(py, py->thread[thread], state, &at);
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
			w->open_end = false;
		} else {
			if (trampoline && python_u64(head, l->frame_code) == trampoline)
				return -EAGAIN; /* a loop's own frame, overwritten: the loop has ended */
			w->open_end = l->frame_shim_owner >= 0 || head[l->frame_owner] == 1;
			w->frame[w->n++] = (struct python_frame){
				.at = at,
				.code = python_u64(head, l->frame_code) &
					~3ull, /* 3.14: _PyStackRef's tag bits */
				.back = back,
				.globals = python_u64(head, l->frame_globals),
				.instruction = python_u64(head, l->frame_instruction),
				.tlbc = l->frame_tlbc_index >= 0 ? python_i32(head, l->frame_tlbc_index) : 0,
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

/* What the second reading says of the first. */
enum moved {
	STILL = 0,
	MOVED_INNERMOST, /* only that: the callers stood still under it */
	MOVED,
};

static enum moved moved_check(struct interp *py, uint64_t thread)
{
	const struct python_layout *l = &py->layout;
	struct python_walk *w = py->walk;
	uint64_t now;
	/* a chain that ends in a generator ends there also when that has just yielded, and is then no stack
	 */
	if (w->open_end && !w->cut &&
	    (l->frame_shim_owner >= 0 || current_read(py, thread, &now) || now != w->frame[0].at))
		return MOVED;
	for (int i = w->n - 1; i >= 0; i--)
		if ((python_u64(w->head[i], l->frame_code) & ~3ull) != w->frame[i].code ||
		    python_u64(w->head[i], l->frame_back) != w->frame[i].back)
			return i || w->n == 1 ? MOVED : MOVED_INNERMOST;
	return STILL;
}

/* Finds each frame's code, and reads again what must not have changed. */
static int walk_check(struct interp *py, uint64_t thread, enum moved *moved, bool *nameless)
{
	const struct python_layout *l = &py->layout;
	struct python_walk *w = py->walk;
	size_t head = (size_t)(l->frame_back > l->frame_code ? l->frame_back : l->frame_code) + 8;
	int parts = 0;
	for (int i = 0; i < w->n; i++)
		w->part[parts++] = (struct mem_part){w->frame[i].at, w->head[i], head};
	for (int i = 0; i < w->n; i++) {
		struct python_code *known = python_code_known(py, w->frame[i].code);
		w->checked[i] = known;
		if (known)
			parts += python_code_check(py, known, &w->identity[i], w->part + parts);
	}
	int e = mem_read_parts(py->pid, w->part, parts);
	if (e)
		return e;
	*moved = moved_check(py, thread);
	*nameless = false;
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
		known = python_code_known(py, w->frame[i].code);
		*nameless = *nameless || (known && python_code_wants(known));
	}
	return 0;
}

static int walk_output(struct interp *py, struct stack *out)
{
	struct python_walk *w = py->walk;
	out->n = 0;
	for (int i = 0; i < w->n; i++) {
		struct python_code *code = python_code_known(py, w->frame[i].code);
		int e = code ? python_code_frame(py, code, &w->frame[i], &out->at[out->n]) : -EAGAIN;
		if (e)
			return e;
		if (!python_code_shim(code))
			out->n++;
		else if (w->frame[i].entry && out->n)
			out->at[out->n - 1].entry = 1;
	}
	out->cut = w->cut;
	return 0;
}

int python_frames(struct interp *py, struct python_frame *out, int max)
{
	int n = 0;
	for (int i = 0; py->walk && i < py->walk->n && n < max; i++) {
		struct python_code *code = python_code_known(py, py->walk->frame[i].code);
		if (code && !python_code_shim(code))
			out[n++] = py->walk->frame[i];
	}
	return n;
}

/* A thread that has entered another interpreter has a state in each: which of them is meant, from the inner
 * one outwards. */
static int thread_nth(struct interp *py, struct interp_thread thread, int nth)
{
	const struct python_layout *l = &py->layout;
	int i = python_thread_find(py, thread), first = i;
	if (i < 0)
		return i;
	uint64_t pthread = python_u64(py->states + (size_t)i * (size_t)l->tstate_size, l->tstate_thread_id);
	for (int k = 0; k < i && l->interp_gil >= 0 && first == i; k++)
		if (py->thread_interp[k] != py->thread_interp[i] && pthread &&
		    python_u64(py->states + (size_t)k * (size_t)l->tstate_size, l->tstate_thread_id) ==
			    pthread)
			first = k;
	for (; nth > 0 && first >= 0; nth--)
		first = python_thread_outer(py, first);
	return first;
}

/* The frames in one interpreter. */
static int stack_nth(struct interp *py, struct interp_thread thread, int nth, struct stack *out)
{
	out->n = out->cut = 0;
	struct python_walk *w = py->walk;
	int e = -EAGAIN;
	for (int try = 1; try <= TRIES; try++) {
		enum moved moved = MOVED;
		bool nameless = false;
		w->n = w->copies = 0;
		w->used = 0;
		w->open_end = false;
		e = python_refresh(py);
		int i = e ? e : thread_nth(py, thread, nth);
		if (i == -ENOENT && !nth &&
		    try < PYTHON_TRIES) /* an ending neighbour can hide it for a moment */
			continue;
		if (i < 0)
			return i;
		uint64_t at = py->thread[i];
		const unsigned char *state = py->states + (size_t)i * (size_t)py->layout.tstate_size;
		e = py->layout.tstate_frame >= 0 ? walk_objects(py, at, try > LOOSE_TRIES)
						 : walk_interpreter(py, i, state);
		if (!e && !w->n)
			return -ENOENT;
		if (!e)
			e = is_cycle(w) ? -EAGAIN : walk_check(py, at, &moved, &nameless);
		if (!e && (moved == MOVED || (try <= STILL_TRIES && (moved || nameless))))
			e = -EAGAIN;
		if (!e)
			e = walk_output(py, out);
		if (!e)
			return 0;
		if (e != -EAGAIN && e != -EFAULT)
			break;
	}
	out->n = out->cut = 0;
	return e == -EFAULT ? -EAGAIN : e;
}

int python_stack(struct interp *py, struct interp_thread thread, struct stack *out)
{
	static struct stack outer[STATES_MAX]; /* large; one thread looks */
	int n = 0;
	if (!py->walk)
		py->walk = xcalloc(1, sizeof(*py->walk));
	/* the innermost is walked last: it is what python_frames then tells of */
	for (int nth = 1; nth < STATES_MAX && py->interps > 1; nth++) {
		int e = stack_nth(py, thread, nth, &outer[n]);
		if (!e)
			n++;
		else if (thread_nth(py, thread, nth) < 0)
			break;
	}
	int e = stack_nth(py, thread, 0, out);
	if (e && (e != -ENOENT || !n))
		return e;
	for (int k = 0; k < n; k++)
		for (int i = 0; i < outer[k].n && out->n < STACK_MAX; i++)
			out->at[out->n++] = outer[k].at[i];
	return 0;
}

/* What the probe read in the kernel a moment ago: only the frames' code is looked up now. */
int python_stack_sampled(struct interp *py, const struct probe_holder *in, struct stack *out)
{
	out->n = out->cut = 0;
	if (!py->walk)
		py->walk = xcalloc(1, sizeof(*py->walk));
	struct python_walk *w = py->walk;
	w->n = 0;
	w->cut = in->cut;
	for (uint32_t i = 0; i < in->n && i < PROBE_FRAMES; i++)
		w->frame[w->n++] = (struct python_frame){.at = in->frame[i].at,
							 .code = in->frame[i].code & ~3ull,
							 .back = in->frame[i].back,
							 .instruction = in->frame[i].instruction};
	for (int i = 0; i < w->n; i++) {
		int e = 0;
		if (!python_code_known(py, w->frame[i].code))
			e = python_code_load(py, &w->frame[i], i + 1 < w->n ? &w->frame[i + 1] : NULL);
		if (e)
			return e;
	}
	return w->n ? walk_output(py, out) : -ENOENT;
}

bool python_frames_layout(struct interp *py, struct probe_frames_layout *out)
{
	const struct python_layout *l = &py->layout;
	*out = (struct probe_frames_layout){
		.thread = l->tstate_thread_id,
		.frame = l->tstate_frame >= 0 ? l->tstate_frame : l->tstate_current_frame,
		.cframe = l->tstate_frame >= 0 || l->tstate_current_frame >= 0 ? -1 : l->tstate_cframe,
		.current = l->cframe_current_frame,
		.code = l->frame_code,
		.back = l->frame_back,
		.instruction = l->tstate_frame >= 0 ? l->frame_lasti : l->frame_instruction,
		.instruction_bytes = l->tstate_frame >= 0 ? 4 : 8,
		.owner = l->frame_owner,
		.shim_owner = l->frame_shim_owner,
	};
	return true;
}
