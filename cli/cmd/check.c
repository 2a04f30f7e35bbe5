/* SPDX-License-Identifier: MIT
 *
 * whystall check: a record, or a command, against a budget: the gate of a CI. What it says names the file and
 * the line, so that a red build needs no second look.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../budget.h"
#include "../capture_run.h"
#include "../cmd.h"
#include "../compare.h"
#include "../format.h"
#include "../format/text.h"
#include "../github.h"
#include "../report.h"
#include "../store.h"

#define THRESHOLD_DEFAULT 20000000
#define THRESHOLD_MIN 100000

static const char *format, *output, *colour, *max_stalled, *fail_on, *ignore, *baseline, *tolerance_text,
	*mark;
static uint64_t max_stall, max_p99, threshold;
static bool max_stall_given, max_p99_given, threshold_given, github;

struct check {
	struct budget budget;
	int status;
	struct verdict older; /* of the baseline */
	struct observations older_seen;
	double tolerance;
};

static void causes_say(const char *option, const char *word)
{
	char list[256] = "";
	for (size_t i = 0, n = 0; i < CAUSE_WORDS && n < sizeof list; i++)
		n += (size_t)snprintf(list + n, sizeof list - n, "%s%s",
				      !i		    ? ""
				      : i + 1 < CAUSE_WORDS ? ", "
							    : " and ",
				      cause_words[i]);
	say("check: --%s: \"%s\" is no cause; they are %s", option, word, list);
}

/* A list of causes. 0, or -1 after having said what is wrong. */
static int causes_read(const char *option, const char *list, unsigned *set)
{
	char word[64];
	const char *near;
	if (!causes_parse(list, set, word, sizeof word, &near))
		return 0;
	if (!strcmp(word, "none"))
		say("check: --%s: none stands alone", option);
	else if (near)
		say("check: --%s: %s is no cause; did you mean %s?", option, word, near);
	else
		causes_say(option, word);
	return -1;
}

static int counted_read(unsigned *counted)
{
	unsigned failing, ignored = 0;
	*counted = causes_default();
	if (ignore) {
		if (causes_read("ignore", ignore, &ignored))
			return -1;
		*counted = (CAUSE_BIT(CAUSE_WORDS) - 1) & ~ignored;
	}
	if (!fail_on)
		return 0;
	if (causes_read("fail-on", fail_on, &failing))
		return -1;
	if (!failing || failing & ignored) {
		say("check: %s", failing ? "--fail-on and --ignore name the same cause"
					 : "--fail-on none would never fail");
		return -1;
	}
	*counted = failing;
	return 0;
}

static int percent_read(double *percent)
{
	if (!max_stalled || !percent_parse(max_stalled, 100, percent))
		return 0;
	say("check: --max-stalled wants a percentage from 0 to 100, not \"%s\"", max_stalled);
	return -1;
}

/* 0, or -1 after having said what is wrong. */
static int budget_read(struct budget *b)
{
	*b = (struct budget){
		.max_stall_ns = max_stall, .max_p99_ns = max_p99, .max_stalled_percent = -1, .mark = mark};
	if ((max_stall_given && !max_stall) || (max_p99_given && !max_p99)) {
		say("check: --%s 0 allows nothing; every tick takes some time",
		    max_stall_given && !max_stall ? "max-stall" : "max-p99");
		return -1;
	}
	if (mark && (max_p99 || max_stalled || baseline)) {
		say("check: --test goes with --max-stall and --fail-on only: what else a loop did is "
		    "nobody's test");
		return -1;
	}
	if (percent_read(&b->max_stalled_percent) || counted_read(&b->counted))
		return -1;
	if (max_stall || max_p99 || max_stalled || baseline)
		return 0;
	b->no_stall = fail_on != NULL;
	if (b->no_stall)
		return 0;
	say("check: no budget given: whystall check --max-stall 50ms -- COMMAND; see whystall check --help");
	return -1;
}

/* A limit below the record's threshold: of what is between the two it has no causes. */
static bool budget_fits(const struct check *c, const struct observations *seen)
{
	char limit[32], recorded[32];
	if (!c->budget.max_stall_ns || c->budget.max_stall_ns >= seen->capture.threshold_ns)
		return true;
	time_format(limit, sizeof limit, c->budget.max_stall_ns);
	time_format(recorded, sizeof recorded, seen->capture.threshold_ns);
	say("check: --max-stall %s is below the record's threshold of %s: it says nothing of ticks between "
	    "them; record with --threshold %gms",
	    limit, recorded, (double)c->budget.max_stall_ns / 1e6);
	return false;
}

