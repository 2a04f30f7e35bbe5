/* SPDX-License-Identifier: MIT
 *
 * Uprobes on the functions of record/hooks.def that take, free and signal locks. Where each lies is read from
 * the file's own dynamic symbols: of a function in several versions the one that a program linked today gets
 * (GLIBC_2.3.2's pthread_cond_timedwait), which no lookup by name alone can tell.
 */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#define HOOK_INFO
#include "../record/hooks.h"
#include "mem.h"
#include "probe_state.h"

#define CHECK_NS (NS / 4)
#define VERSION_HIDDEN 0x8000 /* of .gnu.version: not the default one */

static int hook_kind(enum hook_class class)
{
	switch (class) {
	case HOOK_CLASS_MUTEX_LOCK:
	case HOOK_CLASS_C11_LOCK:
	case HOOK_CLASS_RW_WRITE:
	case HOOK_CLASS_SEM_WAIT:
		return PROBE_HOOK_TAKE;
	case HOOK_CLASS_MUTEX_UNLOCK:
	case HOOK_CLASS_C11_UNLOCK:
	case HOOK_CLASS_RW_UNLOCK:
	case HOOK_CLASS_SEM_POST:
		return PROBE_HOOK_FREE;
	case HOOK_CLASS_COND_SIGNAL:
		return PROBE_HOOK_SIGNAL;
	default:
		return 0;
	}
}

struct image {
	int fd;
	Elf *elf;
	Elf_Data *symbols, *versions;
	GElf_Shdr header;
};

static void image_close(struct image *i)
{
	elf_end(i->elf);
	if (i->fd >= 0)
		close(i->fd);
}

/* The dynamic symbols, or those of a static program. */
static bool image_open(struct image *i, const char *path)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	memset(i, 0, sizeof *i);
	elf_version(EV_CURRENT);
	i->fd = open(path, O_RDONLY | O_CLOEXEC);
	i->elf = i->fd < 0 ? NULL : elf_begin(i->fd, ELF_C_READ_MMAP, NULL);
	while (i->elf && (section = elf_nextscn(i->elf, section)) && gelf_getshdr(section, &header)) {
		if (header.sh_type == SHT_DYNSYM || (header.sh_type == SHT_SYMTAB && !i->symbols)) {
			i->symbols = elf_getdata(section, NULL);
			i->header = header;
		} else if (header.sh_type == SHT_GNU_versym) {
			i->versions = elf_getdata(section, NULL);
		}
	}
	if (i->symbols && i->header.sh_entsize)
		return true;
	image_close(i);
	return false;
}

/* Where the function's code lies in the file, 0: it is not defined there. */
static uint64_t function_offset(const struct image *i, const char *name)
{
	size_t n = i->symbols->d_size / i->header.sh_entsize, segments = 0;
	GElf_Sym symbol, best = {0};
	for (size_t k = 0; k < n; k++) {
		GElf_Versym version = 0;
		if (!gelf_getsym(i->symbols, (int)k, &symbol) || GELF_ST_TYPE(symbol.st_info) != STT_FUNC ||
		    !symbol.st_shndx)
			continue;
		const char *text = elf_strptr(i->elf, i->header.sh_link, symbol.st_name);
		if (!text || strcmp(text, name))
			continue;
		if (i->versions && i->header.sh_type == SHT_DYNSYM)
			gelf_getversym(i->versions, (int)k, &version);
		if (!best.st_value || !(version & VERSION_HIDDEN))
			best = symbol;
	}
	elf_getphdrnum(i->elf, &segments);
	for (size_t k = 0; k < segments && best.st_value; k++) {
		GElf_Phdr p;
		if (gelf_getphdr(i->elf, (int)k, &p) && p.p_type == PT_LOAD && best.st_value >= p.p_vaddr &&
		    best.st_value < p.p_vaddr + p.p_filesz)
			return best.st_value - p.p_vaddr + p.p_offset;
	}
	return 0;
}

static int image_hook(struct probe *p, pid_t pid, const char *path)
{
	struct bpf_program *program = bpf_object__find_program_by_name(p->object, "hooked");
	struct image image;
	int n = 0, e = 0;
	if (!program || !image_open(&image, path))
		return -ENOENT;
	for (unsigned h = 0; h < HOOK_COUNT && !e; h++) {
		int kind = hook_kind(hook_info[h].class);
		uint64_t offset = kind ? function_offset(&image, hook_info[h].name) : 0;
		LIBBPF_OPTS(bpf_uprobe_opts, options, .bpf_cookie = (uint64_t)kind);
		if (!offset)
			continue;
		struct bpf_link *link = bpf_program__attach_uprobe_opts(program, pid, path, offset, &options);
		if (!link) {
			e = -errno;
			break;
		}
		*vec_push(&p->hooks) = link;
		n++;
	}
	image_close(&image);
	return e ? e : n;
}

/* glibc's libc and, before 2.34, libpthread; musl's; or a static program itself, which comes first. */
static bool has_locks(const char *path, bool first)
{
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	return first || !strncmp(name, "libc.so", 7) || !strncmp(name, "libc-2.", 7) ||
	       !strncmp(name, "libpthread", 10) || !strncmp(name, "libc.musl", 9) ||
	       !strncmp(name, "ld-musl", 7);
}

int probe_hook_process(struct probe *p, pid_t pid, char *why, size_t why_size)
{
	struct maps maps;
	char path[PATH_MAX];
	int all = 0, e = maps_read(pid, &maps);
	bool first = true;
	for (size_t i = 0; !e && i < maps.n; i++) {
		const struct map *m = &maps.at[i];
		if (!m->x || m->path[0] != '/')
			continue;
		int n = has_locks(m->path, first)
				? image_hook(p, pid, map_host_path(pid, m, path, sizeof path))
				: 0;
		first = false;
		if (n > 0)
			all += n;
		else if (n < 0 && n != -ENOENT)
			e = n;
	}
	if (!e)
		maps_free(&maps);
	if (!e && !all)
		e = -ENOENT;
	if (e) {
		snprintf(why, why_size, "process %d cannot be hooked: %s", (int)pid,
			 e == -ENOENT ? "it has none of the C library's lock functions" : strerror(-e));
		return e;
	}
	__atomic_store_n(p->hooks_on, 1, __ATOMIC_RELEASE);
	p->hooks_at = now_ns();
	return all;
}

bool probe_hooked(const struct probe *p)
{
	return p->hooks.n;
}

void probe_unhook(struct probe *p)
{
	if (p->hooks_on)
		__atomic_store_n(p->hooks_on, 0, __ATOMIC_RELEASE);
	for (size_t i = 0; i < p->hooks.n; i++)
		bpf_link__destroy(p->hooks.at[i]);
	vec_free(&p->hooks);
}

bool probe_hooks_over(struct probe *p, uint64_t limit, uint64_t *rate)
{
	uint64_t now = now_ns();
	if (!p->hooks.n || now < p->hooks_at + CHECK_NS)
		return false;
	uint64_t calls = __atomic_load_n(p->hooked_calls, __ATOMIC_RELAXED);
	*rate = (uint64_t)((double)(calls - p->hooks_seen) * 1e9 / (double)(now - p->hooks_at));
	p->hooks_seen = calls;
	p->hooks_at = now;
	if (*rate <= limit)
		return false;
	probe_unhook(p);
	return true;
}
