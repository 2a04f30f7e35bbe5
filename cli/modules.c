/* SPDX-License-Identifier: MIT
 *
 * The ELF files behind a process's executable memory, mapped at once, so that names can still be had when the
 * process, its container or the files are gone. libdwfl finds its way in them: its own way of reading a
 * process (dwfl_linux_proc_report) opens files by their name in whystall's root, at the time of need, and
 * asks debuginfod servers; ours opens what is mapped, now, and nobody is asked.
 *
 * Files are the target's and so hostile: opened without waiting, regular ones only, and by way of
 * /proc/PID/map_files where we may, which is the mapped file itself whatever its name leads to by now. No
 * descriptor stays but for separate debug files.
 */
#include "modules.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>

#include "mem.h"

#define MODULES_MAX 2048
#define FILE_MAX_BYTES (4ull << 30)
#define CRC_MAX_BYTES (1ull << 30) /* of all debug files that are found by .gnu_debuglink */
#define VDSO_MAX_BYTES 65536

static int regular_only(int fd)
{
	struct stat st;
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size <= FILE_MAX_BYTES)
		return fd;
	close(fd);
	return -EINVAL;
}

int target_open(pid_t pid, const char *path)
{
	char root[64];
	struct open_how how = {
		.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	snprintf(root, sizeof(root), "/proc/%d/root", pid);
	int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	int fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
	if (fd < 0 &&
	    (errno == ENOSYS || errno == EPERM)) /* before Linux 5.6, or an old container's filter */
		fd = openat(dir, path + strspn(path, "/"),
			    O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW);
	fd = regular_only(fd);
	close(dir);
	return fd;
}

/* Opened by name it may be another file than the one mapped. In some filesystems (overlayfs, btrfs) the
 * numbers in maps are not stat's: then the first bytes decide, where the build id is. */
static bool same_file(pid_t pid, const struct maps *maps, const struct map *map, int fd)
{
	struct stat st;
	unsigned char mapped[1024], stored[sizeof(mapped)];

	if (fstat(fd, &st) == 0 && st.st_ino == map->inode)
		return true;
	for (const struct map *m = maps->at; m < maps->at + maps->n; m++)
		if (m->inode == map->inode && m->dev_major == map->dev_major &&
		    m->dev_minor == map->dev_minor && m->offset == 0)
			return mem_read(pid, m->start, mapped, sizeof(mapped)) == 0 &&
			       pread(fd, stored, sizeof(stored), 0) == (ssize_t)sizeof(stored) &&
			       !memcmp(mapped, stored, sizeof(stored));
	return false;
}

static int map_open(pid_t pid, const struct maps *maps, const struct map *map)
{
	char path[96];
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid, (long)map->start, (long)map->end);
	int fd = regular_only(open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
	if (fd >= 0 || map->deleted)
		return fd;
	fd = target_open(pid, map->path);
	if (fd >= 0 && !same_file(pid, maps, map, fd)) {
		close(fd);
		fd = -ESTALE;
	}
	return fd;
}

/* Where the file is loaded, by the segment that the executable map shows. */
static bool module_place(struct module *m, const struct map *map)
{
	GElf_Ehdr ehdr;
	GElf_Phdr ph;
	size_t n;
	bool found = false, first = true;
	uint64_t lowest = 0, end = 0;

	if (elf_kind(m->elf) != ELF_K_ELF || !gelf_getehdr(m->elf, &ehdr) || elf_getphdrnum(m->elf, &n) ||
	    ehdr.e_machine != EM_X86_64 || (ehdr.e_type != ET_EXEC && ehdr.e_type != ET_DYN))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!gelf_getphdr(m->elf, i, &ph) || ph.p_type != PT_LOAD)
			continue;
		if (first)
			lowest = ph.p_vaddr & -ph.p_align; /* what libdwfl takes for the file's base */
		first = false;
		end = ph.p_vaddr + ph.p_memsz;
		if (!found && (ph.p_flags & PF_X) && map->offset + 4096 > ph.p_offset &&
		    map->offset < ph.p_offset + ph.p_filesz) {
			m->text = map->start - map->offset;
			m->bias = m->text + ph.p_offset - ph.p_vaddr;
			found = true;
		}
	}
	m->start = lowest + m->bias;
	m->end = end + m->bias;
	return found && m->start < m->end && map->start >= m->start && map->start < m->end;
}

