/* SPDX-License-Identifier: MIT
 *
 * On a machine without a CPU to spare, a wait is longer because those that it is for get none. Of a holder
 * that was looked at often enough its samples tell; of others nobody knows, and a gate that takes all of such
 * a wait for the program's fault turns red by chance. So as much of it is in doubt as the loop itself ever
 * had no CPU at once, twice: to come so far, and to let go. A loop that hardly ever lacked one has no doubts.
 */
#include <string.h>

#include "timeline.h"

#define STARVED_SHARE 0.01 /* of the loop's time, or of its thread's life */

static uint64_t starved_of(const struct verdict_stall *s)
{
	uint64_t ns = 0;
	for (size_t k = 0; k < s->segments.n; k++)
		if (!strcmp(s->segments.at[k].cause, "runqueue"))
			ns += s->segments.at[k].ns;
	return ns > s->lack_ns ? ns : s->lack_ns;
}

/* The thread's own count, since its birth. */
static bool thread_starved(const struct judge *j, const struct verdict_loop *l)
{
	const struct obs_sample *last = NULL;
	for (size_t i = 0; l->thread && i < j->seen->samples.n; i++) {
		const struct obs_sample *s = &j->seen->samples.at[i];
		if (s->thread == l->thread->id && s->delay_ns >= 0 && (!last || s->time_ns > last->time_ns))
			last = s;
	}
	return last && last->time_ns > l->thread->start_ns &&
	       (double)last->delay_ns > STARVED_SHARE * (double)(last->time_ns - l->thread->start_ns);
}

void loop_doubt(const struct judge *j, struct verdict_loop *l)
{
	uint64_t longest = 0, all = 0,
		 observed = l->seen->last_ns > l->seen->first_ns ? l->seen->last_ns - l->seen->first_ns : 0;
	for (size_t i = 0; i < l->stalls.n; i++) {
		uint64_t ns = starved_of(&l->stalls.at[i]);
		longest = ns > longest ? ns : longest;
		all += ns;
	}
	if (!longest || ((double)all <= STARVED_SHARE * (double)observed && !thread_starved(j, l)))
		return;
	for (size_t i = 0; i < l->stalls.n; i++)
		for (size_t k = 0; k < l->stalls.at[i].segments.n; k++) {
			struct segment *s = &l->stalls.at[i].segments.at[k];
			for (size_t h = 0; h < s->holders.n; h++)
				if (s->holders.at[h].runnable_ns < 0)
					s->holders.at[h].doubt_ns = 2 * longest;
			if (s->lock && !s->holders.n)
				s->doubt_ns = 2 * longest;
		}
}
