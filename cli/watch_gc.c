/* SPDX-License-Identifier: MIT
 *
 * A look at the cycle collector of a thread's interpreter. That state tells more than the native stack, which
 * has no names in a stripped interpreter and is some milliseconds old where the thread runs.
 */
#include "watch_state.h"

void watch_gc_look(struct watch_thread *t, struct obs_sample *seen)
{
	struct watch_proc *p = t->proc;
	struct interp_collection gc = {0};
	struct interp_thread key = {.tid = t->seen.tid, .pthread = t->slot ? t->slot->pthread : 0};
	if (!p->interp || !p->ops->collects || p->ops->collects(p->interp, key, &gc))
		return;
	seen->collects = gc.what;
	seen->gc_objects = gc.what == COLLECTS_NOT ? 0 : gc.objects;
}
