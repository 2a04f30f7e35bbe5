/* SPDX-License-Identifier: MIT
 *
 * whystall attach: joins processes that run already, with the probe, until they end, for a time, or until
 * Ctrl-C.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../cmd.h"
#include "../format.h"
#include "../listen.h"
#include "../privilege.h"
#include "../probe.h"
#include "../proc.h"
#include "../recording.h"
#include "../report.h"
#include "../shim.h"
#include "../shim_record.h"
#include "../terminal.h"

#define TARGETS_MAX 256
#define FDS_MAX 256

static struct recording recording = {.options = {.threshold_ns = 20000000, .native = true, .children = true}};
static uint64_t duration_ns;
static long rate = 200, ready_fd = -1, join_fd = -1;
static long hooks_limit = 20000; /* calls a second */
static const char *backend, *hooks;
static const char *const hook_sets[] = {"pthread", NULL};
static const char *const backends[] = {"auto", "preload", "ebpf", NULL};
static bool threshold_given, rate_given;

struct target {
	pid_t pid;
	int fd; /* pidfd: readable once it has ended */
	bool ended;
};
static struct target targets[TARGETS_MAX];
static int target_count;

static int usage_check(int argc, char **argv)
{
	if (!argc) {
		say("attach: no process given: whystall attach [options] PID...; see whystall attach --help");
		return EXIT_USAGE;
	}
	if (argc > TARGETS_MAX) {
		say("attach: %d processes at most, not %d", TARGETS_MAX, argc);
		return EXIT_USAGE;
	}
	for (int i = 0; i < argc; i++) {
		char *end;
		errno = 0;
		long pid = strtol(argv[i], &end, 10);
		if (*end || end == argv[i] || errno || pid <= 0 || pid > INT32_MAX) {
			say("attach: %s is not a process id", argv[i]);
			return EXIT_USAGE;
		}
		bool twice = false;
		for (int k = 0; k < target_count; k++)
			twice = twice || targets[k].pid == pid;
		if (!twice)
			targets[target_count++] = (struct target){.pid = (pid_t)pid, .fd = -1};
	}
	if (join_fd >= 0 && (target_count > 1 || hooks || (backend && !strcmp(backend, "ebpf")))) {
		say("attach: --join-fd is for one process, which loads the shim itself, and for no eBPF");
		return EXIT_USAGE;
	}
	if (hooks_limit < 1) {
		say("attach: --hooks-limit wants 1 or more");
		return EXIT_USAGE;
	}
	return recording_check("attach", threshold_given ? &recording.options.threshold_ns : NULL,
			       rate_given ? &rate : NULL);
}

static int target_open(struct target *t)
{
	char why[512] = "";
	struct proc_status seen;
	int e = proc_status(t->pid, 0, &seen);
	if (e == -ESRCH)
		snprintf(why, sizeof why, "there is no such process");
	else if (e)
		snprintf(why, sizeof why, "%s", strerror(-e));
	else if (seen.state == 'Z' || seen.state == 'X')
		snprintf(why, sizeof why,
			 "it has ended already, and its parent has not taken note (a zombie)");
	else if (seen.kernel_thread || !seen.has_memory)
		snprintf(why, sizeof why, "it is a thread of the kernel, not a program");
	else if (seen.tgid != t->pid)
		snprintf(why, sizeof why, "it is a thread of process %d: attach to that", (int)seen.tgid);
	else if (t->pid == getpid())
		snprintf(why, sizeof why, "that is whystall itself");
	else if (!caller_may_trace(t->pid, why, sizeof why))
		;
	else if ((t->fd = (int)syscall(SYS_pidfd_open, t->pid, 0)) < 0)
		snprintf(why, sizeof why, "%s", errno == ESRCH ? "it ended just now" : strerror(errno));
	else
		return 0;
	say("cannot attach to %d: %s", (int)t->pid, why);
	return EXIT_ATTACH;
}

