/* SPDX-License-Identifier: MIT
 *
 * The contract of a command, one file each under cli/cmd/, registered by PART(cmd, command, ...), and of its
 * options: one table makes parsing, --help, the man page's lists and the nearest-word hints.
 */
#ifndef WHYSTALL_CMD_H
#define WHYSTALL_CMD_H

#include <stdbool.h>
#include <stdint.h>

#include "part.h"

enum option_type { OPT_FLAG, OPT_STRING, OPT_TIME, OPT_NUMBER, OPT_CHOICE };

struct option_row {
	char letter;		     /* 0: none */
	const char *name, *argument; /* argument's name in the help, NULL for a flag */
	const char *help;
	enum option_type type;
	void *into;		    /* bool *, const char **, uint64_t * (ns), long *, const char ** */
	const char *const *choices; /* OPT_CHOICE: NULL-terminated */
	bool flag_value;	    /* OPT_FLAG: what to store (--no-native stores false) */
	bool *given;		    /* set when the option was given; may be NULL */
};

struct command {
	const char *name;
	const char *usage;		   /* "[options] -- COMMAND [ARG...]" */
	const char *help;		   /* one line */
	const char *about;		   /* more, for `whystall help NAME`; may be NULL */
	int order;			   /* in the list of commands */
	const struct option_row *options;  /* ends with a row without name */
	int (*run)(int argc, char **argv); /* what is left after the options; returns the exit status */
	bool stops; /* options end at the first word that is none: the rest is another's command line */
	/* capabilities that the program's file may lend it (privilege.h), ended by -1; NULL: none */
	const int *capabilities;
	const char *examples; /* for the help and the man page: lines, each ended by a newline; may be NULL */
};

PARTS_DECLARE(cmd, command);

/* Parses argv[1..] by the table; handles -h, -V, -q and -v itself. Stops at "--" or, if stop_at_operand, at
 * the first word that is no option; else operands are moved behind the options. Returns the index of the
 * first operand, or -1 after having said what is wrong (exit status 2), or -2 when help or version was
 * printed (exit status 0). main calls it with the command's `stops`, then run with the operands. */
int options_parse(const struct command *, int argc, char **argv, bool stop_at_operand);

#endif
