/* SPDX-License-Identifier: MIT
 *
 * Who may look into which process, and what to do about it where the answer is no. A whystall that has file
 * capabilities (setcap) can do more than whoever started it: it must not do that for them.
 */
#ifndef WHYSTALL_PRIVILEGE_H
#define WHYSTALL_PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Do our capabilities come from the program's file, and not from whoever called us? */
bool privilege_borrowed(void);
/* May the caller, by himself, ptrace process pid? Always true unless capabilities are borrowed. False: why is
 * a sentence. What is asked may change meanwhile: ask again before anything read is shown. */
bool caller_may_trace(pid_t pid, char *why, size_t size);

/* Gives up all borrowed capabilities but these (ended by -1; NULL: none at all), CAP_SYS_PTRACE in any case.
 * Called before a command does anything. */
void privilege_keep(const int *capabilities);

/* The kernel refuses to let us read process pid: which rule it is, and the command that helps. Sentences. */
void privilege_explain(pid_t pid, const char *command, char *why, size_t size);

bool privilege_has(int capability); /* CAP_...: in our effective set */

/* The ways to give whystall what `attach` needs without making anybody root. */
enum privilege_form {
	PRIVILEGE_FILE,	      /* one shell command: the program's file, for a group only */
	PRIVILEGE_SYSTEMD,    /* lines of a unit's [Service] */
	PRIVILEGE_KUBERNETES, /* lines of a container's spec */
	PRIVILEGE_DOCKER,     /* one shell command */
	PRIVILEGE_FORMS
};
/* Complete, lines ended by newlines. malloced. */
char *privilege_form(enum privilege_form);
/* What has to be in our effective set for attach: CAP_... ended by -1, and the name of one ("cap_bpf"). */
extern const int privilege_attach[];
extern const int privilege_dump[]; /* what dump can make use of */
const char *privilege_name(int capability);
/* "CAP_BPF, CAP_PERFMON": which of them are missing. malloced; NULL: none. */
char *privilege_missing(void);

#endif
