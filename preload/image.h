/* SPDX-License-Identifier: MIT
 *
 * Looks at a program before it is executed: would ld.so load the shim into it without complaint? The shim
 * asks for the programs that its target starts, the CLI for the command.
 */
#ifndef WHYSTALL_IMAGE_H
#define WHYSTALL_IMAGE_H

#include <stdbool.h>

#include "record/arena.h"

/* REFUSAL_NONE: it would. `search`: through PATH, as execvp does. Only openat, pread, fstat and close are
 * called: ld.so makes them too. */
enum refusal image_refusal(const char *file, bool search) __attribute__((visibility("hidden")));
enum refusal image_fd_refusal(int fd) __attribute__((visibility("hidden")));

#endif
