/* SPDX-License-Identifier: MIT
 *
 * The holds of a stall's waits (watch_hold.h). A long stall may have ten thousands of both: they are sorted
 * once, and each wait looks at its own.
 */
#include "watch_hold.h"

#include <stdlib.h>

#define BEYOND 8u /* holds that end after the wait did: several readers, and the wait was given up */

static int hold_order(const void *a, const void *b)
{
	const struct watch_hold *x = *(const struct watch_hold *const *)a,
				*y = *(const struct watch_hold *const *)b;
	if (x->lock != y->lock)
		return x->lock < y->lock ? -1 : 1;
	return x->end < y->end ? -1 : x->end > y->end;
}

void hold_index_make(struct hold_index *index, const struct watch_hold *holds, size_t n, uint64_t start,
		     uint64_t end, uint32_t thread_id)
{
	index->n = 0;
	index->at = xcalloc(n + 1, sizeof *index->at);
	index->used = xcalloc(n + 1, sizeof *index->used);
	for (size_t i = 0; i < n; i++)
		if (holds[i].end > start && holds[i].start < end && holds[i].thread_id != thread_id)
			index->at[index->n++] = &holds[i];
	qsort(index->at, index->n, sizeof *index->at, hold_order);
}

void hold_index_free(struct hold_index *index)
{
	free(index->at);
	free(index->used);
}

/* The first hold of the wait's lock that ends after the wait began. */
static size_t hold_first(const struct hold_index *index, const struct obs_wait *wait)
{
	size_t low = 0, high = index->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct watch_hold *h = index->at[middle];
		if (h->lock < wait->lock || (h->lock == wait->lock && h->end <= wait->start_ns))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void hold_add(const struct watch_hold *h, const struct obs_wait *wait, holds_t *out)
{
	struct obs_hold *to = vec_push(out);
	to->lock = h->lock;
	to->thread = h->thread_id;
	to->start_ns = h->start ? h->start : wait->start_ns;
	to->end_ns = h->end;
	to->at_least = !h->start;
}

bool hold_index_find(struct hold_index *index, const struct obs_wait *wait, holds_t *out)
{
	bool found = false;
	unsigned beyond = 0;
	for (size_t i = hold_first(index, wait); i < index->n && beyond < BEYOND; i++) {
		const struct watch_hold *h = index->at[i];
		if (h->lock != wait->lock)
			break;
		bool after = h->end > wait->end_ns;
		beyond += after;
		/* one whose beginning was not seen, and that ends later, began later unless nobody else was
		 * it */
		if (h->start >= wait->end_ns || (after && !h->start && found))
			continue;
		found = true;
		if (!index->used[i])
			hold_add(h, wait, out);
		index->used[i] = true;
	}
	return found;
}
