/* SPDX-License-Identifier: MIT
 *
 * What a scraper sees of a record (metrics.h; written out by metrics_text.c).
 *  - Labels name the program, not the process: a server that replaces its workers has the same series all
 * along, with the sum of all of them in each. Past the first so many loops and culprits, the rest is one
 * "(other)"; a culprit that turns out to matter later is counted by its name from then on.
 *  - A counter never falls. A stall counts when it has ended, for what it is blamed on may change until then;
 *    until then a gauge shows it. Where a loop's total would fall all the same, because time turns out to
 * have been outside the loop, the counter stays until the total has caught up.
 */
#include "metrics.h"

#include <stdlib.h>
#include <string.h>

#include "format/text.h"
#include "format/walk.h"
#include "metrics_rows.h"
#include "store.h"

#define CULPRITS_SHOWN 100
#define CULPRITS_LATER 50 /* so many more that turn out to matter */
#define CULPRITS_KNOWN 2000

const uint64_t metrics_bounds_ms[METRICS_BOUNDS] = {1,	 2,   5,    10,	  20,	50,   100,
						    200, 500, 1000, 2000, 5000, 10000};

struct metrics *metrics_new(void)
{
	return xcalloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *m)
{
	vec_free(&m->loops);
	vec_free(&m->sources);
	vec_free(&m->culprits);
	vec_free(&m->others);
	vec_free(&m->under_way);
	free(m);
}

/* --- loops --- */

static uint32_t series_of(struct metrics *m, const char *process, const char *thread)
{
	for (size_t i = 0; i < m->loops.n; i++)
		if (m->loops.at[i].other ||
		    (m->loops.at[i].process == process && m->loops.at[i].thread == thread))
			return (uint32_t)i;
	struct metrics_loop *row = vec_push(&m->loops);
	row->other = m->loops.n > METRICS_LOOPS;
	row->process = row->other ? METRICS_OTHER : process;
	row->thread = row->other ? METRICS_OTHER : thread;
	return (uint32_t)(m->loops.n - 1);
}

/* A loop's series is settled when it is first seen: a thread may change its name. */
static struct metrics_source *source_of(struct metrics *m, const struct verdict_process *p,
					const struct verdict_loop *l)
{
	char process[PROSE_MAX];
	for (size_t i = 0; i < m->sources.n; i++)
		if (m->sources.at[i].loop == l->seen->id)
			return &m->sources.at[i];
	name_program(process, sizeof process, p->seen->command);
	uint32_t series = series_of(m, intern(process), intern(l->thread->name ? l->thread->name : ""));
	struct metrics_source *s = vec_push(&m->sources);
	s->loop = l->seen->id;
	s->series = series;
	return s;
}

static void ticks_correct(struct metrics_source *s, uint64_t ns, int by)
{
	uint64_t as_counted = tick_bucket_ns(tick_bucket(ns));
	if (!ns)
		return;
	s->sum[TOTAL_BUSY] += by * (int64_t)ns;
	s->sum[TOTAL_TICKS] += by;
	for (int i = 0; i < METRICS_BOUNDS; i++)
		if (as_counted <= metrics_bounds_ms[i] * 1000000)
			s->sum[TOTAL_BELOW + i] += by;
}

static void loop_sum(struct metrics_loop *row, const struct metrics_source *s, const struct verdict_loop *l)
{
	const struct obs_loop *seen = l->seen;
	int64_t sum[TOTALS];
	memcpy(sum, s->sum, sizeof sum);
	sum[TOTAL_OBSERVED] += seen->last_ns > seen->first_ns ? (int64_t)(seen->last_ns - seen->first_ns) : 0;
	sum[TOTAL_STALLS] += (int64_t)seen->suppressed;
	sum[TOTAL_BUSY] += (int64_t)seen->tick_ns;
	for (unsigned b = 0; b < TICK_BUCKETS; b++) {
		sum[TOTAL_TICKS] += (int64_t)seen->count[b];
		for (int i = 0; i < METRICS_BOUNDS; i++)
			if (tick_bucket_ns(b) <= metrics_bounds_ms[i] * 1000000)
				sum[TOTAL_BELOW + i] += (int64_t)seen->count[b];
	}
	/* a record has its stalls before the second's totals */
	for (int i = TOTAL_STALLED; i <= TOTAL_BUSY; i += TOTAL_BUSY - TOTAL_STALLED)
		if (sum[TOTAL_OBSERVED] < sum[i])
			sum[TOTAL_OBSERVED] = sum[i];
	for (int i = 0; i < TOTALS; i++)
		row->now[i] += sum[i] > 0 ? (uint64_t)sum[i] : 0;
}

/* --- culprits --- */

/* Strings are interned: equal ones are one, which is all that counts here. */
#define COMPARE(x, y) ((x) < (y) ? -1 : (x) > (y))
static int key_order(const struct metrics_culprit *x, const struct metrics_culprit *y)
{
	int order = COMPARE(x->series, y->series);
	if (!order)
		order = COMPARE((uintptr_t)x->cause, (uintptr_t)y->cause);
	if (!order)
		order = COMPARE((uintptr_t)x->function, (uintptr_t)y->function);
	return order ? order : COMPARE((uintptr_t)x->file, (uintptr_t)y->file);
}

static int part_order(const void *a, const void *b)
{
	const struct metrics_culprit *x = a, *y = b;
	int order = key_order(x, y);
	return order ? order : COMPARE(x->stall, y->stall);
}

static int ns_order(const void *a, const void *b)
{
	const struct metrics_culprit *x = a, *y = b;
	return x->ns > y->ns ? -1 : x->ns < y->ns;
}

struct gathering {
	parts_t parts;
	uint32_t series, stall;
};

