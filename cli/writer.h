/* SPDX-License-Identifier: MIT
 *
 * The writing half of a capture: a thread of its own takes what the watcher saw, unwinds and names the native
 * frames, merges the stacks and writes the record, so that no slow symbol file keeps the watcher from
 * looking. Everything is copied on the way in; puts never block and never fail (the record's own failure is
 * kept).
 */
#ifndef WHYSTALL_WRITER_H
#define WHYSTALL_WRITER_H

#include "interp.h"
#include "native.h"
#include "observe.h"

struct store;
struct writer;

/* One address space's symbols, opened by the writer while the process lives. Shared by the process's samples.
 */
struct native_box;

/* Takes over the store: writer_stop closes it. */
struct writer *writer_start(struct store *);
/* Writes what is queued, commits, closes the record. Returns 0 or -errno; `why` gets the first failure's
 * sentence. */
int writer_stop(struct writer *, char *why, size_t why_size);
/* Once all that was put before is committed, *done is `value`. */
void writer_sync(struct writer *, uint32_t *done, uint32_t value);
/* Waits until all that was put is committed. */
void writer_flush(struct writer *);

void writer_put_capture(struct writer *, const struct obs_capture *);
void writer_put_process(struct writer *, const struct obs_process *);
void writer_put_mark(struct writer *, const struct obs_mark *);
void writer_put_thread(struct writer *, const struct obs_thread *);
void writer_put_loop(struct writer *, const struct obs_loop *);
void writer_add_ticks(struct writer *, uint32_t loop, uint64_t second, const uint32_t *delta);
void writer_put_lock(struct writer *, const struct obs_lock *);
/* A stall with its waits and holds so far. */
void writer_put_stall(struct writer *, const struct obs_stall *, const struct obs_wait *waits,
		      size_t wait_count, const struct obs_hold *holds, size_t hold_count);

/* A sample with what its stack is made of. frames and native are malloced and become the writer's; either may
 * be NULL. */
struct raw_sample {
	struct obs_sample seen;
	struct frame *frames; /* the interpreter's */
	int frame_count;
	struct native_sample *native;
	struct native_box *box;
	const struct interp_ops *ops; /* NULL: no interpreter */
};
void writer_add_sample(struct writer *, const struct raw_sample *);

/* Opens the symbols of a process soon; at the latest the writer frees the box when it stops. */
struct native_box *writer_open_native(struct writer *, pid_t pid);
/* No sample that is put from now on has it. */
void writer_close_native(struct writer *, struct native_box *);

#endif
