/* SPDX-License-Identifier: MIT
 *
 * A capture's record from its opening to the summary.
 */
#include "recording.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "listen.h"
#include "origin.h"
#include "report.h"
#include "store.h"
#include "terminal.h"

#define KEEP_RECORDS 20

static int record_open(struct recording *r, struct store **store)
{
	char why[512], name[64];
	if (r->output) {
		snprintf(r->record, sizeof r->record, "%s", r->output);
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
	if (!store_create(store, r->record, r->output != NULL, why, sizeof why))
		return 0;
	snprintf(r->lost, sizeof r->lost, "%.480s%s", why, r->output ? "" : ": nothing was recorded");
	return -1;
}

/* An arena that nobody else writes to. */
static int arena_own(struct recording *r)
{
	struct arena *a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a == MAP_FAILED)
		return -errno;
	a->threshold_ns = r->options.threshold_ns;
	a->recorder = getpid();
	r->arena = a;
	return -1;
}

int recording_listen(struct recording *r, const char *command)
{
	return r->listen ? listener_open(&r->listener, command, r->listen) : EXIT_FINE;
}

int recording_start(struct recording *r, enum backend backend, bool shared)
{
	struct store *store;
	origin_fill(&r->capture);
	r->capture.threshold_ns = r->options.threshold_ns;
	r->capture.backend = backend;
	if (record_open(r, &store))
		return -1;
	r->options.record = r->record;
	r->arena_fd = shared ? arena_create(&r->arena, &r->options) : arena_own(r);
	if (!r->arena) {
		snprintf(r->lost, sizeof r->lost, "cannot make shared memory (%s): nothing was recorded",
			 strerror(-r->arena_fd));
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
	r->watch = watch_start(r->arena, r->writer, &r->options, &r->capture);
	writer_put_capture(r->writer, &r->capture);
	if (listener_start(r->listener, r->record, r->lost, sizeof r->lost)) {
		recording_drop(r);
		return -1;
	}
	return 0;
}

static void summary_print(struct recording *r, const char *prefix)
{
	if (verbosity >= 0 && !r->silent)
		report_record(&(struct report){
			.record = r->record, .stream = stderr, .colour = r->colour, .prefix = prefix});
}

void recording_report(struct recording *r, const char *prefix)
{
	watch_put(r->watch, &r->capture);
	writer_flush(r->writer);
	terminal_clear();
	summary_print(r, prefix);
}

void recording_stop(struct recording *r)
{
	char why[512];
	if (!r->watch)
		return;
	watch_stop(r->watch, &r->capture);
	r->watch = NULL;
	listener_pause(r->listener);
	int err = writer_stop(r->writer, why, sizeof why);
	listener_resume(r->listener);
	if (err)
		say("%s", why);
	terminal_clear();
	summary_print(r, "whystall: ");
	if (r->report)
		report_record(
			&(struct report){.record = r->record, .format = r->format, .output = r->report});
	if (!r->output)
		store_prune(KEEP_RECORDS);
}

void recording_drop(struct recording *r)
{
	char why[512];
	if (!r->watch)
		return;
	watch_stop(r->watch, &r->capture);
	r->watch = NULL;
	listener_stop(r->listener);
	r->listener = NULL;
	writer_stop(r->writer, why, sizeof why);
	unlink(r->record);
	r->record[0] = 0;
}

int recording_check(const char *command, const uint64_t *threshold_ns, const long *rate)
{
	if (threshold_ns && *threshold_ns < 100000) {
		say("%s: --threshold wants 100us or more", command);
		return EXIT_USAGE;
	}
	if (rate && (*rate < 1 || *rate > 1000)) {
		say("%s: --rate wants 1 to 1000 samples a second", command);
		return EXIT_USAGE;
	}
	return 0;
}
