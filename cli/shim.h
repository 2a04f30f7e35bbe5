/* SPDX-License-Identifier: MIT
 *
 * Where the shim is, and why a program does not take it.
 */
#ifndef WHYSTALL_SHIM_FILE_H
#define WHYSTALL_SHIM_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "../record/arena.h"

/* The shim beside this program, or where `make install` puts it. 0 or -errno. */
int shim_find(char *buf, size_t size);
/* The same. false: there is none, which has been said. */
bool shim_require(char *buf, size_t size);
/* "it is statically linked" */
const char *shim_refusal(enum refusal);

#endif
