/* SPDX-License-Identifier: MIT
 *
 * Compilers move the unlikely part of a function far away, under a symbol of its own (f.cold) that stripping
 * takes; in Debian's CPython 3.14 that part is most of the evaluation loop. It is known by its jumps: nothing
 * else jumps into the middle of another function. The table of unwind entries (.eh_frame_hdr: LSB Core,
 * "Exception Frames") tells where it begins and ends.
 */
#include "modules.h"

#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#define COLD_MAX (1u << 20) /* bytes of code looked at */
#define STRAY 2048	    /* bytes; a stray pattern that looks like such a jump comes much more seldom */
#define VOTES 8

enum { ENCODING_UDATA4 = 0x03, ENCODING_DATAREL_SDATA4 = 0x3b };

struct range {
	uint64_t start, end; /* as the file says */
};

static const unsigned char *section_named(const struct module *m, const char *wanted, GElf_Shdr *sh)
{
	Elf_Scn *scn = NULL;
	size_t names;
	if (elf_getshdrstrndx(m->elf, &names))
		return NULL;
	while ((scn = elf_nextscn(m->elf, scn))) {
		const char *name = gelf_getshdr(scn, sh) ? elf_strptr(m->elf, names, sh->sh_name) : NULL;
		Elf_Data *data = name && !strcmp(name, wanted) && sh->sh_type != SHT_NOBITS
					 ? elf_rawdata(scn, NULL)
					 : NULL;
		if (data && data->d_buf && data->d_size == sh->sh_size)
			return data->d_buf;
	}
	return NULL;
}

/* The code from `start` on, to the end of its section at most. */
static const unsigned char *code_at(const struct module *m, uint64_t start, uint64_t *end)
{
	Elf_Scn *scn = NULL;
	while ((scn = elf_nextscn(m->elf, scn))) {
		GElf_Shdr sh;
		if (!gelf_getshdr(scn, &sh) || !(sh.sh_flags & SHF_EXECINSTR) || sh.sh_type == SHT_NOBITS ||
		    start < sh.sh_addr || start - sh.sh_addr >= sh.sh_size)
			continue;
		Elf_Data *data = elf_rawdata(scn, NULL);
		if (!data || !data->d_buf || data->d_size != sh.sh_size)
			return NULL;
		if (*end > sh.sh_addr + sh.sh_size)
			*end = sh.sh_addr + sh.sh_size;
		return (const unsigned char *)data->d_buf + (start - sh.sh_addr);
	}
	return NULL;
}

static int32_t read_i32(const unsigned char *at)
{
	int32_t v;
	memcpy(&v, at, sizeof(v));
	return v;
}

/* The function, or part of one, that an address is in: from one unwind entry to the next. */
static bool range_find(const struct module *m, uint64_t pc, struct range *out)
{
	GElf_Shdr sh;
	const unsigned char *at = section_named(m, ".eh_frame_hdr", &sh);
	if (!at || sh.sh_size < 12 || at[0] != 1 || at[2] != ENCODING_UDATA4 ||
	    at[3] != ENCODING_DATAREL_SDATA4)
		return false;
	size_t n = (uint32_t)read_i32(at + 8), low = 0, high = n;
	if (n < 2 || n > (sh.sh_size - 12) / 8)
		return false;
#define ENTRY(i) (sh.sh_addr + (uint64_t)(int64_t)read_i32(at + 12 + 8 * (i)))
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (ENTRY(middle) <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || low == n)
		return false;
	*out = (struct range){ENTRY(low - 1), ENTRY(low)};
#undef ENTRY
	return out->end - out->start <= COLD_MAX;
}

struct vote {
	const struct symbol *symbol;
	unsigned hits;
};

static void vote_add(struct vote *votes, unsigned *total, const struct symbol *s)
{
	++*total;
	for (unsigned i = 0; i < VOTES; i++) {
		if (votes[i].symbol && votes[i].symbol != s)
			continue;
		votes[i].symbol = s;
		votes[i].hits++;
		return;
	}
}

/* Where `jmp rel32` and `jcc rel32` lead; any byte may be the first of one. */
static bool jump_target(const unsigned char *code, uint64_t at, uint64_t *target)
{
	if (code[0] == 0xe9) {
		*target = at + 5 + (uint64_t)(int64_t)read_i32(code + 1);
		return true;
	}
	if (code[0] != 0x0f || (code[1] & 0xf0) != 0x80)
		return false;
	*target = at + 6 + (uint64_t)(int64_t)read_i32(code + 2);
	return true;
}

const char *cold_name(const struct module *m, uint64_t pc)
{
	struct range r;
	struct vote votes[VOTES] = {0};
	unsigned total = 0;
	if (!m->elf || !range_find(m, pc - m->bias, &r))
		return NULL;
	const unsigned char *code = code_at(m, r.start, &r.end);
	for (uint64_t i = 0; code && i + 6 <= r.end - r.start; i++) {
		uint64_t target;
		if (!jump_target(code + i, r.start + i, &target) || (target >= r.start && target < r.end))
			continue;
		const struct symbol *s = symbol_covering(m, target + m->bias);
		if (s && s->start != target + m->bias)
			vote_add(votes, &total, s);
	}
	for (unsigned i = 0; i < VOTES; i++)
		if (votes[i].hits > (r.end - r.start) / STRAY && votes[i].hits * 10 >= total * 9)
			return votes[i].symbol->name;
	return NULL;
}
