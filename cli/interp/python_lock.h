/* SPDX-License-Identifier: MIT
 *
 * Private to cli/interp/python_lock*.c: the search for a lock's name.
 */
#ifndef WHYSTALL_PYTHON_LOCK_H
#define WHYSTALL_PYTHON_LOCK_H

#include "cli/interp/python_scope.h"

#define PYTHON_NAME 128

/* How well a name tells which lock it is: a better one is taken though it is found later. */
enum rank {
	RANK_NONE = 0,
	RANK_ITEM,     /* args[0] */
	RANK_VARIABLE, /* lock */
	RANK_FIELD,    /* Pool._lock */
	RANK_GLOBAL,   /* app.cache_lock */
};

struct kind;
struct hunt {
	struct interp *py;
	uint64_t address; /* that it is waited for by */
	uint64_t parked;  /* where the waiter has parked, 0: nowhere */
	const struct kind *kind;
	uint64_t lock;	 /* the object that contains the address */
	uint64_t object; /* it, or what contains it: which the program has a name for */
	char word[2 * PYTHON_NAME + 2], name[3 * PYTHON_NAME]; /* threading.Lock, app.cache_lock */
	enum rank rank;
	char whole[2 * PYTHON_NAME]; /* a name that says all */
	struct interp_waited *out;
	uint64_t until; /* then no more is looked at, ns */
};

/* The containing object takes the place of what it contains. */
void hunt_climb(struct hunt *, uint64_t owner);
/* Does a frame give the object a better name than is known? */
bool hunt_scope(struct hunt *, const struct python_scope *, const struct frame *);
/* A module of the standard library that makes its objects of locks: threading, queue ... */
bool python_synchronizes(const char *module);

#endif
