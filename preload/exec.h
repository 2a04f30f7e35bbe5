/* SPDX-License-Identifier: MIT
 *
 * The environment that a new program gets: the target's, with our variables or without.
 */
#ifndef WHYSTALL_EXEC_H
#define WHYSTALL_EXEC_H

#include <alloca.h>

#include "shim.h"

#define ENTRIES 2048 /* of an environment; a longer one passes unchanged: this is somebody's stack */

struct block {
	char **entries;	    /* room for all of env's and two more, and NULL */
	char preload[2048]; /* LD_PRELOAD=ours:theirs */
	char *replaced;	    /* env's own entry in the place of which it stands, NULL: none */
};

/* At most ENTRIES + 1. */
size_t block_count(char *const *env) HIDDEN;
/* env as the new program is to get it: `env` itself where nothing changes. */
char *const *block_make(struct block *, char *const *env, bool follow) HIDDEN;
/* Are the programs that this process starts to be followed at all? `own`: the one that it goes on as. */
bool shim_follows(bool own) HIDDEN;

/* A block on the caller's stack; entries is NULL where the environment is too long to be copied there. */
#define BLOCK(block, env)                                               \
	struct block block;                                             \
	size_t block##_n = shim.arena ? block_count(env) : ENTRIES + 1; \
	block.entries = block##_n <= ENTRIES ? alloca((block##_n + 3) * sizeof(char *)) : NULL

#endif
