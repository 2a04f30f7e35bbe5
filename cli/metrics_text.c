/* SPDX-License-Identifier: MIT
 *
 * The two text formats of metrics: OpenMetrics 1.0.0 (openmetrics.io) and Prometheus' own, version 0.0.4
 * ("Exposition formats" in its documentation). Samples are the same; they differ in what a family is called
 * and in how the text ends.
 */
#include <inttypes.h>

#include "metrics.h"
#include "metrics_rows.h"
#include "prose.h"

struct text_out {
	FILE *out;
	const struct metrics *m;
	bool open; /* OpenMetrics */
};

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

static void loop_labels(FILE *out, const struct metrics_loop *l)
{
	label_write(out, "process", l->process);
	putc(',', out);
	label_write(out, "thread", l->thread);
}

static void culprit_labels(const struct text_out *t, const struct metrics_culprit *c, bool other)
{
	static const struct metrics_loop others = {.process = METRICS_OTHER, .thread = METRICS_OTHER};
	loop_labels(t->out, other ? &others : &t->m->loops.at[c->series]);
	fprintf(t->out, ",cause=\"%s\",", c->cause);
	label_write(t->out, "function", other ? METRICS_OTHER : c->function);
	putc(',', t->out);
	label_write(t->out, "file", other ? METRICS_OTHER : c->file);
}

static void family(const struct text_out *t, const char *name, const char *type, const char *unit,
		   const char *help)
{
	const char *end = t->open || *type != 'c' ? "" : "_total";
	fprintf(t->out, "# TYPE %s%s %s\n", name, end, type);
	if (unit && t->open)
		fprintf(t->out, "# UNIT %s %s\n", name, unit);
	fprintf(t->out, "# HELP %s%s %s\n", name, end, help);
}

static void value_write(FILE *out, uint64_t value, bool seconds)
{
	if (seconds)
		fprintf(out, "} %llu.%09llu\n", value / NS, value % NS);
	else
		fprintf(out, "} %" PRIu64 "\n", value);
}

static void loops_write(const struct text_out *t, const char *name, int total, bool seconds)
{
	for (size_t i = 0; i < t->m->loops.n; i++) {
		fprintf(t->out, "%s_total{", name);
		loop_labels(t->out, &t->m->loops.at[i]);
		value_write(t->out, t->m->loops.at[i].shown[total], seconds);
	}
}

static void culprits_write(const struct text_out *t, const char *name, bool seconds)
{
	const parts_t *lists[] = {&t->m->culprits, &t->m->others};
	for (int list = 0; list < 2; list++)
		for (size_t i = 0; i < lists[list]->n; i++) {
			const struct metrics_culprit *c = &lists[list]->at[i];
			if (!list && !c->shown)
				continue;
			fprintf(t->out, "%s_total{", name);
			culprit_labels(t, c, list);
			value_write(t->out, seconds ? c->ns : c->stalls, seconds);
		}
}

static void histogram_write(const struct text_out *t)
{
	static const char name[] = "whystall_tick_seconds";
	family(t, name, "histogram", "seconds", "Length of the loop's ticks.");
	for (size_t i = 0; i < t->m->loops.n; i++) {
		const struct metrics_loop *row = &t->m->loops.at[i];
		for (int b = 0; b < METRICS_BOUNDS; b++) {
			fprintf(t->out, "%s_bucket{", name);
			loop_labels(t->out, row);
			fprintf(t->out, ",le=\"%g%s\"", (double)metrics_bounds_ms[b] / 1e3,
				metrics_bounds_ms[b] % 1000 ? "" : ".0");
			value_write(t->out, row->shown[TOTAL_BELOW + b], false);
		}
		fprintf(t->out, "%s_bucket{", name);
		loop_labels(t->out, row);
		fputs(",le=\"+Inf\"", t->out);
		value_write(t->out, row->shown[TOTAL_TICKS], false);
		fprintf(t->out, "%s_count{", name);
		loop_labels(t->out, row);
		value_write(t->out, row->shown[TOTAL_TICKS], false);
		fprintf(t->out, "%s_sum{", name);
		loop_labels(t->out, row);
		value_write(t->out, row->shown[TOTAL_BUSY], true);
	}
}

static void info_write(const struct text_out *t)
{
	static const char *const backends[] = {
		[BACKEND_PRELOAD] = "preload", [BACKEND_EBPF] = "ebpf", [BACKEND_MIXED] = "mixed"};
	const struct obs_capture *c = &t->m->capture;
	if (t->open)
		family(t, "whystall", "info", NULL, "What watches.");
	else
		family(t, "whystall_info", "gauge", NULL, "What watches.");
	if (!c->run_id)
		return; /* an empty record */
	fputs("whystall_info{", t->out);
	label_write(t->out, "version", c->version ? c->version : VERSION);
	fprintf(t->out, ",backend=\"%s\",",
		c->backend && (size_t)c->backend < LENGTH(backends) ? backends[c->backend] : "");
	label_write(t->out, "service", c->service);
	putc(',', t->out);
	label_write(t->out, "run_id", c->run_id);
	fputs("} 1\n", t->out);
}

void metrics_write(const struct metrics *m, FILE *out, enum metrics_text text)
{
	struct text_out t = {.out = out, .m = m, .open = text == METRICS_OPEN};
	info_write(&t);
	family(&t, "whystall_observed_seconds", "counter", "seconds", "Time for which the loop was watched.");
	loops_write(&t, "whystall_observed_seconds", TOTAL_OBSERVED, true);
	family(&t, "whystall_stalls", "counter", NULL, "Ticks of the threshold or more that have ended.");
	loops_write(&t, "whystall_stalls", TOTAL_STALLS, false);
	family(&t, "whystall_stalled_seconds", "counter", "seconds", "Time in stalls that have ended.");
	loops_write(&t, "whystall_stalled_seconds", TOTAL_STALLED, true);
	family(&t, "whystall_culprit_seconds", "counter", "seconds",
	       "Time in stalls that have ended, by who is to blame.");
	culprits_write(&t, "whystall_culprit_seconds", true);
	family(&t, "whystall_culprit_stalls", "counter", NULL, "Stalls in which it had a part.");
	culprits_write(&t, "whystall_culprit_stalls", false);
	family(&t, "whystall_stall_under_way_seconds", "gauge", "seconds",
	       "The longest stall that has not ended, and what it is mostly due to so far.");
	for (size_t i = 0; i < m->under_way.n; i++) {
		fputs("whystall_stall_under_way_seconds{", out);
		culprit_labels(&t, &m->under_way.at[i], false);
		value_write(out, m->under_way.at[i].ns, true);
	}
	histogram_write(&t);
	family(&t, "whystall_lost_events", "counter", NULL, "Events that were lost while recording.");
	fprintf(out, "whystall_lost_events_total %" PRIu64 "\n", m->capture.lost_events);
	if (t.open)
		fputs("# EOF\n", out);
}
