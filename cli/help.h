/* SPDX-License-Identifier: MIT
 *
 * What the program says of itself: made from the registered commands and their option tables, nothing by
 * hand.
 */
#ifndef WHYSTALL_HELP_H
#define WHYSTALL_HELP_H

#include <stdio.h>

#include "cmd.h"

const struct command *command_find(const char *name); /* NULL: none */
/* "; did you mean X?" among the commands, or "". Returns buf. */
char *command_hint(char *buf, size_t size, const char *word);

extern const struct option_row options_common[]; /* -h, -q, -v, -V: every command has them */

#define COMMANDS_MAX 32
#define OPTIONS_MAX 64
/* As the help lists them. Return how many. */
size_t commands_sorted(const struct command *out[COMMANDS_MAX]);
size_t options_sorted(const struct option_row *rows, const struct option_row *out[OPTIONS_MAX]);

void help_brief(FILE *out);			       /* no command given */
void help_overview(FILE *out);			       /* whystall help */
void help_command(FILE *out, const struct command *c); /* whystall help NAME */
void help_man(FILE *out);			       /* the man page's lists of commands and options */
/* completion.c: what a shell completes words by */
void completion_bash(FILE *out);
void completion_zsh(FILE *out);

#endif
