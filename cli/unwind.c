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

#include <stdlib.h>
#include <string.h>

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
		return false;
	}
	memcpy(result, n->sample->stack + at, sizeof(*result));
	return true;
}

static bool set_initial_registers(Dwfl_Thread *thread, void *arg)
{
	struct native *n = arg;
	for (int i = 0; i < NATIVE_REGS; i++)
		if ((n->sample->known & 1u << i) &&
		    !dwfl_thread_state_registers(thread, i, 1, &n->sample->regs[i]))
			return false;
	return true;
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

	n->beyond = false; /* dwfl_frame_pc unwinds one further, to see what interrupted is */
	if (n->n >= n->max || !dwfl_frame_pc(frame, &pc, &interrupted))
		return DWARF_CB_ABORT;
	/* Without call frame information the next address is a guess. */
	if (n->n && !native_covers(n, pc - 1))
		return DWARF_CB_ABORT;
	/* A frame interrupted by a signal has no call before its pc; callers look one byte before. */
	n->pcs[n->n] = pc + (n->n && interrupted);
	n->n++;
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

int native_unwind(struct native *n, const struct native_sample *sample, uint64_t *pcs, int max, bool *cut)
{
	n->sample = sample;
	n->pcs = pcs;
	n->max = max;
	n->n = 0;
	n->beyond = false;
	int result = dwfl_getthread_frames(n->dwfl, 1, frame_take, n);
	if (n->n == 0) {
		pcs[0] = sample->regs[NATIVE_RIP];
		n->n = 1;
	}
	*cut = result != 0 || n->beyond || !stack_begins(n, pcs[n->n - 1] - (n->n > 1));
	return n->n;
}
