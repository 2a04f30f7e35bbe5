/* SPDX-License-Identifier: MIT
 *
 * What a check came to, for people: one line where all is well; else each limit, and under a broken one by
 * whom and what to do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../budget.h"
#include "../compare.h"
#include "text.h"

#define CHARGES_SHOWN 3
#define LABEL_COLUMNS 15

/* "heavy_cpu_work  app.py:19  (native: long_pow)" */
void text_culprit(const struct text *t, FILE *out, const struct culprit *c)
{
	char function[PROSE_MAX], place[PROSE_MAX] = "", native[PROSE_MAX] = "";
	const char *name = c->function ? c->function : c->native ? c->native : "(not known)";
	prose_fit(function, sizeof function, name, NAME_MAX_COLUMNS, FIT_TAIL);
	if (c->file)
		name_place(t, place, sizeof place, c->file, c->line, NAME_MAX_COLUMNS);
	if (c->function && c->native)
		prose_fit(native, sizeof native, c->native, NAME_MAX_COLUMNS, FIT_TAIL);
	fprintf(out, "%s%s%s%s%s%s", function, *place ? "  " : "", place, *native ? "  (native: " : "",
		native, *native ? ")" : "");
}

static void charge_write(const struct text *t, const struct charge *c, bool advice)
{
	char *who, name[PROSE_MAX], ns[32];
	size_t size;
	FILE *out = open_memstream(&who, &size);
	if (!out)
		return;
	text_culprit(t, out, &c->culprit);
	if (c->culprit.tid)
		fprintf(out, "  in %s", name_thread(name, sizeof name, c->culprit.thread, c->culprit.tid));
	fprintf(out, ", %s", time_format(ns, sizeof ns, c->ns));
	fclose(out);
	fprintf(t->out, "    ");
	text_paint(t, BOLD);
	int at = 4 + fprintf(t->out, "%-7s ", c->cause);
	text_paint(t, PLAIN);
	prose_wrap(t->out, t->columns, at, 12, who);
	free(who);
	if (advice && c->whole && c->whole->advice) {
		fprintf(t->out, "    ");
		text_say(t, 4, 4, "%s", c->whole->advice);
	}
}

/* What was said under the limit before is not said again. */
static bool advice_said(const struct outcome *o, const struct limit *limit, const struct verdict_cause *whole)
{
	for (const struct limit *l = o->limits; l < limit; l++)
		for (size_t i = 0; i < l->charges.n && i < CHARGES_SHOWN && (l->broken || l->warned); i++)
			if (l->charges.at[i].whole == whole)
				return true;
	return false;
}

static void charges_write(const struct text *t, const struct outcome *o, const struct limit *limit)
{
	size_t shown = 0, n = limit->charges.n;
	const struct charge *at = limit->charges.at;
	while (shown < n && shown < CHARGES_SHOWN && (!shown || at[shown].ns >= at[0].ns / 20)) {
		charge_write(t, &at[shown], !advice_said(o, limit, at[shown].whole));
		shown++;
	}
}

/* "Also over 50 ms: lock  keep  app.py:14, 250 ms; ..." */
static void others_write(const struct text *t, const struct limit *limit)
{
	char *text, allowed[48], ns[32];
	size_t size;
	FILE *out = limit->others.n ? open_memstream(&text, &size) : NULL;
	if (!out)
		return;
	fprintf(out, "Also over %s:", limit_allowed(allowed, sizeof allowed, limit));
	for (size_t i = 0; i < limit->others.n && i < CHARGES_SHOWN; i++) {
		fprintf(out, "%s %s  ", i ? ";" : "", limit->others.at[i].cause);
		text_culprit(t, out, &limit->others.at[i].culprit);
		fprintf(out, ", %s", time_format(ns, sizeof ns, limit->others.at[i].ns));
	}
	if (limit->others.n > CHARGES_SHOWN)
		fprintf(out, "; %zu more", limit->others.n - CHARGES_SHOWN);
	fclose(out);
	fprintf(t->out, "    ");
	prose_wrap(t->out, t->columns, 4, 4, text);
	free(text);
}

static void limit_write(const struct text *t, const struct outcome *o, const struct limit *limit)
{
	char value[48], allowed[48], loop[PROSE_MAX], hint[256], moment[640] = "";
	limit_value(value, sizeof value, limit);
	limit_allowed(allowed, sizeof allowed, limit);
	int at = fprintf(t->out, "  %-*s", LABEL_COLUMNS - 2, limit_name(limit));
	at += fprintf(t->out, "  ");
	if (!limit->broken && !limit->warned) {
		text_say(t, at, at, "%s, allowed %s: ok", value, allowed);
		return;
	}
	if (limit->stall) {
		char time[48];
		const char *mark = limit->stall->mark;
		snprintf(moment, sizeof moment, ", #%u at %s%s%s", limit->stall->seen->id,
			 name_moment(time, sizeof time, &t->seen->capture, limit->stall->seen->start_ns),
			 mark ? ", in test " : "", mark ? mark : "");
	}
	if (o->loops > 1)
		name_loop(loop, sizeof loop, limit->loop);
	text_paint(t, limit->broken ? RED : BOLD);
	char pid[32] = "";
	if (o->loops > 1)
		snprintf(pid, sizeof pid, ", pid %d", limit->process->seen->pid);
	text_say(t, at, at, "%s, allowed %s%s%s%s%s%s", value, allowed, o->loops > 1 ? ", in " : "",
		 o->loops > 1 ? loop : "", pid, moment, limit->warned ? ": a warning only" : "");
	text_paint(t, PLAIN);
	if (*limit_hint(hint, sizeof hint, limit)) {
		fprintf(t->out, "    ");
		text_say(t, 4, 4, "%s", hint);
	}
	charges_write(t, o, limit);
	others_write(t, limit);
	if (limit->loops_over > 1) {
		char count[64];
		fprintf(t->out, "    ");
		text_say(t, 4, 4, "%s over it too: whystall report has them.",
			 prose_count(count, sizeof count, limit->loops_over - 1, "other loop"));
	}
}

