/* SPDX-License-Identifier: MIT
 *
 * What a hook's number in an arena means.
 */
#define HOOK_INFO
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
