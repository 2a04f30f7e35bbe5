/* SPDX-License-Identifier: MIT
 *
 * The parts of a dump's text, in dump_text.c's hands.
 */
#ifndef WHYSTALL_DUMP_PAGE_H
#define WHYSTALL_DUMP_PAGE_H

#include "dump.h"
#include "format/text.h"

#define DUMP_INDENT 5

struct page {
	struct text text;
	const struct dump *dump;
	bool full;
	int tid_columns;
};

/* dump_phrase.c: what a thread is and does, in words; all return buf. */
const char *phrase_thread(char *buf, size_t size, const struct dump_thread *);
const char *phrase_length(char *buf, size_t size, int64_t ns, bool at_least); /* "at least 0.1 s" */
const char *phrase_lock(char *buf, size_t size, const struct dump_wait *);
const char *phrase_doing(char *buf, size_t size, const struct dump_thread *);

/* dump_stacks.c: all threads with their stacks. */
void stacks_write(const struct page *);

#endif
