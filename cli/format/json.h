/* SPDX-License-Identifier: MIT
 *
 * What the JSON documents of whystall have in common: a process's command and runtime, a frame.
 */
#ifndef WHYSTALL_JSON_H
#define WHYSTALL_JSON_H

#include "../observe.h"
#include "emit.h"

void json_command(struct emit *, const char *command); /* a JSON array, or NULL */
void json_runtime(struct emit *, const struct obs_process *);
void json_frame(struct emit *, const char *key, const struct frame *);
const char *json_lock_kind(enum lock_kind); /* NULL: none */

#endif
