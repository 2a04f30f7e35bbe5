/* SPDX-License-Identifier: MIT
 *
 * syscall(): locks that are not the C library's (Rust's, C++20's atomics) wait through it. It is also how
 * programs make calls that return twice or on another stack, so whatever is not SYS_futex is handed on by a
 * jump, registers, stack and return address as they came.
 */
#include <linux/futex.h>

#include "lock.h"
#include "original.h"

/* System V's order of arguments on both sides; 202 is SYS_futex on x86-64. */
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	".p2align 4\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	cmpq $202, %rdi\n"
	"	je futex_call\n"
	"	jmp *syscall_next(%rip)\n"
	"	.cfi_endproc\n"
	".size syscall, . - syscall\n");

long futex_call(long n, long word, long op, long value, long timeout, long word2, long value3) HIDDEN
	__attribute__((used));
long futex_call(long n, long word, long op, long value, long timeout, long word2, long value3)
{
	int command = (int)op & FUTEX_CMD_MASK;
	if (likely(!self.loop || (command != FUTEX_WAIT && command != FUTEX_WAIT_BITSET)))
		return original.syscall(n, word, op, value, timeout, word2, value3);
	struct wait w;
	futex_wait_begin(&w, (uint64_t)word, HOOK_syscall, FRAME);
	long result = original.syscall(n, word, op, value, timeout, word2, value3);
	idle_wait_end(&w);
	return result;
}