/* "  worse  gil heavy_cpu_work app.py:19: 0.41 s in 3 stalls, was 0.2 s in 3" */
static void change_write(const struct text *t, const struct change *c)
{
	char *who, was[64], is[64], stalls[64], older[64];
	size_t size;
	FILE *out = open_memstream(&who, &size);
	if (!out)
		return;
	fprintf(out, "%s  ", c->cause);
	text_culprit(t, out, &c->culprit);
	change_figure(was, sizeof was, c, true);
	change_figure(is, sizeof is, c, false);
	prose_count(stalls, sizeof stalls, c->new_stalls, "stall");
	prose_count(older, sizeof older, c->old_stalls, "stall");
	if (c->kind == CHANGE_NEW)
		fprintf(out, ": %s in %s", is, stalls);
	else if (c->kind == CHANGE_GONE)
		fprintf(out, ": was %s in %s", was, older);
	else
		fprintf(out, ": %s in %s, was %s in %s", is, stalls, was, older);
	fclose(out);
	text_paint(t, c->kind <= CHANGE_WORSE ? RED : BOLD);
	fprintf(t->out, "  %-7s", change_names[c->kind]);
	text_paint(t, PLAIN);
	prose_wrap(t->out, t->columns, 9, 9, who);
	free(who);
	if (c->kind <= CHANGE_WORSE && c->whole && c->whole->advice) {
		fprintf(t->out, "         ");
		text_say(t, 9, 9, "%s", c->whole->advice);
	}
}

void text_changes(const struct text *t, const struct comparison *c)
{
	for (size_t i = 0; i < c->changes.n; i++)
		change_write(t, &c->changes.at[i]);
}

static void passed_write(const struct text *t, const struct outcome *o)
{
	char value[48], allowed[48], ignored[256];
	fputs("whystall check: passed", t->out);
	for (size_t i = 0; i < o->n; i++)
		fprintf(t->out, "%s %s %s (allowed %s)", i ? "," : ":", limit_name(&o->limits[i]),
			limit_value(value, sizeof value, &o->limits[i]),
			limit_allowed(allowed, sizeof allowed, &o->limits[i]));
	if (o->compared)
		fprintf(t->out, "%s nothing worse than the baseline", o->n ? "," : ":");
	if (*outcome_ignored(ignored, sizeof ignored, o))
		fprintf(t->out, "; not counted: %s", ignored);
	fputc('\n', t->out);
}

static void left_write(const struct text *t, const struct outcome *o)
{
	char ignored[256];
	if (*outcome_ignored(ignored, sizeof ignored, o)) {
		fprintf(t->out, "  ");
		text_say(t, 2, 2, "Not counted: %s%s.", ignored,
			 o->ignored_ns[CAUSE_RUNQUEUE] ? " (the machine was busy)" : "");
	}
}

static void caveats_write(const struct text *t, const struct outcome *o)
{
	for (size_t i = 0; i < CAVEATS && o->caveats[i]; i++) {
		fprintf(t->out, "  ");
		text_say(t, 2, 2, "%s", o->caveats[i]);
	}
}

/* Where more of it is. */
static void next_write(const struct text *t, const struct outcome *o)
{
	for (size_t i = 0; i < o->n; i++)
		if (o->limits[i].broken && o->limits[i].stall) {
			fprintf(t->out, "  Try: whystall report --stall %u", o->limits[i].stall->seen->id);
			text_record(t);
			return;
		}
}

int text_check(FILE *out, const struct outcome *o, const struct verdict *v,
	       const struct format_options *options)
{
	struct text t = {.out = out,
			 .verdict = v,
			 .seen = v->seen,
			 .options = options,
			 .columns = options->columns < 60    ? 60
				    : options->columns > 100 ? 100
							     : options->columns};
	bool warned = false, failed = o->broken || o->regressed;
	for (size_t i = 0; i < o->n; i++)
		warned |= o->limits[i].warned;
	if (!failed && !warned) {
		if (verbosity >= 0) {
			passed_write(&t, o);
			caveats_write(&t, o);
		}
		return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
	}
	t.root = name_root(t.seen);
	text_paint(&t, failed ? RED : BOLD);
	fprintf(out, "whystall check: %s", failed ? "failed" : "passed, with a warning");
	if (o->broken)
		fprintf(out, ", %zu of %zu budget%s broken", o->broken, o->n, o->n == 1 ? "" : "s");
	if (o->regressed)
		fprintf(out, ", %zu worse than the baseline", o->regressed);
	fputc('\n', out);
	text_paint(&t, PLAIN);
	if (o->compared)
		text_changes(&t, o->compared);
	for (size_t i = 0; i < o->n; i++)
		limit_write(&t, o, &o->limits[i]);
	left_write(&t, o);
	caveats_write(&t, o);
	next_write(&t, o);
	free(t.root);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}
