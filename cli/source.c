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

/* Absolute, without "." and ".." in it. */
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
	if (n >= (int)sizeof(joined))
		return NULL;
	if (joined[0] != '/')
		return intern(joined);
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

/* Where the inlined function was called from. */
static void call_site(Dwarf_Die *unit, Dwarf_Die *inlined, const char **file, int *line)
{
	Dwarf_Attribute attribute;
	Dwarf_Word value;
	Dwarf_Files *files;
	size_t count;

	*file = NULL;
	*line = 0;
	if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &value) == 0 &&
	    value < INT32_MAX)
		*line = value;
	if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &value) == 0 &&
	    dwarf_getsrcfiles(unit, &files, &count) == 0 && value < count)
		*file = path_absolute(unit, dwarf_filesrc(files, value, NULL, NULL));
}

/* What is physically around the address, innermost first. dwarf_getscopes alone goes on, from an inlined
 * function, to where that was defined (its documentation in libdw.h); dwarf_getscopes_die gives where it was
 * put. */
static int scopes_around(Dwarf_Die *unit, Dwarf_Addr pc, Dwarf_Die **out)
{
	Dwarf_Die *scopes = NULL;
	int n = dwarf_getscopes(unit, pc, &scopes);

	*out = NULL;
	if (n > 0)
		n = dwarf_getscopes_die(&scopes[0], out);
	free(scopes);
	return n;
}

int source_frames(Dwfl_Module *module, uint64_t pc, const struct frame *at, struct frame *out, int max)
{
	Dwarf_Addr bias;
	Dwarf_Die *unit = unit_find(module, pc, &bias), *scopes;
	struct frame f = *at;
	int n = 0;

	if (!unit || max < 1)
		return 0;
	Dwarf_Line *row = dwarf_getsrc_die(unit, pc - bias);
	if (row) {
		dwarf_lineno(row, &f.line);
		f.file = path_absolute(unit, dwarf_linesrc(row, NULL, NULL));
	}
	int count = scopes_around(unit, pc - bias, &scopes);
	for (int i = 0; i < count; i++) {
		int tag = dwarf_tag(&scopes[i]);
		const char *name;
		if (tag == DW_TAG_subprogram) {
			/* A stripped file whose debug file has DWARF but no symbols. */
			if (strstr(f.function, "+0x") && (name = die_name(&scopes[i])))
				f.function = name;
			break;
		}
		if (tag != DW_TAG_inlined_subroutine)
			continue;
		name = die_name(&scopes[i]);
		if (name && n < max - 1) {
			out[n] = f;
			out[n].function = name;
			out[n++].inlined = 1;
		}
		call_site(unit, &scopes[i], &f.file, &f.line);
	}
	free(scopes);
	out[n++] = f;
	return n;
}
