/* SPDX-License-Identifier: MIT
 *
 * The arena and the watcher's one round: processes, events, loops, threads that ended.
 */
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probe.h"
#include "watch_state.h"

int arena_create(struct arena **out, const struct watch_options *options)
{
	int fd = memfd_create("whystall", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	/* whoever has it mapped would die of a SIGBUS if one of them made it shorter */
	if (ftruncate(fd, sizeof(struct arena)) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		int error = errno;
		close(fd);
		return -error;
	}
	struct arena *a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (a == MAP_FAILED) {
		int error = errno;
		close(fd);
		return -error;
	}
	madvise(a, sizeof *a, MADV_DONTDUMP);
	a->version = ARENA_VERSION;
	a->size = sizeof *a / 4096;
	a->recorder = getpid();
	a->threshold_ns = options->threshold_ns;
	a->call_ns = 50000;
	a->alone = !options->children;
	snprintf(a->shim, sizeof a->shim, "%s", options->shim);
	if (options->record && !realpath(options->record, a->record))
		a->record[0] = 0;
	__atomic_store_n(&a->magic, ARENA_MAGIC, __ATOMIC_RELEASE);
	*out = a;
	return fd;
}

struct watch *watch_start(struct arena *arena, struct writer *writer, const struct watch_options *options,
			  struct obs_capture *capture)
{
	struct watch *w = xcalloc(1, sizeof *w);
	w->arena = arena;
	w->writer = writer;
	w->options = *options;
	w->start_ns = capture->start_ns;
	w->now = now_ns();
	return w;
}

void watch_remark(struct watch *w, const char *sentence)
{
	watch_note(w, sentence);
}

uint64_t watch_poll(struct watch *w)
{
	uint32_t wanted = LOAD(w->arena->sync_wanted);
	bool all = !w->options.probe || probe_pump(w->options.probe, w->arena, w);
	w->now = now_ns();
	w->busy = false;
	watch_processes(w);
	watch_events(w);
	watch_loops(w);
	watch_threads_ended(w);
	watch_prune(w);
	watch_sync(w, wanted);
	uint64_t due = IDLE_POLL_NS;
	if (!all)
		return 0;
	if (w->busy)
		due = w->options.rate_hz ? NS / w->options.rate_hz : BUSY_POLL_NS;
	return due > IDLE_POLL_NS ? IDLE_POLL_NS : due;
}

int watch_fds(struct watch *w, struct pollfd *out, int max)
{
	int n = 0;
	for (size_t i = 0; i < w->procs.n && n < max; i++)
		if (w->procs.at[i]->live && w->procs.at[i]->pidfd >= 0)
			out[n++] = (struct pollfd){.fd = w->procs.at[i]->pidfd, .events = POLLIN};
	return n;
}

static void capture_fill(struct watch *w, struct obs_capture *capture)
{
	capture->end_ns = now_ns();
	capture->lost_events = w->lost_events;
	capture->suppressed_stalls = w->suppressed;
	capture->notes = w->notes.at;
	capture->note_count = (int)w->notes.n;
}

void watch_put(struct watch *w, struct obs_capture *capture)
{
	watch_totals(w);
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (t->live && t->loop && t->loop->now.kept)
			watch_stall_put(w, t, &t->loop->now);
	}
	capture_fill(w, capture);
	writer_put_capture(w->writer, capture);
}

/* Processes and threads that found no slot. */
static void room_note(struct watch *w)
{
	char note[256];
	uint32_t procs = LOAD(w->arena->procs_refused);
	if (procs) {
		snprintf(note, sizeof note, "%u processes were not recorded: there is room for %u at once.",
			 procs, ARENA_PROCS);
		watch_note(w, note);
	}
	if (w->threads_refused) {
		snprintf(note, sizeof note, "Some threads were not recorded: there is room for %u at once.",
			 ARENA_THREADS);
		watch_note(w, note);
	}
	if (w->takers_lost) {
		snprintf(note, sizeof note,
			 "%llu times a lock was taken without room to note by whom (semaphores, read-write "
			 "locks, spin locks): its holder may be missing.",
			 (unsigned long long)w->takers_lost);
		watch_note(w, note);
	}
}

void watch_stop(struct watch *w, struct obs_capture *capture)
{
	while (w->options.probe && !probe_pump(w->options.probe, w->arena, w))
		watch_events(w);
	w->now = now_ns();
	watch_processes(w);
	watch_events(w);
	watch_loops(w);
	w->now = now_ns() + 1; /* what ended just now is finalized too */
	watch_events(w);
	watch_loops(w);
	__atomic_store_n(&w->arena->off, 1, __ATOMIC_RELEASE);
	for (size_t i = 0; i < w->procs.n; i++)
		if (w->procs.at[i]->live)
			watch_process_leave(w, w->procs.at[i], w->now);
	room_note(w);
	watch_names_note(w);
	capture_fill(w, capture);
	writer_put_capture(w->writer, capture);
	for (size_t i = 0; i < w->threads.n; i++)
		free(w->threads.at[i]);
	for (size_t i = 0; i < w->procs.n; i++)
		watch_process_free(w, w->procs.at[i]);
	vec_free(&w->threads);
	vec_free(&w->procs);
	vec_free(&w->names);
	free(w); /* the notes live on in the capture */
}

uint64_t watch_ongoing(struct watch *w, char *buf, size_t size)
{
	struct watch_thread *worst = NULL;
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (t->live && t->loop && t->loop->now.kept && !t->loop->now.ended &&
		    (!worst || t->loop->now.seen.start_ns < worst->loop->now.seen.start_ns))
			worst = t;
	}
	if (!worst)
		return 0;
	watch_describe(w, worst, buf, size);
	return worst->loop->now.seen.start_ns;
}

bool watch_stalled_since(struct watch *w, uint64_t since)
{
	for (size_t i = 0; i < w->threads.n; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (t->live && t->loop && t->loop->now.kept && t->loop->now.seen.start_ns <= since)
			return true;
	}
	return false;
}
