/* SPDX-License-Identifier: MIT
 *
 * The numbers of the watched functions (rows of hooks.def), their names and classes. A hook's number is only
 * meaningful within one build: the shim and the recorder check each other's ARENA_VERSION and build id.
 */
#ifndef WHYSTALL_HOOKS_H
#define WHYSTALL_HOOKS_H

#define HOOK(class, ret, name, params, args, object, kernel) HOOK_##name,
enum hook {
#include "hooks.def"
	HOOK_COUNT
};
#undef HOOK

enum hook_class {
	HOOK_CLASS_MUTEX_LOCK,
	HOOK_CLASS_MUTEX_TRY,
	HOOK_CLASS_MUTEX_UNLOCK,
	HOOK_CLASS_COND_WAIT,
	HOOK_CLASS_COND_SIGNAL,
	HOOK_CLASS_C11_LOCK,
	HOOK_CLASS_C11_UNLOCK,
	HOOK_CLASS_C11_WAIT,
	HOOK_CLASS_RW_READ,
	HOOK_CLASS_RW_TRY_READ,
	HOOK_CLASS_RW_WRITE,
	HOOK_CLASS_RW_UNLOCK,
	HOOK_CLASS_SPIN_LOCK,
	HOOK_CLASS_SPIN_TRY,
	HOOK_CLASS_SPIN_UNLOCK,
	HOOK_CLASS_JOIN,
	HOOK_CLASS_BARRIER,
	HOOK_CLASS_FUTEX,
	HOOK_CLASS_SEM_WAIT,
	HOOK_CLASS_SEM_TRY,
	HOOK_CLASS_SEM_POST,
	HOOK_CLASS_SEM_GONE,
	HOOK_CLASS_READY_EPOLL,
	HOOK_CLASS_READY_EPOLL2,
	HOOK_CLASS_READY_POLL,
	HOOK_CLASS_READY_PPOLL,
	HOOK_CLASS_READY_SELECT,
	HOOK_CLASS_READY_URING,
	HOOK_CLASS_READY_PSELECT,
	HOOK_CLASS_CALL,
	HOOK_CLASS_NAME,
	HOOK_CLASS_LIFE,
};

struct hook_info {
	const char *name;   /* the C function */
	const char *kernel; /* the system call, "" if none is named */
	enum hook_class class;
};

/* One row per hook. Defined where HOOK_INFO is defined before inclusion (one file on each side needs it). */
#ifdef HOOK_INFO
static const struct hook_info hook_info[HOOK_COUNT] = {
#define HOOK(class, ret, name, params, args, object, kernel) {#name, kernel, HOOK_CLASS_##class},
#include "hooks.def"
#undef HOOK
};
#endif

#endif
