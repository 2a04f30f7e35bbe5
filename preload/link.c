/* SPDX-License-Identifier: MIT
 *
 * Walks the run-time linker's list of objects (r_debug, <link.h>) and each object's symbol table: hash tables
 * and versions as in the System V gABI, "Dynamic Linking", and the LSB's "Symbol Versioning"; DT_GNU_HASH as
 * binutils and glibc (elf/dl-lookup.c) read it.
 *
 * Rules: no lock, no allocation, no call into anything; every answer is the same however often it is asked,
 * so that threads may race here and constructors of other libraries may come first.
 */
#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"
#include "sys.h"

/* Unversioned on purpose, and not linked against: the loader's own, found in whatever C library is there. */
extern struct r_debug _r_debug __attribute__((weak));
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

bool dynamic_read(struct dynamic *o, ElfW(Addr) base, const ElfW(Dyn) * d)
{
	memset(o, 0, sizeof(*o));
	for (; d && d->d_tag != DT_NULL; d++) {
		/* the loader relocates these pointers in place, except where the section is read-only (the
		 * vDSO) */
		const void *p = (const void *)(d->d_un.d_ptr < base ? d->d_un.d_ptr + base : d->d_un.d_ptr);
		switch (d->d_tag) {
		case DT_SYMTAB:
			o->symbols = p;
			break;
		case DT_STRTAB:
			o->strings = p;
			break;
		case DT_GNU_HASH:
			o->gnu_hash = p;
			break;
		case DT_HASH:
			o->hash = p;
			break;
		case DT_VERSYM:
			o->versions = p;
			break;
		case DT_VERNEED:
			o->needed = p;
			break;
		case DT_RELA:
			o->rela.at = p;
			break;
		case DT_RELASZ:
			o->rela.bytes = d->d_un.d_val;
			break;
		case DT_JMPREL:
			o->plt.at = p;
			break;
		case DT_PLTRELSZ:
			o->plt.bytes = d->d_un.d_val;
			break;
		}
	}
	return o->symbols && o->strings;
}

/* Defined, a function, and the default version of its name. */
static const ElfW(Sym) * symbol_fits(const struct dynamic *o, uint32_t i, const char *name)
{
	const ElfW(Sym) *s = &o->symbols[i];
	unsigned type = ELF64_ST_TYPE(s->st_info);
	if (s->st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_GNU_IFUNC))
		return NULL;
	if (ELF64_ST_BIND(s->st_info) == STB_LOCAL || (o->versions && (o->versions[i] & 0x8000)))
		return NULL;
	return text_equal(o->strings + s->st_name, name) ? s : NULL;
}

static const ElfW(Sym) * object_find_gnu(const struct dynamic *o, const char *name)
{
	uint32_t h = 5381;
	for (const unsigned char *c = (const unsigned char *)name; *c; c++)
		h = h * 33 + *c;
	uint32_t buckets = o->gnu_hash[0], first = o->gnu_hash[1], words = o->gnu_hash[2];
	const uint32_t *bucket = o->gnu_hash + 4 + words * (sizeof(ElfW(Addr)) / 4);
	const uint32_t *chain = bucket + buckets;
	uint32_t i = buckets ? bucket[h % buckets] : 0;
	if (i < first)
		return NULL;
	for (;; i++) {
		uint32_t c = chain[i - first];
		if ((c | 1) == (h | 1)) {
			const ElfW(Sym) *s = symbol_fits(o, i, name);
			if (s)
				return s;
		}
		if (c & 1)
			return NULL;
	}
}

static const ElfW(Sym) * object_find_sysv(const struct dynamic *o, const char *name)
{
	uint32_t n = o->hash[1]; /* nchain: the number of symbols */
	for (uint32_t i = 1; i < n; i++) {
		const ElfW(Sym) *s = symbol_fits(o, i, name);
		if (s)
			return s;
	}
	return NULL;
}

static void *object_find(const struct link_map *map, const char *name)
{
	struct dynamic o;
	if (!dynamic_read(&o, map->l_addr, map->l_ld) || (!o.gnu_hash && !o.hash))
		return NULL;
	const ElfW(Sym) *s = o.gnu_hash ? object_find_gnu(&o, name) : object_find_sysv(&o, name);
	if (!s)
		return NULL;
	uintptr_t address = map->l_addr + s->st_value;
	if (ELF64_ST_TYPE(s->st_info) == STT_GNU_IFUNC)
		return ((void *(*)(void))address)();
	return (void *)address;
}

static const char *base_name(const char *path)
{
	const char *base = path;
	for (const char *c = path; *c; c++)
		if (*c == '/')
			base = c + 1;
	return base;
}

static bool is_own(const struct link_map *map)
{
	return map->l_addr == (ElfW(Addr))__ehdr_start;
}

static const struct link_map *own_map(void)
{
	const struct link_map *map = &_r_debug ? _r_debug.r_map : NULL;
	while (map && !is_own(map))
		map = map->l_next;
	return map;
}

/* In the objects from `map` on, up to the shim. */
static void *find_from(const struct link_map *map, const char *name)
{
	void *p = NULL;
	for (; map && !is_own(map) && !p; map = map->l_next)
		p = object_find(map, name);
	return p;
}

void *link_next(const char *name)
{
	const struct link_map *own = own_map();
	void *p = own ? find_from(own->l_next, name) : NULL;
	/* loaded by the program itself, the shim comes last */
	return p || !own ? p : find_from(_r_debug.r_map, name);
}

void *link_own(const char *name)
{
	const struct link_map *own = own_map();
	return own ? object_find(own, name) : NULL;
}

bool link_default(const char *name, const char *version)
{
	static const char older[] = "GLIBC_2.2.5";
	return !text_equal(version, older) ||
	       !(text_begins(name, "pthread_cond_") || text_begins(name, "posix_spawn"));
}

const char *link_self(void)
{
	const struct link_map *own = own_map();
	return own && own->l_name ? own->l_name : "";
}

void *link_libc(const char *name)
{
	/* libpthread first: before 2.34 libc has forwarders of the same names */
	static const char *const libraries[] = {"libpthread.so.0", "libc.so.6"};
	for (int i = 0; i < 2; i++)
		for (const struct link_map *map = &_r_debug ? _r_debug.r_map : NULL; map; map = map->l_next) {
			if (!map->l_name || !text_equal(base_name(map->l_name), libraries[i]))
				continue;
			void *p = object_find(map, name);
			if (p)
				return p;
		}
	return NULL;
}