/* The probe could not be loaded: what is missing, and how to give it. */
static void denied_say(const char *why)
{
	char *missing = privilege_missing(), *form;
	if (!missing) {
		say("cannot attach: %s; whystall run -- COMMAND needs no BPF. See whystall doctor", why);
		return;
	}
	say("cannot attach: %s; it needs %s. As root, or once for a group:", why, missing);
	free(missing);
	form = privilege_form(PRIVILEGE_FILE);
	fputs(form, stderr);
	free(form);
	fprintf(stderr, "whystall doctor -v shows the forms for systemd, Kubernetes and Docker; whystall run "
			"-- COMMAND "
			"needs no "
			"privilege.\n");
}

static bool targets_live(void)
{
	struct pollfd fds[TARGETS_MAX];
	bool any = false;
	for (int i = 0; i < target_count; i++)
		fds[i] = (struct pollfd){.fd = targets[i].ended ? -1 : targets[i].fd, .events = POLLIN};
	poll(fds, (nfds_t)target_count, 0);
	for (int i = 0; i < target_count; i++) {
		if (fds[i].revents)
			targets[i].ended = true;
		any = any || !targets[i].ended;
	}
	return any;
}

/* SIGINT, SIGTERM and SIGHUP end the recording, and nothing else. */
static int signals_open(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Takes a process up with the children that it has, and theirs. */
static int tree_take(struct probe *probe, pid_t pid)
{
	char path[64], *list = NULL, *save = NULL;
	int threads = probe_take(probe, pid);
	if (threads < 0 || !recording.options.children)
		return threads;
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	struct dirent *entry;
	while (tasks && (entry = readdir(tasks))) {
		char children[PATH_MAX];
		snprintf(children, sizeof children, "%s/%s/children", path, entry->d_name);
		if (entry->d_name[0] == '.' || file_read(children, &list, 1u << 20) < 0)
			continue;
		for (char *word = strtok_r(list, " ", &save); word; word = strtok_r(NULL, " ", &save))
			tree_take(probe, (pid_t)strtol(word, NULL, 10));
		free(list);
	}
	if (tasks)
		closedir(tasks);
	return threads;
}

/* --hooks: what it costs is said, and that it is over. */
static void hooks_start(struct probe *probe)
{
	char why[512];
	for (int i = 0; i < target_count && hooks; i++) {
		int n = probe_hook_process(probe, targets[i].pid, why, sizeof why);
		if (n < 0)
			say("%s; it is recorded without hooks", why);
		else if (verbosity >= 0)
			say("%d functions of %d have uprobes: each call of one takes some 10 us more; above "
			    "%ld "
			    "calls a second they are taken out (--hooks-limit)",
			    n, (int)targets[i].pid, hooks_limit);
	}
}

static void hooks_check(struct recording *r)
{
	char note[160];
	uint64_t rate_seen;
	if (!hooks || !probe_hooks_over(r->options.probe, (uint64_t)hooks_limit, &rate_seen))
		return;
	snprintf(note, sizeof note,
		 "--hooks pthread ended early: its functions were called %llu times a second, the limit is "
		 "%ld.",
		 (unsigned long long)rate_seen, hooks_limit);
	watch_remark(r->watch, note);
}

static void attach_wait(int signals)
{
	struct recording *r = &recording;
	struct pollfd fds[FDS_MAX];
	uint64_t end = duration_ns ? now_ns() + duration_ns : UINT64_MAX;
	for (;;) {
		uint64_t due = watch_poll(r->watch), now = now_ns();
		if (now >= end || !targets_live())
			break;
		hooks_check(r);
		if (due > end - now)
			due = end - now;
		struct timespec timeout = {.tv_sec = (time_t)(due / NS), .tv_nsec = (long)(due % NS)};
		fds[0] = (struct pollfd){.fd = signals, .events = POLLIN};
		int n = watch_fds(r->watch, fds + 1, FDS_MAX - 1);
		ppoll(fds, (nfds_t)n + 1, &timeout, NULL);
		if (fds[0].revents)
			break;
		if (verbosity >= 0)
			terminal_stall(r->watch);
	}
}

static void ready_say(void)
{
	char text[512];
	size_t n = 0;
	for (int i = 0; i < target_count && n < sizeof text - 32; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, " %d", (int)targets[i].pid);
	if (verbosity >= 0)
		fprintf(stderr, "whystall: recording%s%s\n", text,
			target_count > 1 && n >= sizeof text - 32 ? " ..." : "");
	if (ready_fd >= 0 && write((int)ready_fd, "\n", 1) != 1)
		say("cannot write to descriptor %ld: %s", ready_fd, strerror(errno));
}

/* Is every target under one and the same `whystall run`? 0; or not, and `why` a sentence. */
static int shims_find(struct shim_record *found, char *why, size_t size)
{
	for (int i = 0; i < target_count; i++) {
		struct shim_record one;
		snprintf(why, size, "the shim is not in it: it was not started by whystall run");
		int e = shim_record_find(targets[i].pid, &one, why, size);
		if (e)
			return e;
		if (i && strcmp(one.path, found->path)) {
			snprintf(why, size, "not all are under the same whystall run");
			return -EXDEV;
		}
		*found = one;
	}
	return 0;
}

/* The record that `run` makes is read, until what was asked for is over. */
static int shim_follow(const struct shim_record *record)
{
	const struct recording *r = &recording;
	char why[512];
	int signals = signals_open();
	uint64_t end = duration_ns ? now_ns() + duration_ns : UINT64_MAX;
	ready_say();
	while (targets_live() && now_ns() < end) {
		uint64_t left = end - now_ns(), wait = left < NS / 20 ? left : NS / 20;
		struct pollfd fd = {.fd = signals, .events = POLLIN};
		if (poll(&fd, 1, (int)(wait / 1000000) + 1) > 0)
			break;
	}
	for (int i = 0; i < 100 && !targets_live() && shim_record_grows(record); i++)
		usleep(50000);
	if (r->output && shim_record_copy(record, r->output, why, sizeof why)) {
		say("%s", why);
		return EXIT_BROKEN;
	}
	struct report report = {.record = r->output ? r->output : record->path, .colour = r->colour};
	int status = 0;
	if (!r->format || r->report) {
		struct report summary = report;
		summary.stream = stderr;
		summary.prefix = "whystall: ";
		status = verbosity >= 0 ? report_record(&summary) : 0;
	}
	report.format = r->format;
	report.output = r->report;
	report.stream = stdout;
	return status ? status : r->format || r->report ? report_record(&report) : 0;
}

/* No child of the process that started us, which may wait for any of its own; nor of its terminal. */
static void daemon_become(void)
{
	pid_t pid = fork();
	if (pid)
		_exit(pid < 0 ? EXIT_BROKEN : EXIT_FINE);
	setsid();
}

/* What whystall_join() and dlopen() are to be given, and the record's name: a line each. */
static void join_say(const char *shim)
{
	const struct recording *r = &recording;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dprintf((int)join_fd, ARENA_ENV "=%d:%d\n%s\n%s\n", getpid(), r->arena_fd, shim, r->record);
	close((int)join_fd);
	/* whoever reads what the process writes waits for its end, not for ours */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && null >= 0; fd++)
		dup2(null, fd);
}

