/* SPDX-License-Identifier: MIT
 *
 * The record of a process that `whystall run` has under the shim: who writes it, and where. A second whystall
 * reads that growing record instead of capturing the same once more.
 */
#ifndef WHYSTALL_SHIM_RECORD_H
#define WHYSTALL_SHIM_RECORD_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mem.h"

/* Where the shim's shared memory lies in a process, 0: it is not there. */
uint64_t shim_arena(const struct maps *);

struct shim_record {
	pid_t recorder;
	char path[PATH_MAX]; /* by which we can open it */
};
/* 0; -ENOENT: the shim is not in the process, or its recorder has gone; or -errno, `why` says what is in the
 * way. */
int shim_record_find(pid_t pid, struct shim_record *out, char *why, size_t why_size);
/* A copy of a record, one plain file, which may grow meanwhile. 0; or -errno, `why` is a sentence. */
int shim_record_copy(const struct shim_record *, const char *to, char *why, size_t why_size);
/* Does its recorder still write it? */
bool shim_record_grows(const struct shim_record *);

#endif
