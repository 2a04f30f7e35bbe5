/* SPDX-License-Identifier: MIT
 *
 * File, line and inlined functions of an address, from DWARF where there is any. Read lazily: libdw maps the
 * file and parses the one compilation unit that is asked for.
 */
#include "modules.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNITS_MAX 20000 /* looked at where there is no .debug_aranges (clang, rustc leave it out) */
#define PATH_MAX_BYTES 4096
#define DEPTH_MAX 64
#define FUNCTIONS_MAX 16

static Dwarf_Die *unit_find(Dwfl_Module *module, uint64_t pc, Dwarf_Addr *bias)
{
	Dwarf_Die *unit = dwfl_module_addrdie(module, pc, bias);
	if (unit)
		return unit;
	for (int i = 0; i < UNITS_MAX && (unit = dwfl_module_nextcu(module, unit, bias)); i++)
		if (dwarf_haspc(unit, pc - *bias) > 0)
			return unit;
	return NULL;
}

/* Absolute, without "." and ".." in it. NULL where it cannot be: some are built with a relative directory
 * (Debian's libc). */
static const char *path_absolute(Dwarf_Die *unit, const char *path)
{
	char joined[PATH_MAX_BYTES], out[PATH_MAX_BYTES];
	Dwarf_Attribute attribute;
	const char *dir = dwarf_formstring(dwarf_attr(unit, DW_AT_comp_dir, &attribute));
	size_t len = 0;

	if (!path)
		return NULL;
	int n = path[0] == '/' || !dir ? snprintf(joined, sizeof(joined), "%s", path)
				       : snprintf(joined, sizeof(joined), "%s/%s", dir, path);
	if (n >= (int)sizeof(joined) || joined[0] != '/')
		return NULL;
	for (const char *at = joined; *at;) {
		at += strspn(at, "/");
		size_t part = strcspn(at, "/");
		if (part == 2 && at[0] == '.' && at[1] == '.') {
			while (len && out[--len] != '/')
				;
		} else if (part && !(part == 1 && at[0] == '.')) {
			out[len++] = '/';
			memcpy(out + len, at, part);
			len += part;
		}
		at += part;
	}
	return intern_n(out, len);
}

static const char *die_name(Dwarf_Die *die)
{
	Dwarf_Attribute attribute;
	Dwarf_Attribute *linkage = dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute);
	if (!linkage)
		linkage = dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute);
	const char *name = linkage ? dwarf_formstring(linkage) : dwarf_diename(die);
	return name ? symbol_display(name) : NULL;
}

/* A line means nothing without its file. */
static void place_set(struct frame *f, const char *file, int line)
{
	f->file = file;
	f->line = file ? line : 0;
}

/* Where the inlined function was called from. */
static void call_site(Dwarf_Die *unit, Dwarf_Die *inlined, struct frame *f)
{
	Dwarf_Attribute attribute;
	Dwarf_Word file, line;
	Dwarf_Files *files;
	size_t count;

	place_set(f, NULL, 0);
	if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &line) == 0 &&
	    line < INT32_MAX &&
	    dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &file) == 0 &&
	    dwarf_getsrcfiles(unit, &files, &count) == 0 && file < count)
		place_set(f, path_absolute(unit, dwarf_filesrc(files, file, NULL, NULL)), line);
}

/* The functions around an address, outermost first: the one that was compiled and those inlined into it. Our
 * own search, because dwarf_getscopes() finds nothing where an inlined function was defined in another
 * compilation unit, as under link-time optimisation (Debian's python3). */
static int functions_around(Dwarf_Die *parent, Dwarf_Addr pc, Dwarf_Die *out, int n, int depth)
{
	Dwarf_Die die;

	if (depth > DEPTH_MAX || dwarf_child(parent, &die) != 0)
		return n;
	do {
		int before = n;
		switch (dwarf_tag(&die)) {
		case DW_TAG_subprogram:
		case DW_TAG_inlined_subroutine:
			if (dwarf_haspc(&die, pc) <= 0)
				continue;
			if (n < FUNCTIONS_MAX)
				out[n++] = die;
			return functions_around(&die, pc, out, n, depth + 1);
		case DW_TAG_lexical_block:
		case DW_TAG_try_block:
		case DW_TAG_catch_block:
			if (dwarf_haspc(&die, pc) > 0)
				return functions_around(&die, pc, out, n, depth + 1);
			continue;
		case DW_TAG_namespace:
		case DW_TAG_module:
			n = functions_around(&die, pc, out, n, depth + 1);
			if (n > before)
				return n;
			continue;
		default:
			continue;
		}
	} while (dwarf_siblingof(&die, &die) == 0);
	return n;
}

int source_frames(Dwfl_Module *module, uint64_t pc, const struct frame *at, struct frame *out, int max)
{
	Dwarf_Addr bias;
	Dwarf_Die *unit = unit_find(module, pc, &bias), functions[FUNCTIONS_MAX];
	struct frame f = *at;
	int n = 0;

	if (!unit || max < 1)
		return 0;
	Dwarf_Line *row = dwarf_getsrc_die(unit, pc - bias);
	if (row)
		place_set(&f, path_absolute(unit, dwarf_linesrc(row, NULL, NULL)),
			  dwarf_lineno(row, &f.line) == 0 ? f.line : 0);
	int count = functions_around(unit, pc - bias, functions, 0, 0);
	for (int i = count - 1; i > 0; i--) {
		const char *name = die_name(&functions[i]);
		if (name && n < max - 1) {
			out[n] = f;
			out[n].function = name;
			out[n++].inlined = 1;
		}
		call_site(unit, &functions[i], &f);
	}
	/* A debug file may have DWARF but no symbols. */
	const char *name = count && strstr(at->function, "+0x") ? die_name(&functions[0]) : NULL;
	if (name)
		f.function = name;
	out[n++] = f;
	return n;
}
