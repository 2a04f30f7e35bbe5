/* SPDX-License-Identifier: MIT
 *
 * JUnit's XML, as CI systems read it. Of a check each limit is a test case, the baseline one more; of a
 * report each loop, which fails if it stalled. `file` and `line` are in no schema of it, but GitLab, CircleCI
 * and the actions that annotate a pull request go by them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../budget.h"
#include "../compare.h"
#include "html.h"

#define CAUSES_SHOWN 10
#define CHANGES_SHOWN 100

static void place_attributes(FILE *out, const struct culprit *c)
{
	if (!c->file)
		return;
	fputs(" file=\"", out);
	markup_text(out, c->file, 600);
	putc('"', out);
	if (c->line > 0)
		fprintf(out, " line=\"%d\"", c->line);
}

static void case_begin(FILE *out, const char *name, const struct culprit *c)
{
	fprintf(out, "    <testcase classname=\"whystall\" name=\"%s\"", name);
	if (c)
		place_attributes(out, c);
}

static void culprit_line(const struct text *t, const char *cause, const struct culprit *c, uint64_t ns,
			 const struct verdict_cause *whole)
{
	char *who, time[32], name[PROSE_MAX];
	size_t size;
	FILE *out = open_memstream(&who, &size);
	if (!out)
		return;
	fprintf(out, "%s  ", cause);
	text_culprit(t, out, c);
	if (c->tid)
		fprintf(out, "  in %s", name_thread(name, sizeof name, c->thread, c->tid));
	fprintf(out, "  %s", time_format(time, sizeof time, ns));
	fclose(out);
	markup_text(t->out, who, 600);
	free(who);
	putc('\n', t->out);
	if (whole && whole->advice) {
		markup_text(t->out, whole->advice, 600);
		putc('\n', t->out);
	}
}

/* Which stall it was, and in which test. */
static void stall_line(const struct text *t, const struct verdict_stall *stall)
{
	char time[64];
	fprintf(t->out, "stall #%u at %s", stall->seen->id,
		name_moment(time, sizeof time, &t->seen->capture, stall->seen->start_ns));
	if (stall->mark) {
		fputs(", in test ", t->out);
		markup_text(t->out, stall->mark, 600);
	}
	putc('\n', t->out);
}

static void limit_case(const struct text *t, const struct outcome *o, const struct limit *limit)
{
	char value[48], allowed[48], hint[256], loop[PROSE_MAX];
	bool told = limit->broken || limit->warned;
	case_begin(t->out, limit_name(limit),
		   told && limit->charges.n ? &limit->charges.at[0].culprit : NULL);
	if (!told) {
		fputs("/>\n", t->out);
		return;
	}
	limit_value(value, sizeof value, limit);
	limit_allowed(allowed, sizeof allowed, limit);
	if (limit->broken)
		fprintf(t->out, ">\n      <failure type=\"budget\" message=\"%s, allowed %s\">", value,
			allowed);
	else
		fprintf(t->out, ">\n      <system-out>a warning only: %s, allowed %s\n", value, allowed);
	if (o->loops > 1) {
		fputs("loop in ", t->out);
		markup_text(t->out, name_loop(loop, sizeof loop, limit->loop), 200);
		fprintf(t->out, ", pid %d\n", limit->process->seen->pid);
	}
	if (limit->stall)
		stall_line(t, limit->stall);
	if (*limit_hint(hint, sizeof hint, limit))
		fprintf(t->out, "%s\n", hint);
	for (size_t i = 0; i < limit->charges.n && i < 5; i++)
		if (limit->charges.at[i].ns >= limit->charges.at[0].ns / 20)
			culprit_line(t, limit->charges.at[i].cause, &limit->charges.at[i].culprit,
				     limit->charges.at[i].ns, limit->charges.at[i].whole);
	fprintf(t->out, "</%s>\n    </testcase>\n", limit->broken ? "failure" : "system-out");
}

static void baseline_case(const struct text *t, const struct outcome *o)
{
	const struct comparison *c = o->compared;
	char was[64], is[64];
	case_begin(t->out, "baseline", o->regressed ? &c->changes.at[0].culprit : NULL);
	if (!o->regressed) {
		fputs("/>\n", t->out);
		return;
	}
	fprintf(t->out, ">\n      <failure type=\"baseline\" message=\"%zu worse than the baseline\">",
		o->regressed);
	for (size_t i = 0; i < o->regressed && i < CHANGES_SHOWN; i++) {
		const struct change *change = &c->changes.at[i];
		fprintf(t->out, "%s: ", change_names[change->kind]);
		if (change->old_stalls)
			fprintf(t->out, "%s, was %s: ", change_figure(is, sizeof is, change, false),
				change_figure(was, sizeof was, change, true));
		culprit_line(t, change->cause, &change->culprit, change->new_ns, change->whole);
	}
	fputs("</failure>\n    </testcase>\n", t->out);
}

