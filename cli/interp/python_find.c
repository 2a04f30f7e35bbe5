/* SPDX-License-Identifier: MIT
 *
 * Finds the interpreter among a process' mapped files: whichever ELF file defines _PyRuntime, be it an
 * executable under any name or a shared library, and where it was loaded. Older and other Pythons are found
 * too, so that they can be refused by name. The files are the target's and may be anything: libelf reads
 * them, every count is bounded.
 */
#include <ctype.h>
#include <fcntl.h>
#include <gelf.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/interp/python.h"
#include "cli/util.h"

#define FILES_MAX 1024
#define SYMBOLS_MAX 2000000
#define RODATA_MAX (16u << 20)
#define SEGMENTS_MAX 64
#define SECTIONS_MAX 1000
#define VERSION_TEXT 32

static const char *path_base(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* How likely a file is the interpreter: looked at in this order. */
static int file_rank(const char *path, const char *first)
{
	const char *base = path_base(path);
	if (!strncmp(base, "libpython", 9) || !strncmp(base, "libpypy", 7))
		return 0;
	if (strstr(base, "python") || strstr(base, "pypy"))
		return 1;
	return path == first ? 2 : 3;
}

/* The difference between an address in the target and the one that the file says. */
static int elf_bias(Elf *elf, const struct map *map, uint64_t *bias)
{
	size_t n = 0;
	if (elf_getphdrnum(elf, &n))
		return -ENOEXEC;
	for (size_t i = 0; i < n && i < SEGMENTS_MAX; i++) {
		GElf_Phdr p;
		if (!gelf_getphdr(elf, (int)i, &p) || p.p_type != PT_LOAD)
			continue;
		uint64_t start = p.p_offset & ~4095ull;
		if (map->offset >= start && map->offset < p.p_offset + p.p_filesz) {
			*bias = map->start - (p.p_vaddr - p.p_offset + map->offset);
			return 0;
		}
	}
	return -ENOEXEC;
}

static void symbols_take(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, uint64_t bias,
			 struct python_symbols *out)
{
	Elf_Data *data = elf_getdata(section, NULL);
	if (!data || !header->sh_entsize)
		return;
	size_t n = data->d_size / header->sh_entsize;
	for (size_t i = 0; i < n && i < SYMBOLS_MAX; i++) {
		GElf_Sym s;
		if (!gelf_getsym(data, (int)i, &s) || s.st_shndx == SHN_UNDEF || !s.st_value)
			continue;
		const char *name = elf_strptr(elf, header->sh_link, s.st_name);
		if (!name || (strncmp(name, "Py", 2) && strncmp(name, "_Py", 3)))
			continue;
#define SYMBOL(field, symbol)      \
	if (!strcmp(name, symbol)) \
		out->field = s.st_value + bias;
		PYTHON_SYMBOLS(SYMBOL)
#undef SYMBOL
	}
}

static void symbols_read(Elf *elf, int type, uint64_t bias, struct python_symbols *out)
{
	Elf_Scn *section = NULL;
	for (int i = 0; i < SECTIONS_MAX && (section = elf_nextscn(elf, section)); i++) {
		GElf_Shdr header;
		if (gelf_getshdr(section, &header) && header.sh_type == (GElf_Word)type)
			symbols_take(elf, section, &header, bias, out);
	}
}

/* "3.8.18", "3.14.0rc1+": PY_VERSION as it stands among the file's strings. */
static bool version_parse(const char *s, size_t n, int *major, int *minor)
{
	int end = 0, micro;
	char copy[VERSION_TEXT];
	if (n < 5 || n >= sizeof(copy) || (s[0] != '2' && s[0] != '3'))
		return false;
	memcpy(copy, s, n);
	copy[n] = 0;
	if (sscanf(copy, "%d.%d.%d%n", major, minor, &micro, &end) != 3 || !end || *minor > 99)
		return false;
	end += (int)strspn(copy + end, "abrc0123456789+");
	return !copy[end];
}

/* Searches the constant strings for the version; where a minor version is known already, for that one's. More
 * than one candidate is no answer. */
static void version_search(Elf *elf, struct python_found *out)
{
	Elf_Scn *section = NULL;
	size_t names = 0;
	char found[VERSION_TEXT] = "";
	int major = 0, minor = 0;
	if (elf_getshdrstrndx(elf, &names))
		return;
	for (int i = 0; i < SECTIONS_MAX && (section = elf_nextscn(elf, section)); i++) {
		GElf_Shdr header;
		const char *name =
			gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;
		Elf_Data *data = name && !strcmp(name, ".rodata") && header.sh_size < RODATA_MAX
					 ? elf_getdata(section, NULL)
					 : NULL;
		if (!data || !data->d_buf)
			continue;
		const char *s = data->d_buf, *end = s + data->d_size;
		while (s < end) {
			/* linkers share tails: "3.8.18" may be the end of "/usr/lib/3.8.18" */
			size_t n = strnlen(s, (size_t)(end - s)), tail = n;
			int a = 0, b = 0;
			while (tail && n - tail < VERSION_TEXT && strchr("0123456789.abrc+", s[tail - 1]))
				tail--;
			if (version_parse(s + tail, n - tail, &a, &b) &&
			    (out->major ? a == out->major && b == out->minor
			     : a == 2	? b == 7
					: b >= 3)) {
				if (found[0] &&
				    (strlen(found) != n - tail || memcmp(found, s + tail, n - tail)))
					return;
				snprintf(found, sizeof(found), "%.*s", (int)(n - tail), s + tail);
				major = a;
				minor = b;
			}
			s += n + 1;
		}
	}
	if (!found[0])
		return;
	out->major = major;
	out->minor = minor;
	snprintf(out->version, sizeof(out->version), "%s", found);
}

/* "python3.8" in a file's own name, else in the paths of its extension modules, which all agree. */
static void version_from_paths(const struct maps *maps, const char *path, struct python_found *out)
{
	int a, b;
	const char *base = strstr(path_base(path), "python");
	if (base && sscanf(base, "python%d.%d", &a, &b) == 2) {
		out->major = a;
		out->minor = b;
		return;
	}
	for (size_t i = 0; i < maps->n; i++) {
		const char *at = strstr(maps->at[i].path, "/python");
		if (!at || !strstr(at, "/lib-dynload/") || sscanf(at, "/python%d.%d/", &a, &b) != 2)
			continue;
		if (out->major && (a != out->major || b != out->minor)) {
			out->major = out->minor = 0;
			return;
		}
		out->major = a;
		out->minor = b;
	}
}

static void version_write(uint64_t hex, struct python_found *out)
{
	static const char *const level[16] = {[0xa] = "a", [0xb] = "b", [0xc] = "rc"};
	const char *name = level[hex >> 4 & 15];
	out->major = (int)(hex >> 24);
	out->minor = (int)(hex >> 16 & 255);
	int n = snprintf(out->version, sizeof(out->version), "%d.%d.%d", out->major, out->minor,
			 (int)(hex >> 8 & 255));
	if (name)
		snprintf(out->version + n, sizeof(out->version) - (size_t)n, "%s%d", name, (int)(hex & 15));
}

/* Py_Version, 3.11 on: PY_VERSION_HEX as an unsigned long constant. */
static bool version_from_symbol(pid_t pid, struct python_found *out)
{
	uint64_t hex;
	if (!out->at.version || mem_read(pid, out->at.version, &hex, sizeof(hex)) || hex >> 32)
		return false;
	version_write(hex, out);
	return true;
}

/* From 3.11 on _PyRuntime has a section of its own, which is there where its symbol has been stripped
 * (Python/pylifecycle.c). */
static uint64_t runtime_section(Elf *elf, uint64_t bias)
{
	Elf_Scn *section = NULL;
	size_t names = 0;
	if (elf_getshdrstrndx(elf, &names))
		return 0;
	for (int i = 0; i < SECTIONS_MAX && (section = elf_nextscn(elf, section)); i++) {
		GElf_Shdr header;
		const char *name =
			gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;
		if (name && !strcmp(name, ".PyRuntime"))
			return header.sh_addr + bias;
	}
	return 0;
}

/* PY_VERSION_HEX, as _Py_DebugOffsets has it from 3.13 on. */
static bool version_from_runtime(pid_t pid, struct python_found *out)
{
	struct {
		char cookie[8];
		uint64_t version;
	} debug;
	if (mem_read(pid, out->at.runtime, &debug, sizeof(debug)) || memcmp(debug.cookie, "xdebugpy", 8) ||
	    debug.version >> 32)
		return false;
	version_write(debug.version, out);
	return true;
}

static int file_look(pid_t pid, const struct maps *maps, const struct map *map, int rank,
		     struct python_found *out)
{
	char path[PATH_MAX];
	struct stat st;
	int result = -ENOENT;
	Elf *elf = NULL;
	int fd = open(map_host_path(pid, map, path, sizeof(path)),
		      O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		goto cleanup;
	elf = elf_begin(fd, ELF_C_READ, NULL);
	uint64_t bias;
	if (!elf || elf_kind(elf) != ELF_K_ELF || elf_bias(elf, map, &bias))
		goto cleanup;
	struct python_found found = {0};
	const char *base = path_base(map->path);
	found.pypy = !strncmp(base, "libpypy", 7) || !strncmp(base, "pypy", 4);
	found.narrow = gelf_getclass(elf) != ELFCLASS64;
	symbols_read(elf, SHT_DYNSYM, bias, &found.at);
	uint64_t section = found.at.runtime ? 0 : runtime_section(elf, bias);
	if (!found.at.runtime && (rank < 3 || section))
		symbols_read(elf, SHT_SYMTAB, bias, &found.at);
	if (!found.at.runtime)
		found.at.runtime = section;
	if (!found.at.runtime && !found.at.get_version && !found.pypy)
		goto cleanup;
	result = 0;
	if (!version_from_symbol(pid, &found) && !version_from_runtime(pid, &found) && !found.pypy) {
		version_from_paths(maps, map->path, &found);
		version_search(elf, &found);
		if (found.major && !found.version[0])
			snprintf(found.version, sizeof(found.version), "%d.%d", found.major, found.minor);
	}
	*out = found;
cleanup:
	elf_end(elf);
	if (fd >= 0)
		close(fd);
	return result;
}

int python_find(pid_t pid, const struct maps *maps, struct python_found *out)
{
	const struct map *file[FILES_MAX];
	int files = 0;
	const char *first = NULL, *last = NULL;
	for (size_t i = 0; i < maps->n && files < FILES_MAX; i++) {
		const struct map *m = &maps->at[i];
		/* A file's maps are neighbours; paths are interned. No program is mapped shared, but our own
		 * record is by who reads it while it grows: to close it here would drop the locks that SQLite
		 * has on it for us (fcntl(2)). */
		if (m->shared || m->path[0] != '/' || m->path == last || !strncmp(m->path, "/dev/", 5))
			continue;
		last = m->path;
		if (!first)
			first = m->path;
		file[files++] = m;
	}
	elf_version(EV_CURRENT);
	for (int rank = 0; rank <= 3; rank++)
		for (int i = 0; i < files; i++)
			if (file_rank(file[i]->path, first) == rank &&
			    !file_look(pid, maps, file[i], rank, out))
				return 0;
	return -ENOENT;
}
