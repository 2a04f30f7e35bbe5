/* SPDX-License-Identifier: MIT
 *
 * A program takes the shim if it is a 64-bit x86 ELF file, dynamically linked, whose interpreter is glibc's,
 * that changes no user or group, and that does not link a libasan (which refuses to run unless it is
 * loaded first); or a script whose interpreter is such. Where that cannot be told (it cannot be read) the
 * answer is no.
 */
#include <elf.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "image.h"
#include "original.h"
#include "sys.h"

#define SCRIPT_DEPTH 4 /* the kernel follows as many */
#define HEADERS 64
#define NEEDED 256

#define LOOK_TEXT REFUSALS /* neither ELF nor #!: some functions give it to the shell */

struct segments {
	Elf64_Phdr load[8];
	int loads;
	Elf64_Phdr dynamic, interp;
};

static bool read_all(int fd, void *to, size_t n, uint64_t offset)
{
	return sys_pread(fd, to, n, offset) == (long)n;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = text_length(s), m = text_length(end);
	return n >= m && text_equal(s + n - m, end);
}

/* Reads a string of the file, cut at size - 1. */
static bool read_text(int fd, char *to, size_t size, uint64_t offset)
{
	long n = sys_pread(fd, to, size - 1, offset);
	if (n <= 0)
		return false;
	to[n] = 0;
	return true;
}

static uint64_t file_offset(const struct segments *s, uint64_t address)
{
	for (int i = 0; i < s->loads; i++)
		if (address >= s->load[i].p_vaddr && address - s->load[i].p_vaddr < s->load[i].p_filesz)
			return s->load[i].p_offset + (address - s->load[i].p_vaddr);
	return 0;
}

/* Does it link AddressSanitizer as a library? It must come first. */
static bool links_asan(int fd, const struct segments *s)
{
	uint64_t strings = 0, n = s->dynamic.p_filesz / sizeof(Elf64_Dyn);
	Elf64_Dyn d;
	char name[32];
	for (int pass = 0; pass < 2; pass++) /* DT_STRTAB comes after the names that need it */
		for (uint64_t i = 0; i < n && i < NEEDED; i++) {
			if (!read_all(fd, &d, sizeof(d), s->dynamic.p_offset + i * sizeof(d)) ||
			    d.d_tag == DT_NULL)
				break;
			if (pass == 0 && d.d_tag == DT_STRTAB)
				strings = file_offset(s, d.d_un.d_ptr);
			if (pass == 1 && d.d_tag == DT_NEEDED && strings &&
			    read_text(fd, name, sizeof(name), strings + d.d_un.d_val) &&
			    (text_begins(name, "libasan.so") || text_begins(name, "libclang_rt.asan")))
				return true;
		}
	return false;
}

static enum refusal elf_look(int fd, const Elf64_Ehdr *e)
{
	struct segments s = {.loads = 0};
	if (e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_ident[EI_DATA] != ELFDATA2LSB ||
	    e->e_machine != EM_X86_64)
		return REFUSAL_WORD_SIZE;
	if (e->e_phentsize != sizeof(Elf64_Phdr) || (e->e_type != ET_EXEC && e->e_type != ET_DYN))
		return REFUSAL_FORMAT;
	for (int i = 0; i < e->e_phnum && i < HEADERS; i++) {
		Elf64_Phdr p;
		if (!read_all(fd, &p, sizeof(p), e->e_phoff + (uint64_t)i * sizeof(p)))
			return REFUSAL_FORMAT;
		if (p.p_type == PT_INTERP)
			s.interp = p;
		else if (p.p_type == PT_DYNAMIC)
			s.dynamic = p;
		else if (p.p_type == PT_LOAD && s.loads < 8)
			s.load[s.loads++] = p;
	}
	char interp[256];
	if (!s.interp.p_filesz || !s.dynamic.p_filesz)
		return REFUSAL_STATIC;
	if (s.interp.p_filesz >= sizeof(interp) ||
	    !read_text(fd, interp, (size_t)s.interp.p_filesz + 1, s.interp.p_offset))
		return REFUSAL_FORMAT;
	if (!ends_with(interp, "/ld-linux-x86-64.so.2"))
		return REFUSAL_LIBC;
	return links_asan(fd, &s) ? REFUSAL_ASAN : REFUSAL_NONE;
}

