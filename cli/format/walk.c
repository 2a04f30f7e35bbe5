/* SPDX-License-Identifier: MIT
 *
 * Walks over a verdict, for formats (walk.h).
 */
#include "walk.h"

#include <stdlib.h>
#include <string.h>

void stalls_walk(const struct verdict_process *p, stall_visitor *visit, void *closure)
{
	size_t *next = xcalloc(p->loops.n + 1, sizeof(*next));
	for (bool more = true; more;) {
		size_t first = p->loops.n;
		for (size_t i = 0; i < p->loops.n; i++) {
			const struct verdict_loop *l = &p->loops.at[i], *f = &p->loops.at[first];
			if (next[i] < l->stalls.n &&
			    (first == p->loops.n ||
			     l->stalls.at[next[i]].seen->start_ns < f->stalls.at[next[first]].seen->start_ns))
				first = i;
		}
		more = first < p->loops.n &&
		       visit(closure, p, &p->loops.at[first], &p->loops.at[first].stalls.at[next[first]++]);
	}
	free(next);
}

static int place_order(const void *a, const void *b)
{
	const struct verdict_loop *x = ((const struct loop_place *)a)->loop,
				  *y = ((const struct loop_place *)b)->loop;
	return x->stalled_ns > y->stalled_ns ? -1 : x->stalled_ns < y->stalled_ns ? 1 : x > y ? 1 : -(x < y);
}

void loops_ranked(const struct verdict *v, loop_places_t *out)
{
	*out = (loop_places_t){0};
	for (size_t p = 0; p < v->processes.n; p++)
		for (size_t l = 0; l < v->processes.at[p].loops.n; l++)
			*vec_push(out) =
				(struct loop_place){&v->processes.at[p], &v->processes.at[p].loops.at[l]};
	if (out->n)
		qsort(out->at, out->n, sizeof *out->at, place_order);
}

void parts_walk(const struct verdict_stall *stall, part_visitor *visit, void *closure)
{
	for (size_t i = 0; i < stall->segments.n; i++) {
		const struct segment *s = &stall->segments.at[i];
		uint64_t at = s->start_ns;
		for (size_t k = 0; k < s->holders.n; k++) {
			const struct holder *h = &s->holders.at[k];
			visit(closure, &(struct blame_part){s->cause, h->thread, h->tid, at, h->ns, h->stack,
							    &h->culprit});
			at += h->ns;
		}
		if (!s->holders.n)
			visit(closure, &(struct blame_part){s->cause, stall->thread->name, stall->thread->tid,
							    at, s->ns, s->stack, &s->culprit});
	}
}

char *frame_label(char *buf, size_t size, const struct frame *f, bool line)
{
	const char *function = f->function ? f->function : "?",
		   *slash = f->file ? strrchr(f->file, '/') : NULL;
	const char *place = f->file ? (slash ? slash + 1 : f->file) : f->module;
	if (!place)
		snprintf(buf, size, "%s", function);
	else if (line && f->file && f->line > 0)
		snprintf(buf, size, "%s (%s:%d)", function, place, f->line);
	else
		snprintf(buf, size, "%s (%s)", function, place);
	return buf;
}

/* As the value of a key: what stands before a value is not part of it. */
static void stack_render(struct stack_text *text, const struct emit *j, const struct observations *o,
			 uint32_t stack, stack_writer *write)
{
	struct emit alone = {.line = j->line, .empty = true};
	write(&alone, NULL, o, stack);
	text->size = alone.used;
	text->at = xrealloc(alone.text, alone.used, 1);
}

void stack_emit(struct stack_texts *texts, struct emit *j, const char *key, const struct observations *o,
		uint32_t stack, stack_writer *write)
{
	if (!texts->at)
		texts->at = xcalloc(o->stack_begin.n + 1, sizeof *texts->at);
	struct stack_text *text = stack < o->stack_begin.n ? &texts->at[stack] : NULL;
	if (text && !text->at && texts->bytes < STACK_TEXTS_MAX) {
		stack_render(text, j, o, stack, write);
		texts->bytes += text->size;
	}
	if (text && text->at)
		emit_raw(j, key, text->at, text->size);
	else
		write(j, key, o, stack);
}

void stack_texts_free(struct stack_texts *texts, const struct observations *o)
{
	for (size_t i = 0; texts->at && i < o->stack_begin.n; i++)
		free(texts->at[i].at);
	free(texts->at);
	*texts = (struct stack_texts){0};
}
