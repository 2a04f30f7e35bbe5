/* SPDX-License-Identifier: MIT
 *
 * Relocations of the kinds that refer to a function by its name (System V ABI, AMD64 supplement,
 * "Relocation": R_X86_64_JUMP_SLOT, R_X86_64_GLOB_DAT, R_X86_64_64) are done again where they now lead to the
 * function that a wrapper stands for. Where they lead elsewhere (an interceptor of the object's own, an older
 * version of the function) they stay.
 */
#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#include "bind.h"
#include "link.h"
#include "original.h"
#include "shim.h"
#include "sys.h"

#define PAGE 4096ul
#define NAMES 1024u /* places for the hooks' names: open addressing, a power of two */
#define DONE 4096u  /* objects remembered: any above are looked at every time */

extern struct r_debug _r_debug __attribute__((weak));
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static const char *const names[HOOK_COUNT] = {
#define HOOK(class, ret, name, params, args, object, kernel) [HOOK_##name] = #name,
#include "record/hooks.def"
#undef HOOK
};
/* struct original is an array of as many pointers, in the same order */
_Static_assert(sizeof(struct original) == HOOK_COUNT * sizeof(void *), "a row of hooks.def is a pointer");

static struct {
	uint16_t place[NAMES]; /* hook + 1 */
	void *wrapper[HOOK_COUNT];
	uintptr_t done[DONE]; /* where the objects lie */
	uint32_t done_count;
	unsigned long long loaded, unloaded; /* objects, ever: as the linker counts them */
	bool ready;
} bound;

struct object {
	uintptr_t base, low, high; /* the addresses that it takes */
	uintptr_t relro, relro_end;
	bool opened; /* relro is writable for the moment */
	const ElfW(Phdr) * headers;
	int header_count;
	struct dynamic dynamic;
};

static uint32_t name_hash(const char *name)
{
	uint32_t h = 5381;
	for (; *name; name++)
		h = h * 33 + (unsigned char)*name;
	return h;
}

static int hook_find(const char *name)
{
	for (uint32_t i = name_hash(name) % NAMES; bound.place[i]; i = (i + 1) % NAMES)
		if (text_equal(names[bound.place[i] - 1], name))
			return bound.place[i] - 1;
	return -1;
}

static void names_fill(void)
{
	for (int hook = 0; hook < HOOK_COUNT; hook++) {
		uint32_t i = name_hash(names[hook]) % NAMES;
		while (bound.place[i])
			i = (i + 1) % NAMES;
		bound.place[i] = (uint16_t)(hook + 1);
		bound.wrapper[hook] = link_own(names[hook]);
	}
}

static bool object_read(struct object *o, const struct dl_phdr_info *info)
{
	const ElfW(Dyn) *dynamic = NULL;
	memset(o, 0, sizeof *o);
	o->base = info->dlpi_addr;
	o->headers = info->dlpi_phdr;
	o->header_count = info->dlpi_phnum;
	o->low = UINTPTR_MAX;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t at = o->base + p->p_vaddr, end = at + p->p_memsz;
		if (p->p_type == PT_LOAD && at < o->low)
			o->low = at;
		if (p->p_type == PT_LOAD && end > o->high)
			o->high = end;
		if (p->p_type == PT_DYNAMIC)
			dynamic = (const void *)at;
		if (p->p_type == PT_GNU_RELRO) { /* as glibc's _dl_protect_relro rounds it */
			o->relro = at & -PAGE;
			o->relro_end = end & -PAGE;
		}
	}
	return dynamic_read(&o->dynamic, o->base, dynamic);
}

/* Is the function wanted in the version that the wrapper stands for? The C library has an older one of few.
 */
static bool version_fits(const struct dynamic *o, uint32_t symbol)
{
	unsigned version = o->versions ? o->versions[symbol] & 0x7fffu : 0;
	for (const ElfW(Verneed) *n = version > 1 ? o->needed : NULL; n;
	     n = n->vn_next ? (const void *)((const char *)n + n->vn_next) : NULL) {
		const ElfW(Vernaux) *a = (const void *)((const char *)n + n->vn_aux);
		for (int i = 0; i < n->vn_cnt; i++, a = (const void *)((const char *)a + a->vna_next))
			if (a->vna_other == version)
				return link_default(o->strings + o->symbols[symbol].st_name,
						    o->strings + a->vna_name);
	}
	return true;
}