/* The process loads the shim itself: it is recorded as by `run`, until it ends. */
static int join_record(void)
{
	struct recording *r = &recording;
	char shim[PATH_MAX];
	int result;
	daemon_become();
	signal(SIGPIPE, SIG_IGN);
	if ((result = recording_listen(r, "attach")))
		return result;
	if (!shim_require(shim, sizeof shim))
		return EXIT_BROKEN;
	r->options.shim = shim;
	r->options.rate_hz = (unsigned)rate;
	r->silent = true;
	int signals = signals_open();
	if (recording_start(r, BACKEND_PRELOAD, true)) {
		say("%s", r->lost);
		return EXIT_BROKEN;
	}
	r->arena->joined = 1;
	join_say(shim);
	attach_wait(signals);
	recording_stop(r);
	listener_stop(r->listener);
	return EXIT_FINE;
}

static int attach_run(int argc, char **argv)
{
	struct recording *r = &recording;
	char why[512];
	int result = usage_check(argc, argv);
	for (int i = 0; i < target_count && !result; i++)
		result = target_open(&targets[i]);
	if (result || (result = report_writable(r->report)))
		return result;
	if (join_fd >= 0)
		return join_record();
	struct shim_record record;
	bool wanted = backend && !strcmp(backend, "preload"), more = hooks || r->listen;
	if (wanted && more) {
		say("attach: %s goes with --backend ebpf: the shim's record is whystall run's",
		    hooks ? "--hooks" : "--listen");
		return EXIT_USAGE;
	}
	if ((wanted || (!more && (!backend || !strcmp(backend, "auto")))) &&
	    !shims_find(&record, why, sizeof why))
		return shim_follow(&record);
	if (wanted) {
		say("cannot read the shim in process %d: %s", (int)targets[0].pid, why);
		return EXIT_ATTACH;
	}
	struct probe_options options = {.threshold_ns = r->options.threshold_ns,
					.children = r->options.children};
	if (probe_open(&r->options.probe, &options, why, sizeof why)) {
		denied_say(why);
		return EXIT_ATTACH;
	}
	if ((result = recording_listen(r, "attach"))) {
		probe_close(r->options.probe);
		return result;
	}
	int signals = signals_open();
	r->options.rate_hz = (unsigned)rate;
	r->silent = r->format && !r->report;
	if (recording_start(r, BACKEND_EBPF, false)) {
		say("%s", r->lost);
		probe_close(r->options.probe);
		return EXIT_BROKEN;
	}
	for (int i = 0; i < target_count; i++)
		if (tree_take(r->options.probe, targets[i].pid) < 0 && targets_live() && !targets[i].ended)
			say("process %d could not be taken up", (int)targets[i].pid);
	prctl(PR_SET_TIMERSLACK, 1);
	watch_poll(r->watch);
	hooks_start(r->options.probe);
	ready_say();
	attach_wait(signals);
	recording_stop(r);
	listener_stop(r->listener);
	probe_close(r->options.probe);
	if (r->silent)
		result = report_record(
			&(struct report){.record = r->record, .format = r->format, .stream = stdout});
	return result;
}

