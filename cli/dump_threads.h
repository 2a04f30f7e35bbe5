/* SPDX-License-Identifier: MIT
 *
 * The two looks at all threads, in dump.c's hands.
 */
#ifndef WHYSTALL_DUMP_THREADS_H
#define WHYSTALL_DUMP_THREADS_H

#include "dump_look.h"

/* Finds the threads, notes what each does, and has those that run sampled. 0 or -errno. */
int dump_threads_begin(struct dump_look *, bool native);
/* Looks again, with stacks, and says of each what it waits for. */
void dump_threads_end(struct dump_look *);
void dump_threads_close(struct dump_look *);

/* dump_wait.c: what a thread waits for, if it does, once its stack is known. */
void dump_wait(struct dump_look *, int thread);

#endif