static int junit_check(FILE *out, const struct outcome *o, const struct verdict *v,
		       const struct format_options *options)
{
	struct text t = {.out = out, .verdict = v, .seen = v->seen, .options = options, .columns = 80};
	size_t failures = o->broken + (o->regressed > 0), tests = o->n + (o->compared != NULL);
	t.root = name_root(v->seen);
	fprintf(out,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
		"  <testsuite name=\"whystall check\" tests=\"%zu\" failures=\"%zu\" errors=\"0\" "
		"skipped=\"0\">\n",
		tests, failures);
	for (size_t i = 0; i < o->n; i++)
		limit_case(&t, o, &o->limits[i]);
	if (o->compared)
		baseline_case(&t, o);
	for (size_t i = 0; i < CAVEATS && o->caveats[i]; i++)
		fprintf(out, "%s%s\n%s", i ? "" : "    <system-out>", o->caveats[i],
			i + 1 < CAVEATS && o->caveats[i + 1] ? "" : "</system-out>\n");
	fputs("  </testsuite>\n</testsuites>\n", out);
	free(t.root);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

/* --- report --- */

static void loop_case(const struct text *t, const struct verdict_loop *l)
{
	char name[PROSE_MAX], stalls[64], stalled[32], observed[32], worst[32];
	name_loop(name, sizeof name, l);
	fputs("    <testcase classname=\"whystall\" name=\"loop in ", t->out);
	markup_text(t->out, name, 200);
	fprintf(t->out, "\" time=\"%.3f\"", (double)l->observed_ns / 1e9);
	if (!l->stall_count) {
		fputs("/>\n", t->out);
		return;
	}
	if (l->causes.n)
		place_attributes(t->out, &l->causes.at[0].culprit);
	fprintf(t->out, ">\n      <failure type=\"stall\" message=\"%s, %s of %s, worst %s\">",
		prose_count(stalls, sizeof stalls, l->stall_count, "stall"),
		time_format(stalled, sizeof stalled, l->stalled_ns),
		time_format(observed, sizeof observed, l->observed_ns),
		time_format(worst, sizeof worst, l->max_ns));
	for (size_t i = 0; i < l->causes.n && i < CAUSES_SHOWN; i++)
		if (!i || l->causes.at[i].share >= 0.01)
			culprit_line(t, l->causes.at[i].cause, &l->causes.at[i].culprit, l->causes.at[i].ns,
				     &l->causes.at[i]);
	fputs("</failure>\n    </testcase>\n", t->out);
}

static int junit_write(FILE *out, const struct verdict *v, const struct format_options *options)
{
	struct text t = {.out = out, .verdict = v, .seen = v->seen, .options = options, .columns = 80};
	char command[PROSE_MAX * 2];
	t.root = name_root(v->seen);
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", out);
	for (size_t i = 0; i < v->processes.n && !ferror(out); i++) {
		const struct verdict_process *p = &v->processes.at[i];
		size_t failures = 0;
		for (size_t l = 0; l < p->loops.n; l++)
			failures += p->loops.at[l].stall_count > 0;
		if (!p->loops.n)
			continue;
		fputs("  <testsuite name=\"", out);
		markup_text(out, name_command(command, sizeof command, p->seen->command), 200);
		fprintf(out, ", pid %d\" tests=\"%zu\" failures=\"%zu\" errors=\"0\" skipped=\"0\">\n",
			p->seen->pid, p->loops.n, failures);
		for (size_t l = 0; l < p->loops.n; l++)
			loop_case(&t, &p->loops.at[l]);
		fputs("  </testsuite>\n", out);
	}
	fputs("</testsuites>\n", out);
	free(t.root);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static const struct format junit = {.name = "junit",
				    .help = "for a CI: a test case for each limit, in a report for each loop",
				    .use = FORMAT_REPORT | FORMAT_CHECK,
				    .write = junit_write,
				    .check = junit_check};
PART(format, format, junit);