static const struct option_row attach_options[] = {
	RECORDING_OPTIONS(recording, rate, rate_given, threshold_given),
	{'f', "format", "FORMAT", "of the report; without --report it goes to stdout instead of the summary",
	 OPT_CHOICE, &recording.format, format_names, false, NULL},
	{'d', "duration", "TIME", "detach after this long", OPT_TIME, &duration_ns, NULL, false, NULL},
	{0, "no-children", NULL, "leave the processes that they start alone", OPT_FLAG,
	 &recording.options.children, NULL, false, NULL},
	{0, "hooks", "SET",
	 "uprobes on the lock functions too, for holds that nobody waited for; each call costs 10 us",
	 OPT_CHOICE, &hooks, hook_sets, false, NULL},
	{0, "hooks-limit", "N", "take them out above N calls a second (default 20000)", OPT_NUMBER,
	 &hooks_limit, NULL, false, NULL},
	{0, "backend", "HOW", "where from (default auto: what whystall run records already, else eBPF)",
	 OPT_CHOICE, &backend, backends, false, NULL},
	{0, "ready-fd", "N", "write a byte to this descriptor once recording has begun", OPT_NUMBER,
	 &ready_fd, NULL, false, NULL},
	{0, "join-fd", "N",
	 "the process loads the shim itself, no eBPF: how is written to this descriptor (whystall.recorder)",
	 OPT_NUMBER, &join_fd, NULL, false, NULL},
	{0},
};

static const struct command attach = {
	.name = "attach",
	.usage = "[options] PID...",
	.help = "Joins running processes with eBPF and tells why their event loops stall.",
	.about = "Nothing in the processes is stopped or changed. Their children are followed. It ends with "
		 "them, after -d, or "
		 "at Ctrl-C; the summary then goes to stderr.",
	.order = 20,
	.options = attach_options,
	.run = attach_run,
	.capabilities = privilege_attach,
	.examples = "sudo whystall attach 4711\nsudo whystall attach -d 30s -f json $(pgrep -f gunicorn)\n",
};
PART(cmd, command, attach);
