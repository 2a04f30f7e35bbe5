/* SPDX-License-Identifier: MIT
 *
 * The command of `run`: started in whystall's own process group and terminal, with the shim before it, its
 * signals and stops passed on, its status brought back.
 */
#ifndef WHYSTALL_CHILD_H
#define WHYSTALL_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

struct child {
	pid_t pid;
	int signals; /* signalfd: readable when child_signals has something to do */
	bool ended;  /* it was reaped: status is its exit status as a shell would give it */
	int status;
	bool interrupted; /* Ctrl-C or SIGINT since the start */
	int stopped;	  /* by this signal, and whystall has not been stopped with it yet; 0: no */
};

/* Blocks the signals that child_signals handles from here on. Call before any thread is made. 0 or -errno. */
int child_prepare(struct child *);
/* Runs argv (searched in PATH) with the words of `set`, NULL-terminated "NAME=value", in its environment. 0,
 * or -errno of the exec, with nothing left running. */
int child_start(struct child *, char *const argv[], const char *const set[]);
/* The command's next change between stopped and going, if there was one. To be asked before child_signals. */
bool child_stop_next(struct child *, bool *stopped);
/* Passes on what came: a process's signal to the command, the command's stop to whystall, its end to
 * c->ended. */
void child_signals(struct child *);

#endif