/* Relocations in the code itself (DT_TEXTREL) stay as they are. */
static bool slot_is_data(const struct object *o, uintptr_t slot)
{
	for (int i = 0; i < o->header_count; i++) {
		const ElfW(Phdr) *p = &o->headers[i];
		if (p->p_type == PT_LOAD && p->p_flags & PF_W && slot - o->base >= p->p_vaddr &&
		    slot - o->base < p->p_vaddr + p->p_memsz)
			return true;
	}
	return false;
}

static bool slot_writable(struct object *o, uintptr_t slot)
{
	if (!slot_is_data(o, slot))
		return false;
	if (slot < o->relro || slot >= o->relro_end || o->opened)
		return true;
	o->opened = !sys_call(SYS_mprotect, o->relro, o->relro_end - o->relro, PROT_READ | PROT_WRITE, 0);
	return o->opened;
}

static void slot_bind(struct object *o, const ElfW(Rela) * r)
{
	const struct dynamic *d = &o->dynamic;
	unsigned type = ELF64_R_TYPE(r->r_info);
	uint32_t symbol = ELF64_R_SYM(r->r_info);
	if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && (type != R_X86_64_64 || r->r_addend))
		return;
	int hook = symbol ? hook_find(d->strings + d->symbols[symbol].st_name) : -1;
	if (hook < 0 || !bound.wrapper[hook])
		return;
	uintptr_t *slot = (uintptr_t *)(o->base + r->r_offset), now = relaxed(*slot);
	uintptr_t original_now = (uintptr_t)((void **)&original)[hook];
	/* a call that has not been made yet leads into the object's own PLT */
	bool unbound = type == R_X86_64_JUMP_SLOT && now >= o->low && now < o->high &&
		       d->symbols[symbol].st_shndx == SHN_UNDEF && version_fits(d, symbol);
	if ((now == original_now || unbound) && slot_writable(o, (uintptr_t)slot))
		store(*slot, (uintptr_t)bound.wrapper[hook]);
}

static void table_bind(struct object *o, const ElfW(Rela) * at, size_t bytes)
{
	for (size_t i = 0; at && i < bytes / sizeof(*at); i++)
		slot_bind(o, &at[i]);
}

static void object_bind(struct object *o)
{
	table_bind(o, o->dynamic.rela.at, o->dynamic.rela.bytes);
	table_bind(o, o->dynamic.plt.at, o->dynamic.plt.bytes);
	if (o->opened)
		sys_call(SYS_mprotect, o->relro, o->relro_end - o->relro, PROT_READ, 0);
}

static bool is_done(uintptr_t base)
{
	for (uint32_t i = 0; i < bound.done_count; i++)
		if (bound.done[i] == base)
			return true;
	return false;
}

/* Called with the linker's list of objects at rest. */
static int object_visit(struct dl_phdr_info *info, size_t size, void *closure)
{
	struct object o;
	bool *first = closure;
	bool counted = size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof info->dlpi_subs;
	if (*first && counted) {
		if (bound.loaded == info->dlpi_adds && bound.unloaded == info->dlpi_subs)
			return 1; /* all is as it was */
		if (bound.unloaded != info->dlpi_subs)
			bound.done_count = 0; /* another may lie where one was */
		bound.loaded = info->dlpi_adds;
		bound.unloaded = info->dlpi_subs;
	}
	*first = false;
	uintptr_t own = (uintptr_t)__ehdr_start;
	if (info->dlpi_addr == own || (&_r_debug && info->dlpi_addr == _r_debug.r_ldbase) ||
	    is_done(info->dlpi_addr))
		return 0;
	if (object_read(&o, info))
		object_bind(&o);
	if (bound.done_count < DONE)
		bound.done[bound.done_count++] = info->dlpi_addr;
	return 0;
}

void bind_objects(void)
{
	bool first = true;
	if (!bound.ready) {
		names_fill();
		bound.ready = true;
	}
	dl_iterate_phdr(object_visit, &first);
}
