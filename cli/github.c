/* SPDX-License-Identifier: MIT
 *
 * Workflow commands as GitHub documents them ("Workflow commands for GitHub Actions"): in a message %, CR and
 * LF are escaped, in a property : and , too. A file is named from $GITHUB_WORKSPACE on. GitHub shows ten
 * annotations of a level for a step and drops the others in silence: the tenth says how many there are.
 */
#include "github.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "budget.h"
#include "compare.h"
#include "prose.h"

#define CHARGES_SHOWN 3
#define ANNOTATIONS_MAX 10

static void escaped(FILE *out, const char *s, bool property)
{
	char clean[PROSE_MAX];
	for (const char *p = prose_fit(clean, sizeof clean, s, 600, FIT_TAIL); *p; p++)
		if (*p == '%' || (property && (*p == ':' || *p == ',')))
			fprintf(out, "%%%02X", (unsigned char)*p);
		else
			putc(*p, out);
}

static const char *in_workspace(const char *file)
{
	const char *root = getenv("GITHUB_WORKSPACE");
	size_t n = root ? strlen(root) : 0;
	while (n && root[n - 1] == '/')
		n--;
	return n && !strncmp(file, root, n) && file[n] == '/' ? file + n + 1 : file;
}

static void annotation_write(FILE *out, const char *level, const struct culprit *c, const char *message)
{
	fprintf(out, "::%s ", level);
	if (c && c->file) {
		fputs("file=", out);
		escaped(out, in_workspace(c->file), true);
		if (c->line > 0)
			fprintf(out, ",line=%d", c->line);
		putc(',', out);
	}
	fputs("title=whystall::", out);
	escaped(out, message, false);
	putc('\n', out);
}

static void charge_annotate(FILE *out, const struct outcome *o, const struct limit *limit,
			    const struct charge *c)
{
	char value[48], allowed[48], ns[32], loop[256] = "";
	const char *test = limit->stall ? limit->stall->mark : NULL;
	if (o->loops > 1)
		snprintf(loop, sizeof loop, " of %.200s, pid %d",
			 limit->loop->thread->name ? limit->loop->thread->name : "a thread",
			 limit->process->seen->pid);
	char *message = xprintf(
		"The event loop%s%s%s: %s %s, allowed %s; %s by %s, %s. %s", loop, test ? " in test " : "",
		test ? test : "", limit_name(limit), limit_value(value, sizeof value, limit),
		limit_allowed(allowed, sizeof allowed, limit), c->cause,
		c->culprit.function ? c->culprit.function : "a function not known",
		time_format(ns, sizeof ns, c->ns), c->whole && c->whole->advice ? c->whole->advice : "");
	annotation_write(out, limit->broken ? "error" : "warning", &c->culprit, message);
	free(message);
}

/* A limit that nobody is named under. */
static void limit_annotate(FILE *out, const struct limit *limit)
{
	char value[48], allowed[48], hint[256];
	char *message =
		xprintf("The event loop: %s %s, allowed %s. %s", limit_name(limit),
			limit_value(value, sizeof value, limit),
			limit_allowed(allowed, sizeof allowed, limit), limit_hint(hint, sizeof hint, limit));
	annotation_write(out, limit->broken ? "error" : "warning", NULL, message);
	free(message);
}

static void change_annotate(FILE *out, const struct change *c)
{
	char was[64], is[64];
	char *message = xprintf("The event loop: %s by %s is %s: %s, was %s. %s", c->cause,
				c->culprit.function ? c->culprit.function : "a function not known",
				change_names[c->kind], change_figure(is, sizeof is, c, false),
				c->old_ns ? change_figure(was, sizeof was, c, true) : "none",
				c->whole && c->whole->advice ? c->whole->advice : "");
	annotation_write(out, "error", &c->culprit, message);
	free(message);
}

/* At most three limits with three charges each, so that one is left for the baseline. */
void github_annotate(FILE *out, const struct outcome *o)
{
	size_t errors = 0, shown;
	for (size_t i = 0; i < o->n; i++) {
		const struct limit *limit = &o->limits[i];
		if ((limit->broken || limit->warned) && !limit->charges.n) {
			limit_annotate(out, limit);
			errors += limit->broken;
		}
		for (size_t k = 0; (limit->broken || limit->warned) && k < limit->charges.n; k++) {
			if (k >= CHARGES_SHOWN ||
			    (k && limit->charges.at[k].ns < limit->charges.at[0].ns / 20))
				break;
			charge_annotate(out, o, limit, &limit->charges.at[k]);
			errors += limit->broken;
		}
	}
	shown = ANNOTATIONS_MAX - errors;
	if (o->regressed > shown)
		shown--;
	for (size_t i = 0; i < o->regressed && i < shown; i++)
		change_annotate(out, &o->compared->changes.at[i]);
	if (o->regressed > shown) {
		char *message =
			xprintf("The event loop: %zu %s worse than the baseline; the job's summary and "
				"the step's output have more.",
				o->regressed - shown, shown ? "others are" : "culprits are");
		annotation_write(out, "error", NULL, message);
		free(message);
	}
	for (size_t i = 0; i < CAVEATS && o->caveats[i]; i++)
		annotation_write(out, "warning", NULL, o->caveats[i]);
}

int github_summarize(const struct outcome *o, const struct verdict *v, const struct format_options *options)
{
	const char *path = getenv("GITHUB_STEP_SUMMARY");
	if (!path || !*path)
		return 0;
	FILE *out = fopen(path, "ae");
	if (!out)
		return -errno;
	int err = format_find("markdown")->check(out, o, v, options);
	return fclose(out) && !err ? -errno : err;
}
