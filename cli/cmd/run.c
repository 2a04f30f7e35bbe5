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
#include "../origin.h"
#include "../report.h"
#include "../store.h"
#include "../terminal.h"
#include "../watch.h"

#define FDS_MAX 256
#define KEEP_RECORDS 20

static const char *output, *report_file, *format, *loop, *colour;
static uint64_t threshold_ns = 20000000, duration_ns;
static long rate = 200;
static bool native = true, children = true, threshold_given, rate_given;
static struct capture_run *capturing; /* for another command, which has its own summary */

struct run {
	struct child child;
	struct watch *watch;
	struct writer *writer;
	struct obs_capture capture;
	char record[PATH_MAX];
	char lost[512]; /* why there is none, for the end: stderr is the command's until then */
	bool recording; /* there is a record */
};

/* The shim beside this program, or where `make install` puts it. 0 or -errno. */
static int shim_find(char *buf, size_t size)
{
	static const char *const places[] = {"libwhystall.so", "../lib/whystall/libwhystall.so"};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n < 0)
		return -errno;
	self[n] = 0;
	*strrchr(self, '/') = 0;
	for (size_t i = 0; i < LENGTH(places); i++) {
		char path[PATH_MAX * 2], real[PATH_MAX];
		snprintf(path, sizeof path, "%s/%s", self, places[i]);
		if (!realpath(path, real))
			continue;
		snprintf(buf, size, "%s", real);
		if (strpbrk(real, " :$")) { /* they part LD_PRELOAD: a name without them */
			int fd = open(real, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				return -errno;
			snprintf(buf, size, "/proc/%d/fd/%d", (int)getpid(), fd);
		}
		return 0;
	}
	return -ENOENT;
}

/* Opens the record. 0; or -1 after having said why it cannot: with -o that is the end, without the command
 * runs all the same. */
static int record_open(struct run *r, struct store **store)
{
	char why[512], name[64];
	if (output) {
		snprintf(r->record, sizeof r->record, "%s", output);
	} else {
		char place[PATH_MAX - 64];
		int result = store_directory(place, sizeof place, true);
		if (result) {
			snprintf(r->lost, sizeof r->lost,
				 "no place for a record (%s): nothing was recorded; name one with -o FILE",
				 strerror(-result));
			return -1;
		}
		store_default_name(name, sizeof name, time(NULL), getpid());
		snprintf(r->record, sizeof r->record, "%s/%s", place, name);
	}
	if (!store_create(store, r->record, output != NULL, why, sizeof why))
		return 0;
	snprintf(r->lost, sizeof r->lost, "%.480s%s", why, output ? "" : ": nothing was recorded");
	return -1;
}

static int recording_start(struct run *r, const char *shim, char variables[2][PATH_MAX * 2])
{
	struct watch_options options = {.threshold_ns = threshold_ns,
					.rate_hz = (unsigned)rate,
					.native = native,
					.children = children,
					.loop = loop,
					.shim = shim};
	struct store *store;
	struct arena *arena;
	origin_fill(&r->capture);
	r->capture.threshold_ns = threshold_ns;
	r->capture.backend = BACKEND_PRELOAD;
	if (record_open(r, &store))
		return -1;
	int fd = arena_create(&arena, &options);
	if (fd < 0) {
		snprintf(r->lost, sizeof r->lost, "cannot make shared memory (%s): nothing was recorded",
			 strerror(-fd));
		store_close(store);
		unlink(r->record);
		return -1;
	}
	r->writer = writer_start(store);
	if (!r->writer) {
		snprintf(r->lost, sizeof r->lost, "cannot start a thread (%s): nothing was recorded",
			 strerror(errno));
		store_close(store);
		unlink(r->record);
		return -1;
	}
	r->watch = watch_start(arena, r->writer, &options, &r->capture);
	writer_put_capture(r->writer, &r->capture);
	r->recording = true;
	const char *preloaded = getenv("LD_PRELOAD");
	snprintf(variables[0], PATH_MAX * 2, "LD_PRELOAD=%s%s%s", shim, preloaded ? ":" : "",
		 preloaded ? preloaded : "");
	snprintf(variables[1], PATH_MAX * 2, ARENA_ENV "=%d:%d", getpid(), fd);
	return 0;
}

static void record_report(struct run *r, const char *prefix)
{
	if (verbosity >= 0 && !capturing)
		report_record(&(struct report){
			.record = r->record, .stream = stderr, .colour = colour, .prefix = prefix});
}

/* Ends the recording; the command may run on. */
static void recording_stop(struct run *r)
{
	char why[512];
	if (!r->watch)
		return;
	watch_stop(r->watch, &r->capture);
	r->watch = NULL;
	if (writer_stop(r->writer, why, sizeof why))
		say("%s", why);
	terminal_clear();
	record_report(r, "whystall: ");
	if (report_file)
		report_record(&(struct report){.record = r->record, .format = format, .output = report_file});
	if (!output)
		store_prune(KEEP_RECORDS);
}

/* There is nothing to tell: the command never ran. */
static void recording_drop(struct run *r)
{
	char why[512];
	if (!r->watch)
		return;
	watch_stop(r->watch, &r->capture);
	r->watch = NULL;
	writer_stop(r->writer, why, sizeof why);
	unlink(r->record);
}

