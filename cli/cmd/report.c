/* SPDX-License-Identifier: MIT
 *
 * whystall report: the summary of a saved record, finished or still growing.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../cmd.h"
#include "../format.h"
#include "../report.h"
#include "../report_schema.h"
#include "../store.h"
#include "../util.h"

static const char *format, *output, *colour;
static long stall;
static bool stall_given, schema;

static int record_find(char *buf, size_t size)
{
	char directory[4096];
	if (!store_newest(buf, size))
		return 0;
	if (store_directory(directory, sizeof(directory), false))
		say("there is no record yet; whystall run -- COMMAND makes one");
	else
		say("there is no record in %s yet; whystall run -- COMMAND makes one", directory);
	return -ENOENT;
}

static int report_run(int argc, char **argv)
{
	static char newest[4096];
	if (argc > 1) {
		say("report: one RECORD at a time, not also %s; see whystall report --help", argv[1]);
		return EXIT_USAGE;
	}
	if (stall_given && (stall < 1 || stall > UINT32_MAX)) {
		say("report: --stall wants the number of a stall, 1 or more");
		return EXIT_USAGE;
	}
	if (stall_given && format && (!strcmp(format, "markdown") || !strcmp(format, "junit"))) {
		say("report: --stall goes with -f text, json and html; %s has no one stall", format);
		return EXIT_USAGE;
	}
	signal(SIGPIPE, SIG_IGN); /* a closed pipe is told, and its status is ours */
	if (!output && fcntl(STDOUT_FILENO, F_GETFD) < 0) {
		say("cannot write the report: standard output is closed");
		return EXIT_BROKEN;
	}
	if (schema) {
		fputs(schema_report, stdout);
		return EXIT_FINE;
	}
	if (!argc && record_find(newest, sizeof(newest)))
		return EXIT_RECORD;
	return report_record(&(struct report){.record = argc ? argv[0] : newest,
					      .format = format,
					      .output = output,
					      .stream = stdout,
					      .colour = colour,
					      .stall = stall});
}

static const struct option_row report_options[] = {
	{'f', "format", "FORMAT", "what to print (default text)", OPT_CHOICE, &format, format_names, false,
	 NULL},
	{'o', "output", "FILE", "write it to FILE, whole or not at all", OPT_STRING, &output, NULL, false,
	 NULL},
	{0, "stall", "N", "only stall number N, in full: every segment, holder and stack", OPT_NUMBER, &stall,
	 NULL, false, &stall_given},
	{0, "color", "WHEN", "colours and block characters (default auto, on a terminal that takes them)",
	 OPT_CHOICE, &colour, report_colours, false, NULL},
	{0, "json-schema", NULL, "print the JSON Schema of -f json", OPT_FLAG, &schema, NULL, true, NULL},
	{0},
};

static const struct command report = {
	.name = "report",
	.usage = "[options] [RECORD]",
	.help = "Prints the summary of a saved record, finished or still growing.",
	.about = "Without RECORD it is the newest in $XDG_STATE_HOME/whystall (by default "
		 "~/.local/state/whystall).",
	.order = 30,
	.options = report_options,
	.run = report_run,
	.examples = "whystall report\nwhystall report --stall 3\nwhystall report -f json -o report.json "
		    "app.whystall\n",
};
PART(cmd, command, report);
