/* SPDX-License-Identifier: MIT
 *
 * Looks at a program before it is executed: would ld.so load the shim into it without complaint?
 */
#ifndef WHYSTALL_IMAGE_H
#define WHYSTALL_IMAGE_H

#include <stdbool.h>

/* `search`: through PATH, as execvp does. Only openat, pread, fstat and close are called: ld.so makes them
 * too. */
bool image_takes_shim(const char *file, bool search) __attribute__((visibility("hidden")));
bool image_fd_takes_shim(int fd) __attribute__((visibility("hidden")));

#endif
