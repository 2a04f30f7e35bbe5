/* SPDX-License-Identifier: MIT
 *
 * GitHub-flavoured Markdown, for a pull request's comment and a job's summary. Names are the target's: they
 * stand in code spans, where only a backquote and, in a table, a bar mean anything. However much there is to
 * tell, it fits: a comment may have 65,536 characters, a step's summary 1 MiB.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../budget.h"
#include "../compare.h"
#include "text.h"
#include "walk.h"

#define LOOPS_SHOWN 8
#define CAUSES_SHOWN 10
#define CHANGES_SHOWN 100
#define CHARGES_SHOWN 3

static void code(FILE *out, const char *s)
{
	char clean[PROSE_MAX];
	putc('`', out);
	for (const char *p = prose_fit(clean, sizeof clean, s, 120, FIT_TAIL); *p; p++)
		if (*p == '|')
			fputs("\\|", out);
		else
			putc(*p == '`' ? '\'' : *p, out);
	putc('`', out);
}

/* What we wrote ourselves, with names in it: nothing of it may become a link, a mention or HTML. */
static void sentence(FILE *out, const char *s)
{
	char clean[PROSE_MAX];
	for (const char *p = prose_fit(clean, sizeof clean, s, 600, FIT_HEAD); *p; p++) {
		if (strchr("\\`*_[]<>|#@~", *p))
			putc('\\', out);
		putc(*p, out);
	}
}

static void culprit(const struct text *t, const struct culprit *c)
{
	char place[PROSE_MAX];
	const char *name = c->function ? c->function : c->native ? c->native : "(not known)";
	code(t->out, name);
	if (c->file) {
		fputc(' ', t->out);
		code(t->out, name_place(t, place, sizeof place, c->file, c->line, 80));
	}
	if (c->function && c->native) {
		fputs(", native ", t->out);
		code(t->out, c->native);
	}
}

/* --- report --- */

static void causes_write(const struct text *t, const struct verdict_loop *l)
{
	char total[32], share[32], stalls[32];
	size_t n = 0;
	while (n < l->causes.n && n < CAUSES_SHOWN && (!n || l->causes.at[n].share >= 0.01))
		n++;
	fputs("\n| cause | culprit | stalled | share | stalls |\n| --- | --- | ---: | ---: | ---: |\n",
	      t->out);
	for (size_t i = 0; i < n; i++) {
		const struct verdict_cause *c = &l->causes.at[i];
		fprintf(t->out, "| %s | ", c->cause);
		culprit(t, &c->culprit);
		fprintf(t->out, " | %s | %s | %s |\n", time_format(total, sizeof total, c->ns),
			prose_percent(share, sizeof share, c->share),
			count_format(stalls, sizeof stalls, c->stalls));
	}
	if (n < l->causes.n)
		fprintf(t->out, "\n%zu lesser cause%s not shown.\n", l->causes.n - n,
			l->causes.n - n == 1 ? " is" : "s are");
	putc('\n', t->out);
	for (size_t i = 0; i < n && i < CHARGES_SHOWN; i++) {
		const struct verdict_cause *c = &l->causes.at[i];
		if (!c->why || (i && c->share < 0.05))
			continue;
		fprintf(t->out, "- **%s** ", c->cause);
		culprit(t, &c->culprit);
		fputs(": ", t->out);
		sentence(t->out, c->why);
		putc(' ', t->out);
		sentence(t->out, c->advice ? c->advice : "");
		putc('\n', t->out);
	}
}

static void loop_write(const struct text *t, const struct verdict_process *p, const struct verdict_loop *l)
{
	char command[PROSE_MAX * 2], thread[PROSE_MAX], count[64], stalled[32], observed[32], share[32],
		p99[32], max[32];
	fputs("\n**", t->out);
	sentence(t->out, name_process(command, sizeof command, p->seen));
	fprintf(t->out, "**, pid %d, loop in ", p->seen->pid);
	code(t->out, name_loop(thread, sizeof thread, l));
	fprintf(t->out, ": %s, %s of %s (%s); p99 tick %s, longest %s.\n",
		l->stall_count ? prose_count(count, sizeof count, l->stall_count, "stall") : "no stall",
		time_format(stalled, sizeof stalled, l->stalled_ns),
		time_format(observed, sizeof observed, l->observed_ns),
		prose_percent(share, sizeof share,
			      l->observed_ns ? (double)l->stalled_ns / (double)l->observed_ns : 0),
		time_format(p99, sizeof p99, l->p99_ns), time_format(max, sizeof max, l->max_ns));
	if (l->causes.n)
		causes_write(t, l);
}

