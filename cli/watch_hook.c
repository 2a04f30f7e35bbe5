/* SPDX-License-Identifier: MIT
 *
 * What a hook's number in an arena means.
 */
#define HOOK_INFO
#include <string.h>

#include "watch_state.h"

#define SYSCALLS 512u

bool watch_hook_valid(uint32_t hook)
{
	return hook < HOOK_COUNT + SYSCALLS;
}

const char *watch_hook_call(uint32_t hook)
{
	return hook < HOOK_COUNT ? hook_info[hook].kernel : syscall_name((int)(hook - HOOK_COUNT));
}

enum hook_class watch_hook_class(uint32_t hook)
{
	return hook < HOOK_COUNT ? hook_info[hook].class : HOOK_CLASS_CALL;
}

bool watch_hook_waits(const char *call)
{
	for (unsigned h = 0; h < HOOK_COUNT; h++)
		if (hook_info[h].class >= HOOK_CLASS_READY_EPOLL &&
		    hook_info[h].class <= HOOK_CLASS_READY_PSELECT && !strcmp(hook_info[h].kernel, call))
			return true;
	return false;
}
