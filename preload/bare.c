/* SPDX-License-Identifier: MIT
 *
 * memcpy and memset without the C library. They have their names because the compiler calls them by name;
 * they are hidden, so nobody else does.
 */
#include "sys.h"

__attribute__((visibility("hidden"))) void *memcpy(void *to, const void *from, size_t n)
{
	void *d = to;
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

__attribute__((visibility("hidden"))) void *memset(void *to, int c, size_t n)
{
	void *d = to;
	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return to;
}
