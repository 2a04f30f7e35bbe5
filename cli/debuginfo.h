/* SPDX-License-Identifier: MIT
 *
 * Which package has the debug information of a file.
 */
#ifndef WHYSTALL_DEBUGINFO_H
#define WHYSTALL_DEBUGINFO_H

#include <stddef.h>
#include <sys/types.h>

/* "libc6-dbg": Debian's and Ubuntu's package for a file of a process, as the package database of the
 * process's own root says. 0 or -ENOENT. */
int debuginfo_package(pid_t pid, const char *file, char *buf, size_t size);
/* Elsewhere: the command that installs it. 0 or -ENOENT. */
int debuginfo_command(pid_t pid, const char *file, char *buf, size_t size);

#endif
