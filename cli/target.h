/* SPDX-License-Identifier: MIT
 *
 * What a blocked call concerns, as a report names it: a file's path, a peer "host:port", "[v6]:port" or
 * "unix:/path", a pipe, "pid N". Interned; NULL where that is not known.
 */
#ifndef WHYSTALL_TARGET_H
#define WHYSTALL_TARGET_H

#include <stdint.h>
#include <sys/types.h>

const char *target_of_fd(pid_t pid, int fd);
/* By the system call's name and arguments, as the thread that is blocked in it has them. */
const char *target_of_call(pid_t pid, const char *syscall, const uint64_t args[6]);
/* A string of the target's memory: a path, a host name. */
const char *target_of_string(pid_t pid, uint64_t address);

#endif
