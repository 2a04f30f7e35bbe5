/* SPDX-License-Identifier: MIT
 *
 * The formats that are there: they register themselves.
 */
#include "format.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

const char *format_names[FORMATS_MAX + 1];

static int name_order(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Option tables are constants, which what the linker gathered is not. */
__attribute__((constructor)) static void names_gather(void)
{
	size_t n = 0;
	for (PARTS(format, format, p))
		if (n < FORMATS_MAX)
			format_names[n++] = (*p)->name;
	qsort(format_names, n, sizeof(*format_names), name_order);
}

const struct format *format_find(const char *name)
{
	for (PARTS(format, format, p))
		if (!strcmp((*p)->name, name))
			return *p;
	return NULL;
}
