/* SPDX-License-Identifier: MIT
 *
 * From registers and a copy of the stack to return addresses, by call frame information: .eh_frame, which
 * every x86-64 program has, else .debug_frame; frame pointers only where there is neither (JIT-compiled
 * code).
 *
 * libdw's unwinder rather than libunwind's, because it wants nothing but the ELF files we have open, and
 * because it goes on with unknown registers (of a blocked thread only rsp and rip are known) until a rule
 * needs one: in libdwfl/frame_unwind.c handle_cfi() leaves a register that cannot be computed unset.
 */
#include "modules.h"

#include <libelf.h>
#include <stdlib.h>
#include <string.h>

#define GUESSES_MAX 32
#define GAP_MAX 65536 /* a frame larger than this is no frame */

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg)
{
	(void)dwfl;
	if (*thread_arg)
		return 0;
	*thread_arg = arg;
	return 1;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *arg, void **thread_arg)
{
	(void)dwfl, (void)tid;
	*thread_arg = arg;
	return true;
}

static bool memory_read(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *result, void *arg)
{
	struct native *n = arg;
	uint64_t at = address - n->sample->regs[NATIVE_RSP];
	(void)dwfl;
	if (n->sample->len < sizeof(*result) || at > n->sample->len - sizeof(*result)) {
		n->beyond = true;
		n->wanted = address;
		return false;
	}
	memcpy(result, n->sample->stack + at, sizeof(*result));
	return true;
}

static bool set_initial_registers(Dwfl_Thread *thread, void *arg)
{
	struct native *n = arg;
	const struct native_sample *s = n->sample;
	for (int i = 0; i < NATIVE_REGS; i++)
		if ((s->known & 1u << i) && !dwfl_thread_state_registers(thread, i, 1, &s->regs[i]))
			return false;
	return !n->rbp || dwfl_thread_state_registers(thread, NATIVE_RBP, 1, &n->rbp);
}

static const Dwfl_Thread_Callbacks callbacks = {
	.next_thread = next_thread,
	.get_thread = get_thread,
	.memory_read = memory_read,
	.set_initial_registers = set_initial_registers,
};

bool unwind_attach(struct native *n)
{
	return dwfl_attach_state(n->dwfl, n->machine, 1, &callbacks, n);
}

static int frame_take(Dwfl_Frame *frame, void *arg)
{
	struct native *n = arg;
	bool interrupted;
	Dwarf_Addr pc;
	Dwarf_Word rbp;

	n->beyond = false; /* dwfl_frame_pc unwinds one further, to see what interrupted is */
	if (n->n >= n->max || !dwfl_frame_pc(frame, &pc, &interrupted))
		return DWARF_CB_ABORT;
	/* Without call frame information the next address is a guess. */
	if (n->n && !native_covers(n, pc - 1))
		return DWARF_CB_ABORT;
	/* A frame interrupted by a signal has no call before its pc; callers look one byte before. */
	n->pcs[n->n] = pc + (n->n && interrupted);
	n->n++;
	n->rbp_lost = dwfl_frame_reg(frame, NATIVE_RBP, &rbp) != 0 &&
		      dwfl_frame_reg(frame, NATIVE_RSP, &n->sp) == 0;
	return DWARF_CB_OK;
}

/* Where a thread began, its call frame information says that there is no return address. */
static bool stack_begins(struct native *n, uint64_t pc)
{
	Dwarf_Addr bias;
	Dwarf_Frame *frame;
	Dwarf_Op mem[3], *ops;
	size_t count;
	Dwfl_Module *module = dwfl_addrmodule(n->dwfl, pc);
	Dwarf_CFI *cfi = module ? dwfl_module_eh_cfi(module, &bias) : NULL;

	if (!cfi || dwarf_cfi_addrframe(cfi, pc - bias, &frame))
		return false;
	bool undefined =
		dwarf_frame_register(frame, NATIVE_RIP, mem, &ops, &count) == 0 && count == 0 && ops == mem;
	free(frame);
	return undefined;
}

static bool unwind_once(struct native *n, uint64_t rbp)
{
	n->rbp = rbp;
	n->n = 0;
	n->beyond = n->rbp_lost = false;
	int result = dwfl_getthread_frames(n->dwfl, 1, frame_take, n);
	if (n->n == 0)
		n->pcs[n->n++] = n->sample->regs[NATIVE_RIP];
	return result == 0 && !n->beyond && stack_begins(n, n->pcs[n->n - 1] - (n->n > 1));
}

/* Does a call end just before pc? CALL rel32 is E8, CALL r/m64 is FF /2 with up to five more bytes (Intel SDM
 * 2A). */
static bool call_precedes(struct native *n, uint64_t pc)
{
	const struct module *m = module_find(n, pc, NULL);
	size_t size, longest = 7;
	const unsigned char *file = m ? (const unsigned char *)elf_rawfile(m->elf, &size) : NULL;
	uint64_t at = m ? pc - m->text : 0;

	if (!file || at < longest || at > size)
		return false;
	if (file[at - 5] == 0xe8)
		return true;
	for (size_t k = 2; k <= longest; k++)
		if (file[at - k] == 0xff && (file[at - k + 1] & 0x38) == 0x10)
			return true;
	return false;
}

/* Of a blocked thread rbp is not known, but a function that uses it as frame pointer has saved its caller's
 * on the stack, below its return address. Each place that looks so is tried as rbp; only one from which the
 * whole stack can be followed, to its beginning or some way to the end of the copy, is believed. */
static bool rbp_guess(struct native *n)
{
	const struct native_sample *s = n->sample;
	uint64_t sp = (n->sp + 7) & ~7ull, end = s->regs[NATIVE_RSP] + s->len;
	int frames = n->n;

	for (int tries = 0; sp >= s->regs[NATIVE_RSP] && sp + 16 <= end && tries < GUESSES_MAX; sp += 8) {
		uint64_t back;
		memcpy(&back, s->stack + (sp + 8 - s->regs[NATIVE_RSP]), sizeof(back));
		if (!call_precedes(n, back))
			continue;
		tries++;
		if (unwind_once(n, sp) || (n->beyond && n->wanted - end < GAP_MAX && n->n > frames + 3))
			return true;
	}
	n->rbp = 0;
	return false;
}

int native_unwind(struct native *n, const struct native_sample *sample, uint64_t *pcs, int max, bool *cut)
{
	n->sample = sample;
	n->pcs = pcs;
	n->max = max;
	bool whole = unwind_once(n, 0);
	if (!whole && n->rbp_lost && !n->beyond && native_covers(n, pcs[n->n - 1])) {
		whole = rbp_guess(n) && !n->beyond;
		if (!n->rbp)
			unwind_once(n, 0);
	}
	*cut = !whole;
	return n->n;
}
