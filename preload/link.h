/* SPDX-License-Identifier: MIT
 *
 * Finding functions in the link map by hand. dlsym is no choice: before glibc 2.34 it is in another library,
 * it may take the very locks that are being hooked, and it sets errno-like state of its own.
 */
#ifndef WHYSTALL_LINK_H
#define WHYSTALL_LINK_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an object's dynamic section says (System V gABI, "Dynamic Section"); NULL and 0: nothing. */
struct dynamic {
	const ElfW(Sym) * symbols;
	const char *strings;
	const uint32_t *gnu_hash, *hash;
	const ElfW(Half) * versions;
	const ElfW(Verneed) * needed;
	struct {
		const ElfW(Rela) * at;
		size_t bytes;
	} rela, plt;
};
/* Reads it. false: the object has no symbols. */
__attribute__((visibility("hidden"))) bool dynamic_read(struct dynamic *, ElfW(Addr) base, const ElfW(Dyn) *);

/* The function `name` (default version) of the first object after the shim in search order, as RTLD_NEXT
 * finds it, so that a sanitizer's or another preloaded library's version keeps its place; of the first before
 * it where the shim was loaded late and comes last. NULL: none. Takes no lock. */
__attribute__((visibility("hidden"))) void *link_next(const char *name);
/* The shim's own exported function. */
__attribute__((visibility("hidden"))) void *link_own(const char *name);
/* Is `version` of a watched function of the C library the one that the shim has a wrapper of? (shim.map: of a
 * few there is an older one that differs.) */
__attribute__((visibility("hidden"))) bool link_default(const char *name, const char *version);
/* The same, of the C library itself (libc.so.6, or libpthread.so.0 where that is a library of its own). */
__attribute__((visibility("hidden"))) void *link_libc(const char *name);
/* The path that the shim was loaded from, "" if that is not known. */
__attribute__((visibility("hidden"))) const char *link_self(void);

#endif