/* A test that never ran passes no gate. */
static bool test_ran(const struct observations *seen, const char *record)
{
	const char *names[512];
	size_t n = 0;
	for (size_t i = 0; i < seen->marks.n; i++) {
		if (!strcmp(seen->marks.at[i].text, mark))
			return true;
		if (n < LENGTH(names) && *seen->marks.at[i].text)
			names[n++] = seen->marks.at[i].text;
	}
	const char *near = nearest(mark, names, n);
	say("check: no test \"%s\" ran in %s%s%s%s", mark, record, near ? "; did you mean " : "",
	    near ? near : "", near ? "?" : "");
	return false;
}

static bool loops_observed(const struct verdict *v)
{
	for (size_t p = 0; p < v->processes.n; p++)
		for (size_t l = 0; l < v->processes.at[p].loops.n; l++)
			if (v->processes.at[p].loops.at[l].observed_ns)
				return true;
	return false;
}

static int check_write(FILE *out, const struct verdict *v, const struct format_options *options,
		       void *closure)
{
	struct check *c = closure;
	struct outcome o;
	if (!budget_fits(c, v->seen)) {
		c->status = EXIT_USAGE;
		return 1;
	}
	if (mark && !test_ran(v->seen, options->record)) {
		c->status = EXIT_RECORD;
		return 1;
	}
	char was[PROSE_MAX], is[PROSE_MAX];
	if (baseline && !loops_observed(&c->older)) {
		say("check: no event loop was seen in %s: there is nothing to compare with", baseline);
		c->status = EXIT_RECORD;
		return 1;
	}
	if (baseline && compare_others(&c->older, v, was, is)) {
		say("check: the baseline %s is of another program (%s, not %s): there is nothing to compare",
		    baseline, was, is);
		c->status = EXIT_USAGE;
		return 1;
	}
	struct comparison compared = {0};
	budget_apply(&o, &c->budget, v);
	if (baseline) {
		compare_make(&compared, &c->older, v, c->budget.counted, c->tolerance);
		o.compared = &compared;
		o.regressed = compared.worse;
	}
	if (!o.loops) {
		say("check: no event loop was seen in %s: there is nothing to judge", options->record);
		c->status = EXIT_RECORD;
	}
	int err = o.loops ? format_find(format ? format : "text")->check(out, &o, v, options) : 1;
	if (github && o.loops) {
		github_annotate(stdout, &o);
		int told = github_summarize(&o, v, options);
		if (told)
			say("check: cannot write the job's summary to %s: %s", getenv("GITHUB_STEP_SUMMARY"),
			    strerror(-told));
	}
	if (o.broken || o.regressed)
		c->status = EXIT_OVER;
	outcome_free(&o);
	compare_free(&compared);
	return err;
}

static int record_check(struct check *c, const char *record)
{
	int status = report_record(&(struct report){.record = record,
						    .output = output,
						    .stream = stdout,
						    .colour = colour,
						    .write = check_write,
						    .closure = c});
	return status ? status : c->status;
}

/* What a command is recorded with: so that whoever breaks a limit is in the record. 0, or -1 having said what
 * is wrong. */
static int command_threshold(uint64_t *out, const struct budget *b)
{
	const char *option = threshold ? "threshold" : "max-stall";
	*out = threshold ? threshold : THRESHOLD_DEFAULT;
	if (!threshold && b->max_stall_ns && b->max_stall_ns < *out)
		*out = b->max_stall_ns;
	if (!threshold && b->max_p99_ns && b->max_p99_ns < *out) {
		*out = b->max_p99_ns;
		option = "max-p99";
	}
	if (*out < THRESHOLD_MIN) {
		say("check: --%s wants 100us or more", option);
		return -1;
	}
	if (b->max_stall_ns && b->max_stall_ns < *out) {
		say("check: --threshold is above --max-stall: what lies between them would not be recorded");
		return -1;
	}
	return 0;
}

static int command_check(struct check *c, int argc, char **argv)
{
	static struct capture_run run;
	if (command_threshold(&run.threshold_ns, &c->budget))
		return EXIT_USAGE;
	int status = report_writable(output);
	if (status)
		return status;
	status = capture_run(&run, argc, argv);
	if (!*run.record)
		return status ? status : EXIT_BROKEN;
	int checked = record_check(c, run.record);
	if (status)
		say("check: the command itself ended with status %d", status);
	return status ? status : checked;
}

/* Before the command is run: a baseline that cannot be read is told at once. Exit status. */
static int baseline_read(struct check *c)
{
	c->tolerance = TOLERANCE_DEFAULT;
	if (tolerance_text && !baseline) {
		say("check: --tolerance goes with --baseline RECORD");
		return EXIT_USAGE;
	}
	if (tolerance_text && percent_parse(tolerance_text, 1000, &c->tolerance)) {
		say("check: --tolerance wants a percentage from 0 to 1000, not \"%s\"", tolerance_text);
		return EXIT_USAGE;
	}
	if (tolerance_text)
		c->tolerance /= 100;
	if (!baseline)
		return EXIT_FINE;
	if (report_load(&c->older_seen, baseline))
		return EXIT_RECORD;
	verdict_make(&c->older, &c->older_seen);
	return EXIT_FINE;
}

