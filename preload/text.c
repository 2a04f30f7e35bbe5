/* SPDX-License-Identifier: MIT
 *
 * Text without the C library.
 */
#include "sys.h"

size_t text_length(const char *s)
{
	size_t n = 0;
	for (; s[n]; n++)
		__asm__ volatile(""); /* or the compiler makes it a call of strlen */
	return n;
}

int text_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

int text_begins(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return 0;
	return 1;
}

long text_number(const char *s, const char **end)
{
	long n = 0;
	for (; *s >= '0' && *s <= '9' && n < 1000000000; s++)
		n = n * 10 + (*s - '0');
	*end = s;
	return n;
}
