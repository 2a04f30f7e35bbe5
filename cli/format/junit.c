/* SPDX-License-Identifier: MIT
 *
 * JUnit's XML, as CI systems read it: each limit is a test case, the baseline one more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../budget.h"
#include "../compare.h"
#include "html.h"

static void case_begin(FILE *out, const char *name, const struct culprit *c)
{
	fprintf(out, "    <testcase classname=\"whystall\" name=\"%s\"", name);
	if (c && c->file) {
		fputs(" file=\"", out);
		markup_text(out, c->file, 600);
		putc('"', out);
		if (c->line > 0)
			fprintf(out, " line=\"%d\"", c->line);
	}
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

static void limit_case(const struct text *t, const struct limit *limit)
{
	char value[48], allowed[48];
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
	if (limit->stall)
		stall_line(t, limit->stall);
	for (size_t i = 0; i < limit->charges.n && i < 5; i++)
		if (limit->charges.at[i].ns >= limit->charges.at[0].ns / 20)
			culprit_line(t, limit->charges.at[i].cause, &limit->charges.at[i].culprit,
				     limit->charges.at[i].ns, limit->charges.at[i].whole);
	fprintf(t->out, "</%s>\n    </testcase>\n", limit->broken ? "failure" : "system-out");
}

static void baseline_case(const struct text *t, const struct outcome *o)
{
	const struct comparison *c = o->compared;
	case_begin(t->out, "baseline", o->regressed ? &c->changes.at[0].culprit : NULL);
	if (!o->regressed) {
		fputs("/>\n", t->out);
		return;
	}
	fprintf(t->out, ">\n      <failure type=\"baseline\" message=\"%zu worse than the baseline\">",
		o->regressed);
	for (size_t i = 0; i < o->regressed; i++) {
		fprintf(t->out, "%s: ", change_names[c->changes.at[i].kind]);
		culprit_line(t, c->changes.at[i].cause, &c->changes.at[i].culprit, c->changes.at[i].new_ns,
			     c->changes.at[i].whole);
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
		limit_case(&t, &o->limits[i]);
	if (o->compared)
		baseline_case(&t, o);
	fputs("  </testsuite>\n</testsuites>\n", out);
	free(t.root);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static const struct format junit = {.name = "junit",
				    .help = "a test case for each limit, for a CI",
				    .use = FORMAT_CHECK,
				    .check = junit_check};
PART(format, format, junit);