static uint32_t file_crc(int fd)
{
	static const size_t piece = 65536;
	unsigned char *buf = xcalloc(1, piece);
	uint32_t crc = crc32(0, NULL, 0);
	ssize_t n;

	for (off_t at = 0; (n = pread(fd, buf, piece, at)) > 0; at += n)
		crc = crc32(crc, buf, n);
	free(buf);
	return crc;
}

/* The target may have named files without number and without end. */
static bool crc_affordable(struct native *n, int fd)
{
	struct stat st;
	if (fstat(fd, &st) || n->summed + (uint64_t)st.st_size > CRC_MAX_BYTES)
		return false;
	n->summed += (uint64_t)st.st_size;
	return true;
}

/* Debug files are trusted no more than others, but looked for in the target's root first, then in ours. */
static int debug_open(pid_t pid, const char *path)
{
	int fd = target_open(pid, path);
	return fd >= 0 ? fd : regular_only(open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

static int debug_by_id(pid_t pid, const unsigned char *id, ssize_t len)
{
	char path[256] = "/usr/lib/debug/.build-id/";
	size_t at = strlen(path);

	if (len < 2 || len > 64)
		return -ENOENT;
	for (ssize_t i = 0; i < len; i++)
		at += snprintf(path + at, sizeof(path) - at, i == 0 ? "%02x/" : "%02x", id[i]);
	snprintf(path + at, sizeof(path) - at, ".debug");
	return debug_open(pid, path);
}

/* gdb's places (GDB manual, "Separate Debug Files"): beside the file, in .debug/, below /usr/lib/debug. */
static int debug_by_link(struct native *n, const char *of, const char *link, uint32_t crc)
{
	static const char *const places[] = {"%.*s/%s", "%.*s/.debug/%s", "/usr/lib/debug%.*s/%s"};
	const char *slash = strrchr(of, '/');
	int dir = slash ? slash - of : 0;

	if (strchr(link, '/'))
		return -ENOENT;
	for (size_t i = 0; i < LENGTH(places); i++) {
		char path[4096];
		if (snprintf(path, sizeof(path), places[i], dir, of, link) >= (int)sizeof(path) ||
		    !strcmp(path, of))
			continue;
		int fd = debug_open(n->pid, path);
		if (fd < 0)
			continue;
		if (crc_affordable(n, fd) && file_crc(fd) == crc)
			return fd;
		close(fd);
	}
	return -ENOENT;
}

static int debug_find(struct native *n, const struct module *m)
{
	const void *id;
	GElf_Word crc;

	ssize_t len = dwelf_elf_gnu_build_id(m->elf, &id);
	int fd = len > 0 ? debug_by_id(n->pid, id, len) : -ENOENT;
	if (fd < 0) {
		const char *link = dwelf_elf_gnu_debuglink(m->elf, &crc);
		if (link)
			fd = debug_by_link(n, m->path, link, crc);
	}
	return fd < 0 ? -1 : fd;
}

static void module_free(struct module *m)
{
	symbols_free(m);
	if (m->elf)
		elf_end(m->elf);
	if (m->debug >= 0)
		close(m->debug);
	free(m->image);
	free(m);
}

static void modules_free(struct module *m)
{
	for (struct module *next; m; m = next) {
		next = m->next;
		module_free(m);
	}
}

static Elf *vdso_read(pid_t pid, const struct map *map, void **image)
{
	size_t size = map->end - map->start;
	if (size > VDSO_MAX_BYTES)
		return NULL;
	*image = xcalloc(1, size);
	return mem_read(pid, map->start, *image, size) == 0 ? elf_memory(*image, size) : NULL;
}

static Elf *file_map(pid_t pid, const struct maps *maps, const struct map *map)
{
	int fd = map_open(pid, maps, map);
	if (fd < 0)
		return NULL;
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP_PRIVATE, NULL);
	if (elf)
		elf_cntl(elf, ELF_C_FDREAD); /* it is mapped: needs no descriptor */
	close(fd);
	return elf;
}

static struct module *module_open(struct native *n, const struct maps *maps, const struct map *map)
{
	struct module *m = xcalloc(1, sizeof(*m));
	const char *slash = strrchr(map->path, '/');

	m->path = map->path;
	m->name = slash ? intern(slash + 1) : map->path;
	m->inode = map->inode;
	m->dev_major = map->dev_major;
	m->dev_minor = map->dev_minor;
	m->debug = -1;
	m->elf = map->inode ? file_map(n->pid, maps, map) : vdso_read(n->pid, map, &m->image);
	if (!m->elf || !module_place(m, map)) {
		module_free(m);
		return NULL;
	}
	if (map->inode)
		m->debug = debug_find(n, m);
	return m;
}

/* --- libdwfl's questions --- */

static int find_elf(Dwfl_Module *dwfl_module, void **userdata, const char *name, Dwarf_Addr base,
		    char **file_name, Elf **elf)
{
	struct module *m = *userdata;
	(void)dwfl_module, (void)name, (void)base;
	*file_name = strdup(m->path);
	*elf = elf_begin(-1, ELF_C_READ, m->elf); /* counted: both sides end it */
	return -1;
}

/* Asked once for the module's own debug file, and again (crc 0) for the file that dwz(1) moved common parts
 * to. */
static int find_debuginfo(Dwfl_Module *dwfl_module, void **userdata, const char *name, Dwarf_Addr base,
			  const char *file, const char *link, GElf_Word crc, char **debug_name)
{
	struct module *m = *userdata;
	int fd = m->debug;
	(void)dwfl_module, (void)name, (void)base, (void)file, (void)debug_name;
	m->debug = -1;
	if (fd < 0 && crc == 0 && link && link[0] == '/' && !strstr(link, "/../"))
		fd = regular_only(open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
	return fd < 0 ? -1 : fd;
}

static const Dwfl_Callbacks callbacks = {
	.find_elf = find_elf,
	.find_debuginfo = find_debuginfo,
	.section_address = dwfl_offline_section_address,
};

/* --- the process --- */

static bool module_is(const struct module *m, const struct map *map)
{
	return m->inode == map->inode && m->dev_major == map->dev_major && m->dev_minor == map->dev_minor &&
	       m->path == map->path && map->start >= m->start && map->start < m->end;
}

static void map_take(struct native *n, const struct maps *maps, const struct map *map)
{
	bool vdso = !strcmp(map->path, "[vdso]");

	if (!map->inode && !vdso) {
		if (map->path[0] != '[' && n->jit.n < MODULES_MAX)
			*vec_push(&n->jit) = (struct jit_area){map->start, map->end};
		return;
	}
	for (struct module *m = n->modules; m; m = m->next)
		if (module_is(m, map)) {
			m->mapped = true;
			return;
		}
	if (n->module_count >= MODULES_MAX)
		return;
	struct module *m = module_open(n, maps, map);
	if (m) {
		m->mapped = true;
		m->next = n->modules;
		n->modules = m;
		n->module_count++;
	} else if (n->jit.n < MODULES_MAX) {
		/* A file that is no ELF: a JIT compiler's memfd, for one. */
		*vec_push(&n->jit) = (struct jit_area){map->start, map->end};
	}
}

/* What was unloaded stays as long as nothing else is there: older samples want its names. */
static bool module_overlaid(const struct native *n, const struct module *old)
{
	for (const struct module *m = n->modules; m; m = m->next)
		if (m->mapped && m->start < old->end && old->start < m->end)
			return true;
	return false;
}

static void modules_report(struct native *n)
{
	struct module *gone = NULL;

	dwfl_report_begin(n->dwfl);
	for (struct module **at = &n->modules, *m; (m = *at);) {
		void **userdata;
		if (!m->mapped && module_overlaid(n, m)) {
			*at = m->next;
			m->next = gone;
			gone = m;
			n->module_count--;
			continue;
		}
		at = &m->next;
		Dwfl_Module *d = dwfl_report_module(n->dwfl, m->name, m->start, m->end);
		if (d && dwfl_module_info(d, &userdata, NULL, NULL, NULL, NULL, NULL, NULL))
			*userdata = m;
	}
	dwfl_report_end(n->dwfl, NULL, NULL);
	modules_free(gone);
}

int native_refresh(struct native *n, pid_t pid)
{
	const struct module *newest = n->modules;
	struct maps maps;
	int error = maps_read(pid, &maps);
	if (error)
		return error;

	n->pid = pid;
	n->jit.n = 0;
	for (struct module *m = n->modules; m; m = m->next)
		m->mapped = false;
	for (const struct map *m = maps.at; m < maps.at + maps.n; m++)
		if (m->x && strcmp(m->path, "[vsyscall]"))
			map_take(n, &maps, m);
	maps_free(&maps);
	modules_report(n);
	if (n->jit.n && !n->perfmap)
		n->perfmap = perfmap_open(pid);
	if (n->modules != newest) { /* names of addresses may have changed */
		symbol_cache_free(n->cache);
		n->cache = NULL;
	}
	return 0;
}

/* A machine for libdwfl, from the vDSO that the kernel maps into every process. */
static Elf *machine_elf(void)
{
	const Elf64_Ehdr *e = (const Elf64_Ehdr *)getauxval(AT_SYSINFO_EHDR);
	return e ? elf_memory((char *)e, e->e_shoff + (size_t)e->e_shnum * e->e_shentsize) : NULL;
}

struct native *native_open(pid_t pid)
{
	struct native *n = xcalloc(1, sizeof(*n));
	int error = -ENOMEM;

	elf_version(EV_CURRENT);
	n->dwfl = dwfl_begin(&callbacks);
	n->machine = machine_elf();
	if (n->dwfl && n->machine)
		error = native_refresh(n, pid);
	if (!error && !unwind_attach(n))
		error = -ENOTSUP;
	if (error) {
		native_close(n);
		errno = -error;
		return NULL;
	}
	return n;
}

void native_close(struct native *n)
{
	if (!n)
		return;
	if (n->dwfl)
		dwfl_end(n->dwfl);
	modules_free(n->modules);
	vec_free(&n->jit);
	if (n->machine)
		elf_end(n->machine);
	perfmap_close(n->perfmap);
	symbol_cache_free(n->cache);
	free(n);
}

struct module *module_find(struct native *n, uint64_t pc, Dwfl_Module **dwfl_module)
{
	void **userdata;
	Dwfl_Module *d = dwfl_addrmodule(n->dwfl, pc);
	if (dwfl_module)
		*dwfl_module = d;
	if (!d || !dwfl_module_info(d, &userdata, NULL, NULL, NULL, NULL, NULL, NULL))
		return NULL;
	return *userdata;
}

bool native_covers(struct native *n, uint64_t pc)
{
	if (module_find(n, pc, NULL))
		return true;
	for (size_t i = 0; i < n->jit.n; i++)
		if (pc >= n->jit.at[i].start && pc < n->jit.at[i].end)
			return true;
	return false;
}

static bool section_exists(Elf *elf, const char *name)
{
	size_t names;
	if (elf_getshdrstrndx(elf, &names))
		return false;
	for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
		GElf_Shdr header;
		const char *is =
			gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;
		if (is && !strcmp(is, name) && header.sh_type != SHT_NOBITS)
			return true;
	}
	return false;
}

int native_module(struct native *n, int i, struct native_module *out)
{
	struct module *m = n->modules;
	const void *id;
	for (; m && (i || !m->mapped || m->image); m = m->next)
		i -= m->mapped && !m->image;
	if (!m)
		return -ENOENT;
	*out = (struct native_module){.name = m->name, .path = m->path};
	if (!m->elf)
		return 0;
	out->symbols = section_exists(m->elf, ".symtab");
	out->debug = m->debug >= 0 || section_exists(m->elf, ".debug_info") ||
		     section_exists(m->elf, ".zdebug_info");
	ssize_t length = dwelf_elf_gnu_build_id(m->elf, &id);
	for (ssize_t k = 0; k < length && k < 32; k++)
		sprintf(out->build_id + 2 * k, "%02x", ((const unsigned char *)id)[k]);
	return 0;
}
