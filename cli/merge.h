/* SPDX-License-Identifier: MIT
 *
 * One stack from a thread's native and Python frames: each evaluation loop is replaced by the Python frames
 * it ran.
 */
#ifndef WHYSTALL_MERGE_H
#define WHYSTALL_MERGE_H

#include "frame.h"
#include "interp.h"

/* Overwrites out. native: innermost first, its origins are asked of ops; python: innermost first, its entry
 * marks say where evaluation loops began. Either may be empty (python also NULL), then out is the other as it
 * is. ops NULL: no frame is an evaluation loop. Where both stacks were taken at slightly different moments,
 * the Python one is kept whole and the native frames are fitted to it. */
void stack_merge(struct stack *out, const struct frame *native, int n_native, const struct stack *python,
		 const struct interp_ops *ops);

/* The native function that the Python frame at frames[python_index] of a merged stack had called (design:
 * "User code"): from it inwards, the first native frame that is no call trampoline or dispatcher; if that has
 * no symbol, the nearest one between it and the Python frame that has. NULL: pure Python was running. */
const struct frame *stack_native_of(const struct frame *const *frames, int n, int python_index);

#endif
