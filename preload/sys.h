/* SPDX-License-Identifier: MIT
 *
 * System calls without the C library: errno stays as the target left it, no call is a cancellation point, and
 * no interceptor of a sanitizer sees us. Each returns the kernel's value, -errno on failure.
 */
#ifndef WHYSTALL_SYS_H
#define WHYSTALL_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long sys_call6(long n, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#define sys_call(n, a, b, c, d) sys_call6((n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

static inline int sys_open(const char *path, int flags)
{
	return (int)sys_call(SYS_openat, -100 /* AT_FDCWD */, path, flags, 0);
}
static inline void sys_close(int fd)
{
	sys_call(SYS_close, fd, 0, 0, 0);
}
static inline long sys_pread(int fd, void *to, size_t n, uint64_t offset)
{
	return sys_call(SYS_pread64, fd, to, n, offset);
}

/* The few string functions that we need, ours (bare.c, text.c): a sanitizer replaces the C library's. Hidden
 * where they are defined: image.c is part of the CLI too, and takes its memcpy from the C library there. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
__attribute__((visibility("hidden"))) size_t text_length(const char *s);
__attribute__((visibility("hidden"))) int text_equal(const char *a, const char *b);
__attribute__((visibility("hidden"))) int text_begins(const char *s, const char *prefix);
/* A decimal number: *end is where it stopped. */
__attribute__((visibility("hidden"))) long text_number(const char *s, const char **end);

#endif