static void part_gather(void *closure, const struct blame_part *p)
{
	struct gathering *g = closure;
	*vec_push(&g->parts) = (struct metrics_culprit){.series = g->series,
							.cause = intern(p->cause),
							.function = p->culprit->function,
							.file = p->culprit->file,
							.stall = g->stall,
							.ns = p->ns};
}

/* One row for each culprit, those with most seconds first. */
static void parts_merge(parts_t *parts)
{
	size_t kept = 0;
	if (!parts->n)
		return;
	qsort(parts->at, parts->n, sizeof *parts->at, part_order);
	for (size_t i = 0; i < parts->n; i++) {
		struct metrics_culprit *part = &parts->at[i], *into = kept ? &parts->at[kept - 1] : NULL;
		if (!into || key_order(into, part)) {
			part->stalls = 1;
			parts->at[kept++] = *part;
			continue;
		}
		into->ns += part->ns;
		into->stalls += into->stall != part->stall;
		into->stall = part->stall;
	}
	parts->n = kept;
	qsort(parts->at, parts->n, sizeof *parts->at, ns_order);
}

static void other_add(struct metrics *m, const struct metrics_culprit *part)
{
	struct metrics_culprit *into = NULL;
	for (size_t i = 0; i < m->others.n && !into; i++)
		if (m->others.at[i].cause == part->cause)
			into = &m->others.at[i];
	if (!into) {
		into = vec_push(&m->others);
		into->cause = part->cause;
	}
	into->ns += part->ns;
	into->stalls += part->stalls;
}

static void culprit_add(struct metrics *m, const struct metrics_culprit *part)
{
	struct metrics_culprit *row = NULL;
	m->stalled_ns += part->ns;
	for (size_t i = 0; i < m->culprits.n && !row; i++)
		if (!key_order(&m->culprits.at[i], part))
			row = &m->culprits.at[i];
	if (!row && m->culprits.n < CULPRITS_KNOWN) {
		row = vec_push(&m->culprits);
		*row = (struct metrics_culprit){.series = part->series,
						.cause = part->cause,
						.function = part->function,
						.file = part->file,
						.shown = m->shown < CULPRITS_SHOWN};
		m->shown += row->shown;
	}
	if (!row || !row->shown)
		other_add(m, part);
	if (row && row->shown) {
		row->ns += part->ns;
		row->stalls += part->stalls;
	} else if (row && (row->hidden_ns += part->ns) > m->stalled_ns / 100 &&
		   m->shown < CULPRITS_SHOWN + CULPRITS_LATER) {
		row->shown = true;
		m->shown++;
	}
}

/* --- stalls --- */

/* The longest of each series, with what it is mostly due to so far. */
static void under_way_add(struct metrics *m, uint32_t series, const struct verdict_stall *stall)
{
	struct gathering g = {.series = series};
	struct metrics_culprit *row = NULL;
	parts_walk(stall, part_gather, &g);
	parts_merge(&g.parts);
	for (size_t i = 0; i < m->under_way.n && !row; i++)
		if (m->under_way.at[i].series == series)
			row = &m->under_way.at[i];
	if (g.parts.n && (!row || row->ns < stall->ns)) {
		row = row ? row : vec_push(&m->under_way);
		*row = g.parts.at[0];
		row->ns = stall->ns;
	}
	vec_free(&g.parts);
}

static void stalls_take(struct metrics *m, struct metrics_source *s, const struct verdict *v,
			const struct verdict_loop *l, struct gathering *g)
{
	for (size_t i = 0; i < l->stalls.n; i++) {
		const struct verdict_stall *stall = &l->stalls.at[i];
		if (stall_under_way(v->seen, stall->seen)) {
			under_way_add(m, s->series, stall);
			continue;
		}
		s->sum[TOTAL_STALLS]++;
		s->sum[TOTAL_STALLED] += (int64_t)stall->ns;
		if (stall->seen->ongoing) /* cut off: not among the ticks */
			ticks_correct(s, stall->ns, 1);
		g->series = s->series;
		g->stall = stall->seen->id;
		parts_walk(stall, part_gather, g);
	}
	for (size_t i = 0; i < l->cuts.n; i++) {
		const struct tick_cut *cut = &l->cuts.at[i];
		if (stall_under_way(v->seen, cut->seen))
			continue;
		s->sum[TOTAL_OBSERVED] -= (int64_t)(cut->was_ns - cut->is_ns);
		ticks_correct(s, cut->was_ns, -1);
		ticks_correct(s, cut->is_ns, 1);
	}
}

void metrics_take(struct metrics *m, const struct verdict *v)
{
	loop_places_t places;
	struct gathering g = {0};
	m->under_way.n = 0;
	m->capture = v->seen->capture;
	for (size_t i = 0; i < m->loops.n; i++)
		memset(m->loops.at[i].now, 0, sizeof m->loops.at[i].now);
	loops_ranked(v, &places); /* where not all can have their own series, the worst do */
	for (size_t i = 0; i < places.n; i++) {
		struct metrics_source *s = source_of(m, places.at[i].process, places.at[i].loop);
		stalls_take(m, s, v, places.at[i].loop, &g);
		loop_sum(&m->loops.at[s->series], s, places.at[i].loop);
	}
	parts_merge(&g.parts);
	for (size_t i = 0; i < g.parts.n; i++)
		culprit_add(m, &g.parts.at[i]);
	for (size_t i = 0; i < m->loops.n; i++)
		for (int k = 0; k < TOTALS; k++)
			if (m->loops.at[i].now[k] > m->loops.at[i].shown[k])
				m->loops.at[i].shown[k] = m->loops.at[i].now[k];
	vec_free(&places);
	vec_free(&g.parts);
}