static int markdown_write(FILE *out, const struct verdict *v, const struct format_options *options)
{
	struct text t = {.out = out, .verdict = v, .seen = v->seen, .options = options, .columns = 80};
	loop_places_t places;
	loops_ranked(v, &places);
	t.root = name_root(v->seen);
	fputs("### whystall\n", out);
	for (size_t i = 0; i < places.n && i < LOOPS_SHOWN; i++)
		loop_write(&t, places.at[i].process, places.at[i].loop);
	if (!places.n)
		fputs("\nNo event loop was seen.\n", out);
	if (places.n > LOOPS_SHOWN)
		fprintf(out, "\n%zu other loops stalled less.\n", places.n - LOOPS_SHOWN);
	vec_free(&places);
	free(t.root);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

/* --- check --- */

static void limits_write(const struct text *t, const struct outcome *o)
{
	char value[48], allowed[48];
	if (o->n)
		fputs("\n| | measured | allowed | |\n| --- | ---: | ---: | --- |\n", t->out);
	for (size_t i = 0; i < o->n; i++)
		fprintf(t->out, "| %s | %s | %s | %s |\n", limit_name(&o->limits[i]),
			limit_value(value, sizeof value, &o->limits[i]),
			limit_allowed(allowed, sizeof allowed, &o->limits[i]),
			o->limits[i].broken   ? "**broken**"
			: o->limits[i].warned ? "a warning"
					      : "ok");
	putc('\n', t->out);
}

static void charges_write(const struct text *t, const struct outcome *o, const struct limit *limit)
{
	char ns[32], thread[PROSE_MAX], hint[256];
	if (o->loops > 1) {
		fprintf(t->out, "- %s: in ", limit_name(limit));
		code(t->out, name_loop(thread, sizeof thread, limit->loop));
		fprintf(t->out, ", pid %d\n", limit->process->seen->pid);
	}
	if (*limit_hint(hint, sizeof hint, limit)) {
		fprintf(t->out, "- %s: ", limit_name(limit));
		sentence(t->out, hint);
		putc('\n', t->out);
	}
	for (size_t i = 0; i < limit->charges.n && i < CHARGES_SHOWN; i++) {
		const struct charge *c = &limit->charges.at[i];
		if (i && c->ns < limit->charges.at[0].ns / 20)
			break;
		fprintf(t->out, "- %s: **%s** ", limit_name(limit), c->cause);
		culprit(t, &c->culprit);
		fputs(" in ", t->out);
		code(t->out, name_thread(thread, sizeof thread, c->culprit.thread, c->culprit.tid));
		fprintf(t->out, ", %s. ", time_format(ns, sizeof ns, c->ns));
		if (c->whole && c->whole->advice)
			sentence(t->out, c->whole->advice);
		putc('\n', t->out);
	}
}

static void changes_write(const struct text *t, const struct comparison *c)
{
	char was[64], is[64];
	if (c->changes.n)
		fputs("\n| | cause | culprit | was | is |\n| --- | --- | --- | ---: | ---: |\n", t->out);
	for (size_t i = 0; i < c->changes.n && i < CHANGES_SHOWN; i++) {
		const struct change *change = &c->changes.at[i];
		fprintf(t->out, "| %s | %s | ", change_names[change->kind], change->cause);
		culprit(t, &change->culprit);
		fprintf(t->out, " | %s | %s |\n",
			change->old_stalls ? change_figure(was, sizeof was, change, true) : "none",
			change->new_stalls ? change_figure(is, sizeof is, change, false) : "none");
	}
	if (c->changes.n > CHANGES_SHOWN)
		fprintf(t->out, "\n%zu more are not shown.\n", c->changes.n - CHANGES_SHOWN);
}

static int markdown_check(FILE *out, const struct outcome *o, const struct verdict *v,
			  const struct format_options *options)
{
	struct text t = {.out = out, .verdict = v, .seen = v->seen, .options = options, .columns = 80};
	char ignored[256];
	t.root = name_root(v->seen);
	fprintf(out, "### whystall check: %s", o->broken || o->regressed ? "failed" : "passed");
	if (o->broken)
		fprintf(out, ", %zu of %zu budget%s broken", o->broken, o->n, o->n == 1 ? "" : "s");
	if (o->regressed)
		fprintf(out, ", %zu worse than the baseline", o->regressed);
	putc('\n', out);
	limits_write(&t, o);
	for (size_t i = 0; i < o->n; i++)
		if (o->limits[i].broken || o->limits[i].warned)
			charges_write(&t, o, &o->limits[i]);
	if (o->compared)
		changes_write(&t, o->compared);
	if (*outcome_ignored(ignored, sizeof ignored, o))
		fprintf(out, "\nNot counted: %s.\n", ignored);
	for (size_t i = 0; i < CAVEATS && o->caveats[i]; i++)
		fprintf(out, "\n%s\n", o->caveats[i]);
	free(t.root);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static const struct format markdown = {.name = "markdown",
				       .help = "for a pull request's comment",
				       .use = FORMAT_REPORT | FORMAT_CHECK,
				       .write = markdown_write,
				       .check = markdown_check};
PART(format, format, markdown);
