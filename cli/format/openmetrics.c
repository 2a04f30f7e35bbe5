/* SPDX-License-Identifier: MIT
 *
 * OpenMetrics text 1.0 (openmetrics.io), for Prometheus: counters by loop and by culprit, and a histogram of
 * ticks. The number of series is bounded: past the worst ones, loops and culprits are summed as "(other)".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../format.h"
#include "../prose.h"

#define LOOPS_MAX 32
#define CULPRITS_MAX 100
#define OTHER "(other)"

static const uint64_t bounds_ms[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000};

/* A thread may have had several loops, one after the other: they are one series. */
struct loop_row {
	int pid, tid;
	const char *thread;
	bool other;
	uint64_t observed_ns, busy_ns, stalled_ns, stalls, ticks, below[LENGTH(bounds_ms)];
};
struct culprit_row {
	int pid, tid;
	const char *thread, *cause, *function, *file;
	bool other;
	uint64_t ns, stalls;
};
struct metrics {
	FILE *out;
	VEC(struct loop_row) loops;
	VEC(struct culprit_row) culprits;
};

static void loop_sum(struct loop_row *into, const struct loop_row *row)
{
	into->observed_ns += row->observed_ns;
	into->busy_ns += row->busy_ns;
	into->stalled_ns += row->stalled_ns;
	into->stalls += row->stalls;
	into->ticks += row->ticks;
	for (size_t i = 0; i < LENGTH(bounds_ms); i++)
		into->below[i] += row->below[i];
}

static void loop_add(struct metrics *m, const struct verdict_process *p, const struct verdict_loop *l)
{
	struct loop_row row = {.pid = p->seen->pid,
			       .tid = l->thread->tid,
			       .thread = l->thread->name,
			       .observed_ns = l->observed_ns,
			       .busy_ns = l->seen->tick_ns,
			       .stalled_ns = l->stalled_ns,
			       .stalls = l->stall_count};
	for (unsigned b = 0; b < TICK_BUCKETS; b++) {
		row.ticks += l->seen->count[b];
		for (size_t i = 0; i < LENGTH(bounds_ms); i++)
			if (tick_bucket_ns(b) <= bounds_ms[i] * 1000000)
				row.below[i] += l->seen->count[b];
	}
	for (size_t i = 0; i < m->loops.n; i++)
		if (m->loops.at[i].pid == row.pid && m->loops.at[i].tid == row.tid) {
			loop_sum(&m->loops.at[i], &row);
			return;
		}
	*vec_push(&m->loops) = row;
}

static int loop_order(const void *a, const void *b)
{
	const struct loop_row *x = a, *y = b;
	return x->stalled_ns > y->stalled_ns ? -1 : x->stalled_ns < y->stalled_ns;
}

static void loops_bound(struct metrics *m)
{
	if (m->loops.n)
		qsort(m->loops.at, m->loops.n, sizeof *m->loops.at, loop_order);
	if (m->loops.n <= LOOPS_MAX)
		return;
	struct loop_row *other = &m->loops.at[LOOPS_MAX];
	for (size_t i = LOOPS_MAX + 1; i < m->loops.n; i++)
		loop_sum(other, &m->loops.at[i]);
	other->other = true;
	m->loops.n = LOOPS_MAX + 1;
}

#define COMPARE(x, y) ((x) < (y) ? -1 : (x) > (y))
static int key_order(const void *a, const void *b)
{
	const struct culprit_row *x = a, *y = b;
	int order = COMPARE(x->pid, y->pid);
	if (!order)
		order = COMPARE(x->tid, y->tid);
	if (!order)
		order = strcmp(x->cause, y->cause);
	if (!order)
		order = COMPARE((uintptr_t)x->function, (uintptr_t)y->function);
	return order ? order : COMPARE((uintptr_t)x->file, (uintptr_t)y->file);
}

static int ns_order(const void *a, const void *b)
{
	const struct culprit_row *x = a, *y = b;
	return x->ns > y->ns ? -1 : x->ns < y->ns;
}

