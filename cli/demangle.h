/* SPDX-License-Identifier: MIT */
#ifndef WHYSTALL_DEMANGLE_H
#define WHYSTALL_DEMANGLE_H

/* The words for a mangled C++ or Rust name, without parameters and hash: malloced. NULL if it is neither. */
char *name_demangle(const char *mangled);

#endif
