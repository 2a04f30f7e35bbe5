/* SPDX-License-Identifier: MIT
 *
 * Code objects: the function, file and lines that a frame's code stands for. They are read once and kept,
 * since the same few run all the time; but the memory of a dead code object may hold another one tomorrow, so
 * each use comes with a few words read afresh (struct python_identity) that must not have changed.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/interp/python.h"
#include "cli/util.h"

#define CODES 4096	       /* a power of two; at most half are used */
#define LINES_MAX (1u << 20)   /* bytes of one line table */
#define LINES_TOTAL (4u << 20) /* of all that are kept */
#define CODE_MAX (64ll << 20)  /* bytes of one function's code */
#define GLOBALS_LOOK 32	       /* __name__ is among the first entries of a module's dictionary */
#define QUALNAME_TRIES 8       /* how often a better name is looked for */

struct python_code {
	uint64_t address; /* 0: free */
	struct python_identity identity;
	const char *function, *module, *file;
	enum frame_origin origin;
	int first, tries;
	long size; /* of the code, bytes */
	bool shim; /* the interpreter's own, around __init__ or a call: no function of anybody's */
	unsigned char *lines;
	size_t lines_size;
};

static int name_offset(const struct python_layout *l)
{
	return l->code_qualname >= 0 ? l->code_qualname : l->code_name;
}

/* The part of a code object that we look at. */
static size_t head_size(const struct python_layout *l)
{
	return l->code_adaptive >= 0 ? (size_t)l->code_adaptive : (size_t)l->code_linetable + 8;
}

static size_t code_slot(uint64_t address)
{
	return (address >> 4) * 0x9e3779b97f4a7c15ull >> 32 & (CODES - 1);
}

struct python_code *python_code_known(struct interp *py, uint64_t address)
{
	if (!py->code || !address)
		return NULL;
	for (size_t i = code_slot(address);; i = (i + 1) & (CODES - 1)) {
		if (py->code[i].address == address)
			return &py->code[i];
		if (!py->code[i].address)
			return NULL;
	}
}

static int identity_parts(const struct python_layout *l, uint64_t address, uint64_t name, uint64_t file,
			  struct python_identity *to, struct mem_part *parts)
{
	parts[0] = (struct mem_part){address, to->code, head_size(l)};
	parts[1] = (struct mem_part){name + (uint64_t)l->unicode_length, to->name[0], sizeof(to->name[0])};
	parts[2] = (struct mem_part){file + (uint64_t)l->unicode_length, to->name[1], sizeof(to->name[1])};
	return 3;
}

int python_code_check(struct interp *py, const struct python_code *code, struct python_identity *to,
		      struct mem_part *parts)
{
	return identity_parts(&py->layout, code->address,
			      python_u64(code->identity.code, name_offset(&py->layout)),
			      python_u64(code->identity.code, py->layout.code_filename), to, parts);
}

bool python_code_same(struct interp *py, const struct python_code *code, const struct python_identity *now)
{
	const struct python_layout *l = &py->layout;
	const unsigned char *a = code->identity.code, *b = now->code;
	const int words[] = {l->object_type, l->code_filename, l->code_name, name_offset(l),
			     l->code_linetable};
	for (size_t i = 0; i < LENGTH(words); i++)
		if (python_u64(a, words[i]) != python_u64(b, words[i]))
			return false;
	return python_i32(a, l->code_firstlineno) == python_i32(b, l->code_firstlineno) &&
	       (l->code_adaptive < 0 || python_u64(a, l->object_size) == python_u64(b, l->object_size)) &&
	       !memcmp(code->identity.name, now->name, sizeof(now->name));
}

void python_code_close(struct interp *py)
{
	for (int i = 0; py->code && i < CODES; i++)
		free(py->code[i].lines);
	free(py->code);
	py->code = NULL;
	py->codes = 0;
	py->code_bytes = 0;
}

/* A place for the code at this address; when all is full, everything is forgotten. */
static struct python_code *code_place(struct interp *py, uint64_t address, size_t lines)
{
	struct python_code *old = python_code_known(py, address);
	if (!old && (py->codes >= CODES / 2 || py->code_bytes + lines > LINES_TOTAL))
		python_code_close(py);
	if (!py->code)
		py->code = xcalloc(CODES, sizeof(*py->code));
	if (old) {
		py->code_bytes -= old->lines_size;
		free(old->lines);
	} else {
		size_t i = code_slot(address);
		while (py->code[i].address)
			i = (i + 1) & (CODES - 1);
		old = &py->code[i];
		py->codes++;
	}
	int tries = old->address == address ? old->tries : 0;
	*old = (struct python_code){.address = address, .tries = tries};
	return old;
}

