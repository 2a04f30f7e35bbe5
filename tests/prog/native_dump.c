/* SPDX-License-Identifier: MIT
 *
 * native_dump [-s N] [-k] [-t] PID TID: prints the native stack of a thread N times, sampled by perf event
 * while it runs and from /proc while it is blocked. A line "running -" or "blocked SYSCALL", then one frame a
 * line (function, module, "inlined" or not, file, line, with tabs between), then "end" or "cut". -k kills PID
 * between sampling and naming. -t prints what each step cost, to stderr.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../cli/native.h"
#include "../../cli/util.h"

#define SAMPLES_MAX 64

static struct native_sample samples[SAMPLES_MAX];
static int calls[SAMPLES_MAX]; /* system call, -1: running */
static int count, want = 1;
static bool timed;

static void keep(void *arg, const struct native_sample *s)
{
	(void)arg;
	if (count < want) {
		calls[count] = -1;
		samples[count++] = *s;
	}
}

static void told(const char *what, uint64_t since)
{
	if (timed)
		fprintf(stderr, "%-14s %8.3f ms\n", what, (now_ns() - since) / 1e6);
}

static void print(struct native *n, const struct native_sample *s)
{
	uint64_t pcs[512], since = now_ns();
	struct frame frames[16];
	bool cut;

	int depth = native_unwind(n, s, pcs, LENGTH(pcs), &cut);
	told("unwind", since);
	since = now_ns();
	for (int i = 0; i < depth; i++) {
		int k = native_symbolize(n, pcs[i], i == 0, frames, LENGTH(frames));
		for (int j = 0; j < k; j++)
			printf("%s\t%s\t%s\t%s\t%d\n", frames[j].function, frames[j].module,
			       frames[j].inlined ? "inlined" : "", frames[j].file ? frames[j].file : "",
			       frames[j].line);
	}
	told("symbolize", since);
	printf("%s\n", cut ? "cut" : "end");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	bool killed = false;
	uint64_t lost = 0, since, args[6];
	int c;

	while ((c = getopt(argc, argv, "s:kt")) != -1)
		if (c == 's')
			want = atoi(optarg) < SAMPLES_MAX ? atoi(optarg) : SAMPLES_MAX;
		else if (c == 'k')
			killed = true;
		else if (c == 't')
			timed = true;
		else
			return 2;
	if (argc - optind < 2)
		return 2;
	pid_t pid = atoi(argv[optind]), tid = atoi(argv[optind + 1]);

	since = now_ns();
	struct native *n = native_open(pid);
	told("native_open", since);
	if (!n) {
		fprintf(stderr, "native_open: %s\n", strerrorname_np(errno));
		return 1;
	}
	since = now_ns();
	struct perf_sampler *perf = perf_sampler_open(tid, 500);
	if (!perf)
		fprintf(stderr, "perf_sampler_open: %s\n", strerrorname_np(errno));
	else
		perf_sampler_enable(perf, true);
	told("perf open", since);
	for (uint64_t end = now_ns() + 3 * NS; count < want && now_ns() < end;) {
		usleep(8000);
		if (perf)
			perf_sampler_drain(perf, keep, NULL, &lost);
		if (count < want) {
			since = now_ns();
			int nr = blocked_sample(pid, tid, &samples[count], args);
			if (nr >= 0) {
				told("blocked_sample", since);
				calls[count++] = nr;
			}
		}
	}
	perf_sampler_close(perf);
	for (int i = 0; i < count; i++)
		if (!native_covers(n, samples[i].regs[NATIVE_RIP]))
			native_refresh(n, pid);
	if (killed) {
		kill(pid, SIGKILL);
		usleep(100000);
	}
	for (int i = 0; i < count; i++) {
		const struct native_sample *s = &samples[i];
		const char *name = syscall_name(calls[i]);
		printf("%s %s\n", calls[i] < 0 ? "running" : "blocked", name ? name : "-");
		print(n, s);
	}
	native_close(n);
	return count ? 0 : 1;
}
