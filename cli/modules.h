/* SPDX-License-Identifier: MIT
 *
 * Inside native.h's struct native: the ELF files that a process runs, opened so that they outlive it. Only
 * modules.c, unwind.c, symbol.c, source.c and perfmap.c include this.
 */
#ifndef WHYSTALL_MODULES_H
#define WHYSTALL_MODULES_H

#include <elfutils/libdwfl.h>

#include "native.h"
#include "util.h"

struct symbol {
	uint64_t start, size; /* size 0: hand-written assembly that does not say */
	const char *name;     /* in the ELF file's string table */
	int rank;	      /* of several at one address, the highest is shown */
};

struct module {
	const char *name, *path; /* base name; as the target sees it */
	uint64_t start, end;	 /* as loaded */
	uint64_t bias;		 /* loaded address = address in the file + bias */
	uint64_t inode;
	unsigned dev_major, dev_minor;
	uint64_t text; /* loaded address of executable bytes = offset in the file + text */
	bool mapped;   /* seen in the latest look at the maps */
	void *image;   /* of the vDSO, which has no file */
	Elf *elf;
	int debug; /* descriptor of the separate debug file, -1: none, or handed to libdwfl */
	struct symbol *symbols;
	size_t symbol_count;
	bool symbols_read;
	struct module *next;
};

struct jit_area {
	uint64_t start, end;
};

struct perfmap;
struct symbol_cache;

struct native {
	pid_t pid;
	Dwfl *dwfl;
	Elf *machine; /* the vDSO of whystall itself: tells libdwfl the machine, whatever the target's files
			 are */
	struct module *modules;
	size_t module_count;
	uint64_t summed;	  /* bytes of debug files whose checksums were looked at */
	VEC(struct jit_area) jit; /* executable memory without a file */
	struct perfmap *perfmap;  /* NULL: none */
	struct symbol_cache *cache;
	/* the unwind under way */
	const struct native_sample *sample;
	uint64_t rbp; /* guessed, 0: as sampled */
	uint64_t *pcs;
	int n, max;
	bool beyond;	 /* memory was wanted that the sample does not have */
	uint64_t wanted; /* there */
	bool rbp_lost;	 /* of the latest frame rbp is not known, and */
	uint64_t sp;	 /* rsp is this */
};

/* The module at an address, and libdwfl's view of it. NULL: none. */
struct module *module_find(struct native *, uint64_t pc, Dwfl_Module **dwfl_module);
/* A file named by the target, looked up in its own root and never outside it, read only, without waiting,
 * regular files only. A descriptor or -errno. */
int target_open(pid_t pid, const char *path);

bool unwind_attach(struct native *);

void symbols_free(struct module *);
/* The symbol that covers a loaded address, NULL: none. */
const struct symbol *symbol_covering(const struct module *, uint64_t pc);
/* cold.c: the function whose unlikely part is at an address that no symbol covers, NULL: not known. */
const char *cold_name(const struct module *, uint64_t pc);
void symbol_cache_free(struct symbol_cache *);

/* source.c: the line and the inlined functions at an address, where there is debug information. `at` is the
 * outermost function's frame and out[0..] get what was inlined into it, innermost first; each frame's line is
 * the one being executed in it. Returns how many frames are in out (0: no debug information; at is then as it
 * was, and else has been copied to out's end). */
int source_frames(Dwfl_Module *, uint64_t pc, const struct frame *at, struct frame *out, int max);
/* C++ and Rust names in words, compilers' suffixes (".cold", ".part.0") dropped. Interned. */
const char *symbol_display(const char *name);

/* perfmap.c: names of JIT-compiled code, from /tmp/perf-PID.map in the target's root. */
struct perfmap *perfmap_open(pid_t pid); /* NULL: there is none that can be trusted */
void perfmap_close(struct perfmap *);
const char *perfmap_find(struct perfmap *, uint64_t pc); /* interned; NULL: not there */
/* --- jsname.c --- */
/* Is this the name of a JavaScript function? Then fills the frame. */
bool js_frame(const char *name, struct frame *);
/* Does this function of V8's only lead from JavaScript to C++, or back? */
bool js_dispatch(const char *symbol);

#endif