static enum refusal path_look(const char *path, int depth);

/* "#! /path/interpreter argument" */
static enum refusal script_look(char *line, int depth)
{
	char *from = line + 2, *to;
	while (*from == ' ' || *from == '\t')
		from++;
	for (to = from; *to && *to != ' ' && *to != '\t' && *to != '\n'; to++)
		;
	if (to == from || !*to)
		return REFUSAL_FORMAT;
	*to = 0;
	return depth ? path_look(from, depth - 1) : REFUSAL_FORMAT;
}

static enum refusal fd_look(int fd, int depth)
{
	union {
		Elf64_Ehdr elf;
		char line[256];
	} head;
	struct stat st;
	if (sys_call(SYS_fstat, fd, &st, 0, 0) || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		return REFUSAL_MISSING;
	if (st.st_mode & (S_ISUID | S_ISGID))
		return REFUSAL_SETUID;
	long n = sys_pread(fd, &head, sizeof(head) - 1, 0);
	if (n < 2)
		return n < 0 ? REFUSAL_UNREADABLE : LOOK_TEXT;
	head.line[n] = 0;
	if (text_begins(head.line, "#!"))
		return script_look(head.line, depth);
	if (n < (long)sizeof(head.elf) || !text_begins(head.line, ELFMAG))
		return LOOK_TEXT;
	return elf_look(fd, &head.elf);
}

static enum refusal path_look(const char *path, int depth)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && fd != -2 /* ENOENT */ && fd != -20 /* ENOTDIR */) {
		/* a program that may only be executed, or one out of reach? */
		fd = sys_open(path, O_PATH | O_CLOEXEC);
		sys_close(fd);
		return fd < 0 ? REFUSAL_MISSING : REFUSAL_UNREADABLE;
	}
	if (fd < 0)
		return REFUSAL_MISSING;
	enum refusal look = fd_look(fd, depth);
	sys_close(fd);
	return look;
}

/* The first file of that name in PATH: glibc's posix/execvpe.c. */
static enum refusal search_look(const char *file)
{
	const char *path = NULL;
	char name[1024];
	size_t n = text_length(file);
	for (char **e = environ; e && *e; e++)
		if (text_begins(*e, "PATH="))
			path = *e + 5;
	if (!path)
		path = "/bin:/usr/bin";
	for (const char *from = path;; from++) {
		const char *to = from;
		while (*to && *to != ':')
			to++;
		size_t d = (size_t)(to - from);
		if (d + n + 2 <= sizeof(name)) {
			memcpy(name, from, d);
			name[d] = '/';
			memcpy(name + d + (d > 0), file, n + 1);
			enum refusal look = path_look(name, SCRIPT_DEPTH);
			if (look != REFUSAL_MISSING)
				return look;
		}
		from = to;
		if (!*from)
			return REFUSAL_MISSING;
	}
}

enum refusal image_refusal(const char *file, bool search)
{
	if (!file || !*file)
		return REFUSAL_MISSING;
	bool slash = false;
	for (const char *c = file; *c; c++)
		slash |= *c == '/';
	enum refusal look = search && !slash ? search_look(file) : path_look(file, SCRIPT_DEPTH);
	if (look == LOOK_TEXT && search) /* ENOEXEC: these functions try the shell */
		look = path_look("/bin/sh", 0);
	return look == LOOK_TEXT ? REFUSAL_FORMAT : look;
}

enum refusal image_fd_refusal(int fd)
{
	enum refusal look = fd_look(fd, SCRIPT_DEPTH);
	return look == LOOK_TEXT ? REFUSAL_FORMAT : look;
}