/* Ctrl-C, and a second later the command is still there, stalled all the while: the verdict so far, once. */
static void verdict_so_far(struct run *r)
{
	watch_put(r->watch, &r->capture);
	writer_flush(r->writer);
	terminal_clear();
	record_report(r, "whystall, so far: ");
	say("the command has not ended: its loop has been stalled since before Ctrl-C. It goes on; to end "
	    "it: kill -KILL %d",
	    (int)r->child.pid);
}

static void run_wait(struct run *r)
{
	struct pollfd fds[FDS_MAX];
	uint64_t interrupted = 0, end = duration_ns ? now_ns() + duration_ns : UINT64_MAX;
	bool told = false;
	while (!r->child.ended) {
		uint64_t due = r->watch ? watch_poll(r->watch) : NS;
		struct timespec timeout = {.tv_sec = (time_t)(due / NS), .tv_nsec = (long)(due % NS)};
		fds[0] = (struct pollfd){.fd = r->child.signals, .events = POLLIN};
		int n = r->watch ? watch_fds(r->watch, fds + 1, FDS_MAX - 1) : 0;
		ppoll(fds, (nfds_t)n + 1, &timeout, NULL);
		if (fds[0].revents) {
			/* what it did last is looked at before it is reaped, while /proc still knows it */
			if (r->watch)
				watch_poll(r->watch);
			child_signals(&r->child);
		}
		if (r->child.interrupted && !interrupted)
			interrupted = now_ns();
		if (!r->watch)
			continue;
		if (verbosity >= 0)
			terminal_stall(r->watch);
		if (interrupted && !told && now_ns() > interrupted + NS) {
			told = true;
			if (watch_stalled_since(r->watch, interrupted))
				verdict_so_far(r);
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
	if (threshold_given && threshold_ns < 100000) {
		say("run: --threshold wants 100us or more");
		return EXIT_USAGE;
	}
	if (rate_given && (rate < 1 || rate > 1000)) {
		say("run: --rate wants 1 to 1000 samples a second");
		return EXIT_USAGE;
	}
	if (format && !report_file) {
		say("run: -f goes with --report FILE, for stdout and stderr are the command's");
		return EXIT_USAGE;
	}
	return 0;
}

static int run_run(int argc, char **argv)
{
	static struct run r;
	static char variables[2][PATH_MAX * 2];
	char shim[PATH_MAX];
	int result = usage_check(argc);
	if (result)
		return result;
	if ((result = child_prepare(&r.child))) {
		say("cannot wait for signals: %s", strerror(-result));
		return EXIT_BROKEN;
	}
	if (shim_find(shim, sizeof shim)) {
		say("cannot find libwhystall.so beside this program or in ../lib/whystall: is the "
		    "installation whole?");
		return EXIT_BROKEN;
	}
	if (recording_start(&r, shim, variables) && output) {
		say("%s", r.lost);
		return EXIT_BROKEN;
	}
	const char *const set[] = {variables[0], variables[1], NULL};
	enum refusal refusal = image_refusal(argv[0], true);
	result = child_start(&r.child, argv, r.recording && !refusal ? set : set + 2);
	if (result) {
		say("cannot run %s: %s", argv[0], strerror(-result));
		recording_drop(&r);
		return result == -ENOENT ? 127 : 126;
	}
	if (r.recording)
		watch_command(r.watch, r.child.pid, argv, refusal);
	run_wait(&r);
	recording_stop(&r);
	if (*r.lost)
		say("%s", r.lost);
	if (capturing && r.recording)
		snprintf(capturing->record, sizeof capturing->record, "%s", r.record);
	return r.child.status;
}

int capture_run(struct capture_run *c, int argc, char **argv)
{
	capturing = c;
	c->record[0] = 0;
	threshold_ns = c->threshold_ns;
	return run_run(argc, argv);
}

static const struct option_row run_options[] = {
	{'o', "output", "FILE", "the record (default: a new one in ~/.local/state/whystall)", OPT_STRING,
	 &output, NULL, false, NULL},
	{0, "report", "FILE", "also write the report to FILE, in the format of -f", OPT_STRING, &report_file,
	 NULL, false, NULL},
	{'f', "format", "FORMAT", "of --report (default text)", OPT_CHOICE, &format, format_names, false,
	 NULL},
	{'d', "duration", "TIME", "record for this long; the command runs on", OPT_TIME, &duration_ns, NULL,
	 false, NULL},
	{0, "threshold", "TIME", "a tick this long is a stall (default 20ms)", OPT_TIME, &threshold_ns, NULL,
	 false, &threshold_given},
	{'n', "native", NULL, "take native stacks too (the default)", OPT_FLAG, &native, NULL, true, NULL},
	{0, "no-native", NULL, "take no native stacks", OPT_FLAG, &native, NULL, false, NULL},
	{0, "no-children", NULL, "leave the processes that the command starts alone", OPT_FLAG, &children,
	 NULL, false, NULL},
	{0, "loop", "THREAD", "only this thread (name or tid) is a loop", OPT_STRING, &loop, NULL, false,
	 NULL},
	{0, "rate", "HZ", "looks at the threads concerned per second of a stall (default 200)", OPT_NUMBER,
	 &rate, NULL, false, &rate_given},
	{0, "color", "WHEN", "colours and block characters (default auto, on a terminal that takes them)",
	 OPT_CHOICE, &colour, report_colours, false, NULL},
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
		    "python3 app.py\n",
};
PART(cmd, command, run);
