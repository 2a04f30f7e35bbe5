/* SPDX-License-Identifier: MIT
 *
 * Hooks for a process that loaded the shim itself, after its start (whystall_join): the run-time linker has
 * bound its calls already, so that they are bound again.
 */
#ifndef WHYSTALL_BIND_H
#define WHYSTALL_BIND_H

/* Binds the calls of watched functions in every object loaded so far to the shim's wrappers, as the linker
 * would have done had the shim been preloaded. May be called again and again: only what was loaded since
 * costs anything. Takes the linker's lock of its list of objects, makes system calls. */
__attribute__((visibility("hidden"))) void bind_objects(void);

#endif