static void culprits_gather(struct metrics *m, const struct verdict_process *p, const struct verdict_loop *l)
{
	for (size_t i = 0; i < l->causes.n; i++) {
		const struct verdict_cause *c = &l->causes.at[i];
		*vec_push(&m->culprits) = (struct culprit_row){.pid = p->seen->pid,
							       .tid = l->thread->tid,
							       .thread = l->thread->name,
							       .cause = c->cause,
							       .function = c->culprit.function,
							       .file = c->culprit.file,
							       .ns = c->ns,
							       .stalls = c->stalls};
	}
}

static void culprits_merge(struct metrics *m)
{
	size_t kept = 0;
	if (m->culprits.n)
		qsort(m->culprits.at, m->culprits.n, sizeof *m->culprits.at, key_order);
	for (size_t i = 0; i < m->culprits.n; i++) {
		struct culprit_row *row = &m->culprits.at[i];
		if (kept && !key_order(&m->culprits.at[kept - 1], row)) {
			m->culprits.at[kept - 1].ns += row->ns;
			m->culprits.at[kept - 1].stalls += row->stalls;
		} else {
			m->culprits.at[kept++] = *row;
		}
	}
	m->culprits.n = kept;
}

/* Those past the limit, by cause. */
static void culprits_bound(struct metrics *m)
{
	size_t kept = CULPRITS_MAX;
	if (m->culprits.n)
		qsort(m->culprits.at, m->culprits.n, sizeof *m->culprits.at, ns_order);
	if (m->culprits.n <= CULPRITS_MAX)
		return;
	for (size_t i = CULPRITS_MAX; i < m->culprits.n; i++) {
		struct culprit_row row = m->culprits.at[i], *into = NULL;
		for (size_t k = CULPRITS_MAX; k < kept && !into; k++)
			if (!strcmp(m->culprits.at[k].cause, row.cause))
				into = &m->culprits.at[k];
		if (into) {
			into->ns += row.ns;
			into->stalls += row.stalls;
		} else {
			row.other = true;
			m->culprits.at[kept++] = row;
		}
	}
	m->culprits.n = kept;
}

/* --- text --- */

static void label_write(FILE *out, const char *name, const char *value)
{
	char clean[PROSE_MAX];
	fprintf(out, "%s=\"", name);
	for (const char *p = prose_fit(clean, sizeof clean, value ? value : "", 400, FIT_TAIL); *p; p++) {
		if (*p == '\\' || *p == '"')
			putc('\\', out);
		putc(*p, out);
	}
	putc('"', out);
}

static void thread_labels(FILE *out, int pid, int tid, const char *thread, bool other)
{
	if (other)
		fputs("pid=\"" OTHER "\",tid=\"" OTHER "\",thread=\"" OTHER "\"", out);
	else {
		fprintf(out, "pid=\"%d\",tid=\"%d\",", pid, tid);
		label_write(out, "thread", thread);
	}
}

static void family(FILE *out, const char *name, const char *type, const char *unit, const char *help)
{
	fprintf(out, "# TYPE %s %s\n", name, type);
	if (unit)
		fprintf(out, "# UNIT %s %s\n", name, unit);
	fprintf(out, "# HELP %s %s\n", name, help);
}

static void seconds_write(FILE *out, uint64_t ns)
{
	fprintf(out, "%" PRIu64 ".%09" PRIu64 "\n", ns / 1000000000, ns % 1000000000);
}

static void loop_series(const struct metrics *m, const char *name, size_t offset, bool seconds)
{
	for (size_t i = 0; i < m->loops.n; i++) {
		const struct loop_row *row = &m->loops.at[i];
		uint64_t value = *(const uint64_t *)((const char *)row + offset);
		fprintf(m->out, "%s_total{", name);
		thread_labels(m->out, row->pid, row->tid, row->thread, row->other);
		fputs("} ", m->out);
		if (seconds)
			seconds_write(m->out, value);
		else
			fprintf(m->out, "%" PRIu64 "\n", value);
	}
}

