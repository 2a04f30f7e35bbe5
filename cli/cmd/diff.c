/* SPDX-License-Identifier: MIT
 *
 * whystall diff: what got worse and better between two records, by culprit.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../budget.h"
#include "../cmd.h"
#include "../compare.h"
#include "../format/text.h"
#include "../report.h"
#include "../store.h"

static const char *output, *colour;
static double tolerance = TOLERANCE_DEFAULT;
static const char *tolerance_text;

struct diff {
	const struct verdict *older;
	const char *record; /* its */
	int status;
};

static int diff_write(FILE *out, const struct verdict *v, const struct format_options *options, void *closure)
{
	struct diff *d = closure;
	struct comparison c;
	char was[PROSE_MAX], is[PROSE_MAX];
	struct text t = {.out = out,
			 .verdict = v,
			 .seen = v->seen,
			 .options = options,
			 .columns = options->columns < 60    ? 60
				    : options->columns > 100 ? 100
							     : options->columns};
	compare_make(&c, d->older, v, causes_default(), tolerance);
	d->status = c.worse ? EXIT_OVER : EXIT_FINE;
	t.root = name_root(v->seen);
	if (!t.root) /* nothing stalled in it */
		t.root = name_root(d->older->seen);
	if (!c.old_observed_ns || !c.new_observed_ns) {
		say("diff: no event loop was seen in %s: there is nothing to compare",
		    c.old_observed_ns ? options->record : d->record);
		d->status = EXIT_RECORD;
	} else if (c.changes.n || verbosity >= 0) {
		if (compare_others(d->older, v, was, is))
			say("diff: the older record is of another program (%s, not %s)", was, is);
		fprintf(out, "whystall diff: %zu worse, %zu better%s\n", c.worse, c.changes.n - c.worse,
			c.changes.n ? "" : ", nothing beyond what two runs differ by");
		text_changes(&t, &c);
	}
	free(t.root);
	bool nothing = !c.old_observed_ns || !c.new_observed_ns;
	compare_free(&c);
	return nothing ? 1 : fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static int diff_run(int argc, char **argv)
{
	struct observations seen = {0};
	struct verdict older;
	struct diff d = {.older = &older, .record = argc ? argv[0] : NULL};
	if (argc != 2) {
		say("diff: two records, the older first: whystall diff OLD NEW");
		return EXIT_USAGE;
	}
	if (tolerance_text && percent_parse(tolerance_text, 1000, &tolerance)) {
		say("diff: --tolerance wants a percentage from 0 to 1000, not \"%s\"", tolerance_text);
		return EXIT_USAGE;
	}
	if (tolerance_text)
		tolerance /= 100;
	signal(SIGPIPE, SIG_IGN);
	if (!output && fcntl(STDOUT_FILENO, F_GETFD) < 0) {
		say("cannot write the report: standard output is closed");
		return EXIT_BROKEN;
	}
	if (report_load(&seen, argv[0]))
		return EXIT_RECORD;
	verdict_make(&older, &seen);
	int status = report_record(&(struct report){.record = argv[1],
						    .output = output,
						    .stream = stdout,
						    .colour = colour,
						    .write = diff_write,
						    .closure = &d});
	verdict_free(&older);
	observations_free(&seen);
	return status ? status : d.status;
}

static const struct option_row diff_options[] = {
	{0, "tolerance", "PERCENT", "a change of up to this much is none (default 20)", OPT_STRING,
	 &tolerance_text, NULL, false, NULL},
	{'o', "output", "FILE", "write it to FILE, whole or not at all", OPT_STRING, &output, NULL, false,
	 NULL},
	{0, "color", "WHEN", "colours and block characters (default auto, on a terminal that takes them)",
	 OPT_CHOICE, &colour, report_colours, false, NULL},
	{0},
};

static const struct command diff = {
	.name = "diff",
	.usage = "[options] OLD NEW",
	.help = "Says what got worse and better between two records.",
	.about = "By culprit: cause, function and file, not the line, which moves. New ones come first, then "
		 "worse, better and gone ones, of each the worst first. What two runs of the same program "
		 "differ by is left out, and so is time without a CPU. Ends with 1 if anything is new or "
		 "worse.",
	.order = 45,
	.options = diff_options,
	.run = diff_run,
	.examples = "whystall diff before.whystall after.whystall\n",
};
PART(cmd, command, diff);
