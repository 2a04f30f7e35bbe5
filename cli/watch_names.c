/* SPDX-License-Identifier: MIT
 *
 * The thread that --loop names, by name or tid. Where there is none, what threads were called is told: names
 * are mistyped, and a runtime's differ from the kernel's.
 */
#include <stdlib.h>
#include <string.h>

#include "watch_state.h"

#define NAMES_MAX 64u
#define NAMES_TOLD 8u

bool watch_names_it(const struct watch *w, const struct watch_thread *t)
{
	char tid[16];
	snprintf(tid, sizeof tid, "%d", t->seen.tid);
	return !strcmp(w->options.loop, tid) || (t->seen.name && !strcmp(w->options.loop, t->seen.name));
}

/* The kernel's name of a thread gives way to its runtime's. */
void watch_names_seen(struct watch *w, const char *old, const char *name)
{
	const char **place = NULL;
	if (!w->options.loop)
		return;
	for (size_t i = 0; i < w->names.n; i++) {
		if (w->names.at[i] == name)
			return;
		if (old && w->names.at[i] == old)
			place = &w->names.at[i];
	}
	if (!place && w->names.n < NAMES_MAX)
		place = vec_push(&w->names);
	if (place)
		*place = name;
}

void watch_names_note(struct watch *w)
{
	char note[1024];
	const char *wanted = w->options.loop;
	bool seen = wanted && wanted[strspn(wanted, "0123456789")] == 0;
	if (!wanted || w->loop_named)
		return;
	for (size_t i = 0; i < w->names.n; i++)
		seen = seen || !strcmp(w->names.at[i], wanted);
	if (seen) {
		snprintf(note, sizeof note, "The thread %.200s, which --loop names, ran no loop.", wanted);
		watch_note(w, note);
		return;
	}
	int n = snprintf(note, sizeof note,
			 "No thread is called %.200s, as --loop has it; threads seen:", wanted);
	for (size_t i = 0; i < w->names.n && i < NAMES_TOLD; i++)
		n += snprintf(note + n, sizeof note - (size_t)n, "%s %.60s", i ? "," : "", w->names.at[i]);
	snprintf(note + n, sizeof note - (size_t)n, "%s",
		 !w->names.n		   ? " none."
		 : w->names.n > NAMES_TOLD ? " and others."
					   : ".");
	watch_note(w, note);
}
