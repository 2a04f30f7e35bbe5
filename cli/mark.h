/* SPDX-License-Identifier: MIT */
#ifndef WHYSTALL_MARK_H
#define WHYSTALL_MARK_H

#include "observe.h"

/* What the process said that it did during most of [start, end], or, where it says nothing of itself, its
 * nearest ancestor that does. NULL: nothing. */
const char *mark_find(const struct observations *, const struct obs_process *, uint64_t start, uint64_t end);

#endif
