/* SPDX-License-Identifier: MIT
 *
 * Names of addresses. libdwfl's own search (dwfl_module_addrinfo) looks at every symbol of a module each
 * time, a millisecond in libpython; here each module's symbols are sorted once, when first asked for. A
 * symbol names an address only if it covers it: the nearest one below would blame an innocent function of a
 * stripped library.
 */
#include "modules.h"
#include "demangle.h"

#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYMBOLS_MAX 4000000
#define NAME_MAX_BYTES 2048
#define CACHE_SLOTS 16384 /* a power of two; flushed when three quarters are taken */
#define INLINE_MAX 16
#define NEST_MAX 32 /* symbols looked at below an address: functions that lie within others */

/* --- display --- */

/* gcc's and clang's clones, and LTO's privatised names, are the function that the source has. */
static size_t length_without_suffix(const char *name)
{
	static const char *const suffixes[] = {".cold",	    ".part.", ".constprop.", ".isra.",
					       ".lto_priv", ".llvm.", ".localalias", ".warm"};
	size_t len = strcspn(name, "@"); /* a symbol version, in debug files */
	for (size_t i = 0; i < LENGTH(suffixes); i++) {
		const char *at = strstr(name + 1, suffixes[i]);
		if (at && (size_t)(at - name) < len)
			len = at - name;
	}
	return len;
}

const char *symbol_display(const char *name)
{
	char plain[NAME_MAX_BYTES];
	size_t len = name[0] ? length_without_suffix(name) : 0;

	if (len >= sizeof(plain))
		len = sizeof(plain) - 1;
	memcpy(plain, name, len);
	plain[len] = 0;
	char *words = name_demangle(plain);
	const char *shown = intern(words ? words : plain);
	free(words);
	return shown;
}

/* --- the symbols of a module --- */

/* Of read, __read and __libc_read at one address, read. */
static int symbol_rank(const char *name, const GElf_Sym *sym)
{
	size_t underscores = strspn(name, "_"), len = strlen(name);
	int rank = -(int)(underscores < 8 ? underscores : 8) * 1000;
	rank -= len < 500 ? len : 500;
	if (GELF_ST_TYPE(sym->st_info) == STT_NOTYPE)
		rank -= 100000;
	if (GELF_ST_BIND(sym->st_info) == STB_LOCAL)
		rank -= 500;
	return rank;
}

static int symbol_compare(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static void symbols_read(struct module *m, Dwfl_Module *d)
{
	int count = dwfl_module_getsymtab(d);

	m->symbols_read = true;
	if (count > SYMBOLS_MAX)
		count = SYMBOLS_MAX;
	if (count <= 0)
		return;
	m->symbols = xcalloc(count, sizeof(*m->symbols));
	for (int i = 1; i < count; i++) {
		GElf_Sym sym;
		GElf_Addr address;
		GElf_Word section;
		const char *name = dwfl_module_getsym_info(d, i, &sym, &address, &section, NULL, NULL);
		if (!name || !name[0] || name[0] == '.' || name[0] == '$' || sym.st_shndx == SHN_UNDEF ||
		    section >= SHN_LORESERVE)
			continue;
		int type = GELF_ST_TYPE(sym.st_info);
		if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)
			continue;
		m->symbols[m->symbol_count++] =
			(struct symbol){address, sym.st_size, name, symbol_rank(name, &sym)};
	}
	qsort(m->symbols, m->symbol_count, sizeof(*m->symbols), symbol_compare);
}

void symbols_free(struct module *m)
{
	free(m->symbols);
	m->symbols = NULL;
	m->symbol_count = 0;
}

/* The first address of the section that an address is in, 0 if there is none. */
static uint64_t section_start(const struct module *m, uint64_t pc)
{
	Elf_Scn *scn = NULL;
	while ((scn = elf_nextscn(m->elf, scn))) {
		GElf_Shdr sh;
		if (gelf_getshdr(scn, &sh) && (sh.sh_flags & SHF_EXECINSTR) && pc - m->bias >= sh.sh_addr &&
		    pc - m->bias - sh.sh_addr < sh.sh_size)
			return sh.sh_addr + m->bias;
	}
	return 0;
}

