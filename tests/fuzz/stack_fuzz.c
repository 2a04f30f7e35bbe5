/* SPDX-License-Identifier: MIT
 *
 * Registers and stacks that no program has, unwound through the modules of this very process; and a module
 * that is any bytes with an ELF header: what symbols, line tables and call frame information there may say.
 */
#include "tests/fuzz/input.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "cli/mem.h"
#include "cli/modules.h"

#define PLACE 0x2000000000ul /* of the module: nobody else is there */
#define SIZE_MAX_FILE (256u << 10)

static struct native *native;
static int fd = -1;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char name[] = "/tmp/stack_fuzz.XXXXXX";
	(void)argc, (void)argv;
	fd = mkstemp(name);
	unlink(name);
	return 0;
}

/* A code address: of our modules, of the file's, or any. */
static uint64_t address(struct input *in, const struct maps *maps)
{
	uint64_t w = input_word(in);
	size_t code = 0;
	if (w % 4 == 0)
		return w;
	if (w % 4 == 1)
		return PLACE + (w >> 2) % SIZE_MAX_FILE;
	for (size_t i = 0; i < maps->n; i++)
		code += maps->at[i].x;
	size_t k = (w >> 2) % (code ? code : 1);
	for (size_t i = 0; i < maps->n; i++)
		if (maps->at[i].x && !k--)
			return maps->at[i].start + (w >> 20) % (maps->at[i].end - maps->at[i].start);
	return w;
}

static void sample_fill(struct native_sample *s, struct input *in, const struct maps *maps)
{
	memset(s, 0, sizeof(*s));
	s->known = (uint32_t)input_word(in) | 1u << NATIVE_RSP | 1u << NATIVE_RIP;
	s->known &= (1u << NATIVE_REGS) - 1;
	for (int i = 0; i < NATIVE_REGS; i++)
		s->regs[i] = i == NATIVE_RSP ? 0x7ff000000000ul + input_byte(in) : address(in, maps);
	s->len = (uint32_t)(in->n * 2 < NATIVE_STACK_BYTES ? in->n * 2 : NATIVE_STACK_BYTES);
	for (uint32_t at = 0; at + 8 <= s->len; at += 8) {
		uint64_t w = address(in, maps);
		if (w % 16 == 0) /* into the stack itself: a saved frame pointer */
			w = s->regs[NATIVE_RSP] + (w >> 4) % (s->len + 64);
		memcpy(s->stack + at, &w, 8);
	}
}

static void stack_check(struct input *in)
{
	static struct native_sample s;
	static uint64_t pcs[256];
	struct frame frames[16];
	struct maps maps;
	bool cut;

	if (maps_read(getpid(), &maps))
		abort();
	sample_fill(&s, in, &maps);
	maps_free(&maps);
	int n = native_unwind(native, &s, pcs, LENGTH(pcs), &cut);
	if (n < 1 || n > (int)LENGTH(pcs) || pcs[0] != s.regs[NATIVE_RIP])
		abort();
	for (int i = 0; i < n; i++) {
		int k = native_symbolize(native, pcs[i], i == 0, frames, LENGTH(frames));
		if (k < 1 || k > (int)LENGTH(frames) || !frames[k - 1].function)
			abort();
	}
}

/* The bytes as a file that is mapped for execution: what is no ELF file for this machine is made one, for
 * nothing else is looked into. */
static void module_map(struct input *in, size_t size)
{
	uint8_t *file = calloc(1, size + 4096);
	Elf64_Ehdr *e = (Elf64_Ehdr *)file;

	input_take(in, file, size);
	memcpy(e->e_ident, ELFMAG "\2\1\1", 7);
	e->e_machine = EM_X86_64;
	e->e_type = e->e_type & 1 ? ET_EXEC : ET_DYN;
	file_fill(fd, file, size);
	free(file);
	if (mmap((void *)PLACE, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct input in = {bytes, n};
	size_t size = 0, share = input_byte(&in);

	if (share & 1) {
		size = in.n * (share >> 1) / 128;
		if (size > SIZE_MAX_FILE)
			return -1;
		if (size >= sizeof(Elf64_Ehdr))
			module_map(&in, size);
		else
			size = 0;
	}
	if (!native)
		native = native_open(getpid());
	else if (size)
		native_refresh(native, getpid());
	if (!native)
		abort();
	stack_check(&in);
	if (size) {
		struct frame frames[16];
		for (uint64_t at = PLACE; at < PLACE + size; at += size / 13 + 1)
			native_symbolize(native, at, true, frames, LENGTH(frames));
		munmap((void *)PLACE, size);
	}
	return 0;
}
