/* SPDX-License-Identifier: MIT
 *
 * The record: one SQLite 3 database (schema in doc/record.md, which the tests compare with the file). The
 * writer is used by one thread; what was put is in the file after the next store_commit. Puts of an id
 * already there replace what was put before (an ongoing stall, a process that ended, a thread that got its
 * name).
 */
#ifndef WHYSTALL_STORE_H
#define WHYSTALL_STORE_H

#include <time.h>

#include "observe.h"

#define STORE_APPLICATION_ID 0x57687953 /* "WhyS" */
#define STORE_VERSION 1

struct store;

/* Makes a new record at path (mode 0600, must not exist unless it is empty, or a record and `replace`), in
 * WAL mode. 0 or -errno; `why` gets a sentence on failure. The program must ignore SIGXFSZ. */
int store_create(struct store **out, const char *path, bool replace, char *why, size_t why_size);

/* All return 0 or -errno; the first failure (disk full) is kept: store_error gives its sentence, later puts
 * do nothing and are counted by the caller as lost. -EINVAL is no such failure: that one row has a value that
 * no record may have (an end before its start, an enumeration that is 0) and was left out. What a row refers
 * to may be put before or after it; a reader leaves out rows that refer to nothing. A capture's `complete` is
 * store_close's to say; its end_ns is set by each commit, unless a capture put since the last one had it. */
int store_put_capture(struct store *, const struct obs_capture *);
int store_put_process(struct store *, const struct obs_process *);
int store_put_mark(struct store *, const struct obs_mark *);
int store_put_thread(struct store *, const struct obs_thread *);
/* The loop's totals; ticks are added second by second by store_add_ticks (deltas since the last call). */
int store_put_loop(struct store *, const struct obs_loop *);
int store_add_ticks(struct store *, uint32_t loop, uint64_t second, const uint32_t delta[TICK_BUCKETS]);
int store_put_lock(struct store *, const struct obs_lock *);
int store_put_stall(struct store *, const struct obs_stall *);
/* The waits and holds of one stall: replaces those put before for it. */
int store_put_waits(struct store *, uint32_t stall, const struct obs_wait *, size_t n);
int store_put_holds(struct store *, uint32_t stall, const struct obs_hold *, size_t n);
int store_add_sample(struct store *, const struct obs_sample *);
/* The id of a stack, equal stacks (and frames) stored once. 0 on failure or for an empty stack. */
uint32_t store_stack(struct store *, const struct stack *);
/* A stall that turned out to be none. */
int store_drop_stall(struct store *, uint32_t stall);

int store_commit(struct store *);
const char *store_error(struct store *); /* NULL: none */
/* Checkpoints and leaves one plain file (no -wal, no -shm). Accepts NULL. 0 or -errno. */
int store_close(struct store *);

/* Opens a record read-only and never writes beside it where that can be helped; reads all of it. 0, or -errno
 * with a sentence in `why`: not a record, damaged, cut short, of a newer version, unreadable. A record that
 * is still growing or was never closed is read as it is (capture.complete false). Owned by the caller. */
int store_load(struct observations *out, const char *path, char *why, size_t why_size);
void observations_free(struct observations *);

/* Has it not ended, as far as is known? A stall that its process did not live to see the end of has. */
bool stall_under_way(const struct observations *, const struct obs_stall *);

/* A record that grows, read again and again: begins as zeroes. Each call reads what is small or may have
 * changed since, and of stalls only those that are new or were under way at the last call, at most a thousand
 * new ones: `more` says that there are others. `seen` then holds these stalls alone, and is otherwise whole.
 * 0 or -errno as store_load. */
struct tick_sum {
	uint32_t loop;
	uint64_t second, count[TICK_BUCKETS], latest[TICK_BUCKETS]; /* before that second, and in it */
};
struct store_follow {
	struct observations seen;
	bool more;
	/* store_follow.c's: had are stalls up to `settled` but for those in `open`, ticks before `second` */
	uint32_t settled, until, frames, stacks;
	uint64_t second;
	VEC(uint32_t) open;
	VEC(struct tick_sum) ticks;
};
int store_follow(struct store_follow *, const char *path, char *why, size_t why_size);
void store_follow_free(struct store_follow *);

/* The default place of records: $XDG_STATE_HOME/whystall, else ~/.local/state/whystall, else $TMPDIR, /tmp.
 * Makes it if `make`. Returns 0 or -errno. */
int store_directory(char *buf, size_t size, bool make);
/* The newest record there. 0 or -ENOENT. */
int store_newest(char *buf, size_t size);
/* Keeps the newest `keep` finished records of the default place, and as many that were never closed; removes
 * older ones that nobody has open. Only files that are named as below. */
void store_prune(int keep);
/* The name of a new record there: "2026-11-22T120000-4711.whystall", in UTC, so that names sort by age. */
void store_default_name(char *buf, size_t size, time_t when, pid_t pid);

#endif