/* --- file names --- */

/* Where relative names begin, as the target sees it: its working directory, without the part outside its
 * root. */
static bool cwd_read(pid_t pid, char *cwd, size_t size)
{
	char path[64], root[PATH_MAX];
	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
	ssize_t n = readlink(path, cwd, size - 1);
	if (n <= 0)
		return false;
	cwd[n] = 0;
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	ssize_t r = readlink(path, root, sizeof(root) - 1);
	if (r > 1 && n >= r && !memcmp(cwd, root, (size_t)r) && (cwd[r] == '/' || !cwd[r]))
		memmove(cwd, cwd + r, (size_t)(n - r) + 1);
	return true;
}

/* Absolute where the file is found below the working directory, else as Python has it. */
static const char *file_absolute(struct interp *py, const char *file)
{
	char cwd[PATH_MAX], path[2 * PATH_MAX + PYTHON_STRING];
	const char *name = file;
	while (!strncmp(name, "./", 2))
		name += 2;
	if (!name[0] || name[0] == '/' || name[0] == '<' || !cwd_read(py->pid, cwd, sizeof(cwd)))
		return intern(file);
	int n = snprintf(path, sizeof(path), "/proc/%d/root", (int)py->pid);
	snprintf(path + n, sizeof(path) - (size_t)n, "%s/%s", strcmp(cwd, "/") ? cwd : "", name);
	return intern(access(path, F_OK) ? file : path + n);
}

static enum frame_origin file_origin(const struct interp *py, const char *file)
{
	char lib[32], zip[32];
	if (!strncmp(file, "<frozen ", 8))
		return ORIGIN_RUNTIME;
	if (strstr(file, "/site-packages/") || strstr(file, "/dist-packages/"))
		return ORIGIN_PACKAGE;
	/* <prefix>/lib/python3.X/, lib64, python3.Xt, and a zipped library: sys.path's defaults
	 * (Modules/getpath.py) */
	snprintf(lib, sizeof(lib), "/python3.%d", py->layout.minor);
	snprintf(zip, sizeof(zip), "/python3%d.zip/", py->layout.minor);
	const char *at = strstr(file, lib);
	if (at && at - file >= 4 &&
	    (!strncmp(at - 4, "/lib", 4) || (at - file >= 6 && !strncmp(at - 6, "/lib64", 6)))) {
		at += strlen(lib);
		if (*at == 't')
			at++;
		if (*at == '/')
			return ORIGIN_RUNTIME;
	}
	return strstr(file, zip) ? ORIGIN_RUNTIME : ORIGIN_USER;
}

static const char *module_name(struct interp *py, uint64_t globals)
{
	struct python_dict dict;
	uint64_t name;
	char text[256];
	if (!globals || python_dict_read(py, globals, GLOBALS_LOOK, &dict))
		return NULL;
	bool found = !python_dict_find(py, &dict, "__name__", &name) &&
		     !python_string(py, name, text, sizeof(text));
	python_dict_free(&dict);
	return found && text[0] ? intern(text) : NULL;
}

/* --- reading one --- */

/* A bytes object's length, checked. */
static int bytes_size(struct interp *py, uint64_t object, uint64_t max, uint64_t *size)
{
	const struct python_layout *l = &py->layout;
	unsigned char head[64];
	int e = mem_read(py->pid, object, head, (size_t)l->object_size + 8);
	if (e)
		return e;
	*size = python_u64(head, l->object_size);
	return python_u64(head, l->object_type) == py->at.bytes && *size <= max ? 0 : -EAGAIN;
}

/* The length of the code: that of the object itself, or of its bytes. */
static int code_size(struct interp *py, const unsigned char *head, long *out)
{
	const struct python_layout *l = &py->layout;
	uint64_t size;
	if (l->code_adaptive >= 0) {
		size = python_u64(head, l->object_size) * 2; /* sizeof(_Py_CODEUNIT) */
	} else {
		int e = bytes_size(py, python_u64(head, l->code_code), CODE_MAX, &size);
		if (e)
			return e;
	}
	*out = (long)size;
	return size > 0 && size <= CODE_MAX ? 0 : -EAGAIN;
}

