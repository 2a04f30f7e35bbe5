/* SPDX-License-Identifier: MIT
 *
 * syscall(): locks that are not the C library's (Rust's, C++20's atomics) wait through it, and loops on
 * io_uring (uring.c). It is also how programs make calls that return twice or on another stack, so whatever
 * is neither is handed on by a jump, registers, stack and return address as they came.
 */
#include <linux/futex.h>

#include "lock.h"
#include "original.h"

/* System V's order of arguments on both sides; 202 is SYS_futex, 426 SYS_io_uring_enter on x86-64. */
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	".p2align 4\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	cmpq $202, %rdi\n"
	"	je futex_call\n"
	"	cmpq $426, %rdi\n"
	"	je uring_call\n"
	"	jmp *syscall_next(%rip)\n"
	"	.cfi_endproc\n"
	".size syscall, . - syscall\n");

/* The words that loops wait at, by hash: who wakes one was the last to have that lock. */
#define WORDS 16u
static uint64_t words[WORDS];

static uint64_t *word_place(uint64_t word)
{
	return &words[(word >> 2) * 0x9e3779b97f4a7c15ull >> 60];
}

/* A wait whose thread is a loop. */
static long futex_wait(long n, long word, long op, long value, long timeout, long word2, long value3,
		       uintptr_t frame)
{
	struct wait w;
	uint64_t *place = word_place((uint64_t)word);
	store(*place, (uint64_t)word);
	futex_wait_begin(&w, (uint64_t)word, HOOK_syscall, frame);
	long result = original.syscall(n, word, op, value, timeout, word2, value3);
	idle_wait_end(&w);
	if (relaxed(*place) == (uint64_t)word)
		store(*place, 0);
	return result;
}

static long futex_wake(long n, long word, long op, long value, long timeout, long word2, long value3)
{
	uint64_t now = clock_read();
	long result = original.syscall(n, word, op, value, timeout, word2, value3);
	struct self *s = result > 0 ? self_get() : NULL;
	if (s)
		event_push(s, EV_HOLD, HOOK_syscall, 0, now, (uint64_t)word, (uint32_t)s->tid);
	return result;
}

long futex_call(long n, long word, long op, long value, long timeout, long word2, long value3) HIDDEN
	__attribute__((used));
long futex_call(long n, long word, long op, long value, long timeout, long word2, long value3)
{
	int command = (int)op & FUTEX_CMD_MASK;
	if (self.loop && (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET))
		return futex_wait(n, word, op, value, timeout, word2, value3, FRAME);
	if ((command == FUTEX_WAKE || command == FUTEX_WAKE_BITSET) &&
	    relaxed(*word_place((uint64_t)word)) == (uint64_t)word)
		return futex_wake(n, word, op, value, timeout, word2, value3);
	return original.syscall(n, word, op, value, timeout, word2, value3);
}
