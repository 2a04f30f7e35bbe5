/* SPDX-License-Identifier: MIT
 *
 * whystall export: the record for other tools.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include "../cmd.h"
#include "../format.h"
#include "../report.h"
#include "../store.h"

static const char *format, *output;

static int export_run(int argc, char **argv)
{
	static char newest[PATH_MAX];
	if (argc > 1) {
		say("export: one RECORD at a time, not also %s; see whystall export --help", argv[1]);
		return EXIT_USAGE;
	}
	if (!format) {
		say("export: which format? -f perfetto, for instance; see whystall export --help");
		return EXIT_USAGE;
	}
	signal(SIGPIPE, SIG_IGN); /* a closed pipe is told, and its status is ours */
	if (!output && fcntl(STDOUT_FILENO, F_GETFD) < 0) {
		say("cannot write the export: standard output is closed");
		return EXIT_BROKEN;
	}
	if (!argc && store_newest(newest, sizeof newest)) {
		say("export: there is no record yet; whystall run -- COMMAND makes one");
		return EXIT_RECORD;
	}
	return report_record(&(struct report){
		.record = argc ? argv[0] : newest, .format = format, .output = output, .stream = stdout});
}

static const struct option_row export_options[] = {
	{'f', "format", "FORMAT", "for which tool", OPT_CHOICE, &format, format_names_export, false, NULL},
	{'o', "output", "FILE", "write it to FILE, whole or not at all", OPT_STRING, &output, NULL, false,
	 NULL},
	{0},
};

static const struct command export = {
	.name = "export",
	.usage = "-f FORMAT [options] [RECORD]",
	.help = "Prints a record in the format of another tool.",
	.about =
		"perfetto: Trace Event JSON for ui.perfetto.dev, threads as tracks, stalls and the holds of "
		"locks as slices, arrows from who held to who waited. speedscope: for speedscope.app, "
		"stalled "
		"seconds by the culprit's stack. folded: the same for flamegraph.pl, in microseconds. "
		"openmetrics: counters and a histogram for Prometheus. jsonl: one stall a line, as in the "
		"JSON report, behind run_id, host, service, started, pid, command and thread. Without RECORD "
		"it is the newest.",
	.order = 50,
	.options = export_options,
	.run = export_run,
	.examples = "whystall export -f perfetto -o stalls.json app.whystall\n"
		    "whystall export -f folded app.whystall | flamegraph.pl >stalls.svg\n",
};
PART(cmd, command, export);
