/* SPDX-License-Identifier: MIT
 *
 * In which file's mapping a loop's thread takes its major page faults. Asked only once a look has found it
 * blocked in one, or has found their number risen.
 */
#include <stdlib.h>

#include "watch_state.h"

#define OPEN_MAX_FAULTS 8u
#define MAPS_EVERY_NS (NS / 10) /* a process may have very many */

static const char *path_of(struct watch *w, struct watch_thread *t, uint64_t address)
{
	struct watch_fault *f = &t->fault;
	struct maps maps;
	if ((address >= f->start && address < f->end) || w->now < f->maps_at)
		return address >= f->start && address < f->end ? f->path : NULL;
	f->maps_at = w->now + MAPS_EVERY_NS;
	if (maps_read(t->proc->pid, &maps))
		return NULL;
	const struct map *m = maps_find(&maps, address);
	if (m) {
		f->start = m->start;
		f->end = m->end;
		f->path = m->path && m->path[0] == '/' ? m->path : NULL;
	}
	maps_free(&maps);
	return m ? f->path : NULL;
}

void watch_fault_look(struct watch *w, struct watch_thread *t, struct obs_sample *seen)
{
	struct watch_fault *f = &t->fault;
	bool rose = seen->faults > f->count;
	f->count = seen->faults;
	if (seen->run != RUN_FAULTING && !(rose && f->told))
		return;
	if (!f->perf && !f->denied && w->faults_open < OPEN_MAX_FAULTS) {
		f->perf = faults_open(t->seen.tid);
		f->denied = !f->perf;
		w->faults_open += f->perf != NULL;
	}
	f->told = true;
	uint64_t address = f->perf ? faults_latest(f->perf) : 0;
	if (address)
		f->target = path_of(w, t, address);
	if (seen->run == RUN_FAULTING || (address && seen->run == RUN_RUNNING))
		seen->target = f->target;
}

void watch_fault_close(struct watch *w, struct watch_thread *t)
{
	if (t->fault.perf)
		w->faults_open--;
	faults_close(t->fault.perf);
	t->fault = (struct watch_fault){0};
}