/* Below the address: the index after the last symbol that starts there or before. */
static size_t symbol_after(const struct module *m, uint64_t pc)
{
	size_t low = 0, high = m->symbol_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (m->symbols[middle].start <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct symbol *symbol_covering(const struct module *m, uint64_t pc)
{
	for (size_t i = symbol_after(m, pc), seen = 0; i-- > 0 && seen < NEST_MAX; seen++)
		if (pc - m->symbols[i].start < m->symbols[i].size)
			return &m->symbols[i];
	return NULL;
}

static const char *symbol_name(struct module *m, Dwfl_Module *d, uint64_t pc)
{
	if (!m->symbols_read)
		symbols_read(m, d);
	const struct symbol *s = symbol_covering(m, pc);
	if (s)
		return s->name;
	/* Assembly without sizes: up to the next symbol, but not into another section (.plt after .init). */
	size_t low = symbol_after(m, pc);
	if (low > 0 && m->symbols[low - 1].size == 0) {
		uint64_t start = section_start(m, pc);
		if (start && m->symbols[low - 1].start >= start)
			return m->symbols[low - 1].name;
	}
	return cold_name(m, pc);
}

/* --- the cache: one address, its frames --- */

struct symbol_cache {
	size_t taken;
	struct {
		uint64_t pc;
		int n; /* 0: free */
		struct frame *frames;
	} slots[CACHE_SLOTS];
};

static void cache_flush(struct symbol_cache *c)
{
	for (size_t i = 0; i < CACHE_SLOTS; i++)
		free(c->slots[i].frames);
	memset(c, 0, sizeof(*c));
}

void symbol_cache_free(struct symbol_cache *c)
{
	if (!c)
		return;
	cache_flush(c);
	free(c);
}

static size_t cache_slot(const struct symbol_cache *c, uint64_t pc)
{
	size_t i = (pc * 0x9e3779b97f4a7c15ull) >> 50; /* Fibonacci hashing: 14 bits */
	while (c->slots[i].n && c->slots[i].pc != pc)
		i = (i + 1) % CACHE_SLOTS;
	return i;
}

static void cache_put(struct native *n, uint64_t pc, const struct frame *frames, int count)
{
	if (n->cache->taken > CACHE_SLOTS / 4 * 3)
		cache_flush(n->cache);
	size_t i = cache_slot(n->cache, pc);
	n->cache->slots[i].pc = pc;
	n->cache->slots[i].n = count;
	n->cache->slots[i].frames = xcalloc(count, sizeof(*frames));
	memcpy(n->cache->slots[i].frames, frames, count * sizeof(*frames));
	n->cache->taken++;
}

/* --- an address --- */

/* What every native program runs in: never the user's own code (design: "User code"). */
static enum frame_origin module_origin(const char *name)
{
	static const char *const runtime[] = {
		"libc.so",  "libc-2.",	"ld-linux", "ld-2.",	  "libstdc++.so", "libm.so",
		"libm-2.",  "librt.so", "librt-2.", "libpthread", "libgcc_s.",	  "libc.musl-",
		"ld-musl-", "libdl.so", "libdl-2.", "[vdso]",	  "libwhystall."};
	for (size_t i = 0; i < LENGTH(runtime); i++)
		if (!strncmp(name, runtime[i], strlen(runtime[i])))
			return ORIGIN_RUNTIME;
	return ORIGIN_USER;
}

/* Libraries that are compiled into the program: the language's own (templates, inlines, Rust's std), and
 * crates. Inlined functions are named without their namespace, but for the file. */
static enum frame_origin source_origin(const struct frame *f)
{
	static const char *const names[] = {
		"std::", "__gnu_cxx::", "__gthread_", "<std::", "core::", "<core::", "alloc::", "<alloc::"};
	static const char *const files[] = {"/include/c++/", "/rustc/", "/rustlib/src/rust/library/",
					    "/usr/src/rustc-"};
	for (size_t i = 0; i < LENGTH(names) && f->function; i++)
		if (!strncmp(f->function, names[i], strlen(names[i])))
			return ORIGIN_RUNTIME;
	for (size_t i = 0; i < LENGTH(files) && f->file; i++)
		if (strstr(f->file, files[i]))
			return ORIGIN_RUNTIME;
	if (f->file && f->origin == ORIGIN_USER &&
	    (strstr(f->file, "/cargo/registry/") || strstr(f->file, "/.cargo/registry/")))
		return ORIGIN_PACKAGE;
	return f->origin;
}

static int frames_of(struct native *n, uint64_t pc, struct frame *out, int max)
{
	char unnamed[512];
	Dwfl_Module *d;
	struct module *m = module_find(n, pc, &d);
	struct frame f = {.kind = FRAME_NATIVE, .origin = ORIGIN_USER};

	if (!m) {
		f.function = n->perfmap ? perfmap_find(n->perfmap, pc) : NULL;
		f.module = intern(f.function ? "[jit]" : "[unknown]");
		if (!f.function) {
			snprintf(unnamed, sizeof(unnamed), "[unknown]+0x%lx", (long)pc);
			f.function = intern(unnamed);
		}
		js_frame(f.function, &f);
		out[0] = f;
		return 1;
	}
	const char *name = symbol_name(m, d, pc);
	f.module = m->name;
	f.origin = module_origin(m->name);
	if (name) {
		f.function = symbol_display(name);
		f.origin = js_dispatch(name) ? ORIGIN_DISPATCH : f.origin;
	} else {
		snprintf(unnamed, sizeof(unnamed), "%s+0x%lx", m->name, (long)(pc - m->bias));
		f.function = intern(unnamed);
	}
	int count = source_frames(d, pc, &f, out, max);
	if (count == 0) {
		out[0] = f;
		count = 1;
	}
	for (int i = 0; i < count; i++)
		out[i].origin = source_origin(&out[i]);
	return count;
}

int native_symbolize(struct native *n, uint64_t pc, bool exact, struct frame *out, int max)
{
	struct frame frames[INLINE_MAX];
	uint64_t at = exact ? pc : pc - 1;

	if (!module_find(n, at, NULL)) /* a JIT compiler may put something else there: not kept */
		return frames_of(n, at, out, max);
	if (!n->cache)
		n->cache = xcalloc(1, sizeof(*n->cache));
	size_t i = cache_slot(n->cache, at);
	if (!n->cache->slots[i].n) {
		int count = frames_of(n, at, frames, INLINE_MAX);
		cache_put(n, at, frames, count);
		i = cache_slot(n->cache, at);
	}
	int count = n->cache->slots[i].n;
	/* Too many to tell: the function that contains them counts most. */
	int skip = count > max ? count - max : 0;
	memcpy(out, n->cache->slots[i].frames + skip, (count - skip) * sizeof(*out));
	return count - skip;
}
