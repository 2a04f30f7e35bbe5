/* SPDX-License-Identifier: MIT
 *
 * C++ and Rust names in words, by libiberty's demanglers. Apart from symbol.c because libiberty.h declares
 * its own xrealloc, and the two demanglers by name rather than cplus_demangle() because that one links
 * libiberty's x*alloc.
 */
#include "demangle.h"

#include <libiberty/demangle.h>
#include <string.h>

char *name_demangle(const char *mangled)
{
	if (strncmp(mangled, "_Z", 2) && strncmp(mangled, "_R", 2))
		return NULL;
	/* Rust first: its older names look like C++ with a hash at the end. */
	char *words = rust_demangle(mangled, DMGL_NO_OPTS);
	return words ? words : cplus_demangle_v3(mangled, DMGL_ANSI | DMGL_RET_DROP);
}
