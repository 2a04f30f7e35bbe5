/* SPDX-License-Identifier: MIT
 *
 * The formats that are there: they register themselves.
 */
#include "format.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

const char *format_names[FORMATS_MAX + 1], *format_names_export[FORMATS_MAX + 1],
	*format_names_check[FORMATS_MAX + 1];

static int name_order(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Option tables are constants, which what the linker gathered is not. */
static void names_gather(const char *names[FORMATS_MAX + 1], enum format_use use)
{
	size_t n = 0;
	for (PARTS(format, format, p))
		if (n < FORMATS_MAX && (*p)->use & use)
			names[n++] = (*p)->name;
	qsort(names, n, sizeof(*names), name_order);
}

__attribute__((constructor)) static void all_gather(void)
{
	names_gather(format_names, FORMAT_REPORT);
	names_gather(format_names_export, FORMAT_EXPORT);
	names_gather(format_names_check, FORMAT_CHECK);
}

const struct format *format_find(const char *name)
{
	for (PARTS(format, format, p))
		if (!strcmp((*p)->name, name))
			return *p;
	return NULL;
}
