/* SPDX-License-Identifier: MIT
 *
 * Locks that do not say who has them (a futex of Rust's, of C++20's): that is only known once somebody wakes
 * the waiter. So every thread of the process is looked at while the wait lasts, a few each time, and the
 * looks at the one that it was are kept.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "watch_state.h"

#define CROWD_LOOKS 8u	 /* threads looked at each time */
#define CROWD_MAX 256u	 /* looks that wait to be wanted, about 4 MB */
#define CROWD_THREADS 64 /* threads of a process that are met this way */

/* Threads that the shim has not met may have the lock too. */
static void crowd_meet(struct watch *w, struct watch_proc *p)
{
	char path[64];
	struct dirent *entry;
	int met = 0;
	snprintf(path, sizeof path, "/proc/%d/task", p->pid);
	DIR *dir = opendir(path);
	while (dir && met < CROWD_THREADS && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			met += watch_thread_of(w, p, atoi(entry->d_name)) != NULL;
	if (dir)
		closedir(dir);
}

static bool crowd_has(const struct watch_thread *t, const struct watch_thread *loop)
{
	return t->proc == loop->proc && t != loop && !t->seen.end_ns;
}

void watch_crowd_look(struct watch *w, struct watch_thread *loop, struct watch_stall *s)
{
	size_t before = s->crowd.n;
	if (!before)
		crowd_meet(w, loop->proc);
	/* the next few, from where the last look left off */
	uint32_t last = before ? s->crowd.at[before - 1].seen.thread : 0;
	size_t from = 0, n = w->threads.n;
	for (size_t i = 0; i < n; i++)
		if (w->threads.at[i]->seen.id == last)
			from = i + 1;
	for (size_t i = 0; i < n && s->crowd.n < CROWD_MAX && s->crowd.n - before < CROWD_LOOKS; i++) {
		struct watch_thread *t = w->threads.at[(from + i) % n];
		if (crowd_has(t, loop))
			*vec_push(&s->crowd) = watch_look_read(w, t, true, true);
	}
}

void watch_crowd_keep(struct watch *w, struct watch_stall *s, uint32_t thread_id)
{
	size_t kept = 0;
	for (size_t i = 0; i < s->crowd.n; i++) {
		struct raw_sample *raw = &s->crowd.at[i];
		if (raw->seen.thread != thread_id || !s->kept) {
			s->crowd.at[kept++] = *raw;
			continue;
		}
		raw->seen.stall = s->seen.id;
		writer_add_sample(w->writer, raw);
	}
	s->crowd.n = kept;
}