static int check_run(int argc, char **argv)
{
	static char newest[PATH_MAX];
	static struct check c; /* and its baseline for the life of the program */
	/* options_parse has taken the "--" away: it stood before what is left */
	bool command = !strcmp(argv[-1], "--");
	if (budget_read(&c.budget))
		return EXIT_USAGE;
	if (command && !argc) { /* an empty variable of the CI's: not the newest record instead */
		say("check: no command after --: whystall check --max-stall 50ms -- COMMAND");
		return EXIT_USAGE;
	}
	if (argc > 1 && !command) {
		say("check: one RECORD, or -- and a command: whystall check --max-stall 50ms -- %s ...",
		    argv[0]);
		return EXIT_USAGE;
	}
	if (threshold_given && !command) {
		say("check: --threshold is for a command; the record has its own");
		return EXIT_USAGE;
	}
	int status = baseline_read(&c);
	if (status)
		return status;
	signal(SIGPIPE, SIG_IGN);
	if (!output && fcntl(STDOUT_FILENO, F_GETFD) < 0) {
		say("cannot write the report: standard output is closed");
		return EXIT_BROKEN;
	}
	if (command)
		return command_check(&c, argc, argv);
	if (!argc && store_newest(newest, sizeof newest)) {
		say("check: there is no record yet; whystall check [budget] -- COMMAND makes one");
		return EXIT_RECORD;
	}
	return record_check(&c, argc ? argv[0] : newest);
}

static const struct option_row check_options[] = {
	{0, "max-stall", "TIME", "the longest stall allowed", OPT_TIME, &max_stall, NULL, false,
	 &max_stall_given},
	{0, "max-stalled", "PERCENT", "of the time observed that a loop may be stalled", OPT_STRING,
	 &max_stalled, NULL, false, NULL},
	{0, "max-p99", "TIME", "the longest 99th percentile of ticks allowed", OPT_TIME, &max_p99, NULL,
	 false, &max_p99_given},
	{0, "fail-on", "CAUSE,...",
	 "only these causes count; without a limit or baseline, no stall may be due to them", OPT_STRING,
	 &fail_on, NULL, false, NULL},
	{0, "ignore", "CAUSE,...", "causes that do not count (default runqueue,stopped; or none)", OPT_STRING,
	 &ignore, NULL, false, NULL},
	{0, "test", "NAME", "only stalls while this test ran, as the pytest plugin names it", OPT_STRING,
	 &mark, NULL, false, NULL},
	{0, "baseline", "RECORD", "nothing may be new or worse than there (as whystall diff sees it)",
	 OPT_STRING, &baseline, NULL, false, NULL},
	{0, "tolerance", "PERCENT", "with --baseline: a change of up to this much is none (default 20)",
	 OPT_STRING, &tolerance_text, NULL, false, NULL},
	{0, "github", NULL, "also annotations for GitHub Actions, and its job summary", OPT_FLAG, &github,
	 NULL, true, NULL},
	{0, "threshold", "TIME", "of a command: a tick this long is a stall (default 20ms, or --max-stall)",
	 OPT_TIME, &threshold, NULL, false, &threshold_given},
	{'f', "format", "FORMAT", "what to print (default text)", OPT_CHOICE, &format, format_names_check,
	 false, NULL},
	{'o', "output", "FILE", "write it to FILE, whole or not at all", OPT_STRING, &output, NULL, false,
	 NULL},
	{0, "color", "WHEN", "colours and block characters (default auto, on a terminal that takes them)",
	 OPT_CHOICE, &colour, report_colours, false, NULL},
	{0},
};

static const struct command check = {
	.name = "check",
	.usage = "[options] [RECORD | -- COMMAND [ARG...]]",
	.help = "Fails if a loop's stalls exceed a budget.",
	.about = "For a CI: says which limit broke, by how much, by whom (function, file and line), and what "
		 "to do. The "
		 "seconds of an ignored cause are taken out of a stall before it is compared, for runqueue "
		 "also those in which the holder of a lock had no CPU, or may have had none, so that a busy "
		 "machine turns nothing red. Where such time is more than 1 % of all, a broken --max-p99 is "
		 "only a warning. Without RECORD or COMMAND it is the newest record; a command's is kept "
		 "where "
		 "run keeps its. Ends with 1 if a limit broke, 4 if no event loop was seen; a command's own "
		 "failure is passed on.",
	.order = 40,
	.options = check_options,
	.run = check_run,
	.examples = "whystall check --max-stall 50ms -- pytest tests/\nwhystall check --max-stall 100ms "
		    "--max-stalled 1 app.whystall\nwhystall check --fail-on gil,syscall app.whystall\n",
};
PART(cmd, command, check);
