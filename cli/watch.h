/* SPDX-License-Identifier: MIT
 *
 * The watching half of a capture under the shim: polls the arena, notices a stall while it lasts, looks at
 * the threads concerned until it ends, and puts what it saw to the writer. Runs in whystall's main thread.
 */
#ifndef WHYSTALL_WATCH_H
#define WHYSTALL_WATCH_H

#include <poll.h>

#include "../record/arena.h"
#include "writer.h"

struct watch;
struct probe;
struct probe_holder;

struct watch_options {
	uint64_t threshold_ns;
	unsigned rate_hz;    /* looks per second inside a stall */
	bool native;	     /* take native stacks */
	bool children;	     /* record the processes that the command starts */
	const char *loop;    /* thread (name or tid) that is a loop whatever it looks like, or NULL */
	const char *shim;    /* path of libwhystall.so */
	struct probe *probe; /* what fills the arena, NULL: shims do */
	const char *record;  /* path of the record, NULL: none */
	/* the command itself, once it runs: watch_command */
	pid_t pid;
	const char *command; /* JSON array */
};

/* The arena's memfd and mapping, threshold and shim path filled in. Returns the descriptor (close-on-exec) or
 * -errno. */
int arena_create(struct arena **out, const struct watch_options *);

struct watch *watch_start(struct arena *, struct writer *, const struct watch_options *,
			  struct obs_capture *);
/* The command runs: under this pid, and, if `why` says so, without the shim. */
void watch_command(struct watch *, pid_t, char *const argv[], enum refusal why);
/* The probe saw, at `time`, who had the interpreter's lock that the loop in entry `loop` began to wait for.
 */
void watch_holder_seen(struct watch *, uint32_t loop, uint32_t holder, uint64_t time,
		       const struct probe_holder *);
/* A sentence for the summary's end, about what is missing and why. */
void watch_remark(struct watch *, const char *sentence);
/* One look at everything. Returns how many ns later the next one is due. */
uint64_t watch_poll(struct watch *);
/* The command was stopped, or goes on: its parent knows when. */
void watch_stopped(struct watch *, pid_t, bool stopped, uint64_t when);
/* Descriptors that become readable when a watched process ends: wake up for them too. At most max; returns
 * how many. */
int watch_fds(struct watch *, struct pollfd *out, int max);
/* The processes that live now are cut off here (their stalls stay `ongoing`), everything is put, watch is
 * freed. `capture` gets losses and notes. */
void watch_stop(struct watch *, struct obs_capture *capture);
/* Everything seen so far is put (call writer_flush after it). */
void watch_put(struct watch *, struct obs_capture *capture);

/* The longest stall under way, for the line on the terminal: since when, and a sentence in buf. 0: none. */
uint64_t watch_ongoing(struct watch *, char *buf, size_t size);
/* Has some loop of process pid been in one and the same stall since `since`? */
bool watch_stalled_since(struct watch *, uint64_t since);

#endif