int python_code_load(struct interp *py, const struct python_frame *frame, const struct python_frame *caller)
{
	const struct python_layout *l = &py->layout;
	struct python_identity id = {0}, again = {0};
	char name[PYTHON_STRING], file[PYTHON_STRING];
	struct mem_part parts[PYTHON_IDENTITY];
	uint64_t lines_size;
	long size;
	if (head_size(l) > sizeof(id.code))
		return -ENOTSUP;
	int e = mem_read(py->pid, frame->code, id.code, head_size(l));
	if (e)
		return e;
	if (python_u64(id.code, l->object_type) != py->at.code)
		return -EAGAIN;
	uint64_t name_at = python_u64(id.code, name_offset(l)),
		 file_at = python_u64(id.code, l->code_filename);
	uint64_t lines_at = python_u64(id.code, l->code_linetable);
	e = mem_read_parts(py->pid, parts, identity_parts(l, frame->code, name_at, file_at, &id, parts));
	if (!e)
		e = code_size(py, id.code, &size);
	if (!e)
		e = python_string(py, name_at, name, sizeof(name));
	if (!e)
		e = python_string(py, file_at, file, sizeof(file));
	if (!e)
		e = bytes_size(py, lines_at, LINES_MAX, &lines_size);
	if (e)
		return e;
	unsigned char *lines = xcalloc(lines_size + 1, 1);
	e = mem_read(py->pid, lines_at + (uint64_t)l->bytes_data, lines, lines_size);
	if (!e)
		e = mem_read_parts(py->pid, parts,
				   identity_parts(l, frame->code, name_at, file_at, &again, parts));
	struct python_code now = {.identity = id};
	if (!e && !python_code_same(py, &now, &again))
		e = -EAGAIN;
	if (e) {
		free(lines);
		return e;
	}
	struct python_code *code = code_place(py, frame->code, lines_size);
	code->identity = id;
	code->size = size;
	code->lines = lines;
	code->lines_size = lines_size;
	py->code_bytes += lines_size;
	code->shim = l->code_firsttraceable >= 0 && python_i32(id.code, l->code_firsttraceable) * 2l >= size;
	code->first = python_i32(id.code, l->code_firstlineno);
	code->file = file_absolute(py, file);
	code->origin = file_origin(py, code->file);
	code->module = module_name(py, frame->globals);
	if (l->code_qualname < 0) {
		bool known = !strcmp(name, "<module>") ||
			     !python_qualname(py, frame, caller, name_at, name, sizeof(name));
		code->tries = known ? QUALNAME_TRIES : code->tries + 1;
	}
	code->function = intern(name);
	return 0;
}

bool python_code_shim(const struct python_code *code)
{
	return code->shim;
}

bool python_code_wants(const struct python_code *code)
{
	return code->tries > 0 && code->tries < QUALNAME_TRIES;
}

/* Where the copy of the code begins that the frame runs. Free-threaded, a thread has one of its own of most
 * (Include/internal/pycore_code.h, _PyCodeArray): the first entry is the code object's. */
static int code_start(struct interp *py, const struct python_code *code, int copy, uint64_t *out)
{
	const struct python_layout *l = &py->layout;
	uint64_t array, size;
	*out = code->address + (uint64_t)l->code_adaptive;
	if (!copy)
		return 0;
	int e = python_pointer(py, code->address + (uint64_t)l->code_tlbc, &array);
	if (!e)
		e = python_pointer(py, array + (uint64_t)l->tlbc_size, &size);
	if (!e && (copy < 0 || (uint64_t)copy >= size))
		e = -EAGAIN;
	return e ? e : python_pointer(py, array + (uint64_t)l->tlbc_entries + 8ull * (unsigned)copy, out);
}

static int code_at(struct interp *py, const struct python_code *code, const struct python_frame *in, long *at)
{
	const struct python_layout *l = &py->layout;
	uint64_t start;
	int e = l->code_adaptive >= 0 ? code_start(py, code, in->tlbc, &start) : 0;
	if (e)
		return e;
	if (l->code_adaptive >= 0)
		*at = (long)(in->instruction - start);
	else
		*at = (long)(int64_t)in->instruction * l->frame_lasti_unit;
	/* before its first instruction a frame stands one code unit early */
	return *at < -2 || *at >= code->size ? -EAGAIN : 0;
}

int python_frame_at(struct interp *py, const struct python_frame *frame, long *at)
{
	const struct python_code *code = python_code_known(py, frame->code);
	return code ? code_at(py, code, frame, at) : -EAGAIN;
}

int python_code_frame(struct interp *py, const struct python_code *code, const struct python_frame *in,
		      struct frame *out)
{
	const struct python_layout *l = &py->layout;
	long at;
	int e = code_at(py, code, in, &at);
	if (e)
		return e;
	*out = (struct frame){.kind = FRAME_PYTHON,
			      .origin = code->origin,
			      .function = code->function,
			      .module = code->module,
			      .file = code->file,
			      .line = python_line((enum python_lines)l->line_format, code->lines,
						  code->lines_size, code->first, at),
			      .entry = in->entry};
	return 0;
}
