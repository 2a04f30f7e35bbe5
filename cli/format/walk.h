/* SPDX-License-Identifier: MIT
 *
 * What several formats go through in the same way: a process's stalls in order of time, and who a part of a
 * stall is charged to.
 */
#ifndef WHYSTALL_WALK_H
#define WHYSTALL_WALK_H

#include "../verdict.h"
#include "emit.h"

/* Returns whether to go on. */
typedef bool stall_visitor(void *closure, const struct verdict_process *, const struct verdict_loop *,
			   const struct verdict_stall *);
/* The stalls of all of its loops, by their starts: each loop's own are in order. */
void stalls_walk(const struct verdict_process *, stall_visitor *, void *closure);

/* All loops, those stalled most first. Owned by the caller: vec_free. */
struct loop_place {
	const struct verdict_process *process;
	const struct verdict_loop *loop;
};
typedef VEC(struct loop_place) loop_places_t;
void loops_ranked(const struct verdict *, loop_places_t *out);

/* A part of a stall: one holder's, or the whole segment where there is none. */
struct blame_part {
	const char *cause, *thread; /* thread: whose stack it is; NULL: no name */
	int tid;
	uint64_t start_ns, ns;
	uint32_t stack; /* 0: not known */
	const struct culprit *culprit;
};
typedef void part_visitor(void *closure, const struct blame_part *);
void parts_walk(const struct verdict_stall *, part_visitor *, void *closure);

/* A frame in one line: "heavy_cpu_work (app.py:19)", "long_pow (python3.12)"; `line`: with the line number.
 * Returns buf. */
char *frame_label(char *buf, size_t size, const struct frame *, bool line);

/* Stacks as JSON, each rendered once: many stalls have the same. At most so many bytes are kept. A writer
 * begins with an array or object that is flat, unless the whole document is one line. */
#define STACK_TEXTS_MAX (16u << 20)
struct stack_text {
	char *at;
	size_t size;
};
struct stack_texts {
	struct stack_text *at; /* by stack id */
	size_t bytes;
};
typedef void stack_writer(struct emit *, const char *key, const struct observations *, uint32_t stack);
void stack_emit(struct stack_texts *, struct emit *, const char *key, const struct observations *,
		uint32_t stack, stack_writer *);
void stack_texts_free(struct stack_texts *, const struct observations *);

#endif
