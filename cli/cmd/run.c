/* SPDX-License-Identifier: MIT
 *
 * whystall run: the command from its start under the shim; a record while it runs; the summary at its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../preload/image.h"
#include "../capture_run.h"
#include "../child.h"
#include "../cmd.h"
#include "../format.h"
#include "../listen.h"
#include "../recording.h"
#include "../report.h"
#include "../shim.h"
#include "../terminal.h"

#define FDS_MAX 256

static struct recording recording = {.options = {.threshold_ns = 20000000, .native = true, .children = true}};
static uint64_t duration_ns;
static long rate = 200;
static bool threshold_given, rate_given;

/* The shim's environment: LD_PRELOAD and where the arena is. */
static void variables_make(const char *shim, char variables[2][PATH_MAX * 2])
{
	const char *preloaded = getenv("LD_PRELOAD");
	snprintf(variables[0], PATH_MAX * 2, "LD_PRELOAD=%s%s%s", shim, preloaded ? ":" : "",
		 preloaded ? preloaded : "");
	snprintf(variables[1], PATH_MAX * 2, ARENA_ENV "=%d:%d", getpid(), recording.arena_fd);
}

/* Ctrl-C, and a second later the command is still there, stalled all the while: the verdict so far, once. */
static void verdict_so_far(const struct child *child)
{
	recording_report(&recording, "whystall, so far: ");
	say("the command has not ended: its loop has been stalled since before Ctrl-C. It goes on; to end "
	    "it: kill -KILL %d",
	    (int)child->pid);
}

/* When the command was stopped and went on, as exactly as anyone can say. */
static void stops_note(struct child *child, uint64_t when)
{
	bool stopped;
	while (child_stop_next(child, &stopped))
		if (recording.watch)
			watch_stopped(recording.watch, child->pid, stopped, when);
}

static void run_wait(struct child *child)
{
	struct recording *r = &recording;
	struct pollfd fds[FDS_MAX];
	uint64_t interrupted = 0, end = duration_ns ? now_ns() + duration_ns : UINT64_MAX;
	bool told = false;
	while (!child->ended) {
		uint64_t due = r->watch ? watch_poll(r->watch) : NS;
		struct timespec timeout = {.tv_sec = (time_t)(due / NS), .tv_nsec = (long)(due % NS)};
		fds[0] = (struct pollfd){.fd = child->signals, .events = POLLIN};
		int n = r->watch ? watch_fds(r->watch, fds + 1, FDS_MAX - 1) : 0;
		ppoll(fds, (nfds_t)n + 1, &timeout, NULL);
		if (fds[0].revents) {
			stops_note(child, now_ns());
			/* what it did last is looked at before it is reaped, while /proc still knows it */
			if (r->watch)
				watch_poll(r->watch);
			child_signals(child);
			/* it may have stopped since, and its signal is read already */
			stops_note(child, now_ns());
			if (child->stopped)
				child_signals(child);
		}
		if (child->interrupted && !interrupted)
			interrupted = now_ns();
		if (!r->watch)
			continue;
		if (verbosity >= 0)
			terminal_stall(r->watch);
		if (interrupted && !told && now_ns() > interrupted + NS) {
			told = true;
			if (watch_stalled_since(r->watch, interrupted))
				verdict_so_far(child);
		}
		if (now_ns() >= end)
			recording_stop(r);
	}
}

static int usage_check(int argc)
{
	if (!argc) {
		say("run: no command given: whystall run [options] -- COMMAND [ARG...]; see whystall run "
		    "--help");
		return EXIT_USAGE;
	}
	if (recording.format && !recording.report) {
		say("run: -f goes with --report FILE, for stdout and stderr are the command's");
		return EXIT_USAGE;
	}
	return recording_check("run", threshold_given ? &recording.options.threshold_ns : NULL,
			       rate_given ? &rate : NULL);
}

static int run_run(int argc, char **argv)
{
	static struct child child;
	static char variables[2][PATH_MAX * 2];
	struct recording *r = &recording;
	char shim[PATH_MAX];
	int result = usage_check(argc);
	if (result)
		return result;
	if ((result = recording_listen(r, "run")))
		return result;
	if ((result = child_prepare(&child))) {
		say("cannot wait for signals: %s", strerror(-result));
		return EXIT_BROKEN;
	}
	if (!shim_require(shim, sizeof shim))
		return EXIT_BROKEN;
	r->options.shim = shim;
	r->options.rate_hz = (unsigned)rate;
	bool recorded = !recording_start(r, BACKEND_PRELOAD, true);
	if (!recorded && (r->output || r->listen)) {
		say("%s", r->lost);
		return EXIT_BROKEN;
	}
	if (recorded)
		variables_make(shim, variables);
	const char *const set[] = {variables[0], variables[1], NULL};
	enum refusal refusal = image_refusal(argv[0], true);
	result = child_start(&child, argv, recorded && !refusal ? set : set + 2);
	if (result) {
		say("cannot run %s: %s", argv[0], strerror(-result));
		recording_drop(r);
		return result == -ENOENT ? 127 : 126;
	}
	if (recorded)
		watch_command(r->watch, child.pid, argv, refusal);
	run_wait(&child);
	recording_stop(r);
	listener_stop(r->listener);
	if (*r->lost)
		say("%s", r->lost);
	return child.status;
}

int capture_run(struct capture_run *c, int argc, char **argv)
{
	recording.silent = true;
	recording.options.threshold_ns = c->threshold_ns;
	int status = run_run(argc, argv);
	snprintf(c->record, sizeof c->record, "%s", *recording.lost ? "" : recording.record);
	return status;
}

static const struct option_row run_options[] = {
	RECORDING_OPTIONS(recording, rate, rate_given, threshold_given),
	{'f', "format", "FORMAT", "of --report (default text)", OPT_CHOICE, &recording.format, format_names,
	 false, NULL},
	{'d', "duration", "TIME", "record for this long; the command runs on", OPT_TIME, &duration_ns, NULL,
	 false, NULL},
	{0, "no-children", NULL, "leave the processes that the command starts alone", OPT_FLAG,
	 &recording.options.children, NULL, false, NULL},
	{0},
};

static const struct command run = {
	.name = "run",
	.usage = "[options] -- COMMAND [ARG...]",
	.help = "Runs a command and tells why its event loops stalled.",
	.about = "The command runs from its start under a preloaded library; no privilege is needed. Its "
		 "terminal, signals "
		 "and exit status are its own. The summary goes to stderr when it ends.",
	.order = 10,
	.stops = true,
	.options = run_options,
	.run = run_run,
	.examples = "whystall run -- uvicorn app:api\nwhystall run -o app.whystall --threshold 50ms -- "
		    "python3 app.py\nwhystall run --listen 9464 -- uvicorn app:api\n",
};
PART(cmd, command, run);
