/* SPDX-License-Identifier: MIT
 *
 * Which of the holds seen in a process are those that a loop waited for. Pure: facts in, facts out.
 */
#ifndef WHYSTALL_WATCH_HOLD_H
#define WHYSTALL_WATCH_HOLD_H

#include "observe.h"

struct watch_hold {
	uint32_t lock;
	uint32_t thread_id;  /* 0: by a tid that is not known */
	uint64_t start, end; /* start 0: not seen */
};

typedef VEC(struct obs_hold) holds_t;

struct hold_index {
	const struct watch_hold **at; /* by lock, then by end */
	bool *used;
	size_t n;
};
/* Of the holds that reach into start..end, without the thread's own. Free with hold_index_free. */
void hold_index_make(struct hold_index *, const struct watch_hold *holds, size_t n, uint64_t start,
		     uint64_t end, uint32_t thread_id);
void hold_index_free(struct hold_index *);
/* Adds those of the wait's lock during it, each once for all waits. Was there any? */
bool hold_index_find(struct hold_index *, const struct obs_wait *, holds_t *out);

#endif
