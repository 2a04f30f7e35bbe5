/* SPDX-License-Identifier: MIT
 *
 * Help for the terminal and for the man page, both from the same rows: what is not in a command's table is
 * not in its help, and the tests compare the man page with what this prints.
 */
#include "help.h"

#include <stdlib.h>
#include <string.h>

#include "prose.h"
#include "util.h"

#define COLUMNS 80

static const char question[] = "Why does the event loop of a live process stall, and who is to blame?";

const struct command *command_find(const char *name)
{
	for (PARTS(cmd, command, p))
		if (!strcmp((*p)->name, name))
			return *p;
	return NULL;
}

static int command_order(const void *a, const void *b)
{
	const struct command *x = *(const struct command *const *)a, *y = *(const struct command *const *)b;
	return x->order != y->order ? x->order - y->order : strcmp(x->name, y->name);
}

size_t commands_sorted(const struct command *out[COMMANDS_MAX])
{
	size_t n = 0;
	for (PARTS(cmd, command, p))
		if (n < COMMANDS_MAX)
			out[n++] = *p;
	qsort(out, n, sizeof(*out), command_order);
	return n;
}

char *command_hint(char *buf, size_t size, const char *word)
{
	const struct command *commands[COMMANDS_MAX] = {0};
	const char *names[COMMANDS_MAX];
	size_t n = commands_sorted(commands);
	for (size_t i = 0; i < n; i++)
		names[i] = commands[i]->name;
	const char *near = nearest(word, names, n);
	snprintf(buf, size, "%s%s%s", near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	return buf;
}

static int option_order(const void *a, const void *b)
{
	return strcmp((*(const struct option_row *const *)a)->name,
		      (*(const struct option_row *const *)b)->name);
}

size_t options_sorted(const struct option_row *rows, const struct option_row *out[OPTIONS_MAX])
{
	size_t n = 0;
	for (; rows && rows->name && n < OPTIONS_MAX; rows++)
		out[n++] = rows;
	qsort(out, n, sizeof(*out), option_order);
	return n;
}

/* The row's help, with the words that it takes. Owned by the caller. */
static char *option_text(const struct option_row *row)
{
	char *text = xstrdup(row->help);
	for (int i = 0; row->type == OPT_CHOICE && row->choices[i]; i++) {
		char *longer = xprintf("%s%s%s", text,
				       !i		     ? ": "
				       : row->choices[i + 1] ? ", "
							     : " or ",
				       row->choices[i]);
		free(text);
		text = longer;
	}
	return text;
}

/* "  NAME   text", the text wrapped in its column, or below a name that is too long for it. */
static void entry_print(FILE *out, int column, const char *name, const char *text)
{
	int at = fprintf(out, "  %s", name);
	if (at + 2 > column) {
		putc('\n', out);
		at = 0;
	}
	fprintf(out, "%*s", column - at, "");
	prose_wrap(out, COLUMNS, column, column, text);
}

static void options_print(FILE *out, const char *title, const struct option_row *rows)
{
	const struct option_row *sorted[OPTIONS_MAX] = {0};
	size_t n = options_sorted(rows, sorted);
	if (!n)
		return;
	fprintf(out, "\n%s:\n", title);
	for (size_t i = 0; i < n; i++) {
		const struct option_row *row = sorted[i];
		char letter[] = {'-', row->letter, ',', ' ', 0};
		char *name = xprintf("%s--%s%s%s", row->letter ? letter : "    ", row->name,
				     row->argument ? " " : "", row->argument ? row->argument : "");
		char *text = option_text(row);
		entry_print(out, 28, name, text);
		free(name);
		free(text);
	}
}

/* Calls print for each line of a text with newlines. */
static void lines_each(FILE *out, const char *text, void (*print)(FILE *, const char *))
{
	while (text && *text) {
		size_t n = strcspn(text, "\n");
		char *line = xprintf("%.*s", (int)n, text);
		print(out, line);
		free(line);
		text += n + !!text[n];
	}
}

static void paragraph_print(FILE *out, const char *line)
{
	putc('\n', out);
	prose_wrap(out, COLUMNS, 0, 0, line);
}

static void example_print(FILE *out, const char *line)
{
	fprintf(out, "  %s\n", line);
}

void help_command(FILE *out, const struct command *c)
{
	fprintf(out, "Usage: whystall %s%s%s\n", c->name, *c->usage ? " " : "", c->usage);
	paragraph_print(out, c->help);
	lines_each(out, c->about, paragraph_print);
	options_print(out, "Options", c->options);
	options_print(out, "Common options", options_common);
	if (c->examples)
		fprintf(out, "\nFor example:\n");
	lines_each(out, c->examples, example_print);
}

static void commands_print(FILE *out)
{
	const struct command *commands[COMMANDS_MAX] = {0};
	size_t n = commands_sorted(commands);
	fprintf(out, "Usage: whystall COMMAND [options] ...\n\n%s\n\nCommands:\n", question);
	for (size_t i = 0; i < n; i++)
		entry_print(out, 12, commands[i]->name, commands[i]->help);
}

void help_brief(FILE *out)
{
	commands_print(out);
	fprintf(out, "\nwhystall help COMMAND tells more of one.\n");
}

void help_overview(FILE *out)
{
	const struct command *commands[COMMANDS_MAX] = {0};
	size_t n = commands_sorted(commands);
	commands_print(out);
	options_print(out, "Common options", options_common);
	fprintf(out, "\nTimes take a unit: 250us, 20ms, 1.5s, 2m, 1h.\n\nFor example:\n");
	for (size_t i = 0; i < n; i++)
		lines_each(out, commands[i]->examples, example_print);
	fprintf(out, "\nwhystall help COMMAND tells more of one; man whystall tells all.\n");
}

/* --- the man page's part, for man(7) --- */

static void roff(FILE *out, const char *s)
{
	if (*s == '.' || *s == '\'')
		fputs("\\&", out);
	for (; *s; s++) {
		if (*s == '-')
			fputs("\\-", out);
		else if (*s == '\\')
			fputs("\\e", out);
		else
			putc(*s, out);
	}
}

static void roff_paragraph(FILE *out, const char *line)
{
	roff(out, line);
	fputs("\n.br\n", out);
}

static void roff_example(FILE *out, const char *line)
{
	fputs(".br\n", out);
	roff(out, line);
	putc('\n', out);
}

static void roff_options(FILE *out, const struct option_row *rows)
{
	const struct option_row *sorted[OPTIONS_MAX] = {0};
	size_t n = options_sorted(rows, sorted);
	for (size_t i = 0; i < n; i++) {
		const struct option_row *row = sorted[i];
		char *text = option_text(row);
		fputs(".TP\n", out);
		if (row->letter)
			fprintf(out, "\\fB\\-%c\\fR, ", row->letter);
		fputs("\\fB\\-\\-", out);
		roff(out, row->name);
		fputs("\\fR", out);
		if (row->argument)
			fprintf(out, " \\fI%s\\fR", row->argument);
		putc('\n', out);
		roff(out, text);
		putc('\n', out);
		free(text);
	}
}

void help_man(FILE *out)
{
	const struct command *commands[COMMANDS_MAX] = {0};
	size_t n = commands_sorted(commands);
	fputs(".SH COMMANDS\n", out);
	for (size_t i = 0; i < n; i++) {
		const struct command *c = commands[i];
		fputs(".SS whystall ", out);
		roff(out, c->name);
		putc(' ', out);
		roff(out, c->usage);
		putc('\n', out);
		roff(out, c->help);
		putc('\n', out);
		if (c->about)
			fputs(".PP\n", out);
		lines_each(out, c->about, roff_paragraph);
		roff_options(out, c->options);
	}
	fputs(".SS Common options\n", out);
	roff_options(out, options_common);
	fputs(".SH EXAMPLES\n", out);
	for (size_t i = 0; i < n; i++)
		lines_each(out, commands[i]->examples, roff_example);
}
