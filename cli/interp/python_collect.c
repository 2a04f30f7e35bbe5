/* SPDX-License-Identifier: MIT
 *
 * Whether a thread runs the cycle collector: the collector's own state says that it runs (Modules/gcmodule.c,
 * Python/gc.c: `collecting`), and it runs in the thread that has the interpreter's lock. Without that lock
 * (free-threaded builds) nothing says which thread it is. A finalizer may give the lock away in the middle
 * of a collection; then whoever has it meanwhile is taken for the collector, until it gives it back.
 */
#include "cli/interp/python.h"

struct collector {
	int collecting, middle, full, locked, enabled;
	int64_t objects;
	uint64_t holder;
};

/* Some 3.13.x has them 4 bytes earlier in a structure of the same length (PyGC_Head is aligned otherwise).
 * Their lists' heads tell: what is read there must be two addresses. */
static bool generations_there(struct interp *py, uint64_t gc)
{
	enum { HEAD_TO_COUNT = 20 }; /* struct gc_generation: next, prev, threshold, count */
	uint64_t link[2];
	return !mem_read(py->pid, gc + (uint64_t)py->layout.gc_middle_count - HEAD_TO_COUNT, link,
			 sizeof(link)) &&
	       link[0] && link[1] && !(link[0] >> 47) && !(link[1] >> 47) && !(link[0] % 4);
}

static int collector_read(struct interp *py, uint64_t gc, uint64_t gil, struct collector *out)
{
	const struct python_layout *l = &py->layout;
	struct mem_part part[7];
	int n = 0;
	*out = (struct collector){.middle = -1, .full = -1, .enabled = 1};
	part[n++] = (struct mem_part){gc + (uint64_t)l->gc_collecting, &out->collecting, 4};
	part[n++] = (struct mem_part){gil + (uint64_t)l->gil_locked, &out->locked, 4};
	part[n++] = (struct mem_part){gil + (uint64_t)l->gil_last_holder, &out->holder, 8};
	if (l->gil_enabled >= 0)
		part[n++] = (struct mem_part){gil + (uint64_t)l->gil_enabled, &out->enabled, 4};
	/* a micro release may have changed the rest of the structure: it says how long it is now */
	const struct python_layout *row = python_layout_find(l->minor, l->free_threaded);
	if (l->gc_full_count >= 0 && row && row->gc_size == l->gc_size &&
	    row->gc_collecting == l->gc_collecting && generations_there(py, gc)) {
		part[n++] = (struct mem_part){gc + (uint64_t)l->gc_middle_count, &out->middle, 4};
		part[n++] = (struct mem_part){gc + (uint64_t)l->gc_full_count, &out->full, 4};
		part[n++] = (struct mem_part){gc + (uint64_t)l->gc_long_lived, &out->objects, 8};
	}
	return mem_read_parts(py->pid, part, n);
}

/* Collecting a generation sets its count and those of the younger ones to 0, and raises the next one's. */
static enum collects generation(const struct collector *c)
{
	if (c->middle < 0 || c->full < 0)
		return COLLECTS_SOME;
	return c->middle > 0 ? COLLECTS_YOUNG : c->full > 0 ? COLLECTS_MIDDLE : COLLECTS_FULL;
}

int python_collects(struct interp *py, struct interp_thread thread, struct interp_collection *out)
{
	const struct python_layout *l = &py->layout;
	struct collector c;
	*out = (struct interp_collection){0};
	int e = python_refresh(py);
	int i = e ? e : python_thread_find(py, thread);
	if (i < 0)
		return i;
	const struct python_interp *in = &py->interp[py->thread_interp[i]];
	uint64_t gc = l->runtime_gc >= 0 ? py->at.runtime + (uint64_t)l->runtime_gc
					 : in->address + (uint64_t)l->interp_gc;
	uint64_t gil = l->runtime_gil >= 0 ? py->at.runtime + (uint64_t)l->runtime_gil : in->gil;
	if (!gil)
		return -EAGAIN;
	e = collector_read(py, gc, gil, &c);
	if (e)
		return e == -EFAULT ? -EAGAIN : e;
	if (!c.enabled)
		return 0;
	bool mine = c.collecting == 1 && c.locked == 1 && c.holder == py->thread[i];
	out->what = mine ? generation(&c) : COLLECTS_NOT;
	out->objects = c.objects > 0 && c.objects <= INT32_MAX ? (int)c.objects : 0;
	return 0;
}
