/* SPDX-License-Identifier: MIT
 *
 * What `run` and `attach` have in common: a record and its writer, opened before and closed after, and the
 * report at the end. What fills it (the shim's arena or the probe's) is the watcher's.
 */
#ifndef WHYSTALL_RECORDING_H
#define WHYSTALL_RECORDING_H

#include <limits.h>

#include "watch.h"

struct recording {
	/* set by the command */
	const char *output;		      /* -o: the record, NULL: a new one in the default place */
	const char *report, *format, *colour; /* --report FILE in -f's format */
	const char *listen;		      /* --listen: the address, or NULL */
	bool silent;			      /* no summary */
	struct watch_options options;

	struct listener *listener;
	struct watch *watch; /* NULL: nothing is recorded (any more) */
	struct writer *writer;
	struct arena *arena;
	int arena_fd; /* the shim's; -1: the arena is whystall's own */
	struct obs_capture capture;
	char record[PATH_MAX];
	char lost[512]; /* why there is none: to be said when stderr is free */
};

/* Listens where --listen says, if it does; before recording_start, which answers. EXIT_FINE, or another
 * status after having said why not: then there is to be no start. */
int recording_listen(struct recording *, const char *command);
/* Opens the record, the arena (`shared`: one that other processes can open) and the watcher. 0; or -1, `lost`
 * says why. */
int recording_start(struct recording *, enum backend, bool shared);
/* Ends the recording and prints the summary; the targets may run on, and so may the listener. */
void recording_stop(struct recording *);
/* Ends it and leaves no record: there is nothing to tell. */
void recording_drop(struct recording *);
/* Everything seen so far is in the record, and its summary printed. */
void recording_report(struct recording *, const char *prefix);

/* What is wrong with --threshold and --rate, said; EXIT_USAGE or 0. */
int recording_check(const char *command, const uint64_t *threshold_ns, const long *rate);

/* The rows of the options that both have, into a struct recording and the command's own variables (cmd.h). */
/* clang-format off */
#define RECORDING_OPTIONS(recording, rate, rate_given, threshold_given)                                                  \
	{'o', "output", "FILE", "the record (default: a new one in ~/.local/state/whystall)", OPT_STRING,                \
	 &(recording).output, NULL, false, NULL},                                                                        \
	{0, "report", "FILE", "also write the report to FILE, in the format of -f", OPT_STRING,                          \
	 &(recording).report, NULL, false, NULL},                                                                        \
	{0, "threshold", "TIME", "a tick this long is a stall (default 20ms)", OPT_TIME,                                 \
	 &(recording).options.threshold_ns, NULL, false, &(threshold_given)},                                            \
	{'n', "native", NULL, "take native stacks too (the default)", OPT_FLAG, &(recording).options.native,             \
	 NULL, true, NULL},                                                                                              \
	{0, "no-native", NULL, "take no native stacks", OPT_FLAG, &(recording).options.native, NULL, false, NULL},       \
	{0, "loop", "THREAD", "only this thread (name or tid) is a loop", OPT_STRING, &(recording).options.loop,         \
	 NULL, false, NULL},                                                                                             \
	{0, "rate", "HZ", "looks at the threads concerned per second of a stall (default 200)", OPT_NUMBER,              \
	 &(rate), NULL, false, &(rate_given)},                                                                           \
	{0, "listen", "[ADDR:]PORT",                                                                                     \
	 "metrics for Prometheus while it runs, at http://ADDR:PORT/metrics (default ADDR 127.0.0.1; port 0: any)",      \
	 OPT_STRING, &(recording).listen, NULL, false, NULL},                                                            \
	{0, "color", "WHEN", "colours and block characters (default auto, on a terminal that takes them)",               \
	 OPT_CHOICE, &(recording).colour, report_colours, false, NULL}
/* clang-format on */

#endif