static void culprit_series(const struct metrics *m, const char *name, bool seconds)
{
	for (size_t i = 0; i < m->culprits.n; i++) {
		const struct culprit_row *row = &m->culprits.at[i];
		fprintf(m->out, "%s_total{", name);
		thread_labels(m->out, row->pid, row->tid, row->thread, row->other);
		fprintf(m->out, ",cause=\"%s\",", row->cause);
		label_write(m->out, "function", row->other ? OTHER : row->function);
		putc(',', m->out);
		label_write(m->out, "file", row->other ? OTHER : row->file);
		fputs("} ", m->out);
		if (seconds)
			seconds_write(m->out, row->ns);
		else
			fprintf(m->out, "%" PRIu64 "\n", row->stalls);
	}
}

static void histogram_write(const struct metrics *m)
{
	static const char name[] = "whystall_tick_seconds";
	family(m->out, name, "histogram", "seconds", "Length of the loop's ticks.");
	for (size_t i = 0; i < m->loops.n; i++) {
		const struct loop_row *row = &m->loops.at[i];
		for (size_t b = 0; b <= LENGTH(bounds_ms); b++) {
			fprintf(m->out, "%s_bucket{", name);
			thread_labels(m->out, row->pid, row->tid, row->thread, row->other);
			if (b < LENGTH(bounds_ms))
				fprintf(m->out, ",le=\"%g%s\"} %" PRIu64 "\n", (double)bounds_ms[b] / 1e3,
					bounds_ms[b] % 1000 ? "" : ".0", row->below[b]);
			else
				fprintf(m->out, ",le=\"+Inf\"} %" PRIu64 "\n", row->ticks);
		}
		fprintf(m->out, "%s_count{", name);
		thread_labels(m->out, row->pid, row->tid, row->thread, row->other);
		fprintf(m->out, "} %" PRIu64 "\n%s_sum{", row->ticks, name);
		thread_labels(m->out, row->pid, row->tid, row->thread, row->other);
		fputs("} ", m->out);
		seconds_write(m->out, row->busy_ns);
	}
}

static int openmetrics_write(FILE *out, const struct verdict *v, const struct format_options *options)
{
	struct metrics m = {.out = out};
	(void)options;
	for (size_t p = 0; p < v->processes.n; p++)
		for (size_t l = 0; l < v->processes.at[p].loops.n; l++) {
			loop_add(&m, &v->processes.at[p], &v->processes.at[p].loops.at[l]);
			culprits_gather(&m, &v->processes.at[p], &v->processes.at[p].loops.at[l]);
		}
	loops_bound(&m);
	culprits_merge(&m);
	culprits_bound(&m);
	family(out, "whystall_observed_seconds", "counter", "seconds",
	       "Time for which the loop was watched.");
	loop_series(&m, "whystall_observed_seconds", offsetof(struct loop_row, observed_ns), true);
	family(out, "whystall_stalls", "counter", NULL, "Ticks of the threshold or more.");
	loop_series(&m, "whystall_stalls", offsetof(struct loop_row, stalls), false);
	family(out, "whystall_stalled_seconds", "counter", "seconds", "Time in stalls.");
	loop_series(&m, "whystall_stalled_seconds", offsetof(struct loop_row, stalled_ns), true);
	family(out, "whystall_culprit_seconds", "counter", "seconds", "Time in stalls by who is to blame.");
	culprit_series(&m, "whystall_culprit_seconds", true);
	family(out, "whystall_culprit_stalls", "counter", NULL, "Stalls in which it had a part.");
	culprit_series(&m, "whystall_culprit_stalls", false);
	histogram_write(&m);
	family(out, "whystall_lost_events", "counter", NULL, "Events that were lost while recording.");
	fprintf(out, "whystall_lost_events_total %" PRIu64 "\n# EOF\n", v->seen->capture.lost_events);
	vec_free(&m.loops);
	vec_free(&m.culprits);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static const struct format openmetrics = {.name = "openmetrics",
					  .help = "counters and a histogram, for Prometheus",
					  .use = FORMAT_EXPORT,
					  .write = openmetrics_write};
PART(format, format, openmetrics);
