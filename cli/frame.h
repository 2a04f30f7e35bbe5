/* SPDX-License-Identifier: MIT
 *
 * One frame of a stack, and a stack: innermost first. Strings are interned (util.h), NULL where not known.
 */
#ifndef WHYSTALL_FRAME_H
#define WHYSTALL_FRAME_H

#include <stdint.h>

/* Stored in records: numbers are kept for ever. */
enum frame_kind { FRAME_PYTHON = 1, FRAME_NATIVE = 2, FRAME_KERNEL = 3, FRAME_JS = 4, FRAME_RUBY = 5 };
enum frame_origin {
	ORIGIN_USER = 1,    /* the user's own code; in a native program anything but libc and its like */
	ORIGIN_PACKAGE = 2, /* an installed package: site-packages, dist-packages */
	ORIGIN_RUNTIME =
		3, /* the standard library, frozen modules; native: the interpreter, libc, ld.so, vDSO */
	ORIGIN_DISPATCH = 4,  /* the interpreter's call trampolines and abstract-object dispatchers */
	ORIGIN_COLLECTOR = 6, /* the interpreter's cycle collector */
	ORIGIN_EVAL = 5, /* the interpreter's evaluation loop (merged away where Python frames are known) */
};

/* Whether a thread ran its runtime's cycle collector, and over what: SOME where that is not known. */
enum collects { COLLECTS_NOT = 1, COLLECTS_YOUNG, COLLECTS_MIDDLE, COLLECTS_FULL, COLLECTS_SOME };

struct frame {
	enum frame_kind kind;
	enum frame_origin origin;
	const char *function; /* qualified where the runtime has it; native: symbol, or "module+0xoffset" */
	const char *module;   /* Python: dotted name if known; native: base name of the ELF file */
	const char *file;     /* absolute, as the target sees it */
	int line;	      /* 0: not known */
	int entry;   /* Python: this frame was entered from native code (an evaluation loop began here) */
	int inlined; /* native: inlined into the frame that follows. Of use to merge.h only, not stored */
};

#define STACK_MAX 512 /* frames kept of one stack */
struct stack {
	int n;
	int cut; /* the real stack went on */
	struct frame at[STACK_MAX];
};

#endif
