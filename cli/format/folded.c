/* SPDX-License-Identifier: MIT
 *
 * Folded stacks (Brendan Gregg's flamegraph.pl, inferno, speedscope): stalled microseconds by the stack of
 * who is to blame, "cause;thread;outermost;...;innermost 1234".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../format.h"
#include "../prose.h"
#include "walk.h"

struct weight {
	const char *cause, *thread, *function; /* interned or literal: compared as pointers */
	uint32_t stack;
	uint64_t ns;
};
typedef VEC(struct weight) weights_t;

static void part_add(void *closure, const struct blame_part *p)
{
	weights_t *weights = closure;
	struct weight *w = vec_push(weights);
	w->cause = p->cause;
	w->thread = p->thread;
	w->stack = p->stack;
	w->function = p->stack ? NULL : p->culprit->function;
	w->ns = p->ns;
}

static bool stall_add(void *closure, const struct verdict_process *p, const struct verdict_loop *l,
		      const struct verdict_stall *s)
{
	(void)p;
	(void)l;
	parts_walk(s, part_add, closure);
	return true;
}

#define COMPARE(x, y) ((x) < (y) ? -1 : (x) > (y))
static int weight_order(const void *a, const void *b)
{
	const struct weight *x = a, *y = b;
	int order = COMPARE((uintptr_t)x->cause, (uintptr_t)y->cause);
	if (!order)
		order = COMPARE((uintptr_t)x->thread, (uintptr_t)y->thread);
	if (!order)
		order = COMPARE(x->stack, y->stack);
	return order ? order : COMPARE((uintptr_t)x->function, (uintptr_t)y->function);
}

/* What separates frames and lines may stand in none; a control character in a name is no terminal's. */
static void name_write(FILE *out, const char *s)
{
	char clean[PROSE_MAX];
	for (const char *p = prose_fit(clean, sizeof clean, s, 200, FIT_TAIL); *p; p++)
		putc_unlocked(*p == ';' ? ',' : *p == '\n' || *p == '\r' ? ' ' : *p, out);
}

static void weight_write(FILE *out, const struct observations *o, const struct weight *w, uint64_t us)
{
	char label[PROSE_MAX];
	int n = 0;
	const uint32_t *ids = verdict_stack(o, w->stack, &n);
	fprintf(out, "%s;", w->cause);
	name_write(out, w->thread && *w->thread ? w->thread : "(no name)");
	if (!n) {
		putc(';', out);
		name_write(out, w->function ? w->function : "(not known)");
	}
	for (int i = n - 1; i >= 0; i--) {
		putc(';', out);
		name_write(out, frame_label(label, sizeof label, verdict_frame(o, ids[i]), true));
	}
	fprintf(out, " %" PRIu64 "\n", us);
}

static int folded_write(FILE *out, const struct verdict *v, const struct format_options *options)
{
	weights_t weights = {0};
	(void)options;
	for (size_t i = 0; i < v->processes.n; i++)
		stalls_walk(&v->processes.at[i], stall_add, &weights);
	if (weights.n)
		qsort(weights.at, weights.n, sizeof *weights.at, weight_order);
	for (size_t i = 0; i < weights.n && !ferror(out);) {
		const struct weight *first = &weights.at[i];
		uint64_t ns = 0;
		for (; i < weights.n && !weight_order(first, &weights.at[i]); i++)
			ns += weights.at[i].ns;
		if (ns >= 500)
			weight_write(out, v->seen, first, (ns + 500) / 1000);
	}
	vec_free(&weights);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static const struct format folded = {.name = "folded",
				     .help = "stalled microseconds by stack, for flame graphs",
				     .use = FORMAT_EXPORT,
				     .write = folded_write};
PART(format, format, folded);
